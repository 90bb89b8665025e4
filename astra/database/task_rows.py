"""The row of a task, by hand: get, create, change and delete it, inside the caller's transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Query, Session

from astra.database import state
from astra.database.bulk import execute_rows
from astra.database.engine import get_engine
from astra.database.models.state import Status, Task
from astra.database.state import TaskRecord, chunks, task_keys, task_table

WRITABLE = frozenset(
    {"status_code", "started", "modified", "completed", "duration", "overhead", "parameters"}
)


def get_task_row(connection: Connection, task_id: str) -> Row[Any] | None:
    """Return the row of a task; None if it has none."""
    return connection.execute(select(task_table).where(task_table.c.task_id == task_id)).one_or_none()


def query_tasks(url: str, keys: Mapping[str, Any]) -> Query[Task]:
    """Return an ORM query for the tasks with some values of columns; it reads, and takes no lock."""
    engine = get_engine(url).execution_options(astra_read_only=True)
    return Session(engine).query(Task).filter_by(**keys)


def add_task_rows(
    connection: Connection, records: Sequence[TaskRecord], run_pk: int, now: dt.datetime
) -> dict[str, int]:
    """Write rows for tasks that have none; return the keys of all, by task id.

    Safe with others that add the same rows at the same time.
    """
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement: Any = make(task_table).on_conflict_do_nothing(index_elements=["task_id"])
    state.order_writers(connection)
    for rows in state.task_rows(connection, records, run_pk, now):
        execute_rows(connection, statement, rows)
    return task_keys(connection, [record.task_id for record in records])


def change_task_rows(connection: Connection, task_ids: Sequence[str], values: Mapping[str, Any]) -> int:
    """Set columns of tasks; return how many rows were changed.

    A status brings the times along that go with it, and any change the time of the change, unless they are
    given: a task that is marked as done counts as completed.

    Raises
    ------
    ValueError
        If a name is not a column that may be set, or there is no such status.
    """
    unknown = set(values) - WRITABLE
    if unknown:
        message = (
            f"the state of a task has no column {', '.join(sorted(unknown))} to set; "
            f"it has {', '.join(sorted(WRITABLE))}"
        )
        raise ValueError(message)
    now = dt.datetime.now(dt.UTC)
    implied = values_of_status(_status(values["status_code"]), now) if "status_code" in values else {}
    values = {"modified": now, **implied, **values}
    changed = 0
    for chunk in chunks(task_ids):
        statement = update(task_table).where(task_table.c.task_id.in_(chunk)).values(**values)
        changed += connection.execute(statement).rowcount
    return changed


def delete_task_rows(connection: Connection, task_ids: Sequence[str]) -> int:
    """Delete tasks with their attempts, links and figures; return how many there were. Products stay."""
    deleted = 0
    for chunk in chunks(task_ids):
        deleted += connection.execute(delete(task_table).where(task_table.c.task_id.in_(chunk))).rowcount
    return deleted


def _status(code: int) -> Status:
    """Return the status of a code."""
    try:
        return Status(code)
    except ValueError as exc:
        known = ", ".join(f"{int(status)} {status.name.lower()}" for status in Status)
        message = f"status_code must be one of {known}, not {code!r}"
        raise ValueError(message) from exc


def values_of_status(status: Status, now: dt.datetime) -> dict[str, Any]:
    """Return the columns that a change to a status sets."""
    values: dict[str, Any] = {"status_code": int(status), "modified": now}
    if status is Status.DONE:
        values["completed"] = now
    elif status is Status.RUNNING:
        values |= {"started": now, "completed": None}
    else:
        values["completed"] = None
    return values
