"""Bulk writes of the results of the analysis of spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete

from astra.database.models.spectra import SignalToNoise
from astra.database.state import chunks, task_keys, upsert
from astra.errors import TaskError

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
    keys = task_keys(connection, results)
    missing = [task_id for task_id in results if task_id not in keys]
    if missing:
        message = f"{len(missing)} tasks have results, but no row of state; the first: {missing[0]}"
        raise TaskError(message, task_id=missing[0])
    for chunk in chunks(keys.values()):
        connection.execute(delete(signal_to_noise_table).where(signal_to_noise_table.c.task_pk.in_(chunk)))
    rows = [{"task_pk": keys[task_id], **row} for task_id in results for row in results[task_id]]
    upsert(connection, signal_to_noise_table, rows, ["task_pk", "row_index"])
