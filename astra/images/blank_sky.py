"""Pixels that hold nothing but sky and noise, told from the image alone.

Nothing here trusts the level of a variance plane, so that it can be used to judge one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_EDGE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    MASK_SUSPECT,
    Exposure,
)
from astra.images.masks import grow_square
from astra.images.robust import SIGMA_PER_MAD

NOT_SKY = (
    MASK_BAD
    | MASK_CR
    | MASK_DETECTED
    | MASK_DETECTED_NEGATIVE
    | MASK_EDGE
    | MASK_INTRP
    | MASK_NO_DATA
    | MASK_SAT
    | MASK_SAT_TEMPLATE
    | MASK_SUSPECT
)
SMOOTHING_PIXEL = 5
SOURCE_SIGMA = 4.0
SOURCE_GROW_PIXEL = 5
N_PASSES = 2  # the sources of the first widen the scatter that finds them
PART_PIXEL = 512  # side of the parts of a large frame that are looked at
PARTS_PER_AXIS = 3
MIN_SHARE = 0.05  # of a box that must be sky for its mean to be used


def find_source_free(exposure: Exposure, grow_pixel: int = SOURCE_GROW_PIXEL) -> NDArray[np.bool_]:
    """Find pixels without a source or a defect.

    A source is where the mean of 5 x 5 pixels stands out of the scatter of such means. Only those above the
    sky count: cutting the noise on both sides would lessen it.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
    grow_pixel : int, optional
        Growth of the sources [pixel].

    Returns
    -------
    free : bool ndarray, shape (ny, nx)
    """
    usable: NDArray[np.bool_] = ((exposure.mask & NOT_SKY) == 0) & np.isfinite(exposure.image)
    usable &= np.isfinite(exposure.variance) & (exposure.variance > 0)
    if not usable.any():
        return usable
    sigma = np.sqrt(np.where(usable, exposure.variance, np.float32(1)))
    level = np.float32(np.median(exposure.image[usable][::7]))
    ratio = np.where(usable, (exposure.image - level) / sigma, np.float32(0))
    smooth = ndimage.uniform_filter(ratio, SMOOTHING_PIXEL)
    free = usable.copy()
    for _ in range(N_PASSES):
        sample = smooth[free][::7]
        middle = float(np.median(sample)) if sample.size else 0.0
        scatter = SIGMA_PER_MAD * float(np.median(np.abs(sample - middle))) if sample.size else 0.0
        free = usable & ~grow_square(smooth > middle + SOURCE_SIGMA * scatter, grow_pixel)
    return free


def subtract_sky_mean(
    image: NDArray[np.float32], free: NDArray[np.bool_], side_pixel: int
) -> NDArray[np.float32]:
    """Subtract from every pixel the weighted mean of the source-free pixels round it.

    The weight falls linearly along both axes: unlike a box, it leaves shorter waves as they are.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Finite where ``free``.
    free : bool ndarray, shape (ny, nx)
        Pixels that count.
    side_pixel : int
        Full width at half maximum of the weight [pixel].

    Returns
    -------
    flat : float32 ndarray, shape (ny, nx)
        0 where ``free`` is False; pixels with next to no sky round them keep their level.
    """
    filled = np.where(free, image, np.float32(0))
    total, share = (_triangle_mean(plane, side_pixel) for plane in (filled, free.astype(np.float32)))
    mean = np.where(share > MIN_SHARE, total / np.maximum(share, np.float32(1e-6)), np.float32(0))
    flat: NDArray[np.float32] = np.where(free, filled - mean, np.float32(0)).astype(np.float32)
    return flat


def _triangle_mean(image: NDArray[np.float32], side_pixel: int) -> NDArray[np.float32]:
    """Mean with triangular weights, zero outside the frame."""
    once = ndimage.uniform_filter(image, side_pixel, mode="constant")
    mean: NDArray[np.float32] = ndimage.uniform_filter(once, side_pixel, mode="constant")
    return mean


def sample_parts(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Nine parts of 512 pixels, spread evenly over a large frame (ny, nx), or all of a small one."""
    if shape[0] * shape[1] <= (PARTS_PER_AXIS * PART_PIXEL) ** 2:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    rows, columns = (
        np.linspace(0, max(length - PART_PIXEL, 0), PARTS_PER_AXIS).astype(int).tolist() for length in shape
    )
    return [(slice(y, y + PART_PIXEL), slice(x, x + PART_PIXEL)) for y in rows for x in columns]
