"""Mask planes under detections on a difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.dia_footprints import footprint_at

CENTRE_HALF_WIDTH = 1  # "Center": the 3 x 3 pixels round the centroid
NEAR_HALF_WIDTH = 3  # this near, pixels matter even if they are not in the footprint


class MaskBits(NamedTuple):
    """Mask bits under detections, one row each.

    Parameters
    ----------
    near : uint32 ndarray, shape (n,)
        Bits of any pixel of the footprint, or next to the centroid.
    centre, centre_all : uint32 ndarray, shape (n,)
        Bits of any, and of all, of the 3 x 3 pixels round the centroid; 0 off the image.
    is_contained : bool ndarray, shape (n,)
        The centroid lies in the box round the footprint.
    """

    near: NDArray[np.uint32]
    centre: NDArray[np.uint32]
    centre_all: NDArray[np.uint32]
    is_contained: NDArray[np.bool_]


def find_mask_bits(
    mask: NDArray[np.uint32],
    footprints: NDArray[np.int32],
    peaks: NDArray[np.int64],
    box_pixel: NDArray[np.int64],
    centroids: NDArray[np.int64],
) -> MaskBits:
    """Collect the mask bits of detections.

    Parameters
    ----------
    mask : uint32 ndarray, shape (ny, nx)
    footprints : int32 ndarray, shape (ny, nx)
        Numbers of the footprints, 0 outside.
    peaks : int64 ndarray, shape (n, 2)
        Column and row of a pixel of each footprint.
    box_pixel : int64 ndarray, shape (n,)
        Longer side of the box round it [pixel].
    centroids : int64 ndarray, shape (n, 2)
        Central columns and rows.

    Returns
    -------
    bits : MaskBits
    """
    n = len(peaks)
    table = np.zeros((3, n), np.uint32)
    contained = np.zeros(n, np.bool_)
    _find_bits(mask, footprints, (peaks, box_pixel, centroids), table, contained)
    return MaskBits(table[0], table[1], table[2], contained)


@part
def _bits_near(mask, column, row, half):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Bits of any, and of all, pixels of a square that are on the image."""
    ny, nx = mask.shape
    some, every, n = np.uint32(0), ~np.uint32(0), 0
    for y in range(max(row - half, 0), min(row + half + 1, ny)):
        for x in range(max(column - half, 0), min(column + half + 1, nx)):
            some, every, n = some | mask[y, x], every & mask[y, x], n + 1
    return some, every if n > 0 else np.uint32(0)


@part
def _footprint_bits(mask, footprints, column, row, box_pixel):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Bits of the footprint that a pixel belongs to, and its first and last column and row."""
    bits, left, right, top, bottom = np.uint32(0), column, column, row, row
    label, (first_x, end_x, first_y, end_y) = footprint_at(footprints, column, row, box_pixel)
    for y in range(first_y, end_y):
        for x in range(first_x, end_x):
            if footprints[y, x] == label:
                bits |= mask[y, x]
                left, right = min(left, x), max(right, x)
                top, bottom = min(top, y), max(bottom, y)
    return bits, left, right, top, bottom


@compiled
def _find_bits(mask, footprints, places, table, contained):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the bits of each detection."""
    peaks, box_pixel, centroids = places
    for k in range(len(peaks)):
        bits, left, right, top, bottom = _footprint_bits(
            mask, footprints, peaks[k, 0], peaks[k, 1], box_pixel[k]
        )
        column, row = centroids[k, 0], centroids[k, 1]
        some, every = _bits_near(mask, column, row, CENTRE_HALF_WIDTH)
        table[0, k] = bits | _bits_near(mask, column, row, NEAR_HALF_WIDTH)[0]
        table[1, k], table[2, k] = some, every
        contained[k] = left <= column <= right and top <= row <= bottom
