"""Detection on a difference image: variance-weighted matched filter, both signs, merged footprints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.images.exposure import (
    MASK_BAD,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
)
from astra.images.kernel import grow
from astra.images.psf import Psf
from astra.images.spatial import SpatialKernel, convolve_spatial, fit_spatial_kernel

IGNORED = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
MIN_PSF_WEIGHT = 0.5  # share of the PSF's weight that must fall on good pixels
BLANK_SNR = 3.0
FILTER_HALF_WIDTH = 10


@dataclass(frozen=True)
class SnrMap:
    """Signal to noise of a point source at every pixel.

    Parameters
    ----------
    snr : float32 ndarray, shape (ny, nx)
        Zero where no source can be measured.
    scatter : float
        Robust scatter over blank sky, before any scaling.
    """

    snr: NDArray[np.float32]
    scatter: float


@dataclass(frozen=True)
class Peaks:
    """Detections, one per row.

    Parameters
    ----------
    x, y : int64 ndarray, shape (n,)
        Brightest pixel of the footprint.
    snr : float64 ndarray, shape (n,)
        Signed.
    box_pixel : int64 ndarray, shape (n,)
        Longer side of the footprint's box.
    opposite : float64 ndarray, shape (n,)
        Largest signal to noise of the other sign in the footprint, positive; 0 if there is none.
    footprints : int32 ndarray, shape (ny, nx)
        Number of the footprint from 1, 0 outside.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    snr: NDArray[np.float64]
    box_pixel: NDArray[np.int64]
    opposite: NDArray[np.float64]
    footprints: NDArray[np.int32]


def robust_scatter(values: NDArray[np.float32] | NDArray[np.float64]) -> float:
    """Scatter of a Gaussian with the same median absolute deviation; NaN for no values."""
    if values.size == 0:
        return float("nan")
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def match_filter(psf: Psf, shape: tuple[int, int], power: int) -> SpatialKernel:
    """PSF as a correlation filter, squared if ``power`` is 2."""
    half = min(FILTER_HALF_WIDTH, psf.size // 2)
    margin = psf.size // 2 - half

    def stamp_at(x: float, y: float) -> NDArray[np.float64]:
        stamp = psf.stamp(x, y)
        inner = stamp[margin : psf.size - margin, margin : psf.size - margin]
        return inner[::-1, ::-1] ** power

    return fit_spatial_kernel(stamp_at, shape, min(max(psf.order, 0), 2))


def make_snr_map(
    difference: Exposure, *, extra_variance: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Signal to noise of a point source centred on every pixel.

    Parameters
    ----------
    difference : Exposure
        White noise, with PSF.
    extra_variance : ndarray, shape (ny, nx), optional
        Systematic variance added to that of the difference.

    Returns
    -------
    snr : float32 ndarray, shape (ny, nx)
        Zero where less than half the PSF falls on good pixels.
    """
    if difference.psf is None:
        message = "a difference needs a PSF before sources can be detected on it"
        raise ValueError(message)
    good = ((difference.mask & IGNORED) == 0) & np.isfinite(difference.image) & (difference.variance > 0)
    variance = np.where(good, difference.variance, np.float32(1))
    if extra_variance is not None:
        variance = variance + np.where(good, extra_variance, np.float32(0))
    # Weights of order 1: fluxes in nJy squared would strain single precision.
    level = float(np.median(variance[good])) if good.any() else 1.0
    weight = np.where(good, np.float32(level) / variance, np.float32(0)).astype(np.float32)
    image = np.where(good, difference.image, np.float32(0)) * weight
    signal = convolve_spatial(image.astype(np.float32), match_filter(difference.psf, difference.shape, 1))
    square = match_filter(difference.psf, difference.shape, 2)
    power = convolve_spatial(weight, square)
    coverage = convolve_spatial(good.astype(np.float32), square)
    ny, nx = difference.shape
    enough = coverage > MIN_PSF_WEIGHT * square.at((nx - 1) / 2, (ny - 1) / 2).sum()
    noise = np.sqrt(np.maximum(power, 1e-12) * np.float32(level))
    snr: NDArray[np.float32] = np.where(enough & good, signal / noise, np.float32(0)).astype(np.float32)
    return snr


def find_blank_sky(images: list[Exposure], grow_pixel: int = 5) -> NDArray[np.bool_]:
    """Pixels without a source or a defect in any of the images.

    Parameters
    ----------
    images : list of Exposure
        On one grid, background subtracted.
    grow_pixel : int, optional
        Growth of the sources.

    Returns
    -------
    blank : bool ndarray, shape (ny, nx)
    """
    occupied = np.zeros(images[0].shape, dtype=bool)
    for exposure in images:
        bad = ((exposure.mask & IGNORED) > 0) | ~np.isfinite(exposure.image)
        variance = np.where(bad, np.float32(1), exposure.variance)
        snr = np.where(bad, np.float32(0), exposure.image / np.sqrt(np.maximum(variance, 1e-30)))
        # The mean of 5 x 5 independent pixels scatters by a fifth of one.
        occupied |= bad | (5.0 * ndimage.uniform_filter(snr, 5) > BLANK_SNR)
    return ~grow(occupied, grow_pixel)


def subtract_local_mean(difference: Exposure, exclude: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """Subtract from every pixel the mean of the usable pixels in a box round it.

    Parameters
    ----------
    difference : Exposure
    exclude : bool ndarray, shape (ny, nx)
        Pixels that must not count: sources.
    side : int
        Side of the box [pixel].

    Returns
    -------
    image : float32 ndarray, shape (ny, nx)
        Unchanged where less than 5 % of the box can be used.
    """
    bad = exclude | ((difference.mask & IGNORED) > 0) | ~np.isfinite(difference.image)
    weight = (~bad).astype(np.float32)
    total = ndimage.uniform_filter(np.where(bad, np.float32(0), difference.image), side, mode="constant")
    share = ndimage.uniform_filter(weight, side, mode="constant")
    mean = np.where(share > 0.05, total / np.maximum(share, 1e-6), np.float32(0))
    return (difference.image - mean).astype(np.float32)


def find_peaks(snr: NDArray[np.float32], threshold: float, merge_distance: int) -> Peaks:
    """Find footprints above the threshold in either sign, and the peak of each.

    Parameters
    ----------
    snr : ndarray, shape (ny, nx)
    threshold : float
        Least absolute signal to noise.
    merge_distance : int
        Growth of the footprints [pixel]; those that touch then, of either sign, are one.

    Returns
    -------
    peaks : Peaks
        Sorted by y, then x.
    """
    significance = np.abs(snr)
    above = significance >= threshold
    footprints, n = ndimage.label(grow(above, merge_distance), structure=np.ones((3, 3)), output=np.int32)
    if n == 0:
        none = np.zeros(0, dtype=np.int64)
        return Peaks(none, none, none.astype(float), none, none.astype(float), footprints)
    index = np.arange(1, n + 1)
    places = np.array(ndimage.maximum_position(significance, footprints, index), dtype=np.int64)
    y, x = places[:, 0], places[:, 1]
    value = snr[y, x].astype(float)
    extremes = [ndimage.maximum(part, footprints, index) for part in (snr, -snr)]
    opposite = np.where(value > 0, extremes[1], extremes[0])
    boxes = [
        max(rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(footprints)
    ]
    order = np.lexsort((x, y))
    return Peaks(
        x[order],
        y[order],
        value[order],
        np.array(boxes, dtype=np.int64)[order],
        np.maximum(opposite, 0.0)[order],
        footprints,
    )
