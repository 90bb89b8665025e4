"""What a task that runs may ask the scheduler about other workers, in whatever process it runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import luigi.rpc
from luigi.task_register import load_task

from astra.tasks.runner import current_invocation

logger = logging.getLogger("luigi-interface")


def ask_scheduler(name: str, *args: Any) -> Any:
    """Ask the scheduler of this invocation; None if it does not say, as a stock ``luigid`` does not."""
    ask = getattr(current_invocation().scheduler, name, None)
    if ask is None or (args and not any(args)):
        return None
    try:
        return ask(*args)
    except luigi.rpc.RPCError as exc:
        logger.warning("the scheduler does not say %s: %s", name, exc)
        return None


def goes_on_with_a_part(task: Any) -> bool:
    """Say whether a task of another worker waits for a batch that can do with some of its members.

    A worker that serves knows of a batch that it was given, and not of what requires it.
    """
    return any(map(_takes_a_part, ask_scheduler("needed_by", task.task_id) or ()))


def _takes_a_part(description: Mapping[str, Any]) -> bool:
    try:
        task = load_task(description["module"], description["family"], description["params"])
    except Exception as exc:  # noqa: BLE001  # a module may raise anything, and need not be served here
        logger.warning("%s cannot be looked at: %s", description["family"], exc)
        return False
    return bool(getattr(task, "is_batch_mode", False) or getattr(task, "accepts_partial_batches", False))
