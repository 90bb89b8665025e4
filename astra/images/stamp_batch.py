"""Weighted least squares on the pixels round many sources at once, in arrays whose first axis is the source.

What is done pixel by pixel is left to numpy and to the few compiled functions that read and draw stamps, so
that a fit made of these needs no compilation of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import Exposure
from astra.images.stamp_fit import LEAST_PIVOT, UNUSABLE
from astra.images.stamps import copy_stamps, cut_stamps

FloatArray = NDArray[np.float64]


def read_stamps(
    exposure: Exposure, columns: NDArray[np.int64], rows: NDArray[np.int64], half_width: int
) -> tuple[FloatArray, FloatArray]:
    """Copy pixels and inverse variances round pixels.

    Parameters
    ----------
    exposure : Exposure
    columns, rows : int64 ndarray, shape (n,)
        Middle pixels [pixel]; they may lie outside the image.
    half_width : int
        Of the stamps [pixel].

    Returns
    -------
    data, weight : float64 ndarray, shape (n, side * side)
        Image [image unit] and inverse variance [image unit**-2]; 0 for pixels that cannot be used.
    """
    side = 2 * half_width + 1
    columns, rows = np.ascontiguousarray(columns), np.ascontiguousarray(rows)
    data = cut_stamps(exposure.image, columns, rows, side)
    variance = cut_stamps(exposure.variance, columns, rows, side)
    mask = np.zeros(data.shape, np.uint32)
    copy_stamps(exposure.mask, columns, rows, mask)
    usable = ((mask & UNUSABLE) == 0) & np.isfinite(data) & np.isfinite(variance) & (variance > 0)
    weight = np.zeros(data.shape)
    np.divide(1.0, variance, out=weight, where=usable)
    flat = len(data), side * side
    return np.where(usable, data, 0.0).reshape(flat), weight.reshape(flat)


def normal_equations(
    columns: FloatArray, data: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Products of columns (n, k, pixels) among themselves and with the data: shapes (n, k, k) and (n, k)."""
    weighted = columns * weight[:, None]
    return weighted @ columns.swapaxes(1, 2), (weighted @ data[:, :, None])[:, :, 0]


def is_positive(matrices: FloatArray) -> NDArray[np.bool_]:
    """Tell which symmetric matrices (n, k, k) are positive, and so that their inverse means something.

    Cholesky's factors are found column by column; a pivot too small beside its diagonal element is a
    combination of parameters that the data do not know.
    """
    n, k, _ = matrices.shape
    lower, positive = np.zeros(matrices.shape), np.ones(n, dtype=np.bool_)
    for b in range(k):
        rest = matrices[:, b:, b] - np.einsum("nak,nk->na", lower[:, b:, :b], lower[:, b, :b])
        pivot = rest[:, 0]
        positive &= (pivot > LEAST_PIVOT * matrices[:, b, b]) & (pivot > 0.0)
        lower[:, b:, b] = rest / np.sqrt(np.where(positive, pivot, 1.0))[:, None]
    return positive


def solve_positive(matrices: FloatArray, right: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Solve symmetric positive equations (n, k, k) and (n, k); zeros, and False, where they are not."""
    positive = is_positive(matrices)
    solution = np.zeros(right.shape)
    if positive.any():
        solution[positive] = np.linalg.solve(matrices[positive], right[positive][:, :, None])[:, :, 0]
    return solution, positive


def invert_positive(matrices: FloatArray) -> FloatArray:
    """Inverses of symmetric positive matrices (n, k, k); NaN where they are not."""
    positive = is_positive(matrices)
    inverse = np.full(matrices.shape, np.nan)
    inverse[positive] = np.linalg.inv(matrices[positive])
    return inverse
