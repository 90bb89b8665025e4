"""Corrections of what has been stored: duplicates, withdrawals, reassignments, the end of an object.

Nothing is ever deleted. Each function changes the rows that it names in the caller's transaction and writes
an update record of each change, in order, for those that copy the database; done twice, it does nothing the
second time. ``nDiaSources`` of the current version of an object always counts the detections that it has; an
object that has none left is closed. Its other statistics follow with its next version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from lsst.sphgeom import Region
from numpy.typing import NDArray

from astra.database.apdb_reads import load_dia_objects, load_sources
from astra.database.apdb_rows import among
from astra.database.apdb_sums import forget_sums
from astra.database.apdb_update_records import UpdateRecords
from astra.database.bulk import execute_columns
from astra.database.models.apdb import dia_forced_source, dia_object, dia_source
from astra.errors import MissingDataError
from astra.sky.dia_objects import find_duplicates

_POSITION = ("ra", "dec", "midpointMjdTai")


def merge_objects(connection: sa.Connection, merged: Mapping[int, int], *, time_mjd_tai: float) -> int:
    """Give the detections of duplicate objects to the objects that stay, and close the duplicates.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    merged : mapping of int to int
        ``diaObjectId`` of each duplicate, and of the current object that its detections go to.
    time_mjd_tai : float
        Now; the validity of the duplicates ends here [d, MJD TAI].

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
    sources = load_sources(connection, np.array(sorted(merged), dtype=np.int64))
    pairs = zip(sources["diaSourceId"].tolist(), sources["diaObjectId"].tolist(), strict=True)
    return reassign_to_dia_objects(
        connection, {source: merged[owner] for source, owner in pairs}, time_mjd_tai=time_mjd_tai
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
    connection: sa.Connection, assigned: Mapping[int, int], *, time_mjd_tai: float
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
    _recount(update, {*new, *(row["diaObjectId"] for row in moved)})
    return update.write()


def reassign_to_ss_objects(
    connection: sa.Connection, assigned: Mapping[int, int], *, time_mjd_tai: float
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
    _recount(update, {row["diaObjectId"] for row in moved})
    return update.write()


def withdraw_sources(
    connection: sa.Connection, dia_source_ids: Collection[int], *, time_mjd_tai: float
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
    _recount(update, {row["diaObjectId"] for row in changed})
    return update.write()


def withdraw_forced_sources(
    connection: sa.Connection, keys: Iterable[tuple[int, int, int]], *, time_mjd_tai: float
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
    ids = _ids(object_id for object_id, _, _ in wanted)
    visits = _ids(visit for _, visit, _ in wanted)
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
    forget_sums(connection, _ids(row["diaObjectId"] for row in changed))
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
    ids = _ids(dia_object_ids)
    query = sa.select(dia_object.c.diaObjectId).where(among(connection, dia_object.c.diaObjectId, ids))
    _require(connection.execute(query.distinct()).scalars().all(), ids.tolist(), "objects")
    _close(update, _current(connection, ids), {})
    return update.write()


def _close(update: UpdateRecords, current: Collection[Mapping[str, Any]], counts: Mapping[int, int]) -> None:
    """End the validity of current versions, and tell it; ``counts`` are new numbers of detections."""
    ids = _ids(row["diaObjectId"] for row in current)
    time = update.time_mjd_tai
    condition = (
        among(update.connection, dia_object.c.diaObjectId, ids),
        dia_object.c.validityEndMjdTai.is_(None),
    )
    update.connection.execute(sa.update(dia_object).where(*condition).values(validityEndMjdTai=time))
    for row in current:
        number = counts.get(row["diaObjectId"])
        place = {name: row[name] for name in ("diaObjectId", "ra", "dec")}
        update.add("close_diaobject_validity", **place, validityEndMjdTai=time, nDiaSources=number)


def _recount(update: UpdateRecords, object_ids: Iterable[int | None]) -> None:
    """Count the detections of objects again, in their current versions, and close those that have none."""
    connection = update.connection
    ids = _ids(number for number in object_ids if number is not None)
    forget_sums(connection, ids)
    sources = load_sources(connection, ids)
    present, n_sources = np.unique(sources["diaObjectId"], return_counts=True)
    found = dict(zip(present.tolist(), n_sources.tolist(), strict=True))
    current = _current(connection, ids)
    changed = [row for row in current if row["nDiaSources"] != found.get(row["diaObjectId"], 0)]
    counts = {row["diaObjectId"]: found.get(row["diaObjectId"], 0) for row in changed}
    _set_counts(connection, changed, counts)
    for row in changed:
        if counts[row["diaObjectId"]]:
            place = {name: row[name] for name in ("diaObjectId", "ra", "dec")}
            update.add("update_n_dia_sources", **place, nDiaSources=counts[row["diaObjectId"]])
    _close(update, [row for row in current if row["diaObjectId"] not in found], counts)


def _set_counts(
    connection: sa.Connection, versions: Collection[Mapping[str, Any]], counts: Mapping[int, int]
) -> None:
    """Give versions of objects another number of detections."""
    columns = {
        "object_id": [row["diaObjectId"] for row in versions],
        "start": [row["validityStartMjdTai"] for row in versions],
        "number": [counts[row["diaObjectId"]] for row in versions],
    }
    is_version = (
        dia_object.c.diaObjectId == sa.bindparam("object_id"),
        dia_object.c.validityStartMjdTai == sa.bindparam("start"),
    )
    statement = sa.update(dia_object).where(*is_version).values(nDiaSources=sa.bindparam("number"))
    execute_columns(connection, statement, columns)


def _current(connection: sa.Connection, object_ids: NDArray[np.int64]) -> list[Mapping[str, Any]]:
    """Load the current versions of objects, in order of their ids."""
    names = ("diaObjectId", "validityStartMjdTai", "ra", "dec", "nDiaSources")
    is_current = dia_object.c.validityEndMjdTai.is_(None)
    condition = among(connection, dia_object.c.diaObjectId, object_ids)
    query = sa.select(*(dia_object.c[name] for name in names)).where(condition, is_current)
    return [dict(row) for row in connection.execute(query.order_by("diaObjectId")).mappings()]


def _require_current(connection: sa.Connection, object_ids: Collection[int]) -> None:
    """Raise if an object has no current version."""
    found = [row["diaObjectId"] for row in _current(connection, _ids(object_ids))]
    _require(found, object_ids, "current objects")


def _load_sources(connection: sa.Connection, dia_source_ids: Collection[int]) -> list[Mapping[str, Any]]:
    """Load what the records of detections tell, in order of their ids; all must be there."""
    names = ("diaSourceId", "diaObjectId", "ssObjectId", *_POSITION, "timeWithdrawnMjdTai")
    condition = among(connection, dia_source.c.diaSourceId, _ids(dia_source_ids))
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


def _ids(ids: Iterable[int]) -> NDArray[np.int64]:
    return np.array(sorted(set(ids)), dtype=np.int64)
