"""Third and fourth moments of stars: coma, trefoil and kurtosis of the PSF.

Moments are weighted by the Gaussian that matches the star, and taken in coordinates in which that Gaussian is
round and of unit width (Zhang et al. 2023, MNRAS 520, 2328): M_pq = sum(w I u**p v**q) / sum(w I).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.images.moments import WINDOW_SIGMA, Pixels
from astra.images.stamps import cut_stamps

FloatArray = NDArray[np.float64]

POWERS = ((3, 0), (2, 1), (1, 2), (0, 3), (4, 0), (3, 1), (2, 2), (1, 3), (0, 4))
COLUMNS = tuple(f"m{p}{q}" for p, q in POWERS)


def set_higher_moments(sources: NDArray[np.void], pixels: Pixels, chosen: NDArray[np.bool_]) -> None:
    """Fill the columns `COLUMNS` of some sources, in place.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        With ``id``, ``x``, ``y`` and the second moments ``ixx``, ``ixy``, ``iyy`` [pixel**2].
    pixels : Pixels
        Image, variance and owners.
    chosen : bool ndarray, shape (n,)
        Which; those without finite second moments are left out.
    """
    finite = np.isfinite(sources["ixx"]) & np.isfinite(sources["iyy"]) & np.isfinite(sources["ixy"])
    index = np.flatnonzero(chosen & finite)
    stars = sources[index]
    if len(stars) == 0:
        return
    values, dx, dy = _cut(stars, pixels)
    u, v = _round_coordinates(stars, dx, dy)
    weighted = values * np.exp(-0.5 * (u**2 + v**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        for (p, q), name in zip(POWERS, COLUMNS, strict=True):
            moment = np.sum(weighted * u**p * v**q, axis=(1, 2)) / np.sum(weighted, axis=(1, 2))
            sources[name][index] = np.where(np.isfinite(moment), moment, np.nan)


def _cut(stars: NDArray[np.void], pixels: Pixels) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Stamps of stars, (n, size, size), and the distances of their pixels from the centres [pixel].

    A pixel of a neighbour, or without information, is replaced by the one opposite the middle, or left out.
    """
    width = np.sqrt(np.maximum(stars["ixx"], stars["iyy"]).max())
    size = 2 * int(np.ceil(WINDOW_SIGMA * width)) + 1
    columns, rows = np.rint(stars["x"]).astype(np.int64), np.rint(stars["y"]).astype(np.int64)
    values = cut_stamps(pixels.image, columns, rows, size)
    owners = cut_stamps(pixels.owner, columns, rows, size)
    usable = ((owners == 0) | (owners == stars["id"][:, None, None])) & np.isfinite(values)
    opposite = usable[:, ::-1, ::-1]
    mirrored = np.where(opposite, values[:, ::-1, ::-1], 0.0)
    values = np.where(usable, values, mirrored)
    offset = np.arange(size) - size // 2
    dx = offset[None, None, :] + (columns - stars["x"])[:, None, None]
    dy = offset[None, :, None] + (rows - stars["y"])[:, None, None]
    return values, np.broadcast_to(dx, values.shape), np.broadcast_to(dy, values.shape)


def _round_coordinates(
    stars: NDArray[np.void], dx: FloatArray, dy: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coordinates in which the matched Gaussian is round: those times the inverse root of its moments."""
    matrix = np.empty((len(stars), 2, 2))
    matrix[:, 0, 0], matrix[:, 1, 1] = stars["ixx"], stars["iyy"]
    matrix[:, 0, 1] = matrix[:, 1, 0] = stars["ixy"]
    eigenvalues, vectors = np.linalg.eigh(matrix)
    root = vectors / np.sqrt(eigenvalues)[:, None, :] @ np.swapaxes(vectors, 1, 2)
    u = root[:, 0, 0, None, None] * dx + root[:, 0, 1, None, None] * dy
    v = root[:, 1, 0, None, None] * dx + root[:, 1, 1, None, None] * dy
    return u, v
