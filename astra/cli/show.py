"""``astra show``: all that is known of one task, which is named by its id or by a file that it wrote."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra import config
from astra.cli.moments import moment_text, seconds_text
from astra.cli.place import existing_database
from astra.cli.terminal import escape, print_json, print_lines, table_lines
from astra.errors import ConfigError

if TYPE_CHECKING:
    from astra.database.lineage import TaskReport
    from astra.tasks.commands import LuigiCommand

LOG_LINES = 20
AS_RECORDED = ("there", "as recorded")
DESCRIPTION = """Show the parameters of a task, its state, its attempts and their errors, what it needed,
what it made, its pictures, and the command that runs it again. A file stands for the task that wrote it; one
whose name begins like the id of a task is named with a folder, as in ./FILE. A class of tasks and some of its
parameters stand for the one that has them, as in ContinuumNormalize path=FILE."""
PICTURE_ENDING = ".png"


def add_commands(commands: Any) -> None:
    """Add ``show``."""
    show = commands.add_parser("show", help="all that is known of one task", description=DESCRIPTION)
    show.add_argument(
        "name",
        metavar="TASK_ID|FILE|FAMILY",
        help="id of the task, enough of it to be unique; or a file it wrote; or its class",
    )
    show.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="of a class: parameters of the task to show"
    )
    show.add_argument(
        "--verify", action="store_true", help="read the outputs: exit with 1 if one is not as recorded"
    )
    show.add_argument(
        "--limit",
        type=int,
        default=20,
        metavar="N",
        help="inputs, outputs ... to list [default: %(default)s]",
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(function=show_task)


def show_task(options: argparse.Namespace) -> int:
    """Print all that is known of a task."""
    from astra.database.engine import reading
    from astra.database.lineage import get_named_task, get_task_by_parameters, report_task
    from astra.tasks.commands import make_command

    with reading(existing_database()) as connection:
        if options.parameters:
            wanted = parameters_of(options.parameters)
            task_id = get_task_by_parameters(connection, options.name, wanted)
        else:
            task_id = get_named_task(connection, options.name, _recorded_paths(options.name))
        report = report_task(connection, task_id, options.limit)
    files = [file_state(output, verify=options.verify) for output in report.outputs]
    read = [file_state(file, verify=options.verify) for file in report.read]
    task = report.task
    command = make_command(
        task["module"],
        task["family"],
        task["parameters"],
        run_command=report.run["command"] if report.run else None,
        root=options.root,
    )
    if options.json:
        outputs = [{**output, "file": state} for output, state in zip(report.outputs, files, strict=True)]
        print_json(
            {**report.as_dict(), "outputs": outputs, "command": command.text, "not_said": command.not_said}
        )
    else:
        print_lines(_lines(report, read, files, command))
    return int(options.verify and any(state not in AS_RECORDED for state in files))


def parameters_of(arguments: Sequence[str]) -> dict[str, str]:
    """Return the parameters that are given as NAME=VALUE, dashes as they are on Luigi's command line.

    Raises
    ------
    ConfigError
        If one has another form.
    """
    pairs = [argument.lstrip("-").partition("=") for argument in arguments]
    wrong = [
        argument
        for argument, (name, equals, _) in zip(arguments, pairs, strict=True)
        if not name or not equals
    ]
    if wrong:
        message = f"parameters of a task are given as NAME=VALUE, not as {wrong[0]!r}"
        raise ConfigError(message, argument=wrong[0])
    return {name.replace("-", "_"): value for name, _, value in pairs}


def _recorded_paths(name: str) -> list[str]:
    """Return the paths under which a file may be recorded: the root may be a link, or named through one."""
    absolute, real, root = os.path.abspath(name), os.path.realpath(name), config.root()
    below_root = os.path.relpath(real, os.path.realpath(root))
    return list(dict.fromkeys([absolute, real, str(root / below_root), str(root / name), name]))


def file_state(product: Mapping[str, Any], *, verify: bool) -> str:
    """Say whether a file is still as recorded: by its size, and if asked by its checksum."""
    from astra.products.atomic import checksum

    path = Path(product["path"])
    try:
        if not path.is_file():
            return "missing"
        if path.stat().st_size != product["size"]:
            return "of another size"
        if not verify:
            return "there"
        return "as recorded" if checksum(path) == product["checksum"] else "changed"
    except OSError as exc:
        return f"unreadable: {exc.strerror}"


def _lines(report: TaskReport, read: Sequence[str], files: Sequence[str], command: LuigiCommand) -> list[str]:
    return [
        *_head(report),
        *_section("parameters", [[name, value] for name, value in report.task["parameters"].items()]),
        *_attempts(report.attempts),
        *_inputs(report),
        *_read(report, read),
        *_outputs(report, files),
        *_pictures(report, files),
        *_dependents(report),
        *_section("figures", [[key, value] for key, value in report.figures.items()]),
        "",
        "run it again",
        f"  {command.text}",
        *(f"  {escape(line)}" for line in command.remarks()),
    ]


def _section(title: str, rows: Sequence[Sequence[object]], left_out: int = 0) -> list[str]:
    """Write a table below a title; nothing if it is empty."""
    if not rows:
        return []
    lines = ["", title, *(f"  {line}" for line in table_lines(rows[0], rows[1:]))]
    return [*lines, f"  ... and {left_out} more; see --limit"] if left_out > 0 else lines


def _head(report: TaskReport) -> list[str]:
    from astra.database.selection import status_name

    task, run = report.task, report.run
    code = task["status_code"]
    rows = [
        ["task", task["task_id"]],
        ["state", f"{task['state']} ({code}: {status_name(code)})"],
        ["module", f"{task['module']} {task['family']}, astra {task['version']}"],
        ["created", moment_text(task["created"])],
        ["started", moment_text(task["started"])],
        ["completed", moment_text(task["completed"])],
        ["duration", f"{seconds_text(task['duration'])} s" if task["duration"] is not None else ""],
        ["run", f"{run['pk']} on {run['host']}: {run['command']}" if run else ""],
        [
            "packages",
            ", ".join(f"{name} {version}" for name, version in run["packages"].items()) if run else "",
        ],
    ]
    members = ", ".join(f"{number} {state}" for state, number in report.members.items())
    if task["batch_size"] is not None:
        rows.append(["batch", f"of {task['batch_size']}: {members}"])
    rows += [["member", f"{b['position']} of {b['batch_size']} in {b['task_id']}"] for b in report.batches]
    return [line for row, line in zip(rows, table_lines(rows[0], rows[1:]), strict=True) if row[1]]


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    if not attempts:
        return []
    from astra.database.selection import status_name

    rows: list[list[object]] = [["started", "seconds", "run", "host", "pid", "end", "error"]]
    for attempt in attempts:
        error = ": ".join(str(attempt[name]) for name in ("error_class", "message") if attempt[name])
        signal = f" (signal {attempt['exit_signal']})" if attempt["exit_signal"] is not None else ""
        end = status_name(attempt["status_code"]) + signal
        started, seconds = moment_text(attempt["started"]), seconds_text(attempt["duration"])
        rows.append([started, seconds, attempt["run_pk"], attempt["host"], attempt["pid"], end, error])
    last = attempts[-1]
    lines = _section("attempts", rows)
    if last["context"]:
        lines += _section("context of the last error", [[k, v] for k, v in last["context"].items()])
    lines += _text("traceback of the last attempt", (last["traceback"] or "").splitlines())
    return lines + _text("end of its log", (last["log"] or "").splitlines()[-LOG_LINES:])


def _text(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {escape(line)}" for line in lines)] if lines else []


def _inputs(report: TaskReport) -> list[str]:
    rows: list[list[object]] = []
    for task in report.inputs:
        rows.append([task["task_id"], task["state"], "", ""])
        rows += [["", product["kind"], product["path"], product["checksum"]] for product in task["products"]]
    return _section("inputs", rows, report.n_inputs - len(report.inputs))


def _read(report: TaskReport, read: Sequence[str]) -> list[str]:
    rows = [
        [file["path"], f"{file['size']} bytes", file["checksum"], state]
        for file, state in zip(report.read, read, strict=True)
    ]
    return _section("files read", rows, report.n_read - len(rows))


def _outputs(report: TaskReport, files: Sequence[str]) -> list[str]:
    rows = [
        [output["kind"], output["path"], f"{output['size']} bytes", output["checksum"], state]
        for output, state in zip(report.outputs, files, strict=True)
    ]
    return _section("outputs", rows, report.n_outputs - len(rows))


def _pictures(report: TaskReport, files: Sequence[str]) -> list[str]:
    """Name the pictures that are there, to be opened."""
    rows = [
        [output["path"]]
        for output, state in zip(report.outputs, files, strict=True)
        if str(output["path"]).endswith(PICTURE_ENDING) and state in AS_RECORDED
    ]
    return _section("pictures", rows)


def _dependents(report: TaskReport) -> list[str]:
    rows = [[task["task_id"], task["state"]] for task in report.dependents]
    return _section("needed by", rows, report.n_dependents - len(rows))
