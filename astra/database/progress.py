"""Which of many tasks are done, have failed or were planned: one statement for thousands of ids."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select

from astra.database.bulk import is_among
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
    columns = task_table.c
    conditions = [columns.status_code == int(Status.DONE), columns.completed.is_not(None)]
    if since is not None:
        conditions.append(columns.completed >= since)
    done = and_(*conditions)
    if run_pk is not None:
        done = or_(done, _begun_again(run_pk))
    return _matching(connection, task_ids, [done])


def _begun_again(run_pk: int) -> ColumnElement[bool]:
    """Say that a run has done a task, which another has begun since then: two may be given the same work."""
    mine = exists().where(
        attempt_table.c.task_pk == task_table.c.pk,
        attempt_table.c.run_pk == run_pk,
        attempt_table.c.status_code == int(Status.DONE),
    )
    is_begun = task_table.c.status_code.in_([int(Status.CREATED), int(Status.RUNNING)])
    return is_begun & (task_table.c.run_pk != run_pk) & mine


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
    columns = task_table.c
    keys: dict[str, int] = {}
    for chunk in chunks(task_ids, ID_ROWS):
        query = select(columns.task_id, columns.pk).where(
            is_among(connection, columns.task_id, chunk),
            columns.run_pk == run_pk,
            columns.status_code == int(Status.CREATED),
        )
        keys.update((task_id, pk) for task_id, pk in connection.execute(query).all())
    return keys


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
