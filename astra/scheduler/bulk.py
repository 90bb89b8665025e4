"""Calls for many tasks at once, beside Luigi's own: one message for what would be three a task.

A worker that uses them sends what it has to say together with its wish for work, and gets several tasks at
a time. What it has not begun it can give back, and is asked to when another worker has nothing to do.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from luigi.scheduler import Worker, rpc_method
from luigi.task_status import PENDING, RUNNING

from astra.scheduler.additions import Call
from astra.scheduler.central import give_nothing
from astra.scheduler.goings_on import GoingsOn
from astra.scheduler.scheduled_task import ScheduledTask

PROTOCOL = 2  # 1 had no leases
Families = Mapping[str, Mapping[str, Any]] | None
ASK_AGAIN_S = 1.0  # after which a worker is asked again to give back what it has not begun [s]

logger = logging.getLogger("luigi.scheduler")


class BulkScheduler(GoingsOn):
    """The scheduler with calls for many tasks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sequences: dict[str, int] = {}  # of the last message of each worker
        self._answers: dict[str, list[tuple[str, int]]] = {}  # tasks and runs that were the answer to it
        self._asked: dict[str, float] = {}  # when a worker was asked to give back

    @rpc_method()
    def bulk_protocol(self) -> dict[str, int]:
        """Say that there are calls for many tasks."""
        return {"version": PROTOCOL}

    @rpc_method()
    def add_tasks(
        self, worker: str, reports: Sequence[Call], families: Families = None, sequence: int = 0
    ) -> None:
        """Take many reports of a worker.

        Parameters
        ----------
        worker : str
            Who reports.
        reports : list of dict
            Arguments of ``add_task`` without the worker and without what has its default.
        families : dict
            By family: arguments that its reports do not repeat.
        sequence : int
            Number of this message, higher than of those before; one that has been taken already, or comes
            after a later one, is not taken.
        """
        self._take_reports(self._update_worker(worker), reports, families, sequence)

    @rpc_method(allow_null=False)
    def exchange_work(  # noqa: PLR0917  # Luigi's decorator takes arguments by position alone
        self,
        worker: str,
        reports: Sequence[Call] = (),
        families: Families = None,
        sequence: int = 0,
        host: str | None = None,
        assistant: bool = False,
        current_tasks: Sequence[str] = (),
        n_wanted: int = 1,
    ) -> list[dict[str, Any]]:
        """Take many reports of a worker, see `add_tasks`, and give it work.

        Parameters
        ----------
        current_tasks : list of str
            Ids of all that the worker runs or has not begun.
        n_wanted : int
            Number of tasks that it wants at most; more than one only of those that use no resource and are
            not batchable, and no more than its share of those that may run.

        Returns
        -------
        work : list of dict
            Replies of ``get_work``; the only one may say that there is nothing to do. The first one holds
            the length of the lease too, ``lease_s``.
        """
        asking, last = self._update_worker(worker), self._sequences.get(worker)
        self._take_reports(asking, reports, families, sequence)
        if sequence and last is not None and sequence < last:
            return [give_nothing(asking)]  # it was on its way for long: it has been answered since
        again = self._given_before(asking) if sequence and sequence == last else []
        work = again or self._work_for(worker, host, current_tasks, n_wanted, assistant=assistant)
        self._answers[worker] = [(reply["task_id"], reply["run"]) for reply in work if "run" in reply]
        work[0]["lease_s"] = self.lease_s
        return work

    def _work_for(
        self, worker: str, host: str | None, current_tasks: Sequence[str], n_wanted: int, *, assistant: bool
    ) -> list[dict[str, Any]]:
        asking, lost = self._begin_work(worker, host, current_tasks, assistant=assistant)
        if not asking.enabled:
            return [give_nothing(asking)]
        if lost:
            return [{**self._counts_beside_work(asking), **self._give(task, worker, host)} for task in lost]
        return self._give_many(asking, host, n_wanted, assistant=assistant)

    def _given_before(self, worker: Worker) -> list[dict[str, Any]]:
        """Return the work that was the answer to the last message of a worker, if it is still its own."""
        given = ((self._state.get_task(task_id), run) for task_id, run in self._answers.get(worker.id, ()))
        own = [task for task, run in given if task is not None and self._is_run(task, worker.id, run)]
        counts = self._counts_beside_work(worker)
        return [{**counts, **self._reply(task)} for task in own]

    @staticmethod
    def _is_run(task: ScheduledTask, worker_id: str, run: int | None) -> bool:
        runs = task.status == RUNNING and task.worker_running == worker_id
        return runs and run in (None, task.run)

    @rpc_method()
    def return_work(
        self, worker: str, task_ids: Sequence[str], runs: Sequence[int | None] | None = None
    ) -> None:
        """Take back tasks that a worker has not begun, with the numbers of their runs; they wait again."""
        for task_id, run in zip(task_ids, runs or [None] * len(task_ids), strict=True):
            task = self._state.get_task(task_id)
            if task is not None and self._is_run(task, worker, run):
                self._state.set_status(task, PENDING, self._config)
                self._state.set_runner(task, None)
                self.tally["given_back"] += 1

    def _take_reports(
        self,
        worker: Worker,
        reports: Sequence[Call],
        families: Families,
        sequence: int,
    ) -> None:
        if sequence and self._sequences.get(worker.id, 0) >= sequence:
            logger.info("message %d of %s came twice", sequence, worker.id)
            self.tally["messages_twice"] += 1
            return
        self._sequences[worker.id] = sequence
        known = families or {}
        for report in reports:
            if not self.is_void(report, worker.id):
                self.take_report({**known.get(report.get("family", ""), {}), **report}, worker)

    def _give_many(
        self, worker: Worker, host: str | None, n_wanted: int, *, assistant: bool
    ) -> list[dict[str, Any]]:
        first = self._best(worker.id, assistant=assistant)
        if first is None:
            self._ask_to_give_back(worker.id)
            return [{**self.count_pending(worker.id), "task_id": None}]
        counts = self._counts_beside_work(worker)
        batch = self._batch(first, worker.id)
        if len(batch) > 1:
            return [{**counts, **self._give_batch(batch, worker.id)}]
        work = [{**counts, **self._give(first, worker.id, host)}]
        further = (
            self._further(worker.id, n_wanted - 1, assistant=assistant) if self._may_share(first) else []
        )
        work += [{**counts, **self._give(task, worker.id, host)} for task in further]
        for task in (first, *further) if further else ():
            task.prefetched = True
        return work

    def _further(self, worker_id: str, n_wanted: int, *, assistant: bool) -> list[ScheduledTask]:
        """Take out more tasks for a worker, no more than its share of what may run, and in order.

        One that is to be given alone ends them: it would be passed over for as long as others are before it.
        """
        since = time.time() - self._active_s()
        n_active = sum(1 for _ in self._state.get_active_workers(last_get_work_gt=since))
        n_most = min(n_wanted, self._state.queue.n_ready // max(1, n_active))
        if n_most <= 0:
            return []
        found = self._choice(worker_id, assistant=assistant).plain(n_most)
        return list(itertools.takewhile(self._may_share, found))

    def _batcher(self, task: ScheduledTask, worker_id: str) -> tuple[Sequence[str], float]:
        """Return how a worker runs batches; an assistant, which has planned none, as those do who have."""
        names, size = super()._batcher(task, worker_id)
        if not names and self._state.get_worker(worker_id).assistant:
            of_all = self._state.get_state()[2]
            for planner in (*task.workers, *of_all):
                if task.family in of_all.get(planner, ()):
                    names, size = of_all[planner][task.family]
                    break
        return names, size

    # -- what has not been begun ----------------------------------------------------------------------------

    def _ask_to_give_back(self, idle_id: str) -> None:
        """Ask workers that hold what an idle one could run to give back what they have not begun."""
        now = time.time()
        holders = {
            task.worker_running
            for task in self._state.get_active_tasks_by_status(RUNNING)
            if task.prefetched and (idle_id in task.workers or self._state.get_worker(idle_id).assistant)
        }
        for worker_id in holders - {idle_id}:
            if now - self._asked.get(worker_id, 0.0) >= ASK_AGAIN_S:
                self._asked[worker_id] = now
                self.tally["give_back_asked"] += 1
                holder = self._state.get_worker(worker_id)
                if not any(message["name"] == "give_back_work" for message in holder.rpc_messages):
                    holder.add_rpc_message("give_back_work")

    def _prune_workers(self) -> None:
        super()._prune_workers()
        known = self._state.get_worker_ids()
        for notes in (self._sequences, self._asked, self._answers):
            for worker_id in notes.keys() - known:
                del notes[worker_id]
