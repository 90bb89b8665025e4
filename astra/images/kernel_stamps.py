"""Cutouts of sources, to which a matching kernel is fitted, and their normal equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import MASK_INTRP, Exposure
from astra.images.kernel_basis import KernelBasis
from astra.images.kernel_sources import UNUSABLE

Cut = Callable[[NDArray[Any]], NDArray[Any]]

STAMPS_AT_ONCE = 8  # of which the convolutions are kept


@dataclass(frozen=True)
class StampEquations:
    """Normal equations of every stamp, for the functions of a basis and a constant sky.

    Parameters
    ----------
    x, y : float64 ndarray, shape (n,)
        Centres [pixel].
    matrix : float64 ndarray, shape (n, n_basis + 1, n_basis + 1)
        Weighted products of the functions; the last is the constant.
    vector : float64 ndarray, shape (n, n_basis + 1)
        Weighted products with the target.
    target_square : float64 ndarray, shape (n,)
        Weighted square sum of the target.
    n_pixels : int64 ndarray, shape (n,)
        Pixels with weight.
    noise : float64 ndarray, shape (n,)
        Weighted sum of the variance of the convolved image.
    gram : float64 ndarray, shape (n_basis + 1, n_basis + 1)
        Covariance that white noise of unit variance gives to the functions: ``noise * gram`` is the part of
        ``matrix`` that is noise, which would bias the flux ratio low.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    matrix: NDArray[np.float64]
    vector: NDArray[np.float64]
    target_square: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    noise: NDArray[np.float64]
    gram: NDArray[np.float64]

    def select(self, keep: NDArray[np.bool_]) -> StampEquations:
        """Return some of the stamps."""
        return StampEquations(
            self.x[keep],
            self.y[keep],
            self.matrix[keep],
            self.vector[keep],
            self.target_square[keep],
            self.n_pixels[keep],
            self.noise[keep],
            self.gram,
        )

    def chi2(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chi square of every stamp for its own coefficients, shape (n, n_basis + 1) -> (n,)."""
        quadratic = np.einsum("ni,nij,nj->n", coefficients, self.matrix, coefficients)
        linear = np.einsum("ni,ni->n", coefficients, self.vector)
        chi2: NDArray[np.float64] = self.target_square - 2.0 * linear + quadratic
        return chi2


@dataclass(frozen=True)
class Stamps:
    """Cutouts round sources: what is convolved, what it must become, and its weight.

    Parameters
    ----------
    x, y : int64 ndarray, shape (n,)
        Central pixels.
    reference : float64 ndarray, shape (n, m, m)
        Cutouts that the kernel convolves, with a border of the kernel's half-width.
    target : float64 ndarray, shape (n, k, k)
        Cutouts of the other image.
    variance : float64 ndarray, shape (n, k, k)
        Variance of the difference; infinite where a pixel must not count.
    noise : float64 ndarray, shape (n, k, k)
        Variance of the image that is convolved.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    reference: NDArray[np.float64]
    target: NDArray[np.float64]
    variance: NDArray[np.float64]
    noise: NDArray[np.float64]

    def equations(self, basis: KernelBasis, noise_power: NDArray[np.float64] | None = None) -> StampEquations:
        """Form the normal equations.

        Parameters
        ----------
        basis : KernelBasis
        noise_power : ndarray, shape (m, m), optional
            Power spectrum of the noise of the reference; white if it is not given.
        """
        n_functions = basis.n_basis + 1
        products = np.empty((len(self.x), n_functions + 1, n_functions + 1))
        weight = 1.0 / self.variance
        for first in range(0, len(self.x), STAMPS_AT_ONCE):
            part = slice(first, first + STAMPS_AT_ONCE)
            columns = self._columns(basis, part)
            columns *= np.sqrt(weight[part]).reshape(len(columns), 1, -1)
            products[part] = columns @ np.swapaxes(columns, 1, 2)
        change = np.eye(n_functions + 1)
        change[: basis.n_basis, : basis.n_basis] = basis.transform
        products = change @ products @ change.T
        return StampEquations(
            self.x.astype(float),
            self.y.astype(float),
            products[:, :-1, :-1],
            products[:, :-1, -1],
            products[:, -1, -1],
            np.sum(np.isfinite(self.variance), axis=(1, 2)),
            np.sum(weight * self.noise, axis=(1, 2)),
            np.pad(basis.noise_gram(noise_power), (0, 1)),
        )

    def _columns(self, basis: KernelBasis, part: slice) -> NDArray[np.float64]:
        """Products of the basis with some stamps, ones and the target, shape (n, n_basis + 2, n_pixels)."""
        target = self.target[part]
        columns = np.empty((len(target), basis.n_basis + 2, target[0].size))
        columns[:, :-2] = basis.products(self.reference[part]).reshape(len(target), basis.n_basis, -1)
        columns[:, -2] = 1.0
        columns[:, -1] = target.reshape(len(target), -1)
        return columns


def cut_stamps(
    reference: Exposure,
    target: Exposure,
    centres: tuple[NDArray[np.int64], NDArray[np.int64]],
    basis: KernelBasis,
    *,
    half_width: int,
    model_error: float,
    max_masked_fraction: float = 0.2,
) -> Stamps:
    """Cut both images round the centres.

    Parameters
    ----------
    reference, target : Exposure, shape (ny, nx)
        The image that the kernel convolves and the one that it must reproduce.
    centres : tuple of ndarray
        x and y of the stamps [pixel], at least ``half_width + basis.half_width`` from the edge.
    basis : KernelBasis
    half_width : int
        Pixels from the centre to the edge of the fitted region.
    model_error : float
        Fraction of the target added to its error in quadrature.
    max_masked_fraction : float, optional
        Stamps with more masked pixels are left out, as are those with a masked pixel near the centre.

    Returns
    -------
    stamps : Stamps
    """
    outer = half_width + basis.half_width
    x, y = centres
    pixels = _usable(reference, target, lambda plane: cut_windows(plane, x, y, half_width))
    core = pixels[:, half_width - 3 : half_width + 4, half_width - 3 : half_width + 4]
    keep = core.all(axis=(1, 2)) & (pixels.mean(axis=(1, 2)) > 1 - max_masked_fraction)
    x, y, pixels = x[keep], y[keep], pixels[keep]
    goal = cut_windows(target.image, x, y, half_width).astype(float)
    noise = cut_windows(reference.variance, x, y, half_width).astype(float)
    variance = cut_windows(target.variance, x, y, half_width) + noise + (model_error * goal) ** 2
    source = cut_windows(reference.image, x, y, outer).astype(float)
    return Stamps(
        x,
        y,
        np.where(np.isfinite(source), source, 0.0),
        np.where(pixels, goal, 0.0),
        np.where(pixels, variance, np.inf),
        np.where(pixels, noise, 0.0),
    )


def _usable(reference: Exposure, target: Exposure, cut: Cut) -> NDArray[np.bool_]:
    """Pixels that are good in both images; an interpolated one counts in the reference alone."""
    usable = ((cut(reference.mask) & UNUSABLE) == 0) & ((cut(target.mask) & (UNUSABLE | MASK_INTRP)) == 0)
    usable &= np.isfinite(cut(reference.image)) & np.isfinite(cut(target.image))
    usable &= (cut(target.variance) > 0) & (cut(reference.variance) > 0)
    result: NDArray[np.bool_] = usable
    return result


def cut_windows(image: NDArray[Any], x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> NDArray[Any]:
    """Cut squares of side 2 half + 1 [pixel] round the centres, shape (n, side, side)."""
    offset = np.arange(-half, half + 1)
    windows: NDArray[Any] = image[
        y[:, None, None] + offset[None, :, None], x[:, None, None] + offset[None, None, :]
    ]
    return windows
