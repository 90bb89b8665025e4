"""Run a task class over a list of data ids, with processes and a deadline; each id fails alone."""

from __future__ import annotations

import inspect
import logging
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import luigi

from astra.errors import AstraError, MissingDataError
from astra.tasks.child_processes import Lost, run_in_children
from astra.tasks.lost_records import record_blocked, record_lost
from astra.tasks.recorded_run import dynamic_requirements
from astra.tasks.runner import begin_invocation, current_invocation
from astra.tasks.stores import Store

MAX_EXIT_STATUS = 250

Target = tuple[Mapping[str, Any], dict[str, Any]]


class TaskRunner:
    """Run one task class over data ids.

    Parameters
    ----------
    task_class : type
        An `astra.tasks.AstraTask`, whose parameters a data id sets, or a `astra.tasks.nodes.Subtask` with
        ``run(data_id, **kwargs)``.
    parsed_cmd : Namespace
        What `astra.tasks.task_command.build_parser` makes of a command line, with ``config``.
    do_return_results : bool, optional
        Return reference, metadata and result of each data id too.
    """

    TIMEOUT = 2592000  # [s], 30 days

    def __init__(self, task_class: Any, parsed_cmd: Any, do_return_results: bool = False) -> None:
        self.task_class = task_class
        self.parsed_cmd = parsed_cmd
        self.do_return_results = bool(do_return_results)
        self.config = parsed_cmd.config
        self.do_raise = bool(parsed_cmd.do_raise)
        self.log: logging.Logger = parsed_cmd.log or logging.getLogger("astra.task_runner")
        self.timeout = parsed_cmd.timeout if (parsed_cmd.timeout or 0) > 0 else self.TIMEOUT
        self.processes = max(1, int(parsed_cmd.processes))
        self.precall_succeeded = True
        if self.processes > 1 and not task_class.can_multiprocess:
            self.log.warning("%s cannot run in several processes: using one", task_class.__name__)
            self.processes = 1

    # -- what to run ----------------------------------------------------------------------------------------

    @staticmethod
    def get_target_list(parsed_cmd: Any, **kwargs: Any) -> list[Target]:
        """Return a pair for each data id: the id, and further arguments for the task."""
        return [(data_id, dict(kwargs)) for data_id in parsed_cmd.id]

    def make_task(self, parsed_cmd: Any = None, args: Target | None = None) -> Any:
        """Make a task: that of the first data id of a command, or that of a target.

        Parameters
        ----------
        parsed_cmd : Namespace, optional
            The command.
        args : tuple, optional
            An element of `get_target_list`.

        Raises
        ------
        RuntimeError
            If neither is given, or the command has no data id.
        """
        if args is None:
            targets = self.get_target_list(parsed_cmd) if parsed_cmd is not None else []
            if not targets:
                message = "make_task needs the parsed command with a data id, or the arguments of a target"
                raise RuntimeError(message)
            args = targets[0]
        data_id, kwargs = args
        if not issubclass(self.task_class, luigi.Task):
            return self.task_class(config=self.config, **self.constructor_kwargs())
        task = self.task_class(
            **{**self.config.parameters(), **data_id, **kwargs}, **self.constructor_kwargs()
        )
        task.config = vars(self.config)["options"]
        task.data_id_names = task.data_id_names | set(data_id)
        return task

    def constructor_kwargs(self) -> dict[str, Any]:
        """Return further arguments for the constructor of every task."""
        return {}

    # -- running --------------------------------------------------------------------------------------------

    def run(self, parsed_cmd: Any) -> list[Any]:
        """Run over all data ids.

        Returns
        -------
        results : list
            What a call of this object gives for each, in order; empty if `precall` is false, or there is
            nothing to run.
        """
        invocation = begin_invocation()
        if self.processes > 1:
            self.prepare_for_multiprocessing()
        self.precall_succeeded = bool(self.precall(parsed_cmd))
        if not self.precall_succeeded:
            return []
        targets = self.get_target_list(parsed_cmd)
        if not targets:
            self.log.warning("not running the task because there is no data to process")
            return []
        status = 1
        try:
            results = self._run_all(targets)
            status = min(count_failed(results, self.log), MAX_EXIT_STATUS)
        finally:
            invocation.end(status)
        return results

    def prepare_for_multiprocessing(self) -> None:
        """Drop what must not cross a fork, before the first process is made."""
        from astra.database.engine import dispose_engines

        dispose_engines()

    def precall(self, parsed_cmd: Any) -> bool:
        """Compare configuration, schemas and versions with those stored, once and before anything runs.

        Returns
        -------
        may_run : bool
            Whether to go on; what went wrong is logged, or raised with ``do_raise``.
        """
        try:
            if self.get_target_list(parsed_cmd):
                self._write_precall(self.make_task(parsed_cmd=parsed_cmd), parsed_cmd)
        except Exception as exc:
            if self.do_raise:
                raise
            self.log.critical(
                "failed in task initialization: %s", exc, exc_info=not isinstance(exc, AstraError)
            )
            return False
        return True

    @staticmethod
    def _write_precall(task: Any, parsed_cmd: Any) -> None:
        backup = not parsed_cmd.no_backup_config
        if not parsed_cmd.no_versions:
            task.write_package_versions(clobber=parsed_cmd.clobber_versions)
        task.write_config(clobber=parsed_cmd.clobber_config, do_backup=backup)
        task.write_schemas(clobber=parsed_cmd.clobber_config, do_backup=backup)

    def run_task(self, task: Any, args: Target) -> Any:
        """Run one task through its recorded `run`; return its result.

        Raises
        ------
        MissingDataError
            If what the task requires is not there.
        """
        data_id, kwargs = args
        if not isinstance(task, luigi.Task):
            return task.run(data_id, **kwargs)
        missing = [needed for needed in luigi.task.flatten(task.requires()) if not needed.complete()]
        if missing:
            message = f"{task!r} requires {missing[0]!r}, which is not there; run it first"
            record_blocked(task, message)
            raise MissingDataError(message, task_id=task.task_id, required=missing[0].task_id)
        with _again(task):
            result = task.run()
            return _drive(task, result) if inspect.isgenerator(result) else result

    def __call__(self, args: Target) -> SimpleNamespace:
        """Run one data id, whose failure is kept.

        Returns
        -------
        result : SimpleNamespace
            ``exitStatus`` (0, or 1 for a failure); if results were asked for also ``dataRef``, ``metadata``
            and ``result`` (None after a failure).
        """
        task, result, exit_status = None, None, 0
        try:
            task = self.make_task(args=args)
            result = self.run_task(task, args)
        except Exception as exc:
            if self.do_raise:
                raise
            exit_status = 1
            trace = not isinstance(exc, AstraError)
            name = type(exc).__name__
            self.log.critical("failed on data id %s: %s: %s", _words(args[0]), name, exc, exc_info=trace)
        finally:
            if task is not None:
                task.write_metadata(None if isinstance(task, luigi.Task) else _file_name(args[0]))
        return self._struct(exit_status, args, task.get_full_metadata() if task is not None else None, result)

    def _struct(self, exit_status: int, args: Target, metadata: Any, result: Any) -> SimpleNamespace:
        if not self.do_return_results:
            return SimpleNamespace(exitStatus=exit_status)
        return SimpleNamespace(exitStatus=exit_status, dataRef=args[0], metadata=metadata, result=result)

    # -- processes ------------------------------------------------------------------------------------------

    def _run_all(self, targets: list[Target]) -> list[Any]:
        """Run here if there is one process and no deadline of one's own, else in children."""
        if self.processes == 1 and self.timeout >= self.TIMEOUT:
            return [self(args) for args in targets]
        if issubclass(self.task_class, luigi.Task):
            self._write_run_row(targets)
        return run_in_children(
            self._answer,
            targets,
            processes=self.processes,
            timeout=self.timeout,
            on_lost=lambda lost: self._lost(targets[lost.index], lost),
        )

    def _answer(self, args: Target) -> SimpleNamespace:
        """Call this runner in a child, and leave out a result that cannot be sent."""
        answer = self(args)
        try:
            pickle.dumps(answer)
        except Exception:
            self.log.exception("the result of data id %s cannot be sent by its process", _words(args[0]))
            answer.result = None
        return answer

    def _write_run_row(self, targets: list[Target]) -> None:
        """Write the row of this invocation before it forks, so that all children share it."""
        task = next((task for args in targets if (task := self._task_or_none(args)) is not None), None)
        if task is not None:
            current_invocation().run_pk(task.database_url)

    def _task_or_none(self, args: Target) -> Any:
        try:
            return self.make_task(args=args)
        except Exception as exc:  # noqa: BLE001  # its own process says so, and fails
            self.log.debug("no task of data id %s: %s", _words(args[0]), exc)
            return None

    def _lost(self, args: Target, lost: Lost) -> SimpleNamespace:
        """Record a data id whose process was ended, or died."""
        self.log.critical("failed on data id %s: %s", _words(args[0]), lost.message)
        task = self._task_or_none(args)
        if isinstance(task, luigi.Task):
            record_lost(task, lost)
        return self._struct(1, args, None, None)


class StoreInitializedTaskRunner(TaskRunner):
    """A runner that hands the constructor of each task a shared store, as ``store``.

    It is ``parsed_cmd.store``, else the configured root and database.
    """

    def constructor_kwargs(self) -> dict[str, Any]:
        """Return the store."""
        if getattr(self.parsed_cmd, "store", None) is None:
            from astra import config

            self.parsed_cmd.store = Store(config.root(), config.database_url())
        return {"store": self.parsed_cmd.store}


def run(
    task_class: Any,
    data_ids: Iterable[Mapping[str, Any]],
    *,
    processes: int = 1,
    timeout: float | None = None,
    do_return_results: bool = False,
    config: Any = None,
    runner_class: Any = None,
    log: logging.Logger | None = None,
    **options: Any,
) -> list[Any]:
    """Run a task class over data ids.

    Parameters
    ----------
    task_class : type
        An `astra.tasks.AstraTask`, or a `astra.tasks.nodes.Subtask` with ``run(data_id)``.
    data_ids : iterable of mapping
        Parameters of each task that are not common to all.
    processes : int, optional
        How many tasks run at a time, each in a process of its own if more than one.
    timeout : float, optional
        Longest time of one task [s]; default 30 days. A task past it is ended, then killed.
    do_return_results : bool, optional
        Return ``dataRef``, ``metadata`` and ``result`` too.
    config : mapping or object, optional
        Values by dotted name for all tasks, or a whole configuration.
    runner_class : type, optional
        Default that of the task class, else `TaskRunner`.
    log : logging.Logger, optional
        Where the runner logs.
    **options
        ``clobber_config``, ``no_backup_config``, ``clobber_versions``, ``no_versions``, ``do_raise`` and
        ``store``, as on the command line of `astra.tasks.task_command`.

    Returns
    -------
    results : list of SimpleNamespace
        One for each data id, in order, with ``exitStatus``; empty if nothing could start.

    Raises
    ------
    TypeError
        If there is no such option.
    ConfigError
        If the configuration has no such value.
    """
    from astra.tasks.task_command import configured_command

    command = configured_command(
        task_class, config, id=list(data_ids), processes=processes, timeout=timeout, log=log, **options
    )
    chosen = runner_class or task_class.runner_class or TaskRunner
    runner = chosen(task_class, command, do_return_results)
    return list(runner.run(command))


def count_failed(results: Iterable[Any], log: logging.Logger) -> int:
    """Count the results whose exit status is not 0; one without counts as success, with a warning."""
    statuses = [getattr(result, "exitStatus", None) for result in results]
    if None in statuses:
        log.warning("%d results have no exitStatus: taken for success", statuses.count(None))
    return sum(bool(status) for status in statuses)


def _words(data_id: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in data_id.items())


def _file_name(data_id: Mapping[str, Any]) -> str:
    return re.sub(r"[^\w.,=+-]", "_", _words(data_id))


@contextmanager
def _again(task: Any) -> Iterator[None]:
    """Let a task run inside the block although an earlier invocation did it; Luigi keeps the object."""
    before = task.rerun
    task.rerun = True
    try:
        yield
    finally:
        task.rerun = before


def _drive(task: Any, generator: Any) -> Any:
    """Exhaust a `run` that yields requirements; they must be there."""
    try:
        yielded = next(generator)
        while True:
            asked = dynamic_requirements(yielded)
            missing = [needed for needed in asked.flat_requirements if not needed.complete()]
            if missing:
                message = f"{task!r} asks for {missing[0]!r}, which is not there; run it first"
                generator.throw(MissingDataError(message, task_id=task.task_id))
            yielded = generator.send(asked.paths)
    except StopIteration as end:
        return end.value
