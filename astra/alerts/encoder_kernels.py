"""Compiled loops that write Avro: columns into slots, one slot a row, and rows into whole packets.

Avro 1.11: integers are zig-zag coded in groups of 7 bits, numbers are little-endian, a union begins with the
number of its branch, and every nullable field here is ``[null, type]``. A loop over a column returns the
first row that its field cannot take, or -1; `astra.alerts.columns` says so by name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part

NULL = np.uint8(0)  # branch 0 of a union, in zig-zag code
VALUE = np.uint8(2)  # branch 1
MAX_FLOAT32 = 3.4028234663852886e38
_LONG_BOUNDS = 2 ** (7 * np.arange(1, 9))  # of the zig-zag code: from each on it takes a byte more


class EncodedRows(NamedTuple):
    """Encoded rows end to end: row i is ``data[start[i] : start[i + 1]]``.

    Parameters
    ----------
    data : uint8 ndarray
        Bytes.
    start : int64 ndarray, shape (n + 1,)
        Where each row begins, and the end.
    """

    data: NDArray[np.uint8]
    start: NDArray[np.int64]

    def row(self, number: int) -> bytes:
        """Return the bytes of one row."""
        return self.data[self.start[number] : self.start[number + 1]].tobytes()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.start) - 1


class Lists(NamedTuple):
    """For each packet, which encoded rows it lists: those of ``rows[start[i] : start[i + 1]]``.

    Parameters
    ----------
    encoded : EncodedRows
        Rows.
    rows : int64 ndarray
        Numbers of rows, list after list.
    start : int64 ndarray, shape (n + 1,)
        Where each list begins, and the end.
    """

    encoded: EncodedRows
    rows: NDArray[np.int64]
    start: NDArray[np.int64]


class Choices(NamedTuple):
    """For each packet, which encoded row it has: -1 for none.

    Parameters
    ----------
    encoded : EncodedRows
        Rows.
    rows : int64 ndarray, shape (n,)
        Numbers of rows.
    """

    encoded: EncodedRows
    rows: NDArray[np.int64]


class Parts(NamedTuple):
    """Encoded parts of packets, in the order in which they are written, but for the stamps.

    Parameters
    ----------
    head, source : EncodedRows
        What comes first, row by packet: the fields before the detection, and the detection.
    prv_sources, prv_forced : Lists
        Earlier detections and forced measurements.
    dia_object, ss_source, mpc_orbit : Choices
        Object, geometry and orbit.
    """

    head: EncodedRows
    source: EncodedRows
    prv_sources: Lists
    prv_forced: Lists
    dia_object: Choices
    ss_source: Choices
    mpc_orbit: Choices


@compiled(nogil=True)
def put_long(
    out: NDArray[np.uint8],
    position: NDArray[np.int64],
    values: NDArray[np.int64],
    nulls: NDArray[np.bool_],
) -> int:
    """Write a column of integers, int or long, at each row's position, and move that on.

    Parameters
    ----------
    out : uint8 ndarray
        Where to.
    position : int64 ndarray, shape (n,)
        Where each row goes on.
    values : int64 ndarray, shape (n,)
        Values.
    nulls : bool ndarray, shape (n,) or (0,)
        Where they are null; empty if the field must not be.

    Returns
    -------
    bad : int
        First row that the field cannot take, or -1.
    """
    nullable = len(nulls) > 0
    for row in range(len(values)):
        if nullable and nulls[row]:
            position[row] = _put_null(out, position[row])
        else:
            position[row] = _write_long(out, _begin(out, position[row], nullable), values[row])
    return -1


@compiled(nogil=True)
def put_bool(
    out: NDArray[np.uint8],
    position: NDArray[np.int64],
    values: NDArray[np.bool_],
    nulls: NDArray[np.bool_],
) -> int:
    """Write a column of booleans; parameters as in `put_long`."""
    nullable = len(nulls) > 0
    for row in range(len(values)):
        if nullable and nulls[row]:
            position[row] = _put_null(out, position[row])
            continue
        at = _begin(out, position[row], nullable)
        out[at] = values[row]
        position[row] = at + 1
    return -1


def put_float(
    out: NDArray[np.uint8],
    position: NDArray[np.int64],
    values: NDArray[np.float64],
    nulls: NDArray[np.bool_],
) -> int:
    """Write a column as float32, NaN as null; parameters as in `put_long`."""
    return int(put_number(out, position, values, nulls, True))


def put_double(
    out: NDArray[np.uint8],
    position: NDArray[np.int64],
    values: NDArray[np.float64],
    nulls: NDArray[np.bool_],
) -> int:
    """Write a column as float64, NaN as null; parameters as in `put_long`."""
    return int(put_number(out, position, values, nulls, False))


@compiled(nogil=True)
def put_number(
    out: NDArray[np.uint8],
    position: NDArray[np.int64],
    values: NDArray[np.float64],
    nulls: NDArray[np.bool_],
    single: bool,
) -> Any:
    """Write a column as float32 or float64, NaN as null; other parameters as in `put_long`."""
    number, short_number, nullable = np.empty(1, np.float64), np.empty(1, np.float32), len(nulls) > 0
    bits, short_bits = number.view(np.uint64), short_number.view(np.uint32)
    for row in range(len(values)):
        if np.isnan(values[row]) or (nullable and nulls[row]):
            if not nullable:
                return row
            position[row] = _put_null(out, position[row])
            continue
        if single and abs(values[row]) > MAX_FLOAT32:
            return row
        at = _begin(out, position[row], nullable)
        if single:
            short_number[0] = values[row]
            for byte in range(4):
                out[at + byte] = np.uint8((short_bits[0] >> np.uint32(8 * byte)) & np.uint32(255))
            position[row] = at + 4
        else:
            number[0] = values[row]
            for byte in range(8):
                out[at + byte] = np.uint8((bits[0] >> np.uint64(8 * byte)) & np.uint64(255))
            position[row] = at + 8
    return -1


@compiled(nogil=True)
def put_text(
    out: NDArray[np.uint8], position: NDArray[np.int64], values: EncodedRows, nulls: NDArray[np.bool_]
) -> int:
    """Write a column of text in UTF-8, each after its length; parameters as in `put_long`."""
    nullable = len(nulls) > 0
    for row in range(len(position)):
        if nullable and nulls[row]:
            position[row] = _put_null(out, position[row])
            continue
        at = _begin(out, position[row], nullable)
        at = _write_long(out, at, values.start[row + 1] - values.start[row])
        position[row] = _copy(out, at, values, row)
    return -1


@part
def _put_null(out: NDArray[np.uint8], at: int) -> Any:
    out[at] = NULL
    return at + 1


@part
def _begin(out: NDArray[np.uint8], at: int, nullable: bool) -> Any:
    """Write the number of the branch of a value, if its field may be null."""
    if not nullable:
        return at
    out[at] = VALUE
    return at + 1


@compiled(nogil=True)
def pack_slots(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    first: int,
    slots: NDArray[np.uint8],
    begin: NDArray[np.int64],
) -> None:
    """Copy rows out of their slots, end to end; ``start`` knows where from row ``first`` on."""
    for row in range(len(begin)):
        target = data[start[first + row] : start[first + row + 1]]
        content = slots[begin[row] : begin[row] + len(target)]
        for i in range(len(target)):
            target[i] = content[i]


def long_sizes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of integers that are not negative, in code."""
    return 1 + np.searchsorted(_LONG_BOUNDS, 2 * values, side="right")


def list_sizes(one: Lists) -> NDArray[np.int64]:
    """Bytes of the nullable array of each packet."""
    end, count = np.zeros(len(one.rows) + 1, dtype=np.int64), np.diff(one.start)
    np.cumsum(np.diff(one.encoded.start)[one.rows], out=end[1:])
    content = end[one.start[1:]] - end[one.start[:-1]]
    return np.where(count > 0, 2 + long_sizes(count) + content, 1)


def choice_sizes(one: Choices) -> NDArray[np.int64]:
    """Bytes of the nullable record of each packet."""
    return 1 + np.append(np.diff(one.encoded.start), 0)[one.rows]


def stamp_sizes(stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of nullable bytes of so many each, -1 for null."""
    return np.where(stamps < 0, 1, 1 + long_sizes(stamps) + stamps)


@compiled(nogil=True)
def put_rows(
    out: NDArray[np.uint8],
    position: NDArray[np.int64],
    encoded: EncodedRows,
    rows: NDArray[np.int64],
    nullable: bool,
) -> None:
    """Write encoded rows, one at each position, and move those on; row -1, if there may be one, is null."""
    for i in range(len(position)):
        if nullable and rows[i] < 0:
            position[i] = _put_null(out, position[i])
        else:
            position[i] = _copy(out, _begin(out, position[i], nullable), encoded, rows[i])


@compiled(nogil=True)
def put_lists(out: NDArray[np.uint8], position: NDArray[np.int64], one: Lists) -> None:
    """Write a nullable array for each packet, at positions, and move those on.

    That is one block with all rows, and the empty block that ends an array; null if there are none.
    """
    for i in range(len(position)):
        at, first, last = position[i], one.start[i], one.start[i + 1]
        if first == last:
            position[i] = _put_null(out, at)
            continue
        at = _write_long(out, _begin(out, at, True), last - first)
        for number in range(first, last):
            at = _copy(out, at, one.encoded, one.rows[number])
        out[at] = 0
        position[i] = at + 1


def put_stamp_lengths(out: NDArray[np.uint8], position: NDArray[np.int64], stamps: NDArray[np.int64]) -> None:
    """Write nullable bytes but for their content, and note where that belongs.

    Parameters
    ----------
    out : uint8 ndarray
        Where to.
    position : int64 ndarray, shape (n,)
        Where each packet goes on; moved on.
    stamps : int64 ndarray, shape (n, n_stamps)
        Size of each stamp, -1 for none; on return, where its content belongs, -1 for none.
    """
    for sizes in stamps.T:
        lengths, missing = np.ascontiguousarray(sizes), sizes < 0
        put_long(out, position, lengths, missing)
        sizes[:] = np.where(missing, -1, position)
        position += np.maximum(lengths, 0)


@part
def _copy(out: NDArray[np.uint8], at: int, encoded: EncodedRows, row: int) -> Any:
    content = encoded.data[encoded.start[row] : encoded.start[row + 1]]
    target = out[at : at + len(content)]
    for i in range(len(content)):  # many times as fast as an assignment to the slice
        target[i] = content[i]
    return at + len(content)


@part
def _write_long(out: NDArray[np.uint8], at: int, value: int) -> Any:
    code = np.uint64((np.int64(value) << np.int64(1)) ^ (np.int64(value) >> np.int64(63)))
    while code > np.uint64(127):
        out[at] = np.uint8((code & np.uint64(127)) | np.uint64(128))
        at += 1
        code >>= np.uint64(7)
    out[at] = np.uint8(code)
    return at + 1
