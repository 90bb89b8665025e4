"""Fluxes of point sources at given positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import MASK_BAD, MASK_EDGE, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE, Exposure
from astra.images.stamps import cut_stamps, psf_stamps

UNUSABLE = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
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
    half = min(int(np.ceil(HALF_WIDTH_PER_FWHM * psf.fwhm_pixel(nx / 2, ny / 2))), psf.size // 2)
    with np.errstate(invalid="ignore"):
        on_image = (x > -half) & (x < nx - 1 + half) & (y > -half) & (y < ny - 1 + half)
    at_x, at_y = np.where(on_image, x, 0.0), np.where(on_image, y, 0.0)
    columns, rows = np.rint(at_x).astype(np.int64), np.rint(at_y).astype(np.int64)
    model = psf_stamps(psf, at_x, at_y, 2 * half + 1)
    pixels, variance, good = _good_stamps(exposure, (columns, rows), 2 * half + 1)
    good &= on_image[:, None, None]
    kept = np.where(good, model, 0.0)
    norm = np.sum(kept**2, axis=(1, 2))
    enough = norm > MIN_PSF_WEIGHT * np.sum(model**2, axis=(1, 2))
    safe = np.where(enough, norm, 1.0)
    flux = np.sum(kept * pixels, axis=(1, 2)) / safe
    error = np.sqrt(np.sum(kept**2 * variance, axis=(1, 2))) / safe
    chi2 = np.sum(np.where(good, (pixels - flux[:, None, None] * kept) ** 2 / variance, 0.0), axis=(1, 2))
    for name, value in (("psfFlux", flux), ("psfFluxErr", error), ("psfChi2", chi2)):
        factor = 1.0 if name == "psfChi2" else aperture_correction(exposure)
        forced[name] = np.where(enough, factor * value, np.nan)
    forced["psfNdata"] = np.sum(good, axis=(1, 2))
    forced["psfFlux_flag"] = ~enough
    forced["psfFlux_flag_noGoodPixels"] = forced["psfNdata"] == 0
    edge = cut_stamps(((exposure.mask & MASK_EDGE) > 0).astype(np.float32), columns, rows, 1)[:, 0, 0] > 0
    truncated = (columns < half) | (rows < half) | (columns >= nx - half) | (rows >= ny - half)
    forced["psfFlux_flag_edge"] = truncated | edge
    return forced


def _good_stamps(
    exposure: Exposure, centres: tuple[NDArray[np.int64], NDArray[np.int64]], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Pixels, variances and which of them can be used; 0 and 1 where they cannot."""
    pixels = cut_stamps(exposure.image, *centres, size)
    variance = cut_stamps(exposure.variance, *centres, size)
    bad = cut_stamps(((exposure.mask & UNUSABLE) > 0).astype(np.float32), *centres, size)
    good = np.isfinite(pixels) & (variance > 0) & (bad == 0)
    return np.where(good, pixels, 0.0), np.where(good, variance, 1.0), good
