"""Rows of result tables: any table with a column ``task_pk`` that points at the task which made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, exists, insert, select

from astra.database.state import task_table

KEY = "task_pk"


def has_results(connection: Connection, table: Table, task_id: str) -> bool:
    """Say whether a task has rows in a table."""
    query = select(exists(_of_task(table, task_id)))
    return bool(connection.execute(query).scalar_one())


def read_results(connection: Connection, table: Table, task_id: str) -> list[dict[str, Any]]:
    """Return the rows of a task, without its key, in the order of the table's own key."""
    query = _of_task(table, task_id).order_by(*table.primary_key.columns)
    return [
        {name: value for name, value in row.items() if name != KEY}
        for row in connection.execute(query).mappings()
    ]


def replace_results(
    connection: Connection, table: Table, task_pk: int, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write the rows of a task in place of those that it has."""
    connection.execute(delete(table).where(table.c[KEY] == task_pk))
    if rows:
        connection.execute(insert(table), [{**row, KEY: task_pk} for row in rows])


def _of_task(table: Table, task_id: str) -> Any:
    return (
        select(table).join(task_table, task_table.c.pk == table.c[KEY]).where(task_table.c.task_id == task_id)
    )
