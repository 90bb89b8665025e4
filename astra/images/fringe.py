"""Fringes: how strong the pattern of the night sky's lines is in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import TooFewSourcesError
from astra.images.robust import SIGMA_PER_MAD

N_POINTS = 30_000
SMALL_PIXEL, LARGE_PIXEL = 3, 30  # half-widths of the squares that are compared
CLIP_SIGMA, MAX_ITERATIONS = 3.0, 20
_MIN_POINTS = 20
_MIN_SHARE = 0.5  # of a square that must be usable


@dataclass(frozen=True)
class FringeFit:
    """Amplitude of fringes.

    Parameters
    ----------
    amplitude, amplitude_err : float
        Factor of the fringe frame [unit of the image / unit of the frame].
    n_used : int
        Places that tell it.
    """

    amplitude: float
    amplitude_err: float
    n_used: int


def fit_fringes(image: NDArray[np.float32], fringe: NDArray[np.float32], bad: NDArray[np.bool_]) -> FringeFit:
    """Fit the amplitude of a fringe frame in an image.

    At places of a grid, the mean of a small square less that of a large one is compared in both images; the
    sky, smooth over the large square, drops out, and places with sources are clipped.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Flat-fielded, with its sky.
    fringe : float32 ndarray, shape (ny, nx)
        The pattern.
    bad : bool ndarray, shape (ny, nx)
        Pixels of either to leave out.

    Returns
    -------
    fit : FringeFit

    Raises
    ------
    TooFewSourcesError
        If fewer than 20 places are usable.
    """
    y, x = _grid(image.shape)
    values, weight = (np.where(bad, 0.0, plane) for plane in (_clip_sources(image, bad), 1.0))
    share = {radius: _square_means(weight, y, x, radius) for radius in (SMALL_PIXEL, LARGE_PIXEL)}
    usable = (share[SMALL_PIXEL] > _MIN_SHARE) & (share[LARGE_PIXEL] > _MIN_SHARE)
    if usable.sum() < _MIN_POINTS:
        message = f"{usable.sum()} places are usable to fit fringes, but {_MIN_POINTS} are required"
        raise TooFewSourcesError(message, n_found=int(usable.sum()), n_required=_MIN_POINTS)
    y, x = y[usable], x[usable]
    contrasts = []
    for plane in (values, np.where(bad, 0.0, fringe)):
        small, large = (_square_means(plane, y, x, r) / share[r][usable] for r in (SMALL_PIXEL, LARGE_PIXEL))
        contrasts.append(small - large)
    return _fit_slope(*contrasts)


def _fit_slope(contrast: NDArray[np.float64], pattern: NDArray[np.float64]) -> FringeFit:
    """Fit contrast = amplitude * pattern + constant, clipped."""
    kept = np.ones(len(contrast), dtype=np.bool_)
    amplitude = error = 0.0
    for _ in range(MAX_ITERATIONS):
        p, c = pattern[kept] - pattern[kept].mean(), contrast[kept] - contrast[kept].mean()
        power = float(p @ p)
        amplitude = float(p @ c) / power if power > 0 else 0.0
        residual = contrast - contrast[kept].mean() - amplitude * (pattern - pattern[kept].mean())
        sigma = SIGMA_PER_MAD * float(np.median(np.abs(residual[kept])))
        error = sigma / np.sqrt(power) if power > 0 else 0.0
        again = np.abs(residual) <= CLIP_SIGMA * sigma
        if again.sum() < _MIN_POINTS or (again == kept).all():
            break
        kept = again
    return FringeFit(amplitude, float(error), int(kept.sum()))


def _clip_sources(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Limit pixels to 3 sigma about the median, so that stars do not make the means."""
    values = np.where(bad, 0.0, image).astype(np.float64)
    good = values[~bad]
    if good.size == 0:
        return values
    middle = float(np.median(good))
    sigma = SIGMA_PER_MAD * float(np.median(np.abs(good - middle)))
    clipped: NDArray[np.float64] = np.clip(values, middle - CLIP_SIGMA * sigma, middle + CLIP_SIGMA * sigma)
    return clipped


def _grid(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return about `N_POINTS` places, evenly spread: no chance, so that the same image gives the same fit."""
    step = max(1, int(np.sqrt(shape[0] * shape[1] / N_POINTS)))
    y, x = np.mgrid[step // 2 : shape[0] : step, step // 2 : shape[1] : step]
    return y.ravel(), x.ravel()


def _square_means(
    plane: NDArray[np.float64], y: NDArray[np.int64], x: NDArray[np.int64], radius: int
) -> NDArray[np.float64]:
    """Mean over squares, cut at the border of the image."""
    total = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1))
    np.cumsum(np.cumsum(plane, axis=0), axis=1, out=total[1:, 1:])
    low_y, high_y = np.maximum(y - radius, 0), np.minimum(y + radius + 1, plane.shape[0])
    low_x, high_x = np.maximum(x - radius, 0), np.minimum(x + radius + 1, plane.shape[1])
    sums = total[high_y, high_x] - total[low_y, high_x] - total[high_y, low_x] + total[low_y, low_x]
    means: NDArray[np.float64] = sums / ((high_y - low_y) * (high_x - low_x))
    return means
