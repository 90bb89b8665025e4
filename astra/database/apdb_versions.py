"""Versions of DiaObjects: what was known of an object up to the midpoint of a visit that detected it.

A version is a function of the detections and forced measurements of visits up to its ``validityStartMjdTai``
alone, whatever the order in which they were processed: a visit that comes late has the later versions made
again. Running sums are kept, so that the next version reads only what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database.apdb_replica import record_versions
from astra.database.apdb_rows import among, known_times, pairs
from astra.database.apdb_sums import (
    forget_sums,
    keep_forced_sums,
    keep_sums,
    load_forced_sums,
    load_sums,
)
from astra.database.arrays import fetch, insert, table_dtype, to_array, to_table
from astra.database.bulk import execute_columns
from astra.database.models.apdb import (
    dia_forced_source,
    dia_object,
    dia_object_statistics,
    dia_source,
)
from astra.sky.dia_objects import objects_of_states
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS, OBJECT_FLAGS, statistics
from astra.sky.light_curve_sums import (
    OBJECT_FIELDS,
    Chain,
    FloatArray,
    add_detections,
    add_forced,
    empty_forced_sums,
    empty_sums,
)

_SOURCE_COLUMNS = (
    *("diaSourceId", "diaObjectId", "visit", "detector", "band", "midpointMjdTai"),
    *("ra", "dec", "raErr", "decErr", "ra_dec_Cov"),
    *("psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr"),
)
_FORCED_COLUMNS = (
    *("diaForcedSourceId", "diaObjectId", "visit", "detector", "band", "midpointMjdTai"),
    *("psfFlux", "psfFluxErr"),
)
_VERSION = ("diaObjectId", "validityStartMjdTai", "validityEndMjdTai")


def versions_from(connection: sa.Connection, object_ids: NDArray[np.int64], time: float) -> NDArray[Any]:
    """Load which versions of objects start at a time [d, MJD TAI] or later, ordered by object and start."""
    condition = among(connection, dia_object.c.diaObjectId, object_ids)
    versions = fetch(connection, dia_object, _VERSION, condition, dia_object.c.validityStartMjdTai >= time)
    return np.sort(versions, order=list(_VERSION[:2]))


def add_versions(
    connection: sa.Connection,
    sources: NDArray[Any],
    touched: NDArray[np.int64],
    *,
    time: float,
    chunk: int,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> NDArray[Any]:
    """Write the versions of objects at a time, and make the later ones again.

    Parameters
    ----------
    connection : Connection
        The caller's transaction; the measurements have been written.
    sources : structured ndarray, shape (n,)
        What a visit has detected at this time, as it was written.
    touched : int64 ndarray, shape (m,)
        Objects whose later versions may have changed: those, and the ones that were measured.
    time : float
        Midpoint of the visit [d, MJD TAI].
    chunk : int
        Replica chunk that the versions go into.
    plugins : sequence of str, optional
        Statistics to compute; those that DiaObject has no columns for go into ``dia_object_statistics``.

    Returns
    -------
    objects : structured ndarray, shape (n_objects,)
        The versions at this time, columns of DiaObject, ordered by ``diaObjectId``.
    """
    fresh = _as_read(sources[sources["diaObjectId"] != 0])
    object_ids = np.unique(fresh["diaObjectId"])
    later = versions_from(connection, touched, time)
    new = object_ids[~np.isin(object_ids, later["diaObjectId"][later["validityStartMjdTai"] == time])]
    versions = np.zeros(len(new) + len(later), dtype=later.dtype)
    versions[len(new) :] = later
    versions["diaObjectId"][: len(new)], versions["validityStartMjdTai"][: len(new)] = new, time
    versions["validityEndMjdTai"][: len(new)] = _ends(connection, new, time, later)
    versions = np.sort(versions, order=list(_VERSION[:2]))
    written = _write(connection, versions, later, fresh, chunk=chunk, plugins=plugins)
    is_own = np.isin(written["diaObjectId"], object_ids) & (written["validityStartMjdTai"] == time)
    own: NDArray[Any] = written[is_own]
    return own


def objects_with(connection: sa.Connection, sources: NDArray[Any], until_mjd_tai: float) -> NDArray[Any]:
    """Make the objects of detections that are not stored yet as they are with them; nothing is written.

    The history of an object is read only where its kept sums do not serve, as they are lost, or know of a
    later detection.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    sources : structured ndarray, shape (n,)
        Detections of one visit, columns of DiaSource, each with its ``diaObjectId``.
    until_mjd_tai : float
        Midpoint of the last detection that counts [d, MJD TAI].

    Returns
    -------
    objects : structured ndarray, shape (n_objects,)
        Columns of `astra.sky.dia_objects.make_dia_objects` but for the forced measurements, ordered by
        ``diaObjectId``.
    """
    fresh = _as_read(sources)
    ids = np.unique(fresh["diaObjectId"])
    chain, states = Chain(ids, np.full(len(ids), np.inf)), empty_sums(len(ids))
    kept, _, sums = load_sums(connection, ids)
    serves = sums[:, OBJECT_FIELDS.index("last")] <= until_mjd_tai
    states[np.searchsorted(ids, kept[serves])] = sums[serves]
    history, _ = _measured(connection, dia_source, _SOURCE_COLUMNS, np.setdiff1d(ids, kept[serves]))
    everything = np.concatenate([history[history["midpointMjdTai"] <= until_mjd_tai], fresh])
    return objects_of_states(ids, add_detections(chain, states, everything), empty_forced_sums(len(ids)))


def remake_current(
    connection: sa.Connection,
    object_ids: NDArray[np.int64],
    *,
    chunk: int,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> NDArray[Any]:
    """Make the current versions of objects again, from all that is known of them now; see `add_versions`.

    Returns
    -------
    objects : structured ndarray, shape (n,)
        The versions, columns of DiaObject; objects that have no detection left are as they were, and not
        among them.
    """
    condition = among(connection, dia_object.c.diaObjectId, object_ids)
    versions = fetch(connection, dia_object, _VERSION, condition, dia_object.c.validityEndMjdTai.is_(None))
    versions = np.sort(versions, order=list(_VERSION[:2]))
    nothing = np.zeros(0, dtype=table_dtype(dia_source, _SOURCE_COLUMNS))
    return _write(connection, versions, versions, nothing, chunk=chunk, plugins=plugins)


def remake_versions(
    connection: sa.Connection,
    object_ids: NDArray[np.int64],
    *,
    time: float,
    chunk: int,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> None:
    """Make the versions of objects from a time [d, MJD TAI] on again; see `add_versions`."""
    later = versions_from(connection, object_ids, time)
    nothing = np.zeros(0, dtype=table_dtype(dia_source, _SOURCE_COLUMNS))
    _write(connection, later, later, nothing, chunk=chunk, plugins=plugins)


def remake_statistics(
    connection: sa.Connection, object_ids: NDArray[np.int64], time: float, plugins: Sequence[str]
) -> None:
    """Write the further statistics of the versions of objects that start at a time [d, MJD TAI] again."""
    versions = versions_from(connection, object_ids, time)
    versions = versions[versions["validityStartMjdTai"] == time]
    _delete(connection, dia_object_statistics, versions)
    _write_statistics(connection, versions, plugins)


def remove_versions(connection: sa.Connection, object_ids: NDArray[np.int64], time: float) -> None:
    """Delete the versions of objects that start at a time; the ones before last until theirs ended."""
    starts_then = dia_object.c.validityStartMjdTai == time
    gone = fetch(
        connection, dia_object, _VERSION, among(connection, dia_object.c.diaObjectId, object_ids), starts_then
    )
    ids = gone["diaObjectId"]
    if not len(ids):
        return
    forget_sums(connection, ids)
    _delete(connection, dia_object, gone)
    _delete(connection, dia_object_statistics, gone)
    before = _versions_before(connection, ids, time)
    before = before[before["validityEndMjdTai"] == time]
    ends = dict(zip(ids.tolist(), gone["validityEndMjdTai"].tolist(), strict=True))
    _set_ends(connection, before, np.array([ends[number] for number in before["diaObjectId"].tolist()]))


def _versions_before(connection: sa.Connection, object_ids: NDArray[np.int64], time: float) -> NDArray[Any]:
    """Last version of each object that starts before a time, ordered by object."""
    pair = pairs(connection, object_ids, np.full(len(object_ids), time))
    earlier = dia_object.alias()
    last = (
        sa.select(sa.func.max(earlier.c.validityStartMjdTai))
        .where(earlier.c.diaObjectId == pair.c.id, earlier.c.validityStartMjdTai < pair.c.time)
        .scalar_subquery()
    )
    same = (dia_object.c.diaObjectId == pair.c.id) & (dia_object.c.validityStartMjdTai == last)
    rows = connection.execute(
        sa.select(*(dia_object.c[name] for name in _VERSION)).select_from(pair).join(dia_object, same)
    )
    return np.sort(to_array(rows.all(), table_dtype(dia_object, _VERSION)), order="diaObjectId")


def _ends(connection: sa.Connection, new: NDArray[np.int64], time: float, later: NDArray[Any]) -> FloatArray:
    """Return the ends of new versions, NaN if they are current; let the versions before end at their start.

    A version ends where the next one starts, or where the validity of the object has been closed.
    """
    before = _versions_before(connection, new, time)
    open_then = ~(before["validityEndMjdTai"] <= time)
    ends = np.full(len(new), np.nan)
    ends[np.searchsorted(new, before["diaObjectId"][open_then])] = before["validityEndMjdTai"][open_then]
    following = later[later["validityStartMjdTai"] > time]
    ids, first = np.unique(following["diaObjectId"], return_index=True)
    is_new = np.isin(ids, new)
    ends[np.searchsorted(new, ids[is_new])] = following["validityStartMjdTai"][first[is_new]]
    _set_ends(connection, before[open_then], np.full(int(open_then.sum()), time))
    return ends


def _set_ends(connection: sa.Connection, versions: NDArray[Any], ends: FloatArray) -> None:
    """Give versions another end, NaN for none."""
    columns = {
        "object_id": versions["diaObjectId"].tolist(),
        "start": versions["validityStartMjdTai"].tolist(),
    }
    columns["end"] = [None if np.isnan(end) else end for end in ends.tolist()]
    is_version = (
        dia_object.c.diaObjectId == sa.bindparam("object_id"),
        dia_object.c.validityStartMjdTai == sa.bindparam("start"),
    )
    statement = sa.update(dia_object).where(*is_version).values(validityEndMjdTai=sa.bindparam("end"))
    execute_columns(connection, statement, columns)


def _write(
    connection: sa.Connection,
    versions: NDArray[Any],
    stored: NDArray[Any],
    fresh: NDArray[Any],
    *,
    chunk: int,
    plugins: Sequence[str],
) -> NDArray[Any]:
    """Make versions of objects, ordered by object and start, and write them; some are stored already."""
    if not len(versions):
        return np.zeros(0, dtype=table_dtype(dia_object))
    chain = Chain(versions["diaObjectId"], versions["validityStartMjdTai"])
    is_current = np.isnan(versions["validityEndMjdTai"])
    states = _make_states(connection, chain, fresh, is_current)
    forced_states = _make_forced_states(connection, chain)
    # Versions that detections moved to other objects have left without any stay as they are.
    is_made = states[:, 0] > 0
    versions, states, forced_states = versions[is_made], states[is_made], forced_states[is_made]
    is_stored = np.isin(versions[list(_VERSION[:2])], stored[list(_VERSION[:2])])
    _delete(connection, dia_object, versions[is_stored])
    _delete(connection, dia_object_statistics, versions[is_stored])
    objects = objects_of_states(versions["diaObjectId"], states, forced_states)
    validity = {name: versions[name] for name in _VERSION[1:]}
    rows = to_table(dia_object, objects, **validity)
    insert(connection, dia_object, rows)
    record_versions(connection, chunk, versions["diaObjectId"], versions["validityStartMjdTai"])
    is_last = np.append(versions["diaObjectId"][1:] != versions["diaObjectId"][:-1], True)[: len(versions)]
    newest = versions[is_last]
    keep_sums(connection, newest["diaObjectId"], newest["validityStartMjdTai"], states[is_last])
    _write_statistics(connection, versions, plugins)
    return rows


def _delete(connection: sa.Connection, table: sa.Table, versions: NDArray[Any]) -> None:
    """Delete the rows of versions in a table that has them as its key."""
    if len(versions):
        pair = pairs(connection, versions["diaObjectId"], versions["validityStartMjdTai"])
        key = sa.tuple_(table.c.diaObjectId, table.c.validityStartMjdTai)
        connection.execute(sa.delete(table).where(key.in_(sa.select(pair.c.id, pair.c.time))))


def _write_statistics(connection: sa.Connection, versions: NDArray[Any], plugins: Sequence[str]) -> None:
    """Compute and write what DiaObject has no columns for; it takes all detections of the objects."""
    if not set(plugins) - set(DEFAULT_PLUGINS) or not len(versions):
        return
    is_current = np.isnan(versions["validityEndMjdTai"])  # see `_make_states`
    chain = Chain(versions["diaObjectId"], np.where(is_current, np.inf, versions["validityStartMjdTai"]))
    ids = np.unique(chain.object_ids)
    sources, known = _measured(connection, dia_source, (*_SOURCE_COLUMNS, *OBJECT_FLAGS), ids)
    columns = statistics(chain, sources, known, plugins)
    rows = to_table(dia_object_statistics, versions[list(_VERSION[:2])], **columns)
    insert(connection, dia_object_statistics, rows)


def _as_read(sources: NDArray[Any]) -> NDArray[Any]:
    """Make detections as they would be read from the table: its types, and null for what they lack."""
    rows = np.zeros(len(sources), dtype=table_dtype(dia_source, _SOURCE_COLUMNS))
    given = to_table(dia_source, sources)
    for name in _SOURCE_COLUMNS:
        if name in (given.dtype.names or ()):
            rows[name] = given[name]
        elif rows.dtype[name].kind == "f":
            rows[name] = np.nan
    return rows


def _make_states(
    connection: sa.Connection, chain: Chain, fresh: NDArray[Any], is_current: NDArray[np.bool_]
) -> FloatArray:
    """Make the sums of the detections of versions; shape (n, N_SUMS).

    Those of an object are of its newest version: if that is older, there is nothing but ``fresh`` to add. A
    current version counts all there are: a correction may have given it one that is later than its start.
    """
    ids, first = np.unique(chain.object_ids, return_index=True)
    states = empty_sums(len(chain.object_ids))
    kept, times, sums = load_sums(connection, ids)
    row = np.searchsorted(ids, kept)
    is_before = times < chain.times[first[row]]
    states[first[row[is_before]]] = sums[is_before]
    sources, known = _measured(connection, dia_source, _SOURCE_COLUMNS, np.delete(ids, row[is_before]))
    added = fresh[np.isin(fresh["diaObjectId"], kept[is_before])]
    # They became known with their visit: when the version is of.
    added_known = chain.times[first[np.searchsorted(ids, added["diaObjectId"])]]
    everything = np.concatenate([sources, added])
    counted = Chain(chain.object_ids, np.where(is_current, np.inf, chain.times))
    return add_detections(counted, states, everything, np.concatenate([known, added_known]))


def _make_forced_states(connection: sa.Connection, chain: Chain) -> FloatArray:
    """Make the sums of the forced measurements of versions; shape (n, N_FORCED_SUMS)."""
    ids, first = np.unique(chain.object_ids, return_index=True)
    states = empty_forced_sums(len(chain.object_ids))
    kept, times, sums = load_forced_sums(connection, ids)
    row = np.searchsorted(ids, kept)
    is_before = times <= chain.times[first[row]]  # there is nothing to add then
    states[first[row[is_before]]] = sums[is_before]
    others = np.delete(ids, row[is_before])
    forced, known = _measured(connection, dia_forced_source, _FORCED_COLUMNS, others)
    measured = np.unique(forced["diaObjectId"])
    latest = np.full(len(measured), -np.inf)
    np.maximum.at(latest, np.searchsorted(measured, forced["diaObjectId"]), known)
    everything = Chain(measured, latest)
    totals = add_forced(everything, empty_forced_sums(len(measured)), forced, known)
    keep_forced_sums(connection, measured, latest, totals)
    return add_forced(chain, states, forced, known)


def _measured(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], object_ids: NDArray[np.int64]
) -> tuple[NDArray[Any], FloatArray]:
    """Load all measurements of objects that count, and when each became known [d, MJD TAI]."""
    if not len(object_ids):
        return np.zeros(0, dtype=table_dtype(table, names)), np.zeros(0)
    belongs = among(connection, table.c.diaObjectId, object_ids)
    rows = fetch(connection, table, names, belongs, table.c.timeWithdrawnMjdTai.is_(None))
    return rows, known_times(connection, rows)
