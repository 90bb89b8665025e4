"""Results of the analysis of spectra, written and read in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from astra.database.models import metadata
from astra.database.models.spectra import SignalToNoise
from astra.database.state import chunks, task_keys, task_table, upsert
from astra.errors import ConfigError, TaskError

signal_to_noise_table: Table = SignalToNoise.__table__  # type: ignore[assignment]


def write_signal_to_noise(connection: Connection, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the signal-to-noise ratios of the files of any number of tasks, in place of older ones.

    Parameters
    ----------
    connection : Connection
        In a transaction; SQLite or PostgreSQL.
    results : mapping of str to sequence of mapping
        By task id, a row for each spectrum of its file: columns of ``signal_to_noise`` but ``task_pk``.

    Raises
    ------
    TaskError
        If a task has no row of state.
    """
    write_spectrum_rows(connection, signal_to_noise_table, results)


def spectrum_table(name: str) -> Table:
    """Return a table of results of spectra by its name.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    table = metadata.tables.get(name)
    if table is None or not {"task_pk", "row_index", "path", "kind"} <= set(table.columns.keys()):
        message = (
            f"{name!r} is no table of results of spectra; it must be one of {', '.join(result_tables())}"
        )
        raise ConfigError(message, table=name)
    return table


def result_tables() -> list[str]:
    """Return the names of all tables of results of spectra, sorted."""
    needed = {"task_pk", "row_index", "path", "kind"}
    return sorted(name for name, table in metadata.tables.items() if needed <= set(table.columns.keys()))


def write_spectrum_rows(
    connection: Connection, table: Table, results: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Write the rows of any number of tasks, in place of older ones.

    Parameters
    ----------
    connection : Connection
        In a transaction; SQLite or PostgreSQL.
    table : Table
        One of `result_tables`.
    results : mapping of str to sequence of mapping
        Rows by task id: columns of the table but ``task_pk``, the same in all rows.

    Raises
    ------
    TaskError
        If a task has no row of state.
    """
    keys = task_keys(connection, results)
    missing = [task_id for task_id in results if task_id not in keys]
    if missing:
        message = f"{len(missing)} tasks have results, but no row of state; the first: {missing[0]}"
        raise TaskError(message, task_id=missing[0])
    for chunk in chunks(keys.values()):
        connection.execute(delete(table).where(table.c.task_pk.in_(chunk)))
    rows = [{"task_pk": keys[task_id], **row} for task_id in results for row in results[task_id]]
    upsert(connection, table, rows, list(table.primary_key.columns.keys()))


def read_spectrum_rows(
    connection: Connection, name: str
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """Return all rows of a table with their task ids, and unit and description of its columns.

    Raises
    ------
    ConfigError
        If there is no such table.
    """
    table = spectrum_table(name)
    query = select(task_table.c.task_id, *[column for column in table.columns if column.name != "task_pk"])
    query = query.join(task_table, task_table.c.pk == table.c.task_pk)
    query = query.order_by(table.c.path, *table.primary_key.columns)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return rows, {column.name: dict(column.info) for column in table.columns}
