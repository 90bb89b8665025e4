"""``astra forget``: remove the state of a task, so that it runs again."""

from __future__ import annotations

import argparse
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from astra.cli.place import existing_database
from astra.cli.terminal import print_json, print_lines, table_lines
from astra.errors import StateError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from astra.database.forget import Forgettable, RunningAttempt

LISTED = 20
DESCRIPTION = """Remove the state of a task, with its attempts, figures and lineage, so that it runs again.
Files and the rows of the survey are never removed."""


def add_commands(commands: Any) -> None:
    """Add ``forget``."""
    forget = commands.add_parser(
        "forget", help="remove the state of a task, so that it runs again", description=DESCRIPTION
    )
    forget.add_argument("task_id", metavar="TASK_ID", help="id of the task; enough of it to be unique")
    forget.add_argument(
        "--cascade", action="store_true", help="also the members of a batch, and all that depends on them"
    )
    forget.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    forget.add_argument("--force", action="store_true", help="even what is running; its process is not ended")
    forget.add_argument("--json", action="store_true", help="print JSON")
    forget.set_defaults(function=forget_task)


def forget_task(options: argparse.Namespace) -> int:
    """Print what is forgotten, ask, and forget it; return 1 if the answer is no."""
    from astra.database.engine import reading, transaction
    from astra.database.forget import forget_tasks
    from astra.database.lineage import get_task_id

    url = existing_database()
    with reading(url) as connection:
        task_id = get_task_id(connection, options.task_id)
        tasks = _chosen(connection, task_id, options)
    if not options.json:
        print_lines(_lines(tasks))
    if not options.yes and not _confirmed(len(tasks)):
        print("astra: nothing was forgotten", file=sys.stderr)
        return 1
    # Looked up again: what was asked about may have begun to run since.
    with transaction(url) as connection:
        tasks = _chosen(connection, task_id, options)
        forget_tasks(connection, [task.pk for task in tasks])
    if options.json:
        print_json({"forgotten": [task.task_id for task in tasks]})
    else:
        print(f"astra: forgot {len(tasks)} task{'s' * (len(tasks) != 1)}; files stay", file=sys.stderr)
    return 0


def _chosen(connection: Connection, task_id: str, options: argparse.Namespace) -> list[Forgettable]:
    """Return the tasks to forget; refuse if one of them runs."""
    from astra.database.forget import forgettable_tasks, running_attempts

    tasks = forgettable_tasks(connection, task_id, cascade=options.cascade)
    if not options.force:
        _require_idle(running_attempts(connection, [task.pk for task in tasks]))
    return tasks


def _require_idle(attempts: Sequence[RunningAttempt]) -> None:
    """Refuse if something runs; a process of this host that is gone does not count."""
    import psutil

    for attempt in attempts:
        if attempt.host != socket.gethostname() or psutil.pid_exists(attempt.pid):
            message = (
                f"{attempt.task_id} is running, on host {attempt.host} in process {attempt.pid}; "
                "end that first, or say --force"
            )
            raise StateError(message, task_id=attempt.task_id, host=attempt.host, pid=attempt.pid)


def _lines(tasks: Sequence[Forgettable]) -> list[str]:
    """Say what will be forgotten: task by task, or where there are many by family."""
    if len(tasks) <= LISTED:
        rows: list[tuple[object, object]] = [(task.task_id, task.state) for task in tasks]
        return table_lines(rows[0], rows[1:]) if rows else []
    counts = Counter((task.family, task.state) for task in tasks)
    families = [(family, state, number) for (family, state), number in counts.items()]
    return table_lines(("task", "state", "number"), families)


def _confirmed(number: int) -> bool:
    """Ask on a terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        print("astra: there is no terminal to ask on; say --yes", file=sys.stderr)
        return False
    print(f"Forget {number} task{'s' * (number != 1)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
