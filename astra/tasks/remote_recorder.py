"""The state of a batch whose members run elsewhere: its own row is written here, theirs by the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astra.errors import JobError
from astra.tasks.log_tail import LogTail
from astra.tasks.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Collection

    from astra.tasks.base import AstraTask

NOT_RUN = "no job has run it"


class RemoteRecorder(Recorder):
    """A recorder of a task that jobs run.

    Parameters
    ----------
    task : AstraTask
        The task that Luigi runs.
    """

    def __init__(self, task: AstraTask) -> None:
        super().__init__(task, LogTail())

    @property
    def undone(self) -> list[str]:
        """Ids of what was to do when this began: the task, or members of its batch."""
        return self._undone

    def begin_remote(self, in_jobs: Collection[str]) -> None:
        """Write what is to do as created, but for what jobs have in hand, and a batch itself as running."""
        from astra.database import state
        from astra.database.engine import transaction

        undone = self.task.unfinished_records()
        self._undone = [record.task_id for record in undone]
        parents = [self.task.state_record()] if self.task.is_batch_mode else []
        new = [record for record in undone if record.task_id not in in_jobs]
        run_pk = self._invocation.run_pk(self.url)
        with transaction(self.url) as connection:
            state.create_tasks(connection, [*parents, *new], run_pk, self.started)
            self._keys = state.task_keys(connection, [self.task.task_id, *self._undone])
            if parents:
                state.link_batch(connection, self.task.task_id, self.task.member_ids(), self._keys)
                own = [self._keys[self.task.task_id]]
                state.start_tasks(connection, own, run_pk, now=self.started, **self._place)

    def unbegun(self) -> set[str]:
        """Return the ids of what no job has run: another submitter may have had other members in hand."""
        from astra.database.engine import reading
        from astra.database.progress import ended_tasks

        with reading(self.url) as connection:
            return set(self._undone) - set(ended_tasks(connection, self._undone))

    def succeed(self) -> None:
        """Record the end of the batch; raise if members failed.

        Raises
        ------
        BatchError
            As `Recorder.succeed` does.
        JobError
            If the task is no batch, and failed.
        """
        super().succeed()
        if self.failures and not self.task.is_batch_mode:
            message = f"{self.task.task_id} failed in its job: {self.failures[self.task.task_id]}"
            raise JobError(message, task_id=self.task.task_id)

    def fail(self, exc: BaseException) -> None:
        """Record that the task cannot be submitted or concluded; what its jobs have done stays."""
        if self._keys:
            self._undone = []
            super().fail(exc)

    def suspend(self) -> None:
        """Take the attempt at a batch back: its jobs have asked for other tasks first."""
        if self.task.is_batch_mode and self._keys:
            from astra.database import state
            from astra.database.engine import transaction

            with transaction(self.url) as connection:
                state.suspend_tasks(connection, [self._keys[self.task.task_id]], self._place["pid"])

    def _end_the_rest(self) -> None:
        """Learn what failed from the rows that the jobs have written."""
        from astra.database.engine import reading
        from astra.database.jobs import messages
        from astra.database.models.state import Status
        from astra.database.progress import ended_tasks

        with reading(self.url) as connection:
            ended = ended_tasks(connection, self._undone)
            failed = [
                task_id
                for task_id in self._undone
                if task_id not in ended or ended[task_id][0] != Status.DONE
            ]
            said = messages(connection, failed)
        for task_id in failed:
            self.failures[task_id] = said.get(task_id, NOT_RUN) if task_id in ended else NOT_RUN
