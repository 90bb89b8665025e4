"""Choice of the sources to which a matching kernel is fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.dia_pixels import enlarge
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_INJECTED,
    MASK_INJECTED_TEMPLATE,
    MASK_NO_DATA,
    MASK_SAT,
    Exposure,
)

# Injected sources are in one of the images alone: of many, the kernel and its judgement would be others.
UNUSABLE = MASK_BAD | MASK_SAT | MASK_CR | MASK_EDGE | MASK_NO_DATA | MASK_INJECTED | MASK_INJECTED_TEMPLATE
CELL_PIXEL = 128
PEAK_HALF_WIDTH = 5  # pixels within which a source must be the brightest
MIN_NEIGHBOURS = 5  # of the 3x3 pixels of a peak that must be significant too: a cosmic ray has fewer
NEIGHBOUR_SHARE = 0.25  # of the significance of a peak that its neighbours need


def find_stamp_centres(
    reference: Exposure,
    target: Exposure,
    *,
    min_peak_snr: float,
    saturation_radius: int,
    border: int,
    max_per_cell: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the brightest usable sources of every cell of the frame.

    Parameters
    ----------
    reference, target : Exposure, shape (ny, nx)
        On one grid, background subtracted; the sources are those of the target, and good in both.
    min_peak_snr : float
        Least signal to noise of the brightest pixel.
    saturation_radius : int
        Half-width of the square round a source without saturated pixels [pixel].
    border : int
        Least distance from the edge of the frame [pixel].
    max_per_cell : int
        Sources per cell of 128 pixels.

    Returns
    -------
    x, y : int64 ndarray, shape (n,)
        Brightest pixels, sorted by their signal to noise.
    """
    limits = (float(min_peak_snr), int(saturation_radius), int(border))
    places = _find_peaks(target.image, target.variance, (reference.mask, target.mask), limits)
    at = places[:, 1], places[:, 0]
    order = np.argsort(-target.image[at] / np.sqrt(target.variance[at]), kind="stable")
    x, y = places[order, 0], places[order, 1]
    return _brightest_per_cell(x, y, max_per_cell)


@compiled
def _find_peaks(image, variance, masks, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Places (x, y) of the local maxima that can be used."""
    min_snr, radius, border = limits
    ny, nx = image.shape
    n, places = 0, np.empty((1024, 2), dtype=np.int64)
    for y in range(border, ny - border):
        for x in range(border, nx - border):
            value = image[y, x]
            # A comparison with NaN is false, so that what is missing is no peak.
            bright = value > 0 and variance[y, x] > 0 and value * value > min_snr * min_snr * variance[y, x]
            if not (bright and _is_peak(image, y, x) and _is_source(image, variance, (y, x), min_snr)):
                continue
            if _has_bits(masks, (y, x), (0, UNUSABLE)) or _has_bits(masks, (y, x), (radius, MASK_SAT)):
                continue
            if n == len(places):
                places = enlarge(places)
            places[n, 0], places[n, 1], n = x, y, n + 1
    return places[:n]


@part
def _is_peak(image, y, x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell whether a pixel is the brightest around; of two that are alike, the first is."""
    for j in range(max(y - PEAK_HALF_WIDTH, 0), min(y + PEAK_HALF_WIDTH + 1, image.shape[0])):
        for i in range(max(x - PEAK_HALF_WIDTH, 0), min(x + PEAK_HALF_WIDTH + 1, image.shape[1])):
            if image[j, i] > image[y, x] or (image[j, i] == image[y, x] and (j < y or (j == y and i < x))):
                return False
    return True


@part
def _is_source(image, variance, place, min_snr):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell whether enough neighbours of a peak are significant."""
    y, x = place
    count = 0
    limit = NEIGHBOUR_SHARE * min_snr
    for j in range(max(y - 1, 0), min(y + 2, image.shape[0])):
        for i in range(max(x - 1, 0), min(x + 2, image.shape[1])):
            count += image[j, i] > 0 and image[j, i] * image[j, i] > limit * limit * variance[j, i]
    return count >= MIN_NEIGHBOURS


@part
def _has_bits(masks, place, area):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell whether a square holds a pixel with given bits in either mask."""
    (y, x), (radius, bits) = place, area
    ny, nx = masks[0].shape
    for j in range(max(y - radius, 0), min(y + radius + 1, ny)):
        for i in range(max(x - radius, 0), min(x + radius + 1, nx)):
            if (masks[0][j, i] | masks[1][j, i]) & bits:
                return True
    return False


def _brightest_per_cell(
    x: NDArray[np.int64], y: NDArray[np.int64], max_per_cell: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep the first few of every cell; the input is sorted by brightness."""
    cell = (y // CELL_PIXEL) * 100_000 + x // CELL_PIXEL
    order = np.argsort(cell, kind="stable")
    _, first, counts = np.unique(cell[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    keep = np.sort(order[rank < max_per_cell])
    return x[keep], y[keep]
