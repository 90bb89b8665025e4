"""Footprints of detections: where one lies round its peak, and the moments of the pixels in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part

FloatArray = NDArray[np.float64]

MAX_REACH_PIXEL = 300  # of a footprint from a peak: each peak of a bad column would go through all of it


@part
def footprint_at(footprints, column, row, box_pixel):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the number of the footprint at a pixel, and where its pixels are looked for.

    That is the first column and the one after the last, and the same of the rows, from the longer side of the
    box round it [pixel]; nothing where there is no footprint.
    """
    ny, nx = footprints.shape
    label = footprints[row, column]
    if label == 0:
        return label, (column, column, row, row)
    reach = min(box_pixel, MAX_REACH_PIXEL)
    left, right = max(column - reach, 0), min(column + reach + 1, nx)
    return label, (left, right, max(row - reach, 0), min(row + reach + 1, ny))


def footprint_moments(
    image: NDArray[np.float32],
    footprints: NDArray[np.int32],
    peaks: NDArray[np.int64],
    box_pixel: NDArray[np.int64],
    is_negative: NDArray[np.bool_],
) -> FloatArray:
    """Centres and second moments of the pixels of footprints that have the sign of the source.

    For long trails, which no Gaussian matches.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
    footprints : int32 ndarray, shape (ny, nx)
        Numbers of the footprints, 0 outside.
    peaks : int64 ndarray, shape (n, 2)
        Column and row of a pixel of each footprint.
    box_pixel : int64 ndarray, shape (n,)
        Longer side of the box round it [pixel].
    is_negative : bool ndarray, shape (n,)

    Returns
    -------
    moments : float64 ndarray, shape (n, 5)
        x, y [pixel], ixx, ixy, iyy [pixel**2]; NaN without a pixel.
    """
    moments = np.full((len(peaks), 5), np.nan)
    signs = np.where(is_negative, np.float32(-1), np.float32(1))
    _footprint_moments(image, footprints, (peaks, box_pixel, signs), moments)
    return moments


@compiled
def _footprint_moments(image, footprints, places, moments):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the moments of each footprint."""
    peaks, box_pixel, signs = places
    for k in range(len(peaks)):
        column, row, sums = peaks[k, 0], peaks[k, 1], np.zeros(6)
        label, (left, right, top, bottom) = footprint_at(footprints, column, row, box_pixel[k])
        for y in range(top, bottom):
            for x in range(left, right):
                value = signs[k] * image[y, x]
                if footprints[y, x] == label and value > 0.0:
                    dx, dy = x - column, y - row
                    sums[0] += value
                    sums[1] += value * dx
                    sums[2] += value * dy
                    sums[3] += value * dx * dx
                    sums[4] += value * dx * dy
                    sums[5] += value * dy * dy
        if sums[0] > 0.0:
            sums /= sums[0]
            moments[k, 0], moments[k, 1] = column + sums[1], row + sums[2]
            moments[k, 2] = sums[3] - sums[1] * sums[1]
            moments[k, 3] = sums[4] - sums[1] * sums[2]
            moments[k, 4] = sums[5] - sums[2] * sums[2]
