"""The jobs of the tasks that one worker holds: submitted together, looked at together.

Rows of jobs are written before they are submitted. Whoever is given a task first looks for jobs that run it
already, of whatever submitter, and waits for those.
"""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from astra.errors import AstraError, UnavailableError
from astra.executors.interface import Ended, Executor, Handle, Order
from astra.plugins import EXECUTORS
from astra.tasks.job_ticket import write_ticket
from astra.tasks.lost_jobs import fail_all, replan_lost
from astra.tasks.recording import logger
from astra.tasks.remote_orders import Held, job_rows, same_array, submission_name, task_of
from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from astra.database.jobs import JobRecord

MANY = 1000  # tasks that are submitted without waiting for more
LONGEST_WAIT_S = 10.0
DOUBT_S = 60.0  # after which what was written and is nowhere to be found counts as never submitted
SHARED_SQLITE = (
    "the state is in SQLite, which jobs on other hosts can use only on a file system whose locks they share; "
    "PostgreSQL is meant for that"
)
NEVER_STARTED = "has not started within {:g} min and is cancelled"


class Dispatcher:
    """The jobs of one worker's tasks."""

    def __init__(self) -> None:
        self._queue: list[Held] = []
        self._held: list[Held] = []
        self._executors: dict[str, Executor] = {}
        self._looked = self._taken = 0.0
        self._is_told = False
        self._submitted: set[str] = set()  # names of arrays, whose folders may be of no more use

    def __len__(self) -> int:
        """Return how many tasks are held."""
        return len(self._queue) + len(self._held)

    @property
    def interval_s(self) -> float:
        """Time until the next look at the jobs [s]."""
        shortest = min((held.settings.poll_s for held in self._held), default=0.0)
        return max(0.0, self._looked + shortest - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether what was taken should be submitted, although more may come."""
        return bool(self._queue) and (
            len(self._queue) >= MANY or time.monotonic() - self._taken >= LONGEST_WAIT_S
        )

    def take(self, held: Held) -> None:
        """Take a task, to be submitted with others of its kind at the next `submit`."""
        if not self._queue:
            self._taken = time.monotonic()
        self._queue.append(held)

    def close(self) -> None:
        """Let go of the executors; what was submitted goes on."""
        for executor in self._executors.values():
            executor.close()
        self._executors.clear()

    # -- submission -----------------------------------------------------------------------------------------

    def submit(self) -> None:
        """Submit what was taken: an array for each kind of tasks; what jobs have in hand is adopted."""
        queue, self._queue = self._queue, []
        if not self._is_told and any(held.url.startswith("sqlite") for held in queue):
            self._is_told = True
            logger.warning("%s", SHARED_SQLITE)
        groups: dict[Any, list[Held]] = {}
        for held in queue:
            held.rounds += 1
            groups.setdefault(same_array(held), []).append(held)
        for group in groups.values():
            self._held += group
            try:
                self._submit_group(group)
            except AstraError as exc:
                for held in group:
                    held.error = exc
                    held.keys.clear()

    def _submit_group(self, group: list[Held]) -> None:
        from astra.database.engine import reading, transaction
        from astra.database.jobs import insert_jobs, live_jobs

        url = group[0].url
        owners = {held.task.task_id: held for held in group}
        with reading(url) as connection:
            adopted = live_jobs(connection, owners)
        arrays = self._arrays(group, adopted)
        with transaction(url) as connection:
            known = {job.pk for job in adopted}
            faster = {job.owner for job in live_jobs(connection, owners) if job.pk not in known}
            rows = [row for array in arrays for row in array if row["owner"] not in faster]
            insert_jobs(connection, rows)
        self._submitted |= {job.submission for job in adopted}
        if adopted:
            logger.info("%d jobs of an earlier run are still there, and are waited for", len(adopted))
        with reading(url) as connection:
            for job in live_jobs(connection, owners):
                owners[job.owner].keys.add(job.pk)
        self._start(url, dict.fromkeys(row["submission"] for row in rows))

    def _arrays(self, group: list[Held], adopted: Iterable[JobRecord]) -> list[list[dict[str, Any]]]:
        """Begin to record tasks; return the rows of the arrays that run what no job has in hand."""
        in_jobs: dict[str, set[str]] = {}
        for job in adopted:
            in_jobs.setdefault(job.owner, set()).update(task_of(job).member_ids())
        parts = []
        for held in group:
            own = in_jobs.get(held.task.task_id, set())
            if held.rounds == 1:
                held.recorder.begin_remote(own)
            else:  # what has failed in an earlier round is not tried again
                own |= set(held.recorder.undone) - held.recorder.unbegun()
            parts += [(held.task.task_id, part) for part in held.parts(own)]
        size = self._executor(group[0].executor).max_jobs
        return [
            job_rows(
                submission_name(group[0].task.get_task_family()),
                parts[start : start + size],
                executor=group[0].executor,
                settings=group[0].settings,
                root=group[0].task.root,
            )
            for start in range(0, len(parts), size)
        ]

    def _start(self, url: str, names: Iterable[str]) -> None:
        """Submit arrays whose rows are written."""
        from astra.database.engine import reading
        from astra.database.jobs import jobs_of

        for name in names:
            with reading(url) as connection:
                jobs = jobs_of(connection, [name])
            self._start_array(url, jobs)

    def _start_array(self, url: str, jobs: list[JobRecord]) -> None:
        from astra.database.engine import transaction
        from astra.database.jobs import note_submitted

        first = jobs[0]
        executor = self._executor(first.executor)
        folder = Path(first.folder)
        self._submitted.add(first.submission)
        settings = executor.settings_class.of(first.settings)
        command = (sys.executable, "-m", "astra.tasks.job", str(folder))
        n_jobs = max(job.number for job in jobs) + 1
        try:
            write_ticket(folder, url, first.submission)
            external_id = executor.submit(Order(first.submission, command, n_jobs, folder, settings))
        except UnavailableError as exc:
            logger.warning("%s; it is looked for, and submitted again if it is nowhere", exc)
            return
        except AstraError as exc:
            fail_all(url, jobs, exc)
            logger.error("%s", exc)
            return
        with transaction(url) as connection:
            note_submitted(connection, first.submission, external_id)
        logger.info(
            "%d jobs submitted to %s as %s (%s)", n_jobs, first.executor, external_id, first.submission
        )

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            self._executors[name] = EXECUTORS.get(name)
        return self._executors[name]

    # -- what became of it ----------------------------------------------------------------------------------

    def collect(self) -> list[Held]:
        """Return the tasks whose jobs have ended; nothing is looked at before it is time."""
        if self._held and self.interval_s <= 0:
            for url in {held.url for held in self._held}:
                try:
                    self._look([held for held in self._held if held.url == url], url)
                except UnavailableError as exc:
                    logger.warning("%s; nothing is concluded from that, jobs are looked at again", exc)
            self._looked = time.monotonic()
        ended = [held for held in self._held if not held.keys]
        self._held = [held for held in self._held if held.keys]
        over = [held for held in ended if self._is_over(held)]
        for held in ended:
            if held not in over:
                self.take(held)
        for url in {held.url for held in over}:
            with suppress(UnavailableError):
                self._sweep(url)
        return over

    @staticmethod
    def _is_over(held: Held) -> bool:
        """Say whether a task whose jobs have ended is to be concluded, not submitted once more."""
        if held.error is not None:
            return True
        asked = bool(held.asked)
        try:
            held.look_at_asked()
            left = held.recorder.unbegun() if not asked else set()
        except Exception as exc:  # noqa: BLE001  # whatever a task raises that cannot tell if it is complete
            held.error = exc
            return True
        if held.needed:
            return True
        return not asked and (not left or held.rounds >= held.settings.attempts)

    def _look(self, some: list[Held], url: str) -> None:
        """Take what jobs have written of themselves, and ask the executors for those that write nothing."""
        from astra.database.engine import reading
        from astra.database.jobs import get_jobs

        with reading(url) as connection:
            jobs = get_jobs(connection, {key for held in some for key in held.keys})
        self._note_ended(some, url, [job for job in jobs if not job.is_live])
        live = [job for job in jobs if job.is_live]
        for name in {job.executor for job in live}:
            self._look_at_live(some, url, name, [job for job in live if job.executor == name])

    def _look_at_live(self, some: list[Held], url: str, name: str, jobs: list[JobRecord]) -> None:
        from astra.database.engine import reading
        from astra.database.jobs import get_jobs

        for submission in {job.submission for job in jobs if job.external_id is None}:
            self._chase(url, [job for job in jobs if job.submission == submission])
        handles = {_handle(job): job for job in jobs if job.external_id is not None}
        found = self._executor(name).look(list(handles))
        found.update(self._never_started(name, {h: job for h, job in handles.items() if h not in found}))
        if not found:
            return
        # A job may have written its end after it was last read, and before the executor was asked.
        with reading(url) as connection:
            again = get_jobs(connection, {handles[handle].pk for handle in found})
        self._note_ended(some, url, [job for job in again if not job.is_live])
        lost = [(job, found[_handle(job)]) for job in again if job.is_live and _handle(job) in found]
        self._start(url, replan_lost(url, lost))
        with reading(url) as connection:
            self._note_ended(some, url, get_jobs(connection, {job.pk for job, _ in lost}))

    def _never_started(self, name: str, handles: dict[Handle, JobRecord]) -> dict[Handle, Ended]:
        """Cancel jobs that have waited for longer than their settings allow."""
        executor = self._executor(name)
        late = {}
        for handle, job in handles.items():
            limit = float(job.settings.get("start_within_min", 0.0))
            waited = (utc_now() - job.created).total_seconds() / 60
            if limit and job.run_pk is None and waited > limit:
                name_of_job = f"{name} job {handle.external_id}_{handle.number}"
                late[handle] = Ended(f"{name_of_job} {NEVER_STARTED.format(limit)}")
        executor.cancel(list(late))
        return late

    def _note_ended(self, some: Iterable[Held], url: str, jobs: list[JobRecord]) -> None:
        """Take the end of jobs; those that took the place of lost ones are waited for."""
        from astra.database.engine import reading
        from astra.database.jobs import live_jobs
        from astra.database.models.state import Status

        by_owner = {held.task.task_id: held for held in some}
        lost = {job.owner for job in jobs if job.status_code != Status.DONE}
        with reading(url) as connection:
            successors = live_jobs(connection, lost & set(by_owner)) if lost else []
        for job in jobs:
            held = by_owner[job.owner]
            held.keys.discard(job.pk)
            held.asked += job.asked or []
        for job in successors:
            by_owner[job.owner].keys.add(job.pk)

    def _chase(self, url: str, jobs: list[JobRecord]) -> None:
        """Look for an array of which nobody knows whether it was submitted; submit it if it was not."""
        from astra.database.engine import transaction
        from astra.database.jobs import note_submitted, take_over

        first = jobs[0]
        external_id = self._executor(first.executor).find(first.submission)
        if external_id is not None:
            with transaction(url) as connection:
                note_submitted(connection, first.submission, external_id)
            return
        waited = (utc_now() - first.created).total_seconds()
        if waited < DOUBT_S and not self._is_orphan(url, first):
            return
        mine = current_invocation().run_pk(url)
        with transaction(url) as connection:
            is_mine = take_over(connection, first.submission, first.submitter_pk, mine)
        if is_mine:
            self._start(url, [first.submission])

    @staticmethod
    def _is_orphan(url: str, job: JobRecord) -> bool:
        """Say whether the submitter of a job was on this host, and is gone."""
        from astra.database.engine import reading
        from astra.database.jobs import run_place

        if job.submitter_pk is None:
            return True
        with reading(url) as connection:
            place = run_place(connection, job.submitter_pk)
        return place is None or (place[0] == socket.gethostname() and not psutil.pid_exists(place[1]))

    def _sweep(self, url: str) -> None:
        """Remove the folders of arrays of which every job has run to its end: their logs say nothing more."""
        from astra.database.engine import reading
        from astra.database.jobs import jobs_of
        from astra.database.models.state import Status

        with reading(url) as connection:
            jobs = jobs_of(connection, self._submitted)
        for name in {job.submission for job in jobs}:
            own = [job for job in jobs if job.submission == name]
            if any(job.is_live for job in own):
                continue
            self._submitted.discard(name)
            if all(job.status_code == Status.DONE for job in own):
                shutil.rmtree(own[0].folder, ignore_errors=True)


def _handle(job: JobRecord) -> Handle:
    return Handle(job.submission, job.number, job.external_id or "")
