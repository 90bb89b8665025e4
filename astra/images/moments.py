"""Centroids and shapes of many sources: Gaussian-weighted moments, compiled.

The centroid is where the image, smoothed by a Gaussian as wide as the PSF, peaks (windowed centroid); the
shape is that of the elliptical Gaussian that matches the source best (adaptive moments: Bernstein & Jarvis
2002, AJ 123, 583). A pixel that is bad or belongs to a neighbour is replaced by the one opposite the centre,
or left out if that is unusable too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

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


@njit(cache=True)
def is_usable(owner, label, x, y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a pixel is on the image and free, or belongs to the source."""
    ny, nx = owner.shape
    return 0 <= x < nx and 0 <= y < ny and (owner[y, x] == 0 or owner[y, x] == label)


@njit(cache=True)
def pixel_value(pixels, label, here, centre):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Value of a pixel for a source, else of the one opposite the centre; and whether either can be used."""
    x, y = here
    if is_usable(pixels.owner, label, x, y):
        return pixels.image[y, x], True
    x, y = int(np.rint(2.0 * centre[0] - x)), int(np.rint(2.0 * centre[1] - y))
    if is_usable(pixels.owner, label, x, y):
        return pixels.image[y, x], True
    return 0.0 * pixels.image[0, 0], False


@njit(cache=True)
def weighted_sums(pixels, label, centre, matrix):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum about a centre under the Gaussian w with second moments ``matrix`` (xx, xy, yy).

    Returns the sums of w I times 1, dx, dy, dx^2, dx dy, dy^2, of w^2 V times 1, dx^2, dy^2, and of w^2.
    """
    sums = np.zeros(10)
    det = matrix[0] * matrix[2] - matrix[1] * matrix[1]
    half = int(np.ceil(WINDOW_SIGMA * np.sqrt(max(matrix[0], matrix[2]))))
    middle_x, middle_y = int(np.rint(centre[0])), int(np.rint(centre[1]))
    ny, nx = pixels.image.shape
    for y in range(middle_y - half, middle_y + half + 1):
        dy = y - centre[1]
        for x in range(middle_x - half, middle_x + half + 1):
            dx = x - centre[0]
            exponent = (matrix[2] * dx * dx - 2.0 * matrix[1] * dx * dy + matrix[0] * dy * dy) / det
            if exponent > WINDOW_SIGMA * WINDOW_SIGMA:
                continue
            value, usable = pixel_value(pixels, label, (x, y), centre)
            if not usable:
                continue
            w = np.exp(-0.5 * exponent)
            signal = w * value
            noise = w * w * pixels.variance[min(max(y, 0), ny - 1), min(max(x, 0), nx - 1)]
            sums[0] += signal
            sums[1] += signal * dx
            sums[2] += signal * dy
            sums[3] += signal * dx * dx
            sums[4] += signal * dx * dy
            sums[5] += signal * dy * dy
            sums[6] += noise
            sums[7] += noise * dx * dx
            sums[8] += noise * dy * dy
            sums[9] += w * w
    return sums


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
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
                result[k, :3] = matrix
                result[k, 3:] = (norm * sums[0], norm * np.sqrt(sums[6]), 0.0)
                break
    return result
