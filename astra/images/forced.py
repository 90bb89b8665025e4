"""Fluxes of point sources at given positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.exposure import MASK_EDGE, Exposure
from astra.images.local_psf import FittedPsf, draw_gradient, make_local_psfs, set_plane
from astra.images.stamp_fit import SUMS, read_stamp

FORCED_DTYPE = np.dtype(
    [
        ("psfFlux", "f8"),
        ("psfFluxErr", "f8"),
        ("psfChi2", "f8"),
        ("psfNdata", "i4"),
        ("psfFlux_flag", "?"),
        ("psfFlux_flag_edge", "?"),
        ("psfFlux_flag_noGoodPixels", "?"),
    ]
)
MIN_PSF_WEIGHT = 0.5  # share of sum(P**2) that must fall on good pixels
HALF_WIDTH_PER_FWHM = 3.0
CHUNK = 1024


def forced_photometry(exposure: Exposure, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[Any]:
    """Measure PSF fluxes at given positions, with constant weights.

    Constant weights, and not those of each pixel's variance, keep the flux of a bright source linear where
    the PSF is not exact.

    Parameters
    ----------
    exposure : Exposure
        With PSF; background subtracted.
    x, y : float64 ndarray, shape (n,)
        Positions [pixel]; they may lie outside the image.

    Returns
    -------
    forced : structured ndarray, shape (n,), dtype `FORCED_DTYPE`
        Flux and error in the unit of the image [nJy], with its aperture correction. NaN and
        ``psfFlux_flag`` where less than half of the PSF's weight falls on good pixels.

    Raises
    ------
    ValueError
        If the exposure has no PSF.
    """
    if exposure.psf is None:
        message = "forced photometry needs an exposure with a PSF"
        raise ValueError(message)
    x, y = np.atleast_1d(np.asarray(x, dtype=float)), np.atleast_1d(np.asarray(y, dtype=float))
    parts = [
        _forced_chunk(exposure, x[start : start + CHUNK], y[start : start + CHUNK])
        for start in range(0, len(x), CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=FORCED_DTYPE)


def aperture_correction(exposure: Exposure) -> float:
    """Return the factor from PSF fluxes to those of the photometric calibration; 1 if it is not known."""
    return float(exposure.metadata.get("APCORR", 1.0))


def _forced_chunk(exposure: Exposure, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[Any]:
    """Fluxes of one chunk of positions."""
    psf, (ny, nx) = exposure.psf, exposure.shape
    forced = np.zeros(len(x), dtype=FORCED_DTYPE)
    if psf is None:  # pragma: no cover - refused by the caller
        return forced
    half = forced_half_width(psf, exposure.shape)
    with np.errstate(invalid="ignore"):
        on_image = (x > -half) & (x < nx - 1 + half) & (y > -half) & (y < ny - 1 + half)
    # Positions elsewhere are put far off: no pixel of theirs can be used.
    at = np.stack([np.where(on_image, x, -9.0 * half), np.where(on_image, y, -9.0 * half)], axis=1)
    table = np.empty((len(x), 6))
    local_psfs = make_local_psfs(psf, at[:, 0], at[:, 1], half + 1)
    _measure_all((exposure.image, exposure.variance, exposure.mask), local_psfs, at, half, table)
    factor = aperture_correction(exposure)
    forced["psfFlux"], forced["psfFluxErr"] = factor * table[:, 0], factor * table[:, 1]
    forced["psfChi2"], forced["psfNdata"] = table[:, 2], table[:, 3]
    forced["psfFlux_flag"] = table[:, 4] > 0
    forced["psfFlux_flag_noGoodPixels"] = forced["psfNdata"] == 0
    columns, rows = np.rint(at).astype(np.int64).T
    truncated = (columns < half) | (rows < half) | (columns >= nx - half) | (rows >= ny - half)
    forced["psfFlux_flag_edge"] = truncated | (table[:, 5] > 0)
    return forced


def forced_half_width(psf: FittedPsf, shape: tuple[int, int]) -> int:
    """Half-width of the stamps on which fluxes are measured [pixel]."""
    ny, nx = shape
    return min(int(np.ceil(HALF_WIDTH_PER_FWHM * psf.fwhm_pixel(nx / 2, ny / 2))), psf.size // 2)


@compiled
def _measure_all(planes, local_psfs, positions, half, table):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Columns flux, its error, chi2, number of pixels, failed, on EDGE; NaN where too little can be used."""
    side, (ny, nx) = 2 * half + 1, planes[2].shape
    data, weight, model = np.empty((side, side)), np.empty((side, side)), np.empty((1, side, side))
    offset, plane = np.empty(2), np.empty(local_psfs.coefficients.shape[2:])
    for k in range(len(positions)):
        column, row = int(np.rint(positions[k, 0])), int(np.rint(positions[k, 1]))
        offset[0], offset[1] = positions[k, 0] - column, positions[k, 1] - row
        n_data = read_stamp(planes, column, row, data, weight)
        set_plane(local_psfs, k, plane)
        draw_gradient(plane, local_psfs.step, offset, model)
        _measure(model.reshape(-1), data.reshape(-1), weight.reshape(-1), table[k])
        on_frame = 0 <= column < nx and 0 <= row < ny
        table[k, 3] = n_data
        table[k, 5] = 1.0 if on_frame and planes[2][row, column] & MASK_EDGE else 0.0


@part(fastmath=SUMS)
def _measure(model, data, weight, result):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flux, its error, chi2 and failure, with constant weights on the pixels that can be used."""
    whole, norm, signal, noise, chi2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for p in range(model.shape[0]):
        square = model[p] * model[p]
        whole += square
        if weight[p] > 0.0:
            norm += square
            signal += model[p] * data[p]
            noise += square / weight[p]
    result[:3], result[4] = np.nan, 1.0
    if not norm > MIN_PSF_WEIGHT * whole:
        return
    flux = signal / norm
    for p in range(model.shape[0]):
        missed = data[p] - flux * model[p]
        chi2 += missed * missed * weight[p]
    result[0], result[1], result[2], result[4] = flux, np.sqrt(noise) / norm, chi2, 0.0
