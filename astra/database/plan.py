"""Rows of tasks that are about to run, and of those that never could."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.bulk import execute_columns, execute_rows
from astra.database.constants import Constants
from astra.database.models.state import Status
from astra.database.planned_members import MemberColumns, member_rows
from astra.database.state import (
    REPLANNED,
    TaskRecord,
    attempt_table,
    chunks,
    order_writers,
    refresh_statistics,
    run_table,
    task_keys,
    task_rows,
    task_table,
)

DIED_MESSAGE = "the process that ran it has died"
BLOCKED_MESSAGE = "not started: something that it requires has failed, or the run ended before its turn"


def plan_tasks(
    connection: Connection,
    records: Iterable[TaskRecord],
    run_pk: int,
    now: dt.datetime,
    members: Iterable[MemberColumns] = (),
) -> None:
    """Write tasks that have no row as created; take over those that another run has planned and not begun.

    What has run before keeps its state until it runs again: another run may be at it.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    records : iterable of TaskRecord
        Tasks.
    run_pk : int
        The invocation.
    now : datetime
        Wall clock, timezone-aware UTC.
    members : iterable of MemberColumns
        Members of batches, written after these.
    """
    order_writers(connection)
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement: Any = make(task_table)
    statement = statement.on_conflict_do_update(
        index_elements=["task_id"],
        set_={name: statement.excluded[name] for name in REPLANNED},
        where=task_table.c.status_code == int(Status.CREATED),
    )
    n_rows, constants = 0, Constants(connection)
    for rows in task_rows(connection, records, run_pk, now, constants):
        execute_rows(connection, statement, rows)
        n_rows += len(rows)
    for columns in member_rows(constants, members, run_pk, now):
        execute_columns(connection, statement, columns)
        n_rows += len(columns["task_id"])
    refresh_statistics(connection, task_table, n_rows)


def block_unstarted(connection: Connection, run_pk: int, now: dt.datetime) -> None:
    """Mark what a run planned and did not start as blocked, if anything in that run failed."""
    order_writers(connection)
    failed = select(attempt_table.c.pk).where(
        attempt_table.c.run_pk == run_pk,
        attempt_table.c.status_code.not_in([int(Status.DONE), int(Status.RUNNING)]),
    )
    if not connection.execute(select(exists(failed))).scalar_one():
        return
    waiting = (task_table.c.run_pk == run_pk) & (task_table.c.status_code == int(Status.CREATED))
    keys = [row.pk for row in connection.execute(select(task_table.c.pk).where(waiting))]
    for chunk in chunks(keys):
        connection.execute(
            update(task_table)
            .where(task_table.c.pk.in_(chunk))
            .values(status_code=int(Status.DEPENDENCY_MISSING), modified=now)
        )
        attempts = [
            {
                "task_pk": key,
                "run_pk": run_pk,
                "status_code": int(Status.DEPENDENCY_MISSING),
                "host": "",
                "pid": 0,
                "started": now,
                "ended": now,
                "message": BLOCKED_MESSAGE,
            }
            for key in chunk
        ]
        connection.execute(insert(attempt_table), attempts)


def close_running(
    connection: Connection,
    task_ids: Iterable[str],
    run_pk: int,
    *,
    status: Status,
    message: str,
    exit_signal: int | None = None,
    error_class: str | None = None,
) -> None:
    """Close the running attempts of a run at tasks, and the tasks, with a status from outside."""
    order_writers(connection)
    now = dt.datetime.now(dt.UTC)
    running = (attempt_table.c.status_code == int(Status.RUNNING)) & (attempt_table.c.run_pk == run_pk)
    still = task_table.c.status_code == int(Status.RUNNING)
    ended = {
        "status_code": int(status),
        "ended": now,
        "message": message,
        "exit_signal": exit_signal,
        "error_class": error_class,
    }
    for chunk in chunks(task_ids):
        keys = list(task_keys(connection, chunk).values())
        attempts = update(attempt_table).where(attempt_table.c.task_pk.in_(keys), running)
        connection.execute(attempts.values(**ended))
        tasks = update(task_table).where(task_table.c.pk.in_(keys), still)
        connection.execute(tasks.values(status_code=int(status), modified=now))


def bury_dead(
    connection: Connection, host: str, is_alive: Callable[[int], bool], now: dt.datetime
) -> list[int]:
    """Close the attempts and runs of processes of a host that are gone; the tasks they ran: process died.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    host : str
        This host: of others nothing is known.
    is_alive : callable
        Says whether a process id is in use.
    now : datetime
        Wall clock, timezone-aware UTC.

    Returns
    -------
    keys : list of int
        Keys of the tasks.
    """
    order_writers(connection)
    running = attempt_table.c.status_code == int(Status.RUNNING)
    query = select(attempt_table.c.pk, attempt_table.c.task_pk, attempt_table.c.pid).where(
        running, attempt_table.c.host == host
    )
    dead = [row for row in connection.execute(query) if not is_alive(row.pid)]
    for chunk in chunks(dead):
        connection.execute(
            update(attempt_table)
            .where(attempt_table.c.pk.in_([row.pk for row in chunk]))
            .values(status_code=int(Status.PROCESS_DIED), ended=now, message=DIED_MESSAGE)
        )
        keys = [row.task_pk for row in chunk]
        still = task_table.c.status_code == int(Status.RUNNING)
        connection.execute(
            update(task_table)
            .where(task_table.c.pk.in_(keys), still)
            .values(status_code=int(Status.PROCESS_DIED), modified=now)
        )
    _close_runs(connection, host, is_alive, now)
    return [row.task_pk for row in dead]


def _close_runs(connection: Connection, host: str, is_alive: Callable[[int], bool], now: dt.datetime) -> None:
    """Close the runs of processes that are gone; with which status they exited nobody knows."""
    query = select(run_table.c.pk, run_table.c.pid).where(
        run_table.c.ended.is_(None), run_table.c.host == host
    )
    dead = [row.pk for row in connection.execute(query) if not is_alive(row.pid)]
    for chunk in chunks(dead):
        connection.execute(update(run_table).where(run_table.c.pk.in_(chunk)).values(ended=now))
