"""Binary tables of FITS files by the offsets of their columns.

A few values of a table of one row and 236 columns cost 1 ms, where a column object for each costs 20 ms; a
table of millions of rows is read in windows of its rows, so that memory stays flat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.products.fits_units import Content, FitsUnit

_FORMATS = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S"}
_SIZES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "A": 1, "C": 8, "M": 16, "P": 8, "Q": 16}
_FORMAT = re.compile(r"(\d*)([A-Z])")


@dataclass(frozen=True)
class FitsColumn:
    """Where a column stands in each row of a table.

    Parameters
    ----------
    name : str
        As in the file.
    offset : int
        From the begin of a row [byte].
    repeat : int
        Number of values, or characters.
    code : str
        Letter of the format of the FITS standard.
    scale, zero : float or int
        What is stored is multiplied by the one before the other is added.
    """

    name: str
    offset: int
    repeat: int
    code: str
    scale: float = 1
    zero: float = 0

    @property
    def size(self) -> int:
        """Size in a row [byte]."""
        return (self.repeat + 7) // 8 if self.code == "X" else self.repeat * _SIZES[self.code]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what stands in a row.

        Raises
        ------
        ValueError
            If it is of a kind that is not read here: bits, complex numbers, arrays of variable length.
        """
        if self.code not in _FORMATS:
            message = f"column {self.name} has format {self.code}, which is not read"
            raise ValueError(message)
        if self.code == "A":
            return np.dtype(f"S{max(self.repeat, 1)}")
        base = np.dtype(_FORMATS[self.code])
        return base if self.repeat == 1 else np.dtype((base, (self.repeat,)))


def table_columns(unit: FitsUnit) -> list[FitsColumn]:
    """Return the columns of a binary table.

    Raises
    ------
    ValueError
        If a column has no format of the standard, or they do not fill a row.
    """
    cards = unit.cards
    if cards.get("XTENSION") != "BINTABLE":
        return []
    columns, offset = [], 0
    for number in range(1, int(cards.get("TFIELDS") or 0) + 1):
        repeat, code = _format(str(cards.get(f"TFORM{number}", "")))
        scaling = (cards.get(f"TSCAL{number}", 1), cards.get(f"TZERO{number}", 0))
        name = str(cards.get(f"TTYPE{number}") or "").strip()
        column = FitsColumn(name, offset, repeat, code, *scaling)
        columns.append(column)
        offset += column.size
    if offset != cards["NAXIS1"]:
        message = f"the columns of a table fill {offset} bytes of a row, not {cards['NAXIS1']}"
        raise ValueError(message)
    return columns


def _format(text: str) -> tuple[int, str]:
    """Return repeat count and letter of a column's format."""
    match = _FORMAT.match(text)
    if not match or (match[2] not in _SIZES and match[2] != "X"):
        message = f"a table has a column of format {text!r}"
        raise ValueError(message)
    return int(match[1] or 1), match[2]


def row_dtype(unit: FitsUnit, columns: Mapping[str, FitsColumn]) -> np.dtype[Any]:
    """Return the type of a row of a table that has some of its columns, under the names of the mapping."""
    return np.dtype(
        {
            "names": list(columns),
            "formats": [column.dtype for column in columns.values()],
            "offsets": [column.offset for column in columns.values()],
            "itemsize": int(unit.cards["NAXIS1"]),
        }
    )


def find_columns(unit: FitsUnit, names: Iterable[str]) -> dict[str, FitsColumn]:
    """Return those of some columns that a table has, in whichever case of letters, by the name asked for."""
    by_name: dict[str, FitsColumn] = {}
    for column in table_columns(unit):
        by_name.setdefault(column.name.lower(), column)
    return {name: by_name[name.lower()] for name in names if name.lower() in by_name}


def read_columns(content: Content, unit: FitsUnit, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read columns of a table.

    Parameters
    ----------
    content : bytes or FileBytes
        The file, uncompressed.
    unit : FitsUnit
        The table.
    names : iterable of str
        Columns wanted, in either case of letters.

    Returns
    -------
    columns : dict of str to ndarray
        Those that are there, by the name asked for, in the byte order of the file; shape (n_rows,) or
        (n_rows, n_values).

    Raises
    ------
    ValueError
        If the table is of no valid form.
    """
    found = find_columns(unit, names)
    if not found:
        return {}
    rows = int(unit.cards["NAXIS2"])
    size = rows * int(unit.cards["NAXIS1"])
    raw = content[unit.data_start : unit.data_start + size]
    table = np.frombuffer(raw, dtype=row_dtype(unit, found), count=rows)
    return {name: scaled(table[name], column.scale, column.zero) for name, column in found.items()}


def scaled(stored: NDArray[Any], scale: float, zero: float) -> NDArray[Any]:
    """Return the values that stand for what is stored; unsigned integers are such values."""
    if (scale, zero) == (1, 0):
        return stored
    if stored.dtype.kind in "iu" and scale == 1 and zero == 1 << (8 * stored.dtype.itemsize - 1):
        unsigned = np.dtype(f"u{stored.dtype.itemsize}")
        native = stored.astype(stored.dtype.newbyteorder("=")).view(unsigned)
        return np.asarray(native + unsigned.type(zero))  # modulo 2^bits, which is what is meant
    return np.asarray(stored * scale + zero)


def read_row(content: Content, unit: FitsUnit, names: Iterable[str]) -> dict[str, Any]:
    """Read scalars of the first row of a binary table.

    Parameters
    ----------
    content : bytes or FileBytes
        The file, uncompressed.
    unit : FitsUnit
        The table.
    names : iterable of str
        Columns wanted; they may be spelled in either case in the file.

    Returns
    -------
    values : dict of str to value
        Of those columns that are there and hold one number or text: int, float or stripped str.

    Raises
    ------
    ValueError
        If a column has no format of the standard.
    """
    columns = find_columns(unit, names)
    if not columns or not unit.cards.get("NAXIS2"):
        return {}
    raw = content[unit.data_start : unit.data_start + int(unit.cards["NAXIS1"])]
    return {
        name: plain_cell(_first(raw, column))
        for name, column in columns.items()
        if column.code in _FORMATS and (column.repeat == 1 or column.code == "A")
    }


def _first(raw: bytes, column: FitsColumn) -> Any:
    """Return the value of a column in the first row."""
    stored = np.frombuffer(raw, dtype=column.dtype, count=1, offset=column.offset)
    return scaled(stored, column.scale, column.zero)[0]


def plain_cell(value: Any) -> Any:
    """Return a cell of a table as a Python value; a text without what pads it."""
    if isinstance(value, bytes):
        return value.split(b"\0")[0].decode("ascii", "replace").strip()
    return value.item() if value.ndim == 0 else value
