"""When a task that has failed is tried again, and when not any more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from luigi.scheduler import SimpleTaskState
from luigi.task_status import DISABLED, DONE, FAILED

from astra.scheduler.due import DueTasks
from astra.scheduler.scheduled_task import ScheduledTask


@dataclass(frozen=True)
class RetryDelay:
    """How long a task that has failed waits: Luigi's ``retry_delay``, longer after each failure in a row.

    Parameters
    ----------
    factor : float, optional
        By which it grows from the second failure on; 1 for Luigi's constant delay.
    longest_s : float, optional
        To which it grows [s].
    """

    factor: float = 1.0
    longest_s: float = float("inf")

    def after(self, n_failures: int, first_s: float) -> float:
        """Return the delay [s].

        Parameters
        ----------
        n_failures : int
            Failures in a row, 1 or more.
        first_s : float
            Delay after the first one [s]; if it is longer than the longest, it holds for all.
        """
        longest_s = max(first_s, self.longest_s)
        delay_s = first_s
        for _ in range(n_failures - 1):
            delay_s = min(delay_s * self.factor, longest_s)
            if delay_s in (longest_s, first_s):
                break
        return delay_s


class RetryingState(SimpleTaskState):
    """Luigi's state, with a delay that grows with the failures in a row."""

    due: DueTasks

    def __init__(self, state_path: str) -> None:
        super().__init__(state_path)
        self.retries = RetryDelay()

    def set_status(self, task: ScheduledTask, new_status: str, config: Any = None) -> None:
        """Set the status of a task by Luigi's rules, and when it is tried again."""
        before = task.status
        super().set_status(task, new_status, config)
        if task.status == DONE:
            task.n_failed = None
        if new_status == FAILED and before not in (DISABLED, FAILED):
            task.n_failed = (task.n_failed or 0) + 1
        if new_status == FAILED and task.status == FAILED:
            task.retry = time.time() + self.retries.after(task.n_failed or 1, config.retry_delay)

    def disable(self, task: ScheduledTask, config: Any) -> None:
        """Disable a task that has failed, as after too many failures."""
        self.set_status(task, DISABLED, config)
        task.scheduler_disable_time = time.time()
        self.due.note(task, task.scheduler_disable_time + config.disable_persist)

    def re_enable(self, task: ScheduledTask, config: Any = None) -> None:
        """Let a task that was disabled run again, as if it had never failed."""
        super().re_enable(task, config)
        task.n_failed = task.n_lost = None
