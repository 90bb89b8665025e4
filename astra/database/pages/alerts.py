"""Lists of detections, newest first, a page at a time: those of a night, near a place, above a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lsst.sphgeom import Angle, Circle, UnitVector3d
from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from astra.database.apdb_rows import select_in_ranges
from astra.database.models.apdb import apdb_marker, dia_object, dia_source
from astra.database.survey import visit_table
from astra.sky.regions import ARCSEC_PER_RADIAN, htm_ranges, unit_vectors

PAGE_ROWS = 24
WINDOW = 20_000  # detections that one question looks at
MAX_VISITS = 5_000  # of a night
MAX_PIXEL_RANGES = 64
ORDERS = ("newest", "snr", "reliability")
# Flags that a list can leave out, by word.
FLAGS = {
    "dipole": "isDipole",
    "negative": "isNegative",
    "edge": "pixelFlags_edge",
    "saturated": "pixelFlags_saturated",
    "cr": "pixelFlags_cr",
    "streak": "pixelFlags_streak",
    "injected": "pixelFlags_injected",
    "withdrawn": "timeWithdrawnMjdTai",
}
COLUMNS = (
    *("diaSourceId", "diaObjectId", "ssObjectId", "visit", "detector", "band", "midpointMjdTai", "ra", "dec"),
    *("psfFlux", "psfFluxErr", "snr", "reliability", "isDipole", "isNegative", "timeWithdrawnMjdTai"),
    *(name for name in FLAGS.values() if name.startswith("pixelFlags")),
)

_source = dia_source.c


@dataclass(frozen=True)
class AlertFilter:
    """Which detections; what is None does not choose.

    Parameters
    ----------
    night : int, optional
        YYYYMMDD.
    visit, detector : int, optional
        Where.
    min_snr, min_reliability : float, optional
        Least signal to noise (of its size), and reliability.
    without : sequence of str
        Of `FLAGS`: those that have one are left out.
    cone : (float, float, float), optional
        Centre [deg, ICRS] and radius [arcsec].
    order : str
        One of `ORDERS`: those by a figure look at the newest `WINDOW`.
    """

    night: int | None = None
    visit: int | None = None
    detector: int | None = None
    min_snr: float | None = None
    min_reliability: float | None = None
    without: Sequence[str] = ("withdrawn",)
    cone: tuple[float, float, float] | None = None
    order: str = "newest"


@dataclass(frozen=True)
class AlertPage:
    """Some detections of a list.

    Parameters
    ----------
    rows : sequence of mapping
        Columns of `COLUMNS`, ``instrument``, and ``distance_arcsec`` from the centre of a circle.
    before : int or None
        Of the list by age: the next page has ids less than this.
    skip : int or None
        Of the others: how many the next page leaves out.
    is_cut : bool
        Whether there may be more than was looked at.
    """

    rows: Sequence[Mapping[str, Any]]
    before: int | None = None
    skip: int | None = None
    is_cut: bool = False


def list_alert_page(
    connection: Connection,
    wanted: AlertFilter,
    *,
    before: int | None = None,
    skip: int = 0,
    n_rows: int = PAGE_ROWS,
) -> AlertPage:
    """Return the detections of a filter.

    Parameters
    ----------
    connection : Connection
        To the database.
    wanted : AlertFilter
        Which.
    before : int, optional
        Ids are less than this: of the list by age.
    skip : int, optional
        How many are left out: of the other lists.
    n_rows : int, optional
        How many at most.
    """
    if wanted.cone is not None:
        return _in_cone(connection, wanted, skip, n_rows)
    conditions = _place(connection, wanted)
    if before is not None:
        conditions.append(_source.diaSourceId < before)
    newest = select(_source.diaSourceId).where(*conditions).order_by(_source.diaSourceId.desc()).limit(WINDOW)
    some = newest.subquery("some")
    query = _columns().join(some, some.c.diaSourceId == _source.diaSourceId).where(*_figures(wanted))
    query = query.order_by(*_order(wanted.order)).offset(skip).limit(n_rows + 1)
    found = _rows(connection, query)
    if len(found) > n_rows:
        rows = found[:n_rows]
        if wanted.order == "newest":
            return AlertPage(rows, before=rows[-1]["diaSourceId"])
        return AlertPage(rows, skip=skip + n_rows)
    last, number = connection.execute(select(func.min(some.c.diaSourceId), func.count())).one()
    is_cut = number >= WINDOW
    by_age = wanted.order == "newest"
    return AlertPage(found, before=int(last) if is_cut and by_age else None, is_cut=is_cut)


def newer_page(
    connection: Connection, wanted: AlertFilter, before: int, n_rows: int = PAGE_ROWS
) -> tuple[int | None, int]:
    """Find the page before one of the list by age.

    Parameters
    ----------
    connection : Connection
        To the database.
    wanted : AlertFilter
        Which, in the order ``newest``.
    before : int
        Ids of the page are less than this.
    n_rows : int, optional
        How many a page has.

    Returns
    -------
    cursor : int or None
        Ids of the page before are less than this; None if it is the first one.
    n_newer : int
        Detections of it that are not less than ``before``; 0 if there is no page before.
    """
    newer = (*_place(connection, wanted), _source.diaSourceId >= before)
    some = select(_source.diaSourceId).where(*newer).order_by(_source.diaSourceId).limit(WINDOW).subquery()
    query = select(_source.diaSourceId).join(some, some.c.diaSourceId == _source.diaSourceId)
    query = query.where(*_figures(wanted)).order_by(_source.diaSourceId).limit(n_rows + 1)
    ids = list(connection.execute(query).scalars())
    return (ids[n_rows] if len(ids) > n_rows else None), min(len(ids), n_rows)


def _columns() -> Select[Any]:
    marker = apdb_marker.c
    instrument = (
        select(marker.instrument)
        .where(marker.visit == _source.visit, marker.detector == _source.detector)
        .limit(1)
        .scalar_subquery()
        .label("instrument")
    )
    return select(*(_source[name] for name in COLUMNS), instrument)


def _rows(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    return [{**row, "band": (row["band"] or "").strip()} for row in connection.execute(query).mappings()]


def _place(connection: Connection, wanted: AlertFilter) -> list[ColumnElement[bool]]:
    """Conditions that an index answers."""
    found: list[ColumnElement[bool]] = []
    if wanted.visit is not None:
        found.append(_source.visit == wanted.visit)
    if wanted.detector is not None:
        found.append(_source.detector == wanted.detector)
    if wanted.night is not None:
        query = select(visit_table.c.visit).where(visit_table.c.day_obs == wanted.night).distinct()
        found.append(_source.visit.in_(list(connection.execute(query.limit(MAX_VISITS)).scalars())))
    return found


def _figures(wanted: AlertFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.min_snr is not None:
        found.append(func.abs(_source.snr) >= wanted.min_snr)
    if wanted.min_reliability is not None:
        found.append(_source.reliability >= wanted.min_reliability)
    for word in wanted.without:
        column = _source[FLAGS[word]]
        is_time = word == "withdrawn"
        found.append(column.is_(None) if is_time else func.coalesce(column, False).is_(False))
    return found


def _order(order: str) -> list[ColumnElement[Any]]:
    newest = _source.diaSourceId.desc()
    if order == "snr":
        return [func.coalesce(func.abs(_source.snr), 0.0).desc(), newest]
    if order == "reliability":
        return [func.coalesce(_source.reliability, -1.0).desc(), newest]
    return [newest]


def _circle(cone: tuple[float, float, float]) -> Circle:
    ra, dec, radius = cone
    vector = unit_vectors([ra], [dec])[0].tolist()
    return Circle(UnitVector3d(*vector), Angle(radius / ARCSEC_PER_RADIAN))


def _in_cone(connection: Connection, wanted: AlertFilter, skip: int, n_rows: int) -> AlertPage:
    """Find detections within a circle, the nearest first: by the index of pixels, then exactly."""
    cone = wanted.cone or (0.0, 0.0, 0.0)
    ranges = htm_ranges(_circle(cone), max_ranges=MAX_PIXEL_RANGES)
    near = select_in_ranges(connection, _source.pixelId, ranges, ["diaSourceId"]).limit(WINDOW).subquery()
    query = _columns().join(near, near.c.diaSourceId == _source.diaSourceId)
    query = query.where(*_place(connection, wanted), *_figures(wanted))
    rows = _within(_rows(connection, query), cone)
    shown = rows[skip : skip + n_rows]
    return AlertPage(shown, skip=skip + n_rows if skip + n_rows < len(rows) else None)


def _within(rows: Sequence[dict[str, Any]], cone: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Rows within a circle, with their distance from its centre, the nearest first."""
    if not rows:
        return []
    centre = unit_vectors([cone[0]], [cone[1]])
    vectors = unit_vectors([row["ra"] for row in rows], [row["dec"] for row in rows])
    chord = np.linalg.norm(vectors - centre, axis=1)
    distances = 2.0 * np.arcsin(np.clip(chord / 2.0, 0.0, 1.0)) * ARCSEC_PER_RADIAN
    found = [
        {**row, "distance_arcsec": float(distance)}
        for row, distance in zip(rows, distances, strict=True)
        if distance <= cone[2]
    ]
    return sorted(found, key=lambda row: (row["distance_arcsec"], row["diaSourceId"]))


def get_detection(connection: Connection, source_id: int) -> Mapping[str, Any] | None:
    """Return the whole row of a detection, with ``instrument``; None if there is none."""
    marker = apdb_marker.c
    on = and_(marker.visit == _source.visit, marker.detector == _source.detector)
    query = select(dia_source, marker.instrument).join(apdb_marker, on, isouter=True)
    row = connection.execute(query.where(_source.diaSourceId == source_id)).mappings().first()
    return None if row is None else {**row, "band": (row["band"] or "").strip()}


def get_object(connection: Connection, object_id: int) -> Mapping[str, Any] | None:
    """Return the newest version of an object; None if there is none."""
    columns = dia_object.c
    query = select(dia_object).where(columns.diaObjectId == object_id)
    row = connection.execute(query.order_by(columns.validityStartMjdTai.desc()).limit(1)).mappings().first()
    return None if row is None else dict(row)


def objects_near(
    connection: Connection, ra: float, dec: float, radius_arcsec: float, *, n_rows: int = 20
) -> list[dict[str, Any]]:
    """Return the current objects within a circle, the nearest first."""
    names = ("diaObjectId", "ra", "dec", "nDiaSources", "lastDiaSourceMjdTai")
    cone = (ra, dec, radius_arcsec)
    ranges = htm_ranges(_circle(cone), max_ranges=MAX_PIXEL_RANGES)
    query = select_in_ranges(connection, dia_object.c.pixelId, ranges, names)
    query = query.where(dia_object.c.validityEndMjdTai.is_(None)).limit(WINDOW)
    rows = [{**row, "diaSourceId": row["diaObjectId"]} for row in connection.execute(query).mappings()]
    return [{name: row[name] for name in (*names, "distance_arcsec")} for row in _within(rows, cone)[:n_rows]]
