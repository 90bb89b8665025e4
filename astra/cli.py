"""The command `astra`: look at the state, and keep the database at the revision of the code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from astra import config
from astra.errors import AstraError, MissingDataError
from astra.tasks.runner import astra_version

EXIT_ERROR = 1
MESSAGES_SHOWN = 5


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="astra", description="Look at the state of astra's tasks.")
    parser.add_argument("--version", action="version", version=f"astra {astra_version()}")
    parser.add_argument(
        "--root", help="folder of products and of the default database [default: ASTRA_ROOT or .]"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how many tasks of each family are done, failed, blocked ...")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(function=print_status)
    database = commands.add_parser("db", help="the state database")
    actions = database.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, function, text in (
        ("upgrade", upgrade_database, "create the tables, or move them to the revision of this code"),
        ("current", print_revision, "print the revision of the database and that of this code"),
    ):
        actions.add_parser(name, help=text, description=text).set_defaults(function=function)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 for an error, 2 for wrong usage."""
    options = build_parser().parse_args(arguments)
    if options.root:
        os.environ["ASTRA_ROOT"] = options.root
        if config.own_database(config.root()).exists():
            os.environ["ASTRA_DATABASE_URL"] = config.own_database_url(config.root())
    try:
        options.function(options)
    except AstraError as exc:
        print(f"astra: {exc}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        # The reader has left (astra status | head): nothing more to say, not even at interpreter shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def print_status(options: argparse.Namespace) -> None:
    """Print the number of tasks by family and state, and why the last ones failed."""
    from astra.database.engine import mask_url, reading
    from astra.database.queries import failure_messages, family_counts

    url = _existing_database()
    with reading(url) as connection:
        counts = family_counts(connection)
        failures = failure_messages(connection)
    if options.json:
        report = {
            "database": mask_url(url),
            "families": [count.as_dict() for count in counts],
            "failures": [{"task_id": task_id, "message": message} for task_id, message in failures],
        }
        print(json.dumps(report, indent=2))
        return
    print(f"database {mask_url(url)}")
    columns = ("done", "failed", "blocked", "running", "pending", "total")
    width = max([len(count.family) for count in counts] + [len("task")])
    print(f"{'task':<{width}}" + "".join(f"{name:>9}" for name in columns))
    for count in counts:
        numbers = count.as_dict()
        print(f"{count.family:<{width}}" + "".join(f"{numbers[name]:>9}" for name in columns))
    if not counts:
        print("no task has run yet")
    for task_id, message in failures[:MESSAGES_SHOWN]:
        print(f"{task_id}: {message}")
    if len(failures) > MESSAGES_SHOWN:
        print("... and more; see the view task_state, or astra status --json")


def upgrade_database(_options: argparse.Namespace) -> None:
    """Move the database to the revision of this code."""
    from astra.database.engine import mask_url, open_engine
    from astra.database.revision import current_revision, head_revision, upgrade

    url = config.database_url()
    engine = open_engine(url)
    before = current_revision(engine)
    upgrade(engine)
    engine.dispose()
    print(f"database {mask_url(url)}: revision {before or 'none'} -> {head_revision()}")


def print_revision(_options: argparse.Namespace) -> None:
    """Print the revision of the database and that of this code."""
    from astra.database.engine import mask_url, open_engine
    from astra.database.revision import current_revision, head_revision

    url = _existing_database()
    engine = open_engine(url)
    found = current_revision(engine) or "none"
    engine.dispose()
    print(f"database {mask_url(url)}: revision {found}, this code needs {head_revision()}")


def _existing_database() -> str:
    """Return the URL of the database; looking at state must not make a new, empty file."""
    url = config.database_url()
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.exists():
        message = f"there is no database {path}; run a task first, or name its folder with --root"
        raise MissingDataError(message, path=str(path))
    return url


if __name__ == "__main__":
    sys.exit(main())
