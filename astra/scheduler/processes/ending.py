"""What a worker does when it is asked to end.

``SIGUSR1``
    It asks for no more work, gives back what it has not begun, lets what runs finish, and ends.
``SIGTERM``
    The same, but what still runs after a time of grace is ended; it waits again in the scheduler, and its
    state says so. So does what the same signal has ended that was sent to all processes, as systemd and Slurm
    do. A second ``SIGTERM`` ends all processes, and the worker, at once.

The exit code of a worker that has ended so tells as ever what became of its root task: 0 if that is complete.
After a second ``SIGTERM`` it is that of the signal, 143 in a shell.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger("luigi-interface")

LAST_S = 10.0  # that a task in the process of the worker has for its end, once it is told [s]


class TaskEndedError(BaseException):
    """A task is ended because its worker has been asked to end; not an error of the task."""


class Ending:
    """The end of one worker.

    Parameters
    ----------
    phase_out : callable
        Called in the handler of the signal: no more work is to be asked for.
    kill_all : callable
        Called in the handler of a second signal: kills all other processes.
    grace_s : float
        How long what runs may go on after ``SIGTERM`` [s].
    """

    def __init__(self, phase_out: Callable[[], Any], kill_all: Callable[[], Any], grace_s: float) -> None:
        self._phase_out = phase_out
        self._kill_all = kill_all
        self.grace_s = grace_s
        self._deadline: float | None = None
        self._is_in_task = False
        self._is_reminder = False  # the signal that comes is of this process itself

    @property
    def is_over(self) -> bool:
        """Whether the time of grace is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def is_asked(self) -> bool:
        """Whether the worker was asked to end by ``SIGTERM``."""
        return self._deadline is not None

    @property
    def message(self) -> str:
        """Why a task was ended."""
        return f"it was ended because its worker was asked to end, and waited for {self.grace_s:g} s"

    @contextmanager
    def heard(self, *, wanted: bool) -> Iterator[None]:
        """Hear of ``SIGTERM`` inside the block, if that is wanted, possible, and nobody else does."""
        is_main = threading.current_thread() is threading.main_thread()
        if not (wanted and is_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL):
            yield
            return
        signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._deadline = None

    def guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return the run of a task in this process such that it is ended when the time is over."""

        def guarded_run() -> None:
            self._is_in_task = True
            try:
                run()
            finally:
                self._is_in_task = False

        return guarded_run

    def _hear(self, *_: object) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self.grace_s
            logger.warning("asked to end: what runs may go on for %g s", self.grace_s)
            self._phase_out()
            timer = threading.Timer(self.grace_s, self._end_task)
            timer.daemon = True
            timer.start()
        elif not self._is_reminder:
            self._end_at_once()
        else:
            self._is_reminder = False
            if self._is_in_task:
                raise TaskEndedError(self.message)

    def _end_task(self) -> None:
        """End the task that runs in this process; called in a thread when the time is over."""
        if self._deadline is None or not self._is_in_task:
            return
        self._is_reminder = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_S)
        if self._deadline is not None and self._is_in_task:
            self._kill_all()
            os.kill(os.getpid(), signal.SIGKILL)

    def _end_at_once(self) -> None:
        self._kill_all()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
