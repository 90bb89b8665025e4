"""What is raised and logged of a task that failed, or of a batch in which members did."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from astra.errors import BatchError

if TYPE_CHECKING:
    from astra.tasks.base import AstraTask

logger = logging.getLogger("luigi-interface")


def batch_error(task: AstraTask, failures: Mapping[str, str], n_members: int) -> BatchError | None:
    """Return the error of a batch of which members failed, each with its reason; None if none did."""
    if not failures:
        return None
    n_failed, first = len(failures), next(iter(failures.values()))
    others = "the others are done" if n_failed < n_members else "none is done"
    message = f"{n_failed} of {n_members} members of {task.task_id} failed, {others}; the first: {first}"
    return BatchError(message, n_failed=n_failed, n_members=n_members)


def last_record(task: AstraTask, exc: BaseException) -> logging.LogRecord:
    """Return the error that ends a log: it is logged by others, when the attempt is over."""
    words = (task, type(exc).__name__, exc)
    return logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "%r failed: %s: %s", words, None)
