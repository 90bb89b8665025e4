"""What the ``luigi`` command shows of a root task that has words of its own for its user.

A task class with `prepare_command` and `closing_words` is `Attended`: the command prepares its place, sends
Luigi's log to a file there, shows the progress while it runs, and ends with its words on standard output. All
others are as Luigi has them, and so is one that does not want to be attended.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import luigi

from astra.tasks.progress import shown_progress

if TYPE_CHECKING:
    from astra.database.selection import Selection
    from astra.tasks.runner import Invocation

LOGGERS = ("luigi", "luigi-interface", "py.warnings")
LOG_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"


@runtime_checkable
class Attended(Protocol):
    """A root task with words of its own."""

    @property
    def database_url(self) -> str:
        """URL of the database with its state."""

    @property
    def is_attended(self) -> bool:
        """Whether the command shows its progress and its words."""

    def prepare_command(self) -> None:
        """Make the place ready, before anything is scheduled."""

    def opening_words(self) -> str:
        """Return what stands above the progress."""

    def closing_words(self, was_done: bool, run: Selection) -> str:
        """Return what stands at the end.

        ``was_done`` says that nothing was to do; ``run`` are the tasks that this run planned or tried.
        """

    def shown_tasks(self, run: Selection) -> Selection:
        """Return the tasks whose progress is shown, of those that this run planned or tried, or others."""

    def complete(self) -> bool:
        """Say whether it is done."""


_prepared: list[luigi.Task] = []


def prepare(task: Any) -> None:
    """Prepare the command for its root task, if that has words of its own."""
    _prepared.clear()
    if isinstance(task, Attended) and task.is_attended:
        task.prepare_command()
        _prepared.append(task)


@contextmanager
def attended(task: Any, invocation: Invocation) -> Iterator[None]:
    """Show the progress while a prepared root task runs, and its words at the end.

    Parameters
    ----------
    task : luigi.Task or None
        The root task.
    invocation : Invocation
        The run that it is in.
    """
    if not any(task is one for one in _prepared):
        yield
        return
    from astra.database.selection import Selection

    run = Selection(run=invocation.run_pk(task.database_url))
    was_done = task.complete()
    if was_done:
        yield
    else:
        sys.stderr.write(task.opening_words())
        sys.stderr.flush()
        with shown_progress(task.database_url, task.shown_tasks(run)), _quiet_terminal():
            yield
    sys.stdout.write(task.closing_words(was_done, run))
    sys.stdout.flush()


def log_to_file(path: Path) -> None:
    """Send what Luigi logs to a file; the terminal gets only what ends the command before a task runs.

    Parameters
    ----------
    path : Path
        The file; its folder must be there.
    """
    configuration = luigi.configuration.get_config()
    configuration.set("core", "no_configure_logging", "true")
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    _terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.captureWarnings(True)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    logging.getLogger("luigi-interface").addHandler(_terminal)


def set_where_silent(section: str, option: str, value: str) -> None:
    """Set an option of Luigi where neither configuration file nor command line does."""
    configuration = luigi.configuration.get_config()
    if not configuration.has_option(section, option):
        configuration.set(section, option, value)


def n_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_terminal = logging.StreamHandler()
_terminal.setLevel(logging.ERROR)


@contextmanager
def _quiet_terminal() -> Iterator[None]:
    """Leave what fails while tasks run to the words at the end."""
    _terminal.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        _terminal.setLevel(logging.ERROR)
