"""Cells of the sky as resources: of the tasks that write objects there, one runs at a time.

A resource is a name, of which the scheduler gives out one at a time. Tasks that touch the same cell exclude
each other, and those that look elsewhere run at once. Where a detector looks is known once its visit is
defined; until then a task takes the name that stands for anywhere unknown. The tables do not rely on this:
who writes them waits for others in the database, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CELL_ORDER = 4  # HEALPix: 3072 cells of 3.7 deg, as wide as the widest fields
MARGIN_ARCSEC = 60.0  # beyond a region, more than any radius of association
UNKNOWN = "apdb"
PREFIX = "apdb-sky-"
MAX_VISITS_KEPT = 20_000

Cells = Mapping[int, frozenset[int]]  # by detector

_known: dict[tuple[str, str, str, int], Cells] = {}


def sky_resources(
    url: str, instrument: str, visit_system: str, pairs: Iterable[tuple[int, int]]
) -> dict[str, int]:
    """Return what a task uses that writes objects where some detectors looked.

    Parameters
    ----------
    url : str
        Database in which the visits are defined.
    instrument, visit_system : str
        Camera name, and name of the system of the visits.
    pairs : iterable of (int, int)
        Visits and detectors.
    """
    wanted = list(pairs)
    by_visit = _cells_of_visits(url, instrument, visit_system, {visit for visit, _ in wanted})
    found = [by_visit.get(visit, {}).get(detector) for visit, detector in wanted]
    cells = sorted({cell for own in found if own is not None for cell in own})
    names = [f"{PREFIX}{cell}" for cell in cells] + ([UNKNOWN] if None in found or not found else [])
    return dict.fromkeys(names, 1)


def _cells_of_visits(url: str, instrument: str, visit_system: str, visits: set[int]) -> dict[int, Cells]:
    """Return the cells of visits; one statement for those that are asked for the first time."""
    new = {visit for visit in visits if (url, instrument, visit_system, visit) not in _known}
    if new:
        if len(_known) > MAX_VISITS_KEPT:
            _known.clear()
            new = visits
        for visit, cells in _read_cells(url, instrument, visit_system, new).items():
            _known[url, instrument, visit_system, visit] = cells
    keys = {visit: (url, instrument, visit_system, visit) for visit in visits}
    return {visit: _known[key] for visit, key in keys.items() if key in _known}


def _read_cells(url: str, instrument: str, visit_system: str, visits: set[int]) -> dict[int, Cells]:
    from astra.database.engine import reading
    from astra.database.survey import detector_regions, visit_system_id
    from astra.errors import MissingDataError
    from astra.sky.healpix import healpix_ranges
    from astra.sky.regions import dilate

    with reading(url) as connection:
        try:
            system = visit_system_id(connection, visit_system)
        except MissingDataError:  # nothing is defined in it yet
            return {}
        regions = detector_regions(connection, instrument, visits, system)
    found: dict[int, dict[int, frozenset[int]]] = {}
    for (visit, detector), region in regions.items():
        ranges = healpix_ranges(dilate(region, MARGIN_ARCSEC), CELL_ORDER)
        cells = frozenset(cell for first, last in ranges for cell in range(first, last + 1))
        found.setdefault(visit, {})[detector] = cells
    return dict(found)
