"""Questions about exposures and the raws that they have, by identifier, kinship and collection."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lsst.sphgeom import ConvexPolygon
from sqlalchemy import Connection, and_, exists, select, true

from astra.database.bulk import is_among
from astra.database.state import ID_ROWS, chunks
from astra.database.survey import (
    collection_table,
    definition_table,
    exposure_table,
    raw_table,
    region_table,
)
from astra.sky.regions import decode_polygon
from astra.sky.visits import ExposureRecord

_record_columns = [exposure_table.c[field.name] for field in dataclasses.fields(ExposureRecord)]


def exposure_records(
    connection: Connection, instrument: str, exposures: Iterable[int]
) -> dict[int, ExposureRecord]:
    """Return exposures by their identifier; those that are not ingested are left out."""
    records: dict[int, ExposureRecord] = {}
    for chunk in chunks(set(exposures), ID_ROWS):
        query = select(*_record_columns).where(
            exposure_table.c.instrument == instrument,
            is_among(connection, exposure_table.c.exposure, chunk),
        )
        records.update((row.exposure, ExposureRecord(*row)) for row in connection.execute(query))
    return records


def sibling_records(
    connection: Connection, instrument: str, columns: Sequence[str], exposures: Iterable[ExposureRecord]
) -> dict[int, ExposureRecord]:
    """Return all exposures of an instrument that agree in some columns with any of those given.

    Those whose columns are all empty texts agree with nobody.
    """
    records: dict[int, ExposureRecord] = {}
    for values in sorted({tuple(getattr(exposure, name) for name in columns) for exposure in exposures}):
        if not any(value != "" for value in values):
            continue
        equal = [exposure_table.c[name] == value for name, value in zip(columns, values, strict=True)]
        query = select(*_record_columns).where(exposure_table.c.instrument == instrument, *equal)
        records.update((row.exposure, ExposureRecord(*row)) for row in connection.execute(query))
    return records


def in_collections(collections: Sequence[str]) -> Any:
    """Return the condition that a row of ``raw`` belongs to any of some collections; true without any."""
    if not collections:
        return true()
    same = [collection_table.c[name] == raw_table.c[name] for name in ("instrument", "exposure", "detector")]
    return exists().where(*same, collection_table.c.collection.in_(collections))


def raw_regions(
    connection: Connection, instrument: str, exposures: Iterable[int], collections: Sequence[str] = ()
) -> dict[int, dict[int, ConvexPolygon]]:
    """Return the region of each raw image by exposure and detector; those that see no sky are left out."""
    regions: dict[int, dict[int, ConvexPolygon]] = {}
    query = select(raw_table.c.exposure, raw_table.c.detector, raw_table.c.region).where(
        raw_table.c.instrument == instrument,
        raw_table.c.region.is_not(None),
        in_collections(collections),
    )
    for chunk in chunks(exposures):
        for row in connection.execute(query.where(raw_table.c.exposure.in_(chunk))):
            regions.setdefault(row.exposure, {})[row.detector] = decode_polygon(row.region)
    return regions


def exposures_with_raws(
    connection: Connection,
    instrument: str,
    exposures: Iterable[int],
    collections: Sequence[str] = (),
    *,
    on_sky: bool = False,
) -> set[int]:
    """Return which of some exposures have a raw, in any of some collections; on request one with a region."""
    found: set[int] = set()
    for chunk in chunks(exposures, ID_ROWS):
        query = select(raw_table.c.exposure).where(
            raw_table.c.instrument == instrument,
            is_among(connection, raw_table.c.exposure, chunk),
            in_collections(collections),
            raw_table.c.region.is_not(None) if on_sky else true(),
        )
        found.update(connection.execute(query.distinct()).scalars())
    return found


def incomplete_exposures(
    connection: Connection,
    instrument: str,
    exposures: Iterable[int],
    systems: Iterable[int],
    collections: Sequence[str] = (),
) -> Iterator[int]:
    """Yield the exposures with raws of detectors that a visit of theirs in some systems does not know."""
    definition, region = definition_table, region_table
    same_visit = and_(
        *(definition.c[name] == region.c[name] for name in ("instrument", "visit_system", "visit"))
    )
    for chunk in chunks(set(exposures)):
        query = (
            select(raw_table.c.exposure)
            .join(
                definition,
                and_(*(definition.c[name] == raw_table.c[name] for name in ("instrument", "exposure"))),
            )
            .outerjoin(region, and_(same_visit, region.c.detector == raw_table.c.detector))
            .where(
                raw_table.c.instrument == instrument,
                raw_table.c.exposure.in_(chunk),
                raw_table.c.region.is_not(None),
                in_collections(collections),
                definition.c.visit_system.in_(list(systems)),
                region.c.detector.is_(None),
            )
        )
        yield from connection.execute(query.distinct()).scalars()
