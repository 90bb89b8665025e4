"""Bulk writes of task state.

Every function takes a connection inside the caller's transaction and touches any number of rows with a
bounded number of statements. Order of the writes of a task: created, running, ended.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.bulk import execute_rows, is_among, list_value, listed
from astra.database.constants import Constants
from astra.database.models.state import (
    BatchInterface,
    DataProduct,
    Run,
    Status,
    Task,
    TaskAttempt,
    TaskDependency,
    TaskMetadata,
)

CHUNK_ROWS = 500  # below SQLite's limit of bound variables for an IN list of any age
ID_ROWS = 5000  # ids of one statement, as one bound value
MANY_ROWS = 2000  # after which the statistics of a table are out of date
PLANNED_ROWS = 5000  # of tasks that are about to run, in one statement; a million would fill the memory
REPLANNED = (  # columns of a task that planning it again overwrites
    "parameters",
    "constants_pk",
    "status_code",
    "batch_size",
    "modified",
    "completed",
    "run_pk",
    "version",
)

task_table: Table = Task.__table__  # type: ignore[assignment]
attempt_table: Table = TaskAttempt.__table__  # type: ignore[assignment]
run_table: Table = Run.__table__  # type: ignore[assignment]
batch_table: Table = BatchInterface.__table__  # type: ignore[assignment]
dependency_table: Table = TaskDependency.__table__  # type: ignore[assignment]
product_table: Table = DataProduct.__table__  # type: ignore[assignment]
metadata_table: Table = TaskMetadata.__table__  # type: ignore[assignment]

_WRITERS_KEY = 0x41535452  # any number that no other user of the database's advisory locks takes

T = TypeVar("T")


@dataclass(frozen=True)
class TaskRecord:
    """What identifies a task, or a member of a batch.

    Parameters
    ----------
    task_id, family, module : str
        Identity.
    parameters : dict
        Parameter values, serialised, by name.
    version : str
        Version of astra.
    batch_size : int
        Number of members of a batch; None for a task that is not a batch.
    constants : dict
        Further parameters: those that all members of a batch share. They are stored once for all tasks that
        have the same.
    """

    task_id: str
    family: str
    module: str
    parameters: Mapping[str, Any]
    version: str
    batch_size: int | None = None
    constants: Mapping[str, Any] | None = None


def chunks(items: Iterable[T], size: int = CHUNK_ROWS) -> Iterator[list[T]]:
    """Split items into lists of at most ``size``."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> None:
    """Insert rows; where the key exists, overwrite the other columns named in the rows.

    Parameters
    ----------
    connection : Connection
        In a transaction; SQLite or PostgreSQL.
    table : Table
        Target.
    rows : sequence of mapping
        All with the same keys.
    keys : sequence of str
        Columns of the unique constraint.
    """
    if not rows:
        return
    last = {tuple(row[name] for name in keys): row for row in rows}
    statement = _upsert(connection.dialect.name, table, tuple(rows[0]), tuple(keys))
    execute_rows(connection, statement, list(last.values()))


@functools.cache
def _upsert(dialect: str, table: Table, names: tuple[str, ...], keys: tuple[str, ...]) -> Any:
    """Return the statement of `upsert`, made once, so that it is compiled once."""
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement: Any = make(table)
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    if changed:
        return statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
    return statement.on_conflict_do_nothing(index_elements=list(keys))


@functools.cache
def insert_into(table: Table) -> Insert:
    """Return the insert into a table, made once, so that it is compiled once."""
    return insert(table)


def order_writers(connection: Connection) -> None:
    """Let one transaction at a time write many rows: in another order two would lock each other out.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_KEY})


def refresh_statistics(connection: Connection, table: Table, n_rows: int) -> None:
    """Let PostgreSQL look at a table that has just grown by many rows.

    Until its own daemon does, it plans as for an empty table: to end 100,000 tasks took ten times as long.
    """
    if n_rows >= MANY_ROWS and connection.dialect.name == "postgresql":
        connection.execute(text(f'ANALYZE "{table.name}"'))


def insert_run(connection: Connection, values: Mapping[str, Any]) -> int:
    """Insert the row of an invocation; return its key."""
    return int(connection.execute(insert(run_table).values(**values).returning(run_table.c.pk)).scalar_one())


def end_run(
    connection: Connection,
    run_pk: int,
    exit_status: int | None,
    now: dt.datetime,
    configuration: Mapping[str, Any],
) -> None:
    """Record the end of an invocation, and the configuration that it had."""
    values = {"ended": now, "exit_status": exit_status, "configuration": dict(configuration)}
    connection.execute(update(run_table).where(run_table.c.pk == run_pk).values(**values))


def create_tasks(
    connection: Connection, records: Iterable[TaskRecord], run_pk: int, now: dt.datetime
) -> None:
    """Write tasks that are about to run, as created; what they were before is overwritten."""
    order_writers(connection)
    statement = _create(connection.dialect.name)
    for rows in task_rows(connection, records, run_pk, now):
        execute_rows(connection, statement, rows)


@functools.cache
def _create(dialect: str) -> Any:
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement: Any = make(task_table)
    # The first creation stands: only what this run changes is overwritten.
    return statement.on_conflict_do_update(
        index_elements=["task_id"], set_={name: statement.excluded[name] for name in REPLANNED}
    )


def task_rows(
    connection: Connection,
    records: Iterable[TaskRecord],
    run_pk: int,
    now: dt.datetime,
    constants: Constants | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of tasks that are about to run in parts, each once: two batches may share a member."""
    constants = constants or Constants(connection)
    for chunk in chunks(records, PLANNED_ROWS):
        distinct = {record.task_id: record for record in chunk}.values()
        constants.learn(record.constants for record in distinct)
        yield [_task_row(record, constants.key(record.constants), run_pk, now) for record in distinct]


def _task_row(record: TaskRecord, constants_pk: int | None, run_pk: int, now: dt.datetime) -> dict[str, Any]:
    return {
        "task_id": record.task_id,
        "family": record.family,
        "module": record.module,
        "parameters": dict(record.parameters),
        "constants_pk": constants_pk,
        "status_code": int(Status.CREATED),
        "batch_size": record.batch_size,
        "created": now,
        "modified": now,
        "completed": None,
        "run_pk": run_pk,
        "version": record.version,
    }


def task_keys(connection: Connection, task_ids: Iterable[str]) -> dict[str, int]:
    """Return the integer keys of tasks by task id; unknown ones are left out."""
    keys: dict[str, int] = {}
    dialect = connection.dialect.name
    for chunk in chunks(task_ids, ID_ROWS):
        found = connection.execute(_task_keys(dialect), {"listed": list_value(dialect, chunk)})
        keys.update((task_id, pk) for task_id, pk in found.all())
    return keys


@functools.cache
def _task_keys(dialect: str) -> Select[Any]:
    return select(task_table.c.task_id, task_table.c.pk).where(listed(dialect, task_table.c.task_id))


def link_batch(
    connection: Connection, parent: str, children: Sequence[str], known: Mapping[str, int] | None = None
) -> None:
    """Write which tasks are the members of a batch, in order; members without a row are left out.

    ``known`` holds keys by task id, of any of them, which need not be looked up.
    """
    known = known or {}
    unknown = [task_id for task_id in [parent, *children] if task_id not in known]
    keys = {**known, **task_keys(connection, unknown)}
    parent_pk = keys[parent]
    connection.execute(delete(batch_table).where(batch_table.c.parent_task_pk == parent_pk))
    rows = [
        {"parent_task_pk": parent_pk, "position": position, "child_task_pk": keys[child]}
        for position, child in enumerate(children)
        if child in keys
    ]
    execute_rows(connection, insert_into(batch_table), rows)


def link_dependencies(
    connection: Connection, pairs: Iterable[tuple[str, str]], anew: Iterable[str] = ()
) -> None:
    """Write lineage: pairs of (task id, task id that it requires); pairs without rows are left out.

    What the tasks in ``anew`` required before is forgotten.
    """
    order_writers(connection)
    wanted, anew = list(dict.fromkeys(pairs)), list(anew)
    keys = task_keys(connection, {*anew, *(task_id for pair in wanted for task_id in pair)})
    former = [keys[task_id] for task_id in anew if task_id in keys]
    if former:
        connection.execute(
            delete(dependency_table).where(is_among(connection, dependency_table.c.task_pk, former))
        )
    rows = [
        {"task_pk": keys[task], "required_task_pk": keys[required]}
        for task, required in wanted
        if task in keys and required in keys
    ]
    upsert(connection, dependency_table, rows, ["task_pk", "required_task_pk"])


def start_tasks(
    connection: Connection,
    keys: Sequence[int],
    run_pk: int,
    *,
    host: str,
    pid: int,
    now: dt.datetime,
) -> None:
    """Mark tasks as running, each with a new attempt."""
    order_writers(connection)
    changes = {"status_code": int(Status.RUNNING), "started": now, "modified": now, "run_pk": run_pk}
    execute_rows(connection, update_task(), [{"key": key, **changes} for key in keys])
    place = {"run_pk": run_pk, "status_code": int(Status.RUNNING), "host": host, "pid": pid, "started": now}
    execute_rows(connection, insert_into(attempt_table), [{"task_pk": key, **place} for key in keys])
    refresh_statistics(connection, attempt_table, len(keys))


@functools.cache
def update_task() -> Update:
    """Return the update of one task, whose key is the parameter ``key``; made once, and compiled once."""
    return update(task_table).where(task_table.c.pk == bindparam("key"))


def suspend_tasks(connection: Connection, keys: Sequence[int], pid: int) -> None:
    """Take the running attempts of a process at tasks back: the tasks count as created again."""
    for chunk in chunks(keys):
        running = (attempt_table.c.status_code == int(Status.RUNNING)) & (attempt_table.c.pid == pid)
        connection.execute(delete(attempt_table).where(attempt_table.c.task_pk.in_(chunk), running))
        connection.execute(
            update(task_table)
            .where(task_table.c.pk.in_(chunk), task_table.c.status_code == int(Status.RUNNING))
            .values(status_code=int(Status.CREATED))
        )
