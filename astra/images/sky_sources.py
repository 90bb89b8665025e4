"""Fluxes where there is no source: what the noise of the fluxes really is.

Sources too faint to be detected, and noise that neighbouring pixels share, make a flux uncertain by more than
the variance of the pixels tells (confusion: Condon 1974, ApJ 188, 279). Blank sky shows how much more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.images.exposure import MASK_SAT, Exposure
from astra.images.fluxes import aperture_sums, fit_psf_fluxes
from astra.images.measurement import make_pixels
from astra.images.moments import Pixels
from astra.images.psf import Psf
from astra.images.robust import SIGMA_PER_MAD

FloatArray = NDArray[np.float64]

# Fractional parts of its multiples fill a square evenly (Roberts 2018: the root of x**3 = x + 1).
_PLASTIC = 1.32471795724474602596
_ANY = np.uint32(0xFFFFFFFF)
_TRIES_PER_SOURCE = 20
_MIN_FOR_EXCESS = 100  # positions: a variance from so many is good to 14 %
_CLIP_SIGMA = 5.0


def place_sky_sources(
    exposure: Exposure, owner: NDArray[np.int32], n_sources: int, radius_pixel: int
) -> FloatArray:
    """Choose positions on blank sky, evenly over the image.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Its saturated pixels are kept away from.
    owner : int32 ndarray, shape (ny, nx)
        0 where there is neither a source nor an unusable pixel; see `astra.images.moments.Pixels`.
    n_sources : int
        How many to choose.
    radius_pixel : int
        No source or unusable pixel is nearer along x or y than this [pixel].

    Returns
    -------
    positions : float64 ndarray, shape (n, 2)
        x, y [pixel]; fewer than ``n_sources`` on a crowded image. The same for the same input.
    """
    return find_free_places(
        [(owner.view(np.uint32), _ANY), (exposure.mask, MASK_SAT)], n_sources, radius_pixel
    )


def find_free_places(
    planes: Sequence[tuple[NDArray[np.uint32], np.uint32]], n_places: int, radius_pixel: int
) -> FloatArray:
    """Choose positions, evenly over a frame, that are free of pixels with given bits.

    Parameters
    ----------
    planes : sequence of (uint32 ndarray, uint32)
        Planes (ny, nx), and the bits of each that are unwanted.
    n_places : int
        How many to choose.
    radius_pixel : int
        No unwanted pixel is nearer along x or y than this [pixel].

    Returns
    -------
    positions : float64 ndarray, shape (n, 2)
        x, y [pixel]; fewer than ``n_places`` on a crowded frame. The same for the same input.
    """
    ny, nx = planes[0][0].shape
    steps = np.arange(1, n_places * _TRIES_PER_SOURCE + 1)
    x, y = (0.5 + steps / _PLASTIC) % 1.0 * (nx - 1), (0.5 + steps / _PLASTIC**2) % 1.0 * (ny - 1)
    pixels = np.rint(np.stack([x, y], axis=-1)).astype(np.int64)
    free = np.ones(len(pixels), dtype=np.bool_)
    for plane, bits in planes:
        _drop_marked(plane, bits, pixels, radius_pixel, free)
    return np.stack([x[free], y[free]], axis=-1)[:n_places]


@compiled
def _drop_marked(plane, bits, pixels, radius, free):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Clear the mark of pixels x, y with an unwanted bit in the square round them, or at the border."""
    ny, nx = plane.shape
    rim = max(radius, 1)
    for k in range(len(pixels)):
        x, y = pixels[k, 0], pixels[k, 1]
        if not (rim <= x < nx - rim and rim <= y < ny - rim):
            free[k] = False
        if free[k]:
            found = np.uint32(0)
            for j in range(y - radius, y + radius + 1):
                for i in range(x - radius, x + radius + 1):
                    found |= plane[j, i] & bits
            free[k] = found == 0


def measure_sky_sources(
    exposure: Exposure,
    psf: Psf,
    segments: NDArray[np.int32] | None = None,
    *,
    pixels: Pixels | None = None,
    n_sources: int = 1000,
    radius_pixel: int = 8,
    aperture_radius_pixel: float = 6.0,
) -> dict[str, float]:
    """Measure fluxes on blank sky and compare their scatter with their errors.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky subtracted, in the unit of its variance.
    psf : Psf
        Point-spread function.
    segments : int32 ndarray, shape (ny, nx), optional
        Footprints of sources, above 0; none by default.
    pixels : Pixels, optional
        What `astra.images.measurement.make_pixels` makes of both, if that is at hand.
    n_sources, radius_pixel : int
        See `place_sky_sources`.
    aperture_radius_pixel : float
        Radius of the aperture [pixel].

    Returns
    -------
    figures : dict of str to float
        ``n_sky_sources``, and for PSF and aperture the robust scatter and the median of flux over error
        (``sky_psf_snr_scatter``, ``sky_psf_snr_median``, ``sky_aperture_snr_...``): 1 and 0 where errors and
        sky are right. Only the number if that is below 3. From 100 positions on, ``sky_psf_excess_adu`` is
        the noise of PSF fluxes beside that of their pixels; 0 where there is none.
    """
    if pixels is None:
        nothing = np.zeros(exposure.shape, dtype=np.int32)
        pixels = make_pixels(exposure, nothing if segments is None else segments)
    positions = place_sky_sources(exposure, pixels.owner, n_sources, radius_pixel)
    figures = {"n_sky_sources": float(len(positions))}
    if len(positions) < 3:
        return figures
    labels = np.zeros(len(positions), dtype=np.int64)
    fitted = fit_psf_fluxes(pixels, labels, positions, psf)
    flux, error, _ = aperture_sums(pixels, labels, positions, np.array([aperture_radius_pixel]))
    for name, snr in (("psf", fitted.flux / fitted.flux_err), ("aperture", (flux / error)[:, 0])):
        good = snr[np.isfinite(snr)]
        if len(good) >= 3:
            median = float(np.median(good))
            figures[f"sky_{name}_snr_median"] = median
            figures[f"sky_{name}_snr_scatter"] = SIGMA_PER_MAD * float(np.median(np.abs(good - median)))
    if np.isfinite(fitted.flux).sum() >= _MIN_FOR_EXCESS:
        figures["sky_psf_excess_adu"] = _excess_noise(fitted.flux, fitted.flux_err)
    return figures


def _excess_noise(flux: FloatArray, error: FloatArray) -> float:
    """Find what fluxes scatter beside their errors, defects clipped; 0 if they scatter less than those.

    A median deviation would see a part of it: undetected sources make a skewed distribution.
    """
    good = np.isfinite(flux)
    flux, error = flux[good], error[good]
    offset = np.abs(flux - np.median(flux))
    kept = offset <= _CLIP_SIGMA * SIGMA_PER_MAD * np.median(offset)
    return float(np.sqrt(max(np.var(flux[kept]) - np.mean(error[kept] ** 2), 0.0)))
