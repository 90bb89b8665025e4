"""Tables of results as FITS and ECSV, with units, descriptions and the names of their flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astra.products.atomic import atomic_path


def write_results(
    path: Path | str,
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Mapping[str, str]],
    *,
    name: str,
    flags: Mapping[str, int] | None = None,
) -> None:
    """Write rows as a table; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Ending in ``.fits`` or ``.ecsv``.
    rows : sequence of mapping
        All with the same keys; None is a missing value: NaN for real numbers.
    columns : mapping of str to mapping
        ``unit`` and ``description`` by column, where known.
    name : str
        Of the table.
    flags : mapping of str to int, optional
        Bits by name, written into the header.
    """
    from astropy import units
    from astropy.table import Column, Table

    table = Table(meta={"EXTNAME": name})
    for key in rows[0] if rows else columns:
        info = columns.get(key, {})
        values = _values([row[key] for row in rows], numeric=bool(info.get("unit")))
        unit = info.get("unit") or None
        table[key] = Column(
            values, unit=units.Unit(unit) if unit else None, description=info.get("description") or None
        )
    is_fits = str(path).endswith(".fits")
    bits = {f"BIT{int(value).bit_length() - 1}": flag for flag, value in (flags or {}).items()}
    table.meta.update(bits if is_fits else {"flags": dict(flags or {})})
    with atomic_path(path) as temporary:
        table.write(temporary, format="fits" if is_fits else "ascii.ecsv", overwrite=True)


def _values(values: list[Any], *, numeric: bool) -> Any:
    """Return a column of one type."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int) for value in known) and len(known) == len(values) and known:
        return np.array(values, np.int64)
    if numeric or (known and all(isinstance(value, (int, float)) for value in known)):
        return np.array([np.nan if value is None else float(value) for value in values])
    return np.array(["" if value is None else str(value) for value in values], dtype=str)
