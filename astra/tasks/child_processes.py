"""Calls in child processes, one process a call, each with a deadline past which it is ended, then killed.

With a child ends all that it has started, and with this process all children do, also if it is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from astra.scheduler.processes.guardian import Guardian
from astra.scheduler.processes.tree import (
    adopt_orphans,
    ask_to_end,
    descendants,
    die_with,
    end_descendants,
    has_children,
    has_ended,
    kill_tree,
    lead_group,
)

GRACE_S = 1.0  # between the request to end and the kill
LOOK_S = 1.0  # how often processes are looked at: a fork of one that has ended holds its pipe open


@dataclass(frozen=True)
class Lost:
    """A call that gave no answer.

    Parameters
    ----------
    index : int
        Which of the targets.
    pid : int
        Its process.
    timed_out : bool
        Whether it was ended for its deadline; else its process died.
    message : str
        What happened.
    exit_signal : int or None
        Number of the signal that ended its process.
    """

    index: int
    pid: int
    timed_out: bool
    message: str
    exit_signal: int | None


@dataclass(frozen=True)
class _Child:
    index: int
    process: BaseProcess
    receiver: Connection
    deadline: float


def run_in_children(
    call: Callable[[Any], Any],
    targets: Sequence[Any],
    *,
    processes: int,
    timeout: float,
    on_lost: Callable[[Lost], Any],
) -> list[Any]:
    """Call a function on each target, each in a forked process of its own.

    Parameters
    ----------
    call : callable
        What to call; its answer must be picklable.
    targets : sequence
        Its arguments.
    processes : int
        How many at a time.
    timeout : float
        Longest time of one call [s].
    on_lost : callable
        Called here for a call that was ended or died; returns the answer in its place.

    Returns
    -------
    answers : list
        In the order of the targets.

    Raises
    ------
    Exception
        What a call raised; the calls that are running are ended.
    """
    answers: list[Any] = [None] * len(targets)
    waiting = list(enumerate(targets))[::-1]
    running: list[_Child] = []
    guardian = Guardian()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                running.append(_start(call, *waiting.pop(), timeout, guardian))
            for child in _ready(running):
                running.remove(child)
                answers[child.index] = _collect(child, timeout, on_lost)
                guardian.forget(child.process.pid or 0)
    finally:
        for child in running:
            _end(child)
        guardian.end()
    return answers


def _start(call: Callable[[Any], Any], index: int, target: Any, timeout: float, guardian: Guardian) -> _Child:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(call, target, sender, guardian, os.getpid()))
    process.start()
    sender.close()
    pid = process.pid or 0
    lead_group(pid)
    guardian.watch(pid)
    return _Child(index, process, receiver, time.monotonic() + timeout)


def _work(
    call: Callable[[Any], Any], target: Any, sender: Connection, guardian: Guardian, parent: int
) -> None:
    """Answer in the child."""
    lead_group()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its children
    guardian.leave_to_parent()
    die_with(parent)
    adopt_orphans()
    try:
        answer: tuple[bool, Any] = (True, call(target))
    except Exception as exc:  # noqa: BLE001  # raised again in the parent
        answer = (False, exc)
    if has_children():
        end_descendants()
    sender.send_bytes(_pickled(answer))
    sender.close()


def _pickled(answer: tuple[bool, Any]) -> bytes:
    try:
        return pickle.dumps(answer)
    except Exception as exc:  # noqa: BLE001  # any object may refuse, in any way
        what = "the answer" if answer[0] else f"the error {answer[1]!r}"
        return pickle.dumps((False, TypeError(f"{what} of a child process cannot be pickled: {exc}")))


def _ready(running: Sequence[_Child]) -> list[_Child]:
    """Wait until a child has answered, has died or is past its deadline."""
    left_s = min(child.deadline for child in running) - time.monotonic()
    handles = {handle: child for child in running for handle in (child.receiver, child.process.sentinel)}
    found = {id(handles[item]) for item in wait(list(handles), min(max(left_s, 0.0), LOOK_S))}  # type: ignore[index]
    now = time.monotonic()
    return [
        child
        for child in running
        if id(child) in found or child.deadline <= now or has_ended(child.process.pid or 0)
    ]


def _collect(child: _Child, timeout: float, on_lost: Callable[[Lost], Any]) -> Any:
    """Return the answer of a child that is ready."""
    pid = child.process.pid or 0
    content = _content(child)
    if content:
        succeeded, answer = pickle.loads(content)  # noqa: S301  # our own child
        child.process.join(GRACE_S)
        _kill(child)
        if not succeeded:
            raise answer
        return answer
    timed_out = child.process.is_alive() and child.deadline <= time.monotonic()
    _end(child)
    code = child.process.exitcode
    ended = f"its process {pid} ended with code {code} and without an answer"
    message = f"it ran for more than {timeout:g} s and was ended" if timed_out else ended
    return on_lost(Lost(child.index, pid, timed_out, message, -code if code and code < 0 else None))


def _content(child: _Child) -> bytes:
    """Return what a child has sent; nothing if it has not, or never will."""
    try:
        return child.receiver.recv_bytes() if child.receiver.poll() else b""
    except (EOFError, OSError):
        return b""


def _end(child: _Child) -> None:
    """Ask a child to end, with all that it has started; kill what does not."""
    others = descendants(child.process.pid or 0)
    ask_to_end(child.process.pid or 0, GRACE_S)
    _kill(child, others)


def _kill(child: _Child, others: Sequence[psutil.Process] = ()) -> None:
    """End what is left of a child, and of what it has started."""
    pid = child.process.pid or 0
    kill_tree(pid, [*others, *descendants(pid)])
    child.process.join()
    child.receiver.close()
