"""Proper image subtraction (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27), as a method of subtraction.

The filters follow the PSFs over the image by a few modes (`astra.images.kernel_modes`) instead of tiles, so
that there are no seams.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from astra.images.blank_sky import find_source_free
from astra.images.convolved_planes import convolved_mask
from astra.images.decorrelation import (
    NoiseModel,
    noise_model,
    pixel_variance,
    transform_stamp,
    whiten_psf,
)
from astra.images.difference_config import DifferenceConfig
from astra.images.exposure import MASK_NO_DATA, Exposure
from astra.images.kernel_modes import convolve_modes, fit_modal_kernel
from astra.images.psf import Psf
from astra.images.spatial import frame_geometry, spatial_terms
from astra.images.subtraction import blank_missing, join_masks
from astra.images.subtraction_method import Subtraction, SubtractionMethod
from astra.images.zogy_filters import ZogyFilters, make_filters
from astra.images.zogy_fit import Registration, register

FILTER_TOLERANCE = 1e-3  # of the filters, root mean square: below the errors of measured PSFs
SCORE_TOLERANCE = 2e-3
MAX_MODES = 12
MASKED_HALF_WIDTH = 10  # of the filters, where a missing pixel is felt
SCORE_HALF_WIDTH = 15
SKY_STEP_PIXEL = 4
SKY_CELLS = 8  # along each axis
MIN_SKY_PIXELS = 50


class Zogy(SubtractionMethod):
    """Optimal difference of two images of known PSF and noise, with its score."""

    def subtract(self, science: Exposure, template: Exposure, config: DifferenceConfig) -> Subtraction:
        """Subtract; see `SubtractionMethod.subtract`."""
        noise = noise_model(science, template)
        found = register(science, template, noise, min_peak_snr=2.0 * config.matching.stamp_min_peak_snr)
        filters = _Filters(science, template, noise, found)
        missing = ((science.mask | template.mask) & MASK_NO_DATA) > 0
        left, right = (
            convolve_modes(e.image, kernel, missing | ~np.isfinite(e.image))
            for e, kernel in ((science, filters.science), (template, filters.template))
        )
        mask = _mask(science, template)
        psf = whiten_psf(_require_psf(science), filters.science, science.shape)
        plain = science.replace(mask=mask, psf=psf, noise_power=None)
        difference = plain.replace(image=left - right, variance=filters.variance())
        sky = fit_sky(difference, find_source_free(science) & find_source_free(template))
        difference = blank_missing(difference.replace(image=difference.image - sky))
        matched = plain.replace(image=right + sky, variance=filters.template_variance(), info=science.info)
        score = make_score(difference, right, filters, config.detection.shift_error_pixel)
        return Subtraction(difference, blank_missing(matched), None, score, _metrics(found, filters))


class _Filters:
    """Filters of a pair over the frame, and the variances that they make."""

    def __init__(self, science: Exposure, template: Exposure, noise: NoiseModel, found: Registration) -> None:
        self.noise = noise
        self.shape = science.shape
        self.planes = (science.variance, template.variance)
        psfs = _require_psf(science), _require_psf(template)

        @cache  # both filters of a position are made at once, and asked for one after the other
        def filters_at(x: float, y: float) -> ZogyFilters:
            stamps = psfs[0].stamp(x, y), psfs[1].stamp(x, y)
            return make_filters(*stamps, noise, found.flux_ratio, found.shift_at(x, y))

        constant = max(psfs[0].order, psfs[1].order) == 0 and not found.shifts[:, 1:].any()
        self.science, self.template = (
            fit_modal_kernel(stamp_at, self.shape, FILTER_TOLERANCE, constant=constant, max_modes=MAX_MODES)
            for stamp_at in (
                lambda x, y: filters_at(x, y).science,
                lambda x, y: filters_at(x, y).template,
            )
        )

    def transforms_at(self, x: float, y: float) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Return the transforms of both filters."""
        return transform_stamp(self.science.at(x, y)), transform_stamp(self.template.at(x, y))

    def variance(self) -> NDArray[np.float32]:
        """Variance of single pixels of the difference."""
        return pixel_variance(self.planes, self.transforms_at, self.noise)

    def template_variance(self) -> NDArray[np.float32]:
        """White-equivalent variance of the filtered template."""

        def filters_at(x: float, y: float) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
            _, template = self.transforms_at(x, y)
            # The sum of squares is that of white noise of the power at long wavelengths.
            scale = np.abs(template[0, 0]) / np.sqrt(
                np.mean(np.abs(template) ** 2 * self.noise.convolved_power)
            )
            return np.zeros_like(template), template * scale

        return pixel_variance(self.planes, filters_at, self.noise)

    def score_variance(self, psf: Psf) -> NDArray[np.float32]:
        """Variance of the difference correlated with its PSF."""

        def filters_at(x: float, y: float) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
            matched = np.conj(transform_stamp(_core(psf.stamp(x, y))))
            science, template = self.transforms_at(x, y)
            return science * matched, template * matched

        return pixel_variance(self.planes, filters_at, self.noise)


def _require_psf(exposure: Exposure) -> Psf:
    """PSF of an exposure that must have one."""
    if exposure.psf is None:
        message = "the images of a proper difference need a PSF"
        raise ValueError(message)
    return exposure.psf


def _core(stamp: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle of a PSF stamp, where a point source has its signal."""
    margin = max(stamp.shape[0] // 2 - SCORE_HALF_WIDTH, 0)
    return stamp[margin : stamp.shape[0] - margin, margin : stamp.shape[1] - margin]


def _mask(science: Exposure, template: Exposure) -> NDArray[np.uint32]:
    """Mask of the difference: both images are filtered."""
    masks = (convolved_mask(e.mask, MASKED_HALF_WIDTH) for e in (science, template))
    return join_masks(*masks)


def fit_sky(difference: Exposure, free: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fit a plane to the sky of a difference.

    Parameters
    ----------
    difference : Exposure, shape (ny, nx)
    free : bool ndarray, shape (ny, nx)
        Pixels without sources.

    Returns
    -------
    sky : float32 ndarray, shape (ny, nx)
        Zero where there is too little sky to tell.
    """
    ny, nx = difference.shape
    rows, columns = (np.linspace(0, length, SKY_CELLS + 1).astype(int) for length in (ny, nx))
    found = []
    for y0, y1 in pairwise(rows):
        for x0, x1 in pairwise(columns):
            cell = np.s_[y0:y1:SKY_STEP_PIXEL, x0:x1:SKY_STEP_PIXEL]
            values = difference.image[cell][free[cell]]
            if len(values) >= MIN_SKY_PIXELS:
                found.append((0.5 * (x0 + x1 - 1), 0.5 * (y0 + y1 - 1), float(np.median(values))))
    if not found:
        return np.zeros(difference.shape, np.float32)
    x, y, level = np.array(found).T
    geometry = frame_geometry(difference.shape)
    order = 1 if len(found) >= 6 else 0
    terms = spatial_terms(x, y, order, geometry).T
    solution = np.linalg.lstsq(terms, level, rcond=None)[0]
    along = np.ogrid[:ny, :nx]
    everywhere = spatial_terms(along[1], along[0], order, geometry) if order else np.ones((1, 1, 1))
    sky = sum(
        value * np.broadcast_to(term, (ny, nx)) for value, term in zip(solution, everywhere, strict=True)
    )
    return np.asarray(sky, dtype=np.float32)


def make_score(
    difference: Exposure, matched: NDArray[np.float32], filters: _Filters, shift_error_pixel: float
) -> Exposure:
    """Signal to noise of a point source at every pixel (the paper's S_corr, its equation 25).

    Parameters
    ----------
    difference : Exposure
        With PSF.
    matched : float32 ndarray, shape (ny, nx)
        The template as it was subtracted.
    filters : _Filters
    shift_error_pixel : float
        What stars may have moved between the epochs, or their registration be wrong, along each axis [pixel].

    Returns
    -------
    score : Exposure
        Without unit, variance 1; NaN where the difference is.
    """
    psf = _require_psf(difference)
    correlate = fit_modal_kernel(
        lambda x, y: _core(psf.stamp(x, y))[::-1, ::-1],
        difference.shape,
        SCORE_TOLERANCE,
        constant=psf.order == 0,
    )
    missing = ~np.isfinite(difference.image)
    signal = convolve_modes(difference.image, correlate, missing)
    variance = filters.score_variance(psf)
    if shift_error_pixel > 0:
        along_y, along_x = np.gradient(convolve_modes(matched, correlate, missing))
        variance += np.float32(shift_error_pixel**2) * (along_x**2 + along_y**2)
    snr = np.where(missing, np.float32(np.nan), signal / np.sqrt(variance))
    unit = np.where(missing, np.float32(np.nan), np.float32(1))
    return difference.replace(image=snr.astype(np.float32), variance=unit, psf=None)


def _metrics(found: Registration, filters: _Filters) -> dict[str, float]:
    """Figures of the subtraction."""
    centre = found.shift_at(found.geometry[0], found.geometry[1])
    return {
        "zogyFluxRatio": found.flux_ratio,
        "zogyShiftX": centre[0],
        "zogyShiftY": centre[1],
        "zogyStars": float(found.n_stars),
        "zogyStarsKept": float(found.n_kept),
        "zogyModes": float(len(filters.science.modes) + len(filters.template.modes)),
    }
