"""Subtraction of a pair in which neither image is the sharper one, and its score image.

The science image is correlated with its own PSF before the template is matched to it, so that no kernel
has to sharpen. The difference is then filtered to the signal to noise of a point source (score), as the
matched filter of the whitened difference would be, without a division by a PSF (Reiss & Lupton 2016,
DMTN-021, section 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.images.convolved_planes import spread_variance
from astra.images.decorrelation import (
    FOURIER_SIDE,
    noise_level,
    own_power,
    stamp_from_transform,
    transform_stamp,
)
from astra.images.exposure import Exposure
from astra.images.psf import Psf
from astra.images.spatial import SpatialKernel, convolve_spatial, fit_spatial_kernel
from astra.images.subtraction import apply_kernel

MAX_PSF_ORDER = 3  # of the PSF after the correlation
MIN_NOISE = 1e-9  # of the noise power over its largest value: keeps a division finite


def preconvolve(science: Exposure, half_width: int) -> Exposure:
    """Correlate a science image with its PSF.

    Parameters
    ----------
    science : Exposure
        With a PSF.
    half_width : int
        To which the PSF is cut [pixel].

    Returns
    -------
    preconvolved : Exposure
        With its own PSF and the power of its noise; variance: white equivalent.

    Raises
    ------
    ValueError
        If the science image has no PSF.
    """
    psf, half = _psf_of(science), half_width
    flipped = fit_spatial_kernel(
        lambda x, y: cut_psf(psf, x, y, half)[::-1, ::-1], science.shape, min(psf.order, 2)
    )
    wide = min(psf.size // 2, FOURIER_SIDE // 2 - 1)

    def correlated(x: float, y: float) -> NDArray[np.float64]:
        transform = transform_stamp(cut_psf(psf, x, y, wide)) * transform_stamp(flipped.at(x, y))
        return stamp_from_transform(transform, wide)

    correlated_psf = fit_spatial_kernel(correlated, science.shape, min(2 * psf.order, MAX_PSF_ORDER)).as_psf()
    return apply_kernel(science, flipped).replace(psf=correlated_psf)


def cut_psf(psf: Psf, x: float, y: float, half_width: int) -> NDArray[np.float64]:
    """Stamp of a PSF at a position [pixel], at most of a half-width [pixel], unit sum."""
    stamp = psf.stamp(x, y)
    margin = max(len(stamp) // 2 - half_width, 0)
    inner = stamp[margin : len(stamp) - margin, margin : len(stamp) - margin]
    unit: NDArray[np.float64] = inner / inner.sum()
    return unit


def make_score(
    difference: Exposure, science: Exposure, template: Exposure, kernel: SpatialKernel
) -> Exposure:
    """Filter a difference of a preconvolved image to the signal to noise of a point source.

    Parameters
    ----------
    difference : Exposure
        Preconvolved science minus matched template, not whitened.
    science : Exposure
        Before its correlation, with PSF.
    template : Exposure
        Before it was matched.
    kernel : SpatialKernel
        The matching kernel.

    Returns
    -------
    score : Exposure
        Image: signal to noise, for the variances of both images at and round each pixel; variance 1.
    """
    sides = (science, template)
    levels = [noise_level(exposure) * own_power(exposure) for exposure in sides]
    psf, half = _psf_of(science), kernel.half_width

    def transforms_at(x: float, y: float) -> list[NDArray[np.complex128]]:
        return [transform_stamp(cut_psf(psf, x, y, half)[::-1, ::-1]), transform_stamp(kernel.at(x, y))]

    def filter_at(x: float, y: float) -> NDArray[np.float64]:
        transforms = transforms_at(x, y)
        power = sum(
            level * np.abs(transform) ** 2 for level, transform in zip(levels, transforms, strict=True)
        )
        # A point source has the transform |P|**2 here, which is real.
        matched = np.abs(transforms[0]) ** 2 / np.maximum(power, MIN_NOISE * np.max(power))
        scale = np.sqrt(np.mean(matched**2 * power))
        return stamp_from_transform((matched / scale).astype(complex), half)

    score_filter = fit_spatial_kernel(filter_at, difference.shape, 2)
    image = convolve_spatial(difference.image, score_filter)
    centre = _centre(difference)
    response = transform_stamp(score_filter.at(*centre))
    variance = np.zeros(difference.shape, np.float32)
    for exposure, transform in zip(sides, transforms_at(*centre), strict=True):
        both = transform * response
        total = float(np.mean(np.abs(both) ** 2 * own_power(exposure)))
        variance += spread_variance(
            exposure.variance, stamp_from_transform(both, FOURIER_SIDE // 2 - 1), total
        )
    np.divide(image, np.sqrt(np.maximum(variance, np.float32(1e-30), out=variance), out=variance), out=image)
    image[~np.isfinite(difference.image)] = np.nan
    one = np.broadcast_to(np.float32(1), difference.shape)
    return difference.replace(image=image, variance=one, psf=None, noise_power=None)


def _psf_of(exposure: Exposure) -> Psf:
    """PSF of an exposure that must have one."""
    if exposure.psf is None:
        message = "a science image cannot be correlated with its PSF, since it has none"
        raise ValueError(message)
    return exposure.psf


def _centre(exposure: Exposure) -> tuple[float, float]:
    """Middle of the frame x, y [pixel]."""
    ny, nx = exposure.shape
    return (nx - 1) / 2, (ny - 1) / 2
