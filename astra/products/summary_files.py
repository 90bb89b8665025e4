"""The survey's summary files (allVisit, allStar, spAll): few rows of tables of millions, by columns.

A table is mapped into memory in windows of its rows, so that a file of 30 GB needs no more memory than one of
30 MB; of a compressed file so much is unpacked at a time.
"""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.fits_columns import FitsColumn, find_columns, row_dtype, scaled, table_columns
from astra.products.fits_units import FitsUnit, find_first_table
from astra.products.survey_fits import readable

WINDOW_BYTES = 1 << 26

# Names of the keys of files, as the releases spell their columns.
VISIT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "fiber": ("FIBERID", "FIBER"),
    "plate": ("PLATE",),
    "mjd": ("MJD",),
    "telescope": ("TELESCOPE",),
    "field": ("FIELD",),
    "apred": ("APRED_VERS", "APRED", "V_APRED"),
    "obj": ("APOGEE_ID", "OBJ"),
    "healpix": ("HEALPIX",),
}
STAR_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "obj": ("APOGEE_ID", "OBJ"),
    "healpix": ("HEALPIX",),
    "field": ("FIELD",),
    "telescope": ("TELESCOPE",),
    "apred": ("APRED_VERS", "APRED", "V_APRED"),
    "mjd": ("MJDEND",),
    "ngoodrvs": ("NGOODRVS", "NGOODVISITS"),
}
SPECTRUM_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "catalogid": ("CATALOGID",),
    "plate": ("FIELD", "PLATE"),
    "mjd": ("MJD",),
    "run2d": ("RUN2D",),
    "firstcarton": ("FIRSTCARTON",),
    "plateid": ("PLATE",),
    "fiberid": ("FIBERID",),
}


@dataclass(frozen=True)
class SummaryTable:
    """A table of a summary file, of which nothing is read but its header.

    Parameters
    ----------
    path : Path
        The file.
    unit : FitsUnit
        Its first table.
    """

    path: Path
    unit: FitsUnit

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.unit.cards["NAXIS2"])

    @property
    def names(self) -> list[str]:
        """Names of the columns, as in the file."""
        return [column.name for column in table_columns(self.unit)]

    @property
    def kind(self) -> str:
        """``allVisit``, ``allStar`` or ``spAll``, by the columns; empty if it is none of them."""
        names = {name.upper() for name in self.names}
        if {"RUN2D", "MJD"} <= names:
            return "spAll"
        if "APOGEE_ID" not in names:
            return ""
        return "allVisit" if {"FIBERID", "MJD"} <= names else "allStar"

    def select(
        self, wanted: Mapping[str, Sequence[str]], where: Mapping[str, Collection[Any]]
    ) -> dict[str, list[Any]]:
        """Return columns of those rows that have certain values.

        Parameters
        ----------
        wanted : mapping of str to sequence of str
            By the name under which it is returned, what a column may be called.
        where : mapping of str to collection
            Values that a row must have, by such a name; texts without blanks around them.

        Returns
        -------
        columns : dict of str to list
            Those that are there; numbers and texts of Python.

        Raises
        ------
        FormatError
            If a column that must have certain values is missing.
        """
        columns = self._columns(wanted)
        missing = [name for name in where if name not in columns]
        if missing:
            names = ", ".join("/".join(wanted[name]) for name in missing)
            message = f"{self.path} must have a column {names} in its first table, but has none"
            raise FormatError(message, path=str(self.path), missing=missing)
        tests = {name: _membership(values) for name, values in where.items()}
        found: dict[str, list[Any]] = {name: [] for name in columns}
        for window in self._windows(columns):
            chosen = np.ones(len(window), bool)
            for name, test in tests.items():
                chosen &= test(_values(window[name], columns[name]))
            rows = window[np.flatnonzero(chosen)]
            for name, column in columns.items():
                found[name] += _values(rows[name], column).tolist()
        return found

    def _columns(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, FitsColumn]:
        columns = {}
        for name, spellings in wanted.items():
            there = find_columns(self.unit, spellings)
            first = next((there[spelling] for spelling in spellings if spelling in there), None)
            if first is not None:
                columns[name] = first
        return columns

    def _windows(self, columns: Mapping[str, FitsColumn]) -> Iterator[NDArray[Any]]:
        """Yield the rows in turn, some at a time."""
        dtype = row_dtype(self.unit, columns)
        size = max(WINDOW_BYTES // dtype.itemsize, 1)
        counts = [min(size, self.n_rows - first) for first in range(0, self.n_rows, size)]
        opened = _OPENERS.get(self.path.suffix)
        with readable(self.path):
            if opened is None:
                start = self.unit.data_start
                for count in counts:
                    yield np.memmap(self.path, dtype, mode="r", offset=start, shape=(count,))
                    start += count * dtype.itemsize
                return
            with closing(opened(self.path)) as stream:
                stream.read(self.unit.data_start)
                for count in counts:
                    yield np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)


_OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open}


def open_summary(path: str | Path) -> SummaryTable:
    """Open a summary file, plain or compressed by gzip or bzip2.

    Parameters
    ----------
    path : str or Path
        A FITS file whose first table counts.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no FITS file, has no table, or ends before the table does.
    """
    path = Path(path)
    with readable(path):
        opened = _OPENERS.get(path.suffix)
        with closing(path.open("rb") if opened is None else opened(path)) as stream:
            size = path.stat().st_size if opened is None else None
            return SummaryTable(path, find_first_table(stream, size))


def rows_of(columns: Mapping[str, Iterable[Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return a dict for each row, of those columns that are there."""
    there = [name for name in names if name in columns]
    return [
        dict(zip(there, values, strict=True))
        for values in zip(*(columns[name] for name in there), strict=True)
    ]


def _values(stored: NDArray[Any], column: FitsColumn) -> NDArray[Any]:
    """Return the values of a column; texts without blanks around them."""
    if stored.dtype.kind == "S":
        return np.asarray(np.char.strip(np.char.decode(stored, "latin-1")))
    return scaled(stored, column.scale, column.zero)


def _membership(values: Collection[Any]) -> Callable[[NDArray[Any]], NDArray[np.bool_]]:
    """Return what tells which of many values are among some; numbers and their texts are alike."""
    texts = np.array(sorted({str(value) for value in values}))
    numbers = {int(value) for value in values if str(value).lstrip("-").isdigit()}

    def test(found: NDArray[Any]) -> NDArray[np.bool_]:
        if found.dtype.kind in "US":
            return np.isin(found, texts)
        return np.isin(found, np.array(sorted(numbers), np.int64))

    return test
