"""Weighted least squares on the pixels round many sources at once, in arrays whose first axis is the source.

Pixels are added up by one compiled function for all models of point sources on a sky; what is then solved for
is left to numpy, so that a fit made of these needs no compilation of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.images.exposure import Exposure
from astra.images.local_psf import draw_gradient, set_plane
from astra.images.stamp_fit import UNUSABLE, add_normal_equations, solve
from astra.images.stamps import copy_stamps, cut_stamps

FloatArray = NDArray[np.float64]


class SourceModel(NamedTuple):
    """Point sources on a sky: three columns for each source, its PSF and that derived to x and y; and sky.

    Parameters
    ----------
    signs : float64 ndarray, shape (n_sources,)
        1 or -1, of the sources' flux.
    sky : float64 ndarray, shape (n_sky, pixels)
        Columns of the sky.
    places : int64 ndarray, shape (3 * n_sources + n_sky,)
        Of the columns in the normal equations.
    """

    signs: FloatArray
    sky: FloatArray
    places: NDArray[np.int64]


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


@compiled
def add_source_equations(local_psfs, rows, offsets, stamps, model, matrix, right):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add the normal equations of models at unit flux to (n, k, k) and (n, k).

    ``rows`` are those of the PSFs and of the stamps, data and weight (m, pixels); ``offsets`` (n, 2 *
    n_sources) the positions x, y of the sources from the middle pixel; ``model`` is a `SourceModel`. The
    columns of one stamp stay in the cache.
    """
    data, weight = stamps
    signs, sky, places = model
    n_sources, n_pixels = len(signs), data.shape[1]
    side = int(np.rint(np.sqrt(n_pixels)))
    plane, columns = np.empty(local_psfs.coefficients.shape[2:]), np.empty((len(places), n_pixels))
    for m in range(len(sky)):
        for p in range(n_pixels):
            columns[3 * n_sources + m, p] = sky[m, p]
    for k in range(len(rows)):
        set_plane(local_psfs, rows[k], plane)
        for m in range(n_sources):
            own, offset = columns[3 * m : 3 * m + 3], offsets[k, 2 * m : 2 * m + 2]
            draw_gradient(plane, local_psfs.step, offset, own.reshape((3, side, side)))
            if signs[m] < 0.0:
                for a in range(3):
                    for p in range(n_pixels):
                        own[a, p] = -own[a, p]
        add_normal_equations(columns, places, data[rows[k]], weight[rows[k]], matrix[k], right[k])


def solve_positive(matrices: FloatArray, right: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Solve symmetric positive equations (n, k, k) and (n, k); zeros, and False, where they are not.

    A pivot too small beside its diagonal element is a combination of parameters that the data do not know.
    """
    solution, found = np.array(right, order="C"), np.empty(len(right), dtype=np.bool_)
    _solve_all(np.array(matrices, order="C"), solution, found)
    return solution, found


@compiled
def _solve_all(matrices, right, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Solve in place."""
    for k in range(len(right)):
        found[k] = solve(matrices[k], right[k])


def invert_positive(matrices: FloatArray) -> FloatArray:
    """Inverses of symmetric positive matrices (n, k, k); NaN where they are not."""
    n, k, _ = matrices.shape
    columns, found = solve_positive(np.repeat(matrices, k, axis=0), np.tile(np.eye(k), (n, 1)))
    columns[~found] = np.nan
    return columns.reshape(n, k, k)
