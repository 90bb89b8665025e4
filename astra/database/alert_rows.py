"""All that the alerts of one visit and detector tell, by column.

The same rows as `astra.database.apdb.load_alert_rows` gives, without a dict for each: a visit of ten thousand
detections lists a million rows. A column is a masked array, masked where it is null.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.database.apdb import Marker, load_marker
from astra.database.arrays import table_dtype
from astra.database.models.apdb import dia_forced_source, dia_object, dia_source
from astra.database.models.base import metadata
from astra.errors import MissingDataError
from astra.sky.regions import ARCSEC_PER_RADIAN, unit_vectors

HISTORY_DAYS = 365.25  # the 12 months that Rubin's packets look back
_IDS_PER_STATEMENT = 500
_LONGEST_TEXT = 7  # what `table_dtype` gives a column of text
_TIME_ORDER = ("detector", "visit", "midpointMjdTai", "diaObjectId")  # the last one first

Columns = Mapping[str, "np.ma.MaskedArray[Any, Any]"]


@dataclass(frozen=True)
class History:
    """Earlier rows of objects, by object and time: detection i has those of ``start[i] : end[i]``.

    Parameters
    ----------
    columns : mapping of str to masked array
        Rows, those of an object together, oldest first.
    start, end : int64 ndarray, shape (n,)
        First row of each detection, and the one after its last.
    """

    columns: Columns
    start: NDArray[np.int64]
    end: NDArray[np.int64]


@dataclass(frozen=True)
class ChosenRows:
    """Rows of which a detection has one or none.

    Parameters
    ----------
    columns : mapping of str to masked array
        Rows.
    rows : int64 ndarray, shape (n,)
        Row of each detection; -1 for none.
    """

    columns: Columns
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class AlertColumns:
    """Rows of the alerts of one visit and detector.

    Parameters
    ----------
    marker : Marker
        Row of the visit and detector.
    dia_sources : mapping of str to masked array
        Detections, ordered by ``diaSourceId``; those that are withdrawn are left out, here and below.
    dia_objects : ChosenRows
        The versions of their objects that this visit wrote.
    prv_sources, prv_forced : History
        Earlier detections and forced measurements of the objects.
    ss_sources, mpc_orbits : ChosenRows
        Geometry and orbits of solar-system bodies; none where the database has no such tables.
    """

    marker: Marker
    dia_sources: Columns
    dia_objects: ChosenRows
    prv_sources: History
    prv_forced: History
    ss_sources: ChosenRows
    mpc_orbits: ChosenRows

    def __len__(self) -> int:
        return len(self.dia_sources["diaSourceId"])


def load_alert_columns(
    connection: sa.Connection,
    instrument: str,
    visit: int,
    detector: int,
    *,
    history_days: float = HISTORY_DAYS,
) -> AlertColumns:
    """Load the rows of the alerts of one visit and detector.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument, visit, detector
        Which.
    history_days : float, optional
        How far the history looks back from the middle of the visit [d].

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
    here = [dia_source.c.visit == visit, dia_source.c.detector == detector]
    of_visit = _fetch(connection, dia_source, [*here, dia_source.c.timeWithdrawnMjdTai.is_(None)])
    sources = _take(of_visit, np.argsort(of_visit["diaSourceId"].data, kind="stable"))
    ids = np.unique(sources["diaObjectId"].compressed())
    since = marker.midpointMjdTai - history_days
    histories = [
        _history(_fetch_of(connection, table, "diaObjectId", ids, _before(table, visit, since)), sources)
        for table in (dia_source, dia_forced_source)
    ]
    starts = dia_object.c.validityStartMjdTai == marker.midpointMjdTai
    objects = _fetch_of(connection, dia_object, "diaObjectId", ids, [starts])
    ss_sources = _optional(connection, "SSSource", "diaSourceId", sources["diaSourceId"].compressed())
    bodies = _choose(ss_sources, "diaSourceId", sources["diaSourceId"])
    return AlertColumns(
        marker,
        sources,
        _choose(objects, "diaObjectId", sources["diaObjectId"]),
        histories[0],
        histories[1],
        bodies,
        _orbits(connection, bodies),
    )


def load_neighbour_history(
    connection: sa.Connection,
    alerts: AlertColumns,
    radius_arcsec: float,
    *,
    history_days: float = HISTORY_DAYS,
) -> History:
    """Load the forced measurements of the nearest object that was known, for detections of new objects.

    They tell how deep earlier visits looked near a place where nothing was known then.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    alerts : AlertColumns
        The detections, of `load_alert_columns`.
    radius_arcsec : float
        Largest distance of that object [arcsec].
    history_days : float, optional
        How far the history looks back [d].

    Returns
    -------
    history : History
        For each detection; nothing where its object has forced measurements of its own.
    """
    marker, sources = alerts.marker, alerts.dia_sources
    here = [dia_forced_source.c.visit == marker.visit, dia_forced_source.c.detector == marker.detector]
    known = _fetch(connection, dia_forced_source, [*here, dia_forced_source.c.timeWithdrawnMjdTai.is_(None)])
    old = np.setdiff1d(known["diaObjectId"].data, sources["diaObjectId"].compressed())
    objects = _take(known, np.isin(known["diaObjectId"].data, old))
    is_new = alerts.prv_forced.end == alerts.prv_forced.start
    nearest = _nearest(sources, objects, radius_arcsec)
    owners = np.ma.array(nearest, mask=(nearest < 0) | ~is_new)
    since = marker.midpointMjdTai - history_days
    conditions = _before(dia_forced_source, marker.visit, since)
    rows = _fetch_of(connection, dia_forced_source, "diaObjectId", np.unique(owners.compressed()), conditions)
    return _history(rows, {**sources, "diaObjectId": owners})


def _nearest(sources: Columns, objects: Columns, radius_arcsec: float) -> NDArray[np.int64]:
    """Id of the object nearest to each detection; -1 where none is near enough."""
    if not len(objects["diaObjectId"]):
        return np.full(len(sources["ra"]), -1, dtype=np.int64)
    tree = cKDTree(unit_vectors(objects["ra"].data, objects["dec"].data))
    chord = 2 * np.sin(radius_arcsec / ARCSEC_PER_RADIAN / 2)
    distance, index = tree.query(
        unit_vectors(sources["ra"].data, sources["dec"].data), distance_upper_bound=chord
    )
    ids = np.append(objects["diaObjectId"].data, -1)  # the tree's number for none is their count
    found: NDArray[np.int64] = np.where(np.isfinite(distance), ids[index], -1)
    return found


def _before(table: sa.Table, visit: int, since: float) -> list[sa.ColumnElement[bool]]:
    """Conditions of rows of the history of a visit, since a time [d, MJD TAI]."""
    return [table.c.visit != visit, table.c.midpointMjdTai >= since, table.c.timeWithdrawnMjdTai.is_(None)]


def _orbits(connection: sa.Connection, bodies: ChosenRows) -> ChosenRows:
    """Orbits of the bodies of detections, by designation."""
    names = bodies.columns.get("designation", np.ma.array([], dtype="U1"))
    orbits = _optional(connection, "mpc_orbits", "designation", np.unique(names.compressed()))
    if not len(names):
        return ChosenRows(orbits, np.full(len(bodies.rows), -1, dtype=np.int64))
    wanted = np.ma.array(names[bodies.rows], copy=True)
    wanted[bodies.rows < 0] = np.ma.masked
    return _choose(orbits, "designation", wanted)


def _optional(connection: sa.Connection, name: str, key: str, ids: NDArray[Any]) -> Columns:
    """Rows of a table that not every database has."""
    table = metadata.tables.get(name)
    return {} if table is None else _fetch_of(connection, table, key, ids, [])


def _fetch_of(
    connection: sa.Connection,
    table: sa.Table,
    key: str,
    ids: NDArray[Any],
    conditions: Sequence[sa.ColumnElement[bool]],
) -> Columns:
    """Rows of some ids."""
    parts = [_fetch(connection, table, [table.c[key].in_(chunk), *conditions]) for chunk in _chunks(ids)]
    if not parts:
        return _fetch(connection, table, [sa.false()])
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _join(parts: list[np.ma.MaskedArray[Any, Any]]) -> np.ma.MaskedArray[Any, Any]:
    """Put parts of a column one after the other."""
    masks = [np.ma.getmaskarray(part) for part in parts]
    return np.ma.array(np.concatenate([part.data for part in parts]), mask=np.concatenate(masks))


def _chunks(ids: NDArray[Any]) -> Iterator[list[Any]]:
    """Parts of a list of ids that fit one statement."""
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield ids[start : start + _IDS_PER_STATEMENT].tolist()


def _fetch(
    connection: sa.Connection, table: sa.Table, conditions: Sequence[sa.ColumnElement[bool]]
) -> Columns:
    """Rows that satisfy all conditions, in no particular order."""
    result = connection.execute(sa.select(table).where(*conditions)).all()
    by_column = zip(*result, strict=True) if result else iter([()] * len(table.columns))
    return {
        column.name: _column(_with_zone(column, values), _dtype(table, column))
        for column, values in zip(table.columns, by_column, strict=True)
    }


def _with_zone(column: sa.Column[Any], values: Sequence[Any]) -> Sequence[Any]:
    """Give times their zone, UTC, which SQLite does not keep."""
    if not isinstance(column.type, sa.DateTime):
        return values
    return [v if v is None or v.tzinfo is not None else v.replace(tzinfo=dt.UTC) for v in values]


def _dtype(table: sa.Table, column: sa.Column[Any]) -> Any:
    kind = column.type
    is_short = isinstance(kind, sa.String) and kind.length is not None and kind.length <= _LONGEST_TEXT
    is_plain = is_short or isinstance(kind, sa.Integer | sa.Float | sa.Boolean)
    return table_dtype(table, [column.name])[column.name] if is_plain else np.dtype("O")


def _column(values: Sequence[Any], dtype: np.dtype[Any]) -> np.ma.MaskedArray[Any, Any]:
    """Values of a column, masked where they are null."""
    if None not in values:
        return np.ma.array(np.array(values, dtype=dtype))
    mask = np.array([value is None for value in values], dtype=np.bool_)
    blank = "" if dtype.kind == "O" else np.zeros(1, dtype=dtype).tolist()[0]
    return np.ma.array(np.array([blank if v is None else v for v in values], dtype=dtype), mask=mask)


def _take(columns: Columns, rows: NDArray[Any]) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _history(columns: Columns, sources: Columns) -> History:
    """Order rows by object and time, and find those before each detection."""
    order = np.lexsort([columns[name].data for name in _TIME_ORDER])
    rows = _take(columns, order)
    owners, times = rows["diaObjectId"].data, rows["midpointMjdTai"].data
    own, is_none = sources["diaObjectId"].data, np.ma.getmaskarray(sources["diaObjectId"])
    start = np.searchsorted(owners, own, "left").astype(np.int64)
    last = np.searchsorted(owners, own, "right").astype(np.int64)
    now = sources["midpointMjdTai"].data
    bounds = zip(start.tolist(), last.tolist(), now.tolist(), strict=True)
    end = np.array([a + np.searchsorted(times[a:b], time, "left") for a, b, time in bounds], dtype=np.int64)
    return History(rows, start, np.where(is_none, start, end))


def _choose(columns: Columns, key: str, wanted: np.ma.MaskedArray[Any, Any]) -> ChosenRows:
    """Find the row with each wanted key; -1 where there is none."""
    if key not in columns or not len(columns[key]):
        return ChosenRows(columns, np.full(len(wanted), -1, dtype=np.int64))
    keys = columns[key].data
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], wanted.data), len(keys) - 1)
    rows = order[place]
    found = (keys[rows] == wanted.data) & ~np.ma.getmaskarray(wanted)
    return ChosenRows(columns, np.where(found, rows, -1).astype(np.int64))
