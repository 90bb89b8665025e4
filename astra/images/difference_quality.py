"""Whether a difference image can be trusted: what is left of the stars, and how its kernel was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from astra.errors import AlgorithmError, BadSubtractionError, KernelFitError
from astra.images.exposure import MASK_INTRP, MASK_SAT_TEMPLATE, Exposure
from astra.images.kernel_sources import UNUSABLE, find_stamp_centres
from astra.images.kernel_stamps import cut_windows
from astra.images.robust import SIGMA_PER_MAD

FloatArray = NDArray[np.float64]

DEFAULT_FWHM_PIXEL = 4.0  # of a footprint in an image without PSF
FOOTPRINT_RADIUS_FWHM = 1.0
MIN_GOOD_FRACTION = 0.8  # of the pixels of a footprint
MAX_STARS = 1000
STARS_PER_CELL = 20
SATURATION_RADIUS_PIXEL = 15
GRID_SIDE = 40  # places along each axis at which the noise of the difference is measured
MAX_EMPTY = 1.2  # mean modulus of empty sky over that of noise
MIN_SKY_PLACES = 20
OUTLIER_SIGMA = 5.0  # of ratios, which count in their scatter but not in their mean
MIN_OUTLIER = 0.05
EXPECTED_ABSOLUTE = float(np.sqrt(2 / np.pi))  # mean modulus of a standard normal variable


@dataclass(frozen=True)
class QualityGates:
    """What a difference image must satisfy; ``inf`` (or 0 for a minimum) lets everything pass.

    Parameters
    ----------
    max_footprint_ratio_mean, max_footprint_ratio_stdev : float
        Mean over the stars, and scatter, of the flux left in the footprint of a star over its flux: mean
        modulus of the difference above that of noise alone, over the mean modulus of the science image.
        The mean is about 0.01 for a good match, beyond 0.1 for a bad one.
    max_condition_number : float
        Of the equations of the matching kernel. Large where its functions are alike on the pixels of one
        seeing, which does no harm; doubles end at 1e16.
    max_kernel_sum_scatter : float
        Scatter of the flux ratio between the stamps of the kernel beyond their noise, over the ratio.
    max_flux_ratio_offset : float
        Of the sum of the kernel from 1.
    min_stamps_kept : float
        Fraction of the stamps that the fit of the kernel kept.
    star_min_peak_snr : float
        Least signal to noise of the brightest pixel of the stars behind the footprint ratios.
    min_stars : int
        Stars that footprint ratios need to be judged.
    """

    max_footprint_ratio_mean: float = 0.2
    max_footprint_ratio_stdev: float = 0.4
    max_condition_number: float = 1e15
    max_kernel_sum_scatter: float = 0.1
    max_flux_ratio_offset: float = 0.5
    min_stamps_kept: float = 0.3
    star_min_peak_snr: float = 20.0
    min_stars: int = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                message = f"{field.name} must not be negative, found {getattr(self, field.name)}"
                raise ValueError(message)


@dataclass(frozen=True)
class _Gate:
    """One requirement on one figure."""

    metric: str
    option: str
    text: str
    error: type[AlgorithmError]
    is_minimum: bool = False


GATES = (
    _Gate(
        "differenceFootprintRatioMean",
        "max_footprint_ratio_mean",
        "the difference keeps a fraction of {found:.3g} of the flux of the stars",
        BadSubtractionError,
    ),
    _Gate(
        "differenceFootprintRatioStdev",
        "max_footprint_ratio_stdev",
        "the fraction of the flux of the stars that the difference keeps scatters by {found:.3g}",
        BadSubtractionError,
    ),
    _Gate(
        "spatialConditionNum",
        "max_condition_number",
        "the equations of the matching kernel have a condition number of {found:.3g}",
        KernelFitError,
    ),
    _Gate(
        "kernelSumScatter",
        "max_kernel_sum_scatter",
        "the flux ratio scatters by {found:.3g} of itself between the stamps of the matching kernel",
        KernelFitError,
    ),
    _Gate(
        "kernelSumOffset",
        "max_flux_ratio_offset",
        "the sum of the matching kernel is off 1 by {found:.3g}",
        KernelFitError,
    ),
    _Gate(
        "kernelStampsKeptFraction",
        "min_stamps_kept",
        "a fraction of {found:.3g} of the stamps fits the matching kernel",
        KernelFitError,
        is_minimum=True,
    ),
)


def check_difference(
    science: Exposure, difference: Exposure, metrics: Mapping[str, float], gates: QualityGates
) -> dict[str, float]:
    """Measure what a difference leaves of the stars, and refuse it if it is bad.

    Parameters
    ----------
    science, difference : Exposure, shape (ny, nx)
        In one flux unit, background subtracted.
    metrics : mapping of str to float
        Figures of the subtraction, as of `astra.images.subtraction_method.Subtraction`; what is missing or
        NaN is not judged.
    gates : QualityGates

    Returns
    -------
    measured : dict of str to float
        The figures of `footprint_ratios` and those that the gates derive.

    Raises
    ------
    BadSubtractionError
        If too much is left of the stars.
    KernelFitError
        If the kernel is not to be trusted.
    """
    measured = footprint_ratios(science, difference, gates.star_min_peak_snr) | _derive(metrics)
    figures = {**metrics, **measured}
    for gate in GATES:
        found = figures.get(gate.metric, np.nan)
        limit = getattr(gates, gate.option)
        if "Footprint" in gate.metric and measured["differenceFootprintStars"] < gates.min_stars:
            continue
        if (found < limit) if gate.is_minimum else (found > limit):
            bound = f"at {'least' if gate.is_minimum else 'most'} {limit:.3g}"
            where = f"visit {science.info.visit}, detector {science.info.detector}"
            message = f"{gate.text.format(found=found)}, but {bound} is required ({where})"
            raise gate.error(message, **figures)
    return measured


def _derive(metrics: Mapping[str, float]) -> dict[str, float]:
    """Figures that are judged, of those of the kernel."""
    derived = {}
    total = metrics.get("spatialKernelSum", np.nan)
    if np.isfinite(total):
        derived["kernelSumOffset"] = abs(total - 1.0)
        scatter = metrics.get("spatialKernelSumStdev", np.nan)
        derived["kernelSumScatter"] = scatter / max(abs(total), 1e-30)
    if metrics.get("nPsfCandidates", 0.0) > 0:
        derived["kernelStampsKeptFraction"] = metrics["nPsfSources"] / metrics["nPsfCandidates"]
    return derived


def footprint_ratios(science: Exposure, difference: Exposure, min_peak_snr: float) -> dict[str, float]:
    """Flux left in the footprints of stars over their flux.

    Parameters
    ----------
    science, difference : Exposure, shape (ny, nx)
        In one flux unit, background subtracted.
    min_peak_snr : float
        Least signal to noise of the brightest pixel of a star.

    Returns
    -------
    ratios : dict of str to float
        ``differenceFootprintRatioMean`` (outliers left out: stars that have changed) and ``Stdev`` over the
        stars; ``differenceFootprintSkyRatioMean`` and ``Stdev``, the same in empty sky for the flux of the
        median star; ``differenceFootprintStars``, their number. NaN without stars.
    """
    radius = FOOTPRINT_RADIUS_FWHM * _fwhm_pixel(science)
    x, y = find_stamp_centres(
        difference,
        science,
        min_peak_snr=min_peak_snr,
        saturation_radius=SATURATION_RADIUS_PIXEL,
        border=int(radius) + 1,
        max_per_cell=STARS_PER_CELL,
    )
    stars = _measure(science, difference, (x[:MAX_STARS], y[:MAX_STARS]), radius)
    sky = _measure(science, difference, _grid(science.shape, int(radius) + 1), radius)
    empty = sky.flux < MAX_EMPTY * EXPECTED_ABSOLUTE * sky.science_error
    share = EXPECTED_ABSOLUTE
    if empty.sum() >= MIN_SKY_PLACES:
        # A difference that is not whitened scatters less from pixel to pixel than its variance says.
        share = float(np.median(sky.left[empty] / sky.error[empty]))
    ratios = (stars.left - share * stars.error) / stars.flux
    flux = np.median(stars.flux) if len(stars.flux) else np.nan
    sky_ratios = (sky.left - share * sky.error)[empty & (flux > 0)] / flux
    return {
        "differenceFootprintRatioMean": abs(_mean(ratios)),
        "differenceFootprintRatioStdev": _scatter(ratios),
        "differenceFootprintSkyRatioMean": _mean(sky_ratios),
        "differenceFootprintSkyRatioStdev": _scatter(sky_ratios),
        "differenceFootprintStars": float(len(ratios)),
    }


def _fwhm_pixel(exposure: Exposure) -> float:
    """Width of the PSF in the middle of the frame [pixel]."""
    if exposure.psf is None:
        return DEFAULT_FWHM_PIXEL
    ny, nx = exposure.shape
    return exposure.psf.fwhm_pixel((nx - 1) / 2, (ny - 1) / 2)


def _grid(shape: tuple[int, int], border: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places x, y on a regular grid over a frame [pixel]."""
    lines = [
        np.unique(np.linspace(border, max(n - 1 - border, border), GRID_SIDE).astype(np.int64)) for n in shape
    ]
    x, y = np.meshgrid(lines[1], lines[0])
    inside = (x + border < shape[1]) & (y + border < shape[0])
    return x[inside], y[inside]


@dataclass(frozen=True)
class _Footprints:
    """Means over the good pixels of discs, one per row.

    ``flux`` and ``left`` are those of the modulus of the science image and of the difference,
    ``science_error`` and ``error`` those of their 1-sigma errors [unit].
    """

    flux: FloatArray
    science_error: FloatArray
    left: FloatArray
    error: FloatArray


def _measure(
    science: Exposure,
    difference: Exposure,
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    radius: float,
) -> _Footprints:
    """Measure discs of a radius [pixel]; those with many bad pixels are left out."""
    x, y = places
    half = int(radius)
    offset = np.arange(-half, half + 1)
    disc = offset[:, None] ** 2 + offset[None, :] ** 2 <= radius**2
    windows = [
        cut_windows(plane, x, y, half)[:, disc].astype(float)
        for exposure in (science, difference)
        for plane in (exposure.image, exposure.variance)
    ]
    bits = cut_windows(science.mask, x, y, half)[:, disc] | cut_windows(difference.mask, x, y, half)[:, disc]
    good = (bits & (UNUSABLE | MASK_SAT_TEMPLATE | MASK_INTRP)) == 0
    good &= np.all(np.isfinite(windows), axis=0)
    keep = good.mean(axis=1) >= MIN_GOOD_FRACTION
    means = [
        np.sum(np.where(good, plane, 0.0), axis=1)[keep] / good.sum(axis=1)[keep]
        for plane in (
            np.abs(windows[0]),
            np.sqrt(np.maximum(windows[1], 0.0)),
            np.abs(windows[2]),
            np.sqrt(np.maximum(windows[3], 0.0)),
        )
    ]
    return _Footprints(*means)


def _mean(values: FloatArray) -> float:
    """Mean without outliers, which are sources that have changed; NaN of nothing."""
    if not len(values):
        return float("nan")
    offset = np.abs(values - np.median(values))
    limit = max(OUTLIER_SIGMA * SIGMA_PER_MAD * float(np.median(offset)), MIN_OUTLIER)
    return float(np.mean(values[offset <= limit]))


def _scatter(values: FloatArray) -> float:
    """Return the standard deviation; NaN of nothing."""
    return float(np.std(values)) if len(values) else float("nan")
