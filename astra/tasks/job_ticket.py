"""What a job must know to do as its submitter would: a file that both can read, and nobody else.

It holds the configuration with which the submitter runs, whatever files and options that came from, and the
variables of its environment that may hold passwords: no environment and no command line of a job does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser

from astra import config
from astra.executors.interface import is_private

TICKET = "ticket.json"
JOBS = "jobs"


def write_ticket(folder: Path, database_url: str, submission: str) -> None:
    """Write the ticket of an array of jobs into its folder, which is made.

    Parameters
    ----------
    folder : Path
        Folder of the array.
    database_url : str
        Where its rows are.
    submission : str
        Its name.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = {name: value for name, value in os.environ.items() if is_private(name, value)}
    own = {"ASTRA_ROOT": str(config.root()), "ASTRA_DATABASE_URL": config.database_url()}
    content = {
        "database_url": database_url,
        "submission": submission,
        "environment": {**private, **own},
        "configuration": _configuration(),
        "path": [str(Path(entry or ".").absolute()) for entry in sys.path],
    }
    write_private(folder / TICKET, json.dumps(content))


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, not even while it is written."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def read_ticket(folder: Path) -> tuple[str, str]:
    """Take over the configuration of a ticket; return the URL of the database and the name of the array."""
    content = json.loads((folder / TICKET).read_text())
    os.environ.update(content["environment"])
    sys.path += [entry for entry in content["path"] if entry not in sys.path]
    stored = luigi.configuration.get_config()
    for section, options in content["configuration"].items():
        for name, value in options.items():
            stored.set(section, name, value)
    os.environ[config.EXECUTOR_VARIABLE] = "local"  # what a task starts from within runs here
    return content["database_url"], content["submission"]


def _configuration() -> dict[str, dict[str, Any]]:
    """Return all options that are set: in files, by this program, and on the command line for a family."""
    stored = luigi.configuration.get_config()
    if hasattr(stored, "data"):  # TOML
        found = {section: dict(options) for section, options in stored.data.items()}
    else:
        found = {name: dict(stored.items(name, raw=True)) for name in stored.sections()}
    parser = CmdlineParser.get_instance()
    if parser is not None:
        for section, options in _given(parser).items():
            found.setdefault(section, {}).update(options)
    return found


def _given(parser: CmdlineParser) -> dict[str, dict[str, Any]]:
    """Return the options of the command line that hold for all tasks of a family."""
    given = vars(parser.known_args)
    found: dict[str, dict[str, Any]] = {}
    for family, is_without_section, name, parameter in luigi.task_register.Register.get_all_params():
        value = None if is_without_section else given.get(parameter._parser_global_dest(name, family))  # noqa: SLF001
        if value not in (None, False):
            found.setdefault(family, {})[name] = "true" if value is True else str(value).replace("%", "%%")
    return found
