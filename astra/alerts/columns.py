"""Rows of a record of an alert, given by column, made into Avro: each column is checked once, not each value.

The bytes are those of fastavro, the rules those of `astra.alerts.packets.validate_alert`. What a column may
be is told in `astra.alerts.column_types`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts import encoder_kernels as kernels
from astra.alerts.column_types import (
    Columns,
    ColumnTable,
    Field,
    PreparedColumn,
    prepare_column,
)
from astra.alerts.encoder_kernels import EncodedRows
from astra.alerts.schemas import LATEST_VERSION, load_record_schema

_CHUNK_ROWS = 1024  # what fits the second-level cache: each column passes over it
_KERNELS: dict[str, Callable[..., int]] = {
    "boolean": kernels.put_bool,
    "float": kernels.put_float,
    "double": kernels.put_double,
    "string": kernels.put_text,
}
_NOTHING = EncodedRows(np.zeros(0, np.uint8), np.zeros(1, np.int64))


def columns_of(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Turn rows into columns of objects, None where a row has no such name.

    Parameters
    ----------
    rows : iterable of mapping
        Database rows.
    names : iterable of str
        Which columns.
    """
    kept = list(rows)
    columns = {}
    for name in names:
        columns[name] = np.empty(len(kept), dtype=object)
        columns[name][:] = [row.get(name) for row in kept]
    return columns


@cache
def record_fields(record: str, version: str = LATEST_VERSION) -> tuple[Field, ...]:
    """Return the fields of a record of plain values, ``diaSource`` and the like, in order."""
    fields = []
    for field in load_record_schema(record, version)["fields"]:
        nullable = isinstance(field["type"], list)
        kind = field["type"][1] if nullable else field["type"]
        kind = kind if isinstance(kind, str) else kind["logicalType"]
        fields.append(Field(field["name"], kind, nullable))
    return tuple(fields)


def encode_rows(
    record: str, columns: Columns | NDArray[Any] | None, version: str = LATEST_VERSION
) -> EncodedRows:
    """Encode rows of a record.

    Parameters
    ----------
    record : str
        ``diaSource``, ``diaForcedSource``, ``diaObject`` and so on.
    columns : mapping of str to ndarray, or structured ndarray
        Columns, all of one length; those that the record does not have are left out. None: no rows.
    version : str, optional
        Schema version.

    Returns
    -------
    encoded : EncodedRows
        The same bytes as `fastavro.schemaless_writer` gives for each row.

    Raises
    ------
    AlertError
        If a column is missing or has the wrong type, or a value does not fit; it names the field and the row.
    """
    if columns is None:
        return _NOTHING
    return encode_fields(record, record_fields(record, version), columns, version)


def encode_fields(
    record: str, fields: Iterable[Field], columns: Columns | NDArray[Any], version: str = LATEST_VERSION
) -> EncodedRows:
    """Encode rows of some fields; parameters as in `encode_rows`."""
    table = ColumnTable(record, columns, version)
    length = table.length
    prepared = [prepare_column(table, field) for field in fields]
    stride = sum(column.longest for column in prepared)
    parts = []
    for begin in range(0, length, _CHUNK_ROWS):
        count = min(_CHUNK_ROWS, length - begin)
        slots, first = np.empty(count * stride, dtype=np.uint8), np.arange(count, dtype=np.int64) * stride
        position = first.copy()
        for column in prepared:
            bad = _write(column, slots, position, begin)
            if bad >= 0:
                raise table.wrong_value(column.field, bad)
        parts.append((slots, first, position - first))
    return _pack(parts, length)


def _write(column: PreparedColumn, out: NDArray[np.uint8], position: NDArray[np.int64], begin: int) -> int:
    """Write rows of a column from ``begin`` on; return the first that does not fit, or -1."""
    end, values, nulls = begin + len(position), column.values, column.nulls
    if isinstance(values, EncodedRows):
        values = values._replace(start=values.start[begin : end + 1])
    elif end - begin < len(values):
        values = values[begin:end]
    kernel: Callable[..., int] = _KERNELS.get(column.field.kind, kernels.put_long)
    bad = kernel(out, position, values, nulls[begin:end])
    return -1 if bad < 0 else bad + begin


def _pack(parts: Sequence[tuple[NDArray[Any], ...]], length: int) -> EncodedRows:
    """Put the rows of all chunks end to end."""
    start = np.zeros(length + 1, dtype=np.int64)
    if parts:
        np.cumsum(np.concatenate([sizes for _, _, sizes in parts]), out=start[1:])
    data = np.empty(start[-1], dtype=np.uint8)
    for number, (slots, first, _) in enumerate(parts):
        kernels.pack_slots(data, start, number * _CHUNK_ROWS, slots, first)
    return EncodedRows(data, start)
