"""Position and flux of point sources, fitted with the variance of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE, Exposure
from astra.images.psf import Psf
from astra.images.stamps import cut_stamps, psf_stamps

UNUSABLE = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
STAMP_HALF_WIDTH = 9  # pixels of the fit, from the centre to the edge
CENTROID_ITERATIONS = 10
MAX_CENTROID_SHIFT_PIXEL = 2.0


@dataclass(frozen=True)
class PointFits:
    """Point sources fitted to a difference, one per row.

    Parameters
    ----------
    x, y, flux : float64 ndarray, shape (n,)
        Position [pixel] and flux [image unit].
    covariance : float64 ndarray, shape (n, 3, 3)
        Of x, y, flux.
    flux_err : float64 ndarray, shape (n,)
        Error of the flux at a known position [image unit].
    chi2 : float64 ndarray, shape (n,)
        Of the fit.
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
    n_data: NDArray[np.int64]
    failed: NDArray[np.bool_]


def fit_points(exposure: Exposure, x: NDArray[np.float64], y: NDArray[np.float64]) -> PointFits:
    """Fit position and flux of a point source near each position, weighting pixels by their variance.

    Parameters
    ----------
    exposure : Exposure
        With PSF; noise of neighbouring pixels independent.
    x, y : float64 ndarray, shape (n,)
        First guesses [pixel].

    Returns
    -------
    fits : PointFits
    """
    columns, rows = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    image, weight = _weighted_stamps(exposure, columns, rows)
    position = np.stack([x, y], axis=1).astype(float)
    failed = np.zeros(len(x), dtype=bool)
    for _ in range(CENTROID_ITERATIONS):
        design = _design(exposure, position, columns, rows)
        flux, _ = _linear_fit(design, image, weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            step = flux[:, 1:] / flux[:, :1]
        step = np.clip(np.where(np.isfinite(step), step, 0.0), -0.5, 0.5)
        position += np.where(failed[:, None], 0.0, step)
        lost = np.hypot(position[:, 0] - x, position[:, 1] - y) > MAX_CENTROID_SHIFT_PIXEL
        failed |= lost
        position[failed] = np.stack([x, y], axis=1)[failed]
        if np.abs(step).max(initial=0.0) < 1e-4:
            break
    return _final_fit(exposure, position, (columns, rows), (image, weight), failed)


def _final_fit(
    exposure: Exposure,
    position: NDArray[np.float64],
    centres: tuple[NDArray[np.int64], NDArray[np.int64]],
    data: tuple[NDArray[np.float64], NDArray[np.float64]],
    failed: NDArray[np.bool_],
) -> PointFits:
    """Flux at the fitted positions, and the covariance of position and flux."""
    image, weight = data
    design = _design(exposure, position, *centres)
    point = design[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = np.einsum("nk,nk,nk->n", point, point, weight)
        flux = np.einsum("nk,nk,nk->n", point, image, weight) / norm
        flux_err = 1.0 / np.sqrt(norm)
    residual = image - np.nan_to_num(flux)[:, None] * point
    _, information = _linear_fit(design, image, weight)
    covariance = np.linalg.pinv(information, hermitian=True)
    # From the parameters (flux, flux*dx, flux*dy) to (dx, dy, flux).
    scale = np.stack([1.0 / flux, 1.0 / flux, np.ones(len(flux))], axis=1)
    covariance = covariance[:, [1, 2, 0]][:, :, [1, 2, 0]] * scale[:, :, None] * scale[:, None, :]
    return PointFits(
        position[:, 0],
        position[:, 1],
        flux,
        covariance,
        flux_err,
        np.einsum("nk,nk,nk->n", residual, residual, weight),
        np.sum(weight > 0, axis=1),
        failed | ~np.isfinite(flux),
    )


def _weighted_stamps(
    exposure: Exposure, columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels and inverse variances round the centres, shape (n, pixels); 0 where a pixel cannot be used."""
    size = 2 * STAMP_HALF_WIDTH + 1
    image = cut_stamps(exposure.image, columns, rows, size)
    variance = cut_stamps(exposure.variance, columns, rows, size)
    bad = cut_stamps(((exposure.mask & UNUSABLE) > 0).astype(np.float32), columns, rows, size)
    usable = np.isfinite(image) & (variance > 0) & (bad == 0)
    image, weight = np.where(usable, image, 0.0), np.where(usable, 1.0 / np.where(usable, variance, 1.0), 0.0)
    return image.reshape(len(columns), -1), weight.reshape(len(columns), -1)


def _design(
    exposure: Exposure, position: NDArray[np.float64], columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """PSF at the positions and its derivatives to x and y, shape (n, 3, pixels)."""
    if exposure.psf is None:
        message = "a point source cannot be fitted without a PSF"
        raise ValueError(message)
    stamps = _shifted_psfs(exposure.psf, position, columns, rows)
    step = 0.05
    derivatives = [
        (
            _shifted_psfs(exposure.psf, position + step * axis, columns, rows)
            - _shifted_psfs(exposure.psf, position - step * axis, columns, rows)
        )
        / (2 * step)
        for axis in (np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    ]
    return np.stack([stamps, *derivatives], axis=1).reshape(len(position), 3, -1)


def _shifted_psfs(
    psf: Psf, position: NDArray[np.float64], columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """PSF images on the pixels round (columns, rows), shape (n, side, side)."""
    stamps = psf_stamps(psf, position[:, 0], position[:, 1])
    move_x = np.rint(position[:, 0]).astype(np.int64) - columns
    move_y = np.rint(position[:, 1]).astype(np.int64) - rows
    half, side = STAMP_HALF_WIDTH, 2 * STAMP_HALF_WIDTH + 1
    padded = np.pad(stamps, ((0, 0), (side, side), (side, side)))
    middle = padded.shape[1] // 2
    offset = np.arange(-half, half + 1)
    index = np.arange(len(position))[:, None, None]
    shifted: NDArray[np.float64] = padded[
        index,
        middle + offset[None, :, None] - move_y[:, None, None],
        middle + offset[None, None, :] - move_x[:, None, None],
    ]
    return shifted


def _linear_fit(
    design: NDArray[np.float64], image: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted least squares of every stamp: solution and information matrix."""
    weighted = design * weight[:, None, :]
    information = weighted @ np.swapaxes(design, 1, 2)
    right = np.einsum("nik,nk->ni", weighted, image)
    solution = np.einsum("nij,nj->ni", np.linalg.pinv(information, hermitian=True), right)
    return solution, information
