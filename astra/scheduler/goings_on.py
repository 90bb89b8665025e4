"""What a worker asks about the others before it ends: does anything of its tasks go on, or has it failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from luigi.scheduler import rpc_method
from luigi.task_status import BATCH_RUNNING, DISABLED, DONE, FAILED, RUNNING

from astra.scheduler.leases import LeasedScheduler
from astra.scheduler.scheduled_task import Kind, ScheduledTask


class GoingsOn(LeasedScheduler):
    """The part of the scheduler that tells workers of each other."""

    @rpc_method()
    def failed_of(self, worker: str) -> list[str]:
        """Return the ids of the tasks that a worker needs and that have failed, in whatever hands."""
        return [
            task.id
            for task in self._state.get_active_tasks_by_status(FAILED, DISABLED)
            if worker in task.stakeholders
        ]

    @rpc_method()
    def done_among(self, task_ids: Sequence[str]) -> list[str]:
        """Return those of some ids of which the tasks are done."""
        found = ((task_id, self._state.get_task(task_id)) for task_id in task_ids)
        return [task_id for task_id, task in found if task is not None and task.status == DONE]

    @rpc_method()
    def running_among(self, task_ids: Sequence[str]) -> list[str]:
        """Return those of some ids of which the tasks are run by a worker that is heard of."""
        found = ((task_id, self._state.get_task(task_id)) for task_id in task_ids)
        running = (RUNNING, BATCH_RUNNING)
        return [task_id for task_id, task in found if task is not None and task.status in running]

    @rpc_method()
    def needed_by(self, task_id: str) -> list[dict[str, Any]]:
        """Return module, family and parameters of tasks that require one, of the first of each family."""
        firsts = {task.family: task for task in reversed(self._state.waiting_for(task_id))}
        return [
            {"module": task.module, "family": task.family, "params": task.params} for task in firsts.values()
        ]

    @rpc_method()
    def who_works(self, worker: str) -> dict[str, Any]:
        """Return who runs tasks that a worker needs, and who could.

        Returns
        -------
        work : dict
            ``running``: by name of a worker the number of such tasks; ``connected``: names of the others
            that are heard of and run tasks.
        """
        running = Counter(
            self._name_of(task.worker_running)
            for task in self._state.get_active_tasks_by_status(RUNNING, BATCH_RUNNING)
            if task.worker_running != worker and worker in task.stakeholders
        )
        since = time.time() - self._active_s()
        others = [
            other.id
            for other in self._state.get_active_workers()
            if other.id not in (worker, *self.gone)
            and other.last_active >= since
            and other.info.get("workers", 1)
        ]
        return {"running": dict(running.most_common()), "connected": sorted(map(self._name_of, others))}

    def _name_of(self, worker_id: str) -> str:
        """Return what is told of a worker: the name that it was given, else its host, else its id."""
        info = self._state.get_worker(worker_id).info
        return str(info.get("name") or info.get("host") or worker_id)

    @rpc_method()
    def goes_on(self, worker: str) -> bool:
        """Say whether a worker that has nothing to do may yet see its tasks done.

        So it is if one of them, or something that one of them waits for, runs or may run.
        """
        self._state.settle()
        queue = self._state.queue
        own = queue.kinds_of(worker)
        if any(self._can_ever_run(entry[4]) for entry in queue.firsts(own)):
            return True
        seen: set[str] = set()
        return any(self._is_awaited(task, worker, seen) for task in self._under_way_elsewhere(worker))

    def _under_way_elsewhere(self, worker: str) -> Iterator[ScheduledTask]:
        """Yield what others run, and of each kind the first that they may run."""
        for task in self._state.get_active_tasks_by_status(RUNNING, BATCH_RUNNING):
            if task.worker_running != worker:
                yield task
        for entry in self._state.queue.firsts():
            if self._can_ever_run(entry[4]) and self._has_worker(entry[4]):
                yield entry[3]

    def _has_worker(self, kind: Kind) -> bool:
        """Say whether there is a worker for tasks of a kind."""
        known = set(self._state.get_worker_ids()) - self.gone
        return any(worker in known for worker in kind.workers) or (
            kind.runnable and any(True for _ in self._state.get_assistants())
        )

    def _can_ever_run(self, kind: Kind) -> bool:
        """Say whether there is as much of each resource as a task wants, if nobody else uses any."""
        available = self._resources or {}
        return all(amount <= available.get(name, 1) for name, amount in kind.resources.items())

    def _is_awaited(self, task: ScheduledTask, worker: str, seen: set[str]) -> bool:
        """Say whether a worker needs a task, or anything that requires it.

        What has been seen in vain is kept in a set, and not looked at again for other tasks.
        """
        behind = [] if task.id in seen else [task]
        seen.add(task.id)
        while behind:
            one = behind.pop()
            if worker in one.stakeholders:
                return True
            for other in self._state.waiting_for(one.id):
                if other.id not in seen:
                    seen.add(other.id)
                    behind.append(other)
        return False
