"""Which of many tasks are done, have failed or were planned: one statement for thousands of ids."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, and_, bindparam, exists, or_, select

from astra.database.bulk import is_among, list_value, listed
from astra.database.models.state import Status
from astra.database.state import ID_ROWS, attempt_table, chunks, order_writers, task_table


def done_ids(
    connection: Connection,
    task_ids: Iterable[str],
    since: dt.datetime | None = None,
    run_pk: int | None = None,
) -> set[str]:
    """Return the ids of the tasks that are done.

    Parameters
    ----------
    connection : Connection
        SQLite or PostgreSQL.
    task_ids : iterable of str
        Which tasks.
    since : datetime, optional
        They must have been completed since then.
    run_pk : int, optional
        A run for which also those count that it has done itself, and that another run has begun again.
    """
    given = {"since": since, "own_run": run_pk}
    values = {name: value for name, value in given.items() if value is not None}
    dialect = connection.dialect.name
    found: set[str] = set()
    for chunk in chunks(task_ids, ID_ROWS):
        query = _done(dialect, frozenset(values))
        rows = connection.execute(query, {"listed": list_value(dialect, chunk), **values})
        found.update(rows.scalars().all())
    return found


@functools.cache
def _done(dialect: str, given: frozenset[str]) -> Select[Any]:
    """Return the query of `done_ids`, made once: to make it takes longer than its answer for one task."""
    columns = task_table.c
    conditions = [columns.status_code == int(Status.DONE), columns.completed.is_not(None)]
    if "since" in given:
        conditions.append(columns.completed >= bindparam("since"))
    done = and_(*conditions)
    if "own_run" in given:
        done = or_(done, _begun_again())
    return select(columns.task_id).where(listed(dialect, columns.task_id), done)


def _begun_again() -> ColumnElement[bool]:
    """Say that a run has done a task, which another has begun since then: two may be given the same work."""
    own_run: BindParameter[int] = bindparam("own_run")
    mine = exists().where(
        attempt_table.c.task_pk == task_table.c.pk,
        attempt_table.c.run_pk == own_run,
        attempt_table.c.status_code == int(Status.DONE),
    )
    is_begun = task_table.c.status_code.in_([int(Status.CREATED), int(Status.RUNNING)])
    return is_begun & (task_table.c.run_pk != own_run) & mine


def failed_ids(connection: Connection, task_ids: Iterable[str], since: dt.datetime) -> set[str]:
    """Return the ids of the tasks that have failed, or could not start, since a moment."""
    columns = task_table.c
    conditions = [columns.status_code >= int(Status.FAILED), columns.modified >= since]
    return _matching(connection, task_ids, conditions)


def versions_of(connection: Connection, family: str) -> list[str]:
    """Return the versions of astra that have run tasks of a family."""
    columns = task_table.c
    query = select(columns.version).where(columns.family == family).distinct().order_by(columns.version)
    return list(connection.execute(query).scalars())


def ended_tasks(connection: Connection, task_ids: Iterable[str]) -> dict[str, tuple[int, float | None]]:
    """Return status code and duration [s], by id, of the tasks that have ended in any way."""
    columns = task_table.c
    ended: dict[str, tuple[int, float | None]] = {}
    for chunk in chunks(task_ids, ID_ROWS):
        query = select(columns.task_id, columns.status_code, columns.duration).where(
            is_among(connection, columns.task_id, chunk),
            columns.status_code.not_in([int(Status.CREATED), int(Status.RUNNING)]),
        )
        ended.update((task_id, (code, duration)) for task_id, code, duration in connection.execute(query))
    return ended


def missing_ids(connection: Connection, family: str) -> set[str]:
    """Return the ids of the tasks of a family that could not start for what they need, or are missing."""
    columns = task_table.c
    is_missing = columns.status_code == int(Status.DEPENDENCY_MISSING)
    query = select(columns.task_id).where(columns.family == family, is_missing)
    return set(connection.execute(query).scalars())


def planned_keys(connection: Connection, task_ids: Iterable[str], run_pk: int) -> dict[str, int]:
    """Return the keys, by id, of the tasks that a run has planned and nobody has started."""
    keys: dict[str, int] = {}
    dialect = connection.dialect.name
    for chunk in chunks(task_ids, ID_ROWS):
        values = {"listed": list_value(dialect, chunk), "own_run": run_pk}
        keys.update((task_id, pk) for task_id, pk in connection.execute(_planned(dialect), values).all())
    return keys


@functools.cache
def _planned(dialect: str) -> Select[Any]:
    columns = task_table.c
    return select(columns.task_id, columns.pk).where(
        listed(dialect, columns.task_id),
        columns.run_pk == bindparam("own_run"),
        columns.status_code == int(Status.CREATED),
    )


def running_keys(connection: Connection, keys: Iterable[int], run_pk: int) -> set[int]:
    """Return which of some tasks a run has written as running; nobody else writes in this transaction."""
    order_writers(connection)
    columns = task_table.c
    found: set[int] = set()
    for chunk in chunks(keys, ID_ROWS):
        among = is_among(connection, columns.pk, chunk)
        is_running = (columns.run_pk == run_pk) & (columns.status_code == int(Status.RUNNING))
        found.update(connection.execute(select(columns.pk).where(among, is_running)).scalars())
    return found


def _matching(
    connection: Connection, task_ids: Iterable[str], conditions: Sequence[ColumnElement[bool]]
) -> set[str]:
    found: set[str] = set()
    for chunk in chunks(task_ids, ID_ROWS):
        among = is_among(connection, task_table.c.task_id, chunk)
        found.update(
            connection.execute(select(task_table.c.task_id).where(among, *conditions)).scalars().all()
        )
    return found
