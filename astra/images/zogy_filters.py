"""Filters of the proper difference image (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27).

With PSFs P_n, P_r, noise powers N_n, N_r (white in the paper; here of any colour) and the flux ratio beta of
the template, the proper difference of a science image n and a template r is

    D = (beta P_r n - P_n r) / sqrt(beta**2 N_n |P_r|**2 + N_r |P_n|**2),

white noise of unit variance. Here it is divided by its flux scale F = beta / sqrt(beta**2 N_n(0) + N_r(0)),
so that it has the flux scale of the science image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.decorrelation import FOURIER_SIDE, NoiseModel, stamp_from_transform, transform_stamp

SMALL_RESPONSE = 2e-3  # of either PSF: below, both are nothing but the errors of their fit
FILTER_HALF_WIDTH = 25
FADE_PIXEL = 5  # over which the filters end


@dataclass(frozen=True)
class ZogyFilters:
    """Filters at one position.

    Parameters
    ----------
    science, template : float64 ndarray, shape (51, 51)
        Of sum 1 and 1 / beta. The proper difference is that of the two images, each through its filter.
    """

    science: NDArray[np.float64]
    template: NDArray[np.float64]


def make_filters(
    science_psf: NDArray[np.float64],
    template_psf: NDArray[np.float64],
    noise: NoiseModel,
    flux_ratio: float,
    shift: tuple[float, float] = (0.0, 0.0),
) -> ZogyFilters:
    """Make the filters of the proper difference.

    Parameters
    ----------
    science_psf, template_psf : ndarray, shape (size, size)
        Of unit sum, at one position.
    noise : NoiseModel
        Its *other* is the science image, its *convolved* the template [nJy**2].
    flux_ratio : float
        Flux of a star in the template over that in the science image (beta).
    shift : tuple of float
        Along x and y, from the stars of the template to those of the science image [pixel].

    Returns
    -------
    filters : ZogyFilters
    """
    p_n, p_r = _supported(_pad(science_psf), _pad(template_psf))
    n_n = noise.other_variance * noise.other_power
    n_r = noise.convolved_variance * noise.convolved_power
    denominator = np.sqrt(flux_ratio**2 * n_n * np.abs(p_r) ** 2 + n_r * np.abs(p_n) ** 2)
    flux_scale = flux_ratio / np.sqrt(flux_ratio**2 * n_n[0, 0] + n_r[0, 0])
    science = flux_ratio * p_r / (flux_scale * denominator)
    template = p_n / (flux_scale * denominator) * _phase(shift)
    return ZogyFilters(_cut(science, 1.0), _cut(template, 1.0 / flux_ratio))


def _pad(stamp: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Fourier transform of a PSF, cut to what fits."""
    margin = max(stamp.shape[0] // 2 - (FOURIER_SIDE // 2 - 1), 0)
    inner = stamp[margin : stamp.shape[0] - margin, margin : stamp.shape[1] - margin]
    return transform_stamp(inner / inner.sum())


def _supported(
    p_n: NDArray[np.complex128], p_r: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Let both PSFs end in the same small response, where neither has any.

    Their ratio there is that of their errors, and filters made of it would ring all over the image. With one
    response for both the proper difference is the plain one at these frequencies.
    """
    response = (np.abs(p_n) ** 2 + np.abs(p_r) ** 2) / (2.0 * SMALL_RESPONSE**2)
    floor = SMALL_RESPONSE * np.exp(-0.5 * response)
    return p_n + floor, p_r + floor


def _phase(shift: tuple[float, float]) -> NDArray[np.complex128]:
    """Transform of a shift by (x, y) [pixel]; the unpaired frequencies are not shifted."""
    f = np.fft.fftfreq(FOURIER_SIDE)
    f[FOURIER_SIDE // 2] = 0.0
    phase: NDArray[np.complex128] = np.exp(-2j * np.pi * (f[None, :] * shift[0] + f[:, None] * shift[1]))
    return phase


def _cut(transform: NDArray[np.complex128], total: float) -> NDArray[np.float64]:
    """Stamp of a filter, fading out at its edge, of given sum."""
    stamp = stamp_from_transform(transform, FILTER_HALF_WIDTH)
    distance = np.abs(np.arange(-FILTER_HALF_WIDTH, FILTER_HALF_WIDTH + 1))
    fade = np.clip((FILTER_HALF_WIDTH + 1 - distance) / FADE_PIXEL, 0.0, 1.0)
    stamp = stamp * np.outer(fade, fade)
    scaled: NDArray[np.float64] = stamp * (total / stamp.sum())
    return scaled
