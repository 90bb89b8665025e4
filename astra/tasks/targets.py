"""Targets that Luigi lacks: the rows of a task in a result table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import MissingDataError

if TYPE_CHECKING:
    from sqlalchemy import Table

    from astra.tasks.base import AstraTask


class DatabaseTarget(luigi.Target):
    """The rows that a task has in a result table.

    Parameters
    ----------
    model : type or Table
        Mapped class or table with a column ``task_pk``.
    task : AstraTask
        The task; a single one, or a batch with rows of its own.
    """

    def __init__(self, model: Any, task: AstraTask) -> None:
        self.table: Table = getattr(model, "__table__", model)
        self.task = task

    def __repr__(self) -> str:
        """Table and task."""
        return f"DatabaseTarget({self.table.name}, {self.task.task_id})"

    def exists(self) -> bool:
        """Say whether there are rows; asking creates none, neither of results nor of state."""
        from astra.database.engine import reading
        from astra.database.results import has_results

        with reading(self.task.database_url) as connection:
            return has_results(connection, self.table, self.task.task_id)

    def read(self) -> list[dict[str, Any]]:
        """Return the rows, without the key of the task; none is an empty list."""
        from astra.database.engine import reading
        from astra.database.results import read_results

        with reading(self.task.database_url) as connection:
            return read_results(connection, self.table, self.task.task_id)

    def write(self, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Write one row or several in place of what is there, in one transaction."""
        from astra.database.engine import transaction
        from astra.database.results import replace_results

        several = [rows] if isinstance(rows, Mapping) else list(rows)
        [key, *_] = self.task.create_state()
        with transaction(self.task.database_url) as connection:
            replace_results(connection, self.table, key, several)

    def copy_from(self, source: DatabaseTarget) -> None:
        """Write the rows of another task as this one's.

        Raises
        ------
        MissingDataError
            If the other has none.
        """
        rows = source.read()
        if not rows:
            message = f"{source!r} has no rows to copy to {self.task.task_id}"
            raise MissingDataError(message, table=self.table.name, task_id=source.task.task_id)
        self.write(rows)
