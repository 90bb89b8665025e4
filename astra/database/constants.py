"""Parameters that many tasks have in common, stored once under the hash of their text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.bulk import execute_rows, is_among
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

    def learn(self, sets: Iterable[Mapping[str, Any] | None]) -> None:
        """Find the keys of many sets of parameters, with few statements for all."""
        new = {id(parameters): parameters for parameters in sets if parameters}
        new = {own_id: parameters for own_id, parameters in new.items() if own_id not in self._known}
        digests = {own_id: _digest(parameters) for own_id, parameters in new.items()}
        by_digest = {digests[own_id]: parameters for own_id, parameters in new.items()}
        keys = self._keys_of(by_digest)
        missing = [digest for digest in by_digest if digest not in keys]
        if missing:
            make = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
            statement = make(constants_table).on_conflict_do_nothing(index_elements=["digest"])
            rows = [{"digest": digest, "parameters": dict(by_digest[digest])} for digest in missing]
            execute_rows(self._connection, statement, rows)
            keys |= self._keys_of(missing)
        for own_id, parameters in new.items():
            self._known[own_id] = (parameters, keys[digests[own_id]])

    def _keys_of(self, digests: Collection[str]) -> dict[str, int]:
        if not digests:
            return {}
        among = is_among(self._connection, constants_table.c.digest, list(digests))
        query = select(constants_table.c.digest, constants_table.c.pk).where(among)
        return {row.digest: int(row.pk) for row in self._connection.execute(query)}

    def key(self, parameters: Mapping[str, Any] | None) -> int | None:
        """Return the key of parameters; None if there are none."""
        if not parameters:
            return None
        if id(parameters) not in self._known:
            self.learn([parameters])
        return self._known[id(parameters)][1]


def _digest(parameters: Mapping[str, Any]) -> str:
    text = json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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
