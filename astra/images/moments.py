"""Centroids and shapes of many sources: Gaussian-weighted moments, compiled.

The centroid is where the image, smoothed by a Gaussian as wide as the PSF, peaks (windowed centroid); the
shape is that of the elliptical Gaussian that matches the source best (adaptive moments: Bernstein & Jarvis
2002, AJ 123, 583). A pixel that is bad or belongs to a neighbour is replaced by the one opposite the centre,
or left out if that is unusable too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part

CENTROID_ITERATIONS = 50
SHAPE_ITERATIONS = 100
MIN_ROUNDNESS = 1e-6  # determinant over squared trace of moments: an axis ratio of 1 to 1000
DAMPED_ITERATION = 20
TOLERANCE = 1e-4
WINDOW_SIGMA = 4.0  # half-width of the summed box in units of the window's sigma


class Pixels(NamedTuple):
    """What the compiled kernels read.

    Parameters
    ----------
    image, variance : ndarray, shape (ny, nx)
        Sky subtracted [image unit, its square].
    owner : int32 ndarray, shape (ny, nx)
        0 for free pixels, the label of a source for those in its footprint, -1 for unusable ones.
    """

    image: NDArray[np.floating]
    variance: NDArray[np.floating]
    owner: NDArray[np.int32]


@part
def is_usable(owner, label, x, y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a pixel is on the image and free, or belongs to the source."""
    ny, nx = owner.shape
    return 0 <= x < nx and 0 <= y < ny and (owner[y, x] == 0 or owner[y, x] == label)


@part
def stand_in(owner, label, here, centre):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Column and row of a pixel for a source, else of the one opposite the centre; -1 without either."""
    x, y = here
    if is_usable(owner, label, x, y):
        return x, y
    x, y = int(np.rint(2.0 * centre[0] - x)), int(np.rint(2.0 * centre[1] - y))
    if is_usable(owner, label, x, y):
        return x, y
    return -1, -1


@part
def row_of_ellipse(matrix, dy, centre_x):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First and last column whose pixels at height dy lie in the window of the Gaussian."""
    det = matrix[0] * matrix[2] - matrix[1] * matrix[1]
    # dx from the quadratic form (m2 dx^2 - 2 m1 dx dy + m0 dy^2) / det = WINDOW_SIGMA^2
    root = det * (matrix[2] * WINDOW_SIGMA * WINDOW_SIGMA - dy * dy)
    if root < 0.0:
        return 0, -1
    middle, half = centre_x + matrix[1] * dy / matrix[2], np.sqrt(root) / matrix[2]
    return int(np.ceil(middle - half)), int(np.floor(middle + half))


@part
def add_row(pixels, label, centre, matrix, y, sums):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add one row of pixels to the sums of `weighted_sums`."""
    dy = y - centre[1]
    first, last = row_of_ellipse(matrix, dy, centre[0])
    if last < first:
        return
    det = matrix[0] * matrix[2] - matrix[1] * matrix[1]
    xx, xy, yy = matrix[2] / det, -matrix[1] / det, matrix[0] / det
    dx = first - centre[0]
    # Along a row the ratio of neighbouring weights changes by a constant factor: this spares exponentials.
    w = np.exp(-0.5 * (xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy))
    ratio, factor = np.exp(-0.5 * (xx * (2.0 * dx + 1.0) + 2.0 * xy * dy)), np.exp(-xx)
    s0, s1, s2, n0, n2, w2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    ny, nx = pixels.owner.shape
    on_image = 0 <= y < ny
    for x in range(first, last + 1):
        column, row = x, y
        if not (on_image and 0 <= x < nx and pixels.owner[y, x] == 0):
            column, row = stand_in(pixels.owner, label, (x, y), centre)
        if column >= 0:
            signal = w * pixels.image[row, column]
            noise = w * w * pixels.variance[row, column]
            s0 += signal
            s1 += signal * dx
            s2 += signal * dx * dx
            n0 += noise
            n2 += noise * dx * dx
            w2 += w * w
        w *= ratio
        ratio *= factor
        dx += 1.0
    sums[0] += s0
    sums[1] += s1
    sums[2] += s0 * dy
    sums[3] += s2
    sums[4] += s1 * dy
    sums[5] += s0 * dy * dy
    sums[6] += n0
    sums[7] += n2
    sums[8] += n0 * dy * dy
    sums[9] += w2


@part
def weighted_sums(pixels, label, centre, matrix):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum about a centre under the Gaussian w with second moments ``matrix`` (xx, xy, yy).

    Returns the sums of w I times 1, dx, dy, dx^2, dx dy, dy^2, of w^2 V times 1, dx^2, dy^2, and of w^2.
    """
    sums = np.zeros(10)
    half = WINDOW_SIGMA * np.sqrt(matrix[2])
    for y in range(int(np.ceil(centre[1] - half)), int(np.floor(centre[1] + half)) + 1):
        add_row(pixels, label, centre, matrix, y, sums)
    return sums


@part
def find_centroid(pixels, label, start, sigma, max_shift):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Centroid x, y and whether it failed; iterates Newton's step for a source as wide as the window."""
    matrix = (sigma * sigma, 0.0, sigma * sigma)
    x, y = start
    for _ in range(CENTROID_ITERATIONS):
        sums = weighted_sums(pixels, label, (x, y), matrix)
        if not sums[0] > 0.0:
            break
        step_x, step_y = 2.0 * sums[1] / sums[0], 2.0 * sums[2] / sums[0]
        x, y = x + step_x, y + step_y
        if np.hypot(x - start[0], y - start[1]) > max_shift:
            break
        if np.hypot(step_x, step_y) < TOLERANCE:
            return x, y, 0.0
    return start[0], start[1], 1.0


@compiled
def windowed_centroids(pixels, labels, positions, sigma, max_shift):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Centroids of sources that start at ``positions`` (n, 2); columns x, y, xErr, yErr [pixel], failed."""
    result = np.full((len(labels), 5), np.nan)
    for k in range(len(labels)):
        start = (positions[k, 0], positions[k, 1])
        x, y, failed = find_centroid(pixels, labels[k], start, sigma, max_shift)
        sums = weighted_sums(pixels, labels[k], (x, y), (sigma * sigma, 0.0, sigma * sigma))
        result[k, 0], result[k, 1], result[k, 4] = x, y, failed
        if sums[0] > 0.0:
            result[k, 2] = 2.0 * np.sqrt(sums[7]) / sums[0]
            result[k, 3] = 2.0 * np.sqrt(sums[8]) / sums[0]
    return result


@part
def match_gaussian(sums, matrix):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Next guess of the source's moments, and whether they are those of an ellipse.

    The measured moments are those of the product of weight and source, and the product of two Gaussians has
    the sum of their inverse matrices.
    """
    if not sums[0] > 0.0:
        return matrix, False
    xx, xy, yy = sums[3] / sums[0], sums[4] / sums[0], sums[5] / sums[0]
    measured = xx * yy - xy * xy
    det = matrix[0] * matrix[2] - matrix[1] * matrix[1]
    if not (xx > 0.0 and yy > 0.0 and measured > 0.0):
        return matrix, False
    axx = yy / measured - matrix[2] / det
    axy = -xy / measured + matrix[1] / det
    ayy = xx / measured - matrix[0] / det
    source = axx * ayy - axy * axy
    # Next to a line, or wider than all numbers: rounding would leave a determinant of zero.
    if not (axx > 0.0 and ayy > 0.0 and source > MIN_ROUNDNESS * (axx + ayy) ** 2):
        return matrix, False
    return (ayy / source, -axy / source, axx / source), True


@compiled
def adaptive_moments(pixels, labels, positions, sigma, max_sigma):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Moments of the matched Gaussians about fixed centres (n, 2).

    Columns ixx, ixy, iyy [pixel^2], flux of the Gaussian and its error [image unit], failed.
    """
    result = np.full((len(labels), 6), np.nan)
    for k in range(len(labels)):
        centre = (positions[k, 0], positions[k, 1])
        matrix = (sigma * sigma, 0.0, sigma * sigma)
        result[k, 5] = 1.0
        for iteration in range(SHAPE_ITERATIONS):
            sums = weighted_sums(pixels, labels[k], centre, matrix)
            new, is_ellipse = match_gaussian(sums, matrix)
            if not is_ellipse or max(new[0], new[2]) > max_sigma * max_sigma:
                break
            change = max(abs(new[0] - matrix[0]), abs(new[1] - matrix[1]), abs(new[2] - matrix[2]))
            converged = change < TOLERANCE * (matrix[0] + matrix[2])
            # A pixel on the rim of the window may enter and leave for ever: from then on, half steps.
            step = 1.0 if iteration < DAMPED_ITERATION else 0.5
            matrix = (
                matrix[0] + step * (new[0] - matrix[0]),
                matrix[1] + step * (new[1] - matrix[1]),
                matrix[2] + step * (new[2] - matrix[2]),
            )
            if converged:
                norm = 2.0 * np.pi * np.sqrt(matrix[0] * matrix[2] - matrix[1] * matrix[1]) / sums[9]
                result[k, 0], result[k, 1], result[k, 2] = matrix
                result[k, 3], result[k, 4], result[k, 5] = norm * sums[0], norm * np.sqrt(sums[6]), 0.0
                break
    return result
