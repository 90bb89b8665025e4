"""Smooth sky background on a mesh.

The model is a clipped mode per cell, median filtered over cells and interpolated by splines (Bertin & Arnouts
1996, A&AS 117, 393), as `sep` computes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, Exposure

UNUSABLE = MASK_BAD | MASK_NO_DATA


@dataclass(frozen=True)
class Background:
    """Sky model of one image.

    Parameters
    ----------
    model : float32 ndarray, shape (ny, nx)
        Sky [image unit].
    level : float
        Its median [image unit].
    noise : float
        Robust standard deviation of the sky pixels about the model [image unit].
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
    return Background(model, float(fitted.globalback), float(fitted.globalrms))


def subtract_background(exposure: Exposure, background: Background) -> Exposure:
    """Return the exposure less its sky; the variance, which the sky's photons made, stays."""
    return exposure.replace(image=exposure.image - background.model)
