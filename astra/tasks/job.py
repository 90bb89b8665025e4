"""What a job does: run its part of a batch as a worker would, and write its own beginning and end.

``python -m astra.tasks.job FOLDER NUMBER`` runs one job of the array whose ticket is in a folder. Its exit
status is 0 if all is written, whatever became of the members, and 75 if it was asked to end first.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import UnavailableError
from astra.tasks.job_ticket import read_ticket
from astra.tasks.recorded_run import dynamic_requirements
from astra.tasks.runner import Invocation, restore_invocation, utc_now

if TYPE_CHECKING:
    from astra.database.jobs import JobRecord

EXIT_ASKED = 75  # EX_TEMPFAIL
PARENT_VARIABLE = "ASTRA_JOB_PARENT"  # process without which a job must not go on
PARENT_INTERVAL_S = 1.0
RESTARTED = "the job was started again by its cluster"

logger = logging.getLogger("luigi-interface")


class JobEnding(BaseException):
    """The cluster has asked a job to end: its time is nearly over, or it was cancelled."""


@dataclass
class JobInvocation(Invocation):
    """The run of a job: what was done since its submitter began counts as done in it."""

    write_interval_s: ClassVar[float] = 0.1  # a job may be lost at any time
    shares_members: ClassVar[bool] = False  # all that it has is in the hand of its submitter

    def _values(self) -> dict[str, Any]:
        return {**super()._values(), "started": utc_now()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job; return its exit status."""
    folder, number = (sys.argv[1:] if arguments is None else list(arguments))[:2]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _watch_parent()
    try:
        database_url, submission = read_ticket(Path(folder))
    except FileNotFoundError:
        logger.warning(
            "the ticket in %s is gone, as job %s has been given up: nothing is done", folder, number
        )
        return 0
    signal.signal(signal.SIGTERM, _end_early)
    try:
        return run_job(database_url, submission, int(number))
    except JobEnding:
        return EXIT_ASKED


def run_job(database_url: str, submission: str, number: int) -> int:
    """Run one job of an array; return its exit status.

    Parameters
    ----------
    database_url : str
        Where its row is.
    submission : str
        Name of the array.
    number : int
        Which job of it.

    Raises
    ------
    UnavailableError
        If the database cannot be used: what is not written is done again.
    """
    from astra.database.engine import reading, transaction
    from astra.database.jobs import end_job, jobs_of
    from astra.database.models.state import Status

    with reading(database_url) as connection:
        job = next(job for job in jobs_of(connection, [submission]) if job.number == number)
    if not job.is_live:
        logger.warning("job %d of %s has been given up: nothing is done", number, submission)
        return 0
    task: Any = luigi.task_register.load_task(job.module, job.family, dict(job.parameters))
    invocation = JobInvocation(started=job.since)
    restore_invocation(invocation)
    if not _begin(job, task, invocation, database_url):
        return 0
    status = EXIT_ASKED
    try:
        asked = _run(task)
        with transaction(database_url) as connection:
            end_job(connection, job.pk, Status.DONE, asked=asked)
        status = 0
    finally:
        invocation.end(status)
    return status


def _begin(job: JobRecord, task: Any, invocation: Invocation, database_url: str) -> bool:
    """Write that a job runs; what an earlier start of it left running is closed."""
    from astra.database.engine import transaction
    from astra.database.jobs import begin_job
    from astra.database.models.state import Status
    from astra.database.plan import close_running

    run_pk = invocation.run_pk(database_url)
    values = {"run_pk": run_pk, "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname()}
    array = os.environ.get("SLURM_ARRAY_JOB_ID") if job.executor == "slurm" else None
    if array:
        values["external_id"] = array
    with transaction(database_url) as connection:
        if not begin_job(connection, job.pk, {**values, "started": utc_now()}):
            logger.warning("job %d of %s is given up, or another array's", job.number, job.submission)
            return False
        if job.run_pk is not None:
            ids = [task.task_id, *task.member_ids()]
            close_running(connection, ids, job.run_pk, status=Status.PROCESS_DIED, message=RESTARTED)
    return True


def _run(task: Any) -> list[Any] | None:
    """Run a task; return what it asks for and is not there, if it does.

    What it fails of is in the database, and no concern of the job.
    """
    task.deps()  # notes who waits for what, as a worker does
    try:
        result = task.run()
        return _drive(result) if inspect.isgenerator(result) else None
    except UnavailableError:
        raise
    except (Exception, SystemExit) as exc:  # noqa: BLE001  # it is recorded
        logger.error("%r: %s", task, exc)  # noqa: TRY400
        return None


def _drive(run: Generator[Any, Any, Any]) -> list[Any] | None:
    with closing(run):
        try:
            yielded = next(run)
            while True:
                asked = dynamic_requirements(yielded)
                needed = asked.flat_requirements
                if not all(task.complete() for task in needed):
                    return [[task.task_module, task.task_family, task.to_str_params()] for task in needed]
                yielded = run.send(asked.paths)
        except StopIteration:
            return None


def _end_early(_signum: int, _frame: Any) -> None:
    """Leave the run in an orderly way: what is done is written."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    message = "the job was asked to end: its time was nearly over, or it was cancelled"
    raise JobEnding(message)


def _watch_parent() -> None:
    """End with the process that this job's variable names: its work would be given to another."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent:
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
