"""Bulk writes of the results of the analysis of spectra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from astra.database.models.spectra import SignalToNoise
from astra.database.state import chunks, task_keys, task_table, upsert
from astra.errors import TaskError

signal_to_noise_table: Table = SignalToNoise.__table__  # type: ignore[assignment]


@dataclass(frozen=True)
class MeasuredFile:
    """A file as it was when it was measured.

    Parameters
    ----------
    path : str
        Where it was.
    size : int
        [byte]
    modified_ns : int
        Time of its last change [ns since 1970].
    """

    path: str
    size: int
    modified_ns: int


def measured_files(connection: Connection, task_ids: Iterable[str]) -> dict[str, MeasuredFile]:
    """Return the files whose signal-to-noise ratios stand in the database, by task id.

    Parameters
    ----------
    connection : Connection
        SQLite or PostgreSQL.
    task_ids : iterable of str
        Tasks; those without results are left out.

    Returns
    -------
    files : dict of str to MeasuredFile
        As they were when they were measured.
    """
    found: dict[str, MeasuredFile] = {}
    columns = signal_to_noise_table.c
    query = (
        select(task_table.c.task_id, columns.path, columns.file_size, columns.file_modified_ns)
        .join_from(signal_to_noise_table, task_table, task_table.c.pk == columns.task_pk)
        .where(columns.row_index == 0)
    )
    for chunk in chunks(task_ids):
        for task_id, *values in connection.execute(query.where(task_table.c.task_id.in_(chunk))):
            found[task_id] = MeasuredFile(*values)
    return found


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
    keys = task_keys(connection, results)
    missing = [task_id for task_id in results if task_id not in keys]
    if missing:
        message = f"{len(missing)} tasks have results, but no row of state; the first: {missing[0]}"
        raise TaskError(message, task_id=missing[0])
    for chunk in chunks(keys.values()):
        connection.execute(delete(signal_to_noise_table).where(signal_to_noise_table.c.task_pk.in_(chunk)))
    rows = [{"task_pk": keys[task_id], **row} for task_id in results for row in results[task_id]]
    upsert(connection, signal_to_noise_table, rows, ["task_pk", "row_index"])
