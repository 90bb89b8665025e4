"""Variance planes without the noise of the pixels that they describe.

A camera's variance plane is made of the counts themselves, so that a pixel which fell low by chance is
given a small error. Whatever weights by it is drawn to the low side: on blank sky, matched filters find
several negative 5 sigma peaks for each positive one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from astra.images.exposure import Exposure

BRIGHT_SNR = 5.0  # above, a pixel's own counts are its best estimate


def remove_own_noise(exposure: Exposure, sources: NDArray[np.bool_]) -> Exposure:
    """Replace each pixel's photon noise by that of the light expected in it.

    That is the sky alone outside of sources, the mean of 3 x 3 pixels in their faint parts, and the pixel
    itself where it is bright.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Sky subtracted [adu], with the variance of sky and sources.
    sources : bool ndarray, shape (ny, nx)
        Pixels with light of sources.

    Returns
    -------
    exposure : Exposure
        With another variance plane; pixels without a finite one keep theirs.
    """
    image = np.where(np.isfinite(exposure.image), exposure.image, 0.0)
    sky_variance = exposure.variance - image / exposure.gain
    expected = np.where(sources, uniform_filter(image, 3), 0.0)
    bright = image**2 > BRIGHT_SNR**2 * np.maximum(sky_variance, 0.0)
    expected = np.where(bright & sources, image, expected)
    variance = sky_variance + expected / exposure.gain
    usable = np.isfinite(exposure.variance) & (exposure.variance > 0) & (variance > 0)
    return exposure.replace(variance=np.where(usable, variance, exposure.variance).astype(np.float32))
