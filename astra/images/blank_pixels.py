"""Blank sky of several images of one field: pixels without a source or a defect in any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.images.dia_pixels import IGNORED
from astra.images.exposure import Exposure
from astra.images.masks import grow_square

BLANK_SNR = 3.0  # of the sum of 5 x 5 pixels
MARGIN_PIXEL = 2  # half of those 5
GROW_PIXEL = 5  # of the sources
SAMPLE_LINES = 16  # neighbouring lines of one part of a sample
SAMPLE_PIXELS = 500_000  # tell a scatter to some thousandths


def find_blank_sky(images: Sequence[Exposure], grow_pixel: int = GROW_PIXEL) -> NDArray[np.bool_]:
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


@njit(cache=True)
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
    margin = MARGIN_PIXEL + GROW_PIXEL
    for first, following in pairwise(edges):
        end = min(first + SAMPLE_LINES, following)
        top, bottom = max(first - margin, 0), min(end + margin, ny)
        near = np.s_[top:bottom]
        parts = [e.replace(image=e.image[near], variance=e.variance[near], mask=e.mask[near]) for e in images]
        yield slice(first, end), find_blank_sky(parts)[first - top : end - top]
