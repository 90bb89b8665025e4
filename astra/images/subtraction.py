"""Difference of a matched pair of images, with its variance, mask and PSF.

The variance planes here are white equivalents, as in `astra.images.warp`: the noise power at long
wavelengths, which after decorrelation is also the variance of every single pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.convolved_planes import convolved_mask, fill_defects, spread_variance
from astra.images.decorrelation import noise_level, own_power, transform_stamp
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_HIGH_VARIANCE,
    MASK_INJECTED,
    MASK_INJECTED_CORE,
    MASK_INJECTED_CORE_TEMPLATE,
    MASK_INJECTED_TEMPLATE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
)
from astra.images.kernel import MatchingKernel
from astra.images.spatial import SpatialKernel, convolve_spatial

DEFECTS = MASK_BAD | MASK_CR
TEMPLATE_PLANES = MASK_BAD | MASK_NO_DATA | MASK_EDGE | MASK_SAT_TEMPLATE
TEMPLATE_PLANES |= MASK_INJECTED_TEMPLATE | MASK_INJECTED_CORE_TEMPLATE | MASK_HIGH_VARIANCE
# What has another plane if it is the template's.
SATURATED_AND_INJECTED = (
    (MASK_SAT, MASK_SAT_TEMPLATE),
    (MASK_INJECTED, MASK_INJECTED_TEMPLATE),
    (MASK_INJECTED_CORE, MASK_INJECTED_CORE_TEMPLATE),
)
REPAIR_SIGMA_PIXEL = 1.5


def fill_nan(image: NDArray[np.float32], value: float = 0.0) -> NDArray[np.float32]:
    """Replace pixels that are not finite."""
    return np.where(np.isfinite(image), image, np.float32(value)).astype(np.float32)


@compiled
def find_unrepaired(mask):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Pixels with a defect that nobody has interpolated, shape (ny, nx)."""
    found = np.empty(mask.shape, np.bool_)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            found[y, x] = ((mask[y, x] & DEFECTS) != 0) & ((mask[y, x] & MASK_INTRP) == 0)
    return found


def repair(exposure: Exposure) -> Exposure:
    """Replace unrepaired defects by the mean of their good neighbours, so that no convolution spreads them.

    Their mask is left as it is; pixels without good neighbours become 0.
    """
    bad = find_unrepaired(exposure.mask)
    if not bad.any():
        return exposure
    return exposure.replace(image=fill_defects(exposure.image, bad, REPAIR_SIGMA_PIXEL))


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
        Power of the noise: in the middle of the frame.
    """
    image = convolve_spatial(exposure.image, kernel)
    ny, nx = exposure.shape
    stamp = kernel.at((nx - 1) / 2, (ny - 1) / 2)
    variance = spread_variance(exposure.variance, stamp, float(stamp.sum()) ** 2)
    _blank(exposure.mask, image, variance)
    mask = convolved_mask(exposure.mask, kernel.half_width)
    power = own_power(exposure) * np.abs(transform_stamp(stamp)) ** 2
    return exposure.replace(image=image, variance=variance, mask=mask, noise_power=power / power[0, 0])


@compiled
def _blank(mask, image, variance):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set image and variance to NaN where there is no data."""
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] & MASK_NO_DATA:
                image[y, x] = np.nan
                variance[y, x] = np.nan


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
        In the flux scale of the science image, with the power of their noise. NaN and NO_DATA where either
        has no pixel.
    """
    if convolve_science:
        ratio = np.float32(matching.flux_ratio)
        target = apply_kernel(science, matching.kernel)
        np.divide(target.image, ratio, out=target.image)
        np.divide(target.variance, ratio**2, out=target.variance)
        matched = template.replace(
            image=template.image / ratio, variance=template.variance / ratio**2, metadata=science.metadata
        )
        matching.add_background(matched.image, -1.0 / float(ratio))
    else:
        target = science
        matched = apply_kernel(template, matching.kernel)
        matched = matched.replace(psf=science.psf, metadata=science.metadata)
        matching.add_background(matched.image)
    planes = (target.image, target.variance, target.mask)
    # The planes of a convolved science image are ours.
    image, variance, mask = out = planes if convolve_science else tuple(map(np.empty_like, planes))
    power = _joint_power(target, matched)
    _subtract(planes, (matched.image, matched.variance, matched.mask), out)
    difference = science.replace(
        image=image, variance=variance, mask=mask, psf=matched.psf, noise_power=power
    )
    return matched.replace(info=science.info), difference


def _joint_power(one: Exposure, other: Exposure) -> NDArray[np.float64] | None:
    """Power spectrum of the noise of a difference of two exposures, 1 at zero frequency."""
    power = noise_level(one) * own_power(one) + noise_level(other) * own_power(other)
    return power / power[0, 0] if power[0, 0] > 0 else None


@compiled
def _subtract(science, template, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Subtract two triples of image, variance and mask; NaN and NO_DATA where either has no pixel.

    Masks are joined as in `join_masks`.
    """
    for y in range(out[0].shape[0]):
        _subtract_row(
            (science[0][y], science[1][y], science[2][y]),
            (template[0][y], template[1][y], template[2][y]),
            (out[0][y], out[1][y], out[2][y]),
        )


@part
def _subtract_row(science, template, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Subtract a row; without branches, so that several pixels are done at a time."""
    nan, limit = np.float32(np.nan), np.float32(np.inf)
    for x in range(len(out[0])):
        image, variance = science[0][x] - template[0][x], science[1][x] + template[1][x]
        bits = science[2][x] | (template[2][x] & TEMPLATE_PLANES)
        for own, of_template in SATURATED_AND_INJECTED:
            bits |= of_template if template[2][x] & own else np.uint32(0)
        good = ((bits & MASK_NO_DATA) == 0) & (abs(image) < limit) & (abs(variance) < limit)
        out[0][x] = image if good else nan
        out[1][x] = variance if good else nan
        out[2][x] = bits if good else bits | MASK_NO_DATA


def join_masks(science: NDArray[np.uint32], template: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Join the masks: of the template, what cannot be repaired, is saturated, noisy or was injected.

    What is saturated and what was injected have planes of their own, as in the LSST stack.
    """
    joined: NDArray[np.uint32] = science | (template & TEMPLATE_PLANES)
    for own, of_template in SATURATED_AND_INJECTED:
        joined |= np.where((template & own) > 0, of_template, np.uint32(0))
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
