"""Arrays for which there is no room: they are divided, and what is waited for, and for how long, is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astra.executors.interface import Ended, Executor, Handle
from astra.tasks.patience import Patience
from astra.tasks.recording import logger
from astra.tasks.remote_orders import submission_name
from astra.tasks.runner import utc_now

if TYPE_CHECKING:
    from astra.database.jobs import JobRecord

NEVER_STARTED = "has not started within {:g} min and is cancelled"
LONG_S = 60.0  # after which it is told why a job waits
TELL_S, LONGEST_TELL_S = 120.0, 1800.0  # delays between two such sentences


def divide_array(database_url: str, jobs: Sequence[JobRecord]) -> tuple[str, Path]:
    """Give the second half of an array that is not submitted to one of a new name; return name and folder.

    Parameters
    ----------
    database_url : str
        Where the rows of the jobs are.
    jobs : sequence of JobRecord
        All jobs of the array.
    """
    from astra.database.engine import transaction
    from astra.database.jobs import divide_submission

    first = jobs[0]
    name = submission_name(first.family)
    folder = Path(first.folder).with_name(name)
    keep = (max(job.number for job in jobs) + 2) // 2
    with transaction(database_url) as connection:
        divide_submission(connection, first.submission, keep, name, str(folder))
    return name, folder


def never_started(name: str, executor: Executor, jobs: Mapping[Handle, JobRecord]) -> dict[Handle, Ended]:
    """Cancel jobs that have waited for longer than their settings allow; return them."""
    late = {}
    for handle, job in jobs.items():
        limit = float(job.settings.get("start_within_min", 0.0))
        waited = (utc_now() - job.created).total_seconds() / 60
        if limit and job.run_pk is None and waited > limit:
            name_of_job = f"{name} job {handle.external_id}_{handle.number}"
            late[handle] = Ended(f"{name_of_job} {NEVER_STARTED.format(limit)}")
    executor.cancel(list(late))
    return late


class Waits:
    """Tells once in a while why jobs have not started."""

    def __init__(self) -> None:
        self._patience = Patience(TELL_S, LONGEST_TELL_S)

    def tell(self, name: str, executor: Executor, waiting: Mapping[Handle, JobRecord]) -> None:
        """Log how many jobs of an executor wait for what, if some have waited for long.

        Parameters
        ----------
        name : str
            Name of the executor.
        executor : Executor
            It, after a look at these jobs.
        waiting : mapping of Handle to JobRecord
            Jobs that have not ended.
        """
        now = utc_now()
        ages = {
            handle: (now - job.created).total_seconds()
            for handle, job in waiting.items()
            if job.run_pk is None
        }
        long = [handle for handle, age in ages.items() if age >= LONG_S]
        reasons = executor.why_waiting(long)
        if not reasons:
            self._patience.succeed(name)
        elif self._patience.is_due(name):
            self._patience.put_off(name)
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            minutes = max(ages[handle] for handle in long) / 60
            logger.info(
                "%d jobs wait under %s, up to %.0f min: %s", sum(reasons.values()), name, minutes, listed
            )
