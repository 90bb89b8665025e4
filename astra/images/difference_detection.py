"""Detection on a difference image: variance-weighted matched filter, both signs, merged footprints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.images.blank_sky import find_blank_sky, sample_blank_sky
from astra.images.dia_detection_config import DiaDetectionConfig
from astra.images.dia_peaks import Peaks, find_peaks
from astra.images.dia_pixels import (
    bits_around,
    exclude_sources,
    find_bits,
    grow_planes,
    subtract_box_mean,
    weigh_pixels,
)
from astra.images.exposure import (
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    MASK_STREAK,
    Exposure,
    MaskPlane,
)
from astra.images.matched_filter import MatchedFilter, make_tile_filters
from astra.images.psf import sigma_from_fwhm
from astra.images.robust import SIGMA_PER_MAD
from astra.images.streaks import SearchImage, find_streaks

__all__ = ["Peaks", "detect_dia_sources", "find_blank_sky", "find_peaks", "robust_scatter"]

SOURCE_SNR = 3.5  # pixels above this do not count in the local mean
SOURCE_GROW_PIXEL = 3
MIN_SCATTER = 0.8  # less is no error of the variance: the images share their noise
SEARCH_MARGIN_PIXEL = 5  # from the edge of the data
SCATTER_SAMPLE = 200_000

SkySample = list[tuple[slice, NDArray[np.bool_]]]  # lines of the frame, and which of their pixels are blank


def robust_scatter(values: NDArray[np.float32] | NDArray[np.float64]) -> float:
    """Scatter of a Gaussian with the same median absolute deviation; NaN for no values."""
    if values.size == 0:
        return float("nan")
    # A few hundred thousand values tell the scatter to a thousandth.
    sample = values[:: max(1, values.size // SCATTER_SAMPLE)]
    return float(SIGMA_PER_MAD * np.median(np.abs(sample - np.median(sample))))


def make_matched_filter(
    difference: Exposure,
    science: Exposure | None = None,
    matched: Exposure | None = None,
    config: DiaDetectionConfig | None = None,
) -> MatchedFilter:
    """Prepare the detection filter of a difference.

    Parameters
    ----------
    difference : Exposure, shape (ny, nx)
        White noise, with PSF.
    science, matched : Exposure, optional
        The science image and the template that was subtracted from it, for the systematic errors.
    config : DiaDetectionConfig, optional
        How large these are.

    Raises
    ------
    ValueError
        If the difference has no PSF.
    """
    if difference.psf is None:
        message = "a difference needs a PSF before sources can be detected on it"
        raise ValueError(message)
    config = config or DiaDetectionConfig()
    weight, level = weigh_pixels(
        difference,
        matched,
        interpolated=tuple(e.mask for e in (science, matched) if e is not None),
        model_error=config.model_error,
        shift_error_pixel=config.shift_error_pixel,
    )
    return MatchedFilter(weight, level, make_tile_filters(difference.psf, difference.shape))


def detect_dia_sources(
    science: Exposure,
    matched: Exposure,
    difference: Exposure,
    config: DiaDetectionConfig,
    score: Exposure | None = None,
) -> tuple[Exposure, Peaks, dict[str, float]]:
    """Flatten the sky of a difference, find its sources, and mark them in its mask.

    Parameters
    ----------
    science, matched, difference : Exposure, shape (ny, nx)
        The science image, the template that was subtracted from it, and the difference, with PSF.
    config : DiaDetectionConfig
    score : Exposure, optional
        Signal to noise of a point source at every pixel, to search in place of the filtered difference.

    Returns
    -------
    difference : Exposure
        Its local mean subtracted; saturation grown, detected pixels marked.
    peaks : Peaks
    metrics : dict of str to float
        Scatters and fractions.
    """
    mask = grow_planes(difference.mask, MASK_SAT | MASK_SAT_TEMPLATE, config.saturation_grow_pixel)
    mask &= ~(MASK_DETECTED | MASK_DETECTED_NEGATIVE)
    difference = difference.replace(mask=mask)
    matched_filter = make_matched_filter(difference, science, matched, config)
    blank = _sample_sky(science, matched)
    snr = matched_filter.quick_snr(difference.image)
    metrics = {"snrScatterBeforeLocalMean": robust_scatter(_pick(snr, blank))}
    if config.local_background_pixel > 0:
        sources = exclude_sources(snr, matched_filter.weight, SOURCE_SNR, SOURCE_GROW_PIXEL)
        flat = subtract_box_mean(difference.image, sources, config.local_background_pixel)
        difference = difference.replace(image=flat)
    if score is None:
        snr = matched_filter.snr(difference.image, out=snr)
    else:
        snr = _weigh_score(score, difference, matched_filter)
    metrics |= _scatters(difference, snr, blank)
    if config.scale_snr and np.isfinite(metrics["snrScatter"]):
        snr /= np.float32(max(metrics["snrScatter"], MIN_SCATTER))
    _clear_edges(mask, SEARCH_MARGIN_PIXEL, snr)
    if config.streaks:
        metrics["streaks"] = _mask_streaks(difference, matched_filter, mask)
    peaks = _find(difference, snr, config)
    _mark_detected(peaks, snr, mask)
    return difference, peaks, metrics


def _weigh_score(score: Exposure, difference: Exposure, matched_filter: MatchedFilter) -> NDArray[np.float32]:
    """Score, lessened by the systematic errors that the matched filter knows and a score does not."""
    with np.errstate(invalid="ignore"):
        share = matched_filter.weight * difference.variance / np.float32(matched_filter.level)
    share = np.sqrt(np.clip(np.nan_to_num(share), 0, 1)).astype(np.float32)
    return np.where(np.isfinite(score.image), score.image * share, np.float32(0)).astype(np.float32)


def _sample_sky(science: Exposure, matched: Exposure) -> SkySample:
    """Blank sky in parts of the frame, without interpolated pixels: these scatter less."""
    sample = []
    for lines, blank in sample_blank_sky([science, matched]):
        interpolated = ((science.mask[lines] | matched.mask[lines]) & MASK_INTRP) > 0
        sample.append((lines, blank & ~interpolated))
    return sample


def _pick(plane: NDArray[np.float32], sample: SkySample) -> NDArray[np.float32]:
    """Values of a plane on the blank sky of the sample."""
    return np.concatenate([plane[lines][blank] for lines, blank in sample])


def _scatters(difference: Exposure, snr: NDArray[np.float32], sample: SkySample) -> dict[str, float]:
    """How far the signal to noise of point sources and of pixels scatters on blank sky."""
    pixels = _pick(difference.image, sample) / np.sqrt(_pick(difference.variance, sample))
    return {
        "snrScatter": robust_scatter(_pick(snr, sample)),
        "pixelScatter": robust_scatter(pixels),
        "blankFraction": float(np.mean(np.concatenate([blank.ravel() for _, blank in sample]))),
    }


def _psf_sigma(exposure: Exposure) -> float:
    """Width of the PSF at the middle of the frame [pixel]; 0 without one."""
    ny, nx = exposure.shape
    return 0.0 if exposure.psf is None else sigma_from_fwhm(exposure.psf.fwhm_pixel(nx / 2, ny / 2))


def _mask_streaks(difference: Exposure, matched_filter: MatchedFilter, mask: NDArray[np.uint32]) -> float:
    """Set STREAK under trails, in place; return their number."""
    search = SearchImage(
        difference.image, matched_filter.weight, matched_filter.level, _psf_sigma(difference)
    )
    streaks, masked = find_streaks(search)
    if len(streaks) > 0:
        mask[masked] |= MASK_STREAK
    return float(len(streaks))


def _find(difference: Exposure, snr: NDArray[np.float32], config: DiaDetectionConfig) -> Peaks:
    """Find the peaks of a map of signal to noise, but for those on pixels of rejected planes."""
    peaks = find_peaks(
        snr,
        config.threshold_snr,
        config.merge_distance_pixel,
        min_prominence=config.min_prominence_snr,
        dipole_separation=config.dipole_separation_sigma * _psf_sigma(difference),
        mask=difference.mask,
        # The light round saturated stars is not understood well enough to tell sources apart in it.
        unsplit_planes=MASK_SAT | MASK_SAT_TEMPLATE,
    )
    rejected = np.uint32(sum(MaskPlane[name] for name in set(config.rejected_planes)))
    return peaks.where((difference.mask[peaks.y, peaks.x] & rejected) == 0)


@compiled
def _clear_edges(mask, margin, snr):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Set zero where the core of a PSF would reach beyond the data, in place."""
    ny, nx = mask.shape
    snr[:margin], snr[max(ny - margin, 0) :] = 0.0, 0.0
    snr[:, :margin], snr[:, max(nx - margin, 0) :] = 0.0, 0.0
    for y, x in find_bits(mask, MASK_NO_DATA):
        # Within missing data the signal to noise is zero as it is.
        if not bits_around(mask, y, x) & MASK_NO_DATA:
            snr[max(y - margin, 0) : y + margin + 1, max(x - margin, 0) : x + margin + 1] = 0.0


def _mark_detected(peaks: Peaks, snr: NDArray[np.float32], mask: NDArray[np.uint32]) -> None:
    """Mark the footprints of the peaks in a mask, in place, by sign."""
    _, first = np.unique(peaks.footprint, return_index=True)
    columns = (peaks.footprint, peaks.x_min, peaks.x_max, peaks.y_min, peaks.y_max)
    _mark_footprints(peaks.footprints, snr, np.stack([column[first] for column in columns], axis=1), mask)


@compiled
def _mark_footprints(footprints, snr, boxes, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mark the pixels of each footprint within its box."""
    for number, x_min, x_max, y_min, y_max in boxes:
        for y in range(y_min, y_max + 1):
            for x in range(x_min, x_max + 1):
                if footprints[y, x] == number and snr[y, x] != 0.0:
                    mask[y, x] |= MASK_DETECTED if snr[y, x] > 0.0 else MASK_DETECTED_NEGATIVE
