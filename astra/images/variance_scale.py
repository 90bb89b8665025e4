"""Scale a variance plane to the scatter that the pixels of the blank sky show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.blank_sky import find_source_free, sample_parts, subtract_sky_mean
from astra.images.exposure import Exposure

SIGMA_PER_QUARTILES = 0.7413  # of a Gaussian, over the distance of its quartiles
QUARTILE_SAMPLE = 200_000
CLIP_SIGMA = 4.0
CLIPPED_SIGMA = 0.99946  # scatter of a unit Gaussian within 4 sigma


@dataclass(frozen=True)
class VarianceScaleConfig:
    """How variance planes are scaled before a subtraction.

    Parameters
    ----------
    enabled : bool
        Scale at all.
    limit : float
        Largest factor, and one over the smallest; beyond, the image or its plane is broken.
    sky_side_pixel : int
        Width of the local mean that is subtracted first [pixel]; 0: none, so that structure of the sky
        counts as noise.
    min_pixels : int
        Pixels without sources that are needed; with fewer the plane stays as it is.
    """

    enabled: bool = True
    limit: float = 10.0
    sky_side_pixel: int = 25
    min_pixels: int = 1000

    def __post_init__(self) -> None:
        if self.limit <= 1:
            message = f"the largest factor of a variance plane must be above 1, found {self.limit}"
            raise ValueError(message)


def scale_variance(exposure: Exposure, config: VarianceScaleConfig | None = None) -> tuple[Exposure, float]:
    """Scale the variance plane of an exposure.

    The factor is that of the pixels' ratios to their own errors;
    if that is beyond the limit, that of the image's scatter to its typical variance, as in the LSST stack.
    Coloured noise is compared with what the plane says of it: the plane is a white equivalent, and single
    pixels scatter by that times the mean of `Exposure.noise_power`.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Background subtracted.
    config : VarianceScaleConfig, optional

    Returns
    -------
    scaled : Exposure
        The same if there is too little blank sky.
    factor : float
        Of the variance; 1 if nothing was scaled, NaN if there is too little blank sky.

    Raises
    ------
    DataError
        If both factors are beyond the limit.
    """
    config = config or VarianceScaleConfig()
    if not config.enabled:
        return exposure, 1.0
    image, variance = _sky_pixels(exposure, config)
    if len(image) < config.min_pixels:
        return exposure, float("nan")
    colour = 1.0 if exposure.noise_power is None else float(np.mean(exposure.noise_power))
    by_pixel = _spread(image / np.sqrt(variance)) ** 2 / colour
    if 1.0 / config.limit <= by_pixel <= config.limit:
        return exposure.replace(variance=exposure.variance * np.float32(by_pixel)), by_pixel
    by_image = _spread(image) ** 2 / float(np.median(variance)) / colour
    if 1.0 / config.limit <= by_image <= config.limit:
        return exposure.replace(variance=exposure.variance * np.float32(by_image)), by_image
    message = (
        f"the variance plane must be within a factor {config.limit:g} of the scatter of the sky's pixels, "
        f"but that is {by_pixel:.3g} times it by pixels and {by_image:.3g} times by the image "
        f"(visit {exposure.info.visit}, detector {exposure.info.detector})"
    )
    raise DataError(message, by_pixel=by_pixel, by_image=by_image, limit=config.limit)


def _spread(values: NDArray[np.floating]) -> float:
    """Scatter without outliers, which the quartiles tell.

    Not that of the quartiles themselves: where the digits of the camera are not much finer than its noise
    (Stripe 82 in g), those are a tenth off.
    """
    # They only say where to clip: a few hundred thousand values tell that well enough.
    low, middle, high = np.quantile(values[:: max(1, len(values) // QUARTILE_SAMPLE)], (0.25, 0.5, 0.75))
    offset = values - middle
    kept = offset[np.abs(offset) <= CLIP_SIGMA * SIGMA_PER_QUARTILES * (high - low)]
    return float(np.std(kept) / CLIPPED_SIGMA)


def _sky_pixels(
    exposure: Exposure, config: VarianceScaleConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values and variances of pixels without sources, from parts all over the frame."""
    images, variances = [], []
    for part in sample_parts(exposure.shape):
        piece = exposure.replace(
            image=exposure.image[part], variance=exposure.variance[part], mask=exposure.mask[part]
        )
        free = find_source_free(piece)
        flat = piece.image
        if config.sky_side_pixel > 0 and free.any():
            flat = subtract_sky_mean(flat, free, config.sky_side_pixel)
        images.append(flat[free])
        variances.append(piece.variance[free])
    return np.concatenate(images), np.concatenate(variances)
