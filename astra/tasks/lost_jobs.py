"""Jobs that ended before their work was done: what ran is closed, what is to do is submitted again.

The same work is submitted a bounded number of times. After the last one the members that ran when the job
ended fail, each with a sentence that names job, node, state, exit code and log, and those that it had not
begun get a job of their own; if none had begun, all fail.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.executors.interface import Cause, Ended, Settings, log_path
from astra.plugins import EXECUTORS
from astra.tasks.recording import logger
from astra.tasks.remote_orders import job_rows, part_of, submission_name, task_of
from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.jobs import Fates, JobRecord
    from astra.database.models.state import Status

LOST = "JobLost"  # class of the error in the state of what finally fails


@dataclass(frozen=True)
class Decision:
    """What is done about the members of a lost job that are still to do.

    Parameters
    ----------
    found : Fates
        What became of them.
    failing, again : set of str
        Ids of those that fail, and of those that another job gets.
    settings : Settings
        How that job runs.
    attempt : int
        Which one it is.
    sentence : str
        For the state of the members.
    """

    found: Fates
    failing: set[str]
    again: set[str]
    settings: Settings
    attempt: int
    sentence: str


@dataclass(frozen=True)
class Replacement:
    """A lost job, and the rows of what takes its place.

    Parameters
    ----------
    job : JobRecord
        The job.
    ended : Ended
        How it ended.
    task : AstraTask
        What it ran.
    decision : Decision
        What is done about it.
    rows : list of dict
        As of `job_rows`.
    """

    job: JobRecord
    ended: Ended
    task: Any
    decision: Decision
    rows: list[dict[str, Any]]


def replan_lost(
    database_url: str,
    lost: Collection[tuple[JobRecord, Ended]],
    largest_array: Callable[[str, Settings], int],
) -> list[str]:
    """Write that jobs are lost, and the jobs that take their place; return the names of their arrays.

    Parameters
    ----------
    database_url : str
        Where their rows are.
    lost : collection of (JobRecord, Ended)
        The jobs, and how they ended.
    largest_array : callable
        Tells how many jobs an array may have, of the name of an executor and settings.

    Returns
    -------
    names : list of str
        What is alike is submitted together.
    """
    from astra.database.engine import reading
    from astra.database.jobs import fates

    groups: dict[Any, list[Replacement]] = {}
    for job, ended in lost:
        task = task_of(job)
        with reading(database_url) as connection:
            found = fates(connection, job.run_pk, task.member_ids())
        decision = _decide(job, ended, found)
        rows = _rows(job, decision, task)  # may write the values of a large batch
        alike = job.executor, job.family, Path(job.folder).parents[1], decision.attempt, decision.settings
        groups.setdefault(alike, []).append(Replacement(job, ended, task, decision, rows))
    names: list[str] = []
    for (executor, *_, settings), group in groups.items():
        size = largest_array(executor, settings)
        for start in range(0, len(group), size):
            names += _replace(database_url, group[start : start + size])
    return names


def _replace(database_url: str, group: Sequence[Replacement]) -> list[str]:
    """Write the end of lost jobs, and one array in their place; return its name if it has any jobs."""
    from astra.database.engine import transaction
    from astra.database.jobs import end_job, insert_jobs

    name = submission_name(group[0].job.family)
    rows: list[dict[str, Any]] = []
    with transaction(database_url) as connection:
        for item in group:
            if not end_job(connection, item.job.pk, _status(item.ended), item.decision.sentence):
                continue  # another submitter has been faster
            _close(connection, item)
            for row in item.rows:
                folder = str(Path(row["folder"]).with_name(name))
                rows.append({**row, "submission": name, "number": len(rows), "folder": folder})
            logger.warning("%s", item.decision.sentence)
        insert_jobs(connection, rows)
    return [name] if rows else []


def fail_all(database_url: str, jobs: Collection[JobRecord], error: Exception) -> None:
    """Write that jobs could not be submitted, and all that they should have run as failed."""
    from astra.database.engine import transaction
    from astra.database.jobs import end_job
    from astra.database.models.state import Status

    current_invocation().run_pk(database_url)
    tasks = {job.pk: task_of(job) for job in jobs}
    for job in jobs:
        with transaction(database_url) as connection:
            if end_job(connection, job.pk, Status.FAILED, str(error)):
                ids = set(tasks[job.pk].member_ids())
                _fail(connection, database_url, ids, type(error).__name__, str(error))


def _decide(job: JobRecord, ended: Ended, found: Fates) -> Decision:
    settings = EXECUTORS.get(job.executor).settings_class.of(job.settings)
    larger = settings.after(ended)
    counts = ended.cause is not Cause.PREEMPTED  # others' work may come first any number of times
    is_last = larger is None or (counts and job.attempt >= settings.attempts)
    which = f"attempt {job.attempt} of {settings.attempts}"
    what = (
        f"given up{_why_none(ended, larger)}" if is_last else f"submitted again{_with_more(settings, larger)}"
    )
    sentence = f"{ended.words}; {which}, {what}{_where_log(job, ended)}"
    if larger is not None and not is_last:
        return Decision(found, set(), found.ran | found.waiting, larger, job.attempt + counts, sentence)
    failing = found.ran or found.waiting
    return Decision(found, failing, found.waiting - failing, settings, 1, sentence)


def _where_log(job: JobRecord, ended: Ended) -> str:
    """Say where the output of a job is; one that could never start has none."""
    if ended.cause is Cause.HOPELESS and job.run_pk is None:
        return ""
    return f"; its log: {log_path(job.folder, job.number)}"


def _why_none(ended: Ended, larger: Settings | None) -> str:
    """Say why no further attempt is made although there may be some left."""
    if larger is not None or ended.cause is Cause.HOPELESS:
        return ""
    return f", as max_{ended.cause.value} allows no more"


def _status(ended: Ended) -> Status:
    from astra.database.models.state import Status

    return Status.TIMED_OUT if ended.cause is Cause.TIME else Status.PROCESS_DIED


def _with_more(settings: Any, larger: Any) -> str:
    for name in ("memory", "time"):
        if getattr(settings, name, None) != getattr(larger, name, None):
            return f" with {name} {getattr(larger, name)}"
    return ""


def _close(connection: Connection, item: Replacement) -> None:
    """Close what ran; write the failures of what no attempt at is to be closed."""
    from astra.database.plan import close_running
    from astra.database.progress import ended_tasks

    job, ended, task, decision = item.job, item.ended, item.task, item.decision
    status = _status(ended)
    if job.run_pk is not None:
        close_running(
            connection,
            [task.task_id, *sorted(decision.found.ran)],
            job.run_pk,
            status=status,
            message=decision.sentence,
            exit_signal=ended.exit_signal,
        )
    closed = ended_tasks(connection, decision.found.ran)
    cut_off = {task_id for task_id, (code, _) in closed.items() if code == status}
    _fail(connection, task.database_url, decision.failing - cut_off, LOST, decision.sentence)


def _fail(connection: Connection, database_url: str, task_ids: set[str], error: str, message: str) -> None:
    from astra.database.models.state import Status
    from astra.database.outcomes import Outcome, end_tasks
    from astra.database.state import task_keys

    now = utc_now()
    outcomes = [
        Outcome(task_id, Status.FAILED, now, now, error_class=error, message=message)
        for task_id in sorted(task_ids)
    ]
    run_pk = current_invocation().run_pk(database_url)
    place: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
    end_tasks(connection, outcomes, task_keys(connection, task_ids), run_pk, **place)


def _rows(job: JobRecord, decision: Decision, task: Any) -> list[dict[str, Any]]:
    if not decision.again:
        return []
    return job_rows(
        submission_name(job.family),
        [(job.owner, part_of(task, decision.again))],
        executor=job.executor,
        settings=decision.settings,
        root=Path(job.folder).parents[1],
        attempt=decision.attempt,
        since=job.since,
    )
