"""Cutouts of sources, to which a matching kernel is fitted: their choice and their normal equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    Exposure,
)
from astra.images.kernel_basis import KernelBasis

UNUSABLE = MASK_BAD | MASK_SAT | MASK_CR | MASK_EDGE | MASK_NO_DATA
CELL_PIXEL = 128


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
        convolved = basis.convolve(self.reference)
        n, n_basis = convolved.shape[:2]
        design = np.concatenate(
            [convolved.reshape(n, n_basis, -1), np.ones((n, 1, self.target[0].size))], axis=1
        )
        weight = 1.0 / self.variance.reshape(n, 1, -1)
        target = self.target.reshape(n, 1, -1)
        columns = np.concatenate([design, target], axis=1)
        weighted = columns * weight
        products = weighted @ np.swapaxes(columns, 1, 2)
        return StampEquations(
            self.x.astype(float),
            self.y.astype(float),
            products[:, :-1, :-1],
            products[:, :-1, -1],
            products[:, -1, -1],
            np.sum(np.isfinite(self.variance), axis=(1, 2)),
            np.sum(weight[:, 0] * self.noise.reshape(n, -1), axis=1),
            np.pad(basis.noise_gram(noise_power), (0, 1)),
        )


def find_stamp_centres(
    exposure: Exposure, unusable: NDArray[np.bool_], *, min_peak_snr: float, border: int, max_per_cell: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the brightest usable sources of every cell of the frame.

    Parameters
    ----------
    exposure : Exposure
        Background subtracted.
    unusable : bool ndarray, shape (ny, nx)
        Pixels that no source may contain.
    min_peak_snr : float
        Least signal to noise of the brightest pixel.
    border : int
        Least distance from the edge of the frame [pixel].
    max_per_cell : int
        Sources per cell of 128 pixels.

    Returns
    -------
    x, y : int64 ndarray, shape (n,)
        Brightest pixels, sorted by their signal to noise.
    """
    image = np.where(np.isfinite(exposure.image), exposure.image, np.float32(0)).astype(np.float32)
    error = np.sqrt(np.where(unusable, np.float32(1), exposure.variance)).astype(np.float32)
    found = sep.extract(image, min_peak_snr / 4, err=error, mask=unusable, minarea=5, deblend_cont=0.01)
    x, y = found["xpeak"].astype(np.int64), found["ypeak"].astype(np.int64)
    snr = found["peak"] / error[y, x]
    ny, nx = exposure.shape
    inside = (x >= border) & (y >= border) & (x < nx - border) & (y < ny - border)
    keep = np.flatnonzero(inside & (snr > min_peak_snr))
    keep = keep[np.argsort(-snr[keep], kind="stable")]
    return _brightest_per_cell(x[keep], y[keep], max_per_cell)


def _brightest_per_cell(
    x: NDArray[np.int64], y: NDArray[np.int64], max_per_cell: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep the first few of every cell; the input is sorted by brightness."""
    cell = (y // CELL_PIXEL) * 100_000 + x // CELL_PIXEL
    order = np.argsort(cell, kind="stable")
    _, first, counts = np.unique(cell[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    keep = np.sort(order[rank < max_per_cell])
    return x[keep], y[keep]


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
    usable = _usable(reference, target)
    x, y = centres
    pixels = _windows(usable, x, y, half_width)
    core = pixels[:, half_width - 3 : half_width + 4, half_width - 3 : half_width + 4]
    keep = core.all(axis=(1, 2)) & (pixels.mean(axis=(1, 2)) > 1 - max_masked_fraction)
    x, y, pixels = x[keep], y[keep], pixels[keep]
    goal = _windows(target.image, x, y, half_width).astype(float)
    variance = _windows(target.variance + reference.variance, x, y, half_width).astype(float)
    variance = variance + (model_error * goal) ** 2
    clean = np.where(np.isfinite(reference.image), reference.image, 0)
    return Stamps(
        x,
        y,
        _windows(clean, x, y, outer).astype(float),
        np.where(pixels, goal, 0.0),
        np.where(pixels, variance, np.inf),
        np.where(pixels, _windows(reference.variance, x, y, half_width), 0.0).astype(float),
    )


def _usable(reference: Exposure, target: Exposure) -> NDArray[np.bool_]:
    """Pixels that are good in both images; an interpolated one counts in the reference alone."""
    usable = ((reference.mask & UNUSABLE) == 0) & ((target.mask & (UNUSABLE | MASK_INTRP)) == 0)
    usable &= np.isfinite(reference.image) & np.isfinite(target.image)
    usable &= (target.variance > 0) & (reference.variance > 0)
    result: NDArray[np.bool_] = usable
    return result


def _windows(image: NDArray[Any], x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> NDArray[Any]:
    """Squares of side 2 half + 1 round the centres, shape (n, side, side)."""
    offset = np.arange(-half, half + 1)
    windows: NDArray[Any] = image[
        y[:, None, None] + offset[None, :, None], x[:, None, None] + offset[None, None, :]
    ]
    return windows
