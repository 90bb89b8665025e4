"""What a task requires besides, and can tell only once what it requires at first is there.

Luigi asks a task what it requires before anything has run. What follows from the data, as the tiles of the
sky below a detector do, is told by `AstraTask.further_requires`, and a `run` that begins with
``yield self.further()`` waits for it. The engine takes it for the lineage, the inputs and the plan like any
other requirement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import AstraError
from astra.tasks.batch import merge_tasks
from astra.tasks.runner import current_invocation

if TYPE_CHECKING:
    from astra.tasks.base import AstraTask


def further_requirements(task: luigi.Task) -> list[luigi.Task]:
    """Return what a single task requires besides; none if it cannot tell, which its `run` will say."""
    ask = getattr(task, "further_requires", None)
    if ask is None:
        return []
    try:
        return list(luigi.task.flatten(ask()))
    except AstraError:
        return []


def further_of_all(task: AstraTask) -> list[Any]:
    """Return what the members of a task that are still to do require besides, merged to batches."""
    undone = set(task.member_ids())
    undone -= task.done_ids(undone)
    return merge_tasks(needed for member in task.members(undone) for needed in further_requirements(member))


def ids_to_spare(task: AstraTask) -> set[str]:
    """Return the ids of what a single task requires, and runs without if it failed."""
    if not task.accepts_partial_batches:
        return set()
    return {needed.task_id for needed in further_requirements(task)}


def wait_for(task: luigi.Task, required: list[luigi.Task]) -> None:
    """Note that a task waits for what it has asked for, if it can do with a part of a batch of it."""
    if not (getattr(task, "is_batch_mode", False) or getattr(task, "accepts_partial_batches", False)):
        return
    for needed in required:
        if hasattr(needed, "required_in"):
            needed.required_in = current_invocation()
