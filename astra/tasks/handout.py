"""Tasks that the scheduler has handed to this process together; their state is read and written in one go.

They are single tasks that may all run now, so that none of them waits for another: what one has done is
written before the scheduler, and through it anyone else, hears of it. As in a batch, states are written each
second or 500 tasks, and a task that a killed process had not written is done again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import luigi

from astra.tasks.runner import current_invocation, utc_now

if TYPE_CHECKING:
    from astra.database.outcomes import Outcome

logger = logging.getLogger("luigi-interface")

FLUSH_ROWS = 500
SHOWN_AFTER_S = 1.0  # that a task has run, it is written as running


class Handout:
    """What is known of the tasks of one hand-out, and what is to be written of them.

    Another thread than that which runs the tasks may call `flush`.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._clear("", {}, set())
        self._place: dict[str, Any] = {}

    def _clear(self, url: str, keys: dict[str, int], done: set[str]) -> None:
        self.url, self._keys, self._done = url, keys, done
        self._outcomes: list[Outcome] = []
        self._read: dict[str, list[dict[str, Any]]] = {}
        self._required: dict[str, list[str]] = {}
        self._running: tuple[str, float] | None = None  # task id, and since when; None if that is written

    def begin(self, tasks: Sequence[Any]) -> None:
        """Take tasks that are about to run; ask the database once about them and what they need."""
        self.flush()
        with self._lock:
            self._clear("", {}, set())
            try:
                self._ask(tasks)
            except Exception as exc:  # noqa: BLE001  # each task will meet it, and record it
                logger.debug("tasks that came together are run one by one: %s", exc)
                self._clear("", {}, set())

    def _ask(self, tasks: Sequence[Any]) -> None:
        from astra.database.engine import reading
        from astra.database.progress import planned_keys
        from astra.tasks.completeness import known_completeness

        own = _of_one_database(tasks)
        needed = {task.task_id: task for one in tasks for task in one.deps()}
        asked = [*own, *needed.values()]
        known = known_completeness(asked, at_least=1) if len(asked) > 1 else {}
        wanted = [task.task_id for task in own if known.get(task.task_id) is False]
        url = own[0].database_url if own else ""
        keys: dict[str, int] = {}
        if len(wanted) > 1:
            run_pk = current_invocation().run_pk(url)
            with reading(url) as connection:
                keys = planned_keys(connection, wanted, run_pk)
        self._pid, self._place = os.getpid(), {"host": socket.gethostname(), "pid": os.getpid()}
        self._clear(url, keys, {task_id for task_id, is_done in known.items() if is_done})

    def end(self) -> None:
        """Write the rest, and forget the tasks."""
        self.flush()
        with self._lock:
            self._clear("", {}, set())

    def is_done(self, task_id: str) -> bool:
        """Say whether a task was done when the tasks were handed out, or has been since, by this process."""
        return task_id in self._done and self._pid == os.getpid()

    def is_to_do(self, task: luigi.Task) -> bool:
        """Say whether a task is one of those that were handed out, and is recorded with them."""
        return task.task_id in self._keys and task.task_id not in self._done and self._pid == os.getpid()

    def key(self, task_id: str) -> int:
        """Return the key of the row of a task that was handed out."""
        return self._keys[task_id]

    # -- what is to be written ------------------------------------------------------------------------------

    def note_running(self, task_id: str, required: Iterable[luigi.Task]) -> None:
        """Note that a task runs, and what it has required."""
        with self._lock:
            self._required[task_id] = [needed.task_id for needed in required]
            self._running = (task_id, time.monotonic())

    def note_ended(self, outcomes: Sequence[Outcome], read: Mapping[str, list[dict[str, Any]]]) -> None:
        """Note how tasks ended; write it if that is much, or a failure."""
        from astra.database.models.state import Status

        with self._lock:
            self._outcomes += outcomes
            self._read.update(read)
            self._running = None
            done = {outcome.task_id for outcome in outcomes if outcome.status_code == Status.DONE}
            self._done |= done
            if len(done) < len(outcomes) or len(self._outcomes) >= FLUSH_ROWS:
                self.flush()

    def flush(self, *, show: bool = False) -> None:
        """Write what is noted, and that a task runs if it has run for long, or must be seen to."""
        if not self._keys or self._pid != os.getpid():
            return
        with self._lock:
            since = self._running[1] if self._running is not None else None
            shows = since is not None and (show or time.monotonic() - since > SHOWN_AFTER_S)
            if self._outcomes or shows:
                self._write(self._running[0] if self._running is not None and shows else None)

    def _write(self, running: str | None) -> None:
        from astra.database.engine import transaction
        from astra.database.inputs import store_inputs
        from astra.database.outcomes import end_tasks
        from astra.database.state import link_dependencies, start_tasks

        run_pk = current_invocation().run_pk(self.url)
        ended = {outcome.task_id for outcome in self._outcomes}
        linked = {task_id: needed for task_id, needed in self._required.items() if task_id in ended}
        with transaction(self.url) as connection:
            pairs = [(task_id, needed) for task_id, ids in linked.items() for needed in ids]
            link_dependencies(connection, pairs, linked)
            end_tasks(connection, self._outcomes, self._keys, run_pk, **self._place)
            store_inputs(connection, {self._keys[task_id]: files for task_id, files in self._read.items()})
            if running is not None:
                start_tasks(connection, [self._keys[running]], run_pk, now=utc_now(), **self._place)
        self._outcomes, self._read = [], {}  # not before they are written
        for task_id in ended:
            self._required.pop(task_id, None)
        if running is not None:
            self._running = None


_current = Handout()


def current_handout() -> Handout:
    """Return what was handed out to this process last."""
    return _current


def _of_one_database(tasks: Sequence[Any]) -> list[Any]:
    """Return the tasks among some whose state can be written together: those of the database of the first."""
    from astra.tasks.completeness import goes_by_database

    some = [task for task in tasks if goes_by_database(task) and not _asks_for_more(task)]
    return [task for task in some if task.database_url == some[0].database_url]


def _asks_for_more(task: Any) -> bool:
    """Say whether the `run` of a task may ask for other tasks, or records itself."""
    return bool(getattr(type(task).run, "asks_for_more", True))
