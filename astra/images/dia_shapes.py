"""Aperture fluxes and adaptive moments of detections on a difference, and the moments of its PSF.

Each detection is copied, a negative one mirrored, into a small box on which the kernels of sources on
ordinary images work: nothing as large as the image is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from astra.compiled import compiled, part
from astra.images.exposure import Exposure
from astra.images.fluxes import aperture_sums
from astra.images.moments import WINDOW_SIGMA, Pixels, adaptive_moments
from astra.images.stamp_fit import UNUSABLE

FloatArray = NDArray[np.float64]

LARGEST_SHAPE_PIXEL = 8.0
SMALL_WINDOWS = 1.5  # half-width of the box that suffices for most, in windows of a point source
WIDE_GUESS = 3.0  # second first guess of the width of a source, in widths of the PSF
EXTENDED_RATIO = 1.1  # of the radius to the PSF's at which a source is as likely extended as not


@dataclass(frozen=True)
class DiaShapes:
    """Aperture fluxes and shapes, one row per detection.

    Parameters
    ----------
    ap_flux, ap_flux_err : float64 ndarray, shape (n,)
        [image unit]; negative for a negative source.
    ap_area : float64 ndarray, shape (n,)
        Usable fraction of the aperture.
    moments : float64 ndarray, shape (n, 3)
        ixx, ixy, iyy of the image, mirrored if negative [pixel**2].
    failed : bool ndarray, shape (n,)
        The moments did not converge.
    n_usable : int64 ndarray, shape (n,)
        Usable pixels within two widths of the PSF.
    """

    ap_flux: FloatArray
    ap_flux_err: FloatArray
    ap_area: FloatArray
    moments: FloatArray
    failed: NDArray[np.bool_]
    n_usable: NDArray[np.int64]


def measure_shapes(
    difference: Exposure, positions: FloatArray, is_negative: NDArray[np.bool_], sigma: float, radius: float
) -> DiaShapes:
    """Measure aperture fluxes and adaptive moments at given positions.

    Parameters
    ----------
    difference : Exposure
    positions : float64 ndarray, shape (n, 2)
        x and y [pixel].
    is_negative : bool ndarray, shape (n,)
        Which sources are negative.
    sigma : float
        Width of the PSF [pixel], the first guess.
    radius : float
        Of the aperture [pixel].

    Returns
    -------
    shapes : DiaShapes
    """
    reach = np.ceil(radius + 1.0), np.ceil(WINDOW_SIGMA * LARGEST_SHAPE_PIXEL)
    table = np.empty((len(positions), 8))
    planes = difference.image, difference.variance, difference.mask
    signs = np.where(is_negative, -1.0, 1.0)
    small = int(max(reach[0], np.ceil(SMALL_WINDOWS * WINDOW_SIGMA * sigma))) + 1
    _measure_boxes(planes, positions, signs, (sigma, radius), small, table)
    # Few shapes need pixels further out: those that are much wider than the PSF, or were on their way there.
    large = max(int(max(reach)) + 1, small)
    again = ~(WINDOW_SIGMA * np.sqrt(np.maximum(table[:, 3], table[:, 5])) + 1.0 < small) | (table[:, 6] > 0)
    for first_guess in (sigma, WIDE_GUESS * sigma):  # a window that sees only a part of a long source fails
        rows = np.flatnonzero(again)
        wide = np.empty((len(rows), 8))
        _measure_boxes(planes, positions[rows], signs[rows], (first_guess, radius), large, wide)
        wide[:, 7] = table[rows, 7]
        table[rows] = wide
        again[rows] = wide[:, 6] > 0
    return DiaShapes(
        signs * table[:, 0], table[:, 1], table[:, 2], table[:, 3:6],
        table[:, 6] > 0, table[:, 7].astype(np.int64),
    )  # fmt: skip


@part
def _fill_box(planes, column, row, sign, pixels):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy the pixels round one of them; those outside the image or unusable have the owner -1."""
    image, variance, mask = planes
    ny, nx = image.shape
    side = pixels.image.shape[0]
    top, left = row - side // 2, column - side // 2
    pixels.owner[:] = -1
    for j in range(max(0, -top), min(side, ny - top)):
        for i in range(max(0, -left), min(side, nx - left)):
            value = image[top + j, left + i]
            if mask[top + j, left + i] & UNUSABLE == 0 and np.isfinite(value):
                pixels.image[j, i], pixels.variance[j, i] = sign * value, variance[top + j, left + i]
                pixels.owner[j, i] = 0


@compiled
def _measure_boxes(planes, positions, signs, scales, half, table):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Columns: flux, error, area of the aperture; ixx, ixy, iyy, failed; usable pixels in the core."""
    sigma, radius = scales
    side = 2 * half + 1
    pixels = Pixels(
        np.zeros((side, side), np.float32),
        np.zeros((side, side), np.float32),
        np.zeros((side, side), np.int32),
    )
    label, radii, core = np.zeros(1, np.int64), np.array([radius]), int(np.ceil(2.0 * sigma))
    place = np.empty((1, 2))
    for k in range(len(positions)):
        column, row = int(np.rint(positions[k, 0])), int(np.rint(positions[k, 1]))
        _fill_box(planes, column, row, np.float32(signs[k]), pixels)
        place[0, 0], place[0, 1] = half + positions[k, 0] - column, half + positions[k, 1] - row
        flux, error, area = aperture_sums(pixels, label, place, radii)
        table[k, 0], table[k, 1], table[k, 2] = flux[0, 0], error[0, 0], area[0, 0]
        found = adaptive_moments(pixels, label, place, sigma, LARGEST_SHAPE_PIXEL)
        table[k, 3], table[k, 4], table[k, 5], table[k, 6] = (
            found[0, 0],
            found[0, 1],
            found[0, 2],
            found[0, 5],
        )
        table[k, 7] = 0.0
        for j in range(half - core, half + core + 1):
            for i in range(half - core, half + core + 1):
                table[k, 7] += pixels.owner[j, i] == 0


def stamp_moments(stamps: FloatArray, sigma: float) -> FloatArray:
    """Adaptive moments of centred PSF stamps.

    Parameters
    ----------
    stamps : float64 ndarray, shape (n, side, side)
    sigma : float
        First guess of their width [pixel].

    Returns
    -------
    moments : float64 ndarray, shape (n, 3)
        ixx, ixy, iyy [pixel**2]; NaN where they did not converge.
    """
    moments = np.empty((len(stamps), 3))
    _stamp_moments(np.ascontiguousarray(stamps, dtype=np.float32), sigma, moments)
    return moments


@compiled
def _stamp_moments(stamps, sigma, moments):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the moments of each stamp."""
    n, side, _ = stamps.shape
    flat, free = np.ones((side, side), np.float32), np.zeros((side, side), np.int32)
    label, place = np.zeros(1, np.int64), np.full((1, 2), float(side // 2))
    for k in range(n):
        found = adaptive_moments(Pixels(stamps[k], flat, free), label, place, sigma, LARGEST_SHAPE_PIXEL)
        moments[k, 0], moments[k, 1], moments[k, 2] = found[0, 0], found[0, 1], found[0, 2]


def trace_radius(moments: FloatArray) -> FloatArray:
    """Root of half the trace of moments ixx, ixy, iyy; shape (n,), NaN for those that are no shape."""
    half_trace = (moments[:, 0] + moments[:, 2]) / 2.0
    radius: FloatArray = np.sqrt(np.where(half_trace > 0, half_trace, np.nan))
    return radius


def extendedness(moments: FloatArray, psf_moments: FloatArray, snr: FloatArray) -> FloatArray:
    """Probability that sources are larger than the PSF by a tenth, from the errors of their radii.

    The relative error of the radius of a Gaussian is one over the signal to noise of its flux.

    Parameters
    ----------
    moments, psf_moments : float64 ndarray, shape (n, 3)
        ixx, ixy, iyy of sources and PSF.
    snr : float64 ndarray, shape (n,)
        Of the flux.

    Returns
    -------
    extendedness : float64 ndarray, shape (n,)
        0 for a point source that is well measured, 1 for an extended one; NaN without a shape.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = trace_radius(moments) / trace_radius(psf_moments)
        probability: FloatArray = ndtr((ratio - EXTENDED_RATIO) / ratio * np.abs(snr))
    return probability
