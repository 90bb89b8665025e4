"""States of tasks that run in processes of the pool: read before they go, written when they are back.

To record one task by itself takes several transactions, many times what there is to do for a small task. A
task that came with others takes its row's key with it, and its outcome comes back with its result, to be
written with those of others before the scheduler hears of it: as if it had run in the worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import luigi

from astra.scheduler.bulk_worker import BulkWorker

if TYPE_CHECKING:
    from astra.tasks.handout import Sent


class Notes(NamedTuple):
    """What a process must know of the task that it runs next."""

    is_asked_for: bool  # by the `run` of another task, in this invocation
    sent: Sent | None


class RelayedStates(BulkWorker):
    """A worker that sends with a task what is known of its state, and writes what comes back."""

    def notes_of(self, task: luigi.Task) -> Notes:
        """Return what a process must know of a task."""
        from astra.tasks.handout import current_handout
        from astra.tasks.runner import current_invocation

        is_asked_for = getattr(task, "required_in", None) is current_invocation()
        return Notes(is_asked_for, current_handout().send(task))

    def take_notes(self, task: Any, notes: Notes) -> None:
        """Take what is known of a task that is about to run in this process."""
        from astra.tasks.handout import current_handout
        from astra.tasks.runner import current_invocation

        if notes.is_asked_for:
            task.required_in = current_invocation()
        current_handout().receive(task.task_id, notes.sent)

    def hand_over(self) -> bytes | None:
        """Return what is to be written of the task that has run in this process."""
        from astra.tasks.handout import current_handout

        return current_handout().hand_over()

    def take_over(self, task: luigi.Task, content: bytes | None) -> None:
        """Take what is to be written of a task that has run in another process."""
        from astra.tasks.handout import current_handout

        current_handout().take_over(task.task_id, content)

    def pid_of(self, task_id: str) -> int | None:
        """Return in which process of the pool a task runs, if in one."""
        return getattr(self._running_tasks.get(task_id), "pid", None)
