"""The explorer of tasks, and the page of one task."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from astra.database.pages.task import TaskDetails, task_details
from astra.database.pages.tasks import PAGE_ROWS, TaskFilter, families, list_task_page
from astra.database.selection import STATES, status_name
from astra.errors import MissingDataError
from astra.web.filters import MAX_ID, Query
from astra.web.site import Answer, Site

MAX_ROWS = 1000
LOG_LINES = 200
TRACE_CHARACTERS = 40_000
VALUE_CHARACTERS = 2_000
LIST_COLUMNS = (
    *("task_id", "family", "state", "status_code", "started", "duration", "batch_size", "host", "message"),
    "parameters",
)


def task_filter(query: Query) -> TaskFilter:
    """Read which tasks are asked for."""
    return TaskFilter(
        state=query.choice("state", tuple(STATES)),
        family=query.text("family"),
        night=query.night(),
        visit=query.integer("visit"),
        detector=query.integer("detector"),
        text=query.text("text"),
        min_duration_s=query.number("min_duration", 0.0),
    )


def tasks_page(site: Site, query: Query, _keys: Mapping[str, str]) -> Answer:
    """Make the explorer."""
    wanted = task_filter(query)
    before = query.integer("before", 0, MAX_ID)
    n_rows = query.integer("n", 1, MAX_ROWS) or PAGE_ROWS
    with site.database.reading() as connection:
        found = list_task_page(connection, wanted, before=before, n_rows=n_rows)
        known = families(connection)
    further = query.address("/tasks", before=found.before, format=None) if found.before is not None else None
    rows = [{**row, "data": _data_of(row["parameters"])} for row in found.rows]
    return Answer(
        template="tasks.html",
        page="tasks",
        values={
            "tasks": rows,
            "further": further,
            "first": query.address("/tasks", before=None, format=None) if before is not None else None,
            "is_short": found.is_short,
            "families": known,
            "states": tuple(STATES),
            "filters": query.values,
        },
        data={"tasks": found.rows, "next": further and query.address("/tasks", before=found.before)},
        rows=found.rows,
        columns=LIST_COLUMNS,
    )


def _data_of(parameters: Mapping[str, Any]) -> str:
    """Write what data a task is of, of its parameters."""
    named = [
        (name, parameters[name])
        for name in ("visit", "detector", "mjd", "fiber", "obj")
        if name in parameters
    ]
    return ", ".join(f"{name} {str(value)[:40]}" for name, value in named)


def task_page(site: Site, _query: Query, keys: Mapping[str, str]) -> Answer:
    """Make the page of one task."""
    task_id = keys["task_id"]
    with site.database.reading() as connection:
        details = task_details(connection, task_id)
    if details is None:
        message = f"There is no task {task_id}."
        raise MissingDataError(message)
    attempts = details.attempts.rows
    last = attempts[-1] if attempts else {}
    command = run_again(details)
    return Answer(
        template="task.html",
        page="task",
        values={
            "task": details.task,
            "details": details,
            "parameters": [(name, _cut(value)) for name, value in details.task["parameters"].items()],
            "attempts": [{**attempt, "end": status_name(attempt["status_code"])} for attempt in attempts],
            "last": last,
            "traceback": (last.get("traceback") or "")[-TRACE_CHARACTERS:],
            "log": "\n".join((last.get("log") or "").splitlines()[-LOG_LINES:]),
            "command": command,
            "config_hash": details.task["task_id"].rpartition("_")[2],
            "status": status_name(details.task["status_code"]),
            "figures": [(name, _cut(value)) for name, value in details.figures.items()],
            "scheduler": scheduler_link(site.scheduler_url, task_id),
            **_place_of(site, details.task["parameters"]),
        },
        data={"details": details, "command": command},
        rows=attempts,
        columns=(
            *("pk", "status_code", "run_pk", "host", "pid", "started", "ended", "duration"),
            *("exit_signal", "error_class", "message"),
        ),
    )


def _place_of(site: Site, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Links to the visit and detector of a task."""
    keys = {name: parameters.get(name) for name in ("instrument", "visit", "detector")}
    is_place = all(str(keys[name] or "").isdigit() for name in ("visit",)) and keys["instrument"]
    visit = site.links.to("visit", instrument=keys["instrument"], visit=keys["visit"]) if is_place else None
    has_detector = is_place and str(keys["detector"]).isdigit()
    detector = site.links.to("detector", **keys) if has_detector else None
    return {"visit_link": visit, "detector_link": detector}


def _cut(value: Any) -> str:
    text = str(value)
    cut = len(text) - VALUE_CHARACTERS
    return text if cut <= 0 else f"{text[:VALUE_CHARACTERS]} ... ({cut} characters more)"


def run_again(details: TaskDetails) -> str:
    """Write the command that runs a task again, in words of a POSIX shell."""
    return f"astra retry {shlex.quote(details.task['task_id'])} --run"


def scheduler_link(address: str, task_id: str) -> str | None:
    """Address of a task in the scheduler's graph; None without a scheduler on the web."""
    if urlsplit(address).scheme not in {"http", "https"}:
        return None
    return f"{address.rstrip('/')}/static/visualiser/index.html#tab=graph&taskId={quote(task_id, safe='')}"
