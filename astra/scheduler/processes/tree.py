"""A process with all that it has started: the memory that it uses, and its end.

A process of the pool leads a group of its own, and adopts what its children leave behind (on Linux), so that
also what a task has started in the background, or detached, is found below it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
IS_LINUX = sys.platform.startswith("linux")
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)
POLL_S = 0.01


def has_children() -> bool:
    """Say whether this process has children, those included that have ended and were not waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def adopt_orphans() -> None:
    """Become the parent of what the children of this process leave behind; nothing where that is unknown."""
    if IS_LINUX:
        _c_library().prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """Have this process end, and all that it has started, when the one that forked it is gone.

    The kernel tells it, where it knows how to; it is heard as soon as Python gets a turn.

    Parameters
    ----------
    parent : int
        Id of the process that forked this one; it may have gone already.
    """
    signal.signal(signal.SIGHUP, _kill_own_tree)
    if IS_LINUX:
        _c_library().prctl(_SET_PDEATHSIG, int(signal.SIGHUP), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _kill_own_tree(*_: object) -> None:
    kill_tree(os.getpid(), descendants(os.getpid()))


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def lead_group(pid: int = 0) -> None:
    """Make a process the leader of a group of its own: parent and child both do, whoever comes first."""
    with suppress(OSError):
        os.setpgid(pid, pid)


def descendants(pid: int) -> list[psutil.Process]:
    """Return what a process has started, and they in turn, as far as it can be known."""
    found: list[psutil.Process] = []
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            with suppress(psutil.Error):  # it may have ended
                found.append(psutil.Process(child))
                waiting.append(child)
    return found


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task")
    try:
        return [
            int(child)
            for thread in os.listdir(threads)
            for child in (threads / thread / "children").read_bytes().split()
        ]
    except OSError:
        pass
    try:  # no Linux, or one without that file
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def memory_of(pids: Iterable[int], enough: float) -> float:
    """Return the memory that processes use [byte].

    What they share counts once, in parts, where the kernel knows it. It is asked only if the sum of what is
    resident, which is never less and costs less to learn, is more than enough.

    Parameters
    ----------
    pids : iterable of int
        The processes; of those that are gone it is 0.
    enough : float
        A sum of what is resident that is not looked into [byte].
    """
    some = list(pids)
    resident = sum(resident_bytes(pid) for pid in some)
    if resident <= enough:
        return resident
    return sum(_proportional_bytes(pid) for pid in some)


def resident_bytes(pid: int) -> int:
    """Return what is resident of a process [byte]."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE_BYTES
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _proportional_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)


def kill_tree(leader: int, others: Iterable[psutil.Process] = ()) -> None:
    """Kill the group of a process, and other processes, now.

    Parameters
    ----------
    leader : int
        Leader of the group; it may have ended.
    others : iterable of psutil.Process
        Descendants of it, which may be in other groups.
    """
    for process in others:
        with suppress(psutil.Error):  # it has ended; another one of its number is left alone
            process.kill()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)  # at last: it may be that of this process


def end_descendants() -> None:
    """Kill all that this process has started."""
    for process in descendants(os.getpid()):
        with suppress(psutil.Error):
            process.kill()


def ask_to_end(leader: int, grace_s: float) -> bool:
    """Ask the group of a process to end, and wait; return whether the process has ended.

    Parameters
    ----------
    leader : int
        Leader of the group, a child of this process; it is not waited for as a child.
    grace_s : float
        How long to wait at most [s].
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while not has_ended(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def has_ended(child: int) -> bool:
    """Say whether a child of this process has ended, without taking its status."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
