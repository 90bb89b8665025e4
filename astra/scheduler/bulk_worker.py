"""A worker without the costs that grow with the number of tasks: Luigi's, in a hurry.

Parameters of a class are looked up once, and tasks are planned in waves whose completeness can be asked for
at once. How they are run is told in `astra.scheduler.pooled_worker`.
"""

from __future__ import annotations

import collections
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import luigi
import luigi.worker
from luigi.task_status import DONE
from luigi.worker import TracebackWrapper, check_complete_cached, rpc_message_callback

from astra.scheduler.pooled_worker import PooledWorker

MAX_WAVE = 5000  # tasks whose completeness is asked for at once


class BulkWorker(PooledWorker):
    """Luigi's worker for many tasks; parameters are those of `luigi.worker.Worker`."""

    _first_task: str | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.planned_needs: dict[str, list[luigi.Task]] = {}  # what tasks required when they were planned
        super().__init__(*args, **kwargs)

    # -- planning -------------------------------------------------------------------------------------------

    def add(self, task: luigi.Task, multiprocess: bool = False, processes: int = 0) -> bool:
        """Plan a task and all that it requires; return whether that went well."""
        if multiprocess:
            return bool(super().add(task, multiprocess, processes))
        if self._first_task is None and hasattr(task, "task_id"):
            self._first_task = task.task_id
        self.add_succeeded = True
        self._validate_task(task)
        with cached_parameters():
            try:
                self._add_in_waves(task)
            except (KeyboardInterrupt, luigi.worker.TaskException):
                raise
            except Exception as exc:
                self._note_failed_planning(task, exc)
                raise
        return bool(self.add_succeeded)

    def _note_failed_planning(self, task: luigi.Task, exc: Exception) -> None:
        self.add_succeeded = False
        self._log_unexpected_error(task)
        task.trigger_event(luigi.Event.BROKEN_TASK, task, exc)
        self._email_unexpected_error(task, traceback.format_exc())

    def _add_in_waves(self, root: luigi.Task) -> None:
        seen = {root.task_id}
        waiting: collections.deque[luigi.Task] = collections.deque([root])
        while waiting:
            wave = [waiting.popleft() for _ in range(min(len(waiting), MAX_WAVE))]
            known = self.known_completeness(wave) if len(wave) > 1 else {}
            for task in wave:
                is_complete = known[task.task_id] if task.task_id in known else self._ask_if_complete(task)
                needs = self.planned_needs[task.task_id] = []
                for needed in self._add(task, is_complete):
                    needs.append(needed)
                    if needed.task_id not in seen:
                        self._validate_task(needed)
                        seen.add(needed.task_id)
                        waiting.append(needed)

    def _ask_if_complete(self, task: luigi.Task) -> Any:
        try:
            return check_complete_cached(task, self._task_completion_cache)
        except Exception:  # noqa: BLE001  # Luigi reports it
            return TracebackWrapper(traceback.format_exc())

    def known_completeness(self, _tasks: Sequence[luigi.Task]) -> Mapping[str, bool]:
        """Say which of some tasks are complete, as far as that can be asked for at once; by task id."""
        return {}

    # -- running --------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Run what was planned; return whether all of it succeeded."""
        with cached_parameters():
            return bool(super().run())

    def _get_work(self) -> Any:
        """Get something to run; what a dead worker had may be done, and is then reported as that."""
        response = super()._get_work()
        while response.task_id is not None and self._was_done(response.task_id):
            response = super()._get_work()
        return response

    def _was_done(self, task_id: str) -> bool:
        """Report a task as done if its last worker had done it, and could not say so any more."""
        was_lost = getattr(self._scheduler, "was_lost", None)
        task = self._scheduled_tasks.get(task_id)
        if was_lost is None or task is None or not was_lost(task_id):
            return False
        if self._ask_if_complete(task) is not True:
            return False
        self._add_task(
            worker=self._id,
            task_id=task_id,
            status=DONE,
            resources=task.process_resources(),
            runnable=None,
            params=task.to_str_params(),
            family=task.task_family,
            module=task.task_module,
            assistant=self._assistant,
        )
        return True

    @rpc_message_callback
    def give_back_work(self) -> None:
        """Give back what this worker has been given and has not begun: another one has nothing to do."""
        self._give_back()


_planning = threading.Lock()  # of one thread: it takes the place of a method of Luigi's for all


@contextmanager
def cached_parameters() -> Iterator[None]:
    """Look the parameters of a class up once; Luigi searches all attributes ten times for each task.

    While another thread does so, or where Luigi's task has been replaced, nothing is kept.
    """
    before = luigi.Task.__dict__.get("get_params")
    if before is None or not _planning.acquire(blocking=False):
        yield
        return
    found: dict[type, list[tuple[str, luigi.Parameter]]] = {}
    search = before.__func__

    def get_params(cls: type) -> list[tuple[str, luigi.Parameter]]:
        if cls not in found:
            found[cls] = search(cls)
        return found[cls]

    luigi.Task.get_params = classmethod(get_params)
    try:
        yield
    finally:
        luigi.Task.get_params = before
        _planning.release()
