"""How long a worker may count on what it was given, and what becomes of it when it is not heard of.

A worker that says nothing for the time of a lease counts as dead: what it ran waits again at once, and others
get it. What it needs and can run is remembered longer, as it may only have been slow. So each run of a task
has a number, which comes with the task and goes with the report: a report of a run in whose place another one
has begun is not taken. A worker that comes back goes on with what nobody has taken since, and is told what is
no longer its own: of that it begins nothing more.

What was lost may have been done: a worker that gets it asks it first whether it is complete. What cannot be
taken back is what a slow worker is in the middle of. It runs to its end beside the run that has taken its
place: outputs are renamed into place whole, and a task with state asks the database before it begins; what a
plain task does besides can happen twice.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from luigi.scheduler import Worker, rpc_method
from luigi.task_status import BATCH_RUNNING, DONE, FAILED, PENDING, RUNNING, UNKNOWN

from astra.scheduler.additions import Call
from astra.scheduler.central import CentralScheduler
from astra.scheduler.held_work import SURE
from astra.scheduler.metrics import Meter
from astra.scheduler.scheduled_task import ScheduledTask

LEASE_S = 20.0  # of silence, after which a worker counts as dead
FORGOTTEN_S = 300.0  # of silence, after which it is forgotten, where luigi.cfg is silent
PLANNED_IN = "planned_in"  # what a worker tells of itself: marks of its run in the databases that it writes
WATCH_S = 1.0  # how often that is looked at
RETURN_S = (
    10.0  # that a worker has at least to find a scheduler that was started again, if a lease is as long
)

logger = logging.getLogger("luigi.scheduler")


class Lost(NamedTuple):
    """A run whose worker was not heard of: how it stood before."""

    worker_id: str
    prefetched: bool
    n_lost: int | None


class LeasedScheduler(CentralScheduler):
    """The scheduler with leases.

    ``tally`` counts by name what has happened: ``leases_expired``, ``runs_lost``, ``runs_resumed``,
    ``reports_void``.
    """

    _own_lease_s: float | None = None  # None where Luigi's rule holds

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tally: Counter[str] = Counter()
        self.meter = Meter(self._state._metrics_collector)  # noqa: SLF001  # Luigi's scheduler sets it so
        self._state._metrics_collector = self.meter  # noqa: SLF001
        self._lost: dict[str, Lost] = {}  # by task that waits again
        self._watched: float | None = None
        self.silent: set[str] = set()  # workers whose lease has run out
        self.gone: set[str] = set()  # workers that have said that they end

    def grant_leases(self, lease_s: float = LEASE_S) -> None:
        """Let what a worker runs wait again once it was silent for a time [s], and not as a failure."""
        self._own_lease_s = lease_s

    @property
    def lease_s(self) -> float:
        """How long a worker may be silent [s]."""
        delay_s = float(self._config.worker_disconnect_delay)
        return delay_s if self._own_lease_s is None else min(self._own_lease_s, delay_s)

    def _active_s(self) -> float:
        return self.lease_s

    def expect_back(self) -> None:
        """Let workers of which this process has only read have a part of a lease to be heard of.

        They try again every few seconds, and after half a lease without an answer begin nothing any more: one
        that has died with the last scheduler need not be waited for as long again as one that falls silent.
        """
        if self._own_lease_s is not None:
            left_s = max(SURE * self.lease_s, min(self.lease_s, RETURN_S))
            for worker in self._state.get_active_workers():
                worker.last_active = time.time() - (self.lease_s - left_s)

    def watch(self) -> None:
        """End the leases that have run out; to be called each second.

        The time in which this process itself stood still does not count: it could hear nobody.
        """
        now = time.time()
        deaf_s = 0.0 if self._watched is None else now - self._watched - WATCH_S
        self._watched = now
        for worker in self._state.get_active_workers() if deaf_s > WATCH_S else ():
            worker.last_active = min(now, worker.last_active + deaf_s)
        if self._own_lease_s is not None:
            last = now - self.lease_s
            silent = {worker.id for worker in self._state.get_active_workers(last_active_lt=last)}
            self._end_leases(silent - self.gone)

    def _end_leases(self, silent: set[str]) -> None:
        new, self.silent = silent - self.silent, silent
        for worker_id in new:
            self.tally["leases_expired"] += 1
            logger.warning("%s was not heard of for %g s", worker_id, self.lease_s)
            merged = self._state.get_active_tasks_by_status(BATCH_RUNNING)
            members = [task for task in merged if task.worker_running == worker_id]
            for task in [*members, *self._state.run_by(worker_id)]:
                self._lose(task, worker_id)

    def _prune_workers(self) -> None:
        super()._prune_workers()
        self.gone &= set(self._state.get_worker_ids())
        for task_id in [task_id for task_id in self._lost if not self._waits(task_id)]:
            del self._lost[task_id]

    def _waits(self, task_id: str) -> bool:
        task = self._state.get_task(task_id)
        return task is not None and task.status == PENDING

    # -- what a worker that is gone leaves ------------------------------------------------------------------

    def _lose(self, task: ScheduledTask, runner: str) -> None:
        """Let what a dead worker had wait again: what it may not have begun, and at first what it ran.

        Of several tasks that came together nobody knows which one it ran. They wait again, and each is then
        given out alone. What ends its workers again and again is disabled.
        """
        self.tally["runs_lost"] += 1
        lost = Lost(runner, task.prefetched, task.n_lost)
        if task.seen_done and self._own_lease_s is not None:
            self._end_run(task, DONE)
        elif task.prefetched:
            task.n_lost = task.n_lost or 0
            self._end_run(task, PENDING)
        else:
            is_merged = task.batch_id is not None and not task.batchable  # Luigi forgets it
            self._end_run(task, FAILED)
            waits = not is_merged and self._count_death(task) and self._own_lease_s is not None
            if waits and task.status == FAILED:  # not disabled for its failures
                self._state.set_status(task, PENDING, self._config)
        if task.status == PENDING:
            self._lost[task.id] = lost
        logger.warning("%s was run by %s, which is gone: it is %s", task.id, runner, task.status)

    def take_report(self, call: Call, worker: Worker) -> None:
        """Take a report on one task, see `Additions.take_report`.

        A worker that plans a task finds it done while another one has it, and will not run it. If that other
        one is not heard of again, it had done it.
        """
        task, status = self._state.get_task(call["task_id"]), call.get("status")
        if task is not None and status == DONE and self._is_run_by_another(task, worker.id):
            self._note_seen_done(task)
        super().take_report(call, worker)
        if status in (DONE, FAILED) and task is not None and task.status not in (RUNNING, BATCH_RUNNING):
            task.seen_done = None

    @staticmethod
    def _is_run_by_another(task: ScheduledTask, worker_id: str) -> bool:
        return task.status in (RUNNING, BATCH_RUNNING) and task.worker_running not in (None, worker_id)

    def _note_seen_done(self, task: ScheduledTask) -> None:
        task.seen_done = True
        self._state.touch(task)

    def _may_share(self, task: ScheduledTask) -> bool:
        """Say whether a task may be given out with others: not if its worker died when it last was."""
        return task.n_lost is None

    @rpc_method(attempts=1)
    def leave(self, worker: str) -> None:
        """Take note that a worker ends: its lease is over at once, and nobody need wait for it.

        What it still had, as it ended before its tasks, waits again, and not as a failure.
        """
        if worker not in self._state.get_worker_ids():
            return
        merged = self._state.get_active_tasks_by_status(BATCH_RUNNING)
        members = [task for task in merged if task.worker_running == worker]
        for task in [*members, *self._state.run_by(worker)]:
            self._end_run(task, PENDING)
        self._state.get_worker(worker).last_get_work = None
        self.gone.add(worker)

    def _update_worker(
        self, worker_id: str, worker_reference: Mapping[str, Any] | None = None, get_work: bool = False
    ) -> Worker:
        self.gone.discard(worker_id)
        return super()._update_worker(worker_id, worker_reference, get_work)

    # -- a worker that was only slow ------------------------------------------------------------------------

    @rpc_method(attempts=1)
    def renew_lease(self, worker: str, current_tasks: Collection[str] | None = ()) -> dict[str, Any]:
        """Take note that a worker is alive.

        Parameters
        ----------
        worker : str
            Who it is.
        current_tasks : list of str
            Ids of all that it runs or has not begun.

        Returns
        -------
        answer : dict
            ``rpc_messages`` as Luigi's ``ping`` returns them, the length ``lease_s`` of the lease, and in
            ``lost`` the ids of those tasks that are no longer its own.
        """
        found = self._update_worker(worker)
        current = current_tasks or ()
        self._resume(worker, current)
        lost = [task_id for task_id in current if not self._is_run_by(task_id, worker)]
        return {"rpc_messages": found.fetch_rpc_messages(), "lease_s": self.lease_s, "lost": lost}

    def _is_run_by(self, task_id: str, worker_id: str) -> bool:
        task = self._state.get_task(task_id)
        runs = task is not None and task.status in (RUNNING, BATCH_RUNNING)
        return bool(runs and task.worker_running == worker_id)

    def _resume(self, worker_id: str, current_tasks: Iterable[str]) -> None:
        """Let a worker that has come back go on with what nobody has taken since: it is the same run."""
        for task_id in current_tasks if self._lost else ():
            lost = self._lost.get(task_id)
            if lost is not None and lost.worker_id == worker_id and self._waits(task_id):
                task = self._state.get_task(task_id)
                self._state.resume(task, worker_id, self._config)
                task.prefetched, task.n_lost = lost.prefetched, lost.n_lost
                del self._lost[task_id]
                self.tally["runs_resumed"] += 1

    def _begin_work(
        self, worker_id: str | None, host: str | None, current_tasks: Collection[str] | None, **how: Any
    ) -> tuple[Worker, list[ScheduledTask]]:
        if worker_id is not None:
            self._resume(worker_id, current_tasks or ())
        return super()._begin_work(worker_id, host, current_tasks, **how)

    def _give(self, task: ScheduledTask, worker_id: str, host: str | None) -> dict[str, Any]:
        self._lost.pop(task.id, None)
        task.seen_done = None
        super()._give(task, worker_id, host)
        return self._reply(task)

    def _reply(self, task: ScheduledTask) -> dict[str, Any]:
        """Return what the worker must know of a task that is its own."""
        lost = {} if task.n_lost is None else {"lost": True}
        return {**super()._reply(task), "run": task.run, **lost, **self._of_planners(task)}

    def _give_batch(self, batch: list[ScheduledTask], worker_id: str) -> dict[str, Any]:
        return {**super()._give_batch(batch, worker_id), **self._of_planners(batch[0])}

    def _of_planners(self, task: ScheduledTask) -> dict[str, Any]:
        """Return the marks of the runs that have planned a task, for a worker that serves them."""
        if not self._state.get_worker(task.worker_running).assistant:
            return {}
        marks = self._marks(task.stakeholders)
        return {PLANNED_IN: marks} if marks else {}

    def _marks(self, worker_ids: frozenset[str]) -> list[str]:
        """Return the marks of the runs of those of some workers that are heard of."""
        since = time.time() - self.lease_s
        known = (worker_ids & self._state.get_worker_ids()) - self.gone
        workers = (self._state.get_worker(worker_id) for worker_id in sorted(known))
        heard = (worker for worker in workers if worker.last_active >= since)
        return [mark for worker in heard for mark in worker.info.get(PLANNED_IN, ())]

    @rpc_method()
    def planned_elsewhere(self, worker: str) -> list[str]:
        """Return the marks of the runs of others that have planned tasks of a worker."""
        sets = {task.stakeholders for task in self._state.get_worker(worker).tasks}
        return self._marks(frozenset().union(*sets) - {worker})

    def is_void(self, report: Call, worker_id: str) -> bool:
        """Say whether a report is of a run that is over: another one has begun, or the task is done.

        That the task is done is welcome all the same, unless another run is at it or has been.
        """
        task = self._state.get_task(report["task_id"])
        if task is None:
            return False
        is_void = self._is_late(report, task, worker_id)
        if is_void:
            if report.get("status") == DONE and task.status in (RUNNING, BATCH_RUNNING):
                self._note_seen_done(task)
            self.tally["reports_void"] += 1
            logger.warning("%s of %s came late, and counts no more", report.get("status"), task.id)
        return is_void

    def _is_late(self, report: Call, task: ScheduledTask, worker_id: str) -> bool:
        run, status = report.get("run"), report.get("status")
        if status == RUNNING and not report.get("batch_id"):  # only where it can be watched, without a number
            return task.status not in (PENDING, UNKNOWN) and not self._is_run_by(task.id, worker_id)
        if run is None or run == task.run:
            return run is not None and status == FAILED and task.status == DONE
        return not (status == DONE and task.status in (PENDING, FAILED))
