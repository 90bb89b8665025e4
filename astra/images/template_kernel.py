"""The pixel loops of a template: what a tile adds to the sums over a detector, and their mean."""

from __future__ import annotations

import numpy as np

from astra.compiled import compiled, part
from astra.images.exposure import MASK_NO_DATA


@compiled
def add_tile(planes, share, step, corner, sums, cells):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add the pixels of a warped tile to sums over a detector, in place.

    The weight of a pixel is its share over its variance, 0 where it has no data.

    ``planes`` are image, variance and mask of the tile, contiguous, on its part of the detector; ``share`` is
    what counts of each pixel at nodes ``step`` pixels apart, linear between them and cut to [0, 1];
    ``corner`` is the first row and column (y, x) of the part. ``sums`` are those of the weights, of the
    weighted image and of the weighted sigma, and the joint mask, all over the detector and contiguous;
    ``cells`` are the sums of the weights over squares (n_y, n_x), and the side of these.
    """
    image, variance, mask = planes
    ny, nx = image.shape
    weight = np.empty(nx, np.float32)
    here = slice(corner[1], corner[1] + nx)
    for row in range(ny):
        spread_line(share, step, row, weight)
        weigh_line(image[row], variance[row], mask[row], weight)
        y = corner[0] + row
        total, flux, sigma, bits = sums[0][y, here], sums[1][y, here], sums[2][y, here], sums[3][y, here]
        for x in range(nx):
            used = weight[x] > 0
            total[x] += weight[x]
            flux[x] += weight[x] * image[row, x] if used else np.float32(0)
            sigma[x] += weight[x] * np.sqrt(variance[row, x]) if used else np.float32(0)
            bits[x] |= mask[row, x] if used else np.uint32(0)
        add_cells(weight, corner[1], cells[1], cells[0][y // cells[1]])


@part
def spread_line(share, step, row, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Interpolate what counts of the pixels of a row between the nodes, within [0, 1]."""
    zero, one = np.float32(0), np.float32(1)
    j, t = row // step, np.float32((row % step) / step)
    for i in range(-(-len(line) // step)):
        begin = share[j, i] + t * (share[j + 1, i] - share[j, i])
        slope = (share[j, i + 1] + t * (share[j + 1, i + 1] - share[j, i + 1]) - begin) / np.float32(step)
        part = line[i * step : (i + 1) * step]
        for k in range(len(part)):
            part[k] = min(max(begin + np.float32(k) * slope, zero), one)


@part
def weigh_line(image, variance, mask, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Divide what counts of the pixels of a row by their variance, in place; 0 where there is no data."""
    limit = np.float32(np.inf)
    for x in range(len(line)):
        good = (mask[x] & MASK_NO_DATA) == 0 and abs(image[x]) < limit and 0 < variance[x] < limit
        line[x] = line[x] / variance[x] if good else np.float32(0)


@part
def add_cells(weight, first, side, cells):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the weights of a row that begins at column ``first`` to those of its cells."""
    column = first // side
    stop = (column + 1) * side - first
    total = np.float32(0)
    for x in range(len(weight)):
        if x == stop:
            cells[column] += total
            column, stop, total = column + 1, stop + side, np.float32(0)
        total += weight[x]
    cells[column] += total


@compiled
def finish_mean(total, image, sigma, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Turn the sums of `add_tile` into mean and variance, in place; NaN and NO_DATA without weight."""
    nan = np.float32(np.nan)
    for y in range(total.shape[0]):
        for x in range(total.shape[1]):
            empty = total[y, x] == 0
            factor = np.float32(1) / (nan if empty else total[y, x])
            image[y, x] *= factor
            mean = sigma[y, x] * factor
            sigma[y, x] = mean * mean
            mask[y, x] = MASK_NO_DATA if empty else mask[y, x]
