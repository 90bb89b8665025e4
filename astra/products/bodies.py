"""Tables of known bodies of the solar system: their orbits, or where they are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.parameter_tables import read_parameter_table

_INTEGERS = ("ssObjectId", "visit")
COLUMNS = (
    *_INTEGERS,
    *("mjdTai", "ra", "dec", "raErr", "decErr", "positionErr"),
    *("q", "tPeri", "a", "meanAnomaly", "epochMjdTdb", "e", "inclination", "node", "argPeri"),
)


def read_bodies(path: Path | str) -> NDArray[np.void]:
    """Read a table of orbits, or of positions.

    Columns of positions are told by `astra.sky.ephemerides.expected_from_table`, those of orbits by
    `astra.sky.orbits.heliocentric_positions`; any others are left out.

    Parameters
    ----------
    path : path
        CSV, ECSV, FITS or, with the extra ``parquet``, Parquet; told by the ending of the name.

    Returns
    -------
    bodies : structured ndarray, shape (n,)
        Integers of 64 bits, and doubles; what is missing is NaN.

    Raises
    ------
    FormatError
        If it cannot be read, an id is missing, or a value is no number.
    MissingDataError
        If there is no such file.
    """
    found = read_parameter_table(path)
    names = [name for name in COLUMNS if name in found]
    dtype = [(name, "i8" if name in _INTEGERS else "f8") for name in names]
    rows = np.zeros(len(next(iter(found.values()), [])), dtype)
    for name in names:
        try:
            rows[name] = [_number(name, text) for text in found[name]]
        except ValueError as exc:
            message = f"{path}: column {name} must hold numbers: {exc}"
            raise FormatError(message, path=str(path), column=name) from exc
    return rows


def _number(name: str, text: str | None) -> float | int:
    if name in _INTEGERS:
        return int(text or "")
    return float(text or "nan")
