"""Image subtraction from end to end: warp, match, subtract, whiten, detect, measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import NoOverlapError
from astra.images.decorrelation import FOURIER_SIDE, NoiseModel
from astra.images.difference_config import DifferenceConfig
from astra.images.difference_detection import (
    Peaks,
    find_blank_sky,
    find_peaks,
    make_matched_filter,
    robust_scatter,
    subtract_local_mean,
)
from astra.images.difference_measurement import measure_dia_sources
from astra.images.exposure import (
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
    require_one_band,
)
from astra.images.kernel import MatchingKernel, fit_kernel
from astra.images.masks import grow_square
from astra.images.spatial import SpatialKernel
from astra.images.subtraction import decorrelate, fill_nan, noise_level, repair, subtract_template
from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power

__all__ = ["DifferenceConfig", "DifferenceResult", "difference_images"]

SOURCE_SNR = 3.5  # pixels above this do not count in the local mean
SOURCE_GROW_PIXEL = 3
INTERPOLATED_VARIANCE = 4.0  # added to that of interpolated pixels, in its own units
MIN_SCATTER = 0.8  # less is no error of the variance: the images share their noise
SEARCH_MARGIN_PIXEL = 5  # from the edge of the data
SAME_SEEING = 1.02  # ratio of widths within which the template is the one to convolve


@dataclass(frozen=True)
class DifferenceResult:
    """What image subtraction makes.

    Parameters
    ----------
    matched_template : Exposure
        Template on the grid, in the seeing and the flux scale of the science image.
    difference : Exposure
        Science minus matched template, whitened, its local mean subtracted; detected pixels are in its mask.
    kernel : SpatialKernel
        Matching kernel.
    dia_sources : structured ndarray
        Detections (`astra.images.difference_measurement.DIA_SOURCE_DTYPE`).
    metrics : dict of str to float
        Quality figures: widths [pixel], flux ratio, numbers, scatters.
    """

    matched_template: Exposure
    difference: Exposure
    kernel: SpatialKernel
    dia_sources: NDArray[Any]
    metrics: dict[str, float]


def difference_images(
    science: Exposure, template: Exposure, config: DifferenceConfig | None = None
) -> DifferenceResult:
    """Subtract a template from a science image and measure what is left.

    Parameters
    ----------
    science, template : Exposure
        Calibrated [nJy], background subtracted, with WCS, PSF and mask; on grids of their own.
    config : DifferenceConfig, optional

    Returns
    -------
    result : DifferenceResult

    Raises
    ------
    NoOverlapError
        If the template covers less than ``config.min_overlap`` of the science pixels.
    TooFewSourcesError
        If too few sources are there to fit the kernel.
    KernelFitError
        If the kernel has no solution.
    DataError
        If the two are of different bands.
    ValueError
        If either image lacks a WCS or a PSF.
    """
    config = config or DifferenceConfig()
    require_one_band([science, template])
    science, template = repair(science), repair(template)
    warped, warp_power = _warp_template(science, template, config)
    convolve_science = _is_science_convolved(science, warped, config)
    flat = np.ones((FOURIER_SIDE, FOURIER_SIDE))
    if convolve_science:
        matching = fit_kernel(science, warped, config)
        noise = NoiseModel(noise_level(warped), noise_level(science), warp_power, flat)
    else:
        matching = fit_kernel(warped, science, config, noise_power=warp_power)
        noise = NoiseModel(noise_level(science), noise_level(warped), flat, warp_power)
    matched, difference = subtract_template(science, warped, matching, convolve_science=convolve_science)
    if config.decorrelate:
        difference = decorrelate(difference, matching.kernel, noise)
    difference = difference.replace(mask=_grow_saturation(difference.mask, config.saturation_grow_pixel))
    difference, peaks, metrics = _find_sources(science, matched, difference, config)
    dia_sources = measure_dia_sources(difference, science, matched, peaks, config)
    metrics |= _input_metrics(science, warped, matching)
    metrics["diaSources"] = float(len(dia_sources))
    metrics["diaSourcesNegative"] = float(np.sum(dia_sources["isNegative"]))
    return DifferenceResult(matched, difference, matching.kernel, dia_sources, metrics)


def _warp_template(
    science: Exposure, template: Exposure, config: DifferenceConfig
) -> tuple[Exposure, NDArray[np.float64]]:
    """Template on the science grid, and the noise power that the warp leaves."""
    for name, exposure in (("science image", science), ("template", template)):
        if exposure.wcs is None or exposure.psf is None:
            message = f"the {name} of a subtraction needs a WCS and a PSF"
            raise ValueError(message)
    pixel_map = make_pixel_map(science.wcs, template.wcs, science.shape)
    warped = warp_exposure(template, pixel_map, science.wcs)
    covered = float(np.mean((warped.mask & MASK_NO_DATA) == 0))
    if covered < config.min_overlap:
        message = (
            f"the template covers {100 * covered:.1f} % of the science pixels, but "
            f"{100 * config.min_overlap:.1f} % are required (visit {science.info.visit}, "
            f"detector {science.info.detector})"
        )
        raise NoOverlapError(message, covered=covered, required=config.min_overlap)
    return warped, warp_noise_power(pixel_map, FOURIER_SIDE)


def _is_science_convolved(science: Exposure, template: Exposure, config: DifferenceConfig) -> bool:
    """Convolve the sharper of the two."""
    if config.direction != "auto":
        return config.direction == "science"
    ny, nx = science.shape
    widths = [e.psf.fwhm_pixel(nx / 2, ny / 2) for e in (science, template) if e.psf is not None]
    return widths[1] > SAME_SEEING * widths[0]


def _grow_saturation(mask: NDArray[np.uint32], radius: int) -> NDArray[np.uint32]:
    """Grow the saturated footprints of both images."""
    out = mask.copy()
    for plane in (MASK_SAT, MASK_SAT_TEMPLATE):
        out[grow_square((mask & plane) > 0, radius)] |= plane
    return out


def _input_metrics(science: Exposure, template: Exposure, matching: MatchingKernel) -> dict[str, float]:
    """Figures of the inputs and of the kernel."""
    ny, nx = science.shape
    widths = [e.psf.fwhm_pixel(nx / 2, ny / 2) for e in (science, template) if e.psf is not None]
    return {
        "scienceFwhmPixel": widths[0],
        "templateFwhmPixel": widths[1],
        "templateCoverage": float(np.mean((template.mask & MASK_NO_DATA) == 0)),
        "kernelFluxRatio": matching.flux_ratio,
        "kernelOrder": float(matching.kernel.order),
        "kernelStamps": float(matching.n_stamps),
        "kernelStampsKept": float(matching.n_kept),
        "kernelChi2": matching.chi2,
    }


def _model_variance(matched: Exposure, config: DifferenceConfig) -> NDArray[np.float32]:
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


def _find_sources(
    science: Exposure, matched: Exposure, difference: Exposure, config: DifferenceConfig
) -> tuple[Exposure, Peaks, dict[str, float]]:
    """Flatten the sky of the difference, find its sources, and mark them in its mask."""
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
    peaks = find_peaks(snr, config.threshold_snr, config.merge_distance_pixel)
    mask = difference.mask & ~(MASK_DETECTED | MASK_DETECTED_NEGATIVE)
    mask[(peaks.footprints > 0) & (snr > 0)] |= MASK_DETECTED
    mask[(peaks.footprints > 0) & (snr < 0)] |= MASK_DETECTED_NEGATIVE
    return difference.replace(mask=mask), peaks, metrics
