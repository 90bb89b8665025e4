"""Which tasks other attempts have in hand: at a batch that they are members of, or at a member alone."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, func, select, union_all

from astra.database.bulk import list_value, listed
from astra.database.models.state import Status
from astra.database.state import ID_ROWS, attempt_table, batch_table, chunks, task_table

_is_running = attempt_table.c.status_code == int(Status.RUNNING)


@dataclass(frozen=True)
class Holder:
    """An attempt that runs.

    Parameters
    ----------
    task_id : str
        What it is at: a batch, or a single task.
    host : str
        Where it runs.
    pid : int
        In which process there.
    """

    task_id: str
    host: str
    pid: int


def running_attempt(connection: Connection, key: int, run_pk: int, pid: int) -> int:
    """Return the key of the latest attempt of a process at a task, which runs."""
    columns = attempt_table.c
    own = (columns.task_pk == key) & (columns.run_pk == run_pk) & (columns.pid == pid) & _is_running
    return int(connection.execute(select(func.max(columns.pk)).where(own)).scalar_one())


def holders(
    connection: Connection, keys: Sequence[int], batch_key: int, attempt: int
) -> dict[int, list[Holder]]:
    """Return who had a task, or members of it, in hand before an attempt at it began, and still has.

    Of two attempts that share members the earlier one holds these, so that no two wait for each other. An
    attempt in whose place another one has begun holds nothing.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    keys : sequence of int
        Keys of members, or of the task itself if it is no batch.
    batch_key : int
        Key of the task: another attempt at the same one is the scheduler's concern.
    attempt : int
        Key of the attempt.

    Returns
    -------
    holders : dict
        By key, of those that have any.
    """
    query = _holders_before(connection.dialect.name)
    return _found(connection, query, keys, {"own_key": batch_key, "attempt": attempt})


def batches_at(connection: Connection, keys: Iterable[int]) -> dict[int, list[Holder]]:
    """Return which batches run that some tasks are members of; by key, of the tasks of which any does."""
    return _found(connection, _batches(connection.dialect.name), keys, {})


def _found(
    connection: Connection, query: Any, keys: Iterable[int], values: dict[str, int]
) -> dict[int, list[Holder]]:
    dialect = connection.dialect.name
    found: dict[int, list[Holder]] = {}
    for chunk in chunks(keys, ID_ROWS):
        given = {"listed": list_value(dialect, chunk), **values}
        for key, *place in connection.execute(query, given):
            found.setdefault(key, []).append(Holder(*place))
    return found


@functools.cache
def _holders_before(dialect: str) -> Any:
    columns = attempt_table.c
    is_before = columns.pk < bindparam("attempt")
    alone = _running(columns.task_pk).join_from(attempt_table, task_table, task_table.c.pk == columns.task_pk)
    return union_all(
        _batches(dialect).where(is_before, columns.task_pk != bindparam("own_key")),
        alone.where(is_before, listed(dialect, columns.task_pk)),
    )


@functools.cache
def _batches(dialect: str) -> Select[Any]:
    columns = attempt_table.c
    of_batches = _running(batch_table.c.child_task_pk).join_from(
        attempt_table, batch_table, batch_table.c.parent_task_pk == columns.task_pk
    )
    return of_batches.join(task_table, task_table.c.pk == columns.task_pk).where(
        listed(dialect, batch_table.c.child_task_pk)
    )


def _running(member: ColumnElement[int]) -> Select[Any]:
    columns = attempt_table.c
    later = attempt_table.alias()
    is_last = ~exists().where(later.c.task_pk == columns.task_pk, later.c.pk > columns.pk)
    return select(member, task_table.c.task_id, columns.host, columns.pid).where(_is_running, is_last)
