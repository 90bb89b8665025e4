"""Exposures, raw files and visits: writes and questions, inside the caller's transaction."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, insert, select, update

from astra.database.models.survey import (
    Exposure,
    RawProduct,
    Visit,
    VisitDefinition,
    VisitDetectorRegion,
    VisitSystem,
    VisitSystemMembership,
)
from astra.database.state import chunks, product_table, upsert
from astra.errors import ConflictingDefinitionError, DataError

ONE_TO_ONE = 0
VISIT_SYSTEMS = {ONE_TO_ONE: "one-to-one", 1: "by-group-metadata", 2: "by-seq-start-end"}

exposure_table: Table = Exposure.__table__  # type: ignore[assignment]
raw_table: Table = RawProduct.__table__  # type: ignore[assignment]
system_table: Table = VisitSystem.__table__  # type: ignore[assignment]
visit_table: Table = Visit.__table__  # type: ignore[assignment]
definition_table: Table = VisitDefinition.__table__  # type: ignore[assignment]
membership_table: Table = VisitSystemMembership.__table__  # type: ignore[assignment]
region_table: Table = VisitDetectorRegion.__table__  # type: ignore[assignment]


@dataclass(frozen=True)
class FileStamp:
    """What tells that a file is still the one that was read.

    Parameters
    ----------
    size : int
        [byte]
    modified_ns : int, optional
        Time of the last change [ns]; None for a copy of a file that was read elsewhere.
    """

    size: int
    modified_ns: int | None

    def is_of(self, status: os.stat_result) -> bool:
        """Say whether a file is still as it was."""
        same_time = self.modified_ns is None or self.modified_ns == status.st_mtime_ns
        return self.size == status.st_size and same_time


def ingest_raw(connection: Connection, exposure: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
    """Write the raw file of one detector of an exposure, and the exposure.

    The same content again changes nothing but the place where it lies; other content in the same place
    replaces what was there.

    Raises
    ------
    DataError
        If that detector of that exposure is known with other content, from another file.
    """
    key = and_(*(raw_table.c[name] == raw[name] for name in ("instrument", "exposure", "detector")))
    known = connection.execute(select(raw_table).where(key)).one_or_none()
    if known is not None and known.checksum != raw["checksum"] and known.path != raw["path"]:
        message = (
            f"exposure {raw['exposure']} detector {raw['detector']} of {raw['instrument']} is "
            f"ingested already from {known.path} with other content than {raw['path']}; remove one of the two"
        )
        raise DataError(message, path=raw["path"], known=known.path)
    upsert(connection, exposure_table, [exposure], ["instrument", "exposure"])
    upsert(connection, raw_table, [raw], ["instrument", "exposure", "detector"])


def note_files(connection: Connection, raws: Sequence[Mapping[str, Any]], now: dt.datetime) -> None:
    """Note all raw files as products, copies of one content too: ``raw`` has one place for each content."""
    rows = [
        {
            "path": raw["path"],
            "kind": "raw",
            "size": raw["size"],
            "checksum": raw["checksum"],
            "created": now,
        }
        for raw in raws
    ]
    upsert(connection, product_table, rows, ["path"])


def raw_stamps(connection: Connection, paths: Iterable[str]) -> dict[str, FileStamp]:
    """Return size and time of the ingested files among ``paths``."""
    stamps: dict[str, FileStamp] = {}
    for chunk in chunks(paths):
        query = select(product_table.c.path, product_table.c.size).where(
            product_table.c.path.in_(chunk), product_table.c.kind == "raw"
        )
        stamps.update({row.path: FileStamp(row.size, None) for row in connection.execute(query)})
        columns = (raw_table.c.path, raw_table.c.size, raw_table.c.modified_ns)
        for row in connection.execute(select(*columns).where(raw_table.c.path.in_(chunk))):
            stamps[row.path] = FileStamp(row.size, row.modified_ns)
    return stamps


def incomplete_visits(connection: Connection, instrument: str, exposures: Iterable[int]) -> set[int]:
    """Return which exposures have raws of detectors that their one-to-one visit does not know."""
    region = region_table
    found: set[int] = set()
    for chunk in chunks(set(exposures)):
        known = (
            (region.c.instrument == raw_table.c.instrument)
            & (region.c.visit == raw_table.c.exposure)
            & (region.c.visit_system == ONE_TO_ONE)
            & (region.c.detector == raw_table.c.detector)
        )
        query = (
            select(raw_table.c.exposure)
            .outerjoin(region, known)
            .where(
                raw_table.c.instrument == instrument,
                raw_table.c.exposure.in_(chunk),
                region.c.detector.is_(None),
            )
        )
        found.update(row.exposure for row in connection.execute(query))
    return found


def get_exposure(connection: Connection, instrument: str, exposure: int) -> Row[Any] | None:
    """Return the row of an exposure; None if it is not ingested."""
    query = select(exposure_table).where(
        exposure_table.c.instrument == instrument, exposure_table.c.exposure == exposure
    )
    return connection.execute(query).one_or_none()


def raws_of_exposure(connection: Connection, instrument: str, exposure: int) -> Sequence[Row[Any]]:
    """Return the raw rows of an exposure, by detector."""
    query = (
        select(raw_table)
        .where(raw_table.c.instrument == instrument, raw_table.c.exposure == exposure)
        .order_by(raw_table.c.detector)
    )
    return connection.execute(query).all()


def raws_of_visit(
    connection: Connection, instrument: str, visit: int, detector: int, visit_system: int = ONE_TO_ONE
) -> Sequence[Row[Any]]:
    """Return the raw rows of one detector of a visit, in order of exposure."""
    query = (
        select(raw_table)
        .join(
            definition_table,
            and_(
                definition_table.c.instrument == raw_table.c.instrument,
                definition_table.c.exposure == raw_table.c.exposure,
            ),
        )
        .where(
            definition_table.c.instrument == instrument,
            definition_table.c.visit_system == visit_system,
            definition_table.c.visit == visit,
            raw_table.c.detector == detector,
        )
        .order_by(raw_table.c.exposure)
    )
    return connection.execute(query).all()


def get_visit(
    connection: Connection, instrument: str, visit: int, visit_system: int = ONE_TO_ONE
) -> Row[Any] | None:
    """Return the row of a visit; None if it is not defined."""
    query = select(visit_table).where(
        visit_table.c.instrument == instrument,
        visit_table.c.visit_system == visit_system,
        visit_table.c.visit == visit,
    )
    return connection.execute(query).one_or_none()


def visit_times(connection: Connection, instrument: str, visits: Iterable[int]) -> dict[int, float]:
    """Return when visits began, by id [d, MJD TAI]; those that are not defined are left out."""
    times: dict[int, float] = {}
    columns = (visit_table.c.visit, visit_table.c.begin_mjd_tai)
    for chunk in chunks(visits):
        query = select(*columns).where(
            visit_table.c.instrument == instrument,
            visit_table.c.visit_system == ONE_TO_ONE,
            visit_table.c.visit.in_(chunk),
        )
        times.update((row.visit, row.begin_mjd_tai) for row in connection.execute(query))
    return times


def define_visit(
    connection: Connection,
    visit: Mapping[str, Any],
    exposures: Sequence[int],
    regions: Mapping[int, bytes],
) -> bool:
    """Write a visit with its exposures and the regions of its detectors; return whether it is new.

    Parameters
    ----------
    connection : Connection
        In a transaction, which holds all of it.
    visit : mapping
        Columns of ``visit``.
    exposures : sequence of int
        The exposures that make it.
    regions : mapping
        Detector to encoded region.

    Raises
    ------
    ConflictingDefinitionError
        If the visit is defined already, otherwise.
    """
    system = visit["visit_system"]
    names = {"instrument": visit["instrument"], "visit_system": system, "name": VISIT_SYSTEMS[system]}
    upsert(connection, system_table, [names], ["instrument", "visit_system"])
    known = get_visit(connection, visit["instrument"], visit["visit"], system)
    key = {name: visit[name] for name in ("instrument", "visit_system", "visit")}
    if known is not None:
        _require_equal(visit, known)
        same = [visit_table.c[name] == value for name, value in key.items()]
        connection.execute(update(visit_table).where(*same).values(region=visit["region"]))
    else:
        connection.execute(insert(visit_table), [dict(visit)])
        connection.execute(insert(definition_table), [{**key, "exposure": number} for number in exposures])
        connection.execute(insert(membership_table), [key])
    rows = [{**key, "detector": detector, "region": region} for detector, region in regions.items()]
    upsert(connection, region_table, rows, [*key, "detector"])
    return known is None


def _require_equal(visit: Mapping[str, Any], known: Row[Any]) -> None:
    """Compare a definition with the stored one; its region grows as detectors come in."""
    for name, value in visit.items():
        stored = known._mapping[name]  # noqa: SLF001  # SQLAlchemy's public name for it
        if name != "region" and stored != value:
            message = (
                f"visit {visit['visit']} of {visit['instrument']} is defined already with {name} {stored!r}, "
                f"now found {value!r}"
            )
            raise ConflictingDefinitionError(message, visit=visit["visit"], column=name)
