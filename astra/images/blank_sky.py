"""Pixels that hold nothing but sky and noise.

`find_source_free` does not trust the level of a variance plane, so that it can be used to judge one;
`find_blank_sky` does, for several images whose variance is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.compiled import compiled
from astra.images.dia_pixels import IGNORED
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
BLANK_SNR = 3.0  # of the sum of 5 x 5 pixels
MARGIN_PIXEL = 2  # half of those 5
SAMPLE_LINES = 16  # neighbouring lines of one part of a sample
SAMPLE_PIXELS = 500_000  # tell a scatter to some thousandths


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


def find_blank_sky(images: Sequence[Exposure], grow_pixel: int = SOURCE_GROW_PIXEL) -> NDArray[np.bool_]:
    """Pixels without a source or a defect in any of the images.

    Parameters
    ----------
    images : sequence of Exposure
        On one grid, background subtracted.
    grow_pixel : int, optional
        Growth of the sources.

    Returns
    -------
    blank : bool ndarray, shape (ny, nx)
    """
    occupied = np.zeros(images[0].shape, dtype=bool)
    for exposure in images:
        bad = ((exposure.mask & IGNORED) > 0) | ~np.isfinite(exposure.image)
        snr = np.pad(_pixel_snr(exposure.image, exposure.variance, bad), MARGIN_PIXEL, mode="symmetric")
        _mark_occupied(snr, np.float32(BLANK_SNR), occupied)
        occupied |= bad
    return ~grow_square(occupied, grow_pixel)


def _pixel_snr(
    image: NDArray[np.float32], variance: NDArray[np.float32], bad: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Signal to noise of single pixels, 0 for bad ones."""
    safe = np.maximum(np.where(bad, np.float32(1), variance), np.float32(1e-30))
    snr: NDArray[np.float32] = (np.where(bad, np.float32(0), image) / np.sqrt(safe)).astype(np.float32)
    return snr


@compiled
def _mark_occupied(snr, threshold, occupied):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Mark pixels whose 5 x 5 neighbours are too bright together; their sum scatters by 5."""
    ny, nx = occupied.shape
    columns = np.empty(snr.shape[1], dtype=np.float32)
    limit = np.float32(5.0) * threshold
    for y in range(ny):
        a, b, c, d, e = snr[y], snr[y + 1], snr[y + 2], snr[y + 3], snr[y + 4]
        for x in range(len(columns)):
            columns[x] = a[x] + b[x] + c[x] + d[x] + e[x]
        line = occupied[y]
        for x in range(nx):
            total = columns[x] + columns[x + 1] + columns[x + 2] + columns[x + 3] + columns[x + 4]
            line[x] |= total > limit


def sample_blank_sky(images: Sequence[Exposure]) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Find the blank sky of evenly spaced parts of a frame, which tell its noise as well as all of it.

    Yields
    ------
    lines : slice
        Lines of the part.
    blank : bool ndarray, shape (n_lines, nx)
        See `find_blank_sky`; the same numbers.
    """
    ny, nx = images[0].shape
    n_parts = max(1, int(np.ceil(min(SAMPLE_PIXELS, ny * nx) / (SAMPLE_LINES * nx))))
    edges = np.linspace(0, ny, n_parts + 1).astype(int)
    margin = MARGIN_PIXEL + SOURCE_GROW_PIXEL
    for first, following in pairwise(edges):
        end = min(first + SAMPLE_LINES, following)
        top, bottom = max(first - margin, 0), min(end + margin, ny)
        near = np.s_[top:bottom]
        parts = [e.replace(image=e.image[near], variance=e.variance[near], mask=e.mask[near]) for e in images]
        yield slice(first, end), find_blank_sky(parts)[first - top : end - top]
