"""Tables of the survey, and questions about visits, inside the caller's transaction.

`astra.database.raws` writes exposures and raw files, `astra.database.visits` visits; what exposures have is
asked in `astra.database.exposures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lsst.sphgeom import ConvexPolygon
from sqlalchemy import Connection, Row, Table, and_, func, select

from astra.database.models.survey import (
    Exposure,
    RawCollection,
    RawProduct,
    Visit,
    VisitDefinition,
    VisitDetectorRegion,
    VisitSystem,
    VisitSystemMembership,
)
from astra.database.state import chunks
from astra.errors import MissingDataError
from astra.sky.grouping import ONE_TO_ONE, SYSTEM_NAMES
from astra.sky.regions import decode_polygon

exposure_table: Table = Exposure.__table__  # type: ignore[assignment]
raw_table: Table = RawProduct.__table__  # type: ignore[assignment]
collection_table: Table = RawCollection.__table__  # type: ignore[assignment]
system_table: Table = VisitSystem.__table__  # type: ignore[assignment]
visit_table: Table = Visit.__table__  # type: ignore[assignment]
definition_table: Table = VisitDefinition.__table__  # type: ignore[assignment]
membership_table: Table = VisitSystemMembership.__table__  # type: ignore[assignment]
region_table: Table = VisitDetectorRegion.__table__  # type: ignore[assignment]


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


def visit_system_id(connection: Connection, name: str) -> int:
    """Return the number of a visit system.

    Raises
    ------
    MissingDataError
        If no visit has been defined in a system of that name.
    """
    for number, known in SYSTEM_NAMES.items():
        if known == name:
            return number
    table = system_table
    found = connection.execute(select(table.c.visit_system, table.c.name)).all()
    numbers: dict[str, int] = {row.name: row.visit_system for row in found}
    if name not in numbers:
        known_names = ", ".join(sorted({*SYSTEM_NAMES.values(), *numbers}))
        message = f"no visits are defined in the system {name!r}; known are {known_names}"
        raise MissingDataError(message, visit_system=name)
    return numbers[name]


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


def visits_named_otherwise(
    connection: Connection, instrument: str, visits: Iterable[int], visit_system: int = ONE_TO_ONE
) -> set[int]:
    """Return those of some visits that are defined, and whose id is none of their exposures'."""
    found: set[int] = set()
    own: set[int] = set()
    for chunk in chunks(visits):
        query = select(definition_table.c.visit, definition_table.c.exposure).where(
            definition_table.c.instrument == instrument,
            definition_table.c.visit_system == visit_system,
            definition_table.c.visit.in_(chunk),
        )
        for visit, exposure in connection.execute(query):
            (own if visit == exposure else found).add(visit)
    return found - own


def visit_midpoints(
    connection: Connection, instrument: str, visits: Iterable[int], visit_system: int = ONE_TO_ONE
) -> dict[int, float]:
    """Return the middles of visits, by id [d, MJD TAI]; those without a time are left out."""
    begin, end = visit_table.c.begin_mjd_tai, visit_table.c.end_mjd_tai
    times: dict[int, float] = {}
    for chunk in chunks(visits):
        query = select(visit_table.c.visit, begin, func.coalesce(end, begin)).where(
            visit_table.c.instrument == instrument,
            visit_table.c.visit_system == visit_system,
            begin.is_not(None),
            visit_table.c.visit.in_(chunk),
        )
        times.update((row[0], 0.5 * (row[1] + row[2])) for row in connection.execute(query))
    return times


def detector_regions(
    connection: Connection, instrument: str, visits: Iterable[int], visit_system: int = ONE_TO_ONE
) -> dict[tuple[int, int], ConvexPolygon]:
    """Return where the detectors of visits looked, by visit and detector; of undefined visits nothing."""
    found = {}
    for chunk in chunks(visits):
        query = select(region_table.c.visit, region_table.c.detector, region_table.c.region).where(
            region_table.c.instrument == instrument,
            region_table.c.visit_system == visit_system,
            region_table.c.visit.in_(chunk),
        )
        for visit, detector, region in connection.execute(query):
            found[visit, detector] = decode_polygon(region)
    return found
