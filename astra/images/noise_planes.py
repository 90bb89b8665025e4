"""Variance of single pixels after a convolution, from the variance planes before it.

The noise that a pixel had goes with the square of the kernel: out(x) = sum_d a(d)**2 V(x - d). Over smooth
sky that is the sum of the squares; only near sources the shape of the squares matters, and only there it is
summed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

BLOCK_PIXEL = 256
KEPT_HALF_WIDTH = 8  # of the squares: beyond is less than a hundredth of them
MAX_CHANGE = 0.02  # of a variance within a block that counts as smooth, over its level
MIN_VARIANCE = 1e-3  # over the level of the result


def spread_planes(
    planes: tuple[NDArray[np.float32], NDArray[np.float32]],
    levels: tuple[float, float],
    squares: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Add up two variance planes, each spread by a kernel's square.

    Parameters
    ----------
    planes : tuple of two float32 ndarrays, shape (ny, nx)
        Variance of the inputs.
    levels : tuple of two floats
        What stands for the variance where it is missing or beyond the frame.
    squares : float64 ndarray, shape (n_y, n_x, 2, size, size)
        The squared kernels at the centres of n_y by n_x equal parts of the frame.

    Returns
    -------
    variance : float32 ndarray, shape (ny, nx)
    """
    kept, totals = _crop(squares), squares.sum(axis=(3, 4))
    transforms = _transforms(kept)
    half = kept.shape[-1] // 2
    step = BLOCK_PIXEL - 2 * half
    (ny, nx), parts = planes[0].shape, squares.shape[:2]
    out = np.empty((ny, nx), dtype=np.float32)
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            part = (y0 + y1) * parts[0] // (2 * ny), (x0 + x1) * parts[1] // (2 * nx)
            excess = [
                _excess(plane, level, (y0 - half, x0 - half))
                for plane, level in zip(planes, levels, strict=True)
            ]
            out[y0:y1, x0:x1] = _add_spread(excess, levels, totals[part], transforms[part], half)[
                : y1 - y0, : x1 - x0
            ]
    return out


def _crop(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the core of the squares, scaled to their full sum."""
    middle, half = squares.shape[-1] // 2, min(KEPT_HALF_WIDTH, squares.shape[-1] // 2)
    window = slice(middle - half, middle + half + 1)
    core = squares[..., window, window]
    scale = squares.sum(axis=(3, 4)) / np.maximum(core.sum(axis=(3, 4)), 1e-30)
    kept: NDArray[np.float64] = core * scale[..., None, None]
    return kept


def _transforms(kept: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Fourier transforms of the squares, origin at their middle."""
    size = kept.shape[-1]
    stamps = np.zeros((*kept.shape[:3], BLOCK_PIXEL, BLOCK_PIXEL), dtype=np.float32)
    stamps[..., :size, :size] = kept
    transforms: NDArray[np.complex64] = fft.rfft2(np.roll(stamps, (-(size // 2),) * 2, axis=(3, 4)))
    return transforms


def _excess(plane: NDArray[np.float32], level: float, corner: tuple[int, int]) -> NDArray[np.float32]:
    """Part of a plane over its level; 0 where it is missing or beyond the frame."""
    ny, nx = plane.shape
    ya, xa = max(corner[0], 0), max(corner[1], 0)
    yb, xb = min(corner[0] + BLOCK_PIXEL, ny), min(corner[1] + BLOCK_PIXEL, nx)
    window = np.zeros((BLOCK_PIXEL, BLOCK_PIXEL), dtype=np.float32)
    inside = window[ya - corner[0] : yb - corner[0], xa - corner[1] : xb - corner[1]]
    np.subtract(plane[ya:yb, xa:xb], np.float32(level), out=inside)
    inside[~np.isfinite(inside)] = 0.0
    return window


def _add_spread(
    excess: list[NDArray[np.float32]],
    levels: tuple[float, float],
    totals: NDArray[np.float64],
    transforms: NDArray[np.complex64],
    half: int,
) -> NDArray[np.float32]:
    """Variance of one block: by the squares, or by their sums where nothing changes."""
    inside = slice(half, BLOCK_PIXEL - half)
    floor = np.float32(totals @ np.array(levels))
    changes = [float(np.ptp(window)) for window in excess]
    if all(change <= MAX_CHANGE * level for change, level in zip(changes, levels, strict=True)):
        added = np.float32(totals[0]) * excess[0] + np.float32(totals[1]) * excess[1]
    else:
        spread = fft.rfft2(excess[0]) * transforms[0] + fft.rfft2(excess[1]) * transforms[1]
        added = fft.irfft2(spread, s=(BLOCK_PIXEL, BLOCK_PIXEL))
    variance: NDArray[np.float32] = np.maximum(
        added[inside, inside] + floor, np.float32(MIN_VARIANCE) * floor
    )
    return variance
