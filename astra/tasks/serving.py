"""Workers that serve a scheduler: they plan nothing, and run what it gives them of the modules they serve.

A worker of Luigi imports whatever module the scheduler names, so that who reaches the scheduler could have
any code that is on the machine imported. Here what may be imported is listed.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import luigi
import luigi.rpc
from luigi.task_status import DONE, FAILED, RUNNING

from astra import config
from astra.errors import ConfigError
from astra.tasks.exit_status import last_line
from astra.tasks.planned_in import CheckedDatabases
from astra.tasks.runner import AstraWorker

OWN_MODULE = "astra"
WAIT_S = 1.0  # between two questions of an idle worker, and at most as long again by chance

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class ServedModules:
    """Which tasks may be loaded: those of astra, and of the modules that are named, with what is below them.

    Parameters
    ----------
    names : tuple of str
        Further modules.

    Raises
    ------
    ConfigError
        If a name cannot be that of a module.
    """

    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [name for name in self.names if not _NAME.fullmatch(name)]
        if wrong:
            message = f"{wrong[0]!r} cannot be the name of a module; give it as in --modules mine.tasks"
            raise ConfigError(message, modules=wrong)

    @property
    def all_names(self) -> tuple[str, ...]:
        """All of them, that of astra first."""
        return (OWN_MODULE, *(name for name in self.names if name != OWN_MODULE))

    def holds(self, module: str) -> bool:
        """Say whether a module is one of them, or below one."""
        return any(module == name or module.startswith(f"{name}.") for name in self.all_names)

    def load(self) -> None:
        """Import them.

        Raises
        ------
        ConfigError
            If one cannot be imported.
        """
        for name in self.all_names:
            try:
                __import__(name)
            except Exception as exc:  # a module may raise anything
                message = f"module {name} cannot be served, as it cannot be imported: {exc}"
                raise ConfigError(message, module=name) from exc

    def refusal(self, work: dict[str, Any]) -> str | None:
        """Return why a task that the scheduler gives is not loaded; None if it may be."""
        module, family = work.get("task_module"), work.get("task_family", "")
        served = ", ".join(self.all_names)
        if not isinstance(module, str) or not self.holds(module):
            return f"{family} is of module {module!r}, but this worker serves {served} alone; see --modules"
        __import__(module)
        found = luigi.task_register.Register.get_task_cls(family).__module__
        if not self.holds(found):
            return f"{family} is a task of module {found}, but this worker serves {served} alone"
        return None


class ServedWork:
    """A scheduler of which a worker takes only the work that it may load; the rest is reported as failed.

    Parameters
    ----------
    scheduler : luigi.rpc.RemoteScheduler
        The scheduler.
    modules : ServedModules
        What may be loaded.
    tell : callable
        Takes a sentence on each task that is refused.
    """

    def __init__(
        self, scheduler: luigi.rpc.RemoteScheduler, modules: ServedModules, tell: Callable[[str], None]
    ) -> None:
        self._scheduler = scheduler
        self._modules = modules
        self._tell = tell
        self._databases = CheckedDatabases()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def get_work(self, **wish: Any) -> Any:
        """Return something that may be loaded, or how much is left."""
        while True:
            work = self._scheduler.get_work(**wish)
            if work.get("task_family") is None:
                return work
            try:
                reason = self._modules.refusal(work)
            except Exception as exc:  # noqa: BLE001  # whatever a module raises
                reason = f"{work['task_family']} of {work['task_module']} cannot be loaded: {exc}"
            if reason is None:
                self._check_database(work)
                return work
            self._refuse(work, reason, wish["worker"])

    def needed_by(self, task_id: str) -> list[dict[str, Any]]:
        """Return what requires a task, of that what may be loaded."""
        return [
            needs
            for needs in self._scheduler.needed_by(task_id)
            if self._modules.refusal({"task_module": needs["module"], "task_family": needs["family"]}) is None
        ]

    def _check_database(self, work: dict[str, Any]) -> None:
        """Raise if a task is planned in another database than this worker's; it is given back first."""
        try:
            self._databases.check(work)
        except ConfigError:
            return_tasks = getattr(self._scheduler, "return_tasks", None)
            if return_tasks is not None and work.get("task_id") is not None:
                return_tasks([work["task_id"]])
            raise

    def _refuse(self, work: dict[str, Any], reason: str, worker: str) -> None:
        for task_id in work.get("batch_task_ids") or [work["task_id"]]:
            self._tell(f"refused {task_id}: {reason}")
            self._scheduler.add_task(
                worker=worker,
                task_id=task_id,
                status=FAILED,
                runnable=False,
                expl=json.dumps(reason),
                assistant=True,
            )


@dataclass
class Served:
    """What workers have done so far.

    Parameters
    ----------
    n_done, n_failed : int
        Ended runs.
    begun : dict
        When each task began that runs now, by its id [s, monotonic].
    """

    n_done: int = 0
    n_failed: int = 0
    begun: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """Return the numbers."""
        return f"{len(self.begun)} running, {self.n_done} done, {self.n_failed} failed"


class ServingWorker(AstraWorker):
    """A worker that runs what others have planned, until it is asked to end or has had nothing to do.

    Parameters
    ----------
    scheduler : object
        The scheduler, as `ServedWork` guards it.
    count : int
        Number of tasks that run at a time, each in a process of its own if it is more than one.
    idle_exit_s : float
        Time after which it ends if it runs nothing and is given nothing [s]; 0: never.
    name : str
        What the pages call it.
    tell : callable
        Takes a sentence on each task that begins or ends.
    show : callable, optional
        Takes a sentence on what goes on, which is true until the next.
    """

    def __init__(
        self,
        scheduler: Any,
        *,
        count: int,
        idle_exit_s: float = 0.0,
        name: str = "",
        tell: Callable[[str], None] = print,
        show: Callable[[str], object] = str,
        **options: Any,
    ) -> None:
        self._name = name
        self._idle_exit_s = idle_exit_s
        self._tell, self._show = tell, show
        self._idle_from = time.monotonic()
        self.served = Served()
        options = {"keep_alive": True, "wait_interval": WAIT_S, "wait_jitter": WAIT_S, **options}
        super().__init__(scheduler=scheduler, worker_processes=count, assistant=True, **options)
        # It plans nothing: what it is given, others have seen to be next, whenever that was tried.
        self.invocation.tried_since = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._first_known = frozenset()  # each task is handed to its process by name: it is forgotten here

    def _generate_worker_info(self) -> list[tuple[str, Any]]:
        named = [("name", self._name)] if self._name else []
        return [*named, *super()._generate_worker_info()]

    def serve(self) -> Served:
        """Run what there is until the end; return what was done."""
        url = config.database_url()
        self.invocation.run_pk(url)  # in this process, so that all that it forks belong to this run
        with self:
            self.run()
        return self.served

    def close(self) -> None:
        """Close the connection to the scheduler."""
        self._scheduler.close()

    def _exit_status(self) -> int:
        return 0

    # -- when to end ----------------------------------------------------------------------------------------

    def _start_phasing_out(self) -> None:
        if not self._stop_requesting_work:
            n_running = len(self.served.begun)
            self._tell(f"asked to end: {n_running} tasks may go on" if n_running else "asked to end")
        super()._start_phasing_out()

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return bool(self._stop_requesting_work)

    def _keep_alive(self, _response: Any) -> bool:
        """Stay until asked to end, or idle for too long: nothing runs here, and nothing was given."""
        if self._stop_requesting_work:
            return False
        return not self._idle_exit_s or time.monotonic() - self._idle_from < self._idle_exit_s

    def _get_work(self) -> Any:
        self._forget_ended()
        response = super()._get_work()
        if response.task_id is not None:
            self._learn(response.task_id)
        if response.task_id is not None or self._running_tasks:
            self._idle_from = time.monotonic()
        idle_s = time.monotonic() - self._idle_from
        self._show(f"{self.served.text()}{f', idle for {idle_s:.0f} s' if idle_s >= 1.0 else ''}")
        return response

    def _learn(self, task_id: str) -> None:
        """Tell the scheduler which batches of the family can be run, and know the members of one."""
        task = self._scheduled_tasks[task_id]
        if task.batchable:
            self._add_task_batcher(task)
        if task_id in self._batch_running_tasks and hasattr(task, "get_batch_tasks"):
            self._batch_running_tasks[task_id] = list(task.get_batch_tasks())

    def _forget_ended(self) -> None:
        """Forget what has ended: a worker may serve for months."""
        self._get_work_response_history.clear()
        self._add_task_history.clear()
        for task_id in self._scheduled_tasks.keys() - self._running_tasks.keys():
            del self._scheduled_tasks[task_id]

    # -- what is told ---------------------------------------------------------------------------------------

    def _run_task(self, task_id: str) -> None:
        self.served.begun[task_id] = time.monotonic()
        self._tell(f"begun {task_id}")
        super()._run_task(task_id)

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        is_ended = kwargs["task_id"] in self._ended or self._ending.is_over
        super()._add_task(*args, **kwargs)
        if kwargs["task_id"] not in self.served.begun or kwargs["status"] == RUNNING:
            return
        took_s = time.monotonic() - self.served.begun.pop(kwargs["task_id"])
        took = f"{kwargs['task_id']} after {took_s:.1f} s"
        if kwargs["status"] in (DONE, FAILED):
            self._tell_end(took, kwargs["status"], kwargs.get("expl"), is_ended=is_ended)
        else:
            self._tell(f"waiting {took}: it has asked for {len(kwargs.get('new_deps') or ())} tasks")

    def _tell_end(self, took: str, status: str, explanation: Any, *, is_ended: bool) -> None:
        if status == DONE:
            self.served.n_done += 1
            self._tell(f"done {took}")
        elif is_ended:
            self._tell(f"given back {took}")
        else:
            self.served.n_failed += 1
            self._tell(f"failed {took}: {last_line(explanation)}")
