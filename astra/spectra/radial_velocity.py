"""Velocities of spectra by correlation with templates.

The correlation is least squares: at each shift the template's amplitude and an offset are fitted to the
spectrum with the weights of its pixels, and what that takes from chi-squared is what is correlated. Its
maximum is the best velocity and its curvature the error, in the presence of masks as without. The peak is
found for all templates by transforms, then for the best one again without the pixels that differ from it:
cosmic rays and residuals of sky lines, which stay at the observer's rest and would pull velocities to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.spectra.continuum import ContinuumConfig, fit_continuum, normalise
from astra.spectra.deposit import Deposit, deposit
from astra.spectra.flags import UNUSABLE, SpectrumFlag
from astra.spectra.grid import LogGrid
from astra.spectra.masks import spikes, widened
from astra.spectra.peaks import Peaks, refine_peaks, window_sums
from astra.spectra.template_fit import SmoothResidual, model_of, outliers_of, residuals_of
from astra.spectra.templates import TemplateSet
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS

_CANDIDATES = 3  # templates that are tried again after clipping
_BLOCK_ROWS = 16  # what is correlated at once stays in the processor's cache


@dataclass(frozen=True)
class VelocityConfig:
    """How velocities are measured.

    Parameters
    ----------
    continuum : ContinuumConfig
        What is subtracted.
    widen : int
        Pixels on both sides of masked ones that are not used either.
    spike_sigma : float
        Emission above its surroundings that is not used [sigma].
    clip_sigma : float
        Pixels that differ more from the best template are not used [sigma].
    n_clips : int
        How often they are looked for, and the continuum is adjusted to the template's.
    min_pixels : int
        Fewest good pixels of a spectrum.
    ambiguous : float
        A second peak with this fraction of the best one's rise makes a velocity ambiguous.
    peak_half_width : int
        How far from the best peak another one is a second one [pixel].
    weak_chi2 : float
        Least gain in chi-squared of a peak that is not called weak.
    poor_chi2_dof : float
        Mean square of the residuals above which a fit is called poor.
    """

    continuum: ContinuumConfig = field(default_factory=lambda: ContinuumConfig(n_clips=2))
    widen: int = 2
    spike_sigma: float = 5.0
    clip_sigma: float = 5.0
    n_clips: int = 2
    min_pixels: int = 200
    ambiguous: float = 0.95
    peak_half_width: int = 20
    weak_chi2: float = 30.0
    poor_chi2_dof: float = 3.0


@dataclass(frozen=True)
class Velocities:
    """Velocities of spectra, one row each.

    Parameters
    ----------
    v_rel : float64 ndarray, shape (n,)
        Relative to the frame of the wavelengths [km/s], positive for recession; NaN if none was found.
    v_rel_err : float64 ndarray, shape (n,)
        1 sigma [km/s].
    template : int64 ndarray, shape (n,)
        The best template; -1 if there is none.
    amplitude : float64 ndarray, shape (n,)
        Depth of the lines over those of the template.
    peak_snr : float64 ndarray, shape (n,)
        Amplitude over its error: square root of the gain in chi-squared.
    chi2_dof : float64 ndarray, shape (n,)
        Mean square of the residuals over their noise.
    n_pixels : int64 ndarray, shape (n,)
        Good pixels of the grid.
    n_clipped : int64 ndarray, shape (n,)
        Of these, those that the template cannot explain.
    flags : int64 ndarray, shape (n,)
        `SpectrumFlag`.
    """

    v_rel: NDArray[np.float64]
    v_rel_err: NDArray[np.float64]
    template: NDArray[np.int64]
    amplitude: NDArray[np.float64]
    peak_snr: NDArray[np.float64]
    chi2_dof: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    n_clipped: NDArray[np.int64]
    flags: NDArray[np.int64]

    @classmethod
    def stack(cls, parts: list[Self]) -> Self:
        """Put velocities one after the other."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.v_rel)


@dataclass(frozen=True)
class Correlation:
    """Gain in chi-squared by a template at each shift.

    Parameters
    ----------
    shift : int64 ndarray, shape (n_shifts,)
        [pixel].
    velocity : float64 ndarray, shape (n_shifts,)
        [km/s].
    gain : float64 ndarray, shape (n, n_templates, n_shifts)
        Of a template with any positive amplitude over none; 0 where the best amplitude is negative.
    """

    shift: NDArray[np.int64]
    velocity: NDArray[np.float64]
    gain: NDArray[np.float64]


def prepare_spectra(
    grid: LogGrid,
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    bad: NDArray[np.bool_] | None = None,
    *,
    config: VelocityConfig | None = None,
) -> Deposit:
    """Subtract the continuum of spectra, mask what must not count, and put them onto a grid.

    Parameters
    ----------
    grid : LogGrid
        That of the templates.
    wavelength : float64 ndarray, shape (n_pixels,)
        In vacuum [Angstrom].
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux and its inverse variance; 0 where there is no measurement.
    bad : bool ndarray, shape (n_rows, n_pixels), optional
        Pixels not to be used; their neighbours are not used either.
    config : VelocityConfig, optional
        How.

    Returns
    -------
    prepared : Deposit
        Of flux over continuum, less 1. Inputs are not modified.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    config = config or VelocityConfig()
    mask = np.zeros(flux.shape, dtype=bool) if bad is None else widened(bad, config.widen)
    known = np.where(mask | ~np.isfinite(flux), 0.0, ivar)
    known = np.where(widened(spikes(flux, known, config.spike_sigma), config.widen), 0.0, known)
    fit = fit_continuum(wavelength, flux, known, config.continuum)
    normal, weight = normalise(flux, known, fit.continuum)
    return deposit(grid, wavelength, normal - 1.0, weight)


def correlate(prepared: Deposit, templates: TemplateSet) -> Correlation:
    """Return the gain in chi-squared of all templates at all shifts.

    Parameters
    ----------
    prepared : Deposit
        From `prepare_spectra`.
    templates : TemplateSet
        On the same grid.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    gain = _gain(prepared, templates)
    shift = templates.blocks.shifts
    return Correlation(shift, templates.grid.velocity_of(shift), gain.astype(np.float64))


def measure_velocities(
    prepared: Deposit, templates: TemplateSet, config: VelocityConfig | None = None
) -> Velocities:
    """Measure the velocities of spectra.

    Parameters
    ----------
    prepared : Deposit
        From `prepare_spectra`; some tens at once are the fastest.
    templates : TemplateSet
        On the same grid.
    config : VelocityConfig, optional
        How.

    Returns
    -------
    velocities : Velocities
        Spectra with too few pixels have NaN and a flag.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    config = config or VelocityConfig()
    smooth = SmoothResidual(prepared.grid.wavelength, config.continuum)
    parts = [
        _measure_block(prepared.rows(slice(first, first + _BLOCK_ROWS)), templates, config, smooth)
        for first in range(0, len(prepared), _BLOCK_ROWS)
    ]
    if not parts:
        _check_grids(prepared, templates)
        return _measure_block(prepared, templates, config, smooth)
    return Velocities.stack(parts)


def _check_grids(prepared: Deposit, templates: TemplateSet) -> None:
    if prepared.grid != templates.grid:
        message = f"spectra and templates must be on one grid, not {prepared.grid} and {templates.grid}"
        raise ValueError(message)


def _gain(prepared: Deposit, templates: TemplateSet) -> NDArray[np.float32]:
    """Return the gain in chi-squared, shape (n, n_templates, n_shifts)."""
    _check_grids(prepared, templates)
    scale = np.maximum(prepared.weight.mean(axis=1), 1e-300)
    data, weight = ((array / scale[:, None]).astype(np.float32) for array in (prepared.data, prepared.weight))
    n, blocks = len(templates), templates.blocks
    cross = blocks.correlate(blocks.of_data(data), templates.transformed[:, :, :n])
    both = blocks.correlate(blocks.of_data(weight), templates.transformed)
    fill_gain(cross, both, data.sum(axis=1), weight.sum(axis=1), scale)
    return cross


@compiled(error_model="numpy")
def fill_gain(
    cross: NDArray[np.float32],
    both: NDArray[np.float32],
    data_sum: NDArray[np.float32],
    weight_sum: NDArray[np.float32],
    scale: NDArray[np.float64],
) -> None:
    """Turn correlations of data and templates into gains in chi-squared, in place.

    The sums of weights with the templates, and with their squares, are in ``both`` one after the other.
    """
    n, n_templates, n_shifts = cross.shape
    for row in range(n):
        weight = max(weight_sum[row], np.float32(1e-30))
        mean = data_sum[row] / weight
        unit = np.float32(scale[row])
        for template in range(n_templates):
            square = both[row, n_templates + template]
            largest = np.float32(1e-30)
            for shift in range(n_shifts):
                largest = max(largest, square[shift])
            floor = np.float32(1e-6) * largest
            for shift in range(n_shifts):
                single = both[row, template, shift]
                rise = max(cross[row, template, shift] - mean * single, np.float32(0.0))
                variance = max(square[shift] - single * single / weight, floor)
                cross[row, template, shift] = unit * rise * rise / variance


def _measure_block(
    prepared: Deposit, templates: TemplateSet, config: VelocityConfig, smooth: SmoothResidual
) -> Velocities:
    """Measure some spectra at once."""
    ranked, start, flags = _coarse_peaks(_gain(prepared, templates), templates.max_shift, config)
    best = ranked[:, 0]
    has_data = prepared.noise > 0
    kept = has_data.copy()
    peak = _peak(prepared, kept, templates, best, start)
    for clip in range(config.n_clips):
        start = np.clip(
            start + np.rint(peak.offset).astype(np.int64), -templates.max_shift, templates.max_shift
        )
        peak = replace(peak, offset=peak.offset - np.rint(peak.offset))
        model = model_of(templates, best, start, peak)
        prepared = smooth.subtract(prepared, kept, model)
        kept &= ~outliers_of(residuals_of(prepared, model), kept, config.clip_sigma)
        tried = ranked if clip == 0 else best[:, None]
        best, peak = _best_of(prepared, kept, templates, tried, start)
    z = residuals_of(prepared, model_of(templates, best, start, peak))
    n_kept = kept.sum(axis=1)
    chi2_dof = np.where(kept, z**2, 0.0).sum(axis=1) / np.maximum(n_kept, 1)
    n_pixels = has_data.sum(axis=1)
    flags |= np.where(n_pixels < config.min_pixels, int(SpectrumFlag.NO_DATA), 0)
    flags |= np.where(~np.isfinite(peak.sigma), int(SpectrumFlag.FIT_FAILED), 0)
    flags |= np.where(peak.gain < config.weak_chi2, int(SpectrumFlag.WEAK_PEAK), 0)
    flags |= np.where(chi2_dof > config.poor_chi2_dof, int(SpectrumFlag.POOR_FIT), 0)
    shift = start + peak.offset
    v_rel = templates.grid.velocity_of(shift)
    per_pixel = templates.grid.pixel_kms * (1.0 + v_rel / SPEED_OF_LIGHT_KMS)
    error = peak.sigma * per_pixel * np.sqrt(np.maximum(chi2_dof, 1.0))
    void = (flags & int(UNUSABLE)) != 0
    return Velocities(
        v_rel=np.where(void, np.nan, v_rel),
        v_rel_err=np.where(void, np.nan, error),
        template=np.where(void, -1, best),
        amplitude=np.where(void, np.nan, peak.amplitude),
        peak_snr=np.where(void, np.nan, np.sqrt(peak.gain)),
        chi2_dof=np.where(void, np.nan, chi2_dof),
        n_pixels=n_pixels,
        n_clipped=n_pixels - n_kept,
        flags=flags,
    )


def _coarse_peaks(
    gain: NDArray[np.float32], max_shift: int, config: VelocityConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the best templates, the shift of the very best [pixel], and what is to be said of its peak."""
    n, _, n_shifts = gain.shape
    ranked = np.argsort(-gain.max(axis=2), axis=1)[:, :_CANDIDATES]
    best = gain[np.arange(n), ranked[:, 0]]
    index = best.argmax(axis=1)
    top = best[np.arange(n), index]
    flags = np.where((index < 2) | (index >= n_shifts - 2), int(SpectrumFlag.EDGE_OF_RANGE), 0)
    envelope = gain.max(axis=1)
    near = np.abs(np.arange(n_shifts) - index[:, None]) < config.peak_half_width
    second = np.where(near, 0.0, envelope).max(axis=1, initial=0.0)
    flags |= np.where(second > config.ambiguous * top, int(SpectrumFlag.AMBIGUOUS), 0)
    return ranked, (index - max_shift).astype(np.int64), flags.astype(np.int64)


def _best_of(
    prepared: Deposit,
    kept: NDArray[np.bool_],
    templates: TemplateSet,
    ranked: NDArray[np.int64],
    start: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Peaks]:
    """Choose again among the best templates: what has been clipped may have chosen the wrong one."""
    peaks = [_peak(prepared, kept, templates, column, start) for column in ranked.T]
    chosen = np.argmax([peak.gain for peak in peaks], axis=0)
    stacked = [np.stack([getattr(peak, item.name) for peak in peaks]) for item in fields(Peaks)]
    rows = np.arange(len(ranked))
    return ranked[rows, chosen], Peaks(*(values[chosen, rows] for values in stacked))


def _peak(
    prepared: Deposit,
    kept: NDArray[np.bool_],
    templates: TemplateSet,
    best: NDArray[np.int64],
    start: NDArray[np.int64],
) -> Peaks:
    """Find the maximum of the gain near a shift, from the pixels that are kept."""
    data, weight = np.where(kept, prepared.data, 0.0), np.where(kept, prepared.weight, 0.0)
    return refine_peaks(*window_sums(data, weight, templates.residual, best, start))
