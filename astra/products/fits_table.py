"""Binary tables of FITS, made at once: the same bytes as astropy's, which makes each header several times.

Tables of numbers, bools and bytes are made here; what else astropy knows (unsigned integers, which FITS has
not, or complex numbers) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.base import NonstandardExtHDU
from numpy.typing import NDArray

_FORMATS = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K", "u1": "B", "b1": "L"}
_LONGEST_NAME = 60  # of a column or a unit, which a card holds without a second one


def table_hdu(name: str, array: NDArray[Any], units: Mapping[str, str] | None = None) -> Any:
    """Make the extension of a table.

    Parameters
    ----------
    name : str
        Of the extension.
    array : structured ndarray, shape (n,)
        The rows; text is bytes.
    units : mapping, optional
        Unit of each column that has one.

    Returns
    -------
    hdu : astropy HDU
        To be written.
    """
    units = dict(units or {})
    if _is_plain(array.dtype, units):
        return _plain_hdu(name, array, units)
    hdu = fits.BinTableHDU(array, name=name)
    for column, unit in units.items():
        hdu.columns[column].unit = unit
    hdu.update_header()
    return hdu


def _plain_hdu(name: str, array: NDArray[Any], units: Mapping[str, str]) -> NonstandardExtHDU:
    """Make an extension whose header and bytes astropy need not look into."""
    rows = _big_endian(array)
    hdu = NonstandardExtHDU(header=fits.Header.fromstring("".join(_cards(name, rows.dtype, array, units))))
    hdu.data = np.frombuffer(rows.tobytes(), dtype=np.uint8)
    return hdu


def _is_plain(dtype: np.dtype[Any], units: Mapping[str, str]) -> bool:
    """Tell whether all columns are of kinds that need neither zero points nor second cards."""
    words = [*(dtype.names or ()), *units.values()]
    if not all(word.isascii() and word.isprintable() and len(word) <= _LONGEST_NAME for word in words):
        return False
    if any("'" in word or word != word.rstrip() or not word for word in words):
        return False
    columns = [dtype[name].base for name in dtype.names or ()]
    return bool(columns) and all(column.kind == "S" or column.str[1:] in _FORMATS for column in columns)


def _big_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Return the rows as they stand in the file: packed, in the order of FITS, bools as letters."""
    dtype = array.dtype
    fields = [(name, _file_dtype(dtype[name])) for name in dtype.names or ()]
    rows = np.zeros(len(array), dtype=np.dtype(fields))
    for name in dtype.names or ():
        values = array[name]
        rows[name] = np.where(values, ord("T"), ord("F")) if dtype[name].base.kind == "b" else values
    return rows


def _file_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    base = np.dtype(np.uint8) if dtype.base.kind == "b" else dtype.base.newbyteorder(">")
    return np.dtype((base, dtype.shape))


def _cards(name: str, in_file: np.dtype[Any], array: NDArray[Any], units: Mapping[str, str]) -> Iterator[str]:
    """Yield the cards of the header."""
    names = array.dtype.names or ()
    yield _card("XTENSION", "BINTABLE", "binary table extension")
    yield _card("BITPIX", 8, "array data type")
    yield _card("NAXIS", 2, "number of array dimensions")
    yield _card("NAXIS1", in_file.itemsize, "length of dimension 1")
    yield _card("NAXIS2", len(array), "length of dimension 2")
    yield _card("PCOUNT", 0, "number of group parameters")
    yield _card("GCOUNT", 1, "number of groups")
    yield _card("TFIELDS", len(names), "number of table fields")
    for number, column in enumerate(names, start=1):
        dtype = array.dtype[column]
        yield _card(f"TTYPE{number}", column)
        yield _card(f"TFORM{number}", _format(dtype))
        if column in units:
            yield _card(f"TUNIT{number}", units[column])
        if dtype.shape:
            text = (dtype.base.itemsize,) if dtype.base.kind == "S" else ()
            yield _card(f"TDIM{number}", f"({','.join(map(str, (*text, *dtype.shape[::-1])))})")
    yield _card("EXTNAME", name, "extension name")


def _format(dtype: np.dtype[Any]) -> str:
    """Return the format of a column."""
    number = int(np.prod(dtype.shape, dtype=np.int64))
    if dtype.base.kind == "S":
        return f"{number * dtype.base.itemsize}A"
    return f"{number if number != 1 else ''}{_FORMATS[dtype.base.str[1:]]}"


def _card(key: str, value: str | int, comment: str = "") -> str:
    """Return a card of 80 characters."""
    text = f"'{value:<8}'" if isinstance(value, str) else f"{value:>20}"
    return f"{key:<8}= {text:<20}{f' / {comment}' if comment else ''}"[:80].ljust(80)
