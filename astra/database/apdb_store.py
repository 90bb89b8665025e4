"""Writing what a visit and detector found, and taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database.apdb_corrections import make_again, take_back_of_visit
from astra.database.apdb_replica import Moment, analyze_if_new, open_chunk, record_visit
from astra.database.apdb_rows import Marker, among, is_visit, load_marker
from astra.database.apdb_sums import carry_forced_sums, forget_sums
from astra.database.apdb_versions import add_versions, remake_versions, remove_versions
from astra.database.arrays import fetch, insert, to_table
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_object, dia_source
from astra.errors import ConflictingDefinitionError
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS


def store_visit(
    connection: sa.Connection,
    marker: Marker,
    dia_sources: NDArray[Any],
    dia_objects: NDArray[Any] | None,
    forced: NDArray[Any],
    *,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> NDArray[Any]:
    """Write what one visit and detector found, in the caller's transaction.

    What the same visit and detector wrote before is withdrawn first, and corrections of it are made again
    after it. Each object that was detected gets a version that starts at the midpoint of the visit, made of
    all that is known of it up to then; versions that later visits wrote are made again. All of it goes into
    the replica chunk of ``timeProcessedMjdTai``.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    marker : Marker
        The row that makes the visit and detector count as done.
    dia_sources, forced : structured ndarray
        Rows, with the names of the table's columns.
    dia_objects : structured ndarray or None
        Objects that were detected, by ``diaObjectId``; their rows are made here. None: those of the
        detections.
    plugins : sequence of str, optional
        Statistics of the objects to compute, see `astra.sky.light_curve_plugins`; those that DiaObject has no
        columns for go into ``dia_object_statistics``.

    Returns
    -------
    dia_objects : structured ndarray
        The versions that the visit wrote, ordered by ``diaObjectId``.

    Raises
    ------
    ConflictingDefinitionError
        If another camera has used this visit and detector: the Rubin tables do not tell cameras apart.
    FormatError
        If a column that may not be null is missing.
    ValueError
        If the objects are not those of the detections, or there is no such statistic.
    """
    _refuse_other_instrument(connection, marker)
    how: dict[str, Any] = {"time_mjd_tai": marker.timeProcessedMjdTai, "plugins": plugins}
    place = marker.visit, marker.detector
    facts = take_back_of_visit(connection, *place, dia_sources, forced, **how)
    vanished = withdraw_visit(connection, marker.instrument, *place, **how)
    forced = to_table(dia_forced_source, forced)
    insert(connection, dia_source, dia_sources)
    insert(connection, dia_forced_source, forced)
    connection.execute(sa.insert(apdb_marker), asdict(marker))
    chunk = open_chunk(connection, Moment.at(marker.timeProcessedMjdTai))
    analyze_if_new(connection)
    record_visit(connection, chunk, marker.visit, marker.detector)
    carry_forced_sums(connection, forced, marker.midpointMjdTai, marker.visit, marker.detector)
    detected = _detected(dia_sources, dia_objects)
    touched = np.union1d(detected, forced["diaObjectId"])
    time = marker.midpointMjdTai
    objects = add_versions(connection, dia_sources, touched, time=time, chunk=chunk, plugins=plugins)
    delete_orphans(connection, vanished)
    make_again(connection, facts, **how)
    return objects


def _detected(dia_sources: NDArray[Any], dia_objects: NDArray[Any] | None) -> NDArray[np.int64]:
    """Ids of the objects of detections, sorted; they must be those that are given."""
    ids: NDArray[np.int64] = np.unique(dia_sources["diaObjectId"]).astype(np.int64)
    ids = ids[ids != 0]
    if dia_objects is not None and not np.array_equal(ids, np.unique(dia_objects["diaObjectId"])):
        message = f"{len(dia_objects)} objects are given, but the detections belong to {len(ids)} others"
        raise ValueError(message)
    return ids


def remove_visit(
    connection: sa.Connection,
    instrument: str,
    visit: int,
    detector: int,
    *,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> None:
    """Withdraw all that one visit and detector wrote; nothing happens if it wrote nothing.

    Objects that lose their last detection go, with their forced measurements. The others get their previous
    version back; versions that later visits wrote are made again from the detections that remain.
    """
    marker = load_marker(connection, instrument, visit, detector)
    if marker is None:
        return
    how: dict[str, Any] = {"time_mjd_tai": marker.timeProcessedMjdTai, "plugins": plugins}
    facts = take_back_of_visit(connection, visit, detector, **how)
    vanished = withdraw_visit(connection, instrument, visit, detector, plugins=plugins)
    delete_orphans(connection, vanished)
    make_again(connection, facts, **how)


def withdraw_visit(
    connection: sa.Connection,
    instrument: str,
    visit: int,
    detector: int,
    *,
    time_mjd_tai: float | None = None,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> NDArray[np.int64]:
    """Withdraw a visit and detector, to associate it again in the same transaction; see `remove_visit`.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument, visit, detector
        What is withdrawn.
    time_mjd_tai : float, optional
        Now, which tells the replica chunk of versions that are made again; by default when the visit was
        processed [d, MJD TAI].
    plugins : sequence of str, optional
        Statistics of those versions, as for `store_visit`.

    Returns
    -------
    vanished : int64 ndarray
        Objects that have no detection any more. Their forced measurements at other visits stay, as they may
        come back under the same id; let `delete_orphans` look at them at the end.
    """
    marker = load_marker(connection, instrument, visit, detector)
    if marker is None:
        return np.zeros(0, dtype=np.int64)
    detected = _delete_of_visit(connection, dia_source, visit, detector)
    forced = _delete_of_visit(connection, dia_forced_source, visit, detector)
    is_marker = [*is_visit(apdb_marker, visit, detector), apdb_marker.c.instrument == instrument]
    connection.execute(sa.delete(apdb_marker).where(*is_marker))
    time = marker.midpointMjdTai
    forget_sums(connection, np.union1d(detected, forced))
    remove_versions(connection, _undetected(connection, detected, time), time)
    chunk = open_chunk(
        connection, Moment.at(marker.timeProcessedMjdTai if time_mjd_tai is None else time_mjd_tai)
    )
    remake_versions(connection, np.union1d(detected, forced), time=time, chunk=chunk, plugins=plugins)
    has_any = _fetch_ids(connection, dia_source, detected)
    vanished: NDArray[np.int64] = np.setdiff1d(detected, has_any)
    return vanished


def _undetected(connection: sa.Connection, object_ids: NDArray[np.int64], time: float) -> NDArray[np.int64]:
    """Those of some objects that no other detector of a visit, by its midpoint, has detected."""
    same_visit = sa.select(apdb_marker.c.visit).where(
        apdb_marker.c.midpointMjdTai == time,
        apdb_marker.c.visit == dia_source.c.visit,
        apdb_marker.c.detector == dia_source.c.detector,
    )
    others = _fetch_ids(connection, dia_source, object_ids, same_visit.exists())
    undetected: NDArray[np.int64] = np.setdiff1d(object_ids, others)
    return undetected


def _fetch_ids(
    connection: sa.Connection,
    table: sa.Table,
    object_ids: NDArray[np.int64],
    *conditions: sa.ColumnElement[bool],
) -> NDArray[np.int64]:
    """Those of some objects that have rows in a table."""
    query = sa.select(table.c.diaObjectId).where(
        among(connection, table.c.diaObjectId, object_ids), *conditions
    )
    return np.array(connection.execute(query.distinct()).scalars().all(), dtype=np.int64)


def _delete_of_visit(
    connection: sa.Connection, table: sa.Table, visit: int, detector: int
) -> NDArray[np.int64]:
    """Delete the rows of a visit and detector; return the objects that they belonged to."""
    condition = is_visit(table, visit, detector)
    ids = fetch(connection, table, ["diaObjectId"], *condition)["diaObjectId"]
    connection.execute(sa.delete(table).where(*condition))
    of_objects: NDArray[np.int64] = np.unique(ids[ids != 0])
    return of_objects


def delete_orphans(connection: sa.Connection, object_ids: NDArray[np.int64]) -> None:
    """Delete the forced measurements of those objects that are not there any more."""
    if not len(object_ids):
        return
    gone = np.setdiff1d(object_ids, _fetch_ids(connection, dia_object, object_ids))
    connection.execute(
        sa.delete(dia_forced_source).where(among(connection, dia_forced_source.c.diaObjectId, gone))
    )


def _refuse_other_instrument(connection: sa.Connection, marker: Marker) -> None:
    """Raise if another camera has associated the same visit and detector."""
    condition = is_visit(apdb_marker, marker.visit, marker.detector)
    owner = connection.execute(sa.select(apdb_marker.c.instrument).where(*condition)).scalars().first()
    if owner not in {None, marker.instrument}:
        message = (
            f"visit {marker.visit} detector {marker.detector} of {marker.instrument} cannot be stored: "
            f"{owner} has the same numbers, and the APDB does not tell cameras apart; use a database for each"
        )
        raise ConflictingDefinitionError(message, instrument=marker.instrument, owner=owner)
