"""Catalogues, numpy structured arrays in memory, as FITS binary tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.fits_record import (
    add_cards,
    open_fits,
    plain_values,
    read_record,
    record_hdu,
    software_version,
    write_hdus,
)
from astra.products.fits_table import table_hdu

KIND = "catalog"
EXTENSION = "CATALOG"


def write_catalog(
    path: Path | str,
    array: NDArray[Any],
    *,
    units: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a catalogue; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to; missing folders are made.
    array : structured ndarray, shape (n,)
        The rows; columns are numbers, bools or text (blanks at its end are not kept), also of fixed
        shape. It may be empty.
    units : mapping, optional
        Unit of each column that has one, for ``TUNITn``.
    metadata : mapping, optional
        Text, numbers and bools that belong to the whole table.

    Raises
    ------
    ValueError
        If the array is not a one-dimensional structured one, a unit names no column, or a metadata value
        is of another type.
    """
    units = dict(units or {})
    _check_arguments(array, units)
    hdu = table_hdu(EXTENSION, _with_encoded_text(array), units)
    plain = plain_values(metadata or {})
    primary = fits.PrimaryHDU()
    add_cards(primary.header, {"ORIGIN": "astra", "ASTRAVER": software_version(), **plain})
    record = {"kind": KIND, "columns": _describe(array.dtype), "metadata": plain, "units": units}
    write_hdus(path, [primary, hdu, record_hdu(record)])


def read_catalog(path: Path | str, *, verify: bool = False) -> NDArray[Any]:
    """Read the table of a FITS file, in the machine's byte order.

    A catalogue of `write_catalog` comes back exactly; of any other FITS file the first table is read.

    Parameters
    ----------
    path : Path or str
        The file.
    verify : bool, optional
        Check the checksum of every HDU first.

    Returns
    -------
    array : structured ndarray, shape (n,)

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged, or has no table.
    """
    with open_fits(path, verify=verify) as hdus:
        data = _table(hdus, path).data
        record = read_record(hdus)
        dtype = _foreign_dtype(data) if record is None else _dtype(record["columns"])
        array = np.empty(len(data), dtype=dtype)
        for name in array.dtype.names or ():
            array[name] = _column(data, name, array.dtype[name])
        return array


def read_catalog_metadata(path: Path | str) -> dict[str, Any]:
    """Read the metadata of a catalogue; empty for a table that astra did not write.

    Raises
    ------
    MissingDataError, FormatError
        As in `read_catalog`.
    """
    with open_fits(path) as hdus:
        return dict((read_record(hdus) or {}).get("metadata", {}))


def read_catalog_units(path: Path | str) -> dict[str, str]:
    """Read the unit of each column that has one.

    Raises
    ------
    MissingDataError, FormatError
        As in `read_catalog`.
    """
    with open_fits(path) as hdus:
        return {column.name: column.unit for column in _table(hdus, path).columns if column.unit}


def _check_arguments(array: NDArray[Any], units: Mapping[str, str]) -> None:
    names = array.dtype.names
    if not names or array.ndim != 1:
        message = f"a catalogue is a 1-d structured array, found {array.dtype} of shape {array.shape}"
        raise ValueError(message)
    unknown = sorted(set(units) - set(names))
    if unknown:
        raise ValueError(f"units name columns that the catalogue does not have: {', '.join(unknown)}")


def _table(hdus: fits.HDUList, path: Path | str) -> fits.BinTableHDU:
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU):
            return hdu
    raise FormatError(f"{path} has no binary table", path=str(path))


def _with_encoded_text(array: NDArray[Any]) -> NDArray[Any]:
    """Make text UTF-8 (FITS has ASCII only) without blanks at its end; the array itself if it has no text."""
    names = array.dtype.names or ()
    encoded = {name: _encode(array[name]) for name in names if array.dtype[name].base.kind in "SU"}
    if not encoded:
        return array
    fields = [(name, _encoded_field(array.dtype[name], encoded.get(name))) for name in names]
    table = np.empty(len(array), dtype=np.dtype(fields))
    for name in names:
        table[name] = encoded.get(name, array[name])
    return table


def _encode(text: NDArray[Any]) -> NDArray[Any]:
    # astropy writes NUL for blanks at the end after it has summed them: the checksum would be wrong.
    encoded = np.char.encode(text, "utf-8") if text.dtype.kind == "U" else text
    return np.asarray(np.char.rstrip(encoded, b" "))


def _encoded_field(dtype: np.dtype[Any], encoded: NDArray[Any] | None) -> np.dtype[Any]:
    return dtype if encoded is None else np.dtype((encoded.dtype, dtype.shape))


def _describe(dtype: np.dtype[Any]) -> list[list[Any]]:
    """Columns as lists of name, type in native byte order, and shape."""
    names = dtype.names or ()
    return [[name, dtype[name].base.newbyteorder("=").str, list(dtype[name].shape)] for name in names]


def _dtype(columns: list[list[Any]]) -> np.dtype[Any]:
    return np.dtype([(name, kind, tuple(shape)) for name, kind, shape in columns])


def _foreign_dtype(data: fits.FITS_rec) -> np.dtype[Any]:
    fields = []
    for name in data.names:
        column = np.asarray(data.field(name))
        fields.append((name, column.dtype.newbyteorder("="), column.shape[1:]))
    return np.dtype(fields)


def _column(data: fits.FITS_rec, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.base.kind not in "SU":
        return np.asarray(data.field(name))
    raw = np.asarray(data.view(np.ndarray)[name])  # the column itself would be decoded as ASCII
    if dtype.base.kind == "U" and raw.dtype.kind == "S":
        return np.asarray(np.char.decode(raw, "utf-8"))
    return raw
