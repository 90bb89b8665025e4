"""Tables whose rows are the members of a batch: each value as text, exactly as it stands in the file."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.errors import ConfigError, FormatError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Callable

Columns = dict[str, list[str | None]]


def read_parameter_table(path: str | Path) -> Columns:
    """Read the columns of a table as texts; None where a row has no value.

    Numbers keep all their digits, and the cells of a CSV file are not interpreted at all, so that ``007``
    stays what it is. An empty cell of a CSV file is an empty text.

    Parameters
    ----------
    path : path
        CSV with a line of names, ECSV, FITS (its first table) or, with the extra ``parquet``, Parquet; told
        by the ending of the name, which may be followed by ``.gz`` for ECSV and FITS.

    Raises
    ------
    ConfigError
        If pyarrow is not installed, for Parquet.
    FormatError
        If the ending is unknown, the file cannot be read as what it says, or a column holds arrays.
    MissingDataError
        If there is no such file.
    """
    path = Path(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _READERS:
        message = f"{path}: the table must be one of {', '.join(_READERS)}, found {suffix or 'no ending'!r}"
        raise FormatError(message, path=str(path))
    if not path.is_file():
        message = f"the table {path} is not there"
        raise MissingDataError(message, path=str(path))
    try:
        return _READERS[suffix](path)
    except (OSError, ValueError, csv.Error, KeyError) as exc:
        message = f"{path} cannot be read as a table ({suffix}): {exc}"
        raise FormatError(message, path=str(path)) from exc


def _read_csv(path: Path) -> Columns:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            message = f"two columns have one name in {', '.join(names)}"
            raise ValueError(message)
        rows = [row for row in reader if row]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            message = f"row {number} must have {len(names)} values, found {len(row)}"
            raise ValueError(message)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _read_astropy(path: Path) -> Columns:
    from astropy.table import Table

    is_fits = not path.name.removesuffix(".gz").lower().endswith(".ecsv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units that astropy does not know are not needed
        table = Table.read(path, format="fits" if is_fits else "ascii.ecsv")
    return {name: _texts(name, table[name].tolist(), table[name].ndim) for name in table.colnames}


def _read_parquet(path: Path) -> Columns:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as exc:
        message = f"reading {path} needs pyarrow; install the extra 'parquet'"
        raise ConfigError(message, path=str(path)) from exc
    table = parquet.read_table(path)
    return {name: _texts(name, table[name].to_pylist(), 1) for name in table.column_names}


def _texts(name: str, values: list[Any], n_dimensions: int) -> list[str | None]:
    """Turn values into texts."""
    if n_dimensions != 1 or any(isinstance(value, (list, dict)) for value in values[:1]):
        message = f"column {name} must hold one value a row, found arrays"
        raise ValueError(message)
    return [None if value is None else _text(value) for value in values]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


_READERS: dict[str, Callable[[Path], Columns]] = {
    ".csv": _read_csv,
    ".ecsv": _read_astropy,
    ".fits": _read_astropy,
    ".fit": _read_astropy,
    ".parquet": _read_parquet,
}
