"""The worker's side of its processes: forked when needed, given tasks, looked at, and replaced."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from astra.scheduler.processes.guardian import Guardian
from astra.scheduler.processes.member import (
    CALL,
    ENDED,
    Answers,
    Job,
    MakeProcess,
    Result,
    run_one,
    serve,
    settle_in,
)
from astra.scheduler.processes.tree import (
    ask_to_end,
    descendants,
    has_ended,
    kill_tree,
    lead_group,
    memory_of,
    resident_bytes,
)

GRACE_S = 2.0  # between the request to end and the kill
EXIT_S = 0.2  # between the end of a connection and that of its process
LOOK_S, LOOK_CLOSELY_S = 1.0, 0.1  # how often a process is looked at, without and with a limit of memory
CLOSE_BEFORE_FORKS = 10  # priority among what is done at the exit of Python: before processes are waited for
MIB = 1 << 20


@dataclass(frozen=True)
class Wear:
    """When a process is replaced.

    Parameters
    ----------
    tasks : int, optional
        After so many tasks; 0 for any number.
    memory_mib : float, optional
        When it keeps more than this after a task [MiB]; 0 for any amount.
    """

    tasks: int = 0
    memory_mib: float = 0.0


@dataclass(eq=False)
class Member:
    """A process of the pool.

    Parameters
    ----------
    process : Process
        The process.
    connection : Connection
        To it.
    """

    process: BaseProcess
    connection: Connection
    pid: int
    run: TaskRun | None = None  # what it is at
    n_run: int = 0
    looked: float = 0.0
    others: list[psutil.Process] = field(default_factory=list)  # what it has started, when last looked at

    def send(self, job: Job) -> None:
        """Give it a job."""
        self.connection.send_bytes(pickle.dumps(job, pickle.HIGHEST_PROTOCOL))


class TaskRun:
    """The run of a task in a process of the pool, in the place of Luigi's own process of the task.

    Parameters
    ----------
    pool : Pool
        The pool.
    process : luigi.worker.TaskProcess
        Luigi's, which is not started.
    job : Job
        What a process that was forked before has to know.
    memory_mib : float, optional
        Memory that the task may use, with what it starts [MiB]; 0 for any amount.
    """

    use_multiprocessing = True

    def __init__(self, pool: Pool, process: Any, job: Job, memory_mib: float = 0.0) -> None:
        self._pool = pool
        self.process = process
        self.job = job
        self.memory_mib = memory_mib
        self.task = process.task
        self.status_reporter = process.status_reporter
        self.worker_timeout = process.worker_timeout
        self.timeout_time = process.timeout_time
        self.member: Member | None = None
        self.pid: int | None = None
        self.exitcode: int | None = None
        self.used_mib: float | None = None  # set if it was ended for its memory
        self.is_over = False  # its end has been noted

    def with_notes(self, notes: Any) -> TaskRun:
        """Return itself, with what its process must know of the task."""
        self.job = replace(self.job, notes=notes)
        return self

    @property
    def must_be_alone(self) -> bool:
        """Whether it needs a process that is forked for it: its queue of messages cannot be sent."""
        return self.status_reporter.scheduler_messages is not None

    def start(self) -> None:
        """Begin."""
        self._pool.start(self)

    def is_alive(self) -> bool:
        """Say whether the process that runs it is there; that its run has ended is told otherwise."""
        return self.member is not None

    def terminate(self) -> None:
        """End it, and all that it has started: ask first, then kill."""
        if self.member is not None:
            self._pool.end(self.member, grace_s=GRACE_S)


class Pool:
    """The processes of one worker.

    Parameters
    ----------
    make_process : callable
        Makes Luigi's task process of a job, in a process of the pool; None if the task is not known there.
    on_call : callable
        Called with name, arguments and keyword arguments of what a task tells a scheduler in this process.
    on_end : callable
        Called with a task that has run to its end, and what its process has handed over, or None.
    wear : Wear, optional
        When a process is replaced.
    """

    def __init__(
        self,
        make_process: MakeProcess,
        on_call: Callable[[str, Any, Any], Any],
        on_end: Callable[[Any, bytes | None], Any],
        wear: Wear | None = None,
    ) -> None:
        self._make_process = make_process
        self._on_call = on_call
        self._on_end = on_end
        self._wear = wear or Wear()
        self._members: dict[int, Member] = {}
        self._free: list[Member] = []
        self._guardian: Guardian | None = None
        self._selector = selectors.DefaultSelector()
        util.Finalize(self, _close_connections, (self._members,), exitpriority=CLOSE_BEFORE_FORKS)

    # -- work -----------------------------------------------------------------------------------------------

    def start(self, run: TaskRun) -> None:
        """Have a task run: in a process that is free, else in a new one."""
        if run.must_be_alone:
            self._assign(self._fork(run), run)
            return
        while self._free:
            member = self._free.pop()
            try:
                member.send(run.job)
            except OSError:
                self._bury(member)
                continue
            self._assign(member, run)
            return
        self._start_anew(run)

    def _start_anew(self, run: TaskRun) -> None:
        """Have a task run in a process that is forked now, and thus knows it."""
        member = self._fork()
        member.send(Job(run.job.task_id, notes=run.job.notes))
        self._assign(member, run)

    @staticmethod
    def _assign(member: Member, run: TaskRun) -> None:
        member.run, run.member, run.pid = run, member, member.pid
        member.n_run += 1
        member.looked = time.monotonic()

    def collect(self, timeout: float) -> list[Result]:
        """Return the results that have come; wait for one at most so long [s]."""
        results: list[Result] = []
        for key, _ in self._selector.select(timeout):
            member: Member = key.data
            try:
                kind, content = pickle.loads(member.connection.recv_bytes())  # noqa: S301  # our own child
            except (EOFError, OSError):
                member.process.join(EXIT_S)  # else the kill could come before its exit code
                self._bury(member)
                continue
            if kind == CALL:
                self._on_call(*content)
            elif kind == ENDED:
                results += self._note_end(member, *content)
            elif member.run is not None:
                run, member.run = member.run, None
                self._free.insert(0, member)
                self._start_anew(run)
        return results

    def _note_end(
        self, member: Member, result: Result | None, is_free: bool, content: bytes | None
    ) -> list[Result]:
        run, member.run = member.run, None
        if run is not None:
            run.member, run.is_over = None, True
            self._on_end(run.task, content)
        if is_free and not self._is_worn(member):
            self._free.append(member)
        else:
            self._replace(member, is_free=is_free)
        return [] if result is None else [result]

    def _replace(self, member: Member, *, is_free: bool) -> None:
        """Let a process end that has nothing to do; kill it if it has left something behind."""
        if is_free:
            self._disconnect(member)
            member.process.join(GRACE_S)
        self.end(member)

    def _is_worn(self, member: Member) -> bool:
        wear = self._wear
        if 0 < wear.tasks <= member.n_run:
            return True
        return 0 < wear.memory_mib * MIB < resident_bytes(member.pid)

    def look(self) -> None:
        """Look at what processes have started, and end those whose task uses more memory than it may.

        One that has ended is not heard of by its connection for as long as a fork of it holds that open.
        """
        now = time.monotonic()
        for member in [member for member in self._members.values() if member.run is not None]:
            limit_mib = member.run.memory_mib if member.run is not None else 0.0
            if now - member.looked < (LOOK_CLOSELY_S if limit_mib else LOOK_S):
                continue
            member.looked = now
            if has_ended(member.pid) and not member.connection.poll():
                self._bury(member)
                continue
            member.others = descendants(member.pid)
            if limit_mib:
                self._check_memory(member, limit_mib)

    def _check_memory(self, member: Member, limit_mib: float) -> None:
        pids = [member.pid, *(process.pid for process in member.others)]
        used = memory_of(pids, limit_mib * MIB)
        if used > limit_mib * MIB and member.run is not None:
            member.run.used_mib = used / MIB
            self.end(member)

    # -- processes ------------------------------------------------------------------------------------------

    def _fork(self, only: TaskRun | None = None) -> Member:
        """Make a process; one that is to run a single task has what cannot be sent."""
        guardian = self._living_guardian()
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=self._live, args=(os.getpid(), here, there, only))
        process.start()
        there.close()
        pid = process.pid or 0
        lead_group(pid)
        guardian.watch(pid)
        member = self._members[pid] = Member(process, here, pid)
        self._selector.register(here, selectors.EVENT_READ, member)
        return member

    def _living_guardian(self) -> Guardian:
        """Return the guardian; a new one if there is none, or it was killed itself."""
        if self._guardian is not None and has_ended(self._guardian.pid):
            self._guardian.end()
            self._guardian = None
        if self._guardian is None:
            self._guardian = Guardian()
            for pid in self._members:
                self._guardian.watch(pid)
        return self._guardian

    def _live(self, worker: int, theirs: Connection, own: Connection, only: TaskRun | None) -> None:
        """Live as a process of the pool, without what is the worker's."""
        settle_in(worker)
        for connection in (theirs, *(member.connection for member in self._members.values())):
            connection.close()
        self._selector.close()
        if self._guardian is not None:
            self._guardian.leave_to_parent()
        if only is None:
            serve(own, self._make_process)
        else:
            answers = Answers(own)
            only.process.result_queue = answers
            only.process.use_multiprocessing = True
            run_one(only.process, answers, again=False)
            serve(own, self._make_process)  # until it is ended

    def end(self, member: Member, grace_s: float = 0.0) -> None:
        """End a process and all that it has started; with a grace, ask before."""
        member.others = [*member.others, *descendants(member.pid)]
        if grace_s:
            ask_to_end(member.pid, grace_s)
        self._bury(member)

    def _bury(self, member: Member) -> None:
        """Kill what is left of a process, and of what it has started, and forget it."""
        kill_tree(member.pid, member.others)
        member.process.join()
        if self._members.pop(member.pid, None) is None:
            return
        self._disconnect(member)
        if self._guardian is not None:
            self._guardian.forget(member.pid)
        if member in self._free:
            self._free.remove(member)
        run, member.run = member.run, None
        if run is not None:
            run.member, run.exitcode = None, member.process.exitcode

    def kill_all(self) -> None:
        """Kill all processes at once, and what they have started; safe in a handler of a signal."""
        for pid in list(self._members):
            kill_tree(pid, descendants(pid))

    def close(self) -> None:
        """End all processes: those that are free by themselves, others are killed; new ones may follow."""
        members = list(self._members.values())
        for member in members:
            if member.run is None:
                self._disconnect(member)
        for member in members:
            if member.run is None:
                member.process.join(GRACE_S)
            self.end(member)
        if self._guardian is not None:
            self._guardian.end()
            self._guardian = None

    def _disconnect(self, member: Member) -> None:
        if not member.connection.closed:
            self._selector.unregister(member.connection)
            member.connection.close()


def _close_connections(members: dict[int, Member]) -> None:
    """Have processes end whose worker has forgotten them: Python waits for them at its exit."""
    for member in members.values():
        with suppress(OSError):
            member.connection.close()
        if member.run is not None:
            kill_tree(member.pid, descendants(member.pid))
