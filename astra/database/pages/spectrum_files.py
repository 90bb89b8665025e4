"""Files of spectra that have results, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from astra.database.models import metadata
from astra.database.spectra import signal_to_noise_table
from astra.database.state import task_table

PAGE_ROWS = 100
RESULTS = ("radial_velocity", "spectral_classification", "continuum_fit", "barycentric_correction")
MANY = ("line_strength", "stellar_label")
MAX_RESULTS = 500

_snr = signal_to_noise_table.c


def list_spectrum_files(
    connection: Connection,
    *,
    text: str | None = None,
    min_snr: float | None = None,
    before: int | None = None,
    n_rows: int = PAGE_ROWS,
    window: int = 20_000,
) -> tuple[Sequence[Mapping[str, Any]], int | None]:
    """Return the first spectra of files, and where the next page begins.

    Parameters
    ----------
    connection : Connection
        To the database.
    text : str, optional
        Part of the path.
    min_snr : float, optional
        Least signal-to-noise ratio.
    before : int, optional
        ``task_pk`` is less than this.
    n_rows, window : int, optional
        How many at most, and how many are looked at.
    """
    some = select(_snr.task_pk).where(_snr.row_index == 0)
    if before is not None:
        some = some.where(_snr.task_pk < before)
    newest = some.order_by(_snr.task_pk.desc()).limit(window).subquery("newest")
    query = select(signal_to_noise_table).where(_snr.row_index == 0)
    query = query.join(newest, newest.c.task_pk == _snr.task_pk)
    if text is not None:
        query = query.where(_snr.path.contains(text, autoescape=True))
    if min_snr is not None:
        query = query.where(_snr.snr >= min_snr)
    query = query.order_by(_snr.task_pk.desc()).limit(n_rows + 1)
    found = [dict(row) for row in connection.execute(query).mappings()]
    return found[:n_rows], found[n_rows - 1]["task_pk"] if len(found) > n_rows else None


def get_spectrum_file(connection: Connection, task_pk: int) -> Mapping[str, Any] | None:
    """Return the file that a task measured: path, product, task_id and its first row; None if it did not."""
    query = select(signal_to_noise_table, task_table.c.task_id)
    query = query.join(task_table, task_table.c.pk == _snr.task_pk).where(_snr.task_pk == task_pk)
    row = connection.execute(query.order_by(_snr.row_index).limit(1)).mappings().first()
    return None if row is None else dict(row)


def results_of(connection: Connection, path: str, row_index: int) -> dict[str, list[dict[str, Any]]]:
    """Return all results of one spectrum of a file, by table; the newest task of each counts."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in (*RESULTS, *MANY):
        columns = metadata.tables[name].c
        own = (columns.path == path) & (columns.row_index == row_index)
        newest = select(columns.task_pk).where(own).order_by(columns.task_pk.desc()).limit(1)
        query = select(metadata.tables[name]).where(own, columns.task_pk == newest.scalar_subquery())
        rows = [dict(row) for row in connection.execute(query.limit(MAX_RESULTS)).mappings()]
        if rows:
            found[name] = rows
    return found
