"""Operations on masks of whole images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grow_square(mask: NDArray[np.bool_], radius_pixel: int) -> NDArray[np.bool_]:
    """Grow the True areas of a mask by a square of half-width ``radius_pixel`` [pixel].

    Parameters
    ----------
    mask : bool ndarray, shape (ny, nx)
        Left as it is.
    radius_pixel : int
        0 returns a copy.

    Returns
    -------
    grown : bool ndarray, shape (ny, nx)
    """
    ny, nx = mask.shape
    reach_y, reach_x = min(radius_pixel, ny), min(radius_pixel, nx)
    padded = np.zeros((ny + 2 * reach_y, nx + 2 * reach_x), dtype=bool)
    padded[reach_y : reach_y + ny, reach_x : reach_x + nx] = mask
    _any_of_next(padded, 2 * reach_y + 1)
    grown = padded[:ny]
    _any_of_next(grown.T, 2 * reach_x + 1)
    return grown[:, :nx].copy()


def _any_of_next(mask: NDArray[np.bool_], n: int) -> None:
    """Set each element to whether any of the n that begin with it along the first axis is True, in place.

    Windows are doubled, as van Herk (1992, Pattern Recognition Letters 13, 517) has it for lines: the number
    of passes is the logarithm of n. Beyond the end nothing is True.
    """
    width = 1
    while width < n:
        step = min(width, n - width)
        mask[:-step] |= mask[step:]
        width += step
