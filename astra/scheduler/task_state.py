"""The tasks and workers that a scheduler knows, with indexes that follow every change.

Luigi's scheduler and its own state change tasks through few methods; these keep here, besides: how many of
a task's requirements are not done, who waits for a task, the queue of those that may run, who runs what, the
members of running batches, and what falls due.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Collection, Iterable
from typing import Any

from luigi.scheduler import SimpleTaskState, Worker
from luigi.task_status import BATCH_RUNNING, DISABLED, DONE, FAILED, PENDING, RUNNING

from astra.scheduler.due import DueTasks
from astra.scheduler.ready import ReadyQueue
from astra.scheduler.retries import RetryingState
from astra.scheduler.scheduled_task import ScheduledTask, SharedIds, WorkerIds

MAX_GONE = 1000  # workers of which is known how they batch though they are gone: Luigi keeps all


class ReadyState(RetryingState):
    """Luigi's state with indexes.

    A change marks its task as touched; whether touched tasks may run is settled before work is given out.
    """

    def __init__(self, state_path: str) -> None:
        super().__init__(state_path)
        self.queue = ReadyQueue()
        self.blocked_version = 0  # another one after each change of what stands behind disabled tasks
        self.changed: dict[ScheduledTask, None] | None = None  # since it was last written, if that is kept
        self.removed: list[str] = []
        self._clear_indexes()

    @classmethod
    def instead_of(cls, other: SimpleTaskState, state_path: str) -> ReadyState:
        """Return an empty state that reports to the same collector of metrics."""
        state = cls(state_path)
        state._metrics_collector = other._metrics_collector  # noqa: SLF001  # Luigi's scheduler sets it so
        return state

    def _clear_indexes(self) -> None:
        self.queue = ReadyQueue()
        self._waiting: dict[str, list[ScheduledTask]] = {}  # by the id of what they require
        self._touched: dict[ScheduledTask, None] = {}
        self._batches: dict[str, dict[str, ScheduledTask]] = {}
        self._running: collections.defaultdict[str, dict[str, ScheduledTask]] = collections.defaultdict(dict)
        self.shared_ids = SharedIds()
        self._with_resources: collections.Counter[str] = collections.Counter()
        self.due = DueTasks()
        self.unclaimed: dict[ScheduledTask, None] = {}

    def rebuild(self) -> None:
        """Make all indexes anew from the tasks."""
        self._clear_indexes()
        self._status_tasks: collections.defaultdict[str, dict[str, ScheduledTask]]
        self._status_tasks = collections.defaultdict(dict)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.entry = task.group = task.kind = task.ready_since = None
            self._index(task)
        for task in tasks:
            task.n_missing = sum(not self._is_done(dep) for dep in task.deps)
            for dep in task.deps:
                self._waiting.setdefault(dep, []).append(task)
            self._entered(task)
        for batchers in self._task_batchers.values():
            for family, (names, _) in batchers.items():
                self.queue.set_batched_names(family, tuple(names))

    def load(self) -> None:
        """Read Luigi's pickle of a state, if there is one."""
        super().load()
        self.rebuild()

    # -- tasks ----------------------------------------------------------------------------------------------

    def get_task(self, task_id: str, default: Any = None, setdefault: Any = None) -> Any:
        """Return a task; take ``setdefault`` in as a new one if there is none."""
        task = self._tasks.get(task_id)
        if task is None:
            return self.insert(setdefault) if setdefault else default
        return task

    def insert(self, task: ScheduledTask) -> ScheduledTask:
        """Take a new task in; return it."""
        self._tasks[task.id] = task
        self._index(task)
        deps, task.deps = task.deps, ()
        self.set_deps(task, deps)
        if task.status == PENDING:
            self._count_resources(task, 1)
        return task

    def _index(self, task: ScheduledTask) -> None:
        self._status_tasks[task.status][task.id] = task
        self._join(task)
        if not task.stakeholders:
            self.unclaimed[task] = None
        self.touch(task)

    def touch(self, task: ScheduledTask) -> None:
        """Note that a task has changed."""
        self._touched[task] = None
        if self.changed is not None:
            self.changed[task] = None

    def settle(self) -> None:
        """Bring the queue up to date with what has changed."""
        queue = self.queue
        for task in self._touched:
            if task.status == PENDING and not task.n_missing and task.kind is not None:
                queue.put(task)
            else:
                queue.take(task)
        self._touched.clear()

    def _is_done(self, task_id: str) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and task.status == DONE

    # -- requirements ---------------------------------------------------------------------------------------

    def set_deps(self, task: ScheduledTask, deps: Iterable[str]) -> None:
        """Set what a task requires."""
        new = tuple(dict.fromkeys(deps))
        if new == task.deps:
            return
        before, after = set(task.deps), set(new)
        for dep in before - after:
            self._waiting[dep].remove(task)
            if not self._waiting[dep]:
                del self._waiting[dep]
        for dep in after - before:
            self._waiting.setdefault(dep, []).append(task)
        task.deps = new
        task.n_missing = sum(not self._is_done(dep) for dep in new)
        self.blocked_version += 1
        self.touch(task)

    def waiting_for(self, task_id: str) -> list[ScheduledTask]:
        """Return the tasks that require one."""
        return self._waiting.get(task_id, [])

    def _missing_again(self, task_id: str) -> None:
        for task in self.waiting_for(task_id):
            task.n_missing += 1
            self.touch(task)

    def _no_more_missing(self, task_id: str) -> None:
        for task in self.waiting_for(task_id):
            task.n_missing -= 1
            if not task.n_missing:
                self._touched[task] = None

    # -- kinds ----------------------------------------------------------------------------------------------

    def set_kind(
        self, task: ScheduledTask, resources: dict[str, int], workers: WorkerIds, runnable: bool
    ) -> None:
        """Set what a task uses, and who can run it."""
        kind = task.kind
        if workers is task.workers and runnable == task.runnable and resources == task.resources:
            return
        if task.status == PENDING:
            self._count_resources(task, -1)
        task.resources, task.workers, task.runnable = resources, workers, runnable
        if task.status == PENDING:
            self._count_resources(task, 1)
        since = task.ready_since
        self._leave(task, kind)
        self._join(task)
        task.ready_since = since  # it waits no shorter for it
        if task.n_missing:
            self.blocked_version += 1
        self.touch(task)

    def _join(self, task: ScheduledTask) -> None:
        kind = task.kind = self.queue.kind(task.resources, task.workers, task.runnable)
        task.resources, task.workers = kind.resources, kind.workers
        kind.n_tasks += 1
        kind.n_pending += task.status == PENDING
        kind.n_failed += task.status == FAILED

    def _leave(self, task: ScheduledTask, kind: Any) -> None:
        self.queue.take(task)
        kind.n_tasks -= 1
        kind.n_pending -= task.status == PENDING
        kind.n_failed -= task.status == FAILED
        if not kind.n_tasks:
            self.queue.forget_kind(kind)

    def _count_resources(self, task: ScheduledTask, change: int) -> None:
        if task.resources:
            for worker_id in task.workers:
                self._with_resources[worker_id] += change

    def wants_resources(self, worker_id: str) -> bool:
        """Say whether any waiting task that a worker can run uses a resource."""
        return self._with_resources[worker_id] > 0

    # -- status ---------------------------------------------------------------------------------------------

    def set_status(self, task: ScheduledTask, new_status: str, config: Any = None) -> None:
        """Set the status of a task, by Luigi's rules, and follow it in the indexes."""
        before = task.status
        super().set_status(task, new_status, config)
        if task.status != before:
            self._left(task, before)
            self._entered(task, before)
        if task.status == FAILED:
            self.due.note(task, task.retry)
        self.due.note(task, task.remove)
        if task.status == DISABLED and task.scheduler_disable_time is not None and config is not None:
            self.due.note(task, task.scheduler_disable_time + config.disable_persist)
        self.touch(task)

    def _left(self, task: ScheduledTask, status: str) -> None:
        if status == PENDING:
            task.kind.n_pending -= 1
            self._count_resources(task, -1)
            self.queue.take(task)
        elif status == FAILED:
            task.kind.n_failed -= 1
        elif status == DONE:
            self._missing_again(task.id)
        elif status == RUNNING:
            task.prefetched = False
            self._running[task.worker_running].pop(task.id, None)
        elif status == BATCH_RUNNING:
            self._batches.get(task.batch_id, {}).pop(task.id, None)
        if status in (DISABLED, PENDING) and (task.n_missing or status == DISABLED):
            self.blocked_version += 1

    def _entered(self, task: ScheduledTask, before: str | None = None) -> None:
        status = task.status
        if status == PENDING:
            task.kind.n_pending += before is not None
            self._count_resources(task, 1)
        elif status == FAILED and before is not None:
            task.kind.n_failed += 1
        elif status == DONE and before is not None:
            self._no_more_missing(task.id)
        elif status == RUNNING:
            self.note_runner(task)
        elif status == BATCH_RUNNING and before is None:
            self._batches.setdefault(task.batch_id, {})[task.id] = task
        if status in (DISABLED, PENDING) and (task.n_missing or status == DISABLED):
            self.blocked_version += 1

    def start(self, task: ScheduledTask, worker_id: str, config: Any) -> None:
        """Let a worker run a task."""
        task.run = (task.run or 0) + 1
        self.resume(task, worker_id, config)

    def resume(self, task: ScheduledTask, worker_id: str, config: Any) -> None:
        """Let a worker go on with its run of a task."""
        self.set_status(task, RUNNING, config)
        self.set_runner(task, worker_id)
        task.resources_running = task.resources.copy()
        task.time_running = time.time()

    def set_runner(self, task: ScheduledTask, worker_id: str | None) -> None:
        """Set who runs a task."""
        self._running[task.worker_running].pop(task.id, None)
        task.worker_running = worker_id
        self.note_runner(task)

    def note_runner(self, task: ScheduledTask) -> None:
        """Keep a running task in the index of its worker."""
        if task.status == RUNNING:
            self._running[task.worker_running][task.id] = task

    def run_by(self, worker_id: str) -> Collection[ScheduledTask]:
        """Return the tasks that a worker runs."""
        return self._running[worker_id].values()

    # -- batches --------------------------------------------------------------------------------------------

    def set_batcher(self, worker_id: str, family: str, batcher_args: Any, max_batch_size: float) -> None:
        """Set which parameters of a family a worker can vary in a batch, and how many tasks one may hold."""
        super().set_batcher(worker_id, family, batcher_args, max_batch_size)
        self.regroup(family, tuple(batcher_args))

    def regroup(self, family: str, names: tuple[str, ...]) -> None:
        """Let batches of a family vary these parameters."""
        if self.queue.set_batched_names(family, names):
            for task in self._status_tasks[PENDING].values():
                if task.family == family:
                    self._touched[task] = None

    def set_batch_running(self, task: ScheduledTask, batch_id: str, worker_id: str) -> None:
        """Let a worker run a task as a member of a batch."""
        super().set_batch_running(task, batch_id, worker_id)
        task.resources_running = dict(task.resources)  # what is given back early is given back of this run
        self._batches.setdefault(batch_id, {})[task.id] = task

    def get_batch_running_tasks(self, batch_id: str) -> list[ScheduledTask]:
        """Return the members of a running batch."""
        return list(self._batches.get(batch_id, {}).values())

    def tidy(self) -> None:
        """Drop what is empty."""
        self.queue.tidy()
        for batch_id in [batch_id for batch_id, members in self._batches.items() if not members]:
            del self._batches[batch_id]
        for worker_id in [worker_id for worker_id, tasks in self._running.items() if not tasks]:
            del self._running[worker_id]

    # -- workers --------------------------------------------------------------------------------------------

    def get_worker(self, worker_id: str) -> Worker:
        """Return a worker, a new one if it is not known."""
        worker = self._active_workers.get(worker_id)
        if worker is None:
            worker = self._active_workers[worker_id] = Worker(worker_id)
        return worker

    def stake(self, task: ScheduledTask, worker_id: str) -> None:
        """Note that a worker needs a task."""
        if worker_id in task.stakeholders:
            return
        task.stakeholders = self.shared_ids.with_stake(task.stakeholders, worker_id)
        self.unclaimed.pop(task, None)
        if self.changed is not None:
            self.changed[task] = None

    def keep(self, task: ScheduledTask) -> None:
        """Take back that a task is to be removed; if nobody needs it, it will be again."""
        if task.remove is not None:
            task.remove = None
            if not task.stakeholders:
                self.unclaimed[task] = None

    def _remove_workers_from_tasks(self, workers: Iterable[str], remove_stakeholders: bool = True) -> None:
        gone = frozenset(workers)
        if not gone:
            return
        for task in self._tasks.values():
            if remove_stakeholders and not gone.isdisjoint(task.stakeholders):
                task.stakeholders -= gone
                if not task.stakeholders:
                    self.unclaimed[task] = None
                self.touch(task)
            if not gone.isdisjoint(task.workers):
                left = WorkerIds(worker for worker in task.workers if worker not in gone)
                self.set_kind(task, task.resources, left, task.runnable)
        self.shared_ids = SharedIds()

    def inactivate_workers(self, delete_workers: Iterable[str]) -> None:
        """Forget workers."""
        super().inactivate_workers(delete_workers)
        for worker_id in delete_workers:
            self._with_resources.pop(worker_id, None)
        gone = [worker_id for worker_id in self._task_batchers if worker_id not in self._active_workers]
        for worker_id in gone[: max(0, len(gone) - MAX_GONE)]:
            del self._task_batchers[worker_id]

    def inactivate_tasks(self, delete_tasks: Iterable[str]) -> None:
        """Forget tasks."""
        gone = [self._tasks[task_id] for task_id in delete_tasks]
        super().inactivate_tasks(delete_tasks)
        for task in gone:
            if task.status == PENDING:
                self._count_resources(task, -1)
            if task.status == DONE:
                self._missing_again(task.id)
            self._running[task.worker_running].pop(task.id, None)
            self._batches.get(task.batch_id, {}).pop(task.id, None)
            for worker_id in task.workers:
                self.get_worker(worker_id).tasks.discard(task)
            self._leave(task, task.kind)
            for index in (self._touched, self.unclaimed, self.changed):
                if index is not None:
                    index.pop(task, None)
            task.kind = None
        self._unlink(gone)
        self.removed += [task.id for task in gone]
        self.blocked_version += bool(gone)

    def _unlink(self, gone: list[ScheduledTask]) -> None:
        """Take tasks out of the lists of those that wait."""
        removed = set(gone)
        for dep in {dep for task in gone for dep in task.deps}:
            left = [task for task in self._waiting[dep] if task not in removed]
            if left:
                self._waiting[dep] = left
            else:
                del self._waiting[dep]
