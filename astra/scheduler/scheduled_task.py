"""A task as the scheduler knows it, small enough for hundreds of thousands, and the kind that it is of."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable, Mapping
from typing import Any

import luigi.scheduler
from luigi.parameter import ParameterVisibility

EMPTY: dict[str, Any] = {}  # shared, never written

Entry = tuple[float, float, int, "ScheduledTask", "Kind"]  # in the order in which tasks are given out


_OF_THE_QUEUE = frozenset({"entry", "group", "kind", "ready_since"})


class WorkerIds(tuple[str, ...]):
    """Ids of the workers that can run a task, in the order in which they said so."""

    __slots__ = ()

    def peek(self, last: bool = True) -> str:
        """Return the last id, or the first."""
        return self[-1 if last else 0]


class SharedIds:
    """Ids of workers: one object for all tasks that have the same."""

    def __init__(self) -> None:
        self._workers: dict[tuple[WorkerIds, str], WorkerIds] = {}
        self._stakes: dict[tuple[frozenset[str], str], frozenset[str]] = {}

    def with_worker(self, workers: WorkerIds, worker_id: str) -> WorkerIds:
        """Return some ids and one more, at the end if it is new."""
        key = (workers, worker_id)
        if key not in self._workers:
            self._workers[key] = workers if worker_id in workers else WorkerIds((*workers, worker_id))
        return self._workers[key]

    def with_stake(self, stakeholders: frozenset[str], worker_id: str) -> frozenset[str]:
        """Return some ids and one more."""
        key = (stakeholders, worker_id)
        if key not in self._stakes:
            self._stakes[key] = stakeholders | {worker_id}
        return self._stakes[key]


class Kind:
    """Tasks that the scheduler treats alike: the same resources, and the same workers can run them.

    Parameters
    ----------
    resources : dict
        Amounts by name.
    workers : WorkerIds
        Who can run them.
    runnable : bool
        Whether assistants can.
    """

    __slots__ = (
        "heap",
        "key",
        "listed",
        "n_failed",
        "n_pending",
        "n_tasks",
        "resources",
        "runnable",
        "workers",
    )

    def __init__(self, resources: dict[str, int], workers: WorkerIds, runnable: bool) -> None:
        self.resources = resources
        self.workers = workers
        self.runnable = runnable
        self.key = self.key_of(resources, workers, runnable)
        self.heap: list[Entry] = []  # of tasks that may run; those whose entry is another one are left over
        self.listed: Entry | None = None  # its first, where the queue lists the firsts of all kinds
        self.n_tasks = self.n_pending = self.n_failed = 0

    @staticmethod
    def key_of(resources: Mapping[str, int], workers: Iterable[str], runnable: bool) -> Any:
        """Return what two equal kinds have in common."""
        return (tuple(sorted(resources.items())) if resources else (), workers, runnable)


class ScheduledTask(luigi.scheduler.Task):
    """Luigi's task of the scheduler without a dict of attributes, and with its containers made when needed.

    ``deps`` is a tuple, ``workers`` immutable: the state changes them and keeps its indexes.
    """

    __slots__ = (
        "_failures",
        "_responses",
        "accepts_messages",
        "batch_id",
        "batchable",
        "deps",
        "entry",
        "expl",
        "family",
        "first_failure_time",
        "group",
        "id",
        "kind",
        "module",
        "n_failed",
        "n_lost",
        "n_missing",
        "param_visibilities",
        "params",
        "prefetched",
        "priority",
        "progress_percentage",
        "ready_since",
        "remove",
        "resources",
        "resources_running",
        "retry",
        "retry_policy",
        "run",
        "runnable",
        "scheduler_disable_time",
        "seen_done",
        "stakeholders",
        "status",
        "status_message",
        "time",
        "time_running",
        "tracking_url",
        "updated",
        "worker_running",
        "workers",
    )

    id: str
    status: str
    priority: float
    resources: dict[str, int]
    resources_running: dict[str, int]
    kind: Any  # a Kind; None once it is gone
    entry: Entry | None
    group: Any
    worker_running: Any
    batch_id: Any
    n_failed: int | None  # failures since it was done, or disabled
    n_lost: int | None  # runs that ended with their process or worker, since the last that ended otherwise
    ready_since: float | None
    retry: float | None
    run: int | None  # number of the last run
    seen_done: bool | None  # by another worker than that which runs it
    remove: float | None
    time_running: float | None
    scheduler_disable_time: float | None
    tracking_url: str | None
    expl: Any
    _failures: collections.deque[float] | None
    _responses: dict[str, Any] | None

    def __init__(
        self,
        task_id: str,
        status: str,
        deps: Iterable[str] | None,
        *,
        resources: dict[str, int] | None = None,
        priority: float = luigi.scheduler.Task.DEFAULT_PRIORITY,
        family: str = "",
        module: str | None = None,
        params: dict[str, Any] | None = None,
        param_visibilities: dict[str, int] | None = None,
        retry_policy: Any = None,
    ) -> None:
        self.id = task_id
        self.status = status
        self.deps = tuple(dict.fromkeys(deps)) if deps else ()
        self.resources = resources or EMPTY
        self.priority = priority
        self.family = family
        self.module = module
        self.params = params or EMPTY
        self.param_visibilities = param_visibilities or EMPTY
        self.retry_policy = retry_policy
        self.time = self.updated = time.time()
        self.stakeholders: frozenset[str] = frozenset()
        self.workers = WorkerIds()
        self.runnable = self.batchable = self.accepts_messages = self.prefetched = False
        self.retry = self.remove = self.worker_running = self.time_running = self.expl = None
        self.first_failure_time = self.tracking_url = self.status_message = self.progress_percentage = None
        self.scheduler_disable_time = self.batch_id = self.entry = self.group = self.kind = None
        self._failures = self._responses = self.n_failed = self.n_lost = self.ready_since = self.run = None
        self.seen_done = None
        self.n_missing = 0  # of the tasks that it requires, how many are not done

    def __repr__(self) -> str:
        """Show the identity and the status."""
        return f"ScheduledTask({self.id!r}, {self.status})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without what the queue keeps of it."""
        names = [name for name in self.__slots__ if name not in _OF_THE_QUEUE and hasattr(self, name)]
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.entry = self.group = self.kind = self.ready_since = None

    def set_params(self, params: dict[str, Any] | None) -> None:
        """Set the parameters."""
        self.params = params or EMPTY

    @property
    def public_params(self) -> dict[str, Any]:
        """Parameters that pages show."""
        return self._params_of(ParameterVisibility.PUBLIC)

    @property
    def hidden_params(self) -> dict[str, Any]:
        """Parameters that pages do not show."""
        return self._params_of(ParameterVisibility.HIDDEN)

    def _params_of(self, visibility: ParameterVisibility) -> dict[str, Any]:
        seen = self.param_visibilities.get
        return {
            name: value
            for name, value in self.params.items()
            if seen(name, ParameterVisibility.PUBLIC) == visibility
        }

    @property
    def failures(self) -> collections.deque[float]:
        """Times of the failures in the window of the retry policy."""
        if self._failures is None:
            self._failures = collections.deque()
        return self._failures

    @property
    def scheduler_message_responses(self) -> dict[str, Any]:
        """Answers to messages, by the id of the message."""
        if self._responses is None:
            self._responses = {}
        return self._responses
