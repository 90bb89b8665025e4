"""The process that ends the others when the worker is gone without a word.

It holds the reading end of a pipe whose writing end the worker alone has, and hears there of each process of
the pool as it comes and goes. When the worker is gone, killed or not, the pipe closes: what is left by then
is killed, group by group, and so is what tasks have started. It works on any system with ``fork``.
"""

from __future__ import annotations

import gc
import os
import select
import signal
from contextlib import suppress

from astra.scheduler.processes.tree import descendants, kill_tree

CHECK_S = 1.0  # how often it looks whether the worker is there, should another process hold the pipe open


class Guardian:
    """The worker's end of the pipe; the process is made with it."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        reading, self._writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._writing)
                _stand_apart(reading)
                _guard(reading, self._owner)
            finally:
                os._exit(0)
        os.close(reading)

    def watch(self, leader: int) -> None:
        """Have the group of a process killed when this one is gone."""
        self._tell(b"+%d\n" % leader)

    def forget(self, leader: int) -> None:
        """Note that a group is no more."""
        self._tell(b"-%d\n" % leader)

    def _tell(self, line: bytes) -> None:
        # If it was killed, processes still hear of the end of the worker by themselves.
        with suppress(BrokenPipeError):
            os.write(self._writing, line)

    def leave_to_parent(self) -> None:
        """Close the pipe in a process that was forked from the one whose it is."""
        os.close(self._writing)

    def end(self) -> None:
        """End the guardian; what it still watches is killed."""
        if os.getpid() == self._owner:
            os.close(self._writing)
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def _stand_apart(reading: int) -> None:
    """Leave the session, the files and the signals of the worker, all but the pipe."""
    gc.disable()  # the memory of the worker is shared, not copied
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.closerange(3, reading)
    os.closerange(reading + 1, os.sysconf("SC_OPEN_MAX"))


def _guard(reading: int, worker: int) -> None:
    watched: dict[int, None] = {}
    rest = b""
    while True:
        is_gone = os.getppid() != worker
        if select.select([reading], [], [], 0.0 if is_gone else CHECK_S)[0]:
            heard = os.read(reading, 4096)
            if not heard:
                break
            *lines, rest = (rest + heard).split(b"\n")
            for line in lines:
                _note(watched, line)
        elif is_gone:
            break
    for leader in watched:
        kill_tree(leader, descendants(leader))


def _note(watched: dict[int, None], line: bytes) -> None:
    if line.startswith(b"+"):
        watched[int(line[1:])] = None
    else:
        watched.pop(int(line[1:]), None)
