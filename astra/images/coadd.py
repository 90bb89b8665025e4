"""Combination of exposures into a template."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.errors import NoOverlapError
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_NO_DATA,
    MASK_SAT,
    Exposure,
    require_one_band,
)
from astra.images.psf import Psf
from astra.images.spatial import fit_spatial_kernel
from astra.images.warp import make_pixel_map, warp_exposure

REJECTED = MASK_BAD | MASK_NO_DATA | MASK_CR | MASK_EDGE
CLIP_SIGMA = 4.0
CLIP_FRACTION = 0.1  # of the value, added to its error: PSFs differ in the cores of stars


def coadd_exposures(exposures: list[Exposure]) -> Exposure:
    """Average exposures on the grid of the first.

    Parameters
    ----------
    exposures : list of Exposure
        Calibrated [nJy], background subtracted, with WCS and PSF.

    Returns
    -------
    template : Exposure
        Inverse-variance weighted mean of the pixels that agree with the median of three or more, with
        white-equivalent variance and the PSF averaged likewise; a mask bit where all used pixels have it, SAT
        where any has it. A single exposure is returned as it is.

    Raises
    ------
    DataError
        If they are not all of one band.
    ValueError
        If there is no exposure, or one lacks a WCS or a PSF.
    NoOverlapError
        If an exposure does not overlap the first.
    """
    if not exposures:
        message = "a template needs at least one exposure, found none"
        raise ValueError(message)
    first = exposures[0]
    if len(exposures) == 1:
        return first
    require_one_band(exposures)
    for exposure in exposures:
        if exposure.wcs is None or exposure.psf is None:
            message = f"an exposure of a template needs a WCS and a PSF (visit {exposure.info.visit})"
            raise ValueError(message)
    warped = [first, *(_warp_to(exposure, first) for exposure in exposures[1:])]
    image, variance, mask = _combine(warped)
    if not np.isfinite(image).any():
        message = f"{len(exposures)} exposures have no usable pixel in common with the first"
        raise NoOverlapError(message, n_exposures=len(exposures), visit=first.info.visit)
    return first.replace(image=image, variance=variance, mask=mask, psf=_combine_psfs(warped))


def _warp_to(exposure: Exposure, first: Exposure) -> Exposure:
    """Resample an exposure onto the grid of the first."""
    pixel_map = make_pixel_map(first.wcs, exposure.wcs, first.shape)
    return warp_exposure(exposure, pixel_map, first.wcs)


def _combine(
    exposures: list[Exposure],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]]:
    """Image, variance and mask of the weighted, clipped mean."""
    images = np.array([e.image for e in exposures])
    variances = np.array([e.variance for e in exposures])
    masks = np.array([e.mask for e in exposures])
    good = ((masks & REJECTED) == 0) & np.isfinite(images) & np.isfinite(variances) & (variances > 0)
    # A pixel that is bad in all of them, but not missing, keeps its value and its bits.
    hopeless = ~good.any(axis=0)
    good |= hopeless & np.isfinite(images) & (variances > 0)
    good &= ~_outliers(images, variances, good)
    weight = np.where(good, 1.0 / np.where(good, variances, 1.0), 0.0)
    total = weight.sum(axis=0)
    empty = total == 0
    safe = np.where(empty, 1.0, total)
    image = np.where(empty, np.nan, np.where(good, images * weight, 0.0).sum(axis=0) / safe)
    variance = np.where(empty, np.nan, 1.0 / safe)
    common = np.bitwise_and.reduce(np.where(good, masks, np.uint32(0xFFFFFFFF)), axis=0)
    mask = common | np.bitwise_or.reduce(np.where(good, masks & MASK_SAT, np.uint32(0)), axis=0)
    mask = np.where(empty, MASK_NO_DATA, mask).astype(np.uint32)
    return image.astype(np.float32), variance.astype(np.float32), mask


def _outliers(
    images: NDArray[np.float32], variances: NDArray[np.float32], good: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Pixels far from the median of at least three."""
    if len(images) < 3:
        return np.zeros_like(good)
    # Unusable pixels go to the end of the order, and the middle is that of the others.
    order = np.sort(np.where(good, images, np.inf), axis=0)
    n_good = good.sum(axis=0)
    pair = [np.clip((n_good - k) // 2, 0, None)[None] for k in (1, 0)]
    middle = np.mean([np.take_along_axis(order, index, axis=0)[0] for index in pair], axis=0)
    middle = np.where(n_good >= 3, middle, 0.0)
    width = np.sqrt(np.where(good, variances, 0.0)) + CLIP_FRACTION * np.abs(middle)
    clipped: NDArray[np.bool_] = good & (n_good >= 3) & (np.abs(images - middle) > CLIP_SIGMA * width)
    return clipped


def _combine_psfs(exposures: list[Exposure]) -> Psf:
    """Mean PSF, weighted as the sky pixels of the exposures are on average."""
    psfs = [e.psf for e in exposures if e.psf is not None]
    weights = np.array([1.0 / float(np.nanmedian(e.variance)) for e in exposures])
    weights /= weights.sum()
    size = min(psf.size for psf in psfs)

    def stamp_at(x: float, y: float) -> NDArray[np.float64]:
        total = np.zeros((size, size))
        for psf, weight in zip(psfs, weights, strict=True):
            margin = (psf.size - size) // 2
            stamp = psf.stamp(x, y)[margin : psf.size - margin, margin : psf.size - margin]
            total += weight * stamp
        return total

    return fit_spatial_kernel(stamp_at, exposures[0].shape, max(psf.order for psf in psfs)).as_psf()
