"""Variance of single pixels after a convolution, from the variance planes before it.

The noise that a pixel had goes with the square of the kernel: out(x) = sum_d a(d)**2 V(x - d). Over smooth
sky that is the sum of the squares; only near sources the shape of the squares matters, and only there it is
summed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astra.compiled import compiled

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
    windows = np.empty((2, BLOCK_PIXEL, BLOCK_PIXEL), dtype=np.float32)
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            part = (y0 + y1) * parts[0] // (2 * ny), (x0 + x1) * parts[1] // (2 * nx)
            changes = [
                copy_excess(plane, np.float32(level), y0 - half, x0 - half, window)
                for plane, level, window in zip(planes, levels, windows, strict=True)
            ]
            smooth = all(c <= MAX_CHANGE * level for c, level in zip(changes, levels, strict=True))
            added = _add_spread(windows, totals[part], None if smooth else transforms[part])
            inside = added[half : half + y1 - y0, half : half + x1 - x0]
            floor = np.float32(totals[part] @ np.array(levels))
            np.maximum(inside + floor, np.float32(MIN_VARIANCE) * floor, out=out[y0:y1, x0:x1])
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


@compiled(fastmath={"nsz", "reassoc"})
def copy_excess(plane, level, y0, x0, window):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill a window with the part of a plane over its level, and return its range.

    0 where the plane is missing or beyond the frame; (y0, x0) is the window's first pixel.
    """
    ny, nx = plane.shape
    window[:] = 0.0
    low, high = np.float32(0.0), np.float32(0.0)
    left, right = max(-x0, 0), min(window.shape[1], nx - x0)
    for j in range(max(-y0, 0), min(window.shape[0], ny - y0)):
        row, out = plane[y0 + j, x0 + left : x0 + right], window[j, left:right]
        for i in range(len(row)):
            value = row[i] - level
            value = value if abs(value) < np.float32(np.inf) else np.float32(0.0)
            out[i] = value
            low = value if value < low else low
            high = value if value > high else high
    return high - low


def _add_spread(
    windows: NDArray[np.float32], totals: NDArray[np.float64], transforms: NDArray[np.complex64] | None
) -> NDArray[np.float32]:
    """Add two windows, spread by the squares, or times their sums where there is nothing to spread."""
    if transforms is None:
        scaled: NDArray[np.float32] = np.float32(totals[0]) * windows[0] + np.float32(totals[1]) * windows[1]
        return scaled
    spread = fft.rfft2(windows[0])
    spread *= transforms[0]
    spread += fft.rfft2(windows[1]) * transforms[1]
    return np.asarray(fft.irfft2(spread, s=(BLOCK_PIXEL, BLOCK_PIXEL), overwrite_x=True), dtype=np.float32)
