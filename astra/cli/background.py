"""A command that goes on in the background, once it has begun well."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def run_in_background(run: Callable[[Callable[[], None]], int]) -> int:
    """Run something in a process of its own, which outlives this one and belongs to no terminal.

    Parameters
    ----------
    run : callable
        Takes a function that it is to call when it is ready; until then it may write to the terminal.

    Returns
    -------
    exit_status : int
        In the caller 0 as soon as it is ready, or that with which it has ended before; in the new process
        that of `run`.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.setsid()
        return run(lambda: _detach(writing))
    os.close(writing)
    with open(reading, "rb") as pipe:
        is_ready = bool(pipe.read(1))
    if is_ready:
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _detach(writing: int) -> None:
    """Let go of the terminal, and say so."""
    sys.stdout.flush()
    sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    os.write(writing, b"1")
    os.close(writing)
