"""Tasks that were done a moment ago and are not any more: the scheduler is to believe it at once.

A visit that is associated late has the alerts of later ones packaged again. Luigi's scheduler takes what was
done less than ``stable_done_cooldown_secs`` (10) ago for done, whatever a worker finds: a file may be seen
late by others. What the database says is seen by all at once, so that for what has its state there the delay
would only make whoever needs it fail.
"""

from __future__ import annotations

from typing import Any

from luigi.task_status import PENDING, SUSPENDED

from astra.scheduler.bulk_worker import BulkWorker


class RenewedTasks(BulkWorker):
    """A worker that has tasks made again which the database calls done no more."""

    _is_running: bool

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        """Report a task; one that is found not to be done while others run is to wait, whatever it was.

        Any scheduler takes a suspended task for one that waits, and asks not how long ago it was done.
        """
        if kwargs["status"] != PENDING or not self._is_renewed(kwargs["task_id"]):
            super()._add_task(*args, **kwargs)
            return
        n_told = len(self._add_task_history)
        super()._add_task(*args, **{**kwargs, "status": SUSPENDED})
        told = self._add_task_history[n_told:]
        self._add_task_history[n_told:] = [(task, PENDING, runnable) for task, _, runnable in told]

    def _is_renewed(self, task_id: str) -> bool:
        from astra.tasks.completeness import has_state

        return self._is_running and has_state(self._scheduled_tasks.get(task_id))
