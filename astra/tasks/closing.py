"""The last words of a command: how many tasks are in which state, and what failed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astra.terminal import escape, shell_word

if TYPE_CHECKING:
    from astra.database.queries import FamilyCounts
    from astra.database.selection import Selection

RULE = "-" * 72
FAILURES_SHOWN = 3


def shown_path(path: Path) -> str:
    """Return a path as short as it can be typed in the current folder, quoted for a shell."""
    relative = os.path.relpath(path)
    return shell_word(str(path) if relative.startswith("..") else relative)


def tasks_line(counts: Sequence[FamilyCounts]) -> str:
    """Return how many tasks are in which state."""
    total, done, failed, blocked = (
        sum(getattr(count, name) for count in counts) for name in ("total", "done", "failed", "blocked")
    )
    return f"{total} tasks: {done} done, {failed} failed, {blocked} blocked"


def has_failed(url: str, selection: Selection | None = None) -> bool:
    """Say whether any of the selected tasks, by default of all, has failed or is blocked."""
    from astra.database.engine import reading
    from astra.database.queries import EVERYTHING, family_counts

    with reading(url) as connection:
        counts = family_counts(connection, selection or EVERYTHING)
    return any(count.failed or count.blocked for count in counts)


def failure_words(
    url: str,
    root: Path,
    log: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    selection: Selection | None = None,
) -> str:
    """Return which tasks have failed, why, where their log is, and what runs each of them again.

    Parameters
    ----------
    url : str
        URL of the database.
    root : Path
        Folder of the products.
    log : Path
        Log of Luigi.
    arguments : sequence of str
        Those of ``luigi``, to go on with.
    environment : mapping
        Variables that the commands which run tasks again need.
    selection : Selection, optional
        Which tasks count; by default all.
    """
    from astra.database.engine import reading
    from astra.database.queries import family_counts, last_errors
    from astra.database.selection import Selection
    from astra.database.stored import unfinished_tasks
    from astra.tasks.commands import make_commands

    selection = selection or Selection()
    with reading(url) as connection:
        counts = family_counts(connection, selection)
        failed = unfinished_tasks(connection, selection)
        shown = failed[:FAILURES_SHOWN]
        errors = last_errors(connection, [task.task_id for task in shown])
    lines = [RULE, tasks_line(counts)]
    for task in shown:
        [command] = make_commands([task], environment=environment)
        reason = " ".join(errors.get(task.task_id, "it did not say why").split())
        lines += [
            f"Failed   {escape(task.task_id)}",
            f"  reason {escape(reason)}",
            f"  log    {shown_path(log)}, and astra --root {shown_path(root)} show {escape(task.task_id)}",
            f"  again  {command.text}",
        ]
    if len(failed) > len(shown):
        lines.append(f"... and {len(failed) - len(shown)} more: astra --root {shown_path(root)} status")
    if not failed:
        lines.append(f"Nothing has failed, but not all is done: {shown_path(log)}")
    words = [word for word in arguments if word != "--fresh"]
    lines.append(f"Go on    {' '.join(map(shell_word, ['luigi', *words]))}")
    return "".join(f"{line}\n" for line in lines)
