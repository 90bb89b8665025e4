"""``astra retry``: the commands that run failed tasks again."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from astra.cli.place import existing_database
from astra.cli.status import add_selection, selection_of
from astra.cli.terminal import escape, print_json, print_lines

if TYPE_CHECKING:
    from astra.database.stored import StoredTask
    from astra.tasks.commands import LuigiCommand

DESCRIPTION = """Print the luigi commands that run tasks again, or run them. Members of one family whose other
parameters are equal go into one batch. Only what is not done is done."""


def add_commands(commands: Any) -> None:
    """Add ``retry``."""
    retry = commands.add_parser("retry", help="run failed tasks again", description=DESCRIPTION)
    what = retry.add_mutually_exclusive_group(required=True)
    what.add_argument("task_id", nargs="?", metavar="TASK_ID", help="id of the task; enough to be unique")
    what.add_argument("--failed", action="store_true", help="all tasks that failed")
    retry.add_argument("--blocked", action="store_true", help="with --failed, then also what they block")
    add_selection(retry)
    retry.add_argument("--run", action="store_true", help="run the commands, one after the other")
    retry.add_argument("--json", action="store_true", help="print JSON")
    retry.set_defaults(function=retry_tasks)


def retry_tasks(options: argparse.Namespace) -> int:
    """Print or run the commands; return 1 if one of them fails."""
    from astra.tasks.commands import make_commands

    tasks = _chosen(options)
    commands = make_commands(tasks, options.root)
    if options.json:
        print_json([{"command": command.text, "not_said": command.not_said} for command in commands])
    elif not options.run:
        print_lines(command.text for command in commands)
    if not commands:
        print("nothing has failed", file=sys.stderr)
    for command in commands:
        for remark in command.remarks():
            print(f"astra: {escape(remark)}", file=sys.stderr)
    return max((_run(command) for command in commands), default=0) if options.run else 0


def _chosen(options: argparse.Namespace) -> list[StoredTask]:
    from astra.database.engine import reading
    from astra.database.lineage import get_task_id
    from astra.database.selection import status_name
    from astra.database.stored import get_stored_task, unfinished_tasks

    with reading(existing_database()) as connection:
        if options.failed:
            states = ("failed", "blocked") if options.blocked else ("failed",)
            return unfinished_tasks(connection, selection_of(options), states)
        task = get_stored_task(connection, get_task_id(connection, options.task_id))
    state = status_name(task.status_code)
    if state in ("done", "running"):
        remedy = "; astra forget makes it run again" if state == "done" else ""
        print(f"astra: {escape(task.task_id)} is {state}{remedy}", file=sys.stderr)
    return [task]


def _run(command: LuigiCommand) -> int:
    """Run a command with this Python; return 0 or 1."""
    print(command.text, file=sys.stderr, flush=True)
    words = [sys.executable, "-m", "luigi", *command.words]
    done = subprocess.run(words, env={**os.environ, **command.environment}, check=False)  # noqa: S603
    return int(done.returncode != 0)
