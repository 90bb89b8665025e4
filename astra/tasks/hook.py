"""What astra adds to the ``luigi`` command: options without prefix, which concern the root task alone.

Importing astra calls `install`, which gives Luigi's parser of command lines another way to make the root
task, and lets Luigi's runs use the worker of astra (`astra.tasks.runner.AstraWorker`), its schedulers
(`astra.scheduler`) and its summary of a run (`astra.tasks.summary`). With ``plain_luigi = true`` in the
section ``[astra]`` of luigi.cfg all are Luigi's own.

``--from-table FILE``
    The members of the root task's batch are the rows of a table, see `astra.tasks.tables`. A table with more
    rows than the task's ``max_batch_size`` runs in chunks, see `astra.tasks.chunks`.
``--clobber-config``, ``--clobber-versions``, ``--no-versions``, ``--no-backup-config``
    What to do where configuration, schemas or package versions differ from those stored in the root, see
    `astra.tasks.precall`.
``--dry-run``
    List what would run, and why, and end; see `astra.tasks.dry_run`.
"""

from __future__ import annotations

import sys
from typing import Any

import luigi
import luigi.execution_summary
import luigi.interface
from luigi.cmdline_parser import CmdlineParser
from luigi.parameter import ParameterException

from astra.errors import ConfigError
from astra.scheduler.central import CentralScheduler
from astra.scheduler.remote import RemoteScheduler
from astra.tasks import summary
from astra.tasks.attended import prepare
from astra.tasks.runner import AstraWorker


class AstraOptions(luigi.Config):
    """Options of the ``luigi`` command for its root task."""

    use_cmdline_section = False

    from_table = luigi.Parameter(
        default="",
        always_in_help=True,
        description="Table (CSV, ECSV, FITS or Parquet) with a row for each member of the root task's batch; "
        "its columns are the batch parameters.",
    )
    clobber_config = luigi.BoolParameter(
        default=False, always_in_help=True, description="Replace the stored configuration and schemas."
    )
    no_backup_config = luigi.BoolParameter(
        default=False, always_in_help=True, description="Keep no copy of a replaced configuration."
    )
    clobber_versions = luigi.BoolParameter(
        default=False, always_in_help=True, description="Replace the stored package versions."
    )
    no_versions = luigi.BoolParameter(
        default=False, always_in_help=True, description="Do not look at package versions."
    )
    dry_run = luigi.BoolParameter(
        default=False,
        always_in_help=True,
        description="List what would run, and the reason for each, and end.",
    )
    dry_run_members = luigi.IntParameter(
        default=20, always_in_help=True, description="With --dry-run: members of a batch to list, at most."
    )


def install() -> None:
    """Put the options before Luigi's parser of command lines, unless the configuration forbids it."""
    plain = luigi.configuration.get_config().getboolean("astra", "plain_luigi", False)
    AstraOptions._visible_in_registry = not plain  # noqa: SLF001  # else its options would be parsed
    CmdlineParser.get_task_obj = _luigi_root_task if plain else root_task
    CmdlineParser._build_parser = staticmethod(_luigi_build_parser if plain else build_parser)  # noqa: SLF001
    # Luigi takes a factory of workers from `luigi.build` alone, not from its command line.
    factory = luigi.interface._WorkerSchedulerFactory  # noqa: SLF001
    factory.create_worker = _luigi_create_worker if plain else _create_worker
    factory.create_local_scheduler = _luigi_create_local if plain else _create_local_scheduler
    factory.create_remote_scheduler = _luigi_create_remote if plain else _create_remote_scheduler
    lines = summary.luigi_lines if plain else summary.summary_lines
    luigi.execution_summary._get_str = lines  # noqa: SLF001
    reasons = summary.luigi_reasons if plain else summary.find_reasons
    luigi.execution_summary._populate_unknown_statuses = reasons  # noqa: SLF001


_luigi_root_task = CmdlineParser.get_task_obj
_luigi_build_parser = CmdlineParser._build_parser  # noqa: SLF001
_luigi_create_worker = luigi.interface._WorkerSchedulerFactory.create_worker  # noqa: SLF001
_luigi_create_local = luigi.interface._WorkerSchedulerFactory.create_local_scheduler  # noqa: SLF001
_luigi_create_remote = luigi.interface._WorkerSchedulerFactory.create_remote_scheduler  # noqa: SLF001


def _create_worker(
    _factory: Any, scheduler: Any, worker_processes: int, assistant: bool = False
) -> luigi.worker.Worker:
    return AstraWorker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)


def _create_local_scheduler(_factory: Any) -> luigi.scheduler.Scheduler:
    return CentralScheduler(prune_on_get_work=True, record_task_history=False)


def _create_remote_scheduler(factory: Any, url: str) -> luigi.rpc.RemoteScheduler:
    """Make the proxy of a central scheduler; a socket in the file system is left to Luigi's own."""
    if not url.startswith("http+unix://"):
        scheduler = RemoteScheduler(url)
        scheduler.greet()
        return scheduler
    proxy: luigi.rpc.RemoteScheduler = _luigi_create_remote(factory, url)
    return proxy


def build_parser(root_task: str | None = None, help_all: bool = False) -> Any:
    """Make Luigi's parser; until it knows the root task, what may be an option of that task is no error.

    Luigi looks for the name of that task first, and would refuse its ``--n`` as an abbreviation of several
    options that begin so.
    """
    parser = _luigi_build_parser(root_task, help_all)
    if root_task is None:
        matches = parser._get_option_tuples  # noqa: SLF001
        parser._get_option_tuples = lambda text: found if len(found := matches(text)) == 1 else []  # noqa: SLF001
    return parser


def is_from_command_line(task: luigi.Task) -> bool:
    """Say whether a task is the one that the command line of this process names."""
    return task is _named.get("task")


_named: dict[str, luigi.Task] = {}


def root_task(parser: CmdlineParser) -> Any:
    """Make the root task that a command line names."""
    try:
        task = _named_task(parser)
    except (ValueError, ParameterException) as exc:
        message = f"the command line cannot be read: {exc}"
        raise ConfigError(message) from exc
    if AstraOptions().dry_run:
        from astra.tasks.dry_run import write_plan_lines

        write_plan_lines(task, AstraOptions().dry_run_members)
        sys.exit(0)
    _named["task"] = task
    prepare(task)
    return task


def _named_task(parser: CmdlineParser) -> Any:
    table = AstraOptions().from_table
    if not table:
        return _luigi_root_task(parser)
    cls, given = parser._get_task_cls(), parser._get_task_kwargs()  # noqa: SLF001  # no public names
    return task_from_table(cls, table, given)


def task_from_table(cls: Any, table: str, given: dict[str, Any]) -> Any:
    """Make the task, or its chunks if the class takes no batch as large.

    Parameters
    ----------
    cls : type
        Class of the task.
    table : path
        The table.
    given : dict
        Other parameters.
    """
    from astra.tasks.chunks import InChunks
    from astra.tasks.tables import batch_values

    task = cls(**given, **batch_values(cls, table, given))
    return InChunks.of(task) if task.get_batch_size() > cls.max_batch_size else task
