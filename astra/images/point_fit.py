"""Position and flux of point sources: positions weighted by the variance of every pixel, fluxes not.

Weights that follow a source's own photons would draw its flux low, and make it depend on how well the PSF is
known; constant ones cost next to nothing where the sky is the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.compiled import part
from astra.images.exposure import Exposure
from astra.images.local_psf import FittedPsf, LocalPsfs, draw_gradient, make_local_psfs, set_plane
from astra.images.stamp_fit import UNUSABLE, add_normal_equations, invert, read_stamp, solve

__all__ = ["STAMP_HALF_WIDTH", "UNUSABLE", "PointFits", "fit_points", "point_psfs"]

STAMP_HALF_WIDTH = 9  # pixels of the fit, from the centre to the edge
CENTROID_ITERATIONS = 10
CENTROID_TOLERANCE_PIXEL = 1e-4
MAX_STEP_PIXEL = 0.5
MAX_CENTROID_SHIFT_PIXEL = 2.0
N_RESULTS = 11
_PLACES = np.arange(3)


@dataclass(frozen=True)
class PointFits:
    """Point sources fitted to a difference, one per row.

    Parameters
    ----------
    x, y, flux : float64 ndarray, shape (n,)
        Position [pixel] and flux [image unit].
    covariance : float64 ndarray, shape (n, 2, 2)
        Of x and y [pixel**2].
    flux_err : float64 ndarray, shape (n,)
        Error of the flux [image unit].
    chi2 : float64 ndarray, shape (n,)
        Of the fit.
    log_likelihood : float64 ndarray, shape (n,)
        Natural logarithm of the probability density of the pixels [pixels in the image unit].
    n_data : int64 ndarray, shape (n,)
        Pixels in it.
    failed : bool ndarray, shape (n,)
        The position did not converge near the peak; it is then that of the peak.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    covariance: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    n_data: NDArray[np.int64]
    failed: NDArray[np.bool_]


def fit_points(
    exposure: Exposure,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    local_psfs: LocalPsfs | None = None,
) -> PointFits:
    """Fit position and flux of a point source near each position.

    Parameters
    ----------
    exposure : Exposure
        With PSF; noise of neighbouring pixels independent.
    x, y : float64 ndarray, shape (n,)
        First guesses [pixel].
    local_psfs : LocalPsfs, optional
        PSFs at the first guesses, as `point_psfs` makes them.

    Returns
    -------
    fits : PointFits
        NaN where no pixel can be used.

    Raises
    ------
    ValueError
        If the exposure has no PSF.
    """
    if exposure.psf is None:
        message = "a point source cannot be fitted without a PSF"
        raise ValueError(message)
    start = np.stack([x, y], axis=1).astype(float)
    if local_psfs is None:
        local_psfs = point_psfs(exposure.psf, start[:, 0], start[:, 1])
    table = np.full((len(start), N_RESULTS), np.nan)
    _fit_all((exposure.image, exposure.variance, exposure.mask), local_psfs, start, STAMP_HALF_WIDTH, table)
    x_fit, y_fit, xx, xy, yy, flux, flux_err, chi2, log_likelihood, n_data, failed = table.T
    covariance = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
    return PointFits(
        x_fit, y_fit, flux, covariance, flux_err, chi2, log_likelihood, n_data.astype(np.int64), failed > 0
    )


def point_psfs(psf: FittedPsf, x: NDArray[np.float64], y: NDArray[np.float64]) -> LocalPsfs:
    """PSFs as wide as the fits of points need them, at positions [pixel]."""
    return make_local_psfs(psf, x, y, STAMP_HALF_WIDTH + int(np.ceil(MAX_CENTROID_SHIFT_PIXEL)) + 1)


@njit(cache=True)
def _fit_all(planes, local_psfs, start, half, table):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fit each source; the columns are those that `fit_points` takes apart."""
    side = 2 * half + 1
    data, weight, drawn = np.empty((side, side)), np.empty((side, side)), np.empty((3, side, side))
    position, plane = np.empty(2), np.empty(local_psfs.coefficients.shape[2:])
    for k in range(len(start)):
        set_plane(local_psfs, k, plane)
        column, row = int(np.rint(start[k, 0])), int(np.rint(start[k, 1]))
        n_data = read_stamp(planes, column, row, data, weight)
        position[0], position[1] = start[k, 0] - column, start[k, 1] - row
        flat = drawn.reshape(3, -1), data.reshape(-1), weight.reshape(-1)
        lost = _find_position(plane, local_psfs.step, position, drawn, flat)
        table[k, 0], table[k, 1] = column + position[0], row + position[1]
        _measure_at(flat, n_data, table[k])
        table[k, 10] = 1.0 if lost or not np.isfinite(table[k, 5]) else 0.0


@part
def _find_position(plane, step, position, drawn, flat):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Move a position by Gauss-Newton steps; False, or back at the start if it ran away.

    At the end the PSF is drawn at the position.
    """
    columns, data, weight = flat
    x, y = position
    for _ in range(CENTROID_ITERATIONS):
        draw_gradient(plane, step, position, drawn)
        matrix, right = np.zeros((3, 3)), np.zeros(3)
        add_normal_equations(columns, _PLACES, data, weight, matrix, right)
        solve(matrix, right)
        move_x, move_y = 0.0, 0.0
        if right[0] != 0.0:
            move_x = min(max(right[1] / right[0], -MAX_STEP_PIXEL), MAX_STEP_PIXEL)
            move_y = min(max(right[2] / right[0], -MAX_STEP_PIXEL), MAX_STEP_PIXEL)
        position[0] += move_x
        position[1] += move_y
        if np.hypot(position[0] - x, position[1] - y) > MAX_CENTROID_SHIFT_PIXEL:
            position[0], position[1] = x, y
            draw_gradient(plane, step, position, drawn)
            return True
        if max(abs(move_x), abs(move_y)) < CENTROID_TOLERANCE_PIXEL:
            break
    draw_gradient(plane, step, position, drawn)
    return False


@part
def _measure_at(flat, n_data, result):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flux of the PSF as drawn, its error, the covariance of the position and how well it fits."""
    columns, data, weight = flat
    matrix, right, inverse = np.zeros((3, 3)), np.zeros(3), np.empty((3, 3))
    add_normal_equations(columns, _PLACES, data, weight, matrix, right)
    result[2:] = np.nan
    result[9] = n_data
    norm, signal, noise = 0.0, 0.0, 0.0
    for p in range(data.shape[0]):
        if weight[p] > 0.0:
            value = columns[0, p]
            norm += value * value
            signal += value * data[p]
            noise += value * value / weight[p]
    if not norm > 0.0:
        return
    flux = signal / norm
    result[5], result[6] = flux, np.sqrt(noise) / norm
    result[7], result[8] = 0.0, 0.0
    for p in range(data.shape[0]):
        if weight[p] > 0.0:
            missed = data[p] - flux * columns[0, p]
            result[7] += missed * missed * weight[p]
            result[8] += 0.5 * np.log(weight[p] / (2.0 * np.pi))
    result[8] -= 0.5 * result[7]
    if flux != 0.0 and invert(matrix, inverse):
        # The columns of the fit are flux, flux * dx and flux * dy.
        result[2], result[3], result[4] = inverse[1, 1], inverse[1, 2], inverse[2, 2]
        result[2:5] /= flux * flux
