"""Which of many tasks are complete: one statement for all of a family, not one for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import luigi

from astra.tasks.base import AstraTask

OWN_RULES = ("complete", "done_ids", "stale_ids", "member_ids")  # a class with another one is asked by itself


def known_completeness(tasks: Iterable[luigi.Task], *, at_least: int = 2) -> dict[str, bool]:
    """Return whether tasks are complete, by id, of those that the database can be asked about at once.

    Parameters
    ----------
    tasks : iterable of Task
        Any; files and tasks that look at their outputs are left out, and so is a batch of which a part is
        done: what that means depends on who waits for it.
    at_least : int, optional
        Fewer tasks of a family are left to ask by themselves.
    """
    groups: dict[Any, list[Any]] = {}
    for task in tasks:
        if _goes_by_rows(task):
            groups.setdefault((type(task), task.database_url, task.must_rerun), []).append(task)
    known: dict[str, bool] = {}
    for group in groups.values():
        if len(group) >= at_least:
            known |= _known_of(group)
    return known


def _known_of(group: list[Any]) -> dict[str, bool]:
    ids = {task.task_id: set(task.member_ids()) for task in group}
    done = group[0].done_ids(set().union(*ids.values()))
    whole = {task_id: members <= done for task_id, members in ids.items()}
    return {
        task_id: is_done for task_id, is_done in whole.items() if is_done or ids[task_id].isdisjoint(done)
    }


def has_state(task: luigi.Task | None) -> bool:
    """Say whether it is the database that says of a task that it is not done."""
    return isinstance(task, AstraTask) and not (task.is_external or task.strict_output_checking)


def _goes_by_rows(task: luigi.Task) -> bool:
    """Say whether rows of the database alone say if a task is complete."""
    return has_state(task) and all(
        getattr(type(task), name) is getattr(AstraTask, name) for name in OWN_RULES
    )


def goes_by_database(task: luigi.Task) -> bool:
    """Say whether the database alone says if a task is complete, and it is a single one."""
    return _goes_by_rows(task) and not task.is_batch_mode
