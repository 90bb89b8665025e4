"""How much is left for a worker: counted by kinds of tasks, not by tasks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from luigi.task_status import DISABLED, PENDING, RUNNING

from astra.scheduler.scheduled_task import Kind
from astra.scheduler.task_state import ReadyState


class Counts:
    """Counts of the tasks that wait.

    What stands behind a disabled task, through tasks that wait, will not run and does not count. It is looked
    for again only after a change that can concern it.
    """

    def __init__(self, state: ReadyState) -> None:
        self._state = state
        self._version = -1
        self._blocked: Counter[Kind] = Counter()

    def pending(self, worker_id: str) -> dict[str, int]:
        """Count the tasks that a worker can run and that wait, or have failed and will be tried again."""
        blocked = self._blocked_by_kind()
        counts = dict.fromkeys(("n_pending_tasks", "n_unique_pending", "n_pending_last_scheduled"), 0)
        for kind in self._state.queue.kinds_of(worker_id):
            n_tasks = kind.n_pending + kind.n_failed - blocked.get(kind, 0)
            counts["n_pending_tasks"] += n_tasks
            counts["n_unique_pending"] += n_tasks if len(kind.workers) == 1 else 0
            counts["n_pending_last_scheduled"] += n_tasks if kind.workers.peek() == worker_id else 0
        return counts

    def running(self, worker_id: str) -> list[dict[str, Any]]:
        """List the running tasks that a worker could run too, with who runs them."""
        found = []
        for task in self._state.get_active_tasks_by_status(RUNNING):
            if worker_id in task.workers:
                other = self._state.get_worker(task.worker_running)
                found.append({"task_id": task.id, "worker": str(other), **other.info})
        return found

    def _blocked_by_kind(self) -> Counter[Kind]:
        if self._version != self._state.blocked_version:
            self._version = self._state.blocked_version
            self._blocked = self._find_blocked()
        return self._blocked

    def _find_blocked(self) -> Counter[Kind]:
        behind = [task.id for task in self._state.get_active_tasks_by_status(DISABLED)]
        seen: set[str] = set()
        counts: Counter[Kind] = Counter()
        while behind:
            for task in self._state.waiting_for(behind.pop()):
                if task.status == PENDING and task.id not in seen:
                    seen.add(task.id)
                    behind.append(task.id)
                    counts[task.kind] += 1
        return counts
