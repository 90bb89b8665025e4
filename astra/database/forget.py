"""Removing the state of tasks, so that they run again; files and survey rows stay."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, ForeignKey, Select, delete, func, or_, select, update

from astra.database.models import Base, metadata
from astra.database.models import state as state_models
from astra.database.models.state import Status
from astra.database.queries import as_utc
from astra.database.selection import state_of_task
from astra.database.state import attempt_table, batch_table, chunks, dependency_table, task_table

state_tables = {
    mapper.local_table
    for mapper in Base.registry.mappers
    if mapper.class_.__module__ == state_models.__name__
}


@dataclass(frozen=True)
class Forgettable:
    """A task whose state can be removed.

    Parameters
    ----------
    pk : int
        Key.
    task_id, family : str
        Identity.
    state : str
        Its word for `astra.database.selection.STATES`.
    """

    pk: int
    task_id: str
    family: str
    state: str


@dataclass(frozen=True)
class RunningAttempt:
    """Where a task runs, or ran when it was killed.

    Parameters
    ----------
    task_id : str
        The task.
    host : str
        Name of the host.
    pid : int
        Process id there.
    started : datetime or None
        Timezone-aware UTC.
    """

    task_id: str
    host: str
    pid: int
    started: dt.datetime | None


def forgettable_tasks(connection: Connection, task_id: str, *, cascade: bool) -> list[Forgettable]:
    """Return a task; with ``cascade`` also its members and all that depends on any of these, at any distance.

    Of a batch that depends on them the members stay that do not. The batches that hold a task are not among
    them: whether a batch is done is asked of its members.
    """
    columns = [*(task_table.c[name] for name in ("pk", "task_id", "family")), state_of_task()]
    start = select(task_table.c.pk).where(task_table.c.task_id == task_id)
    chosen = task_table.c.pk.in_(_reachable(start) if cascade else start)
    query = select(*columns).where(chosen).order_by(task_table.c.pk)
    return [Forgettable(**row) for row in connection.execute(query).mappings()]


def _reachable(start: Select[Any]) -> Select[Any]:
    """Follow dependencies from what was required, beginning with a batch and its members."""
    members = select(batch_table.c.child_task_pk).where(batch_table.c.parent_task_pk.in_(start))
    first = select(task_table.c.pk).where(or_(task_table.c.pk.in_(start), task_table.c.pk.in_(members)))
    reached = first.cte("reached", recursive=True)
    # UNION, not UNION ALL: each task is followed once, whatever the number of paths to it.
    step = select(dependency_table.c.task_pk).join(
        reached, dependency_table.c.required_task_pk == reached.c.pk
    )
    return select(reached.union(step).c.pk)


def running_attempts(connection: Connection, keys: Iterable[int], limit: int = 20) -> list[RunningAttempt]:
    """Return where the tasks among ``keys`` that count as running do so, at most ``limit``."""
    found: list[RunningAttempt] = []
    for chunk in chunks(keys):
        latest = (
            select(func.max(attempt_table.c.pk))
            .where(attempt_table.c.task_pk.in_(chunk))
            .group_by(attempt_table.c.task_pk)
        )
        columns = (task_table.c.task_id, *(attempt_table.c[name] for name in ("host", "pid", "started")))
        query = (
            select(*columns)
            .join(attempt_table, attempt_table.c.task_pk == task_table.c.pk)
            .where(attempt_table.c.pk.in_(latest), task_table.c.status_code == int(Status.RUNNING))
        )
        rows = connection.execute(query.limit(limit - len(found)))
        found += [RunningAttempt(row.task_id, row.host, row.pid, as_utc(row.started)) for row in rows]
        if len(found) >= limit:
            break
    return found


def forget_tasks(connection: Connection, keys: Iterable[int]) -> None:
    """Remove tasks with their attempts, figures, lineage and membership; rows of their files stay.

    A task on which results in the database hang stays too, as one that has never run.
    """
    for chunk in chunks(keys):
        held = _with_results(connection, chunk)
        free = [key for key in chunk if key not in held]
        connection.execute(delete(task_table).where(task_table.c.pk.in_(free)))
        if held:
            _reset(connection, list(held))


def _with_results(connection: Connection, keys: Sequence[int]) -> set[int]:
    """Return the tasks that rows outside the state tables refer to."""
    found: set[int] = set()
    for reference in _references():
        if reference.parent.table not in state_tables:
            column = reference.parent
            found.update(connection.execute(select(column).where(column.in_(keys))).scalars())
    return found


def _references() -> list[ForeignKey]:
    """Return all foreign keys to the key of ``task``."""
    return [
        reference
        for table in metadata.tables.values()
        for reference in table.foreign_keys
        if reference.column is task_table.c.pk
    ]


def _reset(connection: Connection, keys: Sequence[int]) -> None:
    """Make tasks such as have never run, with what their removal would do to the other state tables."""
    for reference in _references():
        column = reference.parent
        if column.table not in state_tables:
            continue
        if reference.ondelete == "CASCADE":
            connection.execute(delete(column.table).where(column.in_(keys)))
        else:
            connection.execute(update(column.table).where(column.in_(keys)).values({column: None}))
    nothing = dict.fromkeys(("started", "completed", "duration", "overhead", "run_pk"))
    values = {"status_code": int(Status.CREATED), **nothing}
    connection.execute(update(task_table).where(task_table.c.pk.in_(keys)).values(**values))
