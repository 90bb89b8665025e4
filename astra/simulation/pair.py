"""A small pair of exposures in memory, with something of each kind that a difference finds."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.exposure import Exposure, PhotoCalib, VisitInfo
from astra.images.psf import gaussian_psf, sigma_from_fwhm

FloatArray = NDArray[np.float64]
_PIXEL_DEG = 0.4 / 3600.0
_PSF_SIZE_PIXEL = 31
_NOISE = 10.0  # of a pixel [nJy], without that of photons
_TRAIL_PIXEL = np.linspace(-9.0, 9.0, 19)
_DIPOLE_PIXEL = 0.8


def make_pair(
    seed: int = 1, shape: tuple[int, int] = (320, 350), n_stars: int = 120
) -> tuple[Exposure, Exposure]:
    """Return an exposure and its template on the same pixels.

    The same Gaussian stars shine on both; in the first the seeing is worse, and some sources are there that
    are not in the second, the other way round, a little elsewhere, or drawn out.

    Parameters
    ----------
    seed : int
        Of places, fluxes and noise.
    shape : tuple of int
        (ny, nx) [pixel].
    n_stars : int
        Number of stars that do not change.

    Returns
    -------
    science, template : Exposure
        Images [nJy].
    """
    rng = np.random.default_rng(seed)
    stars = _places(rng, shape, n_stars, np.exp(rng.uniform(6.5, 11.0, n_stars)))
    new, gone, moved, trail = (_places(rng, shape, n, np.full(n, 8000.0)) for n in (4, 3, 3, 1))
    drawn_out = np.repeat(trail, len(_TRAIL_PIXEL), axis=0) + _along()
    shifted = moved + np.array([_DIPOLE_PIXEL, 0.0, 0.0])
    science = _exposure(rng, shape, [stars, new, moved, drawn_out], 4.0)
    return science, _exposure(rng, shape, [stars, gone, shifted], 3.2)


def _places(rng: np.random.Generator, shape: tuple[int, int], n: int, flux: FloatArray) -> FloatArray:
    """Return rows of x, y [pixel] and flux [nJy]."""
    ny, nx = shape
    return np.column_stack([rng.uniform(20.0, nx - 20.0, n), rng.uniform(20.0, ny - 20.0, n), flux])


def _along() -> FloatArray:
    """Return what is added to a source for each part of its trail, whose fluxes sum up to it four times."""
    flux = np.full(len(_TRAIL_PIXEL), 8000.0 * (4.0 / len(_TRAIL_PIXEL) - 1.0))
    return np.column_stack([_TRAIL_PIXEL, 0.5 * _TRAIL_PIXEL, flux])


def _exposure(
    rng: np.random.Generator, shape: tuple[int, int], sources: list[FloatArray], fwhm_pixel: float
) -> Exposure:
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    x, y, flux = np.concatenate(sources).T
    sigma = sigma_from_fwhm(fwhm_pixel)
    profiles_y = np.exp(-((rows - y[:, None]) ** 2) / (2.0 * sigma**2))
    profiles_x = np.exp(-((columns - x[:, None]) ** 2) / (2.0 * sigma**2))
    image = (profiles_y * (flux / (2.0 * np.pi * sigma**2))[:, None]).T @ profiles_x
    variance = _NOISE**2 + image
    return Exposure(
        (image + rng.normal(size=shape) * np.sqrt(variance)).astype(np.float32),
        variance.astype(np.float32),
        np.zeros(shape, np.uint32),
        VisitInfo("simulated", 1, 0, "r", "r", 61000.0, 30.0),
        "nJy",
        1.0,
        _wcs(shape),
        gaussian_psf(fwhm_pixel, _PSF_SIZE_PIXEL),
        PhotoCalib(),
    )


def _wcs(shape: tuple[int, int]) -> Any:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [shape[1] / 2.0, shape[0] / 2.0]
    wcs.wcs.crval = [10.0, 0.5]
    wcs.wcs.cdelt = [-_PIXEL_DEG, _PIXEL_DEG]
    return wcs
