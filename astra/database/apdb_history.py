"""What those who copy the database must learn when visits are associated again: nothing they have may vanish.

Rows are written anew by a further association. Afterwards they are compared with those before. A row that is
the same stays in its replica chunk, with the time at which it was processed. One that others may have copied,
as its chunk is older than that of now, and that is no longer made, stays too: a detection or forced
measurement as withdrawn, an object without detections as closed, each told by an update record. A detection
of another object is told by a record. For everything else Rubin has no record: the row is in the chunk of now
as a whole, and a copy must replace what it has under the same key. A version of an object whose detection has
gone becomes what was known then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database.apdb_rows import among, is_visit
from astra.database.apdb_update_records import UpdateRecords
from astra.database.bulk import execute_rows
from astra.database.models.apdb import (
    dia_forced_source,
    dia_forced_source_chunks,
    dia_object,
    dia_object_chunks,
    dia_source,
    dia_source_chunks,
)

Key = tuple[Any, ...]
Row = dict[str, Any]
Place = tuple[int, int]

_CHUNK = "apdb_replica_chunk"
_CHUNKS = {
    dia_source: dia_source_chunks,
    dia_forced_source: dia_forced_source_chunks,
    dia_object: dia_object_chunks,
}
_CLOCK = {_CHUNK, "timeProcessedMjdTai"}
_RECORD = {dia_source: "withdraw_diasource", dia_forced_source: "withdraw_diaforcedsource"}
_TELLS = {
    dia_source: ("diaSourceId", "ra", "dec", "midpointMjdTai"),
    dia_forced_source: ("diaObjectId", "visit", "detector", "ra", "dec", "midpointMjdTai"),
}


@dataclass(frozen=True)
class Snapshot:
    """Rows of tables by their keys, each with its replica chunk; None for one that has been taken off.

    Parameters
    ----------
    places : sequence of (int, int)
        Visits and detectors whose rows they are.
    objects : set of int
        Objects of those.
    whole : set of int
        Objects of which all versions are there, and not only those that hold from ``since`` on.
    since : float
        Start of the first version that may change [d, MJD TAI].
    rows : mapping
        By table and key.
    """

    places: Sequence[Place]
    objects: set[int]
    whole: set[int]
    since: float
    rows: Mapping[sa.Table, dict[Key, Row]]


def is_there(connection: sa.Connection, visit: int, detector: int) -> bool:
    """Whether there are detections of a visit and detector, be it only withdrawn ones."""
    query = sa.select(dia_source.c.diaSourceId).where(*is_visit(dia_source, visit, detector))
    return connection.execute(query.limit(1)).first() is not None


def take_snapshot(
    connection: sa.Connection, places: Sequence[Place], since: float, objects: Iterable[int] = ()
) -> Snapshot:
    """Read what is there of visits and detectors that are associated again.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    places : sequence of (int, int)
        The visits and detectors.
    since : float
        Midpoint of the first of them [d, MJD TAI].
    objects : iterable of int, optional
        Further objects that change, as corrections of them are made again.
    """
    sources = _read_places(connection, dia_source, places)
    forced = _read_places(connection, dia_forced_source, places)
    found = {row["diaObjectId"] for row in [*sources.values(), *forced.values()]} - {None}
    # Those alone may vanish that were first detected here; named after their detections.
    own = {row["diaSourceId"] for row in sources.values()}
    forced |= _read(connection, dia_forced_source, [_among(connection, dia_forced_source, own)])
    whole = own | set(objects)
    versions = _read_versions(connection, found, whole, since)
    rows = {dia_source: sources, dia_forced_source: forced, dia_object: versions}
    return Snapshot(places, found | whole, whole, since, rows)


def clear_remains(connection: sa.Connection, before: Snapshot) -> None:
    """Delete what only tells that it is gone, so that it may be made again; `follow` puts the rest back."""
    for table in (dia_source, dia_forced_source):
        gone = [key for key, row in before.rows[table].items() if row["timeWithdrawnMjdTai"] is not None]
        is_gone = table.c.timeWithdrawnMjdTai.is_not(None)
        _delete(connection, table, gone, is_gone)
    ids = {key[0] for key in before.rows[dia_object]}
    counts = dia_source.c.timeWithdrawnMjdTai.is_(None), _among(connection, dia_source, ids)
    alive = set(connection.execute(sa.select(dia_source.c.diaObjectId).where(*counts)).scalars())
    _delete(connection, dia_object, [key for key in before.rows[dia_object] if key[0] not in alive])


def follow(connection: sa.Connection, before: Snapshot, time_mjd_tai: float) -> int:
    """Tell those who copy the database what has changed since a snapshot; see this module.

    Parameters
    ----------
    connection : Connection
        The caller's transaction, in which the visits have been associated again.
    before : Snapshot
        What was there.
    time_mjd_tai : float
        Now, as for the visits [d, MJD TAI].

    Returns
    -------
    n_records : int
        Update records written.
    """
    update = UpdateRecords(connection, time_mjd_tai)
    after = _read_after(connection, before)
    for table in (dia_source, dia_forced_source):
        _follow_measurements(update, table, before.rows[table], after[table])
    _follow_versions(update, before.rows[dia_object], after[dia_object])
    return update.write()


def _follow_measurements(
    update: UpdateRecords, table: sa.Table, before: Mapping[Key, Row], after: Mapping[Key, Row]
) -> None:
    """Keep the rows of detections, or forced measurements, that are the same or are gone."""
    kept, gone = [], []
    for key, old in before.items():
        new = after.get(key)
        if new is None:
            gone += [old] * _is_visible(update, old)
            continue
        changes = {name for name in old if name not in _CLOCK and old[name] != new[name]}
        moved = changes == {"diaObjectId"} and new["diaObjectId"] is not None and _is_visible(update, old)
        if moved:
            tells = {name: old[name] for name in _TELLS[table]}
            update.add("reassign_diasource_to_diaobject", **tells, diaObjectId=new["diaObjectId"])
        if moved or not changes:
            kept.append(old)
    _restore(update.connection, table, kept)
    _restore_time(update.connection, table, kept)
    for row in gone:
        if row["timeWithdrawnMjdTai"] is None:
            row["timeWithdrawnMjdTai"] = update.time_mjd_tai
            tells = {name: row[name] for name in (*_TELLS[table], "timeWithdrawnMjdTai")}
            update.add(_RECORD[table], **tells)
    _insert(update.connection, table, gone)


def _follow_versions(update: UpdateRecords, before: Mapping[Key, Row], after: Mapping[Key, Row]) -> None:
    """Keep the versions of objects that are the same or are gone."""
    alive = {key[0] for key in after}
    last = {key[0]: row for key, row in sorted(before.items())}
    kept: list[Row] = []
    gone: list[Row] = []
    carried: list[Row] = []
    for key, old in sorted(before.items()):
        new = after.get(key)
        if new is not None:
            reopened = old["validityEndMjdTai"] is not None and new["validityEndMjdTai"] is None
            if not reopened and _content(old) == _content(new):
                kept.append(old)
        elif _is_visible(update, old):
            (carried if key[0] in alive else gone).append(old)
    _restore(update.connection, dia_object, kept)
    _bury(update, gone, last)
    _carry(update, carried, after)


def _bury(update: UpdateRecords, gone: Sequence[Row], last: Mapping[int, Row]) -> None:
    """Put versions of objects back that have no detection any more, and close the last ones."""
    ends = {row["diaObjectId"]: row for row in gone}
    for number, row in ends.items():
        if last[number]["validityEndMjdTai"] is None or last[number]["nDiaSources"]:
            row |= {"validityEndMjdTai": update.time_mjd_tai, "nDiaSources": 0}
            tells = {name: row[name] for name in ("diaObjectId", "ra", "dec")}
            closed = {"validityEndMjdTai": update.time_mjd_tai, "nDiaSources": 0}
            update.add("close_diaobject_validity", **tells, **closed)
    _insert(update.connection, dia_object, gone)


def _carry(update: UpdateRecords, carried: Sequence[Row], after: Mapping[Key, Row]) -> None:
    """Let versions whose detection has gone tell what was known then: the version before, or nothing."""
    known = dict(after)
    for row in carried:
        number, start = row["diaObjectId"], row["validityStartMjdTai"]
        own = sorted(key for key in known if key[0] == number)
        earlier = [key for key in own if key[1] < start]
        later = [key[1] for key in own if key[1] > start]
        base = known[earlier[-1]] if earlier else row | {"nDiaSources": 0}
        end = later[0] if later else known[earlier[-1]]["validityEndMjdTai"]
        made = base | {"validityStartMjdTai": start, "validityEndMjdTai": end}
        known[number, start] = made | {_CHUNK: update.moment.chunk}
        _insert(update.connection, dia_object, [known[number, start]])
        if earlier:
            is_before = _is_key(dia_object, earlier[-1])
            change = sa.update(dia_object).where(is_before).values(validityEndMjdTai=start)
            update.connection.execute(change)


def _content(row: Row) -> Row:
    """Return what a version says but for its end, which the start of the next one tells."""
    return {name: value for name, value in row.items() if name not in {_CHUNK, "validityEndMjdTai"}}


def _is_visible(update: UpdateRecords, row: Row) -> bool:
    """Whether others may have copied a row: not what is in the chunk that is open now."""
    return bool(row[_CHUNK] != update.moment.chunk)


def _read_after(connection: sa.Connection, before: Snapshot) -> dict[sa.Table, dict[Key, Row]]:
    """Read the rows of a snapshot as they are now, and what has come besides."""
    sources = _read_places(connection, dia_source, before.places)
    forced = _read_places(connection, dia_forced_source, before.places)
    found = {row["diaObjectId"] for row in [*sources.values(), *forced.values()]} - {None}
    own = {key[0] for key in before.rows[dia_forced_source]}
    forced |= _read(connection, dia_forced_source, [_among(connection, dia_forced_source, own)])
    versions = _read_versions(connection, before.objects | found, before.whole, before.since)
    return {dia_source: sources, dia_forced_source: forced, dia_object: versions}


def _read_versions(
    connection: sa.Connection, objects: set[int], whole: set[int], since: float
) -> dict[Key, Row]:
    """Read the versions of objects that hold from a time on, and all of some objects."""
    end = dia_object.c.validityEndMjdTai
    holds = end.is_(None) | (end >= since)
    found = _read(connection, dia_object, [_among(connection, dia_object, objects), holds])
    return found | _read(connection, dia_object, [_among(connection, dia_object, whole)])


def _read_places(connection: sa.Connection, table: sa.Table, places: Sequence[Place]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for place in places:
        found |= _read(connection, table, is_visit(table, *place))
    return found


def _read(
    connection: sa.Connection, table: sa.Table, conditions: Sequence[sa.ColumnElement[bool]]
) -> dict[Key, Row]:
    """Read rows by key, each with its chunk."""
    chunks = _CHUNKS[table]
    names = [column.name for column in table.primary_key]
    same = sa.and_(*(table.c[name] == chunks.c[name] for name in names))
    query = sa.select(table, chunks.c[_CHUNK]).select_from(table.outerjoin(chunks, same)).where(*conditions)
    rows = map(dict, connection.execute(query).mappings())
    return {tuple(row[name] for name in names): row for row in rows}


def _among(connection: sa.Connection, table: sa.Table, ids: Iterable[int]) -> sa.ColumnElement[bool]:
    wanted: NDArray[np.int64] = np.array(sorted(ids), dtype=np.int64)
    return among(connection, table.c.diaObjectId, wanted)


def _is_key(table: sa.Table, key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == value for column, value in zip(table.primary_key, key, strict=True)))


def _delete(
    connection: sa.Connection, table: sa.Table, keys: Iterable[Key], *conditions: sa.ColumnElement[bool]
) -> None:
    for key in keys:
        connection.execute(sa.delete(table).where(_is_key(table, key), *conditions))


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows with their chunks."""
    execute_rows(connection, sa.insert(table), [{c.name: row[c.name] for c in table.columns} for row in rows])
    chunks = _CHUNKS[table]
    names = [column.name for column in chunks.columns]
    listed = [{name: row[name] for name in names} for row in rows if row[_CHUNK] is not None]
    execute_rows(connection, sa.insert(chunks), listed)


def _restore(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Put rows back into the chunks that they were in."""
    chunks = _CHUNKS[table]
    names = [column.name for column in table.primary_key]
    is_row = [chunks.c[name] == sa.bindparam(f"own_{name}") for name in names]
    statement = sa.update(chunks).where(*is_row).values(**{_CHUNK: sa.bindparam("new_chunk")})
    listed = [row for row in rows if row[_CHUNK] is not None]
    values = [{f"own_{n}": row[n] for n in names} | {"new_chunk": row[_CHUNK]} for row in listed]
    execute_rows(connection, statement, values)


def _restore_time(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Give rows the time back at which they were processed."""
    names = [column.name for column in table.primary_key]
    is_row = [table.c[name] == sa.bindparam(f"own_{name}") for name in names]
    time: Any = sa.bindparam("new_time", type_=sa.Double())
    statement = sa.update(table).where(*is_row).values(timeProcessedMjdTai=time)
    values = [{f"own_{n}": row[n] for n in names} | {"new_time": row["timeProcessedMjdTai"]} for row in rows]
    execute_rows(connection, statement, values)
