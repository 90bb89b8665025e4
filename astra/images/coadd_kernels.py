"""The pixel loops of a coadd: order statistics of a stream of images, clipping, and weighted sums."""

from __future__ import annotations

import numpy as np

from astra.compiled import compiled, part

N_EXTREMES = 4  # values that are kept of each pixel: the two least and the two largest
OUTLIER, NEAR_OUTLIER = np.uint8(2), np.uint8(1)


@part
def is_good(image, variance, mask, rejected):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell whether a pixel can be used."""
    return (mask & rejected) == 0 and np.isfinite(image) and variance > 0.0 and np.isfinite(variance)


@compiled
def add_values(planes, rejected, corner, extremes, middle, count):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add an image to the order statistics of a stream of images.

    ``planes`` are image, variance and mask of a box whose first pixel is at ``corner`` (y, x) of the frame;
    ``extremes`` (4, ny, nx) holds the values in order, of more than four the two least and the two largest,
    ``middle`` the sum of the others, ``count`` the number of values.
    """
    image, variance, mask = planes
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            value = image[row, column]
            if not is_good(value, variance[row, column], mask[row, column], rejected):
                continue
            y, x = corner[0] + row, corner[1] + column
            n = count[y, x]
            count[y, x] = n + 1
            if n < N_EXTREMES:
                k = n
                while k > 0 and extremes[k - 1, y, x] > value:
                    extremes[k, y, x] = extremes[k - 1, y, x]
                    k -= 1
                extremes[k, y, x] = value
            elif value < extremes[1, y, x]:
                middle[y, x] += extremes[1, y, x]
                low = extremes[0, y, x]
                extremes[0, y, x], extremes[1, y, x] = min(low, value), max(low, value)
            elif value > extremes[2, y, x]:
                middle[y, x] += extremes[2, y, x]
                high = extremes[3, y, x]
                extremes[2, y, x], extremes[3, y, x] = min(high, value), max(high, value)
            else:
                middle[y, x] += value


@compiled
def trimmed_mean(extremes, middle, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Replace ``middle`` by the median of up to six values, and by the mean without the extremes of more."""
    for y in range(count.shape[0]):
        for x in range(count.shape[1]):
            n = count[y, x]
            if n == 0:
                middle[y, x] = np.nan
            elif n > N_EXTREMES:
                middle[y, x] /= n - N_EXTREMES
            else:
                middle[y, x] = 0.5 * (extremes[(n - 1) // 2, y, x] + extremes[n // 2, y, x])


@compiled
def flag_outliers(planes, rejected, corner, reference, bright, limits, flags):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Mark the good pixels that differ from a reference; return how many are beyond the first limit.

    ``limits`` are the numbers of standard deviations of an outlier and of one that counts beside an outlier,
    and the share of ``bright`` that a pixel may differ by for other reasons than noise.
    """
    image, variance, mask = planes
    n_outliers = 0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            y, x = corner[0] + row, corner[1] + column
            flags[row, column] = 0
            if not is_good(image[row, column], variance[row, column], mask[row, column], rejected):
                continue
            excess = abs(image[row, column] - reference[y, x]) - limits[2] * bright[y, x]
            sigma = np.sqrt(variance[row, column])
            if excess > limits[0] * sigma:
                flags[row, column] = OUTLIER
                n_outliers += 1
            elif excess > limits[1] * sigma:
                flags[row, column] = NEAR_OUTLIER
    return n_outliers


@part
def is_clipped(flags, row, column):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell whether a pixel is an outlier, or a doubtful neighbour of one."""
    if flags[row, column] != NEAR_OUTLIER:
        return flags[row, column] == OUTLIER
    for y in range(max(row - 1, 0), min(row + 2, flags.shape[0])):
        for x in range(max(column - 1, 0), min(column + 2, flags.shape[1])):
            if flags[y, x] == OUTLIER:
                return True
    return False


@compiled
def add_weighted(planes, bits, corner, weight, count, flags, sums, masks, coverage, cells):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add the pixels of an input that are neither bad nor clipped; return the numbers of the others.

    ``bits`` are the masks of what is rejected, of what any input hands on, and of the marks of clipped and of
    rejected pixels. ``sums`` (3, ny, nx) get the weights, the weighted values and the squared weights times
    the variances, ``masks`` (2, ny, nx) the bits that all used pixels have and those that any has, ``cells``
    the number of used pixels by cell. Where no input is good (``count``), pixels with bad bits are used.
    """
    image, variance, mask = planes
    rejected, handed_on, clipped_bit, rejected_bit, cell_pixel = bits
    n_clipped, n_rejected = 0, 0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            y, x = corner[0] + row, corner[1] + column
            value, power, bit = image[row, column], variance[row, column], mask[row, column]
            if not is_good(value, power, np.uint32(0), rejected):
                continue
            if (bit & rejected) != 0 and count[y, x] > 0:
                n_rejected += 1
                masks[1, y, x] |= rejected_bit
                continue
            if is_clipped(flags, row, column):
                n_clipped += 1
                masks[1, y, x] |= clipped_bit
                continue
            sums[0, y, x] += weight
            sums[1, y, x] += weight * value
            sums[2, y, x] += weight * weight * power
            masks[0, y, x] &= bit
            masks[1, y, x] |= bit & handed_on
            coverage[y, x] += 1
            cells[y // cell_pixel, x // cell_pixel] += 1
    return n_clipped, n_rejected
