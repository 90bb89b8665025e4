"""Corrections of what has been stored: duplicates, withdrawals, reassignments, the end of an object.

Nothing is ever deleted. Each function changes the rows that it names in the caller's transaction and writes
an update record of each change, in order, for those that copy the database; done twice, it does nothing the
second time. The current version of an object is made again at once from what it has then, position and
statistics too; as there is a record of the number of its detections alone, its row goes into the replica
chunk of the change as a whole. An object that has no detection left is closed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from lsst.sphgeom import Region

from astra.database.apdb_current import close_objects, load_current, refresh_objects, sorted_ids
from astra.database.apdb_reads import load_dia_objects, load_sources
from astra.database.apdb_rows import among
from astra.database.apdb_update_records import UpdateRecords
from astra.database.bulk import execute_columns
from astra.database.models.apdb import dia_forced_source, dia_object, dia_source
from astra.errors import MissingDataError
from astra.sky.dia_objects import find_duplicates
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS

_POSITION = ("ra", "dec", "midpointMjdTai")


def merge_objects(
    connection: sa.Connection,
    merged: Mapping[int, int],
    *,
    time_mjd_tai: float,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> int:
    """Give the detections of duplicate objects to the objects that stay, and close the duplicates.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    merged : mapping of int to int
        ``diaObjectId`` of each duplicate, and of the current object that its detections go to.
    time_mjd_tai : float
        Now; the validity of the duplicates ends here [d, MJD TAI].
    plugins : sequence of str, optional
        Statistics of the objects, as for `astra.database.apdb.store_visit`.

    Returns
    -------
    n_records : int
        Update records written.

    Raises
    ------
    MissingDataError
        If an object that stays is not there, or not current.
    """
    chained = set(merged.values()) & set(merged)
    if chained:
        message = f"objects {_some(chained)} cannot both be merged into others and stay"
        raise ValueError(message)
    sources = load_sources(connection, sorted_ids(merged))
    pairs = zip(sources["diaSourceId"].tolist(), sources["diaObjectId"].tolist(), strict=True)
    return reassign_to_dia_objects(
        connection,
        {source: merged[owner] for source, owner in pairs},
        time_mjd_tai=time_mjd_tai,
        plugins=plugins,
    )


def find_duplicate_objects(
    connection: sa.Connection, region: Region, *, radius_arcsec: float = 1.0
) -> dict[int, int]:
    """Find current objects of a region that are one, and were never detected by the same visit.

    Two visits that are associated at once can each make an object of one thing on the sky.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    region : Region
        Where to look.
    radius_arcsec : float, optional
        Largest separation of one thing [arcsec].

    Returns
    -------
    merged : dict of int to int
        What `merge_objects` takes: the later object of each pair, and the earlier one, which stays.
    """
    objects = load_dia_objects(connection, region)
    return find_duplicates(objects, load_sources(connection, objects["diaObjectId"]), radius_arcsec)


def reassign_to_dia_objects(
    connection: sa.Connection,
    assigned: Mapping[int, int],
    *,
    time_mjd_tai: float,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> int:
    """Give detections to other objects.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    assigned : mapping of int to int
        ``diaSourceId`` of each detection, and ``diaObjectId`` of its new object, which must be current.
    time_mjd_tai : float
        Now [d, MJD TAI].
    plugins : sequence of str, optional
        Statistics of the objects, as for `astra.database.apdb.store_visit`.

    Returns
    -------
    n_records : int
        Update records written.

    Raises
    ------
    MissingDataError
        If a detection is not there, or an object not current.
    """
    _require_current(connection, set(assigned.values()))
    update = UpdateRecords(connection, time_mjd_tai)
    rows = _load_sources(connection, assigned)
    moved = [row for row in rows if row["diaObjectId"] != assigned[row["diaSourceId"]]]
    new = [assigned[row["diaSourceId"]] for row in moved]
    _set_source(connection, moved, diaObjectId=new)
    for row, object_id in zip(moved, new, strict=True):
        update.add("reassign_diasource_to_diaobject", **_source_id(row), diaObjectId=object_id)
    refresh_objects(update, {*new, *(row["diaObjectId"] for row in moved)}, plugins)
    return update.write()


def reassign_to_ss_objects(
    connection: sa.Connection,
    assigned: Mapping[int, int],
    *,
    time_mjd_tai: float,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> int:
    """Give detections to objects of the solar system; they belong to no DiaObject any more.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    assigned : mapping of int to int
        ``diaSourceId`` of each detection, and its ``ssObjectId``.
    time_mjd_tai : float
        Now, which becomes ``ssObjectReassocTimeMjdTai`` [d, MJD TAI].
    plugins : sequence of str, optional
        Statistics of the objects, as for `astra.database.apdb.store_visit`.

    Returns
    -------
    n_records : int
        Update records written.

    Raises
    ------
    MissingDataError
        If a detection is not there.
    """
    update = UpdateRecords(connection, time_mjd_tai)
    rows = _load_sources(connection, assigned)
    moved = [row for row in rows if row["ssObjectId"] != assigned[row["diaSourceId"]]]
    new = [assigned[row["diaSourceId"]] for row in moved]
    n_moved = len(moved)
    times = {"ssObjectReassocTimeMjdTai": time_mjd_tai}
    _set_source(
        connection,
        moved,
        ssObjectId=new,
        diaObjectId=[None] * n_moved,
        ssObjectReassocTimeMjdTai=[time_mjd_tai] * n_moved,
    )
    for row, object_id in zip(moved, new, strict=True):
        update.add("reassign_diasource_to_ssobject", **_source_id(row), ssObjectId=object_id, **times)
    refresh_objects(update, {row["diaObjectId"] for row in moved}, plugins)
    return update.write()


def withdraw_sources(
    connection: sa.Connection,
    dia_source_ids: Collection[int],
    *,
    time_mjd_tai: float,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> int:
    """Mark detections as withdrawn: they stay in the table, and count no more.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    dia_source_ids : collection of int
        Which.
    time_mjd_tai : float
        Now, which becomes ``timeWithdrawnMjdTai`` of those that are not withdrawn yet [d, MJD TAI].
    plugins : sequence of str, optional
        Statistics of the objects, as for `astra.database.apdb.store_visit`.

    Returns
    -------
    n_records : int
        Update records written.

    Raises
    ------
    MissingDataError
        If a detection is not there.
    """
    update = UpdateRecords(connection, time_mjd_tai)
    rows = _load_sources(connection, dia_source_ids)
    changed = [row for row in rows if row["timeWithdrawnMjdTai"] is None]
    _set_source(connection, changed, timeWithdrawnMjdTai=[time_mjd_tai] * len(changed))
    for row in changed:
        update.add("withdraw_diasource", **_source_id(row), timeWithdrawnMjdTai=time_mjd_tai)
    refresh_objects(update, {row["diaObjectId"] for row in changed}, plugins)
    return update.write()


def withdraw_forced_sources(
    connection: sa.Connection,
    keys: Iterable[tuple[int, int, int]],
    *,
    time_mjd_tai: float,
    plugins: Sequence[str] = DEFAULT_PLUGINS,
) -> int:
    """Mark forced measurements as withdrawn: they stay in the table, and count no more.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    keys : iterable of (int, int, int)
        ``diaObjectId``, visit and detector of each.
    time_mjd_tai : float
        Now [d, MJD TAI].
    plugins : sequence of str, optional
        Statistics of the objects, as for `astra.database.apdb.store_visit`.

    Returns
    -------
    n_records : int
        Update records written.

    Raises
    ------
    MissingDataError
        If a measurement is not there.
    """
    update = UpdateRecords(connection, time_mjd_tai)
    wanted = set(keys)
    key = ("diaObjectId", "visit", "detector")
    names = (*key, *_POSITION, "timeWithdrawnMjdTai")
    ids = sorted_ids(object_id for object_id, _, _ in wanted)
    visits = sorted_ids(visit for _, visit, _ in wanted)
    query = sa.select(*(dia_forced_source.c[name] for name in names)).where(
        among(connection, dia_forced_source.c.diaObjectId, ids),
        among(connection, dia_forced_source.c.visit, visits),
    )
    rows = {tuple(row[name] for name in key): row for row in connection.execute(query).mappings()}
    _require(wanted & rows.keys(), wanted, "forced measurements")
    changed = [rows[one] for one in sorted(wanted) if rows[one]["timeWithdrawnMjdTai"] is None]
    is_row = [dia_forced_source.c[name] == sa.bindparam(f"own_{name}") for name in key]
    statement = sa.update(dia_forced_source).where(*is_row)
    columns = {f"own_{name}": [row[name] for row in changed] for name in key}
    times = {"timeWithdrawnMjdTai": time_mjd_tai}
    if changed:
        execute_columns(
            connection,
            statement.values(**{name: sa.bindparam(name) for name in times}),
            columns | {name: [value] * len(changed) for name, value in times.items()},
        )
    for row in changed:
        place = {name: row[name] for name in (*key, *_POSITION)}
        update.add("withdraw_diaforcedsource", **place, **times)
    refresh_objects(update, {row["diaObjectId"] for row in changed}, plugins)
    return update.write()


def close_validity(connection: sa.Connection, dia_object_ids: Collection[int], *, time_mjd_tai: float) -> int:
    """End the validity of objects: they have no current version any more, and gain no detection.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    dia_object_ids : collection of int
        Which; those that are closed already stay as they are.
    time_mjd_tai : float
        Now, which becomes ``validityEndMjdTai`` [d, MJD TAI].

    Returns
    -------
    n_records : int
        Update records written.

    Raises
    ------
    MissingDataError
        If an object is not there.
    """
    update = UpdateRecords(connection, time_mjd_tai)
    ids = sorted_ids(dia_object_ids)
    query = sa.select(dia_object.c.diaObjectId).where(among(connection, dia_object.c.diaObjectId, ids))
    _require(connection.execute(query.distinct()).scalars().all(), ids.tolist(), "objects")
    close_objects(update, load_current(connection, ids.tolist()))
    return update.write()


def _require_current(connection: sa.Connection, object_ids: Collection[int]) -> None:
    """Raise if an object has no current version."""
    found = [row["diaObjectId"] for row in load_current(connection, object_ids)]
    _require(found, object_ids, "current objects")


def _load_sources(connection: sa.Connection, dia_source_ids: Collection[int]) -> list[Mapping[str, Any]]:
    """Load what the records of detections tell, in order of their ids; all must be there."""
    names = ("diaSourceId", "diaObjectId", "ssObjectId", *_POSITION, "timeWithdrawnMjdTai")
    condition = among(connection, dia_source.c.diaSourceId, sorted_ids(dia_source_ids))
    query = sa.select(*(dia_source.c[name] for name in names)).where(condition)
    result = connection.execute(query.order_by("diaSourceId")).mappings()
    rows: list[Mapping[str, Any]] = [dict(row) for row in result]
    _require([row["diaSourceId"] for row in rows], dia_source_ids, "detections")
    return rows


def _set_source(connection: sa.Connection, rows: Collection[Mapping[str, Any]], **values: list[Any]) -> None:
    """Change columns of detections, each to a value of its own."""
    is_row = dia_source.c.diaSourceId == sa.bindparam("own_id")
    changes = {name: sa.bindparam(f"new_{name}", type_=dia_source.c[name].type) for name in values}
    columns: dict[str, list[Any]] = {f"new_{name}": column for name, column in values.items()}
    columns["own_id"] = [row["diaSourceId"] for row in rows]
    execute_columns(connection, sa.update(dia_source).where(is_row).values(**changes), columns)


def _source_id(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("diaSourceId", *_POSITION)}


def _require(found: Collection[Any], wanted: Collection[Any], what: str) -> None:
    missing = set(wanted) - set(found)
    if missing:
        message = f"{len(missing)} {what} are not in the APDB: {_some(missing)}"
        raise MissingDataError(message, missing=sorted(missing)[:20])


def _some(ids: Iterable[Any]) -> str:
    """Write the first of some ids."""
    ordered = sorted(ids)
    return ", ".join(map(str, ordered[:5])) + (", ..." if len(ordered) > 5 else "")
