"""A worker whose tasks run in processes that stay, within limits, and that ends in good order.

What runs in this process reports without a detour by pipe and thread.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import luigi
import luigi.rpc
import luigi.worker
from luigi.task_register import load_task
from luigi.task_status import FAILED, PENDING

from astra import config
from astra.scheduler.processes.ending import Ending
from astra.scheduler.processes.member import Answers, Job, Result
from astra.scheduler.processes.pool import Pool, TaskRun, Wear

TICK_S = 0.1  # how often what runs is looked at
CAN_FORK = "fork" in multiprocessing.get_all_start_methods()


class ResultQueue:
    """Results of tasks: of this process from a list, of others from the pool.

    Parameters
    ----------
    pool : Pool
        The pool.
    look : callable
        Called ten times a second while one waits.
    """

    def __init__(self, pool: Pool, look: Callable[[], Any]) -> None:
        self._own: collections.deque[Result] = collections.deque()
        self._pool = pool
        self._look = look

    def put(self, result: Result) -> None:
        """Put a result in."""
        self._own.append(result)

    def get(self, timeout: float) -> Result:
        """Return the oldest result, or wait for one.

        Raises
        ------
        queue.Empty
            If there is none in time.
        """
        deadline = time.monotonic() + timeout
        while not self._own:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise queue.Empty
            self._own.extend(self._pool.collect(min(left, TICK_S)))
            self._look()
        return self._own.popleft()

    @property
    def has_own(self) -> bool:
        """Whether a result is there that need not be waited for."""
        return bool(self._own)

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


class PooledWorker(luigi.worker.Worker):
    """Luigi's worker with a pool of processes; parameters are those of `luigi.worker.Worker`."""

    _scheduler: Any
    _task_result_queue: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner = os.getpid()
        wear = Wear(config.option("tasks_per_process"), config.option("process_memory_mib"))
        self._pool = Pool(self._make_process, self._pass_on, self.take_over, wear)
        self._task_result_queue.close()
        self._task_result_queue = ResultQueue(self._pool, self._purge_children)
        self._ending = Ending(self._start_phasing_out, self._pool.kill_all, config.option("stop_grace_s"))
        self._first_known: frozenset[str] | None = None  # when the first process was made
        self._died: set[str] = set()  # whose process has died, of those that are about to be reported
        self._ended: set[str] = set()  # by order
        self._memory_mib = config.option("task_memory_mib")

    # -- running --------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Run what was planned; return whether all of it succeeded."""
        with self._ending.heard(wanted=not self._config.no_install_shutdown_handler):
            try:
                return bool(super().run())
            finally:
                self._pool.close()

    def _create_task_process(self, task: luigi.Task) -> Any:
        process = super()._create_task_process(task)
        if not isinstance(process, luigi.worker.TaskProcess) or os.getpid() != self._owner:
            return process
        own_mib = getattr(task, "worker_memory_mib", None)
        limit_mib = self._memory_mib if own_mib is None else own_mib
        if not (CAN_FORK and (process.use_multiprocessing or limit_mib)):
            process.run = self._ending.guarded(process.run)
            return process
        if self._first_known is None:
            self._first_known = frozenset(self._scheduled_tasks)
        is_new = task.task_id not in self._first_known
        spec = (task.task_module, task.task_family, task.to_str_params()) if is_new else None
        run = TaskRun(self._pool, process, Job(task.task_id, spec), limit_mib)
        return run if run.must_be_alone else run.with_notes(self.notes_of(task))

    def notes_of(self, _task: luigi.Task) -> Any:
        """Return what a process must know of a task that may have changed since it was forked."""
        return None

    def take_notes(self, task: luigi.Task, notes: Any) -> None:
        """Take in what `notes_of` has returned; called in the process that runs the task."""

    def hand_over(self) -> bytes | None:
        """Return what goes to the worker with the result of a task; called in the process that has run it."""
        return None

    def take_over(self, task: luigi.Task, content: bytes | None) -> None:
        """Take in what `hand_over` has returned, or that it has not."""

    def _make_process(self, job: Job, answers: Answers) -> Any:
        """Make the task process of a job, in a process of the pool; None if the task is not known here."""
        task = self._scheduled_tasks.get(job.task_id) or _load(job)
        if task is None:
            return None
        self._scheduled_tasks[job.task_id] = task
        if job.notes is not None:
            self.take_notes(task, job.notes)
        answers.hand_over = self.hand_over
        self._task_result_queue = answers
        if not isinstance(self._scheduler, luigi.rpc.RemoteScheduler):
            self._scheduler = answers
        process = self._create_task_process(task)
        process.use_multiprocessing = True
        return process

    def _pass_on(self, name: str, args: Any, kwargs: Any) -> None:
        """Pass what a running task tells the scheduler on to it."""
        getattr(self._scheduler, name)(*args, **kwargs)

    # -- ends that tasks do not tell ------------------------------------------------------------------------

    def _purge_children(self) -> None:
        """Find tasks whose process is gone, or must go, and put the results of these in the queue."""
        if self._task_result_queue.has_own:
            return  # the end of a task that has run here, or of one of the pool, is told first
        self._pool.look()
        if self._ending.is_over:
            self._end_by_order()
        for task_id, process in self._running_tasks.items():
            end = None if getattr(process, "is_over", False) is True else self._cut_off(process)
            if end is None:
                continue
            event, message = end
            process.is_over = True
            luigi.worker.logger.info(message)
            process.task.trigger_event(event, process.task, message)
            self._task_result_queue.put((task_id, FAILED, message, [], []))

    def _end_by_order(self) -> None:
        for task_id, process in self._running_tasks.items():
            if isinstance(process, TaskRun) and process.is_alive():
                process.terminate()
                self._ended.add(task_id)

    def _cut_off(self, process: Any) -> tuple[str, str] | None:
        """Say why the run of a task is over that has not said so: as an event of Luigi's, and in words."""
        task_id = process.task.task_id
        is_alive = process.is_alive()
        if task_id in self._ended:
            return luigi.Event.PROCESS_FAILURE, f"Task {task_id}: {self._ending.message}, with signal 15"
        if not is_alive and self._ending.is_asked and process.exitcode == -signal.SIGTERM:
            self._ended.add(task_id)
            message = "it was ended by the signal that asked its worker to end, with signal 15"
            return luigi.Event.PROCESS_FAILURE, f"Task {task_id}: {message}"
        if not is_alive and (isinstance(process, TaskRun) or process.exitcode):
            self._died.add(task_id)
            return luigi.Event.PROCESS_FAILURE, _words_of_death(process)
        # Luigi's own clock.
        if (
            process.timeout_time is not None
            and luigi.worker.time.time() > float(process.timeout_time)
            and is_alive
        ):
            process.terminate()
            seconds = process.worker_timeout
            return (
                luigi.Event.TIMEOUT,
                f"Task {task_id} timed out after {seconds} seconds and was terminated.",
            )
        return None

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        """Report a task; one whose process died is said to have, one that was ended by order waits again."""
        task_id, is_failed = kwargs["task_id"], kwargs["status"] == FAILED
        if task_id in self._died:
            kwargs["process_died"] = True
        is_given_back = is_failed and (task_id in self._ended or self._ending.is_over)
        if is_given_back and self._return(task_id):
            kwargs["status"] = PENDING
        self._ended.discard(task_id)
        self._died.discard(task_id)
        n_before = len(self._add_task_history)
        super()._add_task(*args, **kwargs)
        if is_given_back:
            own = self._add_task_history[n_before:]
            self._add_task_history[n_before:] = [(task, PENDING, runnable) for task, _, runnable in own]

    def _return(self, task_id: str) -> bool:
        """Give a task back that was begun; return whether the scheduler takes it: stock ones do not."""
        return_tasks = getattr(self._scheduler, "return_tasks", None)
        return return_tasks is not None and bool(return_tasks([task_id]))

    # -- the end of the worker ------------------------------------------------------------------------------

    def _start_phasing_out(self) -> None:
        """Ask for no more work, and give back what is held, in a thread: a handler of a signal may call."""
        super()._start_phasing_out()
        threading.Thread(target=self._give_back_apart, daemon=True).start()

    def _give_back_apart(self) -> None:
        with luigi.worker.fork_lock:
            self._give_back()

    def _give_back(self) -> None:
        give_back = getattr(self._scheduler, "give_back", None)
        if give_back is not None:
            give_back()


def _load(job: Job) -> Any:
    """Make a task from its parameters as text; None if that gives no such task."""
    if job.spec is None:
        return None
    try:
        task = load_task(*job.spec)
    except Exception:  # noqa: BLE001  # a class made in `run`, or a parameter that has no text
        return None
    return task if task.task_id == job.task_id else None


def _words_of_death(process: Any) -> str:
    task_id = process.task.task_id
    used_mib = getattr(process, "used_mib", None)
    if isinstance(process, TaskRun) and used_mib is not None:
        return (
            f"Task {task_id} used {used_mib:.0f} MiB of memory, more than its limit of "
            f"{process.memory_mib:g} MiB, and was ended with signal 9"
        )
    return f"Task {task_id} died unexpectedly with exit code {process.exitcode}"
