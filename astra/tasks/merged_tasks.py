"""Single tasks that Luigi's scheduler merges: what each of them became.

A class with ``scheduler_batching = True`` lets the scheduler merge tasks that happen to wait at the same
time, up to ``max_batch_size``, into one batch for one worker. Luigi knows one outcome for all of them. Here
the members that are done are reported as done before the batch is reported as failed, so that a member fails
alone and what waits for the others goes on.

What Luigi does not allow: which tasks are merged is by chance, so that a merged batch is never the same
twice; tasks are merged only on the workers that scheduled them, never on an assistant; the tasks are planned
one by one all the same; and the merged batch is counted in Luigi's summary beside its members.
"""

from __future__ import annotations

from typing import Any

import luigi.worker
from luigi.task_status import DONE, FAILED


class MemberReports(luigi.worker.Worker):
    """Luigi's worker, which tells the scheduler which members of a failed merged batch are done."""

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        """Report a task to the scheduler; before a failed merged batch, its members that are done."""
        task_id = kwargs["task_id"]
        if kwargs["status"] == FAILED and task_id in self._batch_running_tasks:
            members = list(self._batch_running_tasks[task_id])
            done = self._done_members(self._scheduled_tasks[task_id], members)
            self._batch_running_tasks[task_id] = [task for task in members if task.task_id not in done]
            for member in members:
                if member.task_id in done:
                    self._report_done(member)
        super()._add_task(*args, **kwargs)

    @staticmethod
    def _done_members(merged: Any, members: list[Any]) -> set[str]:
        """Ask the database which members are done; tasks without state have failed with their batch."""
        from astra.tasks.base import AstraTask

        if not isinstance(merged, AstraTask):
            return set()
        return merged.done_ids({member.task_id for member in members})

    def _report_done(self, member: Any) -> None:
        super()._add_task(
            worker=self._id,
            task_id=member.task_id,
            status=DONE,
            runnable=None,
            params=member.to_str_params(),
            family=member.task_family,
            module=member.task_module,
            assistant=self._assistant,
        )
