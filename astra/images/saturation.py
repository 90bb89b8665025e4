"""Masks of saturated pixels: grown to their neighbours, and across the trails that bleed along columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled

# Number of saturated pixels side by side -> by how many each end grows; the last one holds for longer runs.
TRAIL_GROWTH = (0, 0, 0, 0, 0, 0, 1, 1, 3, 3, 4)


def grow_bit(
    mask: NDArray[np.uint32], bit: np.uint32, radius: int, rows: NDArray[np.bool_] | None = None
) -> None:
    """Grow one bit of a mask by a square, in place.

    Parameters
    ----------
    mask : uint32 ndarray, shape (ny, nx)
        Bits.
    bit : uint32
        Which to grow.
    radius : int
        Half-width of the square [pixel].
    rows : bool ndarray, shape (ny,), optional
        Rows that may have the bit; by default all.
    """
    if radius > 0:
        present = np.ones(len(mask), dtype=np.bool_) if rows is None else rows
        _grow(mask, bit, radius, _find(mask, bit, np.flatnonzero(present)))


def widen_trails(mask: NDArray[np.uint32], bit: np.uint32, growth: tuple[int, ...] = TRAIL_GROWTH) -> None:
    """Widen runs of saturated pixels along the rows by what their length asks for, in place.

    A bleed trail runs along columns; the wider it is, the further its neighbours are from linear.

    Parameters
    ----------
    mask : uint32 ndarray, shape (ny, nx)
        Bits.
    bit : uint32
        Which one says saturated.
    growth : tuple of int
        By the length of a run [pixel], how far each of its ends grows [pixel]; the last entry holds for
        all longer runs.
    """
    _widen(mask, bit, np.array(growth, dtype=np.int64))


@compiled
def _find(mask, bit, rows):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Find the pixels of some rows that have a bit, as (n, 2) of y and x."""
    nx, n_set = mask.shape[1], 0
    for y in rows:
        for x in range(nx):
            n_set += (mask[y, x] & bit) != 0
    places = np.empty((n_set, 2), dtype=np.int32)
    k = 0
    for y in rows:
        for x in range(nx):
            if mask[y, x] & bit:
                places[k, 0], places[k, 1] = y, x
                k += 1
    return places


@compiled
def _grow(mask, bit, radius, places):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Set a bit in the square round each of some pixels."""
    ny, nx = mask.shape
    for k in range(len(places)):
        y, x = places[k, 0], places[k, 1]
        for j in range(max(y - radius, 0), min(y + radius + 1, ny)):
            for i in range(max(x - radius, 0), min(x + radius + 1, nx)):
                mask[j, i] |= bit


@compiled
def _widen(mask, bit, growth):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Widen the runs of each row, as they were before any of them grew."""
    ny, nx = mask.shape
    for y in range(ny):
        present = (mask[y] & bit) != 0
        end = 0
        for x in range(nx):
            if x < end or not present[x]:
                continue
            end = x
            while end < nx and present[end]:
                end += 1
            by = growth[min(end - x, growth.size - 1)]
            for i in range(max(x - by, 0), min(end + by, nx)):
                mask[y, i] |= bit
