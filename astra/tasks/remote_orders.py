"""Tasks that a worker holds while jobs run them, and their division into jobs."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra import config
from astra.errors import ConfigError, JobError
from astra.executors.interface import Settings
from astra.plugins import EXECUTORS
from astra.tasks.job_ticket import JOBS
from astra.tasks.remote_recorder import RemoteRecorder
from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from astra.database.jobs import JobRecord
    from astra.tasks.base import AstraTask

LOCAL = "local"
WORKERS_SECTION = "workers"  # of [slurm:workers]
MAX_ROUNDS = 20  # in which a task may be submitted for what earlier rounds have left undone or asked for


def executor_of(task: Any) -> str:
    """Return the name of the executor that runs a task; `LOCAL` if the worker itself does."""
    from astra.tasks.base import AstraTask

    if not isinstance(task, AstraTask) or task.is_external or task.runs_in_place:
        return LOCAL
    return LOCAL if isinstance(task, luigi.WrapperTask) else config.executor_name(task.get_task_family())


def check_executor(task: Any, is_used_here: bool = True) -> None:
    """See that the executor of a task's family can be used as it is configured.

    Parameters
    ----------
    task : Task
        The task.
    is_used_here : bool
        Whether jobs may be submitted from this process, not only planned.

    Raises
    ------
    ConfigError
        If it is unknown, an option is unknown or cannot be used, or this host lacks what it needs.
    """
    executor = executor_of(task)
    if executor != LOCAL:
        settings_of(executor, task.get_task_family())
        if is_used_here:
            EXECUTORS.get(executor).check()


def mistaken_families() -> list[str]:
    """Return sentences on names in luigi.cfg that are nearly those of task families, and have no effect.

    A luigi.cfg may serve many programs: what resembles no family that is loaded is another's.
    """
    known = {*luigi.task_register.Register.task_names(), WORKERS_SECTION}
    sentences = []
    for where, name in config.names_of_families():
        likely = get_close_matches(name, known, n=1, cutoff=0.75) if name not in known else []
        if likely:
            sentences.append(
                f"{where} of luigi.cfg is for no task family that there is; is {likely[0]} meant?"
            )
    return sentences


def settings_of(executor: str, family: str) -> Settings:
    """Return how the jobs of a task family run.

    Raises
    ------
    ConfigError
        If an option is unknown or its value cannot be used.
    """
    made = EXECUTORS.get(executor)
    try:
        settings: Settings = made.settings_class.of(config.executor_options(executor, family))
    except ConfigError as exc:
        message = f"the options of executor {executor!r} for {family} cannot be used: {exc}"
        raise ConfigError(message, **exc.context) from exc
    return settings


@dataclass(eq=False)
class Held:
    """A task that waits for its jobs.

    Parameters
    ----------
    task : AstraTask
        The task.
    executor : str
        Name of the executor.
    settings : Settings
        How its jobs run.
    recorder : RemoteRecorder
        Writes its state.
    keys : set of int
        Keys of its jobs that have not ended.
    asked : list
        What its jobs have asked for: module, family and parameters of tasks.
    needed : list of Task
        What of it is to be made before anything else.
    rounds : int
        How often it has been submitted.
    error : Exception, optional
        Why it cannot be submitted.
    """

    task: AstraTask
    executor: str
    settings: Settings
    recorder: RemoteRecorder
    keys: set[int] = field(default_factory=set)
    asked: list[Any] = field(default_factory=list)
    needed: list[luigi.Task] = field(default_factory=list)
    rounds: int = 0
    error: Exception | None = None

    @classmethod
    def of(cls, task: AstraTask, executor: str) -> Held:
        """Hold a task; see `settings_of` for errors."""
        if type(task).__module__ == "__main__":
            message = (
                f"{task.get_task_family()} is defined in the program that was started, which a job cannot "
                f"import; define it in a module, or run it with executor {LOCAL!r}"
            )
            raise ConfigError(message, family=task.get_task_family())
        settings = settings_of(executor, task.get_task_family())
        return cls(task, executor, settings, RemoteRecorder(task))

    @property
    def url(self) -> str:
        """URL of the database with its state."""
        return self.task.database_url

    def asks_first(self) -> bool:
        """Say whether other tasks are to be made before it is worth while to submit this one."""
        if getattr(type(self.task).run, "asks_for_more", False):
            asked = self.task.further()
            self.needed = asked if not all(task.complete() for task in asked) else []
        return bool(self.needed)

    def look_at_asked(self) -> None:
        """Look what of that which its jobs have asked for is not there; Luigi is to make it.

        Raises
        ------
        JobError
            If they ask and ask again for what is there.
        """
        asked, self.asked = self.asked, []
        tasks = {
            task.task_id: task
            for module, family, parameters in asked
            for task in [luigi.task_register.load_task(module, family, parameters)]
        }
        self.needed = list(tasks.values()) if not all(task.complete() for task in tasks.values()) else []
        if tasks and not self.needed and self.rounds >= MAX_ROUNDS:
            first = next(iter(tasks.values()))
            message = f"{self.task!r} asks in its job for {first!r}, which is there, {self.rounds} times"
            raise JobError(message, task_id=self.task.task_id)

    def conclude(self) -> Any:
        """End the attempt, in the place of `run`; what is needed first is asked of Luigi."""
        if self.error is not None:
            self.recorder.fail(self.error)
            raise self.error
        if self.needed:
            self.recorder.suspend()
            return _ask(self.needed)
        self.recorder.succeed()
        return None

    def parts(self, left_out: Collection[str]) -> Iterator[AstraTask]:
        """Yield what each job runs of what is to do, but for some members."""
        wanted = iter([task_id for task_id in self.recorder.undone if task_id not in left_out])
        while some := set(islice(wanted, self.settings.members_per_job)):
            yield part_of(self.task, some)


def _ask(needed: list[luigi.Task]) -> Iterator[list[luigi.Task]]:
    """Ask for tasks as a `run` does: by a generator."""
    yield needed


def part_of(task: AstraTask, wanted: Collection[str]) -> AstraTask:
    """Return the batch of some members of a batch, each once; a single task as it is."""
    if not task.is_batch_mode:
        return task
    rows = {task_id: row for row, task_id in enumerate(task.member_ids()) if task_id in wanted}
    names = set(task.batch_param_names())
    own = {name: tuple(task.param_kwargs[name][row] for row in rows.values()) for name in names}
    common = {name: value for name, value in task.param_kwargs.items() if name not in names}
    return type(task)(**common, **own)


def task_of(job: JobRecord) -> Any:
    """Return the task that a job runs."""
    return luigi.task_register.load_task(job.module, job.family, dict(job.parameters))


def submission_name(family: str) -> str:
    """Return a new name for an array of jobs, by which it is found under any circumstances."""
    return f"astra-{re.sub(r'[^A-Za-z0-9]', '-', family)[:24]}-{uuid.uuid4().hex[:16]}"


def job_rows(
    name: str,
    parts: list[tuple[str, AstraTask]],
    *,
    executor: str,
    settings: Settings,
    root: Path,
    attempt: int = 1,
    since: Any = None,
) -> list[dict[str, Any]]:
    """Return the rows of an array of jobs: pairs of the task for whose sake, and what to run."""
    invocation = current_invocation()
    return [
        {
            "executor": executor,
            "submission": name,
            "number": number,
            "owner": owner,
            "family": task.get_task_family(),
            "module": task.task_module,
            "parameters": dict(task.to_str_params()),
            "settings": asdict(settings),
            "attempt": attempt,
            "folder": str(root / JOBS / name),
            "submitter_pk": invocation.run_pk(task.database_url),
            "since": since or invocation.started,
            "created": utc_now(),
        }
        for number, (owner, task) in enumerate(parts)
    ]


def same_array(held: Held) -> tuple[str, str, str, Path, Settings]:
    """Return what tasks must have in common for their jobs to be of one array."""
    family = held.task.get_task_family()
    return held.url, held.executor, family, held.task.root, held.settings
