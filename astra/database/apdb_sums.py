"""Running sums of objects, kept so that the next version of an object is made without its whole history.

The sums of the detections are those of the newest version. Those of the forced measurements count all there
are, until the latest: every visit that measures an object carries them on. Sums that cannot be carried on,
as a visit came late or was withdrawn, are deleted, and made again when they are needed next.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.apdb_rows import among
from astra.database.bulk import execute_columns
from astra.database.models.apdb import dia_forced_source, dia_forced_sums, dia_object_sums
from astra.sky.light_curve_sums import (
    BANDS,
    N_BAND,
    N_FORCED_SUMS,
    N_OBJECT,
    Chain,
    FloatArray,
    add_forced,
    empty_forced_sums,
    empty_sums,
)

Sums = tuple[NDArray[np.int64], FloatArray, FloatArray]


def forget_sums(connection: sa.Connection, object_ids: NDArray[np.int64]) -> None:
    """Delete the running sums of objects: the next version is made of all measurements."""
    for table in (dia_object_sums, dia_forced_sums):
        _forget(connection, table, object_ids)


def _forget(connection: sa.Connection, table: sa.Table, object_ids: NDArray[np.int64]) -> None:
    if len(object_ids):
        connection.execute(sa.delete(table).where(among(connection, table.c.diaObjectId, object_ids)))


def load_sums(connection: sa.Connection, object_ids: NDArray[np.int64]) -> Sums:
    """Load the kept sums of the detections of objects.

    Returns
    -------
    object_ids : int64 ndarray, shape (n,)
        Those objects that have sums.
    times : float64 ndarray, shape (n,)
        Start of the version that they are of [d, MJD TAI].
    states : float64 ndarray, shape (n, N_SUMS)
        See `astra.sky.light_curve_sums`.
    """
    columns = (dia_object_sums.c[name] for name in ("diaObjectId", "validityStartMjdTai", "bands", "sums"))
    condition = among(connection, dia_object_sums.c.diaObjectId, object_ids)
    rows = connection.execute(sa.select(*columns).where(condition)).all()
    states, patterns = empty_sums(len(rows)), np.array([row[2] for row in rows], dtype="U6")
    for bands in np.unique(patterns):
        chosen, columns_used = np.flatnonzero(patterns == bands), _columns_of(str(bands))
        data = b"".join(rows[number][3] for number in chosen.tolist())
        states[np.ix_(chosen, columns_used)] = np.frombuffer(data, "<f8").reshape(len(chosen), -1)
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    return ids, np.array([row[1] for row in rows], dtype=np.float64), states


def keep_sums(
    connection: sa.Connection, object_ids: NDArray[np.int64], times: FloatArray, states: FloatArray
) -> None:
    """Keep the sums of the detections of objects, of the bands that have any; see `load_sums`."""
    n_objects = len(states)
    is_used = (states != empty_sums(1))[:, N_OBJECT:].reshape(n_objects, len(BANDS), N_BAND).any(axis=2)
    patterns = is_used @ (1 << np.arange(len(BANDS)))
    bands, data = [""] * n_objects, [b""] * n_objects
    for pattern in np.unique(patterns).tolist():
        used = "".join(band for number, band in enumerate(BANDS) if pattern >> number & 1)
        chosen = np.flatnonzero(patterns == pattern)
        part = states[np.ix_(chosen, _columns_of(used))].astype("<f8")
        for number, values in zip(chosen.tolist(), part, strict=True):
            bands[number], data[number] = used, values.tobytes()
    columns: dict[str, list[Any]] = {"diaObjectId": object_ids.tolist(), "bands": bands, "sums": data}
    _upsert(connection, dia_object_sums, {**columns, "validityStartMjdTai": times.tolist()})


def load_forced_sums(connection: sa.Connection, object_ids: NDArray[np.int64]) -> Sums:
    """Load the kept sums of the forced measurements of objects: ids, latest midpoints, states."""
    columns = (dia_forced_sums.c[name] for name in ("diaObjectId", "midpointMjdTai", "sums"))
    condition = among(connection, dia_forced_sums.c.diaObjectId, object_ids)
    rows = connection.execute(sa.select(*columns).where(condition)).all()
    states = np.frombuffer(b"".join(row[2] for row in rows), dtype="<f8").reshape(-1, N_FORCED_SUMS)
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    return ids, np.array([row[1] for row in rows], dtype=np.float64), states.astype(np.float64)


def keep_forced_sums(
    connection: sa.Connection, object_ids: NDArray[np.int64], times: FloatArray, states: FloatArray
) -> None:
    """Keep the sums of all forced measurements of objects; see `load_forced_sums`."""
    data = states.astype("<f8").tobytes()
    size = 8 * N_FORCED_SUMS
    columns: dict[str, list[Any]] = {"diaObjectId": object_ids.tolist(), "midpointMjdTai": times.tolist()}
    columns["sums"] = [data[first : first + size] for first in range(0, len(data), size)]
    _upsert(connection, dia_forced_sums, columns)


def carry_forced_sums(
    connection: sa.Connection, forced: NDArray[Any], time: float, visit: int, detector: int
) -> None:
    """Add what a visit and detector has measured to the sums of its objects.

    Parameters
    ----------
    connection : Connection
        The caller's transaction; the measurements have been written.
    forced : structured ndarray, shape (n,)
        As they were written.
    time : float
        Midpoint of the visit [d, MJD TAI].
    visit, detector : int
        Which.
    """
    ids = np.unique(forced["diaObjectId"])
    kept, times, sums = load_forced_sums(connection, ids)
    _forget(connection, dia_forced_sums, kept[times >= time])  # what comes late is not added at the end
    first = _measured_first(connection, np.setdiff1d(ids, kept), visit, detector)
    earlier = times < time
    known = np.concatenate([kept[earlier], first])
    order = np.argsort(known)
    states = np.concatenate([sums[earlier], empty_forced_sums(len(first))])[order]
    chain = Chain(known[order], np.full(len(known), time))
    keep_forced_sums(connection, chain.object_ids, chain.times, add_forced(chain, states, forced))


def _measured_first(
    connection: sa.Connection, object_ids: NDArray[np.int64], visit: int, detector: int
) -> NDArray[np.int64]:
    """Those of some objects that nothing but a visit and detector has measured."""
    if not len(object_ids):
        return object_ids
    table = dia_forced_source
    is_other = (table.c.visit != visit) | (table.c.detector != detector)
    query = sa.select(table.c.diaObjectId).where(among(connection, table.c.diaObjectId, object_ids), is_other)
    measured = np.array(connection.execute(query.distinct()).scalars().all(), dtype=np.int64)
    first: NDArray[np.int64] = np.setdiff1d(object_ids, measured)
    return first


def _upsert(connection: sa.Connection, table: sa.Table, columns: dict[str, list[Any]]) -> None:
    """Insert rows, or replace those of the same object."""
    execute_columns(connection, _upsert_into(table, connection.dialect.name, tuple(columns)), columns)


@cache
def _upsert_into(table: sa.Table, dialect_name: str, names: tuple[str, ...]) -> Any:
    statement = (postgresql if dialect_name == "postgresql" else sqlite).insert(table)
    changes = {name: statement.excluded[name] for name in names if name != "diaObjectId"}
    return statement.on_conflict_do_update(index_elements=["diaObjectId"], set_=changes)


def _columns_of(bands: str) -> NDArray[np.int64]:
    """Which columns of a state are kept of an object that has detections in some bands."""
    number = np.arange(N_OBJECT + len(BANDS) * N_BAND)
    of_band = np.array([BANDS.index(band) for band in bands], dtype=np.int64)
    return number[(number < N_OBJECT) | np.isin((number - N_OBJECT) // N_BAND, of_band)]
