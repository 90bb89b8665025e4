"""Tasks that are to be looked at again at a moment."""

from __future__ import annotations

import time
from heapq import heappop, heappush
from itertools import count

from astra.scheduler.scheduled_task import ScheduledTask


class DueTasks:
    """The moments [s since the epoch]; a task may have several, and may have changed when one comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ScheduledTask]] = []
        self._numbers = count()

    def note(self, task: ScheduledTask, moment: float | None) -> None:
        """Have a task looked at again at a moment, if there is one."""
        if moment is not None:
            heappush(self._heap, (moment, next(self._numbers), task))

    def take(self) -> list[ScheduledTask]:
        """Take out the tasks that are to be looked at now."""
        now = time.time()
        found: dict[ScheduledTask, None] = {}
        while self._heap and self._heap[0][0] <= now:
            found[heappop(self._heap)[2]] = None
        return list(found)
