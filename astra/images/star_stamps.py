"""Stamps of stars as they fall on the pixels, and what a PSF leaves of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.moments import Pixels
from astra.images.stamps import cut_stamps, shift_stamps

FloatArray = NDArray[np.float64]

RIM_FRACTION = 0.9  # of half the stamp: beyond it, the sky is taken
PIXEL_CLIP_SIGMA = 5.0
PLAUSIBLE_ERROR = 0.1  # of the model's value; keeps the bright cores from being clipped


@dataclass(frozen=True)
class Amplitudes:
    """Flux and local sky of each star, (n,) [image unit]."""

    flux: FloatArray
    sky: FloatArray


@dataclass(frozen=True)
class Noise:
    """Variance round each star, (n,) [image unit**2], and its rise with the light [image unit]."""

    sky_variance: FloatArray
    per_count: float


@dataclass(frozen=True)
class StarStamps:
    """Stamps of stars, and where in the central pixel the stars are.

    Parameters
    ----------
    values, variance : float64 ndarray, shape (n, size, size)
        [image unit, its square]; 0 and 1 where not usable.
    usable : bool ndarray, shape (n, size, size)
        Not those of neighbours, unusable ones and those outside the image.
    dx, dy : float64 ndarray, shape (n,)
        Offsets from the middle of the central pixel [pixel].
    """

    values: FloatArray
    variance: FloatArray
    usable: NDArray[np.bool_]
    dx: FloatArray
    dy: FloatArray

    @classmethod
    def cut(cls, pixels: Pixels, stars: NDArray[np.void], size: int) -> StarStamps:
        """Cut them out of an image, about the columns x and y of the stars."""
        columns, rows = np.rint(stars["x"]).astype(np.int64), np.rint(stars["y"]).astype(np.int64)
        values = cut_stamps(pixels.image, columns, rows, size)
        variance = cut_stamps(pixels.variance, columns, rows, size)
        owners = cut_stamps(pixels.owner, columns, rows, size)
        usable = (owners == 0) | (owners == stars["id"][:, None, None])
        usable &= np.isfinite(values) & (variance > 0)
        return cls(
            values=np.where(usable, values, 0.0),
            variance=np.where(usable, variance, 1.0),
            usable=usable,
            dx=stars["x"] - columns,
            dy=stars["y"] - rows,
        )

    def fit_amplitudes(self, model: FloatArray, usable: NDArray[np.bool_]) -> Amplitudes:
        """Flux and local sky of each star, given its image at unit flux.

        The sky is that of the stamp's rim, where the PSF is taken to be zero: fitted together with the flux
        it would trade places with the PSF's own wings.
        """
        rim = radius_of(model.shape[1]) > RIM_FRACTION * model.shape[1] / 2
        sky = _masked_median(self.values[:, rim], usable[:, rim])
        p = np.where(usable, model, 0.0)
        sum_pp = np.maximum(np.einsum("kij,kij->k", p, p), 1e-12)
        flux = (np.einsum("kij,kij->k", p, self.values) - sky * p.sum(axis=(1, 2))) / sum_pp
        floor = 1e-3 * float(np.median(np.abs(flux)))  # a star without signal must not divide by zero
        return Amplitudes(np.maximum(flux, max(floor, 1e-12)), sky)

    def residuals(self, model: FloatArray, fitted: Amplitudes) -> FloatArray:
        """Stars at unit flux less their model."""
        rest: FloatArray = self.values - fitted.sky[:, None, None]
        rest /= fitted.flux[:, None, None]
        rest -= model
        return rest

    def is_plausible(self, residual: FloatArray, model: FloatArray, flux: FloatArray) -> NDArray[np.bool_]:
        """Pixels that agree with the model within noise and model error: not those of a faint neighbour."""
        tolerance = self.variance / flux[:, None, None] ** 2 + (PLAUSIBLE_ERROR * model) ** 2
        plausible: NDArray[np.bool_] = self.usable & (residual**2 < PIXEL_CLIP_SIGMA**2 * tolerance)
        return plausible

    def noise(self, fitted: Amplitudes) -> Noise:
        """Measure the noise of the sky and of the photons."""
        n = len(self.dx)
        sky = _masked_median(self.variance.reshape(n, -1), self.usable.reshape(n, -1))
        middle = np.s_[:, self.values.shape[1] // 2, self.values.shape[2] // 2]
        signal = np.where(self.usable[middle], self.values[middle] - fitted.sky, 0.0)
        excess = np.where(self.usable[middle], self.variance[middle] - sky, 0.0)
        return Noise(sky, max(float(excess.sum()) / max(float(signal.sum()), 1e-12), 0.0))

    def to_nodes(self, residual: FloatArray, oversampling: int) -> FloatArray:
        """Residuals where the nodes of a centred PSF are, (n, nodes, nodes).

        At one node a pixel they are interpolated; a finer grid takes the nearest pixel.
        """
        if oversampling == 1:
            return shift_stamps(residual, -self.dx, -self.dy)
        return self.nearest(residual, oversampling)[0]

    def nearest(self, plane: FloatArray, oversampling: int) -> tuple[FloatArray, FloatArray]:
        """Values of the pixels nearest to the nodes of a centred PSF, and how much they count there.

        On a grid finer than the pixels, the less the further they are (Anderson & King 2000, PASP 112, 1360).
        """
        if oversampling == 1:
            return plane, np.ones_like(plane)
        size = plane.shape[1]
        nodes = np.arange(oversampling * (size - 1) + 1) / oversampling
        rows, row_weight = _nearest(nodes[None, :] + self.dy[:, None], size, oversampling)
        columns, column_weight = _nearest(nodes[None, :] + self.dx[:, None], size, oversampling)
        star = np.arange(len(plane))[:, None, None]
        values: FloatArray = plane[star, rows[:, :, None], columns[:, None, :]]
        return values, row_weight[:, :, None] * column_weight[:, None, :]


def _nearest(place: FloatArray, size: int, oversampling: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Nearest of ``size`` pixels along an axis, and its weight: a tent as wide as two nodes."""
    pixel = np.rint(place)
    weight = np.maximum(1.0 - oversampling * np.abs(place - pixel), 0.0)
    inside = (pixel >= 0) & (pixel < size)
    return np.where(inside, pixel, 0).astype(np.int64), np.where(inside, weight, 0.0)


def _masked_median(values: FloatArray, usable: NDArray[np.bool_]) -> FloatArray:
    """Median of each row over its usable items; 0 for a row without any."""
    n = usable.sum(axis=1)
    ordered = np.sort(np.where(usable, values, np.inf), axis=1)
    row = np.arange(len(values))
    middle = (
        ordered[row, np.maximum(n - 1, 0) // 2] + ordered[row, np.minimum(n // 2, values.shape[1] - 1)]
    ) / 2
    return np.where(n > 0, middle, 0.0)


def radius_of(size: int) -> FloatArray:
    """Distance of each pixel of a stamp from its middle [pixel]."""
    offset = np.arange(size) - size // 2
    distance: FloatArray = np.hypot(offset[:, None], offset[None, :])
    return distance
