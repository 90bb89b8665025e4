"""Rows of a table as structured arrays, and back.

In memory a table is a structured array: null is NaN, 0, False or an empty string. Going back, NaN and the
identifier 0 become null.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database.bulk import execute_columns
from astra.errors import FormatError

_DTYPES: tuple[tuple[type[Any], str], ...] = (
    (sa.BigInteger, "i8"),
    (sa.SmallInteger, "i2"),
    (sa.Integer, "i4"),
    (sa.Double, "f8"),
    (sa.REAL, "f4"),
    (sa.Boolean, "?"),
    (sa.String, "U7"),
)
_NULL_IDS = ("diaObjectId", "ssObjectId", "parentDiaSourceId")


def table_dtype(table: sa.Table, names: Sequence[str] | None = None) -> np.dtype[Any]:
    """Structured dtype of some columns of a table, or of all."""
    chosen = [table.columns[name] for name in names or table.columns.keys()]
    return np.dtype([(column.name, _numpy_type(column)) for column in chosen])


def _numpy_type(column: sa.Column[Any]) -> str:
    for kind, spelling in _DTYPES:
        if isinstance(column.type, kind):
            return spelling
    message = f"column {column} has type {column.type}, which has no numpy counterpart"
    raise TypeError(message)


def to_table(table: sa.Table, rows: NDArray[Any], **constants: Any) -> NDArray[Any]:
    """Cast a catalogue to the columns and types of a table; columns that the table lacks are left out.

    Parameters
    ----------
    table : Table
        Where the rows will go.
    rows : structured ndarray, shape (n,)
        A catalogue.
    **constants
        Columns with one value for all rows, or an array, which the catalogue lacks or which replace its own.

    Returns
    -------
    cast : structured ndarray, shape (n,)
    """
    given = {name for name in rows.dtype.names or () if name in table.columns} | set(constants)
    names = [column.name for column in table.columns if column.name in given]
    cast = np.zeros(len(rows), dtype=table_dtype(table, names))
    for name in names:
        cast[name] = constants[name] if name in constants else rows[name]
    return cast


def fetch(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], *conditions: sa.ColumnElement[bool]
) -> NDArray[Any]:
    """Fetch some columns of the rows that satisfy all conditions.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    table : Table
        Where from.
    names : sequence of str
        Columns.
    *conditions : column element
        What the rows must satisfy.

    Returns
    -------
    rows : structured ndarray, shape (n,)
        In no particular order.
    """
    result = connection.execute(sa.select(*(table.c[name] for name in names)).where(*conditions))
    return to_array(result.all(), table_dtype(table, names))


def to_array(rows: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Make a structured array of rows of a database, their values in the order of its fields."""
    array = np.zeros(len(rows), dtype=dtype)
    for name, values in zip(dtype.names or (), zip(*rows, strict=True), strict=False):
        if dtype[name].kind == "f":
            array[name] = np.array(values, dtype=np.float64)  # turns None into NaN
            continue
        null = np.zeros(1, dtype[name])[0]
        array[name] = [null if value is None else value for value in values]
    return array


def insert(connection: sa.Connection, table: sa.Table, rows: NDArray[Any]) -> None:
    """Insert an array; columns that it lacks are null, and columns that the table lacks are left out.

    Raises
    ------
    FormatError
        If it lacks a column that may not be null.
    """
    cast = to_table(table, rows)
    names = cast.dtype.names or ()
    missing = [c.name for c in table.columns if not c.nullable and c.name not in names]
    if missing:
        message = f"rows of {table.name} need the columns {', '.join(missing)}, which may not be null"
        raise FormatError(message, table=table.name, missing=missing)
    execute_columns(connection, _insert(table), {name: _plain_values(name, cast[name]) for name in names})


@cache
def _insert(table: sa.Table) -> sa.Insert:
    """Return the one statement that inserts into a table, which is compiled once."""
    return sa.insert(table)


def _plain_values(name: str, values: NDArray[Any]) -> list[Any]:
    """Python values of a column, None for null."""
    if values.dtype.kind == "f":
        plain = values.astype(object)
        plain[np.isnan(values)] = None
        return plain.tolist()  # type: ignore[no-any-return]
    if values.dtype.kind == "U" or name in _NULL_IDS:
        return [value or None for value in values.tolist()]
    return values.tolist()  # type: ignore[no-any-return]
