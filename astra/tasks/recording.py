"""Recording the state of a running task and of the members of its batch, in bulk.

This is the only place that catches every exception of a task: it writes what happened and, unless the
failure is that of one member among others, raises again.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import time
import traceback as traceback_module
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import AstraError, BatchError
from astra.tasks.further import ids_to_spare
from astra.tasks.inputs import linked_requirements, look_again, why_incomplete
from astra.tasks.log_tail import LogTail
from astra.tasks.nodes import figures_of
from astra.tasks.others import goes_on_with_a_part
from astra.tasks.plain import plain_text, plain_value
from astra.tasks.recorded_errors import batch_error, last_record
from astra.tasks.runner import FLUSH_INTERVAL_S, current_invocation, utc_now
from astra.tasks.shared_members import SharedMembers

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.outcomes import Outcome
    from astra.products.checksums import FileStamp
    from astra.tasks.base import AstraTask

FLUSH_ROWS = 500

logger = logging.getLogger("luigi-interface")


class Recorder:
    """State of one attempt at a task: itself, and the members of its batch that are to do.

    Parameters
    ----------
    task : AstraTask
        The task that Luigi runs.
    log : LogTail
        What it logs.
    """

    def __init__(self, task: AstraTask, log: LogTail) -> None:
        self.task = task
        self.log = log
        self.url = task.database_url
        self.started = utc_now()
        self.failures: dict[str, str] = {}
        self._place: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        self._keys: dict[str, int] = {}
        self._undone: list[str] = []
        self.shared: SharedMembers | None = None
        self._ended: set[str] = set()
        self._running: str | None = None
        self._invocation = current_invocation()
        self._outcomes: list[Outcome] = []
        self._inputs: dict[str, list[FileStamp]] = {}  # of what is running or about to
        self._dynamic: list[FileStamp] = []  # of what a batch has asked for while it runs
        self._read: dict[str, list[dict[str, Any]]] = {}  # by what is done
        self._idle_since = self.started
        self._flushed = time.monotonic() - FLUSH_INTERVAL_S + self._invocation.write_interval_s

    def begin(self) -> None:
        """Write the task as created, with its members that are to do, then as running."""
        from astra.database import state
        from astra.database.engine import transaction
        from astra.database.progress import planned_keys

        self._undone = self.task.unfinished_ids()
        run_pk = self._invocation.run_pk(self.url)
        with transaction(self.url) as connection:
            self._keys = planned_keys(connection, [self.task.task_id, *self._undone], run_pk)
            unplanned = self.task.records_of({self.task.task_id, *self._undone} - self._keys.keys())
            if unplanned:
                state.create_tasks(connection, unplanned, run_pk, self.started)
                self._keys.update(state.task_keys(connection, [record.task_id for record in unplanned]))
            if self.task.is_batch_mode:
                state.link_batch(connection, self.task.task_id, self.task.member_ids(), self._keys)
            state.start_tasks(
                connection, [self._keys[self.task.task_id]], run_pk, now=self.started, **self._place
            )
            if self._invocation.shares_members:
                self.shared = SharedMembers(self.url, self._keys, self.task.task_id)
                self.shared.begin(connection, self._undone, run_pk, self._place["pid"])

    def look_at_inputs(self) -> None:
        """Note what a single task requires and is about to read; members of a batch are looked at in turn."""
        from astra.database.engine import transaction

        if self.task.is_batch_mode:
            return
        required = linked_requirements(self.task)
        self._inputs[self.task.task_id] = self._stamps(self.task, required)
        with transaction(self.url) as connection:
            self._note_required(connection, {self.task.task_id: required})

    @staticmethod
    def _stamps(task: AstraTask, required: list[luigi.Task]) -> list[FileStamp]:
        """Look at what a task is about to read, unless it says by itself when it is complete."""
        from astra.tasks.base import AstraTask
        from astra.tasks.inputs import input_stamps

        return input_stamps(task, required) if type(task).complete is AstraTask.complete else []

    def pending(self) -> Iterator[Any]:
        """Yield the members to run, last what others had in hand; what lacks its requirements is blocked."""
        shared = self.shared
        yield from self._pending_of(set(self._undone) - (shared.held if shared is not None else set()))
        while shared is not None and shared.held:
            self.flush()
            done, free = shared.wait(self.task.done_ids)
            self._undone = [task_id for task_id in self._undone if task_id not in done]
            yield from self._pending_of(free)

    def _pending_of(self, task_ids: set[str]) -> Iterator[Any]:
        members = self.task.members(task_ids)
        while some := list(islice(members, FLUSH_ROWS)):  # a million objects would fill the memory
            unmet = self._link_requirements(some)
            for member in some:
                if member.task_id in unmet:
                    self._block(member, unmet[member.task_id])
                    continue
                member.recorder = self
                member.empty_metadata()
                try:
                    yield member
                finally:
                    member.recorder = None  # this one may run alone next time

    @contextmanager
    def member(self, member: AstraTask) -> Iterator[None]:
        """Record one member; its failure is kept, and does not reach the others."""
        began = utc_now()
        self._running = member.task_id
        overhead = (began - self._idle_since).total_seconds()
        self._flush_if_due(running=member.task_id)
        self.log.begin_member()
        self._inputs[member.task_id] = look_again(self._inputs.get(member.task_id, ()))
        try:
            yield
            made = self._made(member)
        except Exception as exc:  # noqa: BLE001  # one member fails alone; the batch raises at its end
            logger.error("%r failed: %s: %s", member, type(exc).__name__, exc)  # noqa: TRY400
            log = self.log.end_member()
            self._failed(member.task_id, exc, began, overhead, figures_of(member), log=log)
        else:
            self._done(member, made, began, overhead, log=self.log.end_member())
        self._idle_since = utc_now()
        self._flush_if_due()

    def succeed(self) -> None:
        """Record the end of ``run``; raise if members failed and nothing can go on without them.

        Raises
        ------
        BatchError
            If members failed and no other task waits for the rest, or there is no rest; or if the task was
            marked as failed while it ran.
        """
        self._end_the_rest()
        if not self.task.is_batch_mode:
            self.flush()
            return
        error = batch_error(self.task, self.failures, len(self._undone))
        if error is None:
            self._done(self.task, [], self.started, 0.0, log=self.log.end())
            self.flush(last=True)
            return
        log = self.log.end(last_record(self.task, error))
        self._failed(self.task.task_id, error, self.started, 0.0, figures_of(self.task), log=log)
        self.flush()
        if not self.task.is_required and goes_on_with_a_part(self.task):
            self.task.required_in = self._invocation
        if not self.task.is_required or not self.task.complete():
            raise error
        logger.error("%r: %s", self.task, error)

    def _end_the_rest(self) -> None:
        """End what `run` did not record: as done, but for what it has marked otherwise itself."""
        from astra.database.engine import reading
        from astra.database.models.state import Status
        from astra.database.outcomes import Outcome
        from astra.database.progress import ended_tasks

        rest = set(self._undone) - self._ended
        if not rest:
            return
        with reading(self.url) as connection:
            marks = ended_tasks(connection, rest)  # begun as created or running
        for task in self.task.members(rest):
            code, duration = marks.get(task.task_id, (int(Status.DONE), None))
            if task is not self.task:
                self._inputs[task.task_id] = self._stamps(task, linked_requirements(task)) + self._dynamic
            products = self._made(task) if code == Status.DONE else []
            now = utc_now()
            began = self.started if duration is None else now - dt.timedelta(seconds=duration)
            message = "it was marked as failed while it ran"
            if code == Status.DONE:
                self._done(task, products, began, 0.0, log=self.log.end() if task is self.task else None)
            elif task is self.task:
                raise BatchError(f"{task!r}: {message}", n_failed=1, n_members=1)
            else:
                self._end(Outcome(task.task_id, code, began, now, message=message))
                self.failures[task.task_id] = message

    def fail(self, exc: BaseException) -> None:
        """Record that ``run`` itself failed: the task, and the members that had not ended.

        If it was interrupted, those that had not begun are left for the next run.
        """
        undone = self._undone if isinstance(exc, Exception) else [self._running]
        last = last_record(self.task, exc)
        logs = {self._running: self.log.end_member(last), self.task.task_id: self.log.end(last)}
        for task_id in [*filter(None, undone), self.task.task_id]:
            if task_id not in self._ended:
                figures = figures_of(self.task) if task_id == self.task.task_id else {}
                self._failed(task_id, exc, self.started, 0.0, figures, log=logs.get(task_id))
        self.flush()

    def suspend(self) -> None:
        """Take the attempt back: `run` has asked for other tasks first, and begins anew after them."""
        from astra.database import state
        from astra.database.engine import transaction

        with transaction(self.url) as connection:
            state.suspend_tasks(connection, list(self._keys.values()), self._place["pid"])

    def flush(self, running: str | None = None, *, last: bool = False) -> None:
        """Write all that ended since the last flush in one transaction, and what runs now."""
        from astra.database import state
        from astra.database.engine import transaction
        from astra.database.inputs import refresh_all_statistics, store_inputs
        from astra.database.outcomes import end_tasks

        run_pk = self._invocation.run_pk(self.url)
        ended, read = self._outcomes, self._read
        with transaction(self.url) as connection:
            end_tasks(connection, ended, self._keys, run_pk, **self._place)
            store_inputs(connection, {self._keys[task_id]: files for task_id, files in read.items()})
            if last:
                refresh_all_statistics(connection, len(self._undone))
            if running is not None:
                state.start_tasks(connection, [self._keys[running]], run_pk, now=utc_now(), **self._place)
        self._outcomes, self._read = [], {}  # not before they are written
        self._flushed = time.monotonic()

    def _flush_if_due(self, running: str | None = None) -> None:
        interval_s = self._invocation.write_interval_s
        # In a job it is written when the next member begins: that tells what ran, should it be lost.
        due = running is not None or interval_s == FLUSH_INTERVAL_S
        if (due and time.monotonic() - self._flushed >= interval_s) or len(self._outcomes) >= FLUSH_ROWS:
            self.flush(running)

    def note_dynamic(self, required: list[luigi.Task]) -> None:
        """Note what `run` has asked for, and what it will read of it."""
        from astra.database.engine import transaction
        from astra.database.state import link_dependencies

        stamps = self._stamps(self.task, required)
        if self.task.is_batch_mode:
            self._dynamic += stamps
        else:
            self._inputs.setdefault(self.task.task_id, []).extend(stamps)
        with transaction(self.url) as connection:
            link_dependencies(
                connection, ((task_id, needed.task_id) for task_id in self._undone for needed in required)
            )

    def _note_required(self, connection: Connection, required: dict[str, list[luigi.Task]]) -> None:
        """Write the lineage of tasks that are about to run; learn what is known of what they will read."""
        from astra.database.state import link_dependencies
        from astra.tasks.inputs import learn_checksums

        pairs = ((task_id, needed.task_id) for task_id, tasks in required.items() for needed in tasks)
        link_dependencies(connection, pairs, required)
        stamps = (found for task_id in required for found in self._inputs.get(task_id, ()))
        learn_checksums(connection, stamps)

    def _link_requirements(self, members: list[AstraTask]) -> dict[str, str]:
        """Write the lineage of members; return what is missing, by task id."""
        from astra.database.engine import transaction
        from astra.database.queries import task_states
        from astra.tasks.base import AstraTask

        required, unmet = {}, {}
        for member in members:
            try:
                required[member.task_id] = linked_requirements(member)
                self._inputs[member.task_id] = self._stamps(member, required[member.task_id])
            except Exception as exc:  # noqa: BLE001  # one member is blocked; the others go on
                unmet[member.task_id] = f"not started: its requirements failed: {type(exc).__name__}: {exc}"
        stateful = {
            task.task_id
            for tasks in required.values()
            for task in tasks
            if isinstance(task, AstraTask) and not task.is_external and not task.is_batch_mode
        }
        with transaction(self.url) as connection:
            self._note_required(connection, required)
            states = task_states(connection, stateful)
        done = {task_id for task_id, task_state in states.items() if task_state.status_code == 1}
        spared = {member.task_id: ids_to_spare(member) for member in members}
        return unmet | {
            task_id: f"not started: {why_incomplete(needed)}"
            for task_id, tasks in required.items()
            for needed in tasks
            if needed.task_id not in spared[task_id]
            and not (needed.task_id in done if needed.task_id in stateful else needed.complete())
        }

    def _block(self, member: AstraTask, message: str) -> None:
        from astra.database.models.state import Status
        from astra.database.outcomes import Outcome

        now = utc_now()
        self._end(Outcome(member.task_id, Status.DEPENDENCY_MISSING, now, now, message=plain_text(message)))
        self.failures[member.task_id] = message

    def _made(self, task: AstraTask) -> list[dict[str, Any]]:
        """Return the files that a task has written, and keep what it has read."""
        from astra.tasks.inputs import input_rows

        products = task.product_rows()
        self._read[task.task_id] = input_rows(self._inputs.get(task.task_id, ()))
        return products

    def _done(
        self,
        task: AstraTask,
        products: list[dict[str, Any]],
        began: dt.datetime,
        overhead: float,
        *,
        log: str | None = None,
    ) -> None:
        from astra.database.models.state import Status
        from astra.database.outcomes import Outcome

        self._end(
            Outcome(
                task.task_id,
                Status.DONE,
                began,
                utc_now(),
                overhead,
                products=products,
                figures=plain_value(figures_of(task)),
                log=log,
            )
        )

    def _failed(
        self,
        task_id: str,
        exc: BaseException,
        began: dt.datetime,
        overhead: float,
        figures: dict[str, Any],
        *,
        log: str | None,
    ) -> None:
        from astra.database.models.state import Status
        from astra.database.outcomes import Outcome

        context = exc.context if isinstance(exc, AstraError) else None
        self._end(
            Outcome(
                task_id,
                Status.FAILED,
                began,
                utc_now(),
                overhead,
                error_class=type(exc).__name__,
                message=plain_text(str(exc)),
                traceback=plain_text("".join(traceback_module.format_exception(exc))),
                context={key: plain_value(value) for key, value in context.items()} if context else None,
                figures=plain_value(figures),
                log=log,
            )
        )
        self.failures[task_id] = f"{type(exc).__name__}: {exc}"

    def _end(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._inputs.pop(outcome.task_id, None)
        self._ended.add(outcome.task_id)
