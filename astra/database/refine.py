"""Putting the regions of visits where fitted WCSs say that the detectors were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lsst.sphgeom import ConvexPolygon
from sqlalchemy import Connection, bindparam, select, update

from astra.database.bulk import execute_rows, is_among
from astra.database.engine import transaction
from astra.database.state import chunks, upsert
from astra.database.survey import region_table, visit_table
from astra.database.visits import KEY
from astra.errors import MissingDataError
from astra.sky.grouping import ONE_TO_ONE
from astra.sky.regions import decode_polygon, encode, hull_of_regions
from astra.sky.visit_regions import CALIBRATED, same_region

VISITS_PER_TRANSACTION = 100


@dataclass(frozen=True)
class VisitGeometry:
    """Where detectors of a visit were, by fitted WCSs.

    Parameters
    ----------
    visit : int
        Identifier.
    detectors : mapping
        Detector to region; see `astra.sky.visit_regions.calibrated_regions`.
    """

    visit: int
    detectors: Mapping[int, ConvexPolygon]


def refine_visit_regions(
    url: str, instrument: str, geometries: Iterable[VisitGeometry], visit_system: int = ONE_TO_ONE
) -> int:
    """Replace the regions of detectors, and of the visits around them, 100 visits a transaction.

    Detectors that are not named keep what they have. From then on the regions of these visits are not
    compared with predictions any more, nor replaced by them.

    Parameters
    ----------
    url : str
        The database.
    instrument : str
        Camera name.
    geometries : iterable of VisitGeometry
        What was fitted, each visit once.
    visit_system : int, optional
        System of the visits.

    Returns
    -------
    n_refined : int
        Number of visits of which a region is now another; the others were so already.

    Raises
    ------
    MissingDataError
        If a visit is not defined; nothing of its transaction is written.
    """
    n_refined = 0
    for some in chunks(geometries, VISITS_PER_TRANSACTION):
        with transaction(url) as connection:
            n_refined += _refine(connection, instrument, visit_system, some)
    return n_refined


def _refine(connection: Connection, instrument: str, system: int, geometries: Sequence[VisitGeometry]) -> int:
    sources = _lock_visits(connection, instrument, system, geometries)
    known = _known_regions(connection, instrument, system, list(sources))
    detector_rows, visit_rows = [], []
    for geometry in geometries:
        regions, visit = known.get(geometry.visit, {}), geometry.visit
        moved = {
            number: region
            for number, region in geometry.detectors.items()
            if number not in regions or not same_region(region, regions[number])
        }
        if not moved and sources[visit] == CALIBRATED:
            continue
        key = {"instrument": instrument, "visit_system": system, "visit": visit}
        detector_rows += [{**key, "detector": n, "region": encode(region)} for n, region in moved.items()]
        hull = hull_of_regions(list({**regions, **moved}.values()))
        visit_rows.append({"of": visit, "region": encode(hull), "region_source": CALIBRATED})
    upsert(connection, region_table, detector_rows, [*KEY, "detector"])
    statement = update(visit_table).where(
        visit_table.c.instrument == instrument,
        visit_table.c.visit_system == system,
        visit_table.c.visit == bindparam("of"),
    )
    execute_rows(connection, statement, visit_rows)
    return len(visit_rows)


def _lock_visits(
    connection: Connection, instrument: str, system: int, geometries: Sequence[VisitGeometry]
) -> dict[int, str]:
    """Return where the regions of visits come from; all of them must be defined."""
    wanted = [geometry.visit for geometry in geometries]
    query = (
        select(visit_table.c.visit, visit_table.c.region_source)
        .where(
            visit_table.c.instrument == instrument,
            visit_table.c.visit_system == system,
            is_among(connection, visit_table.c.visit, wanted),
        )
        .order_by(visit_table.c.visit)
        .with_for_update()
    )
    sources = {row.visit: row.region_source for row in connection.execute(query)}
    for visit in wanted:
        if visit not in sources:
            message = (
                f"visit {visit} of instrument {instrument} in system {system} is not defined; "
                f"run DefineVisits before its regions are refined"
            )
            raise MissingDataError(message, visit=visit, instrument=instrument)
    return sources


def _known_regions(
    connection: Connection, instrument: str, system: int, visits: Sequence[int]
) -> dict[int, dict[int, ConvexPolygon]]:
    query = select(region_table.c.visit, region_table.c.detector, region_table.c.region).where(
        region_table.c.instrument == instrument,
        region_table.c.visit_system == system,
        is_among(connection, region_table.c.visit, visits),
    )
    known: dict[int, dict[int, ConvexPolygon]] = {}
    for row in connection.execute(query):
        known.setdefault(row.visit, {})[row.detector] = decode_polygon(row.region)
    return known
