"""Where the centre of a PSF lies, and what a centroid says of it.

A lopsided PSF has no centroid of its own: each window finds another. Positions here are those of its core,
which a narrow window sees; the windowed centroid of a source is corrected by what it finds on the PSF.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astra.images.moments import Pixels, windowed_centroids
from astra.images.psf import Psf
from astra.images.stamps import shift_stamps
from astra.images.tan_sip import grid_positions, polynomial_design

FloatArray = NDArray[np.float64]

CORE_WINDOW = 0.5  # of the width of the PSF
N_GRID = 5
OFFSET_ORDER = 2
CENTRING_ROUNDS = 2


def centre_on_core(psf: Psf, shape: tuple[int, int], sigma: float) -> Psf:
    """Move a PSF so that its core, on average over the image, lies in the middle of the stamps.

    Parameters
    ----------
    psf : Psf
        Point-spread function.
    shape : (int, int)
        Rows and columns of the image [pixel].
    sigma : float
        Width of the PSF [pixel].
    """
    for _ in range(CENTRING_ROUNDS):
        offsets = _offsets(psf, *grid_positions(shape, N_GRID), CORE_WINDOW * sigma)
        dx, dy = -psf.oversampling * np.nanmean(offsets, axis=0)
        n = len(psf.coefficients)
        psf = replace(psf, coefficients=shift_stamps(psf.coefficients, np.full(n, dx), np.full(n, dy)))
    return psf


def centroid_offsets(
    psf: Psf, x: FloatArray, y: FloatArray, shape: tuple[int, int], sigma: float
) -> FloatArray:
    """Windowed centroid of a point source less its position, at positions [pixel]; (n, 2) [pixel].

    It is measured on a grid over the image, and interpolated by a quadratic polynomial.

    Parameters
    ----------
    psf : Psf
        Point-spread function.
    x, y : float64 ndarray, shape (n,)
        Positions [pixel].
    shape : (int, int)
        Rows and columns of the image [pixel].
    sigma : float
        Width of the window [pixel].
    """
    grid_x, grid_y = grid_positions(shape, N_GRID)
    offsets = _offsets(psf, grid_x, grid_y, sigma)
    good = np.isfinite(offsets).all(axis=1)
    order, scale = (OFFSET_ORDER if psf.order > 0 and good.all() else 0), max(shape)
    if not good.any():
        return np.zeros((len(x), 2))
    design = polynomial_design(grid_x[good] / scale, grid_y[good] / scale, order)
    fitted = np.linalg.lstsq(design, offsets[good], rcond=None)[0]
    found: FloatArray = polynomial_design(x / scale, y / scale, order) @ fitted
    return found


def _offsets(psf: Psf, x: FloatArray, y: FloatArray, sigma: float) -> FloatArray:
    """Windowed centroids of the PSF's stamps about their middles (n, 2) [pixel]; NaN where they fail."""
    offsets = np.full((len(x), 2), np.nan)
    for k, (place_x, place_y) in enumerate(zip(x, y, strict=True)):
        stamp = psf.stamp(place_x, place_y)
        middle = np.full((1, 2), stamp.shape[0] // 2, dtype=np.float64)
        pixels = Pixels(stamp, np.ones(stamp.shape), np.zeros(stamp.shape, dtype=np.int32))
        found = windowed_centroids(pixels, np.ones(1, dtype=np.int64), middle, sigma, 2.0 * sigma)[0]
        if found[4] == 0:
            offsets[k] = found[:2] - middle[0]
    return offsets
