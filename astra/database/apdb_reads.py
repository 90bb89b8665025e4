"""Reading the Alert Production Database: objects of a region, their history, the rows of alerts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from lsst.sphgeom import Region
from numpy.typing import NDArray

from astra.database.apdb_rows import Marker, among, is_visit, load_marker, select_in_ranges
from astra.database.arrays import fetch, table_dtype, to_array
from astra.database.models.apdb import dia_forced_source, dia_object, dia_source
from astra.errors import MissingDataError
from astra.sky.regions import contains, htm_ranges

HISTORY_MONTHS = 12  # that Rubin's packets look back
MONTH_DAYS = 365.25 / 12

OBJECT_COLUMNS = (
    *("diaObjectId", "validityStartMjdTai", "ra", "dec", "raErr", "decErr"),
    *("firstDiaSourceMjdTai", "lastDiaSourceMjdTai", "nDiaSources"),
)
SOURCE_COLUMNS = (
    *("diaSourceId", "diaObjectId", "visit", "detector", "band", "midpointMjdTai", "timeProcessedMjdTai"),
    *("ra", "dec", "raErr", "decErr", "ra_dec_Cov"),
    *("psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr"),
)
FORCED_COLUMNS = (
    *("diaForcedSourceId", "diaObjectId", "visit", "detector", "band", "midpointMjdTai"),
    *("timeProcessedMjdTai", "psfFlux", "psfFluxErr"),
)


@dataclass(frozen=True)
class AlertRows:
    """Database rows of one alert, as mappings by column name.

    Parameters
    ----------
    dia_source : dict
        The detection.
    dia_object : dict or None
        The version of its object that this visit wrote.
    prv_sources, prv_forced : list of dict
        Earlier detections and forced measurements of the object, of 12 months, oldest first.
    """

    dia_source: dict[str, Any]
    dia_object: dict[str, Any] | None
    prv_sources: list[dict[str, Any]]
    prv_forced: list[dict[str, Any]]


@dataclass(frozen=True)
class RegionRows:
    """What is known of a region of the sky.

    Parameters
    ----------
    dia_objects : structured ndarray, shape (n,)
        Objects in the region, columns ``OBJECT_COLUMNS``, ordered by ``diaObjectId``.
    dia_sources, forced : structured ndarray
        Their detections and forced measurements, columns ``SOURCE_COLUMNS`` and ``FORCED_COLUMNS``.
    """

    dia_objects: NDArray[Any]
    dia_sources: NDArray[Any]
    forced: NDArray[Any]


def load_dia_objects(
    connection: sa.Connection,
    ranges: Iterable[tuple[int, int]] | Region,
    *,
    time_mjd_tai: float | None = None,
    columns: Sequence[str] = OBJECT_COLUMNS,
) -> NDArray[Any]:
    """Load the objects of a region.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    ranges : sequence of (int, int), or Region
        First and last HTM pixel of ranges that are apart, see `astra.sky.regions.htm_ranges`, which cover
        more than a region; or the region itself, at whose edge the objects are then cut exactly.
    time_mjd_tai : float, optional
        Load the versions that held then, `start <= time < end`, instead of the current ones [d, MJD TAI];
        not of objects that have been merged into others or closed since.
    columns : sequence of str, optional
        What to load, ``diaObjectId`` among it, and ``ra`` and ``dec`` if there is a region.

    Returns
    -------
    objects : structured ndarray, shape (n,)
        Ordered by ``diaObjectId``.
    """
    pixels = htm_ranges(ranges) if isinstance(ranges, Region) else ranges
    end = dia_object.c.validityEndMjdTai
    holds: list[sa.ColumnElement[bool]] = [end.is_(None)]
    if time_mjd_tai is not None:
        last = dia_object.alias()
        last_end = (
            sa.select(last.c.validityEndMjdTai)
            .where(last.c.diaObjectId == dia_object.c.diaObjectId)
            .order_by(last.c.validityStartMjdTai.desc())
            .limit(1)
            .scalar_subquery()
        )
        holds = [dia_object.c.validityStartMjdTai <= time_mjd_tai, end.is_(None) | (end > time_mjd_tai)]
        holds.append(end.is_(None) | last_end.is_(None))
    query = select_in_ranges(connection, dia_object.c.pixelId, list(pixels), columns)
    rows = connection.execute(query.where(*holds)).all()
    objects = np.sort(to_array(rows, table_dtype(dia_object, columns)), order="diaObjectId")
    if isinstance(ranges, Region):
        objects = objects[contains(ranges, objects["ra"], objects["dec"])]
    return objects


def load_sources(
    connection: sa.Connection,
    object_ids: NDArray[np.int64],
    *conditions: sa.ColumnElement[bool],
    since_mjd_tai: float | None = None,
    until_mjd_tai: float | None = None,
) -> NDArray[Any]:
    """Load the detections of objects that have not been withdrawn: columns ``SOURCE_COLUMNS``.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    object_ids : int64 ndarray, shape (n,)
        Objects.
    *conditions : column element
        What the rows must satisfy besides.
    since_mjd_tai, until_mjd_tai : float, optional
        First ``midpointMjdTai``, inclusive, and last, exclusive [d, MJD TAI].
    """
    conditions = *conditions, *_between(dia_source, since_mjd_tai, until_mjd_tai)
    return _fetch_of_objects(connection, dia_source, SOURCE_COLUMNS, object_ids, conditions)


def load_forced(
    connection: sa.Connection,
    object_ids: NDArray[np.int64],
    *conditions: sa.ColumnElement[bool],
    since_mjd_tai: float | None = None,
    until_mjd_tai: float | None = None,
) -> NDArray[Any]:
    """Load the forced measurements of objects that have not been withdrawn: columns ``FORCED_COLUMNS``.

    The parameters are those of `load_sources`.
    """
    conditions = *conditions, *_between(dia_forced_source, since_mjd_tai, until_mjd_tai)
    return _fetch_of_objects(connection, dia_forced_source, FORCED_COLUMNS, object_ids, conditions)


def read_region(
    connection: sa.Connection,
    region: Region,
    *,
    time_mjd_tai: float,
    read_sources_months: float = HISTORY_MONTHS,
    read_forced_sources_months: float = HISTORY_MONTHS,
) -> RegionRows:
    """Read what was known of a region before a visit: objects, and their history of some months.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    region : Region
        Polygon or circle on the sky; objects are cut at its very edge.
    time_mjd_tai : float
        Midpoint of the visit; objects are as they were known just before [d, MJD TAI].
    read_sources_months, read_forced_sources_months : float, optional
        How far detections and forced measurements look back [month of 30.44 d]; 0 reads none.
    """
    just_before = float(np.nextafter(time_mjd_tai, -np.inf))
    objects = load_dia_objects(connection, region, time_mjd_tai=just_before)
    ids = objects["diaObjectId"]
    first = [
        time_mjd_tai - months * MONTH_DAYS for months in (read_sources_months, read_forced_sources_months)
    ]
    return RegionRows(
        objects,
        load_sources(connection, ids, since_mjd_tai=first[0], until_mjd_tai=time_mjd_tai),
        load_forced(connection, ids, since_mjd_tai=first[1], until_mjd_tai=time_mjd_tai),
    )


def load_alert_rows(
    connection: sa.Connection,
    instrument: str,
    visit: int,
    detector: int,
    *,
    read_sources_months: float = HISTORY_MONTHS,
    read_forced_sources_months: float = HISTORY_MONTHS,
) -> tuple[Marker, list[AlertRows]]:
    """Load all that the alerts of one visit and detector tell, ordered by ``diaSourceId``.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument, visit, detector
        What the alerts are of.
    read_sources_months, read_forced_sources_months : float, optional
        How far the history looks back from the midpoint of the visit [month of 30.44 d].

    Raises
    ------
    MissingDataError
        If the visit and detector has not been associated.
    """
    marker = load_marker(connection, instrument, visit, detector)
    if marker is None:
        message = (
            f"{instrument} visit {visit} detector {detector} has not been associated: there is no apdb_marker"
        )
        raise MissingDataError(message, instrument=instrument, visit=visit, detector=detector)
    of_visit = sa.select(dia_source).where(
        *is_visit(dia_source, visit, detector), dia_source.c.timeWithdrawnMjdTai.is_(None)
    )
    sources = [dict(row) for row in connection.execute(of_visit.order_by("diaSourceId")).mappings()]
    ids = np.unique([row["diaObjectId"] for row in sources if row["diaObjectId"] is not None]).astype(
        np.int64
    )
    is_written = dia_object.c.validityStartMjdTai == marker.midpointMjdTai
    objects = _history(connection, dia_object, ids, is_written)
    previous = [
        _history(
            connection,
            table,
            ids,
            table.c.visit != visit,
            table.c.timeWithdrawnMjdTai.is_(None),
            *_between(table, marker.midpointMjdTai - months * MONTH_DAYS, None),
        )
        for table, months in (
            (dia_source, read_sources_months),
            (dia_forced_source, read_forced_sources_months),
        )
    ]

    def before(rows: dict[int, list[dict[str, Any]]], source: dict[str, Any]) -> list[dict[str, Any]]:
        own = rows.get(source["diaObjectId"], [])
        earlier = [row for row in own if row["midpointMjdTai"] < source["midpointMjdTai"]]
        return sorted(earlier, key=lambda row: (row["midpointMjdTai"], row["visit"], row["detector"]))

    return marker, [
        AlertRows(
            source,
            next(iter(objects.get(source["diaObjectId"], [])), None),
            before(previous[0], source),
            before(previous[1], source),
        )
        for source in sources
    ]


def _between(
    table: sa.Table, since_mjd_tai: float | None, until_mjd_tai: float | None
) -> list[sa.ColumnElement[bool]]:
    """Conditions on the midpoint of rows: not before one time, and before another."""
    time = table.c.midpointMjdTai
    conditions = [] if since_mjd_tai is None else [time >= since_mjd_tai]
    return conditions if until_mjd_tai is None else [*conditions, time < until_mjd_tai]


def _history(
    connection: sa.Connection, table: sa.Table, ids: NDArray[np.int64], *conditions: sa.ColumnElement[bool]
) -> dict[int, list[dict[str, Any]]]:
    """Whole rows of objects, by object."""
    found: dict[int, list[dict[str, Any]]] = {}
    statement = sa.select(table).where(among(connection, table.c.diaObjectId, ids), *conditions)
    for row in connection.execute(statement).mappings():
        found.setdefault(row["diaObjectId"], []).append(dict(row))
    return found


def _fetch_of_objects(
    connection: sa.Connection,
    table: sa.Table,
    names: Sequence[str],
    object_ids: NDArray[np.int64],
    conditions: Sequence[sa.ColumnElement[bool]],
) -> NDArray[Any]:
    """Rows of objects as an array, without those that have been withdrawn."""
    belongs = among(connection, table.c.diaObjectId, object_ids)
    return fetch(connection, table, names, belongs, table.c.timeWithdrawnMjdTai.is_(None), *conditions)
