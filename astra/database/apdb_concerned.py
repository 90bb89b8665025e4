"""What a correction concerns: visits whose alerts tell of its objects, and the duplicates of a night."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from astra.database.apdb_changes import find_rows
from astra.database.apdb_rows import among
from astra.database.apdb_updates import find_duplicate_objects, merge_objects
from astra.database.footprints import footprint_table
from astra.database.models.apdb import apdb_marker, dia_source
from astra.sky.regions import decode_polygon, dilate


def owners_of(connection: sa.Connection, dia_source_ids: Iterable[int]) -> set[int]:
    """Return the objects that detections belong to; those that are not there have none."""
    rows = find_rows(connection, set(dia_source_ids))
    return {row["diaObjectId"] for row in rows if row["diaObjectId"] is not None}


def concerned_tasks(
    connection: sa.Connection, object_ids: Iterable[int], dia_source_ids: Iterable[int] = ()
) -> list[str]:
    """Return the tasks that have associated visits which detect objects, or made detections; sorted."""
    places = []
    for column, ids in ((dia_source.c.diaObjectId, object_ids), (dia_source.c.diaSourceId, dia_source_ids)):
        wanted = np.array(sorted(set(ids)), dtype=np.int64)
        query = sa.select(dia_source.c.visit, dia_source.c.detector).where(among(connection, column, wanted))
        places += [(row[0], row[1]) for row in connection.execute(query.distinct())]
    visits = np.array(sorted({visit for visit, _ in places}), dtype=np.int64)
    marker = apdb_marker.c
    query = sa.select(marker.visit, marker.detector, marker.task_id)
    rows = connection.execute(query.where(among(connection, marker.visit, visits)))
    return sorted({row.task_id for row in rows if (row.visit, row.detector) in set(places)})


def merge_duplicates(
    connection: sa.Connection,
    instrument: str,
    places: Iterable[tuple[int, int]],
    *,
    radius_arcsec: float,
    time_mjd_tai: float,
    plugins: Sequence[str],
) -> dict[int, int]:
    """Merge the duplicates where some detectors looked; see `find_duplicate_objects`.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str
        Camera name.
    places : iterable of (int, int)
        Visits and detectors; those that have not been associated are left out.
    radius_arcsec : float
        Largest separation of one thing [arcsec].
    time_mjd_tai : float
        Now [d, MJD TAI].
    plugins : sequence of str
        Statistics, as for `astra.database.apdb.store_visit`.

    Returns
    -------
    merged : dict of int to int
        The objects that went, and those that stay.
    """
    wanted, place = set(places), footprint_table.c
    visits = np.array(sorted({visit for visit, _ in wanted}), dtype=np.int64)
    query = sa.select(place.visit, place.detector, place.region).where(
        place.instrument == instrument, among(connection, place.visit, visits)
    )
    merged: dict[int, int] = {}
    for row in connection.execute(query.order_by(place.midpoint_mjd_tai, place.detector)).all():
        if (row.visit, row.detector) in wanted:
            region = dilate(decode_polygon(row.region), radius_arcsec)
            found = find_duplicate_objects(connection, region, radius_arcsec=radius_arcsec)
            merge_objects(connection, found, time_mjd_tai=time_mjd_tai, plugins=plugins)
            merged |= found
    return _ends(merged)


def _ends(merged: Mapping[int, int]) -> dict[int, int]:
    """Name for each object the one that stays in the end: in a further region that may have gone too."""
    ends = {}
    for first, then in merged.items():
        stays = then
        while stays in merged:
            stays = merged[stays]
        ends[first] = stays
    return ends
