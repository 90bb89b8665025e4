"""Fluxes of sources at known positions: circular apertures and the PSF.

A pixel that belongs to a neighbour or carries no information does not count: in an aperture the one opposite
the centre stands in, in the PSF fit it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.images.moments import Pixels, pixel_value
from astra.images.psf import Psf
from astra.images.stamps import cut_stamps, psf_stamps

FloatArray = NDArray[np.float64]

SUBPIXELS = 10  # per axis, for pixels that the aperture's edge crosses
FIT_RADIUS_FWHM = 2.5  # half-width of the PSF fit
CHUNK = 512  # sources whose stamps are in memory at once
MIN_PSF_FRACTION = 0.5  # of sum(P**2) that usable pixels must hold


@dataclass(frozen=True)
class PsfFluxes:
    """Fluxes of point sources fitted at fixed positions.

    Parameters
    ----------
    flux, flux_err : float64 ndarray, shape (n,)
        [image unit].
    chi2 : float64 ndarray, shape (n,)
        Of the fit.
    n_data : int64 ndarray, shape (n,)
        Pixels in the fit.
    failed : bool ndarray, shape (n,)
        Less than half of the PSF falls on usable pixels.
    """

    flux: FloatArray
    flux_err: FloatArray
    chi2: FloatArray
    n_data: NDArray[np.int64]
    failed: NDArray[np.bool_]


@njit(cache=True)
def circle_fraction(dx, dy, radius, n_sub):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fraction of the pixel centred at (dx, dy) that lies inside a circle about the origin."""
    distance = np.sqrt(dx * dx + dy * dy)
    if distance > radius + 0.7072:
        return 0.0
    if distance < radius - 0.7072:
        return 1.0
    inside = 0
    for j in range(n_sub):
        sy = dy + (j + 0.5) / n_sub - 0.5
        for i in range(n_sub):
            sx = dx + (i + 0.5) / n_sub - 0.5
            inside += sx * sx + sy * sy < radius * radius
    return inside / (n_sub * n_sub)


@njit(cache=True)
def aperture_sums(pixels, labels, positions, radii):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flux in circles about positions (n, 2), its error, and the usable fraction; (n, n_radii) each."""
    n, m = len(labels), len(radii)
    flux, error, usable_area = np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m))
    ny, nx = pixels.image.shape
    half = int(np.ceil(radii.max() + 1.0))
    for k in range(n):
        centre = (positions[k, 0], positions[k, 1])
        middle_x, middle_y = int(np.rint(centre[0])), int(np.rint(centre[1]))
        for y in range(middle_y - half, middle_y + half + 1):
            for x in range(middle_x - half, middle_x + half + 1):
                value, usable = pixel_value(pixels, labels[k], (x, y), centre)
                if not usable:
                    continue
                noise = pixels.variance[min(max(y, 0), ny - 1), min(max(x, 0), nx - 1)]
                distance = np.hypot(x - centre[0], y - centre[1])
                for r in range(m):
                    if distance > radii[r] + 1.0:
                        continue
                    part = circle_fraction(x - centre[0], y - centre[1], radii[r], SUBPIXELS)
                    flux[k, r] += part * value
                    error[k, r] += part * part * noise
                    usable_area[k, r] += part
    for r in range(m):
        usable_area[:, r] /= np.pi * radii[r] * radii[r]
    return flux, np.sqrt(error), usable_area


def fit_psf_fluxes(pixels: Pixels, labels: NDArray[np.int64], positions: FloatArray, psf: Psf) -> PsfFluxes:
    """Fit the flux of a point source at each position, all pixels with equal weight.

    Equal weights make the flux independent of the brightness where the PSF model is imperfect.

    Parameters
    ----------
    pixels : Pixels
        Image, variance and owners.
    labels : int64 ndarray, shape (n,)
        Label of each source; 0 for a position without a footprint.
    positions : float64 ndarray, shape (n, 2)
        x and y [pixel].
    psf : Psf
        Point-spread function.

    Returns
    -------
    fluxes : PsfFluxes
        NaN where the fit failed.
    """
    chunks = [slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK)]
    parts = [_fit_chunk(pixels, labels[part], positions[part], psf) for part in chunks]
    table = np.concatenate(parts) if parts else np.zeros((0, 5))
    return PsfFluxes(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.int64), table[:, 4] > 0)


def _fit_chunk(pixels: Pixels, labels: NDArray[np.int64], positions: FloatArray, psf: Psf) -> FloatArray:
    """Columns flux, error, chi2, number of pixels, failed."""
    size = _fit_size(psf)
    model = psf_stamps(psf, positions[:, 0], positions[:, 1], size)
    columns, rows = np.rint(positions).astype(np.int64).T
    values = cut_stamps(pixels.image, columns, rows, size)
    noise = cut_stamps(pixels.variance, columns, rows, size)
    owners = cut_stamps(pixels.owner, columns, rows, size)
    usable = ((owners == 0) | (owners == labels[:, None, None])) & np.isfinite(values) & (noise > 0)
    values, noise = np.where(usable, values, 0.0), np.where(usable, noise, 1.0)
    kept = np.where(usable, model, 0.0)
    norm = np.einsum("kij,kij->k", kept, kept)
    failed = norm < MIN_PSF_FRACTION * np.einsum("kij,kij->k", model, model)
    with np.errstate(invalid="ignore", divide="ignore"):
        flux = np.einsum("kij,kij->k", kept, values) / norm
        error = np.sqrt(np.einsum("kij,kij,kij->k", kept, kept, noise)) / norm
    flux[failed], error[failed] = np.nan, np.nan
    residual = np.where(usable, values - flux[:, None, None] * model, 0.0)
    chi2 = np.einsum("kij,kij->k", residual, residual / noise)
    return np.stack([flux, error, chi2, usable.sum(axis=(1, 2)), failed], axis=-1)


def _fit_size(psf: Psf) -> int:
    """Side of the stamps to fit [pixel]: the wings beyond hold next to nothing of sum(P**2)."""
    fwhm = psf.fwhm_pixel(psf.x_centre, psf.y_centre)
    return min(2 * int(np.ceil(FIT_RADIUS_FWHM * fwhm)) + 1, psf.size)
