"""Position and flux of point sources: positions weighted by the variance of every pixel, fluxes not.

Weights that follow a source's own photons would draw its flux low, and make it depend on how well the PSF is
known; constant ones cost next to nothing where the sky is the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import Exposure
from astra.images.local_psf import FittedPsf, LocalPsfs, draw_values, make_local_psfs, sum_terms
from astra.images.stamp_batch import (
    SourceModel,
    add_source_equations,
    invert_positive,
    read_stamps,
    solve_positive,
)
from astra.images.stamp_fit import UNUSABLE

__all__ = ["STAMP_HALF_WIDTH", "UNUSABLE", "PointFits", "fit_points", "point_psfs"]

STAMP_HALF_WIDTH = 9  # pixels of the fit, from the centre to the edge
CENTROID_ITERATIONS = 10
CENTROID_TOLERANCE_PIXEL = 1e-4
MAX_STEP_PIXEL = 0.5
MAX_CENTROID_SHIFT_PIXEL = 2.0
CHUNK = 256  # sources whose stamps are in memory at once

FloatArray = NDArray[np.float64]

_N_PIXELS = (2 * STAMP_HALF_WIDTH + 1) ** 2
_MODEL = SourceModel(np.ones(1), np.zeros((0, _N_PIXELS)), np.arange(3))


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
    parts = [
        _fit_chunk(exposure, _take(local_psfs, slice(first, first + CHUNK)), start[first : first + CHUNK])
        for first in range(0, max(len(start), 1), CHUNK)
    ]
    return PointFits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _take(local_psfs: LocalPsfs, rows: slice) -> LocalPsfs:
    """PSFs of some sources."""
    coefficients, design, step = local_psfs
    return LocalPsfs(coefficients[rows] if len(coefficients) > 1 else coefficients, design[rows], step)


def point_psfs(psf: FittedPsf, x: NDArray[np.float64], y: NDArray[np.float64]) -> LocalPsfs:
    """PSFs as wide as the fits of points need them, at positions [pixel]."""
    return make_local_psfs(psf, x, y, STAMP_HALF_WIDTH + int(np.ceil(MAX_CENTROID_SHIFT_PIXEL)) + 1)


def _fit_chunk(exposure: Exposure, local_psfs: LocalPsfs, start: FloatArray) -> tuple[NDArray[Any], ...]:
    """Fit some sources; the columns of `PointFits`."""
    pixel = np.rint(start)
    columns, rows = pixel.astype(np.int64).T
    stamps = read_stamps(exposure, columns, rows, STAMP_HALF_WIDTH)
    local_psfs = sum_terms(local_psfs)
    offset, lost = _find_positions(local_psfs, stamps, start - pixel)
    model = draw_values(local_psfs, offset, STAMP_HALF_WIDTH).reshape(stamps[0].shape)
    flux, flux_err, chi2, log_likelihood = _measure(model, *stamps)
    matrix, _ = _equations(local_psfs, np.arange(len(start)), offset, stamps)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The columns of the fit are flux, flux * dx and flux * dy.
        inverse = invert_positive(matrix)[:, 1:, 1:] / (flux * flux)[:, None, None]
    covariance = np.where(np.isfinite(inverse), inverse, np.nan)
    x, y = (pixel + offset).T
    n_data = np.count_nonzero(stamps[1], axis=1)
    return x, y, flux, covariance, flux_err, chi2, log_likelihood, n_data, lost | ~np.isfinite(flux)


def _equations(
    local_psfs: LocalPsfs, rows: NDArray[np.int64], offset: FloatArray, stamps: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Make the normal equations of flux, flux * dx and flux * dy of some sources: (n, 3, 3) and (n, 3)."""
    matrix, right = np.zeros((len(rows), 3, 3)), np.zeros((len(rows), 3))
    add_source_equations(local_psfs, rows, offset, stamps, _MODEL, matrix, right)
    return matrix, right


def _find_positions(
    local_psfs: LocalPsfs, stamps: tuple[FloatArray, FloatArray], start: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Move positions by Gauss-Newton steps; those that run away are back at the start, and True."""
    position, lost, active = start.copy(), np.zeros(len(start), dtype=np.bool_), np.arange(len(start))
    for _ in range(CENTROID_ITERATIONS):
        solution, _ = solve_positive(*_equations(local_psfs, active, position[active], stamps))
        flux, move = solution[:, :1], np.zeros((len(active), 2))
        np.divide(solution[:, 1:], flux, out=move, where=flux != 0.0)
        move = np.clip(move, -MAX_STEP_PIXEL, MAX_STEP_PIXEL)
        position[active] += move
        ran_away = np.hypot(*(position[active] - start[active]).T) > MAX_CENTROID_SHIFT_PIXEL
        lost[active[ran_away]] = True
        active = active[~ran_away & (np.abs(move).max(axis=1) >= CENTROID_TOLERANCE_PIXEL)]
        if len(active) == 0:
            break
    position[lost] = start[lost]
    return position, lost


def _measure(model: FloatArray, data: FloatArray, weight: FloatArray) -> tuple[FloatArray, ...]:
    """Flux of the PSF as drawn, its error, chi2 and log-likelihood; NaN where no pixel can be used."""
    usable = weight > 0.0
    variance = np.divide(1.0, weight, out=np.zeros(weight.shape), where=usable)
    seen = np.where(usable, model, 0.0)
    norm = np.einsum("np,np->n", seen, seen)
    norm = np.where(norm > 0.0, norm, np.nan)
    flux = np.einsum("np,np->n", seen, data) / norm
    flux_err = np.sqrt(np.einsum("np,np,np->n", seen, seen, variance)) / norm
    missed = data - flux[:, None] * seen
    chi2 = np.einsum("np,np,np->n", missed, missed, weight)
    logarithm = np.log(np.where(usable, weight / (2.0 * np.pi), 1.0)).sum(axis=1)
    return flux, flux_err, chi2, 0.5 * (logarithm - chi2)
