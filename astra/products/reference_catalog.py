"""Reference catalogues: one table layout in memory for the photometric and astrometric standards.

Read are tables with ``<band>_flux`` and ``<band>_fluxErr`` [nJy], or ``<band>`` and ``<band>_err`` [AB mag],
beside ``ra`` and ``dec`` [deg, ICRS]; FITS, ECSV or CSV by the file's suffix.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.registry import IORegistryError
from astropy.table import Table
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError
from astra.images.exposure import NJY_AB_ZERO_POINT_MAG

DTYPE = np.dtype(
    [("id", "i8"), ("ra", "f8"), ("dec", "f8"), ("flux", "f8"), ("fluxErr", "f8"), ("isStar", "?")]
)
STAR_COLUMNS = ("isStar", "starnotgal")
FORMATS = {".fits": "fits", ".fit": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}
MAG_ERR_PER_RELATIVE = 2.5 / np.log(10.0)


def read_reference_catalog(path: Path | str, band: str) -> NDArray[np.void]:
    """Read the standards of one band.

    Parameters
    ----------
    path : Path or str
        FITS (first table), ECSV or CSV.
    band : str
        One of ``ugrizy``.

    Returns
    -------
    reference : structured ndarray, shape (n,)
        ``id``, ``ra`` in 0..360 and ``dec`` [deg, ICRS], ``flux`` and ``fluxErr`` [nJy], ``isStar``. Rows
        without a finite position are left out; an unknown flux is NaN. Without an ``id`` column the rows are
        counted from 1; without a column ``isStar`` or ``starnotgal`` all are stars.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it cannot be read, or lacks a column.
    """
    path = Path(path)
    table = _read_table(path)
    for name in ("ra", "dec"):
        _require(path, table, name in table.colnames, name)
    reference = np.zeros(len(table), dtype=DTYPE)
    reference["id"] = table["id"] if "id" in table.colnames else np.arange(1, len(table) + 1)
    reference["ra"] = np.mod(_numbers(path, table, "ra"), 360.0)
    reference["dec"] = _numbers(path, table, "dec")
    reference["flux"], reference["fluxErr"] = _fluxes(path, table, band)
    star = next((name for name in STAR_COLUMNS if name in table.colnames), None)
    reference["isStar"] = True if star is None else _numbers(path, table, star) > 0
    good = np.isfinite(reference["ra"]) & (np.abs(reference["dec"]) <= 90.0)
    placed: NDArray[np.void] = reference[good]
    return placed


def _read_table(path: Path) -> Table:
    """Read the file in the format of its suffix."""
    if not path.is_file():
        raise MissingDataError(f"reference catalogue {path} is not there", path=str(path))
    name = path.name.removesuffix(".gz")
    table_format = FORMATS.get(Path(name).suffix.lower())
    if table_format is None:
        known = ", ".join(FORMATS)
        raise FormatError(f"reference catalogue {path} must end in one of {known}", path=str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units and cards of foreign tables
            return Table.read(path, format=table_format)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, IORegistryError) as error:
        message = f"reference catalogue {path} cannot be read as {table_format}: {error}"
        raise FormatError(message, path=str(path)) from error


def _require(path: Path, table: Table, condition: bool, wanted: str) -> None:
    """Raise a `FormatError` that says which column is wanted and which are there."""
    if not condition:
        found = ", ".join(table.colnames)
        message = f"reference catalogue {path} needs the column {wanted}, found {found}"
        raise FormatError(message, path=str(path), key=wanted)


def _numbers(path: Path, table: Table, name: str) -> NDArray[np.float64]:
    """Return a column as float64, masked entries as NaN."""
    column: Any = table[name]
    if hasattr(column, "filled"):
        column = column.astype(np.float64).filled(np.nan) if column.dtype.kind in "biuf" else column
    try:
        text = np.char.lower(column) if column.dtype.kind in "SU" else column
        if column.dtype.kind in "SU" and np.all(np.isin(text, ("true", "false"))):
            return np.asarray(text == "true", dtype=np.float64)
        return np.asarray(column, dtype=np.float64)
    except ValueError as error:
        message = f"column {name} of reference catalogue {path} must be numbers: {error}"
        raise FormatError(message, path=str(path), key=name) from error


def _fluxes(path: Path, table: Table, band: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Flux and its error [nJy] from fluxes, else from AB magnitudes."""
    names = set(table.colnames)
    if {f"{band}_flux", f"{band}_fluxErr"} <= names:
        return _numbers(path, table, f"{band}_flux"), _numbers(path, table, f"{band}_fluxErr")
    wanted = f"{band}_flux and {band}_fluxErr [nJy], or {band} and {band}_err [AB mag]"
    _require(path, table, {band, f"{band}_err"} <= names, wanted)
    magnitude, magnitude_err = _numbers(path, table, band), _numbers(path, table, f"{band}_err")
    flux = 10.0 ** (0.4 * (NJY_AB_ZERO_POINT_MAG - magnitude))
    return flux, flux * magnitude_err / MAG_ERR_PER_RELATIVE
