"""``astra workers --slurm``: workers as an array of jobs under Slurm; each runs `astra.cli.slurm_worker`.

The token of the scheduler is in a file that nobody else may read; no command line shows it. The worker that
ends last removes it; if that was killed, the next ``astra workers --slurm`` does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from astra import config
from astra.cli.terminal import escape
from astra.errors import BusyError, ConfigError, CrowdedError

if TYPE_CHECKING:
    from astra.executors.slurm import SlurmExecutor
    from astra.executors.slurm_settings import SlurmSettings

SECTION = "workers"
RESOURCES = ("partition", "account", "constraint", "time", "memory", "cpus", "max_running")
IDLE_EXIT_S = 300.0
EXIT_USAGE, EXIT_NO_SCHEDULER = 2, 40
ASKED_S = 5.0  # for which the scheduler is asked whether it takes the workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``astra workers --slurm``."""
    group = parser.add_argument_group(
        "under Slurm", "Options that are not given are those of [slurm:workers] and [slurm] in luigi.cfg."
    )
    group.add_argument(
        "--slurm",
        action="store_true",
        help="submit an array of --count jobs [default: 1], each a worker of as many tasks at a time as it "
        f"has cores, and leave; a job ends when idle [default: for {IDLE_EXIT_S:g} s], and in good order "
        "before its time limit",
    )
    words = {
        "partition": "partition of the jobs",
        "account": "account of the jobs",
        "constraint": "features that their nodes must have",
        "time": "their time limit, as 120 [min] or 02:00:00",
        "memory": "memory of each, as 4G",
        "cpus": "cores of each",
        "max_running": "most jobs that run at a time",
    }
    for name in RESOURCES:
        group.add_argument(f"--{name.replace('_', '-')}", help=words[name])


def refuse_resources(options: argparse.Namespace) -> None:
    """End with the wrong usage of options for jobs where no jobs are asked for."""
    given = [f"--{name.replace('_', '-')}" for name in RESOURCES if getattr(options, name) is not None]
    if given:
        print(f"astra workers: error: {', '.join(given)} is for jobs: give --slurm, too", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def submit_workers(options: argparse.Namespace) -> int:
    """Submit the jobs; return the exit status.

    Raises
    ------
    ConfigError
        If an option cannot be used, or Slurm refuses the array.
    UnavailableError
        If Slurm does not answer.
    """
    from astra.executors.interface import Order
    from astra.executors.slurm import SlurmExecutor
    from astra.tasks.job_folders import WORKERS
    from astra.tasks.job_ticket import JOBS

    settings, count, executor = _settings(options), options.count or 1, SlurmExecutor()
    limit = executor.largest_array(settings)
    if count > limit:
        message = f"--count must be at most {limit} with --slurm, found {count}"
        raise ConfigError(message, count=count)
    if (refused := _refused_by_scheduler(options)) is not None:
        print(f"astra: {escape(refused)}; nothing is submitted", file=sys.stderr)
        return EXIT_NO_SCHEDULER
    _tidy_up(executor)
    name = f"{WORKERS}{uuid.uuid4().hex[:16]}"
    folder = config.root() / JOBS / name
    _write_folder(folder, name, options, settings.cpus)
    command = (sys.executable, "-m", "astra.cli.slurm_worker", str(folder))
    try:
        job = executor.submit(Order(name, command, count, folder, settings, "astra workers"))
    except (ConfigError, BusyError) as exc:  # nothing was submitted
        shutil.rmtree(folder)
        if isinstance(exc, CrowdedError) and count > 1:
            message = f"{exc}; ask for fewer with --count"
            raise CrowdedError(message, **exc.context) from exc
        raise
    print(
        f"{count} workers are submitted as Slurm job {job}; their logs: {folder}; to end them: scancel {job}"
    )
    return 0


def _refused_by_scheduler(options: argparse.Namespace) -> str | None:
    """Return why the scheduler would refuse the workers; that it is not heard from here may mean nothing."""
    from astra.scheduler.connections import Connections, RefusedError

    connections = Connections(options.scheduler_url or config.scheduler_url())
    try:
        connections.post("/api/bulk_protocol", b"{}", "application/json", ASKED_S)
    except RefusedError as exc:
        return None if exc.status == 404 else str(exc)  # which a stock luigid answers
    except Connections.raises as exc:
        message = (
            f"astra: the scheduler at {connections.url} does not answer this host: {exc}; workers that do"
        )
        print(f"{message} not reach it either end with status {EXIT_NO_SCHEDULER}", file=sys.stderr)
    finally:
        connections.close()
    return None


def _tidy_up(executor: SlurmExecutor) -> None:
    """Remove what workers that are gone have left: the last one may have been killed."""
    from astra.tasks.job_folders import SECRET_FILES, remove_old, remove_secrets, worker_folders

    folders = worker_folders(config.root())
    for folder in folders:
        if any((folder / name).exists() for name in SECRET_FILES) and executor.is_over(folder.name):
            remove_secrets(folder)
    remove_old(folders)


def _settings(options: argparse.Namespace) -> SlurmSettings:
    from astra.executors.slurm_settings import SlurmSettings

    given = {name: getattr(options, name) for name in RESOURCES if getattr(options, name) is not None}
    declared: Any = dict(config.slurm.get_params())
    try:
        typed = {name: declared[name].parse(text) for name, text in given.items()}
    except ValueError as exc:
        message = f"the options of the jobs cannot be read: {exc}"
        raise ConfigError(message) from exc
    return SlurmSettings.of({**config.executor_options("slurm", SECTION), **typed})


def _write_folder(folder: Path, name: str, options: argparse.Namespace, cpus: int) -> None:
    """Write what the jobs must know: configuration, arguments, and the token for their eyes alone."""
    from astra.scheduler.access import read_token
    from astra.tasks.job_folders import TOKEN, WORKER_ARGUMENTS
    from astra.tasks.job_ticket import write_private, write_ticket

    url = options.scheduler_url or config.scheduler_url()
    if urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}:
        print(f"astra: the scheduler {url} can be reached from this host's nodes alone", file=sys.stderr)
    write_ticket(folder, config.database_url(), name)
    arguments = ["--scheduler-url", url, "--count", str(cpus)]
    arguments += ["--idle-exit", str(options.idle_exit or IDLE_EXIT_S)]
    if options.modules:
        arguments += ["--modules", *options.modules]
    token = read_token()
    if token:
        write_private(folder / TOKEN, token)
        arguments += ["--token-file", str(folder / TOKEN)]
    content = {"arguments": arguments, "count": options.count or 1}
    write_private(folder / WORKER_ARGUMENTS, json.dumps(content))
