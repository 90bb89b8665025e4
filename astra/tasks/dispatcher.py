"""The jobs of the tasks that one worker holds: submitted together, looked at together.

Rows of jobs are written before they are submitted. Whoever is given a task first looks for jobs that run it
already, of whatever submitter, and waits for those.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from astra.errors import AstraError, BusyError, CrowdedError, UnavailableError
from astra.executors.interface import Ended, Executor, Handle, Order, Settings
from astra.plugins import EXECUTORS
from astra.tasks.array_room import Waits, divide_array, never_started
from astra.tasks.job_folders import job_folders, remove_old, tidy_jobs
from astra.tasks.job_ticket import write_ticket
from astra.tasks.lost_jobs import fail_all, replan_lost
from astra.tasks.patience import Patience
from astra.tasks.recording import logger
from astra.tasks.remote_orders import Held, job_rows, same_array, submission_name, task_of
from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from astra.database.jobs import JobRecord

MANY = 1000  # tasks that are submitted without waiting for more
LONGEST_WAIT_S = 10.0
AGAIN_S, LONGEST_AGAIN_S = 15.0, 240.0  # delays after an executor took or answered nothing
DOUBT_S = 60.0  # after which what was written and is nowhere to be found counts as never submitted
LIVING_DOUBT_S = 3600.0  # the same, if its submitter seems to run: it submits it itself when there is room
SHARED_SQLITE = (
    "the state is in SQLite, which jobs on other hosts can use only on a file system whose locks they share; "
    "PostgreSQL is meant for that"
)


class Dispatcher:
    """The jobs of one worker's tasks."""

    def __init__(self) -> None:
        self._queue: list[Held] = []
        self._held: list[Held] = []
        self._executors: dict[str, Executor] = {}
        self._looked = self._taken = 0.0
        self._is_told = False
        self._submitted: dict[str, Path] = {}  # folders of arrays by their names, which may be of no more use
        self._refused: set[str] = set()  # names of arrays for which there was no room
        self._patience = Patience(AGAIN_S, LONGEST_AGAIN_S)  # with room, with arrays in doubt, with questions
        self._waits = Waits()

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
        if queue and not self._is_told:
            self._is_told = True
            self._prepare(queue)
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

    @staticmethod
    def _prepare(queue: Iterable[Held]) -> None:
        """Say what jobs on other hosts must know, and tidy up what earlier runs have left."""
        if any(held.url.startswith("sqlite") for held in queue):
            logger.warning("%s", SHARED_SQLITE)
        for url, root in {(held.url, held.task.root) for held in queue}:
            folders = job_folders(root)
            with suppress(UnavailableError):
                tidy_jobs(url, folders)
            remove_old(folder for folder in folders if folder.is_dir())

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
        self._submitted |= {job.submission: Path(job.folder) for job in adopted}
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
        size = self._largest_array(group[0].executor, group[0].settings)
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
        self._submitted[first.submission] = Path(first.folder)
        self._refused.add(first.submission)
        if not self._patience.is_due(("room", first.executor)):
            return
        try:
            write_ticket(Path(first.folder), url, first.submission)
            external_id = self._executor(first.executor).submit(self._order(jobs))
        except BusyError as exc:
            if isinstance(exc, CrowdedError) and len(jobs) > 1:
                logger.info("%s; half of them are tried", exc)
                self._start_half(url, jobs)
                return
            delay = self._patience.put_off(("room", first.executor))
            logger.warning("%s; it is submitted again in %g s", exc, delay)
            return
        except UnavailableError as exc:
            self._refused.discard(first.submission)
            self._patience.put_off(first.submission)
            logger.warning("%s; it is looked for, and submitted again if it is nowhere", exc)
            return
        except AstraError as exc:
            self._refused.discard(first.submission)
            fail_all(url, jobs, exc)
            logger.error("%s", exc)
            return
        self._refused.discard(first.submission)
        self._patience.succeed(("room", first.executor))
        with transaction(url) as connection:
            note_submitted(connection, first.submission, external_id)
        words = len(jobs), first.executor, external_id, first.submission
        logger.info("%d jobs submitted to %s as %s (%s)", *words)

    def _start_half(self, url: str, jobs: list[JobRecord]) -> None:
        """Submit the first half of an array; the other is an array of its own, for when there is room."""
        from astra.database.engine import reading
        from astra.database.jobs import jobs_of

        name, folder = divide_array(url, jobs)
        self._submitted[name] = folder
        self._refused.add(name)
        with reading(url) as connection:
            half = jobs_of(connection, [jobs[0].submission])
        self._start_array(url, half)

    def _order(self, jobs: list[JobRecord]) -> Order:
        """Return what is submitted for the jobs of one array."""
        first = jobs[0]
        settings = self._executor(first.executor).settings_class.of(first.settings)
        command = (sys.executable, "-m", "astra.tasks.job", first.folder)
        comment = f"astra {first.family}, attempt {first.attempt} of {settings.attempts}"
        n_jobs = max(job.number for job in jobs) + 1
        return Order(first.submission, command, n_jobs, Path(first.folder), settings, comment)

    def _largest_array(self, executor: str, settings: Settings) -> int:
        return self._executor(executor).largest_array(settings)

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

        for submission in dict.fromkeys(job.submission for job in jobs if job.external_id is None):
            self._chase(url, [job for job in jobs if job.submission == submission])
        handles = {_handle(job): job for job in jobs if job.external_id is not None}
        pause_s = min(held.settings.ask_s for held in some if held.executor == name)
        found = self._ask(url, name, handles, pause_s) if handles else {}
        if not found:
            return
        # A job may have written its end after it was last read, and before the executor was asked.
        with reading(url) as connection:
            again = get_jobs(connection, {handles[handle].pk for handle in found})
        self._note_ended(some, url, [job for job in again if not job.is_live])
        lost = [(job, found[_handle(job)]) for job in again if job.is_live and _handle(job) in found]
        self._start(url, replan_lost(url, lost, self._largest_array))
        with reading(url) as connection:
            self._note_ended(some, url, get_jobs(connection, {job.pk for job, _ in lost}))

    def _ask(
        self, url: str, name: str, handles: dict[Handle, JobRecord], pause_s: float
    ) -> dict[Handle, Ended]:
        """Ask an executor, if it is time, which jobs have ended; one that does not answer is asked later."""
        key = ("question", url, name)
        if not self._patience.is_due(key):
            return {}
        try:
            executor = self._executor(name)
            found = executor.look(list(handles))
            waiting = {handle: job for handle, job in handles.items() if handle not in found}
            found.update(never_started(name, executor, waiting))
            self._waits.tell(name, executor, waiting)
        except UnavailableError as exc:
            words = "nothing is concluded from that, and it is asked again in"
            logger.warning("%s; %s %g s", exc, words, self._patience.put_off(key))
            return {}
        self._patience.succeed(key, pause_s)
        return found

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

        first, mine = jobs[0], current_invocation().run_pk(url)
        is_refused = first.submission in self._refused and first.submitter_pk == mine
        if not self._patience.is_due(("room", first.executor) if is_refused else first.submission):
            return
        if not is_refused:
            self._patience.put_off(first.submission)
            external_id = self._executor(first.executor).find(first.submission)
            if external_id is not None:
                with transaction(url) as connection:
                    note_submitted(connection, first.submission, external_id)
                return
            if (utc_now() - first.created).total_seconds() < self._doubt_s(url, first, mine):
                return
        with transaction(url) as connection:
            is_mine = take_over(connection, first.submission, first.submitter_pk, mine)
        if is_mine:
            self._start(url, [first.submission])

    @staticmethod
    def _doubt_s(url: str, job: JobRecord, mine: int) -> float:
        """Return after which time another run may submit what the submitter of a job has not [s]."""
        from astra.database.engine import reading
        from astra.database.jobs import run_place

        if job.submitter_pk is None:
            return 0.0
        if job.submitter_pk == mine:
            return DOUBT_S
        with reading(url) as connection:
            place = run_place(connection, job.submitter_pk)
        if place is None or place[0] != socket.gethostname():
            return 0.0 if place is None else DOUBT_S
        return LIVING_DOUBT_S if psutil.pid_exists(place[1]) else 0.0

    def _sweep(self, url: str) -> None:
        """Tidy up after arrays that are over."""
        for name in tidy_jobs(url, self._submitted.values()):
            self._submitted.pop(name, None)


def _handle(job: JobRecord) -> Handle:
    return Handle(job.submission, job.number, job.external_id or "")
