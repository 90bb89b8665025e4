"""What a worker has been given: begun, or held for later, and whether it may still begin that."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luigi.task_status import DONE, FAILED

HELD_S = 0.25  # of work that is held
MAX_HELD = 200
SURE = 0.5  # part of a lease in which nobody else can have been given what is held


class HeldWork:
    """Replies of the scheduler that wait to be begun, and the numbers of the runs that have begun."""

    def __init__(self) -> None:
        self._waiting: deque[dict[str, Any]] = deque()
        self._begun: dict[str, int | None] = {}
        self._lost: set[str] = set()  # of those that have begun: what another worker had
        self._heard = 0.0  # when what the scheduler has last answered was sent
        self._lease_s = float("inf")

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def take(self, replies: Sequence[dict[str, Any]], sent: float) -> None:
        """Take replies to what was sent at a moment."""
        self._waiting.extend(replies)
        self.note_heard(sent, replies[0].get("lease_s"))

    def begin(self) -> dict[str, Any]:
        """Take out what is to be begun next."""
        reply = self._waiting.popleft()
        if reply.get("task_id") is not None:
            self._begun[reply["task_id"]] = reply.get("run")
            if reply.get("lost"):
                self._lost.add(reply["task_id"])
        return reply

    def was_lost(self, task_id: str) -> bool:
        """Say whether a task that has begun was run before by a worker that was not heard of again."""
        return task_id in self._lost

    def end(self, report: Mapping[str, Any]) -> int | None:
        """Return the number of the run that a report is of, if it ends one; that run is over then."""
        ends = report.get("status") in (DONE, FAILED) or report.get("new_deps")
        if not ends:
            return None
        self._lost.discard(report["task_id"])
        return self._begun.pop(report["task_id"], None)

    def held_ids(self) -> list[str]:
        """Return the ids of the tasks that have not been begun."""
        return [reply["task_id"] for reply in self._waiting if reply.get("task_id") is not None]

    def held_runs(self) -> list[int | None]:
        """Return the numbers of their runs."""
        return [reply.get("run") for reply in self._waiting if reply.get("task_id") is not None]

    def ids(self) -> list[str]:
        """Return the ids of the tasks that have been begun, or not."""
        return [*self._begun, *self.held_ids()]

    def drop(self, task_ids: Iterable[str]) -> list[str]:
        """Drop what has not been begun, of some tasks; return the ids of those of them that have been."""
        gone = set(task_ids)
        self._waiting = deque(reply for reply in self._waiting if reply.get("task_id") not in gone)
        return [task_id for task_id in self._begun if task_id in gone]

    def forget(self, task_ids: Iterable[str]) -> list[int | None]:
        """Note that runs are over that have not ended by themselves; return their numbers."""
        return [self._begun.pop(task_id, None) for task_id in task_ids]

    def note_heard(self, sent: float, lease_s: float | None) -> None:
        """Note that the scheduler has answered what was sent at a moment."""
        self._heard = sent
        if lease_s is not None:
            self._lease_s = lease_s

    @property
    def is_sure(self) -> bool:
        """Whether the scheduler cannot have given to others what is held."""
        return time.monotonic() - self._heard < SURE * self._lease_s


class Pace:
    """How many tasks a worker asks for: as many as it runs in `HELD_S`, at most twice as many as before."""

    def __init__(self) -> None:
        self.n_wanted = 1
        self._n_run = 0
        self._began = time.monotonic()

    def tick(self) -> None:
        """Note that the worker wants something to run: another task has begun or ended since."""
        self._n_run += 1

    def got(self, n_tasks: int) -> None:
        """Note that work has come, and set how much to ask for next time."""
        now = time.monotonic()
        elapsed = max(now - self._began, 1e-6)
        rate = self._n_run / elapsed
        self.n_wanted = max(1, min(int(rate * HELD_S), 2 * max(self.n_wanted, n_tasks), MAX_HELD))
        self._began, self._n_run = now, 0

    def slow_down(self) -> None:
        """Ask for one task next time."""
        self.n_wanted = 1
