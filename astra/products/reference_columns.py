"""Columns of reference catalogues as they are found in files, and the standard ones that astra makes of them.

Read are tables with ``<band>_flux`` and ``<band>_fluxErr`` [nJy], or ``<band>`` and ``<band>_err`` [AB mag],
beside ``ra`` and ``dec`` [deg, ICRS]; ``pmra`` and ``pmdec`` [mas/yr] need an ``epoch``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.registry import IORegistryError
from astropy.table import Table
from numpy.typing import NDArray

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.images.exposure import NJY_AB_ZERO_POINT_MAG

FloatArray = NDArray[np.float64]

STAR_COLUMNS = ("isStar", "starnotgal")
EPOCH_COLUMNS = ("epoch", "ref_epoch")
NO_BANDS = ("ra", "dec", "pmra", "pmdec", "parallax", *EPOCH_COLUMNS)  # though errors may stand beside them
FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".parquet": "parquet",
}
NO_MAGNITUDE = 90.0  # from here on, of either sign, it stands for none
MAG_ERR_PER_RELATIVE = 2.5 / np.log(10.0)
MJD_J2000 = 51544.5
DAYS_PER_YEAR = 365.25
YEARS = 1800.0, 2200.0  # plausible epochs
_READ_ERRORS = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, IORegistryError)


@dataclass(frozen=True)
class ReferenceTable:
    """The columns of one file.

    Parameters
    ----------
    path : Path
        The file, for messages.
    columns : mapping of str to ndarray, shape (n,)
        By their names.
    units : mapping of str to str
        Of the columns that have one.
    """

    path: Path
    columns: Mapping[str, NDArray[Any]]
    units: Mapping[str, str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def require(self, names: Collection[str], wanted: str = "") -> None:
        """Raise a `FormatError` that says which column is wanted and which are there, if one is not."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            wanted = wanted or missing[0]
            message = (
                f"reference catalogue {self.path} needs the column {wanted}, found {', '.join(self.columns)}"
            )
            raise FormatError(message, path=str(self.path), key=wanted)

    def renamed(self, names: Mapping[str, str]) -> ReferenceTable:
        """Return the table with columns called otherwise: the names here, by those in the file's place.

        Raises
        ------
        FormatError
            If a column is not there.
        """
        self.require(list(names.values()))
        own = {old: new for new, old in names.items()}
        columns = {own.get(name, name): column for name, column in self.columns.items() if name not in names}
        columns |= {new: self.columns[old] for new, old in names.items()}
        return ReferenceTable(
            self.path, columns, {own.get(name, name): unit for name, unit in self.units.items()}
        )

    def numbers(self, name: str) -> FloatArray:
        """Return a column as float64, masked entries as NaN.

        Raises
        ------
        FormatError
            If it is not there, or holds no numbers.
        """
        self.require([name])
        column: Any = self.columns[name]
        if hasattr(column, "filled"):
            column = column.astype(np.float64).filled(np.nan) if column.dtype.kind in "biuf" else column
        try:
            text = np.char.lower(column) if column.dtype.kind in "SU" else column
            if column.dtype.kind in "SU" and np.all(np.isin(text, ("true", "false"))):
                return np.asarray(text == "true", dtype=np.float64)
            return np.asarray(column, dtype=np.float64)
        except (ValueError, TypeError) as error:
            message = f"column {name} of reference catalogue {self.path} must be numbers: {error}"
            raise FormatError(message, path=str(self.path), key=name) from error

    def ids(self, n_before: int = 0) -> NDArray[np.int64]:
        """Return the ids, counted on from those before where there are none.

        Raises
        ------
        FormatError
            If they are no whole numbers.
        """
        if "id" not in self.columns:
            return np.arange(n_before + 1, n_before + 1 + len(self), dtype=np.int64)
        column = self.columns["id"]
        if column.dtype.kind not in "iu" or np.ma.is_masked(column):
            found = "empty ones" if column.dtype.kind in "iu" else str(column.dtype)
            message = f"column id of reference catalogue {self.path} must be whole numbers, found {found}"
            raise FormatError(message, path=str(self.path), key="id")
        return np.asarray(column).astype(np.int64)

    def bands(self) -> list[str]:
        """Return the bands with fluxes or magnitudes, and errors."""
        patterns = (r"(.+)_fluxErr", "{0}_flux"), (r"(.+)_err", "{0}")
        found = [
            match[1]
            for pattern, partner in patterns
            for name in self.columns
            if (match := re.fullmatch(pattern, name)) and partner.format(match[1]) in self.columns
        ]
        return [band for band in dict.fromkeys(found) if band not in NO_BANDS]

    def flux(self, band: str) -> tuple[FloatArray, FloatArray]:
        """Return flux and its error [nJy], from fluxes, else from AB magnitudes; NaN where there is none.

        Surveys write -999, 99 or the like for a magnitude that they do not have.

        Raises
        ------
        FormatError
            If the file has neither.
        """
        if {f"{band}_flux", f"{band}_fluxErr"} <= set(self.columns):
            return self.numbers(f"{band}_flux"), self.numbers(f"{band}_fluxErr")
        wanted = f"{band}_flux and {band}_fluxErr [nJy], or {band} and {band}_err [AB mag]"
        self.require([band, f"{band}_err"], wanted)
        magnitude, magnitude_err = self.numbers(band).copy(), self.numbers(f"{band}_err")
        magnitude[~(np.abs(magnitude) < NO_MAGNITUDE)] = np.nan
        flux = 10.0 ** (0.4 * (NJY_AB_ZERO_POINT_MAG - magnitude))
        return flux, flux * magnitude_err / MAG_ERR_PER_RELATIVE

    def is_star(self) -> NDArray[np.bool_]:
        """Tell which rows are stars: all, without a column that says so."""
        name = next((name for name in STAR_COLUMNS if name in self.columns), None)
        return np.ones(len(self), dtype=np.bool_) if name is None else self.numbers(name) > 0

    def has_motions(self) -> bool:
        """Whether there are proper motions."""
        return {"pmra", "pmdec"} <= set(self.columns)

    def epoch_mjd_tai(self) -> FloatArray:
        """Return the epoch of each position [d, MJD TAI], from days or else Julian years.

        Raises
        ------
        FormatError
            If there is none, or it cannot be one.
        """
        name = next((name for name in EPOCH_COLUMNS if name in self.columns), "epoch")
        self.require([name], f"{name} [yr], because it has proper motions")
        epoch = self.numbers(name)
        if self.units.get(name) in ("d", "day"):
            return epoch
        known = epoch[np.isfinite(epoch)]
        if len(known) and not (YEARS[0] < known.min() and known.max() < YEARS[1]):
            message = (
                f"column {name} of reference catalogue {self.path} must be Julian years between "
                f"{YEARS[0]:g} and {YEARS[1]:g}, or have the unit d, found {known.min():g} to {known.max():g}"
            )
            raise FormatError(message, path=str(self.path), key=name)
        return MJD_J2000 + (epoch - 2000.0) * DAYS_PER_YEAR


def read_reference_table(path: Path) -> ReferenceTable:
    """Read a file in the format of its suffix.

    Raises
    ------
    MissingDataError
        If it is not there.
    FormatError
        If the suffix is unknown, or the file cannot be read as what it says.
    ConfigError
        If it is Parquet, and pyarrow is not installed.
    """
    if not path.is_file():
        raise MissingDataError(f"reference catalogue {path} is not there", path=str(path))
    table_format = FORMATS.get(Path(path.name.removesuffix(".gz")).suffix.lower())
    if table_format is None:
        message = f"reference catalogue {path} must end in one of {', '.join(FORMATS)}"
        raise FormatError(message, path=str(path))
    try:
        if table_format == "parquet":
            return _read_parquet(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units and cards of foreign tables
            table = Table.read(path, format=table_format)
    except _READ_ERRORS as error:
        message = f"reference catalogue {path} cannot be read as {table_format}: {error}"
        raise FormatError(message, path=str(path)) from error
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit is not None}
    return ReferenceTable(path, {name: table[name] for name in table.colnames}, units)


def _read_parquet(path: Path) -> ReferenceTable:
    """Read all columns of numbers and texts; what is null is masked."""
    table = parquet_module(path).read_table(path, partitioning=None)  # no columns of the path's
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind == "O":
            values = np.ma.masked_array(np.array([str(item) for item in values], dtype="U"))
        columns[name] = np.ma.masked_array(values, mask=column.is_null().to_numpy(zero_copy_only=False))
    fields = {name: table.schema.field(name).metadata or {} for name in table.column_names}
    units = {name: found[b"unit"].decode() for name, found in fields.items() if b"unit" in found}
    return ReferenceTable(path, columns, units)


def parquet_module(path: Path) -> Any:
    """Import what reads and writes Parquet.

    Raises
    ------
    ConfigError
        If pyarrow is not installed.
    """
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as exc:
        message = f"reference catalogue {path} needs pyarrow; install the extra 'parquet'"
        raise ConfigError(message, path=str(path)) from exc
    return parquet
