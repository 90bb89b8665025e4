"""``astra status``: how many tasks are in which state, and why the last ones failed."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from typing import TYPE_CHECKING, Any

from astra.cli.moments import moment_text, night, seconds_text
from astra.cli.place import existing_database
from astra.cli.terminal import escape, print_json, print_lines, table_lines
from astra.tasks.progress import changed_families

if TYPE_CHECKING:
    from astra.database.selection import Selection

MESSAGES_SHOWN = 5
WATCH_INTERVAL_S = 2.0
CLEAR_SCREEN = "\x1b[H\x1b[2J\x1b[3J"
COLUMNS = ("done", "failed", "blocked", "running", "pending", "total")
DESCRIPTION = """Count the tasks of each family by state; batches count by their members. done: 1;
running: 2; failed: 30 failed, 40 its process died, 50 broken, 70 timed out; blocked: 60 something that it
needs is missing, or 0 planned behind anything that has failed or is blocked; pending: 0 planned, the rest."""


def add_commands(commands: Any) -> None:
    """Add ``status``."""
    status = commands.add_parser(
        "status", help="how many tasks of each family are done, failed, blocked ...", description=DESCRIPTION
    )
    add_selection(status)
    status.add_argument("--state", choices=COLUMNS[:-1], help="only tasks in this state, and list them")
    status.add_argument("--run", type=int, metavar="PK", help="only tasks that this run planned or tried")
    status.add_argument(
        "--limit", type=int, default=20, metavar="N", help="tasks to list at most [default: %(default)s]"
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument(
        "--watch",
        action="store_true",
        help=f"look again every {WATCH_INTERVAL_S:g} s until Ctrl-C; not on a terminal, print what changed",
    )
    status.set_defaults(function=print_status)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose tasks by night and family."""
    parser.add_argument(
        "--night",
        type=night,
        metavar="YYYYMMDD",
        help="only tasks whose parameter visit is a visit of that night (table visit, column day_obs; "
        "also 2025-11-20); tasks without a parameter visit are left out",
    )
    parser.add_argument("--family", help="only tasks of this family")


def selection_of(options: argparse.Namespace) -> Selection:
    """Return the tasks that the options choose."""
    from astra.database.selection import Selection

    values = vars(options)
    return Selection(
        family=options.family,
        night=options.night,
        state=values.get("state"),
        run=values.get("run") if options.command == "status" else None,
    )


def print_status(options: argparse.Namespace) -> None:
    """Print the number of tasks by family and state, once or again and again."""
    url = existing_database()
    if options.watch:
        _watch(url, options)
        return
    report = _report(url, options)
    if options.json:
        print_json(report)
    else:
        print_lines(_lines(report))


def _report(url: str, options: argparse.Namespace) -> dict[str, Any]:
    from astra.database.engine import mask_url, reading
    from astra.database.queries import failure_messages, family_counts, list_tasks

    selection = selection_of(options)
    with reading(url) as connection:
        counts = family_counts(connection, selection)
        failures = failure_messages(connection, selection=selection)
        tasks = list_tasks(connection, selection, options.limit) if options.state else None
    report: dict[str, Any] = {
        "database": mask_url(url),
        "families": [count.as_dict() for count in counts],
        "failures": [{"task_id": task_id, "message": message} for task_id, message in failures],
    }
    if tasks is not None:
        report["tasks"] = [task.as_dict() for task in tasks]
    return report


def _lines(report: dict[str, Any]) -> list[str]:
    """Write a report for people."""
    families = report["families"]
    rows = [[family["family"], *(family[name] for name in COLUMNS)] for family in families]
    lines = [f"database {escape(report['database'])}", *table_lines(("task", *COLUMNS), rows)]
    if not families:
        lines.append("no such task" if "tasks" in report else "no task has run yet")
    if "tasks" in report:
        total = sum(family["total"] for family in families)
        return lines + _task_lines(report["tasks"], total)
    failures = report["failures"]
    lines += [f"{escape(item['task_id'])}: {escape(item['message'])}" for item in failures[:MESSAGES_SHOWN]]
    if len(failures) > MESSAGES_SHOWN:
        lines.append("... and more; see astra status --state failed, and astra show TASK_ID")
    return lines


def _task_lines(tasks: list[dict[str, Any]], total: int) -> list[str]:
    """List tasks, newest first, and say how many are left out."""
    if not tasks:
        return []
    rows = [
        [task["task_id"], moment_text(task["started"]), seconds_text(task["duration"]), task["message"] or ""]
        for task in tasks
    ]
    lines = ["", *table_lines(("task id", "started", "seconds", "message"), rows)]
    if total > len(tasks):
        lines.append(f"... and {total - len(tasks)} more; see --limit")
    return lines


def _watch(url: str, options: argparse.Namespace) -> None:
    """Print the status every few seconds, until Ctrl-C."""
    before: list[dict[str, Any]] = []
    try:
        while True:
            report = _report(url, options)
            if options.json:
                print_json(report, indent=None)
            elif sys.stdout.isatty():
                print(CLEAR_SCREEN + "\n".join(_lines(report)), flush=True)
            else:
                _print_changes(before, report["families"])
            before = report["families"]
            time.sleep(WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        return


def _print_changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """Print a line for each family whose numbers have changed."""
    now = moment_text(dt.datetime.now(dt.UTC))
    for family in changed_families(before, after):
        numbers = " ".join(f"{name} {family[name]}" for name in COLUMNS)
        print(f"{now} {escape(family['family'])}: {numbers}", flush=True)
