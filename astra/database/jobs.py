"""Rows of jobs: parts of tasks that an executor runs elsewhere."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, insert, select, true, update

from astra.database.bulk import execute_rows, is_among
from astra.database.models.jobs import Job
from astra.database.models.state import Status
from astra.database.queries import as_utc
from astra.database.state import ID_ROWS, attempt_table, chunks, order_writers, run_table, task_table

ASKED_TO_END = "JobEnding"  # class of the error by which a job ends that its cluster has asked to

job_table: Table = Job.__table__  # type: ignore[assignment]
_IS_LIVE: ColumnElement[bool] = job_table.c.status_code.in_([int(Status.CREATED), int(Status.RUNNING)])


@dataclass(frozen=True)
class JobRecord:
    """A row of ``job``; the fields are its columns."""

    pk: int
    executor: str
    submission: str
    number: int
    external_id: str | None
    owner: str
    family: str
    module: str
    parameters: Mapping[str, str]
    settings: Mapping[str, Any]
    attempt: int
    status_code: int
    message: str | None
    asked: Sequence[Any] | None
    folder: str
    host: str | None
    submitter_pk: int | None
    run_pk: int | None
    since: dt.datetime
    created: dt.datetime

    @property
    def is_live(self) -> bool:
        """Whether it has not ended, as far as the database knows."""
        return self.status_code in {Status.CREATED, Status.RUNNING}


@dataclass(frozen=True)
class Fates:
    """What became of the tasks of a job that is gone.

    Parameters
    ----------
    ran : set of str
        Ids of those that ran when it ended.
    waiting : set of str
        Ids of those that it had not begun.
    """

    ran: set[str]
    waiting: set[str]


def insert_jobs(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write jobs that are about to be submitted."""
    order_writers(connection)
    execute_rows(connection, insert(job_table), [{**row, "status_code": int(Status.CREATED)} for row in rows])


def live_jobs(connection: Connection, owners: Iterable[str]) -> list[JobRecord]:
    """Return the jobs of some tasks that have not ended."""
    found: list[JobRecord] = []
    for chunk in chunks(owners, ID_ROWS):
        found += _records(connection, is_among(connection, job_table.c.owner, chunk) & _IS_LIVE)
    return found


def jobs_of(connection: Connection, submissions: Iterable[str]) -> list[JobRecord]:
    """Return all jobs of some submissions, in order."""
    found: list[JobRecord] = []
    for chunk in chunks(submissions, ID_ROWS):
        found += _records(connection, is_among(connection, job_table.c.submission, chunk))
    return found


def get_jobs(connection: Connection, keys: Iterable[int]) -> list[JobRecord]:
    """Return jobs by their keys."""
    found: list[JobRecord] = []
    for chunk in chunks(keys, ID_ROWS):
        found += _records(connection, is_among(connection, job_table.c.pk, chunk))
    return found


def _records(connection: Connection, condition: ColumnElement[bool]) -> list[JobRecord]:
    columns = [job_table.c[item.name] for item in fields(JobRecord)]
    query = select(*columns).where(condition).order_by(job_table.c.submission, job_table.c.number)
    return [
        JobRecord(**{**row, "since": as_utc(row["since"]), "created": as_utc(row["created"])})
        for row in connection.execute(query).mappings()
    ]


def note_submitted(connection: Connection, submission: str, external_id: str) -> None:
    """Write under which id a submission is known where it runs; a job that has begun has written its own."""
    chosen = (job_table.c.submission == submission) & job_table.c.external_id.is_(None)
    connection.execute(update(job_table).where(chosen).values(external_id=external_id))


def divide_submission(connection: Connection, submission: str, keep: int, name: str, folder: str) -> None:
    """Give the jobs of a submission from a number on to one of another name, if it is not submitted yet."""
    chosen = (job_table.c.submission == submission) & job_table.c.external_id.is_(None)
    connection.execute(
        update(job_table)
        .where(chosen, job_table.c.number >= keep)
        .values(submission=name, number=job_table.c.number - keep, folder=folder)
    )


def take_over(connection: Connection, submission: str, former: int | None, submitter_pk: int) -> bool:
    """Let another run submit what one wrote and did not submit; False if a third has been faster."""
    chosen = (job_table.c.submission == submission) & job_table.c.external_id.is_(None)
    mine = chosen & job_table.c.submitter_pk.is_not_distinct_from(former)
    changed = connection.execute(update(job_table).where(mine).values(submitter_pk=submitter_pk))
    return bool(changed.rowcount)


def run_place(connection: Connection, run_pk: int) -> tuple[str, int] | None:
    """Return host and process id of a run; None if it is unknown."""
    row = connection.execute(
        select(run_table.c.host, run_table.c.pid).where(run_table.c.pk == run_pk)
    ).first()
    return None if row is None else (row.host, row.pid)


def begin_job(connection: Connection, pk: int, values: Mapping[str, Any]) -> bool:
    """Write, in the job itself, that it runs; False if it has been given up, or is that of another array.

    An array that was submitted twice, as nobody could tell whether it was, has two jobs for each row.
    """
    is_own = job_table.c.external_id.is_(None) | (job_table.c.external_id == values.get("external_id"))
    changed = connection.execute(
        update(job_table)
        .where(job_table.c.pk == pk, _IS_LIVE, is_own if "external_id" in values else true())
        .values(status_code=int(Status.RUNNING), **values)
    )
    return bool(changed.rowcount)


def end_job(
    connection: Connection,
    pk: int,
    status: Status,
    message: str | None = None,
    asked: Sequence[Any] | None = None,
) -> bool:
    """Write that a job has ended; False if that is written already."""
    changed = connection.execute(
        update(job_table)
        .where(job_table.c.pk == pk, _IS_LIVE)
        .values(
            status_code=int(status),
            message=message,
            asked=None if asked is None else list(asked),
            ended=dt.datetime.now(dt.UTC),
        )
    )
    return bool(changed.rowcount)


def fates(connection: Connection, run_pk: int | None, task_ids: Collection[str]) -> Fates:
    """Return which tasks of a job that is gone are to do again; those it has done or failed are left out."""
    attempts: dict[str, tuple[int, str | None]] = {}
    done: set[str] = set()
    for chunk in chunks(task_ids, ID_ROWS):
        among = is_among(connection, task_table.c.task_id, chunk)
        query = select(task_table.c.task_id).where(
            among, task_table.c.status_code == int(Status.DONE), task_table.c.completed.is_not(None)
        )
        done.update(connection.execute(query).scalars())
        if run_pk is None:
            continue
        tried = (
            select(task_table.c.task_id, attempt_table.c.status_code, attempt_table.c.error_class)
            .join(attempt_table, attempt_table.c.task_pk == task_table.c.pk)
            .where(among, attempt_table.c.run_pk == run_pk)
            .order_by(attempt_table.c.pk)
        )
        attempts.update({row[0]: (row[1], row[2]) for row in connection.execute(tried)})
    ran = {
        task_id
        for task_id, (code, error) in attempts.items()
        if code == Status.RUNNING or error == ASKED_TO_END
    }
    return Fates(ran - done, set(task_ids) - done - set(attempts))


def messages(connection: Connection, task_ids: Collection[str]) -> dict[str, str]:
    """Return the message of the last attempt at each of some tasks, with the class of its error."""
    found: dict[str, str] = {}
    for chunk in chunks(task_ids, ID_ROWS):
        query = (
            select(task_table.c.task_id, attempt_table.c.error_class, attempt_table.c.message)
            .join(attempt_table, attempt_table.c.task_pk == task_table.c.pk)
            .where(is_among(connection, task_table.c.task_id, chunk))
            .order_by(attempt_table.c.pk)
        )
        for task_id, error, message in connection.execute(query):
            found[task_id] = f"{error}: {message}" if error else str(message or "")
    return found
