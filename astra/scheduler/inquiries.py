"""What a worker asks the scheduler about others; a stock ``luigid`` does not say."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any


class Inquiries(abc.ABC):
    """The part of the caller's side that asks; see `astra.scheduler.goings_on` for the answers."""

    @abc.abstractmethod
    def _ask_of_others(self, path: str, **arguments: Any) -> Any:
        """Return what the scheduler answers; None if it does not know such questions."""

    def goes_on(self, worker: str) -> bool:
        """Say whether a worker that has nothing to do may yet see its tasks done."""
        return bool(self._ask_of_others("/api/goes_on", worker=worker))

    def failed_of(self, worker: str) -> list[str]:
        """Return the ids of the tasks that a worker needs and that have failed, in whatever hands."""
        return list(self._ask_of_others("/api/failed_of", worker=worker) or ())

    def done_among(self, task_ids: Sequence[str]) -> list[str]:
        """Return those of some ids of which the tasks are done."""
        return list(self._ask_of_others("/api/done_among", task_ids=list(task_ids)) or ())

    def running_among(self, task_ids: Sequence[str]) -> list[str]:
        """Return those of some ids of which the tasks are run by a worker that is heard of."""
        return list(self._ask_of_others("/api/running_among", task_ids=list(task_ids)) or ())

    def needed_by(self, task_id: str) -> list[dict[str, Any]]:
        """Return module, family and parameters of tasks that require one, of the first of each family."""
        return list(self._ask_of_others("/api/needed_by", task_id=task_id) or ())

    def planned_elsewhere(self, worker: str) -> list[str]:
        """Return the marks of the runs of others that have planned tasks of a worker."""
        return list(self._ask_of_others("/api/planned_elsewhere", worker=worker) or ())

    def who_works(self, worker: str) -> dict[str, Any] | None:
        """Return who runs tasks that a worker needs, and who could; None if that is not said."""
        found = self._ask_of_others("/api/who_works", worker=worker)
        return None if found is None else dict(found)
