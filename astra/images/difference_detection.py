"""Detection on a difference image: variance-weighted matched filter, both signs, merged footprints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.images.dia_detection_config import DiaDetectionConfig
from astra.images.dia_peaks import Peaks, find_peaks
from astra.images.exposure import (
    MASK_BAD,
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
)
from astra.images.masks import grow_square
from astra.images.psf import Psf, sigma_from_fwhm
from astra.images.robust import SIGMA_PER_MAD
from astra.images.spatial import SpatialKernel, convolve_spatial, fit_spatial_kernel
from astra.images.subtraction import fill_nan, find_unrepaired

__all__ = ["Peaks", "detect_dia_sources", "find_blank_sky", "find_peaks", "robust_scatter"]

IGNORED = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
MIN_PSF_WEIGHT = 0.5  # share of the PSF's weight that must fall on good pixels
BLANK_SNR = 3.0
FILTER_HALF_WIDTH = 10
SOURCE_SNR = 3.5  # pixels above this do not count in the local mean
SOURCE_GROW_PIXEL = 3
INTERPOLATED_VARIANCE = 4.0  # added to that of interpolated pixels, in its own units
MIN_SCATTER = 0.8  # less is no error of the variance: the images share their noise
SEARCH_MARGIN_PIXEL = 5  # from the edge of the data


def robust_scatter(values: NDArray[np.float32] | NDArray[np.float64]) -> float:
    """Scatter of a Gaussian with the same median absolute deviation; NaN for no values."""
    if values.size == 0:
        return float("nan")
    # A few hundred thousand values tell the scatter to a thousandth.
    sample = values[:: max(1, values.size // 300_000)]
    return float(SIGMA_PER_MAD * np.median(np.abs(sample - np.median(sample))))


def match_filter(psf: Psf, shape: tuple[int, int], power: int) -> SpatialKernel:
    """PSF as a correlation filter, squared if ``power`` is 2."""
    half = min(FILTER_HALF_WIDTH, psf.size // 2)
    margin = psf.size // 2 - half

    def stamp_at(x: float, y: float) -> NDArray[np.float64]:
        stamp = psf.stamp(x, y)
        inner = stamp[margin : psf.size - margin, margin : psf.size - margin]
        return inner[::-1, ::-1] ** power

    return fit_spatial_kernel(stamp_at, shape, min(max(psf.order, 0), 2))


@dataclass(frozen=True)
class MatchedFilter:
    """Signal to noise of a point source at every pixel of a difference, ready for several images.

    Parameters
    ----------
    weight : float32 ndarray, shape (ny, nx)
        Inverse variance in units of ``1 / level``; 0 for unusable pixels.
    noise : float32 ndarray, shape (ny, nx)
        Scatter of the filtered weighted image; infinite where no source can be measured.
    kernel : SpatialKernel
        PSF as a correlation filter.
    """

    weight: NDArray[np.float32]
    noise: NDArray[np.float32]
    kernel: SpatialKernel

    def snr(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signal to noise of a point source centred on every pixel, shape (ny, nx)."""
        weighted = np.where(self.weight > 0, image, np.float32(0)) * self.weight
        snr: NDArray[np.float32] = convolve_spatial(weighted, self.kernel) / self.noise
        return snr


def make_matched_filter(
    difference: Exposure, *, extra_variance: NDArray[np.float32] | None = None
) -> MatchedFilter:
    """Prepare the detection filter of a difference.

    Parameters
    ----------
    difference : Exposure
        White noise, with PSF.
    extra_variance : ndarray, shape (ny, nx), optional
        Systematic variance added to that of the difference.

    Returns
    -------
    matched_filter : MatchedFilter
        Its signal to noise is zero where less than half the PSF falls on good pixels.
    """
    if difference.psf is None:
        message = "a difference needs a PSF before sources can be detected on it"
        raise ValueError(message)
    good = ((difference.mask & IGNORED) == 0) & ~find_unrepaired(difference.mask)
    good &= np.isfinite(difference.image) & (difference.variance > 0)
    variance = np.where(good, difference.variance, np.float32(1))
    if extra_variance is not None:
        variance = variance + np.where(good, extra_variance, np.float32(0))
    # Weights of order 1: fluxes in nJy squared would strain single precision.
    level = np.float32(np.median(variance[good][::7])) if good.any() else np.float32(1)
    weight = np.where(good, level / variance, np.float32(0)).astype(np.float32)
    square = match_filter(difference.psf, difference.shape, 2)
    ny, nx = difference.shape
    central = square.at((nx - 1) / 2, (ny - 1) / 2)
    coverage = convolve_spatial(good.astype(np.float32), SpatialKernel(central[None]))
    enough = good & (coverage > MIN_PSF_WEIGHT * central.sum())
    power = np.maximum(convolve_spatial(weight, square), np.float32(1e-12))
    noise = np.where(enough, np.sqrt(power * level), np.float32(np.inf)).astype(np.float32)
    return MatchedFilter(weight, noise, match_filter(difference.psf, difference.shape, 1))


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
    return ~grow_square(occupied, grow_pixel)


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


def _grow_saturation(mask: NDArray[np.uint32], radius: int) -> NDArray[np.uint32]:
    """Grow the saturated footprints of both images."""
    out = mask.copy()
    for plane in (MASK_SAT, MASK_SAT_TEMPLATE):
        out[grow_square((mask & plane) > 0, radius)] |= plane
    return out


def _model_variance(matched: Exposure, config: DiaDetectionConfig) -> NDArray[np.float32]:
    """Variance of what the matched template cannot know: its flux scale and the motion of its stars."""
    image = fill_nan(matched.image)
    variance = (config.model_error * np.maximum(image, 0)) ** 2
    if config.shift_error_pixel > 0:
        along_y, along_x = np.gradient(image)
        variance = variance + config.shift_error_pixel**2 * (along_x**2 + along_y**2)
    return variance.astype(np.float32)


def _is_searched(mask: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell where detections are looked for: not where the core of a PSF would reach beyond the data."""
    bordered = np.pad((mask & MASK_NO_DATA) > 0, 1, constant_values=True)
    near: NDArray[np.bool_] = grow_square(bordered, SEARCH_MARGIN_PIXEL)[1:-1, 1:-1]
    return ~near


def _psf_sigma(exposure: Exposure) -> float:
    """Width of the PSF at the centre of the frame [pixel]."""
    ny, nx = exposure.shape
    return sigma_from_fwhm(exposure.psf.fwhm_pixel(nx / 2, ny / 2)) if exposure.psf is not None else 0.0


def detect_dia_sources(
    science: Exposure, matched: Exposure, difference: Exposure, config: DiaDetectionConfig
) -> tuple[Exposure, Peaks, dict[str, float]]:
    """Flatten the sky of a difference, find its sources, and mark them in its mask.

    Parameters
    ----------
    science, matched, difference : Exposure, shape (ny, nx)
        The science image, the template that was subtracted from it, and the difference, with PSF.
    config : DiaDetectionConfig

    Returns
    -------
    difference : Exposure
        Its local mean subtracted; saturation grown, detected pixels marked.
    peaks : Peaks
    metrics : dict of str to float
        Scatters and fractions.
    """
    difference = difference.replace(mask=_grow_saturation(difference.mask, config.saturation_grow_pixel))
    extra = _model_variance(matched, config)
    # An interpolated pixel repeats its neighbours: it has next to no weight of its own.
    interpolated = ((science.mask | matched.mask) & MASK_INTRP) > 0
    extra[interpolated] += INTERPOLATED_VARIANCE * difference.variance[interpolated]
    blank = find_blank_sky([science, matched]) & ~interpolated
    matched_filter = make_matched_filter(difference, extra_variance=extra)
    snr = matched_filter.snr(difference.image)
    metrics = {"snrScatterBeforeLocalMean": robust_scatter(snr[blank])}
    if config.local_background_pixel > 0:
        sources = grow_square(np.abs(snr) > SOURCE_SNR, SOURCE_GROW_PIXEL)
        image = subtract_local_mean(difference, sources, config.local_background_pixel)
        difference = difference.replace(image=image)
        snr = matched_filter.snr(difference.image)
    scatter = robust_scatter(snr[blank])
    pixels = difference.image[blank] / np.sqrt(difference.variance[blank])
    metrics |= {"snrScatter": scatter, "pixelScatter": robust_scatter(pixels)}
    metrics["blankFraction"] = float(np.mean(blank))
    if config.scale_snr and np.isfinite(scatter):
        snr = snr / np.float32(max(scatter, MIN_SCATTER))
    snr = np.where(_is_searched(difference.mask), snr, np.float32(0))
    peaks = find_peaks(
        snr,
        config.threshold_snr,
        config.merge_distance_pixel,
        min_prominence=config.min_prominence_snr,
        dipole_separation=config.dipole_separation_sigma * _psf_sigma(difference),
        # The light round saturated stars is not understood well enough to tell sources apart in it.
        unsplit=(difference.mask & (MASK_SAT | MASK_SAT_TEMPLATE)) > 0,
    )
    mask = difference.mask & ~(MASK_DETECTED | MASK_DETECTED_NEGATIVE)
    mask[(peaks.footprints > 0) & (snr > 0)] |= MASK_DETECTED
    mask[(peaks.footprints > 0) & (snr < 0)] |= MASK_DETECTED_NEGATIVE
    return difference.replace(mask=mask), peaks, metrics
