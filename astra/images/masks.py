"""Operations on masks of whole images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.images.exposure import MASK_BAD, MASK_UNMASKEDNAN, Exposure


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


def mark_unknown(exposure: Exposure, *, overwrite: bool = False) -> Exposure:
    """Mark the pixels whose value or noise is not known.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        From whatever camera.
    overwrite : bool, optional
        The planes of the given exposure may be changed.

    Returns
    -------
    exposure : Exposure
        ``BAD`` and ``UNMASKEDNAN`` where image or variance is not finite, ``BAD`` where the variance is not
        positive. An unknown variance becomes the mean of the known ones, so that nobody takes the root of
        what is negative; 0 if there are none.
    """
    if not _has_unknown(exposure.image, exposure.variance):
        return exposure
    exposure = exposure if overwrite else exposure.copy()
    known = np.isfinite(exposure.image) & np.isfinite(exposure.variance) & (exposure.variance > 0)
    mean = exposure.variance[known].mean(dtype=np.float64) if known.any() else 0.0
    _mark_unknown(exposure.image, exposure.variance, exposure.mask, np.float32(mean))
    return exposure


@compiled
def _has_unknown(image, variance):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Whether the value or the noise of any pixel is unknown."""
    zero = np.float32(0.0)
    for y in range(len(image)):
        n_unknown = 0
        for x in range(image.shape[1]):
            # A difference from itself is 0 for finite numbers alone.
            finite = (image[y, x] - image[y, x] == zero) & (variance[y, x] - variance[y, x] == zero)
            n_unknown += not (finite & (variance[y, x] > zero))
        if n_unknown > 0:
            return True
    return False


@compiled
def _mark_unknown(image, variance, mask, stand_in):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set the bits, and the variance where it is unknown, in place."""
    ny, nx = image.shape
    for y in range(ny):
        for x in range(nx):
            value, noise = image[y, x], variance[y, x]
            if not (np.isfinite(value) and np.isfinite(noise)):
                mask[y, x] |= MASK_BAD | MASK_UNMASKEDNAN
            elif not noise > 0.0:
                mask[y, x] |= MASK_BAD
            if not (np.isfinite(noise) and noise > 0.0):
                variance[y, x] = stand_in
