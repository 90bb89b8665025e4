"""Which task a worker gets: the first in order that it can run, and that leaves nobody before it short.

The rule is Luigi's. A task that needs a resource which is in use does not hold up those after it; but if some
worker that is idle could run it once the resource is free, those after it must leave it that resource. So a
worker with many tasks of low priority cannot starve another one of a resource that they share.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from luigi.task_status import RUNNING

from astra.scheduler.ready import Pass
from astra.scheduler.scheduled_task import Kind, ScheduledTask
from astra.scheduler.task_state import ReadyState


class Choice:
    """One search for a task.

    Parameters
    ----------
    state : ReadyState
        The state; it must be settled.
    resources : mapping or None
        What there is of each resource; 1 of those that are not named.
    worker_id : str
        Who asks.
    assistant : bool
        Whether it takes tasks of others too.
    active_s : float
        How long a worker counts as active after it has asked for work [s].
    """

    def __init__(
        self,
        state: ReadyState,
        resources: Mapping[str, int] | None,
        worker_id: str,
        *,
        assistant: bool,
        active_s: float,
    ) -> None:
        self._state = state
        self._available = resources or {}
        self._counts_used = resources is not None
        self._worker_id = worker_id
        self._assistant = assistant
        self._active_s = active_s

    def best(self) -> ScheduledTask | None:
        """Return the task to run, or None."""
        with self._state.queue.passes() as tasks:
            return (
                self._best_with_resources(tasks) if self._state.queue.n_with_resources else self._first(tasks)
            )

    def plain(self, n_most: int) -> list[ScheduledTask]:
        """Return the next tasks to run, up to one that uses a resource or may run in a batch."""
        found: list[ScheduledTask] = []
        with self._state.queue.passes() as tasks:
            for entry in tasks:
                if not self._can_run(entry[4]):
                    tasks.skip()
                    continue
                if entry[4].resources or entry[3].group is not None or len(found) == n_most:
                    break
                found.append(entry[3])
        return found

    def _can_run(self, kind: Kind) -> bool:
        return (self._assistant and kind.runnable) or self._worker_id in kind.workers

    def _first(self, tasks: Pass) -> ScheduledTask | None:
        for entry in tasks:
            if self._can_run(entry[4]):
                return entry[3]
            tasks.skip()
        return None

    def _best_with_resources(self, tasks: Pass) -> ScheduledTask | None:
        ahead: _Ahead | None = None
        for entry in tasks:
            kind = entry[4]
            can_run = self._can_run(kind)
            if can_run and not kind.resources:
                return entry[3]
            if ahead is None:
                ahead = _Ahead(self._state, self._active_s, self._available, counts_used=self._counts_used)
            ahead.count_running(entry[:2])
            if not ahead.leaves(kind.resources):
                tasks.skip()
            elif can_run and ahead.is_free(kind.resources):
                return entry[3]
            elif not ahead.reserve(kind, self._worker_id if self._assistant else None):
                tasks.skip()
        return None


class _Ahead:
    """What tasks before the one that is looked at use, or could use at once if all were given out anew."""

    def __init__(
        self, state: ReadyState, active_s: float, available: Mapping[str, int], *, counts_used: bool
    ) -> None:
        since = time.time() - active_s
        workers = state.get_active_workers(last_get_work_gt=since)
        self._slots: dict[str, int] = {worker.id: worker.info.get("workers", 1) for worker in workers}
        self._available = available
        self._reserved: defaultdict[str, int] = defaultdict(int)
        self._used: defaultdict[str, int] = defaultdict(int)
        running = list(state.get_active_tasks_by_status(RUNNING))
        for task in running if counts_used else ():
            _add(self._used, resources_running(task))
        self._running = sorted(
            (task for task in running if task.worker_running in self._slots), key=_rank, reverse=True
        )  # the first one last

    def count_running(self, rank: tuple[float, ...]) -> None:
        """Count the running tasks before a rank: they use their workers."""
        while self._running and _rank(self._running[-1]) < rank:
            task = self._running.pop()
            self._slots[task.worker_running] -= 1
            _add(self._reserved, resources_running(task))

    def leaves(self, resources: Mapping[str, int]) -> bool:
        """Say whether what is before leaves enough of resources."""
        return self._fits(resources, self._reserved)

    def is_free(self, resources: Mapping[str, int]) -> bool:
        """Say whether enough of resources is free now."""
        return self._fits(resources, self._used)

    def _fits(self, resources: Mapping[str, int], used: Mapping[str, int]) -> bool:
        return all(
            amount + used.get(name, 0) <= self._available.get(name, 1) for name, amount in resources.items()
        )

    def reserve(self, kind: Kind, assistant_id: str | None) -> bool:
        """Reserve a worker and resources for a task that cannot run now; return whether a worker is left."""
        for worker_id in (*kind.workers, assistant_id):
            if worker_id is not None and self._slots.get(worker_id, 0) > 0:
                self._slots[worker_id] -= 1
                _add(self._reserved, kind.resources)
                return True
        return False


def resources_running(task: ScheduledTask) -> Mapping[str, int]:
    """Return what a running task uses."""
    return getattr(task, "resources_running", task.resources) or {}


def _add(total: defaultdict[str, int], resources: Mapping[str, int]) -> None:
    for name, amount in resources.items():
        total[name] += amount


def _rank(task: Any) -> tuple[float, float]:
    return (-task.priority, task.time)
