"""What a report of a worker changes: a new task, what is known of it, its status, who needs it.

The order of the steps is Luigi's, whose status rules look at what was known before the report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import luigi.scheduler
from luigi.scheduler import RetryPolicy, Worker
from luigi.task_history import NopHistory
from luigi.task_status import BATCH_RUNNING, DISABLED, DONE, FAILED, PENDING, RUNNING, SUSPENDED, UNKNOWN

from astra.scheduler.scheduled_task import EMPTY, ScheduledTask
from astra.scheduler.task_state import ReadyState

NAMES = (  # of the arguments of `add_task`, in Luigi's order
    "task_id",
    "status",
    "runnable",
    "deps",
    "new_deps",
    "expl",
    "resources",
    "priority",
    "family",
    "module",
    "params",
    "param_visibilities",
    "accepts_messages",
    "assistant",
    "tracking_url",
    "worker",
    "batchable",
    "batch_id",
    "retry_policy_dict",
    "owners",
)
Call = Mapping[str, Any]


class Additions(luigi.scheduler.Scheduler):
    """The part of the scheduler that takes reports."""

    _state: ReadyState

    def add_task(self, *args: Any, **call: Any) -> None:
        """Take the report of a worker on one task; arguments as those of Luigi's scheduler."""
        call.update(zip(NAMES, args, strict=False))
        self.take_report(call, self._update_worker(call["worker"]))

    def take_report(self, call: Call, worker: Worker) -> None:
        """Take a report on one task from a worker that is known.

        Parameters
        ----------
        call : mapping
            Arguments of Luigi's ``add_task``; those that are left out have Luigi's defaults.
        worker : luigi.scheduler.Worker
            Who reports.
        """
        task = self._reported_task(call, worker)
        if task is None:
            return
        status = call.get("status", PENDING)
        if self._is_url_of_run(task, call, worker.id):
            self._set_tracking_url(task, call["tracking_url"])
            return
        cooldown_s = self._config.stable_done_cooldown_secs
        if status == PENDING and task.status == DONE and time.time() - task.updated < cooldown_s:
            return
        self._describe(task, call)
        self._note_run(task, call, worker.id)
        self._set_details(task, call)
        self._report_status(task, call, worker.id)
        if status == FAILED and self._config.batch_emails:
            self._email_failure(task, call, worker.id)
        self._set_needs(task, call, worker)
        self._raise_priority(task, call.get("priority", 0))
        task.retry_policy = self._generate_retry_policy(call.get("retry_policy_dict") or EMPTY)
        self._set_resources(task, call, worker)

    def _reported_task(self, call: Call, worker: Worker) -> ScheduledTask | None:
        task = self._state.get_task(call["task_id"])
        if worker.enabled:
            return self._new_task(call) if task is None else task
        return task if task is not None and task.status == RUNNING else None

    def _new_task(self, call: Call) -> ScheduledTask:
        return self._state.insert(
            self._make_task(
                task_id=call.get("task_id"),
                status=PENDING,
                deps=call.get("deps"),
                resources=call.get("resources"),
                priority=call.get("priority", 0),
                family=call.get("family", ""),
                module=call.get("module"),
                params=call.get("params"),
                param_visibilities=call.get("param_visibilities"),
            )
        )

    def _is_url_of_run(self, task: ScheduledTask, call: Call, worker_id: str) -> bool:
        """Say whether a report only tells where a run can be watched: it says nothing else of its task."""
        return (
            call.get("tracking_url") is not None
            and call.get("status") == RUNNING
            and task.status == RUNNING
            and task.worker_running == worker_id
            and not any(call.get(name) for name in ("deps", "new_deps", "params", "resources", "batch_id"))
        )

    def _set_tracking_url(self, task: ScheduledTask, url: str | None) -> None:
        for one in (task, *self._members(task)):
            one.tracking_url = url
            self._state.touch(one)

    def _members(self, task: ScheduledTask) -> list[ScheduledTask]:
        return [] if task.batch_id is None else self._state.get_batch_running_tasks(task.batch_id)

    def _describe(self, task: ScheduledTask, call: Call) -> None:
        """Say what a task is, if that was not known: it may have been made for what it was needed by."""
        task.family = task.family or call.get("family", "")
        task.module = task.module or call.get("module")
        task.param_visibilities = task.param_visibilities or call.get("param_visibilities") or EMPTY
        task.params = task.params or call.get("params") or EMPTY

    def _note_run(self, task: ScheduledTask, call: Call, worker_id: str) -> None:
        batch_id = call.get("batch_id")
        if batch_id is not None:
            task.batch_id = batch_id
        if call.get("status") == RUNNING and not task.worker_running:
            self._state.set_runner(task, worker_id)
            if batch_id:
                first = self._state.get_batch_running_tasks(batch_id)[0]
                task.resources_running = first.resources_running.copy()
            task.time_running = time.time()

    def _set_details(self, task: ScheduledTask, call: Call) -> None:
        accepts_messages = call.get("accepts_messages", False)
        if accepts_messages is not None:
            task.accepts_messages = accepts_messages
        url = call.get("tracking_url")
        if url is not None or task.status != RUNNING:
            self._set_tracking_url(task, url)
        if call.get("batchable") is not None:
            task.batchable = call["batchable"]
        self._state.keep(task)
        if call.get("expl") is not None:
            for one in (task, *self._members(task)):
                one.expl = call["expl"]

    def _report_status(self, task: ScheduledTask, call: Call, worker_id: str) -> None:
        """Set the status; that of a running task only by who runs it, or for what its run has asked for."""
        status = call.get("status", PENDING)
        is_running = task.status in (RUNNING, BATCH_RUNNING)
        is_of_run = status in (DONE, FAILED, RUNNING) and task.worker_running == worker_id
        if is_running and not is_of_run and not call.get("new_deps"):
            return
        if status != task.status or status == PENDING:
            self._update_task_history(task, status)
        self._state.set_status(task, PENDING if status == SUSPENDED else status, self._config)

    def _update_task_history(self, task: Any, status: str, host: str | None = None) -> None:
        if type(self._task_history) is not NopHistory:
            super()._update_task_history(task, status, host)

    def _email_failure(self, task: ScheduledTask, call: Call, worker_id: str) -> None:
        """Have a failure in the next mail, with the error as the worker has encoded it."""
        batched, _ = self._state.get_batcher(worker_id, call.get("family", ""))
        params = {name: value for name, value in task.params.items() if name not in (batched or ())}
        try:
            error = json.loads(call["expl"])
        except ValueError:
            error = call["expl"]
        owners = call.get("owners")
        self._email_batcher.add_failure(task.pretty_id, task.family, params, error, owners)
        if task.status == DISABLED:
            self._email_batcher.add_disable(task.pretty_id, task.family, params, owners)

    def _set_needs(self, task: ScheduledTask, call: Call, worker: Worker) -> None:
        """Set what a task requires, and note that this worker needs all of it.

        What it requires and is not known yet is taken in already: to schedule many tasks takes long.
        """
        deps, state = call.get("deps"), self._state
        if deps is not None:
            state.set_deps(task, deps)
        if call.get("new_deps"):
            state.set_deps(task, (*task.deps, *call["new_deps"]))
        if not worker.enabled or call.get("assistant", False):
            return
        state.stake(task, worker.id)
        priority = call.get("priority", 0)
        for dep in task.deps:
            needed = state.get_task(dep)
            if needed is None:
                needed = state.insert(
                    self._make_task(task_id=dep, status=UNKNOWN, deps=None, priority=priority)
                )
            state.stake(needed, worker.id)

    def _update_priority(self, task: Any, prio: Any, worker: Any) -> None:
        self._raise_priority(task, prio)

    def _raise_priority(self, task: ScheduledTask, priority: float) -> None:
        """Raise the priority of a task, and of what it requires, to at least one; it never falls.

        Luigi recurs, to the limit of Python for a long chain.
        """
        own = task.priority if isinstance(task.priority, (int, float)) else task.DEFAULT_PRIORITY
        raised = task.priority = max(priority, own)
        waiting = [(task, raised)]
        while waiting:
            upper, raised = waiting.pop()
            for dep in upper.deps:
                needed = self._state.get_task(dep)
                if needed is not None and raised > needed.priority:
                    needed.priority = raised
                    self._state.touch(needed)
                    waiting.append((needed, raised))
        self._state.touch(task)

    def _set_resources(self, task: ScheduledTask, call: Call, worker: Worker) -> None:
        """Set what a task uses, and that this worker can run it."""
        workers, runnable = task.workers, task.runnable
        given = call.get("runnable", True)
        if given and call.get("status", PENDING) != FAILED and worker.enabled:
            workers, runnable = self._state.shared_ids.with_worker(workers, worker.id), bool(given)
            worker.tasks.add(task)
        self._state.set_kind(task, call.get("resources") or EMPTY, workers, runnable)

    def _generate_retry_policy(self, task_retry_policy_dict: Mapping[str, Any]) -> RetryPolicy:
        own = tuple(item for item in task_retry_policy_dict.items() if item[1] is not None)
        if own not in self._policies:
            self._policies[own] = super()._generate_retry_policy(task_retry_policy_dict)
        return self._policies[own]

    _policies: dict[Any, RetryPolicy]
