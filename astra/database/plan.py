"""Rows of tasks that are about to run, and of those that never could."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.models.state import Status
from astra.database.state import TaskRecord, attempt_table, chunks, task_row, task_table

BLOCKED_MESSAGE = "not started: something that it requires has failed"


def plan_tasks(connection: Connection, records: Iterable[TaskRecord], run_pk: int, now: dt.datetime) -> None:
    """Write tasks as created, as `create_tasks` does, but for those that are done or running."""
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement: Any = make(task_table)
    names = ("parameters", "status_code", "batch_size", "modified", "completed", "run_pk", "version")
    statement = statement.on_conflict_do_update(
        index_elements=["task_id"],
        set_={name: statement.excluded[name] for name in names},
        where=(task_table.c.status_code != int(Status.DONE))
        & (task_table.c.status_code != int(Status.RUNNING)),
    )
    for chunk in chunks(records):
        connection.execute(statement, [task_row(record, run_pk, now) for record in chunk])


def block_unstarted(connection: Connection, run_pk: int, now: dt.datetime) -> None:
    """Mark what a run planned and did not start as blocked, if anything in that run failed."""
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
