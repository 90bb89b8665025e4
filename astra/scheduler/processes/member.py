"""What goes on in a process of the pool: it takes a job, runs it, and answers, until its worker is gone."""

from __future__ import annotations

import gc
import logging
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from astra.scheduler.processes.tree import adopt_orphans, die_with, has_children, lead_group

logger = logging.getLogger("luigi-interface")

ENDED, CALL, UNKNOWN = range(3)  # kinds of answers

Result = tuple[str, Any, Any, Any, Any]  # what Luigi's task process puts in its queue
Answer = tuple[int, Any]


@dataclass(frozen=True)
class Job:
    """A task for a process.

    Parameters
    ----------
    task_id : str
        Which; a process that was forked after it became known has it already.
    spec : tuple of (str, str, dict) or None
        Module, family and parameters as text, of a task that may have become known later.
    notes : object, optional
        What its worker has learnt of the task since, see `PooledWorker.notes_of`.
    """

    task_id: str
    spec: tuple[str, str, dict[str, str]] | None = None
    notes: Any = None


class Answers:
    """The way back to the worker; it takes the place of Luigi's queue of results, and of a local scheduler.

    Parameters
    ----------
    connection : Connection
        To the worker.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._result: Result | None = None
        self.hand_over: Callable[[], bytes | None] = lambda: None  # what goes with a result

    def put(self, result: Result) -> None:
        """Keep the result of the task until its process is free again."""
        self._result = result

    def close(self) -> None:
        """Do nothing: the worker is not told of the end of its queue."""

    def finish(self, *, is_free: bool) -> None:
        """Send the result, if there is one, and whether another task may follow."""
        result, self._result = self._result, None
        content = self.hand_over()
        try:
            self._send(ENDED, (result, is_free, content))
        except (pickle.PicklingError, TypeError, AttributeError):  # what `on_success` has returned
            task_id, status, explanation, *others = result or ("", "", "")
            self._send(ENDED, ((task_id, status, str(explanation), *others), is_free, content))

    def say_unknown(self) -> None:
        """Say that the task is not known, and could not be made."""
        self._send(UNKNOWN, None)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Pass a report of a running task on to the scheduler that is in the process of the worker."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._send(CALL, (name, args, kwargs))

    def _send(self, kind: int, content: Any) -> None:
        self._connection.send_bytes(pickle.dumps((kind, content), pickle.HIGHEST_PROTOCOL))


MakeProcess = Callable[[Job, Answers], Any]


def settle_in(worker: int) -> None:
    """Make this process, just forked, one of a pool.

    Parameters
    ----------
    worker : int
        Id of its worker.
    """
    lead_group()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGUSR1):  # they are for the worker, and may be sent to all
        signal.signal(number, lambda *_: None)
    die_with(worker)
    adopt_orphans()
    gc.freeze()  # what is shared with the worker is not looked through, which would copy it


def serve(connection: Connection, make_process: MakeProcess) -> None:
    """Run task after task; return when the worker closes the connection.

    Parameters
    ----------
    connection : Connection
        To the worker.
    make_process : callable
        Makes Luigi's task process of a job, which runs it here; None if the task is not known.
    """
    answers = Answers(connection)
    while (job := _next_job(connection)) is not None:
        process = make_process(job, answers)
        if process is None:
            answers.say_unknown()
        else:
            run_one(process, answers)


def _next_job(connection: Connection) -> Job | None:
    try:
        job: Job = pickle.loads(connection.recv_bytes())  # noqa: S301  # from the process that forked this one
    except (EOFError, ConnectionError):
        return None
    return job


def run_one(process: Any, answers: Answers, *, again: bool = True) -> None:
    """Run a task here and answer, also whether another one may follow, if that is wanted.

    If none may, this process stays until it is ended: what it has left behind is found below it.
    """
    is_free = False
    try:
        process.run()
        is_free = again and not has_children()
    except BaseException:  # Luigi has reported it, and lets it through
        logger.info("a process of the pool ends", exc_info=True)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    answers.finish(is_free=is_free)
