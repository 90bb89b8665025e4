"""Images at a lower resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled


def block_means(image: NDArray[np.float32], step: int) -> NDArray[np.float64]:
    """Mean of square blocks of an image over their finite pixels.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Numbers in any unit.
    step : int
        Side of the blocks [pixel]; rows and columns beyond the last whole one are left out, but an image
        narrower than a block is one.

    Returns
    -------
    means : float64 ndarray, shape (max(ny // step, 1), max(nx // step, 1))
        Unit of ``image``; NaN where no pixel is finite.
    """
    ny, nx = (max(length // step, 1) for length in image.shape)
    total, count = np.zeros((ny, nx)), np.zeros((ny, nx), dtype=np.int64)
    add_blocks(image, step, total, count)
    means: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


@compiled
def add_blocks(image, step, total, count):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add the finite pixels of each block to its total and count."""
    ny, nx = total.shape
    for y in range(min(ny * step, image.shape[0])):
        for x in range(nx):
            for k in range(x * step, min((x + 1) * step, image.shape[1])):
                if np.isfinite(image[y, k]):
                    total[y // step, x] += image[y, k]
                    count[y // step, x] += 1
