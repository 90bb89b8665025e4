"""What astra sets up around Luigi: exit codes, one record per invocation, readable errors.

Luigi answers 0 when a task has failed, forgets an invocation when it ends and prints a traceback for every
mistake in a configuration. All of this is set here, at ``import astra``, and only where the user's luigi.cfg
is silent.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

import luigi
import luigi.retcodes
import luigi.rpc
import luigi.worker

from astra import config
from astra.errors import AstraError, StateError
from astra.scheduler.bulk_worker import BulkWorker
from astra.scheduler.leases import PLANNED_IN
from astra.tasks.exit_status import count_work_of_others, exit_status
from astra.tasks.merged_tasks import MemberReports
from astra.tasks.planned_in import check_database, own_marks
from astra.tasks.relayed_states import RelayedStates
from astra.tasks.remote_worker import RemoteTasks
from astra.tasks.renewed_tasks import RenewedTasks
from astra.tasks.waiting import WaitingLines, what_is_awaited

if TYPE_CHECKING:
    from astra.tasks.precall import Precall

DISTRIBUTION = "astra-pipeline"
FLUSH_INTERVAL_S = 1.0
MAX_ARGUMENT_LENGTH = 2000  # of what is kept of a command line

LUIGI_DEFAULTS = {
    ("core", "log_level"): "INFO",
    ("core", "autoload_range"): "false",
    ("core", "no_lock"): "true",  # two workers may well have one command line
    ("retcode", "already_running"): "10",
    ("retcode", "missing_data"): "20",
    ("retcode", "not_run"): "25",
    ("retcode", "task_failed"): "30",
    ("retcode", "scheduling_error"): "35",
    ("retcode", "unhandled_exception"): "40",
    ("worker", "check_complete_on_run"): "true",
    ("worker", "max_reschedules"): "100",  # each late visit may undo what was done after the one before
    ("worker", "wait_jitter"): "1.0",  # of an idle worker, which is to take up what a dead one leaves
}


@functools.cache
def astra_version() -> str:
    """Return the version of astra; "0+unknown" where it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+unknown"


@functools.cache
def package_version(name: str) -> str:
    """Return the version of an installed package, looked up once: that takes milliseconds."""
    return metadata.version(name)


def version_numbers(version: str) -> tuple[int, int, int]:
    """Return major, minor and micro of a version such as 0.2.1.dev3, 0.2rc1 or 0+unknown."""
    numbers = re.split(r"[^\d.]", version)[0].split(".")
    major, minor, micro = (int(number or 0) for number in [*numbers, "", ""][:3])
    return major, minor, micro


def utc_now() -> dt.datetime:
    """Return the wall clock, timezone-aware UTC."""
    return dt.datetime.now(dt.UTC)


def mask_passwords(text: str) -> str:
    """Take the passwords out of the URLs in a text."""
    masked = re.sub(r"(?i)(passw(?:or)?d=)[^\s&]+", r"\1***", text)
    return re.sub(r"(\b\w+://[^\s:/@]*:)[^\s@]*@", r"\1***@", masked)


@dataclass
class Invocation:
    """One run of the program: when it began, and its rows in the databases that it writes.

    Forked workers inherit it, so that their rows belong to the same run.
    """

    started: dt.datetime = field(default_factory=utc_now)
    run_keys: dict[str, int] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)  # by task family
    told: set[str] = field(default_factory=set)  # tasks of which was logged why they run again
    scheduler: Any = None  # that of the worker, to ask about other workers
    tried_since: dt.datetime | None = None  # what failed since then counts as tried; None: in this run
    write_interval_s: ClassVar[float] = FLUSH_INTERVAL_S  # how often what members of batches do is written
    shares_members: ClassVar[bool] = True  # leaves to others what they have in hand of a batch

    def run_pk(self, url: str) -> int:
        """Return the key of this invocation's row in a database; the row is written at first use."""
        if url not in self.run_keys:
            from astra.database.engine import transaction
            from astra.database.state import insert_run

            with transaction(url) as connection:
                self.run_keys[url] = insert_run(connection, self._values())
        return self.run_keys[url]

    def end(self, exit_status: int | None) -> None:
        """Record the end of this invocation wherever it has a row."""
        from astra.database.engine import transaction
        from astra.database.state import end_run

        for url, run_pk in self.run_keys.items():
            with transaction(url) as connection:
                end_run(connection, run_pk, exit_status, utc_now(), self._configuration())

    def _values(self) -> dict[str, Any]:
        names = ("luigi", "SQLAlchemy", "numpy", "scipy", "astropy", "numba", "sep", "fastavro")
        return {
            "command": mask_passwords(" ".join(map(_shortened, sys.argv))),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": astra_version(),
            "packages": {name: package_version(name) for name in names},
            "configuration": self._configuration(),
            "started": self.started,
        }

    def _configuration(self) -> dict[str, Any]:
        """Return what this invocation runs with: Python, the options of astra, the tasks by family."""
        options = {name: str(value) for name, value in config.astra().to_str_params().items()}
        return {
            "python": sys.version.split()[0],
            "root": mask_passwords(str(config.root())),
            "astra": {name: mask_passwords(value) for name, value in options.items()},
            "tasks": self.configuration,
        }


def _shortened(argument: str) -> str:
    """Cut an argument of the command line that holds a whole batch."""
    cut = len(argument) - MAX_ARGUMENT_LENGTH
    return argument if cut <= 0 else f"{argument[:MAX_ARGUMENT_LENGTH]}...({cut} characters more)"


_current = Invocation()


def current_invocation() -> Invocation:
    """Return the invocation that this process, or the parent that forked it, is in."""
    return _current


def begin_invocation() -> Invocation:
    """Begin a new invocation: what failed before counts as not yet tried."""
    global _current  # noqa: PLW0603  # one per process, as sys.argv is
    _current = Invocation()
    return _current


def restore_invocation(invocation: Invocation) -> None:
    """Go back to an invocation: a task may have built others from within."""
    global _current  # noqa: PLW0603  # one per process, as sys.argv is
    _current = invocation


class AstraWorker(RemoteTasks, RelayedStates, MemberReports, RenewedTasks, BulkWorker):
    """Luigi's worker, which records the invocation, its plan and what was left undone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.invocation_before = current_invocation()
        self.invocation = begin_invocation()
        self._precall: Precall | None = None
        self._urls: set[str] = set()
        self._roots: list[luigi.Task] = []
        self._is_running = False
        super().__init__(*args, **kwargs)
        self.invocation.scheduler = self._scheduler
        self._waiting = WaitingLines()
        self._n_exchanges = 0
        if hasattr(self._scheduler, "before_reports"):
            self._scheduler.before_reports.append(_write_handout)

    def add(self, task: luigi.Task, *args: Any, **kwargs: Any) -> Any:
        """Schedule a task and what it requires; its database must be there and at the right revision."""
        restore_invocation(self.invocation)
        try:
            self._prepare(task)
            if not self._is_running:
                self._roots.append(task)
            with config.held():
                return super().add(task, *args, **kwargs)
        except BaseException:
            with suppress(StateError):
                self._end(luigi.retcodes.retcode().unhandled_exception)
            raise

    def _prepare(self, task: luigi.Task) -> None:
        """Look at the database of a root task and at its configuration, before anything is scheduled."""
        from astra.tasks.base import AstraTask
        from astra.tasks.precall import Precall

        if isinstance(task, AstraTask) and not task.initialized():
            return  # Luigi says that its __init__ forgot that of its base
        if self._precall is None:
            self._precall = Precall(self.invocation.configuration)
        if isinstance(task, AstraTask) and not task.is_external:
            from astra.database.engine import get_engine

            get_engine(task.database_url)
            self._urls.add(task.database_url)
        self._precall.check_root(task)

    def _add(self, task: luigi.Task, is_complete: Any) -> Any:
        """Schedule one task; what it would write must have the schemas of what is there."""
        if self._precall is not None and not is_complete:
            self._precall.check_task(task)
        return super()._add(task, is_complete)

    def known_completeness(self, tasks: Sequence[luigi.Task]) -> Mapping[str, bool]:
        """Ask the database which of the single tasks among some are done, with a statement for thousands."""
        from astra.tasks.completeness import known_completeness

        return known_completeness(tasks)

    def _get_work(self) -> Any:
        """Get something to run; of tasks that came together the state is read and written together."""
        from astra.tasks.handout import current_handout

        response = super()._get_work()
        n_exchanges = getattr(self._scheduler, "n_exchanges", 0)
        if n_exchanges != self._n_exchanges and response.task_id is not None:
            self._n_exchanges = n_exchanges
            ids = [response.task_id, *self._scheduler.held_ids()]
            known = [self._scheduled_tasks[task_id] for task_id in ids if task_id in self._scheduled_tasks]
            needs = {task.task_id: self.planned_needs.pop(task.task_id, None) for task in known}
            current_handout().begin(known, self.pid_of, needs)
        return response

    def _run_task(self, task_id: str) -> None:
        """Run a task; the scheduler is told where its page is."""
        from astra.tasks.tracking import report_page

        self._waiting.stop()
        report_page(self._scheduler, self._id, task_id)
        super()._run_task(task_id)

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        """Report a task to the scheduler; what its `run` has asked for is waited for in this process too."""
        from astra.tasks.further import wait_for

        asked = [self._scheduled_tasks[task_id] for task_id in kwargs.get("new_deps") or ()]
        if asked:
            wait_for(self._scheduled_tasks[kwargs["task_id"]], asked)
        super()._add_task(*args, **kwargs)

    def _end(self, exit_status: int) -> None:
        """Record the end of the run, in the databases of its root tasks even if nothing was to do."""
        try:
            for url in self._urls:
                self.invocation.run_pk(url)
            self.invocation.end(exit_status)
        finally:
            restore_invocation(self.invocation_before)

    def run(self) -> bool:
        """Run the scheduled tasks; a root task may have words of its own for whoever waits."""
        from astra.tasks.attended import attended

        with attended(self._scheduled_tasks.get(self._first_task), self.invocation):
            return self._run_recorded()

    def _run_recorded(self) -> bool:
        from astra.tasks.handout import current_handout
        from astra.tasks.plan import close_plan, write_found, write_plan

        restore_invocation(self.invocation)
        self._is_running = True
        tasks = list(self._scheduled_tasks.values())
        done = self._reported("DONE")
        status = luigi.retcodes.retcode().unhandled_exception
        try:
            write_plan(task for task in tasks if task not in done)
            write_found(tasks)
            with config.held():
                succeeded = bool(super().run())
                # With what tasks have asked for since they began.
                count_work_of_others(self, self._roots, list(self._scheduled_tasks.values()))
            status = self._exit_status()
        finally:
            try:
                current_handout().end()
                close_plan(tasks)
            finally:
                self._end(status)
        return succeeded or not status

    def _add_worker(self) -> None:
        """Tell the scheduler who this is, and where its run is written; others must write there too."""
        marks = own_marks(self.invocation)
        self._worker_info += [(PLANNED_IN, marks)] if marks else []
        super()._add_worker()
        ask = getattr(self._scheduler, "planned_elsewhere", None)
        if ask is not None and marks:
            check_database(self._urls, ask(self._id))

    def _exit_status(self) -> int:
        return exit_status(self)

    def _log_complete_error(self, task: luigi.Task, tb: str) -> None:
        """Log that a task cannot say whether it is complete, and write it."""
        from astra.tasks.base import AstraTask
        from astra.tasks.lost_records import record_broken

        super()._log_complete_error(task, tb)
        name, _, message = tb.strip().splitlines()[-1].partition(": ")
        if isinstance(task, AstraTask):
            record_broken(task, message or name, name.rpartition(".")[2])

    def _reported(self, *statuses: str) -> set[luigi.Task]:
        """Return the tasks that this worker has reported to the scheduler as being in a state."""
        return {task for task, status, _ in self._add_task_history if status in statuses}

    def _keep_alive(self, get_work_response: Any) -> bool:
        """Stay for as long as another worker runs something that was scheduled here, or may run it."""
        stays = self._stays(get_work_response)
        if stays:
            self._waiting.tell(lambda: self._awaited(get_work_response))
        return stays

    def _awaited(self, get_work_response: Any) -> str:
        who_works = getattr(self._scheduler, "who_works", None)
        work = who_works(self._id) if who_works is not None else None
        return what_is_awaited(get_work_response.n_pending_tasks, work, plans_only=not self.worker_processes)

    def _stays(self, get_work_response: Any) -> bool:
        if super()._keep_alive(get_work_response):
            return True
        if self._stop_requesting_work:
            return False
        if any(other["task_id"] in self._scheduled_tasks for other in get_work_response.running_tasks):
            return True
        goes_on = getattr(self._scheduler, "goes_on", None)
        return goes_on is not None and bool(goes_on(self._id))


def _write_handout() -> None:
    from astra.tasks.handout import current_handout

    current_handout().flush()


class ReadableErrors(logging.Filter):
    """Reduce the traceback of an error that astra raised on purpose to its sentence.

    The whole traceback is kept in the state of the task.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never drop it."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, (AstraError, luigi.rpc.RPCError)):
            head = record.getMessage().removeprefix("Uncaught exception in luigi")
            record.msg = f"{head}: {type(error).__name__}: {error}".removeprefix(": ")
            record.args, record.exc_info, record.exc_text = (), None, None
            return True
        # Luigi formats what `complete` and `requires` raise into the text of a warning.
        head, found, trace = record.getMessage().partition("\nTraceback (most recent call last):")
        _, raised, sentence = trace.rpartition("\nastra.errors.")
        if found and raised:
            record.msg, record.args = f"{head} {sentence.strip()}", ()
        return True


def set_up_luigi() -> None:
    """Set Luigi's options where the user's configuration is silent, and make its errors readable."""
    configuration = luigi.configuration.get_config()
    if url := os.environ.get(config.SCHEDULER_URL_VARIABLE):
        configuration.set("core", "scheduler_url", url)
    for (section, option), value in LUIGI_DEFAULTS.items():
        if not configuration.has_option(section, option):
            configuration.set(section, option, value)
    logger = logging.getLogger("luigi-interface")
    if not any(isinstance(item, ReadableErrors) for item in logger.filters):
        logger.addFilter(ReadableErrors())
