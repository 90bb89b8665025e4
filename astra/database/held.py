"""Which members of a batch other attempts have in hand: at a batch cut otherwise, or at a member alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exists, func, select, union_all

from astra.database.bulk import is_among
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
    """Return who had members of a batch in hand before an attempt at it began, and still has.

    Of two attempts that share members the earlier one holds these, so that no two wait for each other. An
    attempt in whose place another one has begun holds nothing.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    keys : sequence of int
        Keys of members.
    batch_key : int
        Key of the batch: another attempt at the same one is the scheduler's concern.
    attempt : int
        Key of the attempt.

    Returns
    -------
    holders : dict
        By key, of the members that have any.
    """
    found: dict[int, list[Holder]] = {}
    for chunk in chunks(keys, ID_ROWS):
        for key, *place in connection.execute(_query(connection, chunk, batch_key, attempt)):
            found.setdefault(key, []).append(Holder(*place))
    return found


def _query(connection: Connection, keys: Sequence[int], batch_key: int, attempt: int) -> Any:
    by_batch = _running_before(attempt, batch_table.c.child_task_pk).join_from(
        attempt_table, batch_table, batch_table.c.parent_task_pk == attempt_table.c.task_pk
    )
    by_batch = by_batch.join(task_table, task_table.c.pk == attempt_table.c.task_pk).where(
        is_among(connection, batch_table.c.child_task_pk, keys), attempt_table.c.task_pk != batch_key
    )
    alone = _running_before(attempt, attempt_table.c.task_pk).join_from(
        attempt_table, task_table, task_table.c.pk == attempt_table.c.task_pk
    )
    return union_all(by_batch, alone.where(is_among(connection, attempt_table.c.task_pk, keys)))


def _running_before(attempt: int, member: Any) -> Select[Any]:
    columns = attempt_table.c
    later = attempt_table.alias()
    is_last = ~exists().where(later.c.task_pk == columns.task_pk, later.c.pk > columns.pk)
    return select(member, task_table.c.task_id, columns.host, columns.pid).where(
        _is_running, columns.pk < attempt, is_last
    )
