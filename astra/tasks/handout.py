"""Tasks that the scheduler has handed to this process together; their state is read and written in one go.

They are single tasks that may all run now, so that none of them waits for another: what one has done is
written before the scheduler, and through it anyone else, hears of it. As in a batch, states are written each
second or 500 tasks, and a task that a killed process had not written is done again.

A task that runs in a process of the worker's pool takes with it what is known of it, and what there is to
write of it comes back with its result, see `astra.tasks.relayed_states`.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import luigi

from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.outcomes import Outcome

logger = logging.getLogger("luigi-interface")

FLUSH_ROWS = 500
SHOWN_AFTER_S = 1.0  # that a task has run, it is written as running
LOOK_S = 1.0  # that one counts on what was seen of batches that others have begun


class Sent(NamedTuple):
    """What the process that is to run a task must know of it."""

    url: str
    key: int | None  # None of a task that is recorded where it runs, or not at all
    done: list[str]


class Running(NamedTuple):
    """A task that runs: since when, by the clock that never jumps and by that of the wall."""

    since: float
    started: dt.datetime
    is_shown: bool = False


class Handout:
    """What is known of the tasks of one hand-out, and what is to be written of them.

    Another thread than that which runs the tasks may call `flush`.
    """

    def __init__(self) -> None:
        self._pid_of: Callable[[str], int | None] = lambda _: None
        self._forget_all()

    def _forget_all(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._is_relayed = False  # another process writes
        self._running: dict[str, Running] = {}
        self._keys: dict[str, int] = {}
        self._required: dict[str, list[str]] = {}
        self.url = ""
        self._needs: dict[str, list[str]] = {}
        self._clear("", {}, set())

    def _clear(self, url: str, keys: dict[str, int], done: set[str]) -> None:
        """Take other tasks; those that run in other processes stay."""
        if self._running and url != self.url:
            url, keys = self.url, {}  # what runs is written there first
        self.url, self._done = url, done
        self._looked = time.monotonic()
        self._keys = {**{task_id: self._keys[task_id] for task_id in self._running}, **keys}
        self._outcomes: dict[int, list[Outcome]] = {}  # by process
        self._read: dict[str, list[dict[str, Any]]] = {}
        self._required = {name: ids for name, ids in self._required.items() if name in self._running}

    def begin(
        self,
        tasks: Sequence[Any],
        pid_of: Callable[[str], int | None] | None = None,
        needs: Mapping[str, list[luigi.Task] | None] | None = None,
    ) -> None:
        """Take tasks that are about to run; ask the database once about them and what they need.

        Parameters
        ----------
        tasks : sequence of Task
            The tasks.
        pid_of : callable, optional
            Says in which process a task runs that was sent to another one, by its id.
        needs : mapping, optional
            What tasks require, by their ids, as far as that is known; the others are asked.
        """
        self.flush()
        with self._lock:
            if pid_of is not None:
                self._pid_of = pid_of
            own = [task_id for task_id in self._running if self._pid_of(task_id) is None]
            for task_id in own:  # they have run here, and not told how they ended
                del self._running[task_id]
            self._clear("", {}, set())
            try:
                self._ask(tasks, needs or {})
            except Exception as exc:  # noqa: BLE001  # each task will meet it, and record it
                logger.debug("tasks that came together are run one by one: %s", exc)
                self._clear("", {}, set())

    def _ask(self, tasks: Sequence[Any], planned: Mapping[str, list[luigi.Task] | None]) -> None:
        from astra.database.engine import reading
        from astra.database.progress import planned_keys
        from astra.tasks.completeness import known_completeness

        own = _of_one_database(tasks)
        needs: dict[str, list[luigi.Task]] = {}
        for one in tasks:
            some = planned.get(one.task_id)
            needs[one.task_id] = one.deps() if some is None else some
        needed = {task.task_id: task for some in needs.values() for task in some}
        asked = [*own, *needed.values()]
        known = known_completeness(asked, at_least=1) if len(asked) > 1 else {}
        wanted = [task.task_id for task in own if known.get(task.task_id) is False]
        url = own[0].database_url if own else ""
        keys: dict[str, int] = {}
        if len(wanted) > 1:
            run_pk = current_invocation().run_pk(url)
            with reading(url) as connection:
                keys = planned_keys(connection, wanted, run_pk)
            for task_id in _held_by_batches(url, keys):
                del keys[task_id]
        self._pid = os.getpid()
        self._clear(url, keys, {task_id for task_id, is_done in known.items() if is_done})
        self._needs = {task_id: [task.task_id for task in some] for task_id, some in needs.items()}

    def end(self) -> None:
        """Write the rest, and forget the tasks."""
        self.flush()
        with self._lock:
            self._running = {}
            self._clear("", {}, set())

    def is_done(self, task_id: str) -> bool:
        """Say whether a task was done when the tasks were handed out, or has been since, by this process."""
        return task_id in self._done and self._pid == os.getpid()

    def is_to_do(self, task: luigi.Task) -> bool:
        """Say whether a task is one of those that were handed out, and is recorded with them.

        It is not if a batch of another process has it in hand: for that it must wait, by itself.
        """
        if task.task_id not in self._keys or task.task_id in self._done or self._pid != os.getpid():
            return False
        if task.task_id not in self._running and time.monotonic() - self._looked > LOOK_S:
            self._leave_to_batches()
        return task.task_id in self._keys

    def _leave_to_batches(self) -> None:
        """Look which tasks that have not begun batches of other processes have in hand by now."""
        with self._lock:
            ended = (outcome.task_id for some in self._outcomes.values() for outcome in some)
            begun = self._done.union(self._running, ended)
            waiting = {task_id: key for task_id, key in self._keys.items() if task_id not in begun}
            for task_id in _held_by_batches(self.url, waiting):
                del self._keys[task_id]
            self._looked = time.monotonic()

    def key(self, task_id: str) -> int:
        """Return the key of the row of a task that was handed out."""
        return self._keys[task_id]

    # -- tasks that run in other processes ------------------------------------------------------------------

    def send(self, task: Any) -> Sent | None:
        """Return what the process that is to run a task must know of it; None if nothing is known."""
        with self._lock:
            needed = self._needs.get(task.task_id, ()) if self._pid == os.getpid() else ()
            done = [task_id for task_id in needed if task_id in self._done]
            if not self.is_to_do(task):
                return Sent("", None, done) if done else None
            self._running[task.task_id] = Running(time.monotonic(), utc_now())
            return Sent(self.url, self._keys[task.task_id], done)

    def receive(self, task_id: str, sent: Sent | None) -> None:
        """Take what is known of the task that this process is to run next."""
        self._forget_all()
        self._pid_of = lambda _: None
        if sent is not None:
            self._is_relayed = sent.key is not None
            self._clear(sent.url, {} if sent.key is None else {task_id: sent.key}, set(sent.done))

    def hand_over(self) -> bytes | None:
        """Return what is to be written of the task that has run in this process, if anything."""
        if not (self._is_relayed and self._outcomes):
            return None
        try:
            return pickle.dumps((self._outcomes, self._read, self._required), pickle.HIGHEST_PROTOCOL)
        except Exception as exc:  # noqa: BLE001  # a figure of a user's class may refuse in any way
            logger.debug("a task writes its state itself: %s", exc)
            self._is_relayed = False
            self.flush()
            return None

    def take_over(self, task_id: str, content: bytes | None) -> None:
        """Take what is to be written of a task that has run in another process."""
        with self._lock:
            self._running.pop(task_id, None)
            if content is not None:
                outcomes, read, required = pickle.loads(content)  # noqa: S301  # of a process of our own
                self._required.update(required)
                for pid, some in outcomes.items():
                    self.note_ended(some, read, pid)

    def note_cut_off(self, outcome: Outcome) -> bool:
        """Take the end of a task whose process could not tell it; return whether it is one of these."""
        with self._lock:
            running = self._running.get(outcome.task_id)
            if running is None or self._pid != os.getpid():
                return False
            pid = self._pid_of(outcome.task_id) or 0
            self.note_ended([replace(outcome, started=running.started)], {}, pid)
            return True

    # -- what is to be written ------------------------------------------------------------------------------

    def note_running(self, task_id: str, required: Iterable[luigi.Task]) -> None:
        """Note that a task runs, and what it has required."""
        with self._lock:
            self._required[task_id] = [needed.task_id for needed in required]
            self._running[task_id] = Running(time.monotonic(), utc_now())

    def note_ended(
        self, outcomes: Sequence[Outcome], read: Mapping[str, list[dict[str, Any]]], pid: int | None = None
    ) -> None:
        """Note how tasks ended, by default in this process; write it if that is much, or a failure."""
        from astra.database.models.state import Status

        with self._lock:
            noted = self._outcomes.setdefault(os.getpid() if pid is None else pid, [])
            noted += outcomes
            self._read.update(read)
            for outcome in outcomes:
                self._running.pop(outcome.task_id, None)
            done = {outcome.task_id for outcome in outcomes if outcome.status_code == Status.DONE}
            self._done |= done
            if len(done) < len(outcomes) or sum(map(len, self._outcomes.values())) >= FLUSH_ROWS:
                self.flush()

    def flush(self, *, show: bool = False) -> None:
        """Write what is noted, and which tasks run that have run for long, or must be seen to."""
        if not self._keys or self._pid != os.getpid() or (self._is_relayed and not show):
            return
        with self._lock:
            now = time.monotonic()
            shown = [
                task_id
                for task_id, running in self._running.items()
                if not running.is_shown and (show or now - running.since > SHOWN_AFTER_S)
            ]
            if self._outcomes or shown:
                self._write({} if self._is_relayed else self._outcomes, shown)

    def _write(self, outcomes: Mapping[int, Sequence[Outcome]], shown: Sequence[str]) -> None:
        from astra.database.engine import transaction
        from astra.database.inputs import store_inputs
        from astra.database.outcomes import end_tasks
        from astra.database.state import link_dependencies

        run_pk, host = current_invocation().run_pk(self.url), socket.gethostname()
        ended = {outcome.task_id for some in outcomes.values() for outcome in some}
        linked = {task_id: needed for task_id, needed in self._required.items() if task_id in ended}
        read = {self._keys[task_id]: files for task_id, files in self._read.items() if task_id in ended}
        with transaction(self.url) as connection:
            pairs = [(task_id, needed) for task_id, ids in linked.items() for needed in ids]
            link_dependencies(connection, pairs, linked)
            for pid, some in outcomes.items():
                end_tasks(connection, some, self._keys, run_pk, host=host, pid=pid)
            store_inputs(connection, read)
            self._show(connection, shown, run_pk, host)
        if outcomes:
            self._outcomes, self._read = {}, {}  # not before they are written
        for task_id in ended:
            self._required.pop(task_id, None)
        for task_id in shown:
            self._running[task_id] = self._running[task_id]._replace(is_shown=True)

    def _show(self, connection: Connection, task_ids: Sequence[str], run_pk: int, host: str) -> None:
        """Write that tasks run; the process that runs one may have written it already."""
        from astra.database.progress import running_keys
        from astra.database.state import start_tasks

        keys = {task_id: self._keys[task_id] for task_id in task_ids}
        known = running_keys(connection, keys.values(), run_pk) if keys else set()
        for task_id, key in keys.items():
            if key not in known:
                pid = self._pid_of(task_id) or os.getpid()
                start_tasks(connection, [key], run_pk, now=utc_now(), host=host, pid=pid)


_current = Handout()


def current_handout() -> Handout:
    """Return what was handed out to this process last."""
    return _current


def _of_one_database(tasks: Sequence[Any]) -> list[Any]:
    """Return the tasks among some whose state can be written together: those of the database of the first."""
    from astra.tasks.completeness import goes_by_database

    some = [task for task in tasks if goes_by_database(task) and not _asks_for_more(task)]
    return [task for task in some if task.database_url == some[0].database_url]


def _held_by_batches(url: str, keys: Mapping[str, int]) -> set[str]:
    """Return the ids of those of some tasks that a batch of another process has in hand."""
    from astra.tasks.shared_members import held_ids

    return held_ids(url, keys) if keys and current_invocation().shares_members else set()


def _asks_for_more(task: Any) -> bool:
    """Say whether the `run` of a task may ask for other tasks, or records itself."""
    return bool(getattr(type(task).run, "asks_for_more", True))
