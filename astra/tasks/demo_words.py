"""The last words of the demonstration: what was found, and what to do next."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.products.layout import report_folder
from astra.tasks.closing import RULE, shown_path, tasks_line

if TYPE_CHECKING:
    from astra.database.queries import FamilyCounts
    from astra.tasks.demo import Demo


def report_words(demo: Demo, *, was_done: bool) -> str:
    """Return what a demonstration that is done has found, and three commands to go on with."""
    counts, figures = _state(demo.database_url, demo.task_id)
    total = sum(count.done for count in counts)
    lines = [RULE, tasks_line(counts)]
    if was_done:
        lines = [f"{total} tasks already done - nothing to do (use --fresh to start over)"]
        if any(count.done != count.total for count in counts):
            lines.append(f"{tasks_line(counts)}; those are not needed any more")
    lines += _found_lines(figures, demo.root)
    report = report_folder(demo.root, figures["camera"], figures["last_night"]) / "index.html"
    if report.is_file():
        lines.append(f"Report   {report.as_uri()}")
    first, *others = _next_commands(demo)
    lines += [f"Next     {first}", *(f"         {command}" for command in others)]
    return "".join(f"{line}\n" for line in lines)


def _state(url: str, task_id: str) -> tuple[list[FamilyCounts], dict[str, Any]]:
    """Return the numbers of tasks, and the figures of one of them by their last word."""
    from astra.database.engine import reading
    from astra.database.lineage import report_task
    from astra.database.queries import family_counts

    with reading(url) as connection:
        counts = family_counts(connection)
        figures = report_task(connection, task_id, 1).figures
    return counts, {key.rpartition(".")[2]: value for key, value in figures.items()}


def _found_lines(figures: Mapping[str, Any], root: Path) -> list[str]:
    found, injected, n_false = (figures[name] for name in ("n_recovered", "n_injected", "n_false"))
    percent = 100.0 * found / max(injected, 1)
    invalid = figures["n_invalid"]
    validity = "all satisfy their schema" if not invalid else f"{invalid} do not satisfy their schema"
    lines = [
        f"{found} of {injected} injected transients above S/N 7 recovered ({percent:.0f} %)",
        f"{n_false} alerts of the last night where nothing has changed",
        f"{figures['n_alerts']} alerts written ({validity}): {shown_path(root / 'alerts')}",
    ]
    if figures.get("n_velocities"):
        lines.append(
            f"{figures['n_velocities']} velocities of stars measured, to "
            f"{1000.0 * figures['velocity_error_kms']:.0f} m/s (median)"
        )
    return lines


def _next_commands(demo: Demo) -> list[str]:
    root = shown_path(demo.root)
    alerts = f"astra alerts show {shown_path(demo.root / 'alerts')}/*.avro"
    pages = f"astra --root {root} web" if importlib.util.find_spec("astra.cli.web") else alerts
    query = "select family, state, count(*) from task_state group by 1, 2"
    sql = f'sqlite3 {shown_path(demo.root / "astra.db")} "{query}"'
    if shutil.which("sqlite3") is None:
        sql = f"astra --root {root} show Demo"
    return [f"astra --root {root} status", pages, sql]
