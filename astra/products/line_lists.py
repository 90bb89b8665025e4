"""Lists of lines as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astra.errors import FormatError
from astra.products.parameter_tables import read_parameter_table
from astra.spectra.lines import Line

_WINDOWS = ("window", "blue", "red")
_COLUMNS = ("name", "medium", *(f"{name}_{end}" for name in _WINDOWS for end in ("low", "high")))


def read_lines(path: Path | str) -> list[Line]:
    """Read lines from a table.

    Parameters
    ----------
    path : Path or str
        CSV, ECSV, FITS or Parquet with the columns name, medium (``air`` or ``vacuum``), window_low,
        window_high, blue_low, blue_high, red_low and red_high [Angstrom].

    Returns
    -------
    lines : list of Line

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If a column is missing, or windows make no sense.
    """
    content = read_parameter_table(path)
    missing = [name for name in _COLUMNS if name not in content]
    if missing:
        message = f"{path} must have the columns {', '.join(_COLUMNS)}, but lacks {', '.join(missing)}"
        raise FormatError(message, path=str(path), missing=missing)
    try:
        return [
            _line(dict(zip(_COLUMNS, row, strict=True)))
            for row in zip(*(content[name] for name in _COLUMNS), strict=True)
        ]
    except (TypeError, ValueError) as exc:
        message = f"{path} is no list of lines: {exc}"
        raise FormatError(message, path=str(path)) from exc


def _line(row: Mapping[str, Any]) -> Line:
    """Make the line of a row of texts."""
    window, blue, red = ((float(row[f"{name}_low"]), float(row[f"{name}_high"])) for name in _WINDOWS)
    return Line(str(row["name"]).strip(), window, blue, red, str(row["medium"]).strip())
