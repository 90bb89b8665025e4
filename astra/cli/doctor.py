"""``astra doctor``: whether this place can run tasks, and what to do if not."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import luigi

from astra import config
from astra.cli.options import list_options
from astra.cli.place import SQLITE_PREFIX
from astra.cli.terminal import escape, print_json, print_lines
from astra.errors import ConfigError, SchemaVersionError, StateError

OK, NOTE, PROBLEM = "ok", "note", "problem"
PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 14)
LEAST_FREE_GB = 1.0
CONNECT_TIMEOUT_S = 2.0
EXTRAS = {"postgres": "psycopg", "kafka": "confluent_kafka", "parquet": "pyarrow"}
SCHEDULER_OPTIONS = ("scheduler_host", "scheduler_port", "scheduler_url")
DESCRIPTION = """Look whether this place can run tasks: Python, configuration, root, disk, database, extras,
numba's cache and the scheduler. Say what to do about each problem; exit with 1 if there is one."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Parameters
    ----------
    name : str
        What was looked at.
    verdict : str
        ok, note or problem.
    found : str
        What is there.
    remedy : str
        What to do about a problem.
    """

    name: str
    verdict: str
    found: str
    remedy: str = ""


def add_commands(commands: Any) -> None:
    """Add ``doctor``."""
    doctor = commands.add_parser(
        "doctor", help="whether this place can run tasks, and what to do if not", description=DESCRIPTION
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(function=print_findings)


def print_findings(options: argparse.Namespace) -> int:
    """Print the findings; return 1 if one of them is a problem."""
    findings = [finding for check in CHECKS for finding in check()]
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_lines(line for finding in findings for line in _lines(finding))
    return int(any(finding.verdict == PROBLEM for finding in findings))


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.verdict:<8} {finding.name}: {escape(finding.found)}"
    if finding.remedy:
        yield f"{'':<8} -> {escape(finding.remedy)}"


def check_python() -> Iterator[Finding]:
    """Look at the version of Python."""
    found = ".".join(map(str, sys.version_info[:3]))
    if PYTHON_FROM <= sys.version_info[:2] < PYTHON_BELOW:
        yield Finding("Python", OK, found)
        return
    first, last = ".".join(map(str, PYTHON_FROM)), f"{PYTHON_BELOW[0]}.{PYTHON_BELOW[1] - 1}"
    yield Finding("Python", PROBLEM, found, f"make an environment with Python {first} to {last}")


def check_configuration() -> Iterator[Finding]:
    """Look whether every option can be read."""
    options = list(list_options())
    bad = [option for option in options if option.problem]
    for option in bad:
        found = f"[{option.section}] {option.name} {option.problem}"
        yield Finding("configuration", PROBLEM, found, f"correct it: {option.source}")
    if not bad:
        files = sorted({option.source for option in options if "/" in option.source})
        yield Finding("configuration", OK, ", ".join(files) or "no luigi.cfg sets an option of astra")


def check_root() -> Iterator[Finding]:
    """Look whether products can be written, and how much."""
    root = config.root()
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    problem = _why_unwritable(place)
    if problem:
        remedy = "make it writable, or name another folder in ASTRA_ROOT"
        yield Finding("root", PROBLEM, f"{root} cannot be written: {problem}", remedy)
    else:
        yield Finding("root", OK, f"{root}" + ("" if place == root else ", made by the first run"))
    free = shutil.disk_usage(place).free / 1e9
    if free < LEAST_FREE_GB:
        remedy = "remove what is not needed, or name a folder on another disk in ASTRA_ROOT"
        yield Finding("disk", PROBLEM, f"{free:.1f} GB free at {place}, {LEAST_FREE_GB:.1f} needed", remedy)
    else:
        yield Finding("disk", OK, f"{free:.1f} GB free at {place}")


def _why_unwritable(folder: Path) -> str:
    """Say why a file cannot be written in a folder; nothing if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as exc:
        return exc.strerror or str(exc)


def check_database() -> Iterator[Finding]:
    """Look whether the database can be reached, and is at the revision of the code."""
    from astra.database.engine import closing_on_error, mask_url, open_engine
    from astra.database.revision import head_revision, require_current

    try:
        url = config.database_url()
        path = Path(url.removeprefix(SQLITE_PREFIX))
        if url.startswith(SQLITE_PREFIX) and not path.exists():
            yield Finding("database", OK, f"{mask_url(url)} is not there yet, the first run makes it")
            return
        with closing_on_error(open_engine(url)) as engine:
            require_current(engine)
            engine.dispose()
    except SchemaVersionError as exc:
        yield Finding("database", PROBLEM, str(exc), "astra db upgrade")
    except ConfigError as exc:
        yield Finding("database", PROBLEM, str(exc), "correct ASTRA_DATABASE_URL or [astra] database_url")
    except StateError as exc:
        yield Finding("database", PROBLEM, str(exc), "start it, or correct ASTRA_DATABASE_URL")
    else:
        yield Finding("database", OK, f"{mask_url(url)} at revision {head_revision()}")


def check_extras() -> Iterator[Finding]:
    """Look which optional packages could be imported, without importing them."""
    needed = {"postgres"} if os.environ.get("ASTRA_DATABASE_URL", "").startswith("postgres") else set()
    for extra, module in EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield Finding(f"extra {extra}", OK, f"{module} is installed")
            continue
        remedy = f'pip install ".[{extra}]"'
        verdict = PROBLEM if extra in needed else NOTE
        yield Finding(f"extra {extra}", verdict, f"{module} is not installed", remedy)


def check_numba_cache() -> Iterator[Finding]:
    """Look whether numba can keep what it compiles."""
    folder = os.environ.get("NUMBA_CACHE_DIR", "")
    problem = "NUMBA_CACHE_DIR is not set" if not folder else _why_unwritable(Path(folder))
    if problem:
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        yield Finding("numba cache", PROBLEM, f"{folder} {problem}".strip(), remedy)
    else:
        yield Finding("numba cache", OK, folder)


def check_scheduler() -> Iterator[Finding]:
    """Look whether the configured scheduler listens."""
    try:
        core = luigi.interface.core()
    except (ValueError, luigi.parameter.ParameterException) as exc:
        yield Finding("scheduler", PROBLEM, str(exc), "correct the section [core] of luigi.cfg")
        return
    if core.local_scheduler:
        yield Finding("scheduler", OK, "each run has its own ([core] local_scheduler)")
        return
    if not _scheduler_is_configured():
        found = "none is configured: use --local-scheduler, or luigid --address 127.0.0.1"
        yield Finding("scheduler", NOTE, found)
        return
    url = urlsplit(core.scheduler_url or f"http://{core.scheduler_host}:{core.scheduler_port}")
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as exc:
        remedy = f"luigid --address 127.0.0.1 --port {port}, or --local-scheduler"
        yield Finding("scheduler", PROBLEM, f"{host}:{port} does not answer: {exc}", remedy)
    else:
        yield Finding("scheduler", OK, f"{host}:{port} answers")


def _scheduler_is_configured() -> bool:
    read = luigi.configuration.get_config()
    names = [prefix + name for name in SCHEDULER_OPTIONS for prefix in ("", "default_")]
    return any(read.has_option("core", form) for name in names for form in (name, name.replace("_", "-")))


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_configuration,
    check_root,
    check_database,
    check_extras,
    check_numba_cache,
    check_scheduler,
)
