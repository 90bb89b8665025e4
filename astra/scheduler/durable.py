"""The scheduler that writes what it decides, and begins again where it was."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from luigi.scheduler import Worker

from astra.errors import StateError
from astra.scheduler.additions import Call
from astra.scheduler.bulk import Families
from astra.scheduler.health import STATUSES, Health, WorkerHealth
from astra.scheduler.journal import Journal
from astra.scheduler.pages import PagedScheduler
from astra.scheduler.records import Change, Reader, Writer

logger = logging.getLogger("luigi.scheduler")


@contextmanager
def _without_collection() -> Iterator[None]:
    """Look for no garbage in a while: where all that is made stays, that is a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class DurableScheduler(PagedScheduler):
    """The scheduler with a journal: the server calls `commit` before it answers.

    What is not kept: messages to and from tasks, and what was asked of workers.
    """

    _journal: Journal | None = None
    _resources: dict[str, int] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._writer = Writer()
        self._heard: dict[str, Worker] = {}  # what follows has changed since the last `commit`
        self._counted: set[str] = set()
        self._left: list[str] = []
        self._others: list[Change] = []

    def open_journal(self, journal: Journal) -> None:
        """Begin where a journal ends, and keep it from now on."""
        is_new = not self._state.get_active_tasks()
        reader = Reader(self._state)
        with _without_collection():
            for change in journal.read_latest():
                reader.take(change)
            reader.finish()
            self._writer.know(self._state, reader.numbers)
        for task in self._state.get_active_tasks():
            self._note_due_again(task)
        self._sequences.update(reader.sequences)
        self._resources = reader.others.get("resources", self._resources)
        self._paused = reader.others.get("paused", False)
        logger.info("%s holds %d tasks", journal.path, len(self._state.get_active_tasks()))
        self._journal = journal
        self._state.changed, self._state.removed = {}, []
        self._others.append({"paused": self._paused, "resources": self._resources})
        self.expect_back()
        if is_new:
            self.commit()  # no more: workers wait, and to write the whole state takes as long as to read it
        else:
            self.compact()

    def commit(self) -> None:
        """Write what has changed since the last call of this.

        Raises
        ------
        StateError
            If it cannot be written; the next call tries again.
        """
        if self._journal is None:
            return
        try:
            self._journal.write(self._changes())
        except BaseException:
            self._writer.take_back()
            raise
        self._forget_written()
        if self._journal.is_long:
            try:
                self.compact()
            except StateError as exc:
                logger.error("%s; it grows on, and that is tried again", exc)  # noqa: TRY400

    def _changes(self) -> Iterator[Change]:
        writer, state = self._writer, self._state
        yield from self._others
        for worker in self._heard.values():
            yield from writer.worker(worker)
        for worker_id in self._counted:
            yield from writer.sequence(worker_id, self._sequences.get(worker_id, 0))
        for task in state.changed or ():
            yield from writer.task(task)
        if state.removed or self._left:
            yield writer.gone(state.removed, self._left)

    def _forget_written(self) -> None:
        self._writer.keep()
        for written in (self._others, self._heard, self._counted, self._left):
            written.clear()
        self._state.changed, self._state.removed = {}, []

    def compact(self) -> None:
        """Replace the journal by the state that it holds."""
        if self._journal is not None:
            writer = Writer()  # the numbers of workers are others in the new file
            self._journal.replace(self._whole(writer))
            self._writer = writer
            self._forget_written()

    def _whole(self, writer: Writer) -> Iterator[Change]:
        yield {"paused": self._paused, "resources": self._resources}
        yield from writer.state(self._state)
        for worker_id, number in self._sequences.items():
            yield from writer.sequence(worker_id, number)

    def close(self) -> None:
        """Write the rest, and let go of the journal."""
        if self._journal is not None:
            self.commit()
            self._journal.close()
            self._journal = None

    def load(self) -> None:
        """Do nothing: the state is that of the journal."""

    def dump(self) -> None:
        """Write what is not written yet, and send the mails that wait."""
        self.commit()
        if self._config.batch_emails:
            self._email_batcher.send_email()

    # -- what can be seen of it -----------------------------------------------------------------------------

    def health(self) -> Health:
        """Return the figures of this moment; the time for it grows with the workers, not with the tasks."""
        self._state.settle()
        oldest, now = self._state.queue.oldest_since(), time.time()
        workers = [self._worker_health(worker, now) for worker in self._state.get_active_workers()]
        return Health(
            tasks={status: self._state.get_active_task_count_for_status(status) for status in STATUSES},
            n_ready=self._state.queue.n_ready,
            oldest_ready_s=0.0 if oldest is None else max(0.0, now - oldest),
            workers=sorted(workers, key=lambda worker: -worker.silent_s),
            paused=self._paused,
            lease_s=self.lease_s,
            meter=self.meter,
            tally=self.tally,
            journal=self._journal,
        )

    def _worker_health(self, worker: Worker, now: float) -> WorkerHealth:
        silent_s = max(0.0, now - worker.last_active)
        has = self._state.run_by(worker.id)
        return WorkerHealth(
            name=worker.id,
            host=str((worker.reference or {}).get("host") or worker.info.get("host") or ""),
            state=self._state_of(worker, silent_s),
            n_processes=int(worker.info.get("workers", 1)),
            n_running=len(has),
            n_held=sum(task.prefetched for task in has),
            silent_s=silent_s,
            known_s=max(0.0, now - worker.started),
        )

    def _state_of(self, worker: Worker, silent_s: float) -> str:
        if worker.disabled:
            return "disabled"
        if worker.id in self.gone:
            return "ended"
        return "silent" if silent_s > self.lease_s else "active"

    # -- what changes besides tasks -------------------------------------------------------------------------

    def _update_worker(
        self, worker_id: str, worker_reference: Mapping[str, Any] | None = None, get_work: bool = False
    ) -> Worker:
        worker = super()._update_worker(worker_id, worker_reference, get_work)
        self._heard[worker_id] = worker
        return worker

    def add_worker(self, worker: str, info: Any, **kwargs: Any) -> None:
        """Take what a worker tells of itself."""
        super().add_worker(worker, info, **kwargs)
        self._heard[worker] = self._state.get_worker(worker)

    def disable_worker(self, worker: str) -> None:
        """Let a worker have no more work."""
        super().disable_worker(worker)
        self._heard[worker] = self._state.get_worker(worker)

    def _prune_workers(self) -> None:
        before = set(self._state.get_worker_ids())
        super()._prune_workers()
        self._left += before - set(self._state.get_worker_ids())

    def add_task_batcher(
        self, worker: str, task_family: str, batched_args: Any, max_batch_size: float = float("inf")
    ) -> None:
        """Note which batches a worker can run."""
        super().add_task_batcher(worker, task_family, batched_args, max_batch_size)
        self._others.append(self._writer.batcher(worker, task_family, batched_args, max_batch_size))

    def pause(self) -> None:
        """Give out no more work."""
        super().pause()
        self._others.append({"paused": self._paused})

    def unpause(self) -> None:
        """Give out work again."""
        super().unpause()
        self._others.append({"paused": self._paused})

    def update_resources(self, **resources: int) -> None:
        """Set how much there is of resources."""
        super().update_resources(**resources)
        self._others.append({"resources": self._resources})

    def update_resource(self, resource: str, amount: int) -> bool:
        """Set how much there is of a resource."""
        changed = bool(super().update_resource(resource, amount))
        self._others.append({"resources": self._resources})
        return changed

    def decrease_running_task_resources(self, task_id: str, decrease_resources: Mapping[str, int]) -> None:
        """Take back some of what a running task uses."""
        super().decrease_running_task_resources(task_id, decrease_resources)
        task = self._state.get_task(task_id)
        if task is not None:
            self._state.touch(task)

    def _take_reports(
        self, worker: Worker, reports: Sequence[Call], families: Families, sequence: int
    ) -> None:
        super()._take_reports(worker, reports, families, sequence)
        if sequence and reports:
            self._counted.add(worker.id)
