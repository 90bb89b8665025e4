"""``astra workers --slurm``: workers as an array of jobs under Slurm; each runs `astra.cli.slurm_worker`.

The token of the scheduler is in a file that nobody else may read; no command line shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from astra import config
from astra.errors import ConfigError

if TYPE_CHECKING:
    from astra.executors.slurm_settings import SlurmSettings

SECTION = "workers"
RESOURCES = ("partition", "account", "constraint", "time", "memory", "cpus", "max_running")
IDLE_EXIT_S = 300.0
ARGUMENTS = "workers.json"
TOKEN = "token"  # noqa: S105  # the name of a file


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

    settings, count = _settings(options), options.count or 1
    limit = SlurmExecutor.max_jobs
    if count > limit:
        message = f"--count must be at most {limit} with --slurm, found {count}"
        raise ConfigError(message, count=count)
    name = f"astra-workers-{uuid.uuid4().hex[:16]}"
    folder = config.root() / "jobs" / name
    _write_folder(folder, name, options, settings.cpus)
    command = (sys.executable, "-m", "astra.cli.slurm_worker", str(folder))
    job = SlurmExecutor().submit(Order(name, command, count, folder, settings))
    print(
        f"{count} workers are submitted as Slurm job {job}; their logs: {folder}; to end them: scancel {job}"
    )
    return 0


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
    from astra.tasks.job_ticket import write_private, write_ticket

    url = options.scheduler_url or config.scheduler_url()
    if urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}:
        print(f"astra: the scheduler {url} can be reached from this host's nodes alone", file=sys.stderr)
    write_ticket(folder, config.database_url(), name)
    arguments = ["--scheduler-url", url, "--count", str(cpus)]
    arguments += ["--idle-exit", str(options.idle_exit or IDLE_EXIT_S)]
    if options.modules:
        arguments += ["--modules", *options.modules]
    token = read_token(options.token_file)
    if token:
        write_private(folder / TOKEN, token)
        arguments += ["--token-file", str(folder / TOKEN)]
    write_private(folder / ARGUMENTS, json.dumps(arguments))
