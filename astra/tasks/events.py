"""Ends of tasks that only the parent of a worker process sees, or that come before any run.

Luigi logs what goes wrong in an event handler and goes on, so that nothing here is the only word on a task:
a process that died is also found by the next plan, and a task that could not be scheduled has no other state.

Luigi calls the handlers of one class in any order, but those of the class that was first given one first.
These are `luigi.Task`'s, so that the state is written when a user's handler of any task hears of it.
"""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Callable
from typing import Any

import luigi

from astra.tasks.base import AstraTask
from astra.tasks.lost_records import record_broken, record_cut_off, record_missing


def _hear(event: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate what is to be done at an event of a task of astra."""

    def register(note: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(note)
        def handler(task: Any, *details: Any) -> None:
            if isinstance(task, AstraTask):
                note(task, *details)

        luigi.Task.event_handler(event)(handler)
        return handler

    return register


@_hear(luigi.Event.DEPENDENCY_MISSING)
def _note_missing_file(task: Any) -> None:
    """Write that a file which others make is not there."""
    if task.is_external:
        record_missing(task)


@_hear(luigi.Event.BROKEN_TASK)
def _note_broken(task: Any, exception: Any = None) -> None:
    """Write that a task cannot say what it requires."""
    record_broken(task, str(exception), type(exception).__name__)


@_hear(luigi.Event.PROCESS_FAILURE)
def _note_death(task: Any, message: Any = None) -> None:
    """Write that the process of a task has died."""
    error = "MemoryError" if "of memory, more than its limit" in str(message) else "ProcessDied"
    record_cut_off(task, "PROCESS_DIED", str(message), _signal_in(str(message)), error)


@_hear(luigi.Event.TIMEOUT)
def _note_timeout(task: Any, message: Any = None) -> None:
    """Write that a task was ended for its deadline: Luigi asks its process to end, and waits for that."""
    record_cut_off(task, "TIMED_OUT", str(message), int(signal.SIGTERM), "TimeoutError")


def _signal_in(message: str) -> int | None:
    """Return the signal that ended a process: it is told in words alone, by Luigi as a negative exit code."""
    found = re.search(r"(?:exit code -|with signal )(\d+)$", message)
    return int(found[1]) if found else None
