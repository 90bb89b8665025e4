"""What columns of rows may be, and how they become the few types that compiled loops take.

Columns are numpy arrays by name: a structured array, or a mapping. Null is where a masked array is masked,
where a float is NaN and where an array of objects has None. A column that is absent is null throughout.
Nothing is converted that would change a value: a column of integers is none of floats.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.encoder_kernels import EncodedRows
from astra.errors import AlertError

Columns = Mapping[str, NDArray[Any]]

_INT, _LONG = (-(1 << 31), (1 << 31) - 1), (-(1 << 63), (1 << 63) - 1)
_RANGES = {"int": _INT, "long": _LONG, "timestamp-micros": _LONG}
_LONGEST = {"int": 5, "long": 10, "float": 4, "double": 8, "boolean": 1, "timestamp-micros": 10, "string": 10}
_EXPECTED = {
    "int": "an int of 32 bits",
    "long": "an int of 64 bits",
    "float": "a finite float that fits 32 bits",
    "double": "a float, not NaN",
    "boolean": "a bool",
    "string": "a str",
    "timestamp-micros": "a datetime with a time zone",
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_PYTHON_TYPES: dict[str, tuple[type[Any], ...]] = {
    **dict.fromkeys(("int", "long"), (int, np.integer)),
    **dict.fromkeys(("float", "double"), (float, np.floating)),
    "boolean": (bool, np.bool_),
    "string": (str,),
    "timestamp-micros": (dt.datetime,),
}
_NUMPY_TYPES: dict[str, type[Any]] = {"boolean": np.bool_, "float": np.float64, "double": np.float64}
_NUMPY_KINDS = {"int": "iu", "long": "iu", "float": "f", "double": "f", "boolean": "b", "string": "UO"}
_BLANKS: dict[str, Any] = {
    "boolean": False,
    "float": 0.0,
    "double": 0.0,
    "string": "",
    "timestamp-micros": _EPOCH,
}


@dataclass(frozen=True)
class Field:
    """A field of a record that is a plain value.

    Parameters
    ----------
    name : str
        Name.
    kind : str
        Avro type, or logical type.
    nullable : bool
        Whether it may be null.
    """

    name: str
    kind: str
    nullable: bool


@dataclass(frozen=True)
class PreparedColumn:
    """A column whose type is right.

    Parameters
    ----------
    field : Field
        Which one.
    values : ndarray or EncodedRows
        Values; of text, its UTF-8.
    nulls : bool ndarray, shape (n,) or (0,)
        Where it is null; empty if it must not be.
    """

    field: Field
    values: Any
    nulls: NDArray[np.bool_]

    @property
    def longest(self) -> int:
        """Bytes that a value can take."""
        text = np.diff(self.values.start).max(initial=0) if self.field.kind == "string" else 0
        return int(self.field.nullable + _LONGEST[self.field.kind] + text)


@dataclass(frozen=True)
class ColumnTable:
    """Columns of a record, and what is said when one is wrong.

    Parameters
    ----------
    record : str
        Short name of the record.
    columns : mapping of str to ndarray, or structured ndarray
        Columns.
    version : str
        Schema version.
    """

    record: str
    columns: Columns | NDArray[Any]
    version: str

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the columns that are there."""
        columns = self.columns
        return frozenset(columns if isinstance(columns, Mapping) else columns.dtype.names or ())

    @cached_property
    def length(self) -> int:
        """Number of rows; ValueError if the columns disagree."""
        lengths = {len(self.columns[name]) for name in self.names} or {0}
        if len(lengths) > 1:
            message = f"the columns of {self.record} must be of one length, found {sorted(lengths)}"
            raise ValueError(message)
        return lengths.pop()

    @cached_property
    def nowhere(self) -> NDArray[np.bool_]:
        """No row, of as many as there are."""
        return np.zeros(self.length, dtype=np.bool_)

    def wrong_value(self, field: Field, row: int) -> AlertError:
        """Make the error of a value that its field cannot take."""
        column = self.columns[field.name]
        value: Any = None if np.ma.getmaskarray(column)[row] else np.ma.getdata(column)[row]
        value = value.item() if hasattr(value, "item") else value
        value = None if _is_null(value) else value
        found = f"{type(value).__name__} {str(value)[:40]!r}"
        return self.error(field, f"must be {_EXPECTED[field.kind]}, found {found}", row)

    def error(self, field: Field, problem: str, row: int | None = None) -> AlertError:
        """Make the error of a column, or of one row of it."""
        name, where = f"{self.record}.{field.name}", ""
        context: dict[str, Any] = {"field": name, "version": self.version}
        if row is not None:
            context |= {"row": row, "diaSourceId": self._source_id(row)}
            known = "" if context["diaSourceId"] is None else f", diaSourceId {context['diaSourceId']}"
            where = f" (row {row}{known})"
        return AlertError(f"alert schema {self.version}: field {name} {problem}{where}", **context)

    def _source_id(self, row: int) -> int | None:
        value = self.columns["diaSourceId"][row] if "diaSourceId" in self.names else None
        return int(value) if isinstance(value, (int, np.integer)) else None


def prepare_column(table: ColumnTable, field: Field) -> PreparedColumn:
    """Check the type of a column, and bring it to one that compiled loops take.

    Raises
    ------
    AlertError
        If it is missing or null and must not be, or of another type; the message and the context name it.
    """
    if field.name not in table.names:
        return _absent(table, field)
    column = table.columns[field.name]
    values, nulls = column, table.nowhere
    if isinstance(column, np.ma.MaskedArray):
        values, nulls = np.ma.getdata(column), np.ma.getmaskarray(column)
    if values.dtype.kind == "O":
        nulls = nulls | np.array([_is_null(value) for value in values.tolist()], dtype=np.bool_)
        values = _from_objects(table, field, values, nulls)
    elif values.dtype.kind == "M":
        nulls = nulls | np.isnat(values)
    if values.dtype.kind not in _NUMPY_KINDS.get(field.kind, "Mi"):
        raise table.error(field, f"must be {_EXPECTED[field.kind]}, found a column of type {values.dtype}")
    if not field.nullable:
        if nulls is not table.nowhere and nulls.any():
            raise table.wrong_value(field, int(np.argmax(nulls)))
        nulls = nulls[:0]
    return PreparedColumn(field, _for_loops(table, field, values), np.ascontiguousarray(nulls))


def _absent(table: ColumnTable, field: Field) -> PreparedColumn:
    """Make a column that is null throughout, if it may be."""
    if not field.nullable and table.length:
        raise table.error(field, f"is missing, and must be {_EXPECTED[field.kind]}")
    nulls = np.ones(table.length, dtype=np.bool_)
    return PreparedColumn(field, _blank(field.kind, table.length), nulls if field.nullable else nulls[:0])


def _blank(kind: str, length: int) -> Any:
    if kind == "string":
        return EncodedRows(np.zeros(0, np.uint8), np.zeros(length + 1, np.int64))
    return np.zeros(length, _NUMPY_TYPES.get(kind, np.int64))


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _from_objects(
    table: ColumnTable, field: Field, values: NDArray[Any], nulls: NDArray[np.bool_]
) -> NDArray[Any]:
    """Turn Python values into a column, blank where it is null."""
    blank = _BLANKS.get(field.kind, 0)
    plain = [blank if null else value for value, null in zip(values.tolist(), nulls.tolist(), strict=True)]
    for row, value in enumerate(plain):
        if not _has_python_type(value, field.kind):
            raise table.wrong_value(field, row)
    if field.kind == "string":
        return np.array([*plain, None], dtype=object)[:-1]  # never a table of characters
    if field.kind == "timestamp-micros":
        plain = [(value - _EPOCH) // _MICROSECOND for value in plain]
    return np.array(plain, dtype=_NUMPY_TYPES.get(field.kind, np.int64))


def _has_python_type(value: Any, kind: str) -> bool:
    """Whether a value is of the right type, and an integer of at most 64 bits."""
    if not isinstance(value, _PYTHON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if kind in {"int", "long"}:
        return _LONG[0] <= int(value) <= _LONG[1]
    return kind != "timestamp-micros" or value.tzinfo is not None


def _for_loops(table: ColumnTable, field: Field, values: NDArray[Any]) -> Any:
    """Bring a column to one of the few types that the loops are compiled for."""
    if field.kind == "string":
        return _ascii(values) or _utf8(table, field, values.tolist())
    if field.kind in _RANGES:
        _check_range(table, field, values)
        times = values.astype("M8[us]").view(np.int64) if values.dtype.kind == "M" else values
        return np.ascontiguousarray(times, dtype=np.int64)
    if field.kind == "boolean":
        return np.ascontiguousarray(values)
    return np.ascontiguousarray(values, dtype=np.float64)


def _check_range(table: ColumnTable, field: Field, values: NDArray[Any]) -> None:
    """Refuse integers that are too large, where the type of the column has such."""
    low, high = _RANGES[field.kind]
    if values.dtype.kind == "M" or (np.iinfo(values.dtype).min >= low and np.iinfo(values.dtype).max <= high):
        return
    is_wrong = (values > high) | (values < low)
    if is_wrong.any():
        raise table.wrong_value(field, int(np.argmax(is_wrong)))


def _ascii(values: NDArray[Any]) -> EncodedRows | None:
    """Encode a column of plain text all at once; None if it is something else."""
    width = values.dtype.itemsize // 4
    if values.dtype.kind != "U" or not width:
        return None
    letters = np.ascontiguousarray(values).view(np.uint32).reshape(len(values), width)
    if (letters > 127).any():
        return None
    # numpy fills up with zeros; one within the text stays.
    last = np.argmax(letters[:, ::-1] != 0, axis=1)
    lengths = np.where((letters != 0).any(axis=1), width - last, 0)
    start = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(lengths, out=start[1:])
    return EncodedRows(letters[np.arange(width) < lengths[:, None]].astype(np.uint8), start)


def _utf8(table: ColumnTable, field: Field, texts: list[str]) -> EncodedRows:
    """Text as UTF-8, which a lone surrogate has none of."""
    encoded = []
    for row, text in enumerate(texts):
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError:
            raise table.error(field, f"must be text that UTF-8 can say, found {text[:40]!a}", row) from None
    start = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in encoded], out=start[1:])
    return EncodedRows(np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8), start)
