"""Difference of a matched pair of images, with its variance, mask and PSF.

The variance planes here are white equivalents, as in `astra.images.warp`: the noise power at long
wavelengths, which after decorrelation is also the variance of every single pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.images.decorrelation import decorrelate, noise_level
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
)
from astra.images.kernel import MatchingKernel
from astra.images.masks import grow_square
from astra.images.spatial import SpatialKernel, convolve_spatial

__all__ = [
    "apply_kernel",
    "blank_missing",
    "decorrelate",
    "fill_nan",
    "find_unrepaired",
    "grow_convolved_mask",
    "join_masks",
    "noise_level",
    "repair",
    "spread_variance",
    "subtract_template",
]

TEMPLATE_PLANES = MASK_BAD | MASK_NO_DATA | MASK_EDGE | MASK_SAT_TEMPLATE
REPAIR_SIGMA_PIXEL = 1.5
KERNEL_CORE_PIXEL = 2  # growth of the masks under a convolution: where most of the kernel's weight is


def fill_nan(image: NDArray[np.float32], value: float = 0.0) -> NDArray[np.float32]:
    """Replace pixels that are not finite."""
    return np.where(np.isfinite(image), image, np.float32(value)).astype(np.float32)


def find_unrepaired(mask: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Pixels with a defect that nobody has interpolated."""
    unrepaired: NDArray[np.bool_] = ((mask & (MASK_BAD | MASK_CR)) > 0) & ((mask & MASK_INTRP) == 0)
    return unrepaired


def repair(exposure: Exposure) -> Exposure:
    """Replace unrepaired defects by the mean of their good neighbours, so that no convolution spreads them.

    Their mask is left as it is; pixels without good neighbours become 0.
    """
    bad = find_unrepaired(exposure.mask)
    if not bad.any():
        return exposure
    good = ~bad & np.isfinite(exposure.image)
    total = ndimage.gaussian_filter(np.where(good, exposure.image, np.float32(0)), REPAIR_SIGMA_PIXEL)
    share = ndimage.gaussian_filter(good.astype(np.float32), REPAIR_SIGMA_PIXEL)
    mean = np.where(share > 1e-3, total / np.maximum(share, np.float32(1e-3)), np.float32(0))
    return exposure.replace(image=np.where(bad, mean, exposure.image).astype(np.float32))


def apply_kernel(exposure: Exposure, kernel: SpatialKernel) -> Exposure:
    """Convolve an exposure, with its variance and mask.

    Parameters
    ----------
    exposure : Exposure
    kernel : SpatialKernel

    Returns
    -------
    convolved : Exposure
        Variance: white equivalent, the input's spread over the kernel's weight and scaled by its squared sum.
        Mask: grown by the core of the kernel; EDGE where it reaches over the frame or into missing data.
    """
    image = convolve_spatial(fill_nan(exposure.image), kernel)
    ny, nx = exposure.shape
    stamp = kernel.at((nx - 1) / 2, (ny - 1) / 2)
    variance = spread_variance(exposure.variance, stamp, float(stamp.sum()) ** 2)
    missing = (exposure.mask & MASK_NO_DATA) > 0
    return exposure.replace(
        image=np.where(missing, np.float32(np.nan), image),
        variance=np.where(missing, np.float32(np.nan), variance),
        mask=grow_convolved_mask(exposure.mask, kernel.half_width),
    )


def spread_variance(
    variance: NDArray[np.float32], stamp: NDArray[np.float64], total: float
) -> NDArray[np.float32]:
    """Convolve a variance plane with the square of a stamp, rescaled to a given sum."""
    square = stamp**2
    square *= total / square.sum()
    finite = np.isfinite(variance)
    level = float(np.median(variance[finite])) if finite.any() else 0.0
    # Convolved above the sky level, so that the zero padding outside the frame is sky and not nothing.
    spread = convolve_spatial(fill_nan(variance, level) - np.float32(level), SpatialKernel(square[None]))
    floor = np.float32(1e-3 * level * total)
    result: NDArray[np.float32] = np.maximum(spread + np.float32(level * total), floor).astype(np.float32)
    return result


def grow_convolved_mask(mask: NDArray[np.uint32], half_width: int) -> NDArray[np.uint32]:
    """Mask after a convolution."""
    out = mask.copy()
    for bit in (int(b) for b in 1 << np.arange(12)):
        plane = (mask & np.uint32(bit)) > 0
        if bit != int(MASK_NO_DATA) and plane.any():
            out[grow_square(plane, KERNEL_CORE_PIXEL)] |= np.uint32(bit)
    frame = np.pad((mask & MASK_NO_DATA) > 0, 1, constant_values=True)
    out[grow_square(frame, half_width)[1:-1, 1:-1]] |= MASK_EDGE
    return out


def subtract_template(
    science: Exposure, template: Exposure, matching: MatchingKernel, *, convolve_science: bool
) -> tuple[Exposure, Exposure]:
    """Subtract a template on the grid of the science image.

    Parameters
    ----------
    science, template : Exposure, shape (ny, nx)
        Before the convolution.
    matching : MatchingKernel
        Convolves the template, or the science image if ``convolve_science``.
    convolve_science : bool
        Which of them is convolved.

    Returns
    -------
    matched_template, difference : Exposure
        In the flux scale of the science image. NaN and NO_DATA where either has no pixel.
    """
    sky = matching.background_image(science.shape)
    if convolve_science:
        ratio = np.float32(matching.flux_ratio)
        target = apply_kernel(science, matching.kernel)
        target = target.replace(image=target.image / ratio, variance=target.variance / ratio**2)
        matched = template.replace(
            image=(template.image - sky) / ratio, variance=template.variance / ratio**2
        )
    else:
        target = science
        matched = apply_kernel(template, matching.kernel)
        matched = matched.replace(image=matched.image + sky, psf=science.psf, metadata=science.metadata)
    mask = join_masks(target.mask, matched.mask)
    difference = science.replace(
        image=target.image - matched.image,
        variance=target.variance + matched.variance,
        mask=mask,
        psf=matched.psf,
    )
    return matched.replace(info=science.info), blank_missing(difference)


def join_masks(science: NDArray[np.uint32], template: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Join the masks: of the template, what cannot be repaired; its saturation has a plane of its own."""
    moved = np.where((template & MASK_SAT) > 0, MASK_SAT_TEMPLATE, np.uint32(0)).astype(np.uint32)
    joined: NDArray[np.uint32] = science | (template & TEMPLATE_PLANES) | moved
    return joined


def blank_missing(exposure: Exposure) -> Exposure:
    """Set NaN where there is no data, and NO_DATA where there is NaN."""
    missing = (exposure.mask & MASK_NO_DATA) > 0
    missing |= ~np.isfinite(exposure.image) | ~np.isfinite(exposure.variance)
    nan = np.float32(np.nan)
    return exposure.replace(
        image=np.where(missing, nan, exposure.image),
        variance=np.where(missing, nan, exposure.variance),
        mask=np.where(missing, exposure.mask | MASK_NO_DATA, exposure.mask).astype(np.uint32),
    )
