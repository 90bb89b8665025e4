"""How tasks ended: their rows, their attempts, what they wrote and noted."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, bindparam, func, select, update

from astra.database.bulk import execute_rows, list_value, listed
from astra.database.models.state import Status
from astra.database.state import (
    attempt_table,
    chunks,
    insert_into,
    metadata_table,
    order_writers,
    product_table,
    task_table,
    update_task,
    upsert,
)


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a task ended.

    Parameters
    ----------
    task_id : str
        The task.
    status_code : int
        One of `Status`.
    started, ended : datetime
        Wall clock, timezone-aware UTC.
    overhead : float
        Time of the engine before the attempt [s].
    error_class, message, traceback : str, optional
        What went wrong.
    context : dict, optional
        Numbers of the error.
    products : sequence of dict
        Rows of ``data_product`` but for the task: path, kind, size, checksum.
    figures : dict
        Rows of ``task_metadata``: key to value.
    exit_signal : int, optional
        Number of the signal that ended its process.
    log : str, optional
        Last lines of what it logged.
    """

    task_id: str
    status_code: int
    started: dt.datetime
    ended: dt.datetime
    overhead: float = 0.0
    error_class: str | None = None
    message: str | None = None
    traceback: str | None = None
    context: Mapping[str, Any] | None = None
    products: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    exit_signal: int | None = None
    log: str | None = None

    @property
    def duration(self) -> float:
        """Length of the attempt [s]."""
        return (self.ended - self.started).total_seconds()


def end_tasks(
    connection: Connection,
    outcomes: Sequence[Outcome],
    keys: Mapping[str, int],
    run_pk: int,
    *,
    host: str,
    pid: int,
) -> None:
    """Record how tasks ended: their rows, their attempts, products and figures.

    A failure of a run in whose place another one has begun and done the task leaves its row as it is.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    outcomes : sequence of Outcome
        At most one per task.
    keys : mapping
        Task id to key, of all tasks named.
    run_pk : int
        The invocation.
    host, pid
        Where they ran.
    """
    order_writers(connection)
    if not outcomes:
        return
    values = [_task_values(outcome, keys[outcome.task_id], run_pk) for outcome in outcomes]
    execute_rows(connection, update_task(), [row for row in values if row["completed"] is not None])
    failed = [{**row, "own_start": row["started"]} for row in values if row["completed"] is None]
    execute_rows(connection, _update_failed(), failed)
    for chunk in chunks(outcomes):
        _end_attempts(connection, chunk, keys, {"run_pk": run_pk, "host": host, "pid": pid})
    now = outcomes[-1].ended
    products = [
        {**product, "created": now, "task_pk": keys[outcome.task_id]}
        for outcome in outcomes
        for product in outcome.products
    ]
    upsert(connection, product_table, products, ["path"])
    figures = [
        {"task_pk": keys[outcome.task_id], "key": key, "value": value}
        for outcome in outcomes
        for key, value in outcome.figures.items()
    ]
    upsert(connection, metadata_table, figures, ["task_pk", "key"])


@functools.cache
def _update_failed() -> Update:
    was_done_since = (task_table.c.status_code == int(Status.DONE)) & (
        task_table.c.started > bindparam("own_start")
    )
    return update_task().where(~func.coalesce(was_done_since, False))


def _task_values(outcome: Outcome, key: int, run_pk: int) -> dict[str, Any]:
    done = outcome.status_code == Status.DONE
    return {
        "key": key,
        "status_code": int(outcome.status_code),
        "started": outcome.started,
        "modified": outcome.ended,
        "completed": outcome.ended if done else None,
        "duration": outcome.duration,
        "overhead": outcome.overhead,
        "run_pk": run_pk,
    }


def _end_attempts(
    connection: Connection, outcomes: Sequence[Outcome], keys: Mapping[str, int], place: Mapping[str, Any]
) -> None:
    """Finish the running attempts of this process, at ``place``; write those that nobody saw running."""
    dialect, own = connection.dialect.name, {"own_run": place["run_pk"], "own_pid": place["pid"]}
    asked = list_value(dialect, [keys[outcome.task_id] for outcome in outcomes])
    seen = set(connection.execute(_seen_running(dialect), {"listed": asked, **own}).scalars())
    rows = [(keys[outcome.task_id], _attempt_values(outcome)) for outcome in outcomes]
    finished = [{"key": key, **own, **row} for key, row in rows if key in seen]
    execute_rows(connection, _finish(), finished)
    unseen = [{**place, "task_pk": key, **row} for key, row in rows if key not in seen]
    execute_rows(connection, insert_into(attempt_table), unseen)


def _is_running_here() -> ColumnElement[bool]:
    return (
        (attempt_table.c.run_pk == bindparam("own_run"))
        & (attempt_table.c.pid == bindparam("own_pid"))
        & (attempt_table.c.status_code == int(Status.RUNNING))
    )


@functools.cache
def _seen_running(dialect: str) -> Select[Any]:
    among = listed(dialect, attempt_table.c.task_pk)
    return select(attempt_table.c.task_pk).where(among, _is_running_here())


@functools.cache
def _finish() -> Update:
    return update(attempt_table).where(attempt_table.c.task_pk == bindparam("key"), _is_running_here())


def _attempt_values(outcome: Outcome) -> dict[str, Any]:
    return {
        "status_code": int(outcome.status_code),
        "started": outcome.started,
        "ended": outcome.ended,
        "duration": outcome.duration,
        "exit_signal": outcome.exit_signal,
        "error_class": outcome.error_class,
        "message": outcome.message,
        "context": dict(outcome.context) if outcome.context else None,
        "traceback": outcome.traceback,
        "log": outcome.log,
    }
