"""Parameters that many tasks have in common, stored once under the hash of their text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.models.state import TaskConstants

constants_table: Table = TaskConstants.__table__  # type: ignore[assignment]


class Constants:
    """Keys of sets of parameters, stored at first use.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The members of a batch share one mapping; it is kept here too, so that its id stays its own.
        self._known: dict[int, tuple[Mapping[str, Any], int]] = {}

    def key(self, parameters: Mapping[str, Any] | None) -> int | None:
        """Return the key of parameters; None if there are none."""
        if not parameters:
            return None
        if id(parameters) not in self._known:
            self._known[id(parameters)] = (parameters, self._stored(parameters))
        return self._known[id(parameters)][1]

    def _stored(self, parameters: Mapping[str, Any]) -> int:
        text = json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        query = select(constants_table.c.pk).where(constants_table.c.digest == digest)
        found = self._connection.execute(query).scalar_one_or_none()
        if found is not None:
            return int(found)
        make = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        statement = make(constants_table).values(digest=digest, parameters=dict(parameters))
        self._connection.execute(statement.on_conflict_do_nothing(index_elements=["digest"]))
        return int(self._connection.execute(query).scalar_one())


def all_parameters(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the parameters of a row of ``task`` that was selected with `constants_of`."""
    return {**row["parameters"], **(row["constants"] or {})}


def constants_of(task: Any) -> Any:
    """Return the common parameters of a table of tasks, as a column ``constants``."""
    return (
        select(constants_table.c.parameters)
        .where(constants_table.c.pk == task.c.constants_pk)
        .scalar_subquery()
        .label("constants")
    )
