"""What corrections do to rows: each change is told in an update record, and what was asked for is noted.

`astra.database.apdb_updates` has them for callers; here they go on with a change that is under way, so that
`astra.database.apdb_corrections` can make them again without telling it twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database import apdb_facts
from astra.database.apdb_current import close_objects, load_current, refresh_objects, sorted_ids
from astra.database.apdb_facts import CLOSE, FORCED, MERGE, REASSIGN, SOLAR, WITHDRAW
from astra.database.apdb_reads import load_sources
from astra.database.apdb_rows import among
from astra.database.apdb_update_records import UpdateRecords
from astra.database.bulk import execute_columns
from astra.database.models.apdb import dia_forced_source, dia_object, dia_source
from astra.errors import MissingDataError

_POSITION = ("ra", "dec", "midpointMjdTai")
_FORCED_KEY = ("diaObjectId", "visit", "detector")


def merge(update: UpdateRecords, merged: Mapping[int, int], plugins: Sequence[str]) -> None:
    """Give the detections of duplicates to the objects that stay; the duplicates are closed."""
    ids = np.array(sorted(merged), dtype=np.int64)
    require_current(update.connection, set(merged.values()))
    require([row["diaObjectId"] for row in last_versions(update.connection, ids)], merged, "objects")
    known = apdb_facts.merged_into(update.connection, ids)
    new = {one: target for one, target in merged.items() if (one, target) not in known}
    _note_merges(update, new)
    sources = load_sources(update.connection, ids)
    pairs = zip(sources["diaSourceId"].tolist(), sources["diaObjectId"].tolist(), strict=True)
    reassign(update, {source: merged[owner] for source, owner in pairs}, plugins, by_merge=True)


def reassign(
    update: UpdateRecords, assigned: Mapping[int, int], plugins: Sequence[str], *, by_merge: bool = False
) -> None:
    """Give detections to other objects, which must be current."""
    require_current(update.connection, set(assigned.values()))
    rows = load_rows(update.connection, assigned)
    moved = [row for row in rows if row["diaObjectId"] != assigned[row["diaSourceId"]]]
    new = [assigned[row["diaSourceId"]] for row in moved]
    set_source(update.connection, moved, diaObjectId=new)
    _note(update, REASSIGN, moved, new, by_merge=by_merge)
    for row, object_id in zip(moved, new, strict=True):
        update.add("reassign_diasource_to_diaobject", **_source_id(row), diaObjectId=object_id)
    refresh_objects(update, {*new, *(row["diaObjectId"] for row in moved)}, plugins)


def reassign_to_bodies(update: UpdateRecords, assigned: Mapping[int, int], plugins: Sequence[str]) -> None:
    """Give detections to objects of the solar system."""
    rows = load_rows(update.connection, assigned)
    moved = [row for row in rows if row["ssObjectId"] != assigned[row["diaSourceId"]]]
    new = [assigned[row["diaSourceId"]] for row in moved]
    time, n_moved = update.time_mjd_tai, len(moved)
    changes: dict[str, list[Any]] = {"ssObjectId": new, "diaObjectId": [None] * n_moved}
    set_source(update.connection, moved, **changes, ssObjectReassocTimeMjdTai=[time] * n_moved)
    _note(update, SOLAR, moved, new)
    for row, object_id in zip(moved, new, strict=True):
        body = {"ssObjectId": object_id, "ssObjectReassocTimeMjdTai": time}
        update.add("reassign_diasource_to_ssobject", **_source_id(row), **body)
    refresh_objects(update, {row["diaObjectId"] for row in moved}, plugins)


def withdraw(update: UpdateRecords, dia_source_ids: Collection[int], plugins: Sequence[str]) -> None:
    """Mark detections as withdrawn."""
    rows = load_rows(update.connection, dia_source_ids)
    changed = [row for row in rows if row["timeWithdrawnMjdTai"] is None]
    set_source(update.connection, changed, timeWithdrawnMjdTai=[update.time_mjd_tai] * len(changed))
    _note(update, WITHDRAW, changed)
    for row in changed:
        update.add("withdraw_diasource", **_source_id(row), timeWithdrawnMjdTai=update.time_mjd_tai)
    refresh_objects(update, {row["diaObjectId"] for row in changed}, plugins)


def withdraw_forced(
    update: UpdateRecords, keys: Iterable[tuple[int, int, int]], plugins: Sequence[str]
) -> None:
    """Mark forced measurements, by ``diaObjectId``, visit and detector, as withdrawn."""
    wanted = set(keys)
    rows = load_forced_rows(update.connection, wanted)
    require(rows.keys(), wanted, "forced measurements")
    changed = [rows[one] for one in sorted(wanted) if rows[one]["timeWithdrawnMjdTai"] is None]
    set_forced(update.connection, changed, update.time_mjd_tai)
    _note(update, FORCED, changed)
    for row in changed:
        place = {name: row[name] for name in (*_FORCED_KEY, *_POSITION)}
        update.add("withdraw_diaforcedsource", **place, timeWithdrawnMjdTai=update.time_mjd_tai)
    refresh_objects(update, {row["diaObjectId"] for row in changed}, plugins)


def close(update: UpdateRecords, dia_object_ids: Collection[int]) -> None:
    """End the validity of objects."""
    ids = sorted_ids(dia_object_ids)
    query = sa.select(dia_object.c.diaObjectId).where(among(update.connection, dia_object.c.diaObjectId, ids))
    require(update.connection.execute(query.distinct()).scalars().all(), ids.tolist(), "objects")
    current = load_current(update.connection, ids.tolist())
    _note(update, CLOSE, current)
    close_objects(update, current)


def load_rows(connection: sa.Connection, dia_source_ids: Collection[int]) -> list[Mapping[str, Any]]:
    """Load what the records of detections tell, in order of their ids; all must be there."""
    rows = find_rows(connection, dia_source_ids)
    require([row["diaSourceId"] for row in rows], dia_source_ids, "detections")
    return rows


def find_rows(connection: sa.Connection, dia_source_ids: Collection[int]) -> list[Mapping[str, Any]]:
    """Load those of some detections that are there, in order of their ids."""
    names = ("diaSourceId", "diaObjectId", "ssObjectId", "visit", "detector", *_POSITION)
    condition = among(connection, dia_source.c.diaSourceId, sorted_ids(dia_source_ids))
    columns = [dia_source.c[name] for name in (*names, "timeWithdrawnMjdTai")]
    result = connection.execute(sa.select(*columns).where(condition).order_by("diaSourceId")).mappings()
    return [dict(row) for row in result]


def load_forced_rows(
    connection: sa.Connection, keys: Collection[tuple[int, int, int]]
) -> dict[tuple[int, int, int], Mapping[str, Any]]:
    """Load those of some forced measurements that are there, by their keys."""
    names = (*_FORCED_KEY, *_POSITION, "timeWithdrawnMjdTai")
    query = sa.select(*(dia_forced_source.c[name] for name in names)).where(
        among(connection, dia_forced_source.c.diaObjectId, sorted_ids(key[0] for key in keys)),
        among(connection, dia_forced_source.c.visit, sorted_ids(key[1] for key in keys)),
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    by_key = {(row["diaObjectId"], row["visit"], row["detector"]): row for row in rows}
    return {key: row for key, row in by_key.items() if key in keys}


def set_source(connection: sa.Connection, rows: Collection[Mapping[str, Any]], **values: list[Any]) -> None:
    """Change columns of detections, each to a value of its own."""
    is_row = dia_source.c.diaSourceId == sa.bindparam("own_id")
    changes = {name: sa.bindparam(f"new_{name}", type_=dia_source.c[name].type) for name in values}
    columns: dict[str, list[Any]] = {f"new_{name}": column for name, column in values.items()}
    columns["own_id"] = [row["diaSourceId"] for row in rows]
    execute_columns(connection, sa.update(dia_source).where(is_row).values(**changes), columns)


def set_forced(connection: sa.Connection, rows: Collection[Mapping[str, Any]], time: float | None) -> None:
    """Change when forced measurements were withdrawn."""
    is_row = [dia_forced_source.c[name] == sa.bindparam(f"own_{name}") for name in _FORCED_KEY]
    columns: dict[str, list[Any]] = {f"own_{n}": [row[n] for row in rows] for n in _FORCED_KEY}
    columns["new_time"] = [time] * len(rows)
    new_time: Any = sa.bindparam("new_time", type_=sa.Double())
    statement = sa.update(dia_forced_source).where(*is_row).values(timeWithdrawnMjdTai=new_time)
    execute_columns(connection, statement, columns)


def count_sources(connection: sa.Connection, object_ids: NDArray[np.int64]) -> dict[int, int]:
    """Count the detections of objects that are not withdrawn; those without any are left out."""
    present, n_sources = np.unique(load_sources(connection, object_ids)["diaObjectId"], return_counts=True)
    return dict(zip(present.tolist(), n_sources.tolist(), strict=True))


def require_current(connection: sa.Connection, object_ids: Collection[int]) -> None:
    """Raise if an object has no current version."""
    found = [row["diaObjectId"] for row in load_current(connection, object_ids)]
    require(found, object_ids, "current objects")


def _note(
    update: UpdateRecords,
    kind: str,
    rows: Iterable[Mapping[str, Any]],
    targets: Iterable[int | None] = (),
    *,
    by_merge: bool = False,
) -> None:
    """Note what was asked for of rows, and what they said before."""
    given = [*targets]
    apdb_facts.note(
        update.connection,
        (
            {
                **row,
                "kind": kind,
                "timeMjdTai": update.time_mjd_tai,
                "target": target,
                "previousDiaObjectId": row["diaObjectId"],
                "previousSsObjectId": row.get("ssObjectId"),
                "by_merge": by_merge,
            }
            for row, target in itertools.zip_longest(rows, given)
        ),
    )


def _note_merges(update: UpdateRecords, merged: Mapping[int, int]) -> None:
    """Note which objects are merged, where their last version is."""
    last = last_versions(update.connection, sorted_ids(merged))
    _note(update, MERGE, last, [merged[row["diaObjectId"]] for row in last])


def last_versions(connection: sa.Connection, object_ids: NDArray[np.int64]) -> list[Mapping[str, Any]]:
    """Load the last version of each object, current or not, in order of their ids."""
    names = ("diaObjectId", "validityStartMjdTai", "validityEndMjdTai", "ra", "dec", "nDiaSources")
    condition = among(connection, dia_object.c.diaObjectId, object_ids)
    query = sa.select(*(dia_object.c[name] for name in names)).where(condition)
    rows = connection.execute(query.order_by("diaObjectId", "validityStartMjdTai")).mappings()
    return [*{row["diaObjectId"]: dict(row) for row in rows}.values()]


def _source_id(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("diaSourceId", *_POSITION)}


def require(found: Collection[Any], wanted: Collection[Any], what: str) -> None:
    """Raise if what was wanted was not all found."""
    missing = set(wanted) - set(found)
    if missing:
        message = f"{len(missing)} {what} are not in the APDB: {some(missing)}"
        raise MissingDataError(message, missing=sorted(missing)[:20])


def some(ids: Iterable[Any]) -> str:
    """Write the first of some ids."""
    ordered = sorted(ids)
    return ", ".join(map(str, ordered[:5])) + (", ..." if len(ordered) > 5 else "")
