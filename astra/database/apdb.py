"""Reading and writing the Alert Production Database.

Every function works on the connection, and so in the transaction, that it is given, and never commits. What
one visit and detector wrote is told by its row of ``apdb_marker``; it can be withdrawn as a whole, after
which the tables are as if it had not been processed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database.arrays import fetch, insert, table_dtype, to_table
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_object, dia_source
from astra.errors import ConflictingDefinitionError, MissingDataError
from astra.sky.dia_objects import make_dia_objects

HISTORY_DAYS = 365.25  # the 12 months that Rubin's packets look back
_IDS_PER_STATEMENT = 500
_LOCK_KEY = 0x41504442  # any number that no other user of the database's advisory locks takes

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
class Marker:
    """The row that says that a visit and detector has been associated.

    Parameters
    ----------
    instrument : str
        Camera name.
    visit, detector : int
        What was processed.
    task_id : str
        Task that did it.
    band : str
        Band, one of ``ugrizy``.
    midpointMjdTai : float
        Middle of the exposure [d, MJD TAI].
    timeProcessedMjdTai : float
        When; the validity of the objects that it wrote starts here [d, MJD TAI].
    n_dia_sources, n_new_objects, n_updated_objects, n_forced_sources : int
        Rows that it wrote.
    """

    instrument: str
    visit: int
    detector: int
    task_id: str
    band: str
    midpointMjdTai: float  # noqa: N815
    timeProcessedMjdTai: float  # noqa: N815
    n_dia_sources: int = 0
    n_new_objects: int = 0
    n_updated_objects: int = 0
    n_forced_sources: int = 0


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


def lock(connection: sa.Connection) -> None:
    """Let one transaction at a time associate; the others wait here.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


def load_marker(connection: sa.Connection, instrument: str, visit: int, detector: int) -> Marker | None:
    """Load the marker of a visit and detector; None if it has not been associated."""
    statement = sa.select(apdb_marker).where(*_is_visit(apdb_marker, visit, detector))
    row = connection.execute(statement.where(apdb_marker.c.instrument == instrument)).mappings().first()
    return None if row is None else Marker(**row)


def load_dia_objects(connection: sa.Connection, ranges: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Load the current objects whose HTM pixel is in one of some ranges.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    ranges : sequence of (int, int)
        First and last pixel; see `astra.sky.regions.htm_ranges`. They cover more than the region.

    Returns
    -------
    objects : structured ndarray, shape (n,)
        Columns ``OBJECT_COLUMNS``, ordered by ``diaObjectId``.
    """
    pixel = dia_object.c.pixelId
    inside = sa.or_(sa.false(), *(pixel.between(first, last) for first, last in ranges))
    is_current = dia_object.c.validityEndMjdTai.is_(None)
    return np.sort(fetch(connection, dia_object, OBJECT_COLUMNS, inside, is_current), order="diaObjectId")


def load_sources(
    connection: sa.Connection, object_ids: NDArray[np.int64], *conditions: sa.ColumnElement[bool]
) -> NDArray[Any]:
    """Load the detections of objects: columns ``SOURCE_COLUMNS``."""
    return _fetch_of_objects(connection, dia_source, SOURCE_COLUMNS, object_ids, conditions)


def load_forced(
    connection: sa.Connection, object_ids: NDArray[np.int64], *conditions: sa.ColumnElement[bool]
) -> NDArray[Any]:
    """Load the forced measurements of objects: columns ``FORCED_COLUMNS``."""
    return _fetch_of_objects(connection, dia_forced_source, FORCED_COLUMNS, object_ids, conditions)


def store_visit(
    connection: sa.Connection,
    marker: Marker,
    dia_sources: NDArray[Any],
    dia_objects: NDArray[Any],
    forced: NDArray[Any],
) -> None:
    """Write what one visit and detector found, in the caller's transaction.

    What the same visit and detector wrote before is withdrawn first. The current row of each object is closed
    at ``timeProcessedMjdTai``, where the new one starts.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    marker : Marker
        The row that makes the visit and detector count as done.
    dia_sources, dia_objects, forced : structured ndarray
        Rows, with the names of the table's columns.

    Raises
    ------
    ConflictingDefinitionError
        If another camera has used this visit and detector: the Rubin tables do not tell cameras apart.
    FormatError
        If a column that may not be null is missing.
    """
    _refuse_other_instrument(connection, marker)
    vanished = withdraw_visit(connection, marker.instrument, marker.visit, marker.detector)
    time = marker.timeProcessedMjdTai
    for ids in _chunks(dia_objects["diaObjectId"]):
        is_current = dia_object.c.validityEndMjdTai.is_(None) & dia_object.c.diaObjectId.in_(ids)
        connection.execute(sa.update(dia_object).where(is_current).values(validityEndMjdTai=time))
    insert(connection, dia_object, to_table(dia_object, dia_objects, validityStartMjdTai=time))
    insert(connection, dia_source, dia_sources)
    insert(connection, dia_forced_source, forced)
    connection.execute(sa.insert(apdb_marker), asdict(marker))
    delete_orphans(connection, vanished)


def remove_visit(connection: sa.Connection, instrument: str, visit: int, detector: int) -> None:
    """Withdraw all that one visit and detector wrote; nothing happens if it wrote nothing.

    Objects that lose their last detection go, with their forced measurements. The others get their previous
    version back; versions that later visits wrote are made again from the detections that remain.
    """
    delete_orphans(connection, withdraw_visit(connection, instrument, visit, detector))


def load_alert_rows(
    connection: sa.Connection, instrument: str, visit: int, detector: int
) -> tuple[Marker, list[AlertRows]]:
    """Load all that the alerts of one visit and detector tell, ordered by ``diaSourceId``.

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
    of_visit = sa.select(dia_source).where(*_is_visit(dia_source, visit, detector))
    sources = [dict(row) for row in connection.execute(of_visit.order_by("diaSourceId")).mappings()]
    ids = np.unique([row["diaObjectId"] for row in sources if row["diaObjectId"] is not None]).astype(
        np.int64
    )
    since = marker.midpointMjdTai - HISTORY_DAYS
    is_written = dia_object.c.validityStartMjdTai == marker.timeProcessedMjdTai
    objects = _history(connection, dia_object, ids, is_written)
    previous = [
        _history(connection, table, ids, table.c.visit != visit, table.c.midpointMjdTai >= since)
        for table in (dia_source, dia_forced_source)
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


def withdraw_visit(
    connection: sa.Connection, instrument: str, visit: int, detector: int
) -> NDArray[np.int64]:
    """Withdraw a visit and detector, to associate it again in the same transaction; see `remove_visit`.

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
    is_marker = [*_is_visit(apdb_marker, visit, detector), apdb_marker.c.instrument == instrument]
    connection.execute(sa.delete(apdb_marker).where(*is_marker))
    _reopen(connection, detected, marker.timeProcessedMjdTai)
    _remake(connection, np.union1d(detected, forced), marker.timeProcessedMjdTai)
    vanished: NDArray[np.int64] = np.setdiff1d(detected, load_sources(connection, detected)["diaObjectId"])
    return vanished


def _delete_of_visit(
    connection: sa.Connection, table: sa.Table, visit: int, detector: int
) -> NDArray[np.int64]:
    """Delete the rows of a visit and detector; return the objects that they belonged to."""
    condition = _is_visit(table, visit, detector)
    ids = fetch(connection, table, ["diaObjectId"], *condition)["diaObjectId"]
    connection.execute(sa.delete(table).where(*condition))
    of_objects: NDArray[np.int64] = np.unique(ids[ids != 0])
    return of_objects


def _reopen(connection: sa.Connection, object_ids: NDArray[np.int64], time: float) -> None:
    """Delete the versions of objects that start at a time, and let the ones before last until theirs end."""
    starts = dia_object.c.validityStartMjdTai == time
    for ids in _chunks(object_ids):
        among = dia_object.c.diaObjectId.in_(ids)
        columns = dia_object.c.diaObjectId, dia_object.c.validityEndMjdTai
        ends = connection.execute(sa.select(*columns).where(among, starts)).all()
        connection.execute(sa.delete(dia_object).where(among, starts))
        for end in {end for _, end in ends}:
            same = [object_id for object_id, value in ends if value == end]
            before = dia_object.c.diaObjectId.in_(same), dia_object.c.validityEndMjdTai == time
            connection.execute(sa.update(dia_object).where(*before).values(validityEndMjdTai=end))


def _remake(connection: sa.Connection, object_ids: NDArray[np.int64], time: float) -> None:
    """Make the versions of objects that start after a time again, each from what was known then."""
    names = ["diaObjectId", "validityStartMjdTai", "validityEndMjdTai"]
    later = dia_object.c.validityStartMjdTai > time
    versions = _fetch_of_objects(connection, dia_object, names, object_ids, [later])
    for start in np.unique(versions["validityStartMjdTai"]):
        old = np.sort(versions[versions["validityStartMjdTai"] == start], order="diaObjectId")
        ids = old["diaObjectId"]
        sources = load_sources(connection, ids, dia_source.c.timeProcessedMjdTai <= float(start))
        forced = load_forced(connection, ids, dia_forced_source.c.timeProcessedMjdTai <= float(start))
        objects = make_dia_objects(sources, forced)
        kept = old[np.isin(ids, objects["diaObjectId"])]
        for chunk in _chunks(ids):
            is_version = dia_object.c.validityStartMjdTai == float(start)
            connection.execute(sa.delete(dia_object).where(is_version, dia_object.c.diaObjectId.in_(chunk)))
        validity = {name: kept[name] for name in names[1:]}
        insert(connection, dia_object, to_table(dia_object, objects, **validity))


def delete_orphans(connection: sa.Connection, object_ids: NDArray[np.int64]) -> None:
    """Delete the forced measurements of those objects that are not there any more."""
    present = _fetch_of_objects(connection, dia_object, ["diaObjectId"], object_ids, [])["diaObjectId"]
    for ids in _chunks(np.setdiff1d(object_ids, present)):
        connection.execute(sa.delete(dia_forced_source).where(dia_forced_source.c.diaObjectId.in_(ids)))


def _refuse_other_instrument(connection: sa.Connection, marker: Marker) -> None:
    """Raise if another camera has associated the same visit and detector."""
    condition = _is_visit(apdb_marker, marker.visit, marker.detector)
    owner = connection.execute(sa.select(apdb_marker.c.instrument).where(*condition)).scalars().first()
    if owner not in {None, marker.instrument}:
        message = (
            f"visit {marker.visit} detector {marker.detector} of {marker.instrument} cannot be stored: "
            f"{owner} has the same numbers, and the APDB does not tell cameras apart; use a database for each"
        )
        raise ConflictingDefinitionError(message, instrument=marker.instrument, owner=owner)


def _is_visit(table: sa.Table, visit: int, detector: int) -> list[sa.ColumnElement[bool]]:
    return [table.c.visit == visit, table.c.detector == detector]


def _chunks(ids: NDArray[np.int64]) -> Iterator[list[int]]:
    """Parts of a list of ids that fit one statement."""
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield ids[start : start + _IDS_PER_STATEMENT].tolist()


def _history(
    connection: sa.Connection, table: sa.Table, ids: NDArray[np.int64], *conditions: sa.ColumnElement[bool]
) -> dict[int, list[dict[str, Any]]]:
    """Whole rows of objects, by object."""
    found: dict[int, list[dict[str, Any]]] = {}
    for chunk in _chunks(ids):
        statement = sa.select(table).where(table.c.diaObjectId.in_(chunk), *conditions)
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
    """Rows of objects as an array."""
    parts = [
        fetch(connection, table, names, table.c.diaObjectId.in_(ids), *conditions)
        for ids in _chunks(np.asarray(object_ids))
    ]
    return np.concatenate([np.zeros(0, dtype=table_dtype(table, names)), *parts])
