"""The recorder of a task that was handed out with others, see `astra.tasks.handout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astra.products.checksums import unknown
from astra.tasks.handout import current_handout
from astra.tasks.inputs import learn_checksums, linked_requirements
from astra.tasks.recording import Recorder

if TYPE_CHECKING:
    from astra.tasks.base import AstraTask
    from astra.tasks.log_tail import LogTail


def make_recorder(task: AstraTask, log: LogTail) -> Recorder:
    """Make the recorder of a task: with those it was handed out with, or for itself."""
    return HandedOutRecorder(task, log) if current_handout().is_to_do(task) else Recorder(task, log)


class HandedOutRecorder(Recorder):
    """A recorder that leaves the writing to the hand-out; parameters are those of `Recorder`."""

    was_marked = False

    def begin(self) -> None:
        """Note that the task is to do: its row is there, as planned."""
        self._handout = current_handout()
        self._keys = {self.task.task_id: self._handout.key(self.task.task_id)}
        self._undone = [self.task.task_id]

    def look_at_inputs(self) -> None:
        """Note what the task requires and is about to read."""
        from astra.database.engine import reading

        required = linked_requirements(self.task)
        stamps = self._stamps(self.task, required)
        if unknown(stamps):
            with reading(self.url) as connection:
                learn_checksums(connection, stamps)
        self._inputs[self.task.task_id] = stamps
        self._handout.note_running(self.task.task_id, required)

    def expose(self, *, marks: bool = False) -> None:
        """Write that the task runs: its `run` is about to look at its row, or to mark it."""
        self.was_marked |= marks
        self._handout.flush(show=True)

    def _end_the_rest(self) -> None:
        """End the task; whether `run` has marked it is asked only if it has touched its row."""
        if self.was_marked:
            super()._end_the_rest()
        elif self.task.task_id not in self._ended:
            self._done(self.task, self._made(self.task), self.started, 0.0, log=self.log.end())

    def flush(self, running: str | None = None, *, last: bool = False) -> None:
        """Hand over what ended."""
        outcomes, self._outcomes = self._outcomes, []
        read, self._read = self._read, {}
        self._handout.note_ended(outcomes, read)
