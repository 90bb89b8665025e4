"""Replace pixels that carry no information by what their neighbours tell.

Each is predicted from the nearest good pixels in the eight directions by a Gaussian process whose covariance
is that of an image smoothed by the PSF, with an unknown mean (ordinary kriging: Cressie 1993, Statistics for
Spatial Data, sect. 3.2). How far a neighbour counts follows from how much they differ beyond their noise: on
the sky all count alike, in a star the nearest decide.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT, Exposure
from astra.images.masks import grow_square
from astra.images.psf import Psf, sigma_from_fwhm

DEFECTS = MASK_BAD | MASK_SAT | MASK_NO_DATA | MASK_CR
NO_MARK = np.uint32(0)
REACH_PIXEL = 24  # a pixel that sees no good one within this distance is left as it is
PER_DIRECTION = 2
MAX_SAMPLES = 8 * PER_DIRECTION
JITTER = 1e-4  # of the signal's variance: keeps the covariance of a noiseless image invertible
LEAST_SIGNAL = 0.01  # of the noise's variance: a smaller one than this cannot be told from zero


class Planes(NamedTuple):
    """What the compiled kernels read: image, variance and mask, (ny, nx) each."""

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]


@part
def find_samples(planes, bits, y, x, samples):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the nearest usable pixels in eight directions, y and x, and return their number."""
    ny, nx = planes.mask.shape
    n = 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            found = 0
            for step in range(1, REACH_PIXEL + 1):
                row, column = y + step * dy, x + step * dx
                if (dy == 0 and dx == 0) or not (0 <= row < ny and 0 <= column < nx):
                    break
                if (
                    planes.mask[row, column] & bits == 0
                    and np.isfinite(planes.image[row, column])
                    and planes.variance[row, column] > 0.0
                ):
                    samples[n, 0], samples[n, 1] = row, column
                    n += 1
                    found += 1
                    if found == PER_DIRECTION:
                        break
    return n


@part
def correlate_samples(samples, n, place, sigma, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Correlations of the samples with each other, (n, n) of ``out``, and with the pixel, its row n."""
    scale = 0.25 / (sigma * sigma)
    for i in range(n):
        for j in range(i + 1):
            dy, dx = samples[i, 0] - samples[j, 0], samples[i, 1] - samples[j, 1]
            out[i, j] = np.exp(-scale * (dy * dy + dx * dx))
        dy, dx = samples[i, 0] - place[0], samples[i, 1] - place[1]
        out[n, i] = np.exp(-scale * (dy * dy + dx * dx))


@part
def decompose(matrix, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Replace the lower triangle of a positive matrix by its Cholesky factor."""
    for j in range(n):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k]
        matrix[j, j] = np.sqrt(matrix[j, j])
        for i in range(j + 1, n):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]


@part
def substitute(factor, n, right):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Solve for one right-hand side, in place, given the Cholesky factor."""
    for i in range(n):
        for k in range(i):
            right[i] -= factor[i, k] * right[k]
        right[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= factor[k, i] * right[k]
        right[i] /= factor[i, i]


@part
def mean_of(values, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mean of the first n values."""
    total = 0.0
    for i in range(n):
        total += values[i]
    return total / n


@part
def variance_of(values, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mean square of the first n values about their mean."""
    mean, total = mean_of(values, n), 0.0
    for i in range(n):
        total += (values[i] - mean) * (values[i] - mean)
    return total / n


@part
def predict(values, noise, n, correlation, scratch):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Value at the pixel and its variance from n samples; the scratch is a matrix and two vectors."""
    matrix, right, ones = scratch
    mean_noise = mean_of(noise, n)
    signal = max(variance_of(values, n) - mean_noise, LEAST_SIGNAL * mean_noise)
    for i in range(n):
        for j in range(i + 1):
            matrix[i, j] = correlation[i, j]
        matrix[i, i] += noise[i] / signal + JITTER
        right[i], ones[i] = correlation[n, i], 1.0
    decompose(matrix, n)
    substitute(matrix, n, right)
    substitute(matrix, n, ones)
    sum_right, sum_ones = 0.0, 0.0
    for i in range(n):
        sum_right += right[i]
        sum_ones += ones[i]
    missing = (1.0 - sum_right) / sum_ones
    value, explained = 0.0, 0.0
    for i in range(n):
        weight = right[i] + missing * ones[i]
        value += weight * values[i]
        explained += weight * correlation[n, i]
    # A mean of many is less noisy than a pixel, but no independent measurement: it must not outweigh one.
    return value, max(signal * (1.0 - explained + missing), mean_noise)


@compiled
def predict_pixels(planes, bits, rows, columns, sigma):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Values and variances of pixels (n, 2); NaN for one without a usable pixel in reach."""
    result = np.full((len(rows), 2), np.nan)
    samples = np.empty((MAX_SAMPLES, 2), dtype=np.int64)
    correlation = np.empty((MAX_SAMPLES + 1, MAX_SAMPLES))
    scratch = np.empty((MAX_SAMPLES, MAX_SAMPLES)), np.empty(MAX_SAMPLES), np.empty(MAX_SAMPLES)
    values, noise = np.empty(MAX_SAMPLES), np.empty(MAX_SAMPLES)
    for k in range(len(rows)):
        n = find_samples(planes, bits, rows[k], columns[k], samples)
        if n == 0:
            continue
        correlate_samples(samples, n, (rows[k], columns[k]), sigma, correlation)
        for i in range(n):
            values[i] = planes.image[samples[i, 0], samples[i, 1]]
            noise[i] = planes.variance[samples[i, 0], samples[i, 1]]
        result[k, 0], result[k, 1] = predict(values, noise, n, correlation, scratch)
    return result


def interpolate(
    exposure: Exposure,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    psf: Psf,
    *,
    unusable: np.uint32 = DEFECTS,
    marks: np.uint32 = NO_MARK,
    overwrite: bool = False,
) -> Exposure:
    """Replace some pixels.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky included or not [any unit].
    rows, columns : int64 ndarray, shape (n,)
        What to replace [pixel].
    psf : Psf
        Its width at the image centre is the scale on which the image is smooth.
    unusable : uint32
        Pixels with any of these bits, beside the interpolated ones and those without finite value or
        variance, tell nothing.
    marks : uint32
        Other bits to set on all given pixels.
    overwrite : bool, optional
        The planes of the given exposure may be changed.

    Returns
    -------
    exposure : Exposure
        With ``INTRP`` set where a pixel was replaced. The variance there is that of the prediction, and no
        less than that of the neighbours. Pixels that see no usable one within `REACH_PIXEL` keep their value.
    """
    ny, nx = exposure.shape
    sigma = sigma_from_fwhm(psf.fwhm_pixel((nx - 1) / 2, (ny - 1) / 2))
    before = exposure.mask[rows, columns]
    exposure = exposure if overwrite else exposure.copy()
    image, variance, mask = exposure.image, exposure.variance, exposure.mask
    mask[rows, columns] |= marks | MASK_INTRP
    planes = Planes(image, variance, mask)
    places = np.ascontiguousarray(rows), np.ascontiguousarray(columns)
    predicted = predict_pixels(planes, unusable | MASK_INTRP, *places, sigma)
    known = np.isfinite(predicted[:, 0])
    where = rows[known], columns[known]
    image[where], variance[where] = predicted[known].T
    left = rows[~known], columns[~known]
    mask[left] &= before[~known] | marks
    return exposure


def interpolate_defects(
    exposure: Exposure,
    psf: Psf,
    *,
    bits: np.uint32 = DEFECTS,
    grow_saturated_pixel: int = 1,
    overwrite: bool = False,
) -> Exposure:
    """Replace all pixels with certain bits; saturated ones with their surroundings, into which charge spills.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky included or not [any unit].
    psf : Psf
        See `interpolate`.
    bits : uint32
        Planes to replace.
    grow_saturated_pixel : int
        Saturated regions are grown by this in all eight directions [pixel]; the grown part gets ``SAT``.
    overwrite : bool, optional
        The planes of the given exposure may be changed.

    Returns
    -------
    exposure : Exposure
        See `interpolate`.
    """
    saturated = (exposure.mask & MASK_SAT) != 0 if grow_saturated_pixel > 0 else np.zeros(0, np.bool_)
    if saturated.any():
        grown = grow_square(saturated, grow_saturated_pixel)
        exposure = exposure.replace(mask=np.where(grown, exposure.mask | MASK_SAT, exposure.mask))
    rows, columns = np.nonzero((exposure.mask & bits) != 0)
    return interpolate(exposure, rows, columns, psf, unusable=bits, overwrite=overwrite)
