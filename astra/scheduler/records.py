"""Tasks and workers as lines of the journal, and back.

A task has two parts: what it is, written when that changes, and how it stands, written at each change. Ids of
workers, which are long, are written once and then stand as numbers.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable, Iterator
from typing import Any

from luigi.scheduler import RetryPolicy, Worker

from astra.scheduler.scheduled_task import EMPTY, ScheduledTask, WorkerIds
from astra.scheduler.task_state import ReadyState

# Attributes of a task that are written as they are, unless they have the value that a new task has.
WHAT = ("priority", "family", "module", "params", "param_visibilities", "resources", "time")
HOW = (
    "updated",
    "retry",
    "remove",
    "time_running",
    "expl",
    "first_failure_time",
    "tracking_url",
    "status_message",
    "progress_percentage",
    "scheduler_disable_time",
    "batch_id",
    "prefetched",
    "run",
    "n_failed",
    "n_lost",
    "seen_done",
)
FLAGS = ("runnable", "batchable", "accepts_messages")

Change = dict[str, Any]


class Writer:
    """Makes lines of changes; it remembers what it has written of each task and worker."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._written: dict[str, Any] = {}
        self._workers: dict[str, Any] = {}
        self._new: list[tuple[dict[str, Any], str]] = []  # what is remembered since the last `keep`

    def keep(self) -> None:
        """Note that the lines that were made are in the file."""
        self._new.clear()

    def take_back(self) -> None:
        """Note that they are not, and are to be made again: neither numbers nor what a task is were told."""
        for known, key in self._new:
            known.pop(key, None)
        self._new.clear()

    def _remember(self, known: dict[str, Any], key: str, value: Any) -> None:
        known[key] = value
        self._new.append((known, key))

    def know(self, state: ReadyState, numbers: dict[str, int]) -> None:
        """Count a state as written, in a file in which workers have these numbers."""
        self._numbers = numbers
        self._written = {task.id: _identity(task) for task in state.get_active_tasks()}
        self._workers = {worker.id: _known(worker) for worker in state.get_active_workers()}

    def state(self, state: ReadyState) -> Iterator[Change]:
        """Yield the changes that make a whole state."""
        for worker in state.get_active_workers():
            yield from self.worker(worker)
        for task in state.get_active_tasks():
            yield from self.task(task)
        for worker_id, batchers in state.get_state()[2].items():
            for family, (names, size) in batchers.items():
                yield self.batcher(worker_id, family, names, size)

    @staticmethod
    def batcher(worker_id: str, family: str, names: Any, size: float) -> Change:
        """Return the line of the batches that a worker can run."""
        return {"batcher": [worker_id, family, list(names), size]}

    def task(self, task: ScheduledTask) -> Iterator[Change]:
        """Yield the lines of a task: of what it is, if that has changed, and how it stands."""
        line: Change = {"t": task.id, "s": task.status}
        what = _identity(task)
        if self._written.get(task.id) != what:
            self._remember(self._written, task.id, what)
            yield from self._new_numbers((*task.workers, *task.stakeholders))
            line["what"] = self._what(task)
        if task.worker_running is not None:
            yield from self._new_numbers((task.worker_running,))
            line["by"] = self._numbers[task.worker_running]
        for name in HOW:
            value = getattr(task, name)
            if value is not None and value is not False:
                line[name] = value
        if task._failures:  # noqa: SLF001  # to ask for them makes them
            line["failures"] = list(task.failures)
        used = getattr(task, "resources_running", None)
        if used is not None and used != task.resources:
            line["used"] = used
        yield line

    def _what(self, task: ScheduledTask) -> Change:
        what: Change = {name: value for name in WHAT if (value := getattr(task, name))}
        what["deps"] = task.deps
        what["workers"] = [self._numbers[worker_id] for worker_id in task.workers]
        what["stakes"] = [self._numbers[worker_id] for worker_id in task.stakeholders]
        what["policy"] = list(task.retry_policy)
        what["flags"] = [int(getattr(task, name)) for name in FLAGS]
        return what

    def _new_numbers(self, worker_ids: Iterable[str]) -> Iterator[Change]:
        for worker_id in worker_ids:
            if worker_id not in self._numbers:
                self._remember(self._numbers, worker_id, len(self._numbers))
                yield {"number": [worker_id, self._numbers[worker_id]]}

    def worker(self, worker: Worker) -> Iterator[Change]:
        """Yield the line of a worker, if it has changed."""
        known = _known(worker)
        if self._workers.get(worker.id) != known:
            self._remember(self._workers, worker.id, known)
            yield {"worker": worker.id, "started": worker.started, **known}

    def sequence(self, worker_id: str, number: int) -> Iterator[Change]:
        """Yield the line of the last message that was taken of a worker."""
        yield from self._new_numbers((worker_id,))
        yield {"sequence": [self._numbers[worker_id], number]}

    def gone(self, task_ids: list[str], worker_ids: list[str]) -> Change:
        """Return the line of tasks and workers that are forgotten."""
        for task_id in task_ids:
            self._written.pop(task_id, None)
        for worker_id in worker_ids:
            self._workers.pop(worker_id, None)
        return {"gone": task_ids, "left": worker_ids}


def _identity(task: ScheduledTask) -> tuple[Any, ...]:
    """Return what a task is, to be compared."""
    return (
        task.deps,
        task.kind,
        task.params,
        task.priority,
        task.family,
        task.retry_policy,
        task.stakeholders,
        task.batchable,
        task.accepts_messages,
    )


def _known(worker: Worker) -> Change:
    return {"info": dict(worker.info), "disabled": worker.disabled, "reference": worker.reference}


class Reader:
    """Makes a state of changes.

    Parameters
    ----------
    state : ReadyState
        The state, empty; indexes are made by `finish`.
    """

    def __init__(self, state: ReadyState) -> None:
        self._tasks, self._workers, _ = state.get_state()
        self._state = state
        self._ids: dict[int, str] = {}
        self._policies: dict[tuple[int, ...], RetryPolicy] = {}
        self.others: dict[str, Any] = {}  # what is not of tasks or workers, by name
        self.sequences: dict[str, int] = {}

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that stand for workers in the file."""
        return {worker_id: number for number, worker_id in self._ids.items()}

    def take(self, change: Change) -> None:
        """Take one change."""
        if "t" in change:
            self._take_task(change)
        elif "number" in change:
            worker_id, number = change["number"]
            self._ids[number] = worker_id
        elif "worker" in change:
            self._take_worker(change)
        elif "sequence" in change:
            self.sequences[self._ids[change["sequence"][0]]] = change["sequence"][1]
        elif "gone" in change:
            self._forget(change["gone"], change["left"])
        elif "batcher" in change:
            worker_id, family, names, size = change["batcher"]
            self._state.set_batcher(worker_id, family, names, size)
        else:
            self.others.update(change)

    def _forget(self, task_ids: list[str], worker_ids: list[str]) -> None:
        for task_id in task_ids:
            self._tasks.pop(task_id, None)
        for worker_id in worker_ids:
            self._workers.pop(worker_id, None)

    def _take_task(self, line: Change) -> None:
        task = self._tasks.get(line["t"])
        if task is None:
            task = self._tasks[line["t"]] = ScheduledTask(line["t"], line["s"], None)
        task.status = line["s"]
        if "what" in line:
            self._set_what(task, line["what"])
        task.worker_running = self._ids[line["by"]] if "by" in line else None
        for name in HOW:
            setattr(task, name, line.get(name))
        task.prefetched = bool(task.prefetched)
        task._failures = collections.deque(line["failures"]) if "failures" in line else None  # noqa: SLF001
        task.resources_running = line.get("used", dict(task.resources))

    def _set_what(self, task: ScheduledTask, what: Change) -> None:
        for name in WHAT:
            setattr(task, name, what.get(name, EMPTY))
        task.priority, task.family, task.module = (
            what.get("priority", 0),
            what.get("family", ""),
            what.get("module"),
        )
        task.deps = tuple(what["deps"])
        task.workers = WorkerIds(map(self._ids.__getitem__, what["workers"]))
        task.stakeholders = frozenset(map(self._ids.__getitem__, what["stakes"]))
        policy = tuple(what["policy"])
        task.retry_policy = self._policies.setdefault(policy, RetryPolicy(*policy))
        for name, flag in zip(FLAGS, what["flags"], strict=True):
            setattr(task, name, bool(flag))

    def _take_worker(self, line: Change) -> None:
        worker = self._workers.setdefault(line["worker"], Worker(line["worker"]))
        worker.info, worker.disabled, worker.reference = line["info"], line["disabled"], line["reference"]
        worker.started = line["started"]

    def finish(self) -> None:
        """Make the indexes; workers count as heard of just now, so that they have time to come back."""
        self._state.rebuild()
        now = time.time()
        for worker in self._workers.values():
            worker.last_active = now
        for task in self._tasks.values():
            for worker_id in task.workers if task.runnable else ():
                if worker_id in self._workers:
                    self._workers[worker_id].tasks.add(task)
