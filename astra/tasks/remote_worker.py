"""A worker that hands tasks to executors, and holds any number of them while it runs others itself."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import luigi.worker

from astra.errors import AstraError

logger = logging.getLogger("luigi-interface")

if TYPE_CHECKING:
    from astra.tasks.dispatcher import Dispatcher
    from astra.tasks.remote_orders import Held


class RemoteTasks(luigi.worker.Worker):
    """The part of a worker that leaves tasks to executors.

    A task that waits for its jobs costs a row or two and no process; it takes none of the places of the tasks
    that this worker runs itself.
    """

    _running_tasks: dict[str, Any]
    _dispatcher: Dispatcher | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._remote: dict[str, tuple[Held, luigi.worker.TaskProcess]] = {}
        self._checked_families: set[str] = set()

    def _add(self, task: luigi.Task, is_complete: Any) -> Any:
        """Schedule one task; that its executor can be used is seen before anything runs."""
        family = task.get_task_family()
        if family not in self._checked_families:
            from astra.tasks.remote_orders import check_executor, mistaken_families

            for sentence in mistaken_families() if not self._checked_families else ():
                logger.warning("%s", sentence)
            self._checked_families.add(family)
            check_executor(task, is_used_here=self.worker_processes > 0)
        return super()._add(task, is_complete)

    def _run_task(self, task_id: str) -> None:
        """Run a task here, or hand it to its executor."""
        from astra.tasks.remote_orders import LOCAL, executor_of

        if task_id in self._remote:
            return
        task: Any = self._scheduled_tasks[task_id]
        executor = executor_of(task)
        if executor == LOCAL or not all(needed.complete() for needed in task.deps()):
            super()._run_task(task_id)  # which says what is missing
        else:
            self._hold(task, executor)

    def _hold(self, task: Any, executor: str) -> None:
        from astra.tasks.dispatcher import Dispatcher
        from astra.tasks.remote_orders import Held

        try:
            held = Held.of(task, executor)
            asks_first = held.asks_first()
        except AstraError as exc:
            self._fail_at_once(task, exc)
            return
        if asks_first:
            task.conclude = held.conclude
            self._finish(task, self._process_for(task))
            return
        self._remote[task.task_id] = (held, self._process_for(task))
        if self._dispatcher is None:
            self._dispatcher = Dispatcher()
        self._dispatcher.take(held)

    def _fail_at_once(self, task: Any, error: AstraError) -> None:
        from astra.tasks.lost_records import record_broken

        def conclude() -> None:
            record_broken(task, str(error), type(error).__name__)
            raise error

        task.conclude = conclude
        self._finish(task, self._process_for(task))

    def _process_for(self, task: Any) -> luigi.worker.TaskProcess:
        """Make what reports the end of a task as Luigi does, in this process."""
        reporter = luigi.worker.TaskStatusReporter(self._scheduler, task.task_id, self._id, None)
        process = luigi.worker.TaskProcess(
            task,
            self._id,
            self._task_result_queue,
            reporter,
            check_unfulfilled_deps=False,  # they were there when it was submitted
            check_complete_on_run=self._config.check_complete_on_run,
            task_completion_cache=self._task_completion_cache,
        )
        process.timeout_time = None  # an executor's jobs have time limits of their own
        return process

    def _finish(self, task: Any, process: luigi.worker.TaskProcess) -> None:
        """Report the end of a task to the scheduler."""
        self._running_tasks[task.task_id] = process
        self._scheduled_tasks[task.task_id] = task  # a worker that serves forgets what it does not run
        try:
            process.run()
        finally:
            task.conclude = None
        self._handle_next_task()

    def _get_work(self) -> Any:
        """Get something to run here; while tasks are held and there is nothing, wait for their jobs."""
        while True:
            dispatcher = self._dispatcher
            if dispatcher is None:
                return super()._get_work()
            self._conclude_ended(dispatcher)
            if self._stop_requesting_work:
                self._leave()
            response = self._ask_for_work()
            if response.task_id is None or dispatcher.is_due:
                dispatcher.submit()
            if response.task_id is not None or not self._remote or self._running_tasks:
                return response
            time.sleep(min(dispatcher.interval_s, float(self._config.wait_interval)))

    def _ask_for_work(self) -> Any:
        """Ask the scheduler, and tell it what is held: it would give that once more."""
        own = self._running_tasks
        self._running_tasks = {**own, **{task_id: process for task_id, (_, process) in self._remote.items()}}
        try:
            return super()._get_work()
        finally:
            self._running_tasks = own

    def _conclude_ended(self, dispatcher: Dispatcher) -> None:
        """Conclude the tasks whose jobs have ended."""
        for held in dispatcher.collect():
            _, process = self._remote.pop(held.task.task_id)
            held.task.conclude = held.conclude
            self._finish(held.task, process)

    def _leave(self) -> None:
        """Leave the tasks that are held to their jobs, as this worker has been asked to end."""
        if self._remote:
            logger.warning(
                "%d tasks are left to their jobs; the same command, run again, waits for these",
                len(self._remote),
            )
        for held, _ in self._remote.values():
            held.recorder.suspend()
        self._remote.clear()
        if self._dispatcher is not None:
            self._dispatcher.close()
        self._dispatcher = None

    def run(self) -> bool:
        """Run what was planned; return whether all of it succeeded."""
        try:
            return bool(super().run())
        finally:
            if self._dispatcher is not None:
                self._dispatcher.close()
