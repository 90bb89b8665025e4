"""The command `astra`: look at the state, run again, forget, and keep the database and the place in order.

Results go to standard output, messages to standard error; the exit status is 0, 1 for an error and 2 for
wrong usage. There is one module for each group of commands, each of which imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from astra import config
from astra.cli import (
    alerts,
    apdb,
    doctor,
    forget,
    instrument,
    options,
    report,
    retry,
    scheduler,
    schema,
    show,
    status,
    web,
    workers,
)
from astra.cli.terminal import escape
from astra.errors import AstraError
from astra.tasks.runner import astra_version

EXIT_ERROR = 1
GROUPS = (
    status,
    show,
    retry,
    forget,
    alerts,
    apdb,
    schema,
    instrument,
    options,
    report,
    scheduler,
    web,
    workers,
    doctor,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="astra", description="Look at the state of astra's tasks.")
    parser.add_argument("--version", action="version", version=f"astra {astra_version()}")
    parser.add_argument(
        "--root", help="folder of products and of the default database [default: ASTRA_ROOT or .]"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 for an error, 2 for wrong usage."""
    given = build_parser().parse_args(arguments)
    if given.root:
        os.environ["ASTRA_ROOT"] = given.root
        if config.own_database(config.root()).exists():
            os.environ["ASTRA_DATABASE_URL"] = config.own_database_url(config.root())
    try:
        return int(given.function(given) or 0)
    except AstraError as exc:
        print(f"astra: {escape(exc)}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        # The reader has left (astra status | head): nothing more to say, not even at interpreter shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
