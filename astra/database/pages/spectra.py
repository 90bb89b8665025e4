"""The results of the spectra of a night: one line for each spectrum."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, or_, select

from astra.database.bulk import is_among
from astra.database.models import metadata
from astra.database.models.spectra import BarycentricCorrection, ContinuumFit
from astra.database.spectra import signal_to_noise_table, spectrum_table
from astra.database.state import product_table, task_table

correction_table: Table = BarycentricCorrection.__table__  # type: ignore[assignment]
continuum_table: Table = ContinuumFit.__table__  # type: ignore[assignment]

# Columns shown of each table with one row for a spectrum: (table, column).
SHOWN = (
    ("signal_to_noise", "snr"),
    ("continuum_fit", "chi2_dof"),
    ("radial_velocity", "v_rad"),
    ("radial_velocity", "v_rel_err"),
    ("spectral_classification", "class_name"),
    ("spectral_classification", "z"),
)
_NOON_JD = 2400001.0  # of the day that is MJD 0, at noon: nights of observation begin at noon UTC


@dataclass(frozen=True)
class SpectrumOfNight:
    """A spectrum and what is known of it.

    Parameters
    ----------
    path : str
        Its file.
    product : str
        What kind of file, as `astra.products.spectra.read_spectrum` takes it.
    row_index : int
        Which row of it.
    kind : str
        ``visit``, ``coadd`` ...
    flags : int
        Bits of the signal-to-noise result.
    values : dict
        By column of `SHOWN`; what was not measured is None.
    labels : dict of str to float
        Stellar labels.
    continuum : str or None
        File of the normalised spectrum.
    """

    path: str
    product: str
    row_index: int
    kind: str
    flags: int
    values: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, float] = field(default_factory=dict)
    continuum: str | None = None


def sdss_mjd(day_obs: int) -> int:
    """SDSS MJD of the night that begins on the evening of a day of observation, YYYYMMDD."""
    day = dt.date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100)
    return (day - dt.date(1858, 11, 17)).days + 1


def spectra_of_night(connection: Connection, day_obs: int, *, limit: int = 500) -> list[SpectrumOfNight]:
    """Return the spectra that were taken in a night and have results.

    A spectrum is of the night if its observation was (``jd_mid``), or if its file's name has the SDSS MJD.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    day_obs : int
        Night, YYYYMMDD.
    limit : int, optional
        How many at most, by path.
    """
    mjd = sdss_mjd(day_obs)
    path, noon = signal_to_noise_table.c.path, _NOON_JD + mjd - 1
    by_time = select(correction_table.c.path).where(correction_table.c.jd_mid.between(noon, noon + 1.0))
    return _spectra(connection, or_(path.like(f"%-{mjd}-%"), path.in_(by_time)), limit)


def spectra_analysed_with(
    connection: Connection, task_pks: Collection[int], *, limit: int = 500
) -> list[SpectrumOfNight]:
    """Return the spectra that were analysed in the runs in which some tasks were planned.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    task_pks : collection of int
        Keys of the tasks.
    limit : int, optional
        How many at most, by path.
    """
    of_tasks = is_among(connection, task_table.c.pk, sorted(task_pks))
    runs = list(connection.execute(select(task_table.c.run_pk).where(of_tasks).distinct()).scalars())
    in_runs = select(task_table.c.pk).where(task_table.c.run_pk.in_([run for run in runs if run is not None]))
    return _spectra(connection, signal_to_noise_table.c.task_pk.in_(in_runs), limit)


def _spectra(connection: Connection, condition: ColumnElement[bool], limit: int) -> list[SpectrumOfNight]:
    """Return the spectra of which a condition holds, with all that is known of them."""
    table = signal_to_noise_table.c
    query = (
        select(*(table[name] for name in ("path", "product", "row_index", "kind", "flags")))
        .where(condition)
        .distinct()
        .order_by(table.path, table.row_index)
        .limit(limit)
    )
    nothing = dict.fromkeys(column for _, column in SHOWN)
    rows = connection.execute(query).mappings()
    found = [SpectrumOfNight(**row, values=dict(nothing)) for row in rows]
    by_place = {(spectrum.path, spectrum.row_index): spectrum for spectrum in found}
    paths = sorted({spectrum.path for spectrum in found})
    for name, column in SHOWN:
        for row in _rows(connection, spectrum_table(name), paths, column):
            if (row[0], row[1]) in by_place and row[2] is not None:
                by_place[row[0], row[1]].values[column] = row[2]
    _add_labels(connection, by_place, paths)
    continua = _continua(connection, paths)
    return [replace(spectrum, continuum=continua.get(spectrum.path)) for spectrum in found]


def _rows(connection: Connection, table: Table, paths: list[str], column: str) -> Any:
    query = select(table.c.path, table.c.row_index, table.c[column])
    return connection.execute(
        query.where(is_among(connection, table.c.path, paths)).order_by(table.c.task_pk)
    )


def _add_labels(
    connection: Connection, by_place: dict[tuple[str, int], SpectrumOfNight], paths: list[str]
) -> None:
    table = metadata.tables["stellar_label"]
    query = select(table.c.path, table.c.row_index, table.c.label, table.c.value)
    for path, row, label, value in connection.execute(query.where(is_among(connection, table.c.path, paths))):
        if (path, row) in by_place and value is not None:
            by_place[path, row].labels[label] = value


def _continua(connection: Connection, paths: list[str]) -> dict[str, str]:
    """Return the files of normalised spectra by the file of the spectrum."""
    query = (
        select(continuum_table.c.path, product_table.c.path)
        .join(product_table, product_table.c.task_pk == continuum_table.c.task_pk)
        .where(is_among(connection, continuum_table.c.path, paths), product_table.c.path.like("%.fits"))
        .order_by(product_table.c.created)
    )
    return {row[0]: row[1] for row in connection.execute(query)}
