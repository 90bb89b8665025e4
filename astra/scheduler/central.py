"""The scheduler: Luigi's, with a queue of the tasks that may run in place of a look at all tasks."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Collection, Sequence
from typing import Any

from luigi.scheduler import Worker
from luigi.task_status import BATCH_RUNNING, DONE, FAILED, PENDING, RUNNING

from astra import config as astra_config
from astra.scheduler.additions import Additions, Call
from astra.scheduler.choice import Choice
from astra.scheduler.counts import Counts
from astra.scheduler.retries import RetryDelay
from astra.scheduler.scheduled_task import ScheduledTask
from astra.scheduler.task_state import ReadyState

MAX_COUNTED_KINDS = 64

logger = logging.getLogger("luigi.scheduler")


class CentralScheduler(Additions):
    """A scheduler that decides as Luigi's does, in a time that does not grow with the number of tasks.

    What differs: a reply that gives out work lists no running tasks, and its counts are those of all workers
    if there are many kinds of tasks (a worker looks at both only when there is no work); a report that only
    tells where a run can be watched leaves all else of its task as it is; and what a run gives back of its
    resources is still what the next run of that task needs. Parameters are those of Luigi's scheduler.
    """

    def __init__(
        self, config: Any = None, resources: Any = None, task_history_impl: Any = None, **kwargs: Any
    ):
        super().__init__(config, resources, task_history_impl, **kwargs)
        self._policies = {}
        self._state = ReadyState.instead_of(self._state, self._config.state_path)
        self._state.retries = RetryDelay(
            factor=astra_config.option("retry_delay_factor"),
            longest_s=astra_config.option("retry_delay_max_s"),
        )
        self._max_deaths = astra_config.option("max_process_deaths")
        self._make_task = functools.partial(ScheduledTask, retry_policy=self._generate_retry_policy({}))
        self._counts = Counts(self._state)

    # -- what falls due -------------------------------------------------------------------------------------

    def _prune_tasks(self) -> None:
        """Look at the tasks of workers that are gone, those that nobody needs, and those that are due."""
        state, config = self._state, self._config
        assistants = {worker.id for worker in state.get_assistants()}
        for task in list(state.get_active_tasks_by_status(BATCH_RUNNING, RUNNING)):
            self._fail_dead(task, assistants)
        gone = []
        for task in dict.fromkeys((*state.unclaimed, *state.due.take())):
            if state.get_task(task.id) is not task:
                continue
            remove = task.remove
            state.update_status(task, config)
            if task.remove is not None:
                state.unclaimed.pop(task, None)
            if task.remove != remove:
                state.touch(task)  # so that it is written
            if state.may_prune(task):
                gone.append(task.id)
            else:
                self._note_due_again(task)
        state.inactivate_tasks(gone)
        state.tidy()

    def _fail_dead(self, task: ScheduledTask, assistants: set[str]) -> None:
        runner = task.worker_running
        if not runner or runner in task.stakeholders or runner in assistants:
            return
        if task.status not in (BATCH_RUNNING, RUNNING):  # it has failed with its batch
            return
        self._lose(task, runner)

    def _lose(self, task: ScheduledTask, runner: str) -> None:
        """Say what becomes of a task whose worker is gone."""
        logger.info("%s was run by %s, which is gone: it has failed", task.id, runner)
        self._end_run(task, FAILED)
        self._count_death(task)

    def _count_death(self, task: ScheduledTask) -> bool:
        """Count a run that ended with its process or worker; return whether the task may run again.

        One that has ended so several times in a row is disabled, as one with too many failures is.
        """
        task.n_lost = (task.n_lost or 0) + 1
        if not 0 < self._max_deaths <= task.n_lost:
            return True
        logger.warning("%s is disabled: it has ended its process %d times", task.id, task.n_lost)
        self._state.disable(task, self._config)
        return False

    def take_report(self, call: Call, worker: Worker) -> None:
        """Take a report on one task, see `Additions.take_report`."""
        super().take_report(call, worker)
        task = self._state.get_task(call["task_id"])
        if task is None or call.get("status", PENDING) not in (DONE, FAILED):
            return
        if task.status in (RUNNING, BATCH_RUNNING):  # by another worker: this one has found it done
            return
        if not call.get("process_died"):
            task.n_lost = None
        elif task.status == FAILED:
            self._count_death(task)

    def _end_run(self, task: ScheduledTask, status: str) -> None:
        self._state.set_runner(task, None)
        self._state.set_status(task, status, self._config)

    def _note_due_again(self, task: ScheduledTask) -> None:
        """Have a task looked at again when its time has come, if it is not over yet."""
        state, config = self._state, self._config
        state.due.note(task, task.remove)
        if task.status == "FAILED" and config.retry_delay >= 0:
            state.due.note(task, task.retry)
        if task.status == "DISABLED" and task.scheduler_disable_time is not None:
            state.due.note(task, task.scheduler_disable_time + config.disable_persist)

    # -- work -----------------------------------------------------------------------------------------------

    def count_pending(self, worker: str) -> dict[str, Any]:
        """Count what is left for a worker."""
        found = self._state.get_worker(worker)
        running = self._counts.running(worker)
        return {**self._counts.pending(worker), "worker_state": found.state, "running_tasks": running}

    def get_work(
        self,
        host: str | None = None,
        assistant: bool = False,
        current_tasks: Collection[str] | None = None,
        worker: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Give a worker something to run, or tell how much is left."""
        asking, lost = self._begin_work(worker, host, current_tasks, assistant=assistant)
        if not asking.enabled:
            return give_nothing(asking)
        task = lost[-1] if lost else self._best(asking.id, assistant=assistant)
        if task is None:
            return {**self.count_pending(asking.id), "task_id": None}
        batch = [] if lost else self._batch(task, asking.id)
        reply = self._counts_beside_work(asking)
        return reply | (
            self._give_batch(batch, asking.id) if len(batch) > 1 else self._give(task, asking.id, host)
        )

    def _begin_work(
        self,
        worker_id: str | None,
        host: str | None,
        current_tasks: Collection[str] | None,
        *,
        assistant: bool,
    ) -> tuple[Worker, list[ScheduledTask]]:
        """Note that a worker asks for work; return it, and what it has without knowing of it, by rank."""
        if self._config.prune_on_get_work:
            self.prune()
        if worker_id is None:
            message = "get_work needs the id of the worker"
            raise TypeError(message)
        worker = self._update_worker(worker_id, worker_reference={"host": host}, get_work=True)
        if not worker.enabled:
            return worker, []
        if assistant:
            self.add_worker(worker_id, [("assistant", assistant)])
        lost: list[ScheduledTask] = []
        if current_tasks is not None:
            known = set(current_tasks)
            lost = [task for task in self._state.run_by(worker_id) if task.id not in known]
            lost.sort(key=self._rank)
            self._reset_orphaned_batch_running_tasks(worker_id)
        self._state.settle()
        return worker, lost

    def _reset_orphaned_batch_running_tasks(self, worker_id: str) -> None:
        if any(True for _ in self._state.get_active_tasks_by_status(BATCH_RUNNING)):
            super()._reset_orphaned_batch_running_tasks(worker_id)

    def _best(self, worker_id: str, *, assistant: bool) -> ScheduledTask | None:
        return None if self._paused else self._choice(worker_id, assistant=assistant).best()

    def _choice(self, worker_id: str, *, assistant: bool) -> Choice:
        return Choice(
            self._state,
            self._resources,
            worker_id,
            assistant=assistant,
            active_s=self._active_s(),
        )

    def _active_s(self) -> float:
        """How long a worker counts as active after it has asked for work [s]."""
        return float(self._config.worker_disconnect_delay)

    def _batch(self, first: ScheduledTask, worker_id: str) -> list[ScheduledTask]:
        """Return a task with those that can run in a batch with it; alone, if it is not batchable."""
        names, max_batch_size = self._batcher(first, worker_id)
        if not names or not first.batchable or any(name not in first.params for name in names):
            return [first]
        if tuple(names) != self._state.queue.batched_names.get(first.family):
            self._state.regroup(first.family, tuple(names))
            self._state.settle()
        # A worker that uses no resources is offered its own tasks alone, as in Luigi.
        worker = self._state.get_worker(worker_id)
        own_only = not worker.assistant and not self._state.wants_resources(worker_id)
        return [
            first,
            *self._state.queue.followers(
                first, lambda task: not own_only or worker_id in task.workers, max_batch_size - 1
            ),
        ]

    def _batcher(self, task: ScheduledTask, worker_id: str) -> tuple[Sequence[str], float]:
        """Return which parameters a batch that a worker runs may vary, and how many tasks it may hold."""
        names, size = self._state.get_batcher(worker_id, task.family)
        return names or (), size

    def _counts_beside_work(self, worker: Worker) -> dict[str, Any]:
        """Count what waits for a worker that gets work, if its kinds are few; else what waits for anyone."""
        if len(self._state.queue.kinds_of(worker.id)) <= MAX_COUNTED_KINDS:
            counts = self._counts.pending(worker.id)
        else:
            n_waiting = sum(map(self._state.get_active_task_count_for_status, ("PENDING", "FAILED")))
            counts = dict.fromkeys(
                ("n_pending_tasks", "n_unique_pending", "n_pending_last_scheduled"), n_waiting
            )
        return {**counts, "worker_state": worker.state, "running_tasks": []}

    def _give(self, task: ScheduledTask, worker_id: str, host: str | None) -> dict[str, Any]:
        """Let a worker run a task; return what it must know of it."""
        self.update_metrics_task_started(task)
        self._state.start(task, worker_id, self._config)
        self._update_task_history(task, RUNNING, host=host)
        return self._reply(task)

    def _reply(self, task: ScheduledTask) -> dict[str, Any]:
        return {"task_id": task.id, **_description(task)}

    def _give_batch(self, batch: list[ScheduledTask], worker_id: str) -> dict[str, Any]:
        """Let a worker run tasks as one batch; return what it must know of them."""
        ids = [task.id for task in batch]
        batch_id = hashlib.md5("|".join(ids).encode(), usedforsecurity=False).hexdigest()
        names, _ = self._batcher(batch[0], worker_id)
        for task in batch:
            self._state.set_batch_running(task, batch_id, worker_id)
        reply = _description(batch[0])
        varied = {name: [task.params.get(name) for task in batch] for name in names}
        reply["task_params"] = {**batch[0].params, **varied}
        return {"task_id": None, **reply, "batch_id": batch_id, "batch_task_ids": ids}


def _description(task: ScheduledTask) -> dict[str, Any]:
    return {"task_family": task.family, "task_module": task.module, "task_params": task.params}


def give_nothing(worker: Worker) -> dict[str, Any]:
    """Return the reply to a worker that is disabled."""
    return {
        "n_pending_tasks": 0,
        "running_tasks": [],
        "task_id": None,
        "n_unique_pending": 0,
        "worker_state": worker.state,
    }
