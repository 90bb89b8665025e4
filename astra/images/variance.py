"""Variance planes without the noise of the pixels that they describe.

A camera's variance plane is made of the counts themselves, so that a pixel which fell low by chance is
given a small error. Whatever weights by it is drawn to the low side: on blank sky, matched filters find
several negative 5 sigma peaks for each positive one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.exposure import Exposure

BRIGHT_SNR = 5.0  # above, a pixel's own counts are its best estimate


def remove_own_noise(exposure: Exposure, sources: NDArray[np.bool_], *, overwrite: bool = False) -> Exposure:
    """Replace each pixel's photon noise by that of the light expected in it.

    That is the sky alone outside of sources, the mean of 3 x 3 pixels in their faint parts, and the pixel
    itself where it is bright.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky subtracted [adu], with the variance of sky and sources.
    sources : bool ndarray, shape (ny, nx)
        Pixels with light of sources.
    overwrite : bool, optional
        The variance plane of the given exposure may be changed.

    Returns
    -------
    exposure : Exposure
        With another variance plane; pixels without a finite one keep theirs.
    """
    variance = exposure.variance if overwrite else np.empty(exposure.shape, dtype=np.float32)
    _expected_variance(exposure.image, exposure.variance, sources, exposure.gain, variance)
    return exposure.replace(variance=variance)


@compiled
def _expected_variance(image, variance, sources, gain, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill ``out``, in one pass over the pixels; beyond the borders the image is mirrored."""
    ny, nx = image.shape
    for y in range(ny):
        for x in range(nx):
            old = variance[y, x]
            own = image[y, x] if np.isfinite(image[y, x]) else np.float32(0.0)
            sky = old - own / gain
            light = np.float32(0.0)
            if sources[y, x]:
                light = own
                if not own * own > BRIGHT_SNR * BRIGHT_SNR * max(sky, 0.0):
                    light = _mean_of_nine(image, y, x)
            new = sky + light / gain
            out[y, x] = new if np.isfinite(old) and old > 0.0 and new > 0.0 else old


@part
def _mean_of_nine(image, y, x):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Mean of 3 x 3 pixels, where one that is not finite counts as zero."""
    ny, nx = image.shape
    total = 0.0
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            j, i = min(max(y + dy, 0), ny - 1), min(max(x + dx, 0), nx - 1)
            if np.isfinite(image[j, i]):
                total += image[j, i]
    return np.float32(total / 9.0)
