"""Corrections of what has been stored: duplicates, withdrawals, reassignments, the end of an object.

Corrections delete nothing. Each function changes the rows that it names in the caller's transaction and
writes an update record of each change, in order, for those that copy the database; done twice, it does
nothing the second time. The current version of an object is made again at once from what it has then,
position and statistics too; as there is a record of the number of its detections alone, its row goes into the
replica chunk of the change as a whole. An object that has no detection left is closed. What was asked for is
noted (`astra.database.apdb_facts`), and holds when a visit is associated again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa
from lsst.sphgeom import Region

from astra.database.apdb_changes import (
    close,
    merge,
    reassign,
    reassign_to_bodies,
    some,
    withdraw,
    withdraw_forced,
)
from astra.database.apdb_reads import load_dia_objects, load_sources
from astra.database.apdb_update_records import UpdateRecords
from astra.sky.dia_objects import find_duplicates
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS


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
        message = f"objects {some(chained)} cannot both be merged into others and stay"
        raise ValueError(message)
    update = UpdateRecords(connection, time_mjd_tai)
    merge(update, merged, plugins)
    return update.write()


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
    update = UpdateRecords(connection, time_mjd_tai)
    reassign(update, assigned, plugins)
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
    reassign_to_bodies(update, assigned, plugins)
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
    withdraw(update, dia_source_ids, plugins)
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
    withdraw_forced(update, keys, plugins)
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
    close(update, dia_object_ids)
    return update.write()
