"""Smooth sky background on a mesh.

The model is a mode per cell, median filtered over cells and interpolated by splines (Bertin & Arnouts
1996, A&AS 117, 393), as `sep` computes it, and then the clipped mean of what remains. A mode is made of
medians, and those of integer counts come in steps: they leave up to 0.6 counts a pixel, on SDSS frames some
per cent of the aperture flux of a source of S/N 20.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, Exposure

UNUSABLE = MASK_BAD | MASK_NO_DATA
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 2
CLIPPED_NOISE_RATIO = 0.9866  # standard deviation of a unit Gaussian cut at 3 sigma
MIN_CELL_FRACTION = 0.1  # of a cell that must be usable for a mean of its own


@dataclass(frozen=True)
class Background:
    """Sky model of one image.

    Parameters
    ----------
    model : float32 ndarray, shape (ny, nx)
        Sky [image unit].
    level : float
        Its mean [image unit].
    noise : float
        Clipped standard deviation of the sky pixels about the model [image unit].
    """

    model: NDArray[np.float32]
    level: float
    noise: float


def is_unusable(exposure: Exposure) -> NDArray[np.bool_]:
    """Tell which pixels carry no information: bad, without data, not finite, or of no variance; (ny, nx)."""
    unusable: NDArray[np.bool_] = ~np.isfinite(exposure.image) | ~(exposure.variance > 0)
    unusable |= (exposure.mask & UNUSABLE) != 0
    return unusable


def fit_background(
    exposure: Exposure,
    *,
    mesh_pixel: int = 64,
    filter_cells: int = 3,
    masked: NDArray[np.bool_] | None = None,
) -> Background:
    """Fit the sky of an exposure.

    Parameters
    ----------
    exposure : Exposure
        Sky included.
    mesh_pixel : int
        Side of a mesh cell [pixel].
    filter_cells : int
        Side of the median filter [cells].
    masked : bool ndarray, shape (ny, nx), optional
        Pixels to leave out beside unusable and saturated ones, for example the footprints of sources.

    Returns
    -------
    background : Background
        Zero where no pixel of the image is usable.
    """
    excluded = is_unusable(exposure) | ((exposure.mask & MASK_SAT) != 0)
    if masked is not None:
        excluded |= masked
    if excluded.all():
        return Background(np.zeros(exposure.shape, dtype=np.float32), 0.0, 0.0)
    image = np.where(excluded, np.float32(0), exposure.image).astype(np.float32, copy=False)
    size = min(mesh_pixel, *exposure.shape)
    fitted = sep.Background(image, mask=excluded, bw=size, bh=size, fw=filter_cells, fh=filter_cells)
    model = fitted.back(dtype=np.float32)
    residual = np.where(excluded, np.float32(np.nan), image - model)
    correction, noise = _clipped_mean(residual, float(fitted.globalrms), size, filter_cells)
    model += correction
    return Background(model, float(model.mean()), noise)


def _clipped_mean(
    residual: NDArray[np.float32], noise: float, mesh_pixel: int, filter_cells: int
) -> tuple[NDArray[np.float32], float]:
    """Mean of a residual (NaN where excluded) over the cells, interpolated to all pixels, and the noise."""
    rows, columns = (_Cells.make(n, mesh_pixel) for n in residual.shape)
    area = np.outer(rows.members.sum(axis=1), columns.members.sum(axis=1))
    mean: NDArray[np.float32] = np.zeros(area.shape, dtype=np.float32)
    correction: NDArray[np.float32] = np.zeros(residual.shape, dtype=np.float32)
    for _ in range(CLIP_ROUNDS):
        centred = residual - correction
        kept = np.abs(centred) < CLIP_SIGMA * noise
        deviation = np.where(kept, centred, np.float32(0))
        count = rows.members @ kept.astype(np.float32) @ columns.members.T
        total = rows.members @ deviation @ columns.members.T
        step = np.where(count > MIN_CELL_FRACTION * area, total / np.maximum(count, 1), np.float32(0))
        mean += median_filter(step, size=filter_cells, mode="nearest")
        correction = (rows.weights @ mean @ columns.weights.T).astype(np.float32, copy=False)
        variance = float(np.vdot(deviation, deviation)) / max(float(count.sum()), 1.0)
        noise = max(float(np.sqrt(variance)) / CLIPPED_NOISE_RATIO, float(np.finfo(np.float32).tiny))
    return correction, noise


@dataclass(frozen=True)
class _Cells:
    """Cells along one axis, as matrices: sums over them are products, and so is their interpolation.

    ``members`` (n_cells, n) is 1 where a pixel lies in a cell; ``weights`` (n, n_cells) interpolate linearly
    between the middles of the cells, and are constant beyond the outermost.
    """

    members: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def make(cls, n: int, mesh_pixel: int) -> _Cells:
        """Divide n pixels into cells of about ``mesh_pixel``."""
        n_cells = max(n // mesh_pixel, 1)
        edges = np.linspace(0, n, n_cells + 1).astype(np.int64)
        pixels, identity = np.arange(n), np.eye(n_cells)
        members = identity[np.searchsorted(edges, pixels, side="right") - 1].T
        middles = (edges[:-1] + edges[1:] - 1) / 2
        weights = np.stack([np.interp(pixels, middles, cell) for cell in identity], axis=-1)
        return cls(members.astype(np.float32), weights.astype(np.float32))


def subtract_background(exposure: Exposure, background: Background) -> Exposure:
    """Return the exposure less its sky; the variance, which the sky's photons made, stays."""
    return exposure.replace(image=exposure.image - background.model)
