"""Image subtraction from end to end: warp, match, subtract, whiten, detect, measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import AlgorithmError, NoOverlapError
from astra.images.dia_source_columns import DIA_SOURCE_DTYPE
from astra.images.difference_config import DifferenceConfig
from astra.images.difference_detection import detect_dia_sources
from astra.images.difference_measurement import measure_dia_sources
from astra.images.difference_metrics import (
    difference_figures,
    limiting_magnitude,
    sample_metrics,
    sky_dia_sources,
)
from astra.images.difference_quality import check_difference
from astra.images.exposure import MASK_NO_DATA, Exposure, require_one_band
from astra.images.glints import find_glint_trails
from astra.images.spatial import SpatialKernel
from astra.images.subtraction import repair
from astra.images.variance_scale import scale_variance
from astra.images.warp import make_pixel_map, warp_exposure
from astra.plugins import SUBTRACTION_METHODS

__all__ = ["DifferenceConfig", "DifferenceResult", "difference_images"]

SAME_GRID_PIXEL = 1e-3


@dataclass(frozen=True)
class DifferenceResult:
    """What image subtraction makes.

    Parameters
    ----------
    matched_template : Exposure
        Template on the grid, in the seeing and the flux scale of the science image.
    difference : Exposure
        Science minus matched template, whitened, its local mean subtracted; detected pixels are in its mask.
    kernel : SpatialKernel, optional
        Matching kernel; None for a method without one.
    dia_sources : structured ndarray
        Detections (`astra.images.dia_source_columns.DIA_SOURCE_DTYPE`).
    metrics : dict of str to float
        Quality figures: widths [pixel], flux ratio, numbers, scatters.
    failure : AlgorithmError, optional
        Why the difference is not good enough; nothing was looked for on it then.
    sky_sources, samples : structured ndarray, optional
        Fluxes where there is no source (`astra.images.difference_metrics.sky_dia_sources`), and the quality
        at places all over the frame (`astra.images.difference_metrics.sample_metrics`).
    science : Exposure, optional
        The science image as the template was subtracted from it: repaired, its variance scaled.
    """

    matched_template: Exposure
    difference: Exposure
    kernel: SpatialKernel | None
    dia_sources: NDArray[Any]
    metrics: dict[str, float]
    failure: AlgorithmError | None = None
    sky_sources: NDArray[Any] | None = None
    samples: NDArray[np.void] | None = None
    science: Exposure | None = None


def difference_images(
    science: Exposure,
    template: Exposure,
    config: DifferenceConfig | None = None,
    *,
    keep_bad: bool = False,
) -> DifferenceResult:
    """Subtract a template from a science image and measure what is left.

    Parameters
    ----------
    science, template : Exposure
        Calibrated [nJy], background subtracted, with WCS, PSF and mask; on grids of their own.
    config : DifferenceConfig, optional
    keep_bad : bool, optional
        Return a difference that does not pass the gates of ``config``, with its failure, in place of raising.

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
        If the kernel has no solution, or is not to be trusted.
    BadSubtractionError
        If too much is left of the stars.
    DataError
        If the two are of different bands, or a variance plane is far from the scatter of its image.
    ValueError
        If either image lacks a WCS or a PSF.
    """
    config = config or DifferenceConfig()
    require_one_band([science, template])
    science, warped = repair(science), _align(science, repair(template), config)
    del template  # and other planes below as soon as they have served: five images of planes are much
    science, science_factor = scale_variance(science, config.variance_scale)
    warped, template_factor = scale_variance(warped, config.variance_scale)
    metrics = _input_metrics(science, warped)
    metrics |= {"scaleScienceVarianceFactor": science_factor, "scaleTemplateVarianceFactor": template_factor}
    found = SUBTRACTION_METHODS.get(config.method).subtract(science, warped, config)
    template_psf = warped.psf
    del warped
    metrics |= found.metrics
    try:
        metrics |= check_difference(science, found.difference, metrics, config.gates)
    except AlgorithmError as exc:
        if not keep_bad:
            raise
        return DifferenceResult(found.matched_template, found.difference, found.kernel, _none(), metrics, exc)
    matched, kernel, score, whole = found.matched_template, found.kernel, found.score, [found.difference]
    del found
    difference, peaks, detected = detect_dia_sources(science, matched, whole.pop(), config.detection, score)
    dia_sources = measure_dia_sources(difference, science, matched, peaks, config.measurement)
    del peaks
    trail, trails = find_glint_trails(dia_sources["x"], dia_sources["y"], config.glint)
    dia_sources["glint_trail"] = trail >= 0
    metrics |= detected
    metrics["glintTrails"] = float(len(trails))
    metrics["diaSources"] = float(len(dia_sources))
    metrics["diaSourcesNegative"] = float(np.sum(dia_sources["isNegative"]))
    sky_sources = sky_dia_sources(science, matched, difference, config.n_sky_sources)
    metrics |= difference_figures(difference, sky_sources)
    samples = sample_metrics(science, matched, difference, dia_sources, kernel, template_psf=template_psf)
    return DifferenceResult(
        matched, difference, kernel, dia_sources, metrics, None, sky_sources, samples, science
    )


def _none() -> NDArray[Any]:
    """No detections."""
    return np.zeros(0, dtype=DIA_SOURCE_DTYPE)


def _align(science: Exposure, template: Exposure, config: DifferenceConfig) -> Exposure:
    """Template on the grid of the science image, with the power of its noise."""
    for name, exposure in (("science image", science), ("template", template)):
        if exposure.wcs is None or exposure.psf is None:
            message = f"the {name} of a subtraction needs a WCS and a PSF"
            raise ValueError(message)
    warped = template
    if not _have_one_grid(science, template):
        warped = warp_exposure(
            template, make_pixel_map(science.wcs, template.wcs, science.shape), science.wcs
        )
    covered = float(np.mean((warped.mask & MASK_NO_DATA) == 0))
    if covered < config.min_overlap:
        message = (
            f"the template covers {100 * covered:.1f} % of the science pixels, but "
            f"{100 * config.min_overlap:.1f} % are required (visit {science.info.visit}, "
            f"detector {science.info.detector})"
        )
        raise NoOverlapError(message, covered=covered, required=config.min_overlap)
    return warped


def _have_one_grid(one: Exposure, other: Exposure) -> bool:
    """Tell whether the pixels of two exposures are the same pieces of the sky."""
    if one.shape != other.shape or one.wcs is None or other.wcs is None:
        return False
    ny, nx = one.shape
    x, y = np.array([0.0, nx - 1, 0.0, nx - 1, nx / 2]), np.array([0.0, 0.0, ny - 1, ny - 1, ny / 2])
    x_other, y_other = other.wcs.all_world2pix(*one.wcs.all_pix2world(x, y, 0), 0, quiet=True)
    return bool(np.hypot(x_other - x, y_other - y).max() < SAME_GRID_PIXEL)


def _input_metrics(science: Exposure, template: Exposure) -> dict[str, float]:
    """Figures of the inputs."""
    ny, nx = science.shape
    widths = [e.psf.fwhm_pixel(nx / 2, ny / 2) for e in (science, template) if e.psf is not None]
    return {
        "scienceFwhmPixel": widths[0],
        "templateFwhmPixel": widths[1],
        "scienceLimitingMagnitude": limiting_magnitude(science),
        "templateLimitingMagnitude": limiting_magnitude(template),
        "templateCoverage": float(np.mean((template.mask & MASK_NO_DATA) == 0)),
    }
