"""Questions to the state tables; read-only and set-based."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from astra.database.models.state import Status
from astra.database.selection import STATES, Selection, codes_of, in_state
from astra.database.state import attempt_table, chunks, task_table

EVERYTHING = Selection()
MOMENTS = ("created", "started", "modified", "completed", "ended")  # columns


@dataclass(frozen=True)
class TaskState:
    """Status of one task.

    Parameters
    ----------
    status_code : int
        One of `Status`.
    modified, completed : datetime, optional
        Last change, and when it was done; timezone-aware UTC.
    """

    status_code: int
    modified: dt.datetime
    completed: dt.datetime | None


@dataclass(frozen=True)
class FamilyCounts:
    """How many tasks of a family are in which state; batches count by their members."""

    family: str
    done: int
    failed: int
    blocked: int
    running: int
    pending: int

    @property
    def total(self) -> int:
        """All tasks of the family."""
        return self.done + self.failed + self.blocked + self.running + self.pending

    def as_dict(self) -> dict[str, str | int]:
        """Return the counts by word, with their total."""
        return {**asdict(self), "total": self.total}


def as_utc(moment: dt.datetime | None) -> dt.datetime | None:
    """Give a moment its zone: SQLite keeps wall-clock times in UTC without one."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=dt.UTC)


def read_rows(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    """Return rows as dictionaries, their moments with a zone."""
    return [
        {name: as_utc(value) if name in MOMENTS else value for name, value in row.items()}
        for row in connection.execute(query).mappings()
    ]


def task_states(connection: Connection, task_ids: Iterable[str]) -> dict[str, TaskState]:
    """Return the state of tasks by id; a task without a row is left out."""
    states: dict[str, TaskState] = {}
    columns = (
        task_table.c.task_id,
        task_table.c.status_code,
        task_table.c.modified,
        task_table.c.completed,
    )
    for chunk in chunks(task_ids):
        for row in connection.execute(select(*columns).where(task_table.c.task_id.in_(chunk))):
            modified = as_utc(row.modified)
            if modified is None:
                continue
            states[row.task_id] = TaskState(row.status_code, modified, as_utc(row.completed))
    return states


def last_errors(connection: Connection, task_ids: Iterable[str]) -> dict[str, str]:
    """Return what the last attempt at tasks said, as ``ErrorClass: message``; silent ones are left out."""
    errors: dict[str, str] = {}
    for chunk in chunks(task_ids):
        latest = (
            select(func.max(attempt_table.c.pk))
            .join(task_table, task_table.c.pk == attempt_table.c.task_pk)
            .where(task_table.c.task_id.in_(chunk))
            .group_by(attempt_table.c.task_pk)
        )
        query = (
            select(task_table.c.task_id, attempt_table.c.error_class, attempt_table.c.message)
            .join(task_table, task_table.c.pk == attempt_table.c.task_pk)
            .where(attempt_table.c.pk.in_(latest))
        )
        for task_id, *words in connection.execute(query):
            if any(words):
                errors[task_id] = ": ".join(filter(None, words))
    return errors


@dataclass(frozen=True)
class TaskSummary:
    """A task in one line: its state and what its last attempt said.

    Parameters
    ----------
    task_id, family : str
        Identity.
    status_code : int
        One of `Status`.
    started : datetime, optional
        Timezone-aware UTC.
    duration : float, optional
        Length of the last attempt [s].
    message : str, optional
        Message of the last attempt.
    """

    task_id: str
    family: str
    status_code: int
    started: dt.datetime | None
    duration: float | None
    message: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def _count(state: str) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((in_state(state), 1), else_=0)), 0).label(state)


def family_counts(connection: Connection, selection: Selection = EVERYTHING) -> list[FamilyCounts]:
    """Count the tasks of each family by state, in the order in which they began.

    Rows of batches are left out: their members have rows of their own.
    """
    query = (
        select(task_table.c.family, *(_count(state) for state in STATES))
        .where(*selection.conditions())
        .group_by(task_table.c.family)
        .order_by(func.min(func.coalesce(task_table.c.started, task_table.c.modified)))
    )
    return [FamilyCounts(**row) for row in connection.execute(query).mappings()]


def failure_messages(
    connection: Connection, limit: int = 20, *, selection: Selection | None = None
) -> list[tuple[str, str]]:
    """Return (task id, message) of tasks whose last attempt failed, newest first.

    What never started because something else failed comes last. Without a selection rows of batches count
    too.
    """
    latest = (
        select(func.max(attempt_table.c.pk).label("pk")).group_by(attempt_table.c.task_pk).subquery("latest")
    )
    query = (
        select(task_table.c.task_id, attempt_table.c.message)
        .join(latest, latest.c.pk == attempt_table.c.pk)
        .join(task_table, task_table.c.pk == attempt_table.c.task_pk)
        .where(task_table.c.status_code.in_(codes_of("failed", "blocked")))
        .order_by(task_table.c.status_code == int(Status.DEPENDENCY_MISSING), attempt_table.c.pk.desc())
        .limit(limit)
    )
    if selection is not None and selection != EVERYTHING:
        query = query.where(*selection.conditions())
    return [(row.task_id, row.message or "") for row in connection.execute(query)]


def list_tasks(connection: Connection, selection: Selection, limit: int) -> list[TaskSummary]:
    """Return the selected tasks, the last changed first."""
    message = (
        select(attempt_table.c.message)
        .where(attempt_table.c.task_pk == task_table.c.pk)
        .order_by(attempt_table.c.pk.desc())
        .limit(1)
        .scalar_subquery()
        .label("message")
    )
    columns = [task_table.c[name] for name in ("task_id", "family", "status_code", "started", "duration")]
    query = (
        select(*columns, message)
        .where(*selection.conditions())
        .order_by(task_table.c.modified.desc(), task_table.c.pk.desc())
        .limit(limit)
    )
    return [
        TaskSummary(**{**row, "started": as_utc(row["started"])})
        for row in connection.execute(query).mappings()
    ]
