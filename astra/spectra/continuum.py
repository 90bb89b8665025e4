"""The continuum of spectra as a linear model in each region, and spectra divided by it.

A continuum is a sum of sines and cosines, or of Chebyshev polynomials, of the wavelength, in each of
several regions (the chips of a detector) for itself. Weighted least squares with a small ridge gives it;
all spectra on one grid share one design matrix, whose products are one matrix multiplication for all their
normal equations. Casey et al. (2016, arXiv:1603.03040) describe the sines and cosines.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.spectra.flags import SpectrumFlag

APOGEE_REGIONS = ((15090.0, 15822.0), (15823.0, 16451.0), (16452.0, 16971.0))
"""Wavelengths of the chips [Angstrom, vacuum, rest frame or observed]."""

BASES = ("sines", "chebyshev")

_BLOCK_ROWS = 16  # what is fitted at once stays in the processor's cache


@dataclass(frozen=True)
class ContinuumConfig:
    """How a continuum is fitted.

    Parameters
    ----------
    basis : str
        ``sines`` (and cosines), or ``chebyshev``.
    order : int
        Highest harmonic, or highest degree.
    length : float
        Longest period of the sines [Angstrom].
    regions : tuple of (float, float)
        First and last wavelength of each [Angstrom]; what lies in none has no continuum.
    ridge : float
        Added to the diagonal of the normal equations, in units of their largest eigenvalue.
    n_clips : int
        How often pixels are clipped and the fit repeated; 0 for continuum pixels that are known.
    clip_low, clip_high : float
        Pixels this far below or above the continuum are clipped [sigma]. Lines are below.
    """

    basis: str = "sines"
    order: int = 3
    length: float = 1400.0
    regions: tuple[tuple[float, float], ...] = APOGEE_REGIONS
    ridge: float = 1e-6
    n_clips: int = 4
    clip_low: float = 1.5
    clip_high: float = 3.0

    def __post_init__(self) -> None:
        if self.basis not in BASES:
            message = f"the basis of a continuum must be one of {', '.join(BASES)}, not {self.basis!r}"
            raise ValueError(message)
        if self.order < 0 or self.length <= 0 or self.ridge < 0 or self.n_clips < 0:
            message = (
                "order, ridge and n_clips of a continuum must not be negative, its length must be positive"
            )
            raise ValueError(message)
        if not self.regions or any(low >= high for low, high in self.regions):
            message = f"a continuum needs regions of first and last wavelength, not {self.regions}"
            raise ValueError(message)

    @property
    def n_terms(self) -> int:
        """Number of coefficients of a region."""
        return 2 * self.order + 1 if self.basis == "sines" else self.order + 1


@dataclass(frozen=True)
class Continuum:
    """Continua of spectra.

    Parameters
    ----------
    continuum : float64 ndarray, shape (n_rows, n_pixels)
        In the unit of the flux; NaN outside of the regions, and in those without enough good pixels.
    coefficients : float64 ndarray, shape (n_rows, n_regions, n_terms)
        Of the basis; NaN where nothing was fitted.
    used : bool ndarray, shape (n_rows, n_pixels)
        Pixels that the last fit rests on.
    chi2 : float64 ndarray, shape (n_rows,)
        Of these pixels.
    n_used : int64 ndarray, shape (n_rows,)
        Their number.
    flags : int64 ndarray, shape (n_rows,)
        `SpectrumFlag`.
    """

    continuum: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    used: NDArray[np.bool_] = field(repr=False)
    chi2: NDArray[np.float64] = field(repr=False)
    n_used: NDArray[np.int64] = field(repr=False)
    flags: NDArray[np.int64] = field(repr=False)


def fit_continuum(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    config: ContinuumConfig | None = None,
    continuum_pixels: NDArray[np.bool_] | None = None,
) -> Continuum:
    """Fit the continua of spectra on one grid.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        [Angstrom].
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux and its inverse variance; where that is 0, or either is not finite, a pixel does not count.
    config : ContinuumConfig, optional
        How.
    continuum_pixels : bool ndarray, shape (n_pixels,), optional
        The only pixels that count.

    Returns
    -------
    continuum : Continuum
        Spectra without any good pixel have a flag and NaN.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Inputs are not modified.
    """
    config = config or ContinuumConfig()
    if flux.ndim != 2 or flux.shape != ivar.shape or wavelength.shape != flux.shape[1:]:
        message = (
            "flux and ivar must have shape (n_rows, n_pixels) and wavelength (n_pixels,), not"
            f" {flux.shape}, {ivar.shape} and {wavelength.shape}"
        )
        raise ValueError(message)
    flux, ivar = np.ascontiguousarray(flux, np.float64), np.ascontiguousarray(ivar, np.float64)
    allowed = np.ones(wavelength.shape, dtype=bool) if continuum_pixels is None else continuum_pixels
    parts = [pixels_of(wavelength, region) for region in config.regions]
    shape = (len(flux), len(parts), config.n_terms)
    continuum, coefficients = np.full(flux.shape, np.nan), np.full(shape, np.nan)
    used = np.zeros(flux.shape, dtype=bool)
    for number, (part, region) in enumerate(zip(parts, config.regions, strict=True)):
        if part.stop == part.start:
            continue
        design = design_matrix(wavelength[part], config, region)
        normal_matrix = NormalMatrix(design, min(len(flux), _BLOCK_ROWS))
        for first in range(0, len(flux), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            fit = _fit_region(normal_matrix, flux[rows, part], ivar[rows, part], allowed[part], config)
            coefficients[rows, number], continuum[rows, part], used[rows, part] = fit
    return _assess(flux, ivar, continuum, coefficients, used)


def normalise(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], continuum: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Divide spectra by their continua.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux and inverse variance.
    continuum : float64 ndarray, shape (n_rows, n_pixels)
        In the unit of the flux.

    Returns
    -------
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Without unit; 1 and 0 where there is no positive continuum or no measurement.
    """
    valid = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & np.isfinite(continuum) & (continuum > 0)
    divisor = np.where(valid, continuum, 1.0)
    return np.where(valid, flux, 1.0) / divisor, np.where(valid, ivar, 0.0) * divisor**2


def design_matrix(
    wavelength: NDArray[np.float64], config: ContinuumConfig, region: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the terms of the basis at some wavelengths of a region, shape (n_terms, n_pixels)."""
    if config.basis == "chebyshev":
        low, high = region
        unit = np.clip((2.0 * wavelength - low - high) / (high - low), -1.0, 1.0)
        return np.asarray(np.polynomial.chebyshev.chebvander(unit, config.order).T, np.float64)
    phase = 2.0 * np.pi * wavelength / config.length
    terms = [np.ones_like(wavelength)]
    for harmonic in range(1, config.order + 1):
        terms += [np.cos(harmonic * phase), np.sin(harmonic * phase)]
    return np.stack(terms)


def pixels_of(wavelength: NDArray[np.float64], region: Sequence[float]) -> slice:
    """Return the pixels of a region."""
    first, last = np.searchsorted(wavelength, region[0]), np.searchsorted(wavelength, region[1], "right")
    return slice(int(first), int(last))


def _fit_region(
    normal_matrix: NormalMatrix,
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    config: ContinuumConfig,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Fit some spectra in one region; return coefficients, continuum and the pixels used."""
    design = normal_matrix.design
    data, weight, error = np.empty((3, *flux.shape))
    weigh_pixels(flux, ivar, allowed, data, weight, error)
    normal = normal_matrix(weight)
    ridge = config.ridge * np.linalg.eigvalsh(normal)[:, -1].astype(np.float64)
    kept, weighted = weight.copy(), weight * data
    coefficients = solve_ridge(normal, weighted @ design.T, ridge)
    continuum = coefficients @ design
    for _ in range(config.n_clips):
        clip_pixels(data, continuum, error, weight, config.clip_low, config.clip_high, kept, weighted)
        coefficients = solve_ridge(normal_matrix(kept), weighted @ design.T, ridge)
        continuum = coefficients @ design
    used = kept > 0
    enough = used.sum(axis=1) > len(design)
    coefficients[~enough], continuum[~enough] = np.nan, np.nan
    return coefficients, continuum, used & enough[:, None]


class NormalMatrix:
    """The normal matrices of spectra on one grid, from their weights.

    Parameters
    ----------
    design : float64 ndarray, shape (n_terms, n_pixels)
        Terms of the model.
    n_rows : int
        Number of spectra: of many, the products of the terms are worth to be kept.
    """

    def __init__(self, design: NDArray[np.float64], n_rows: int) -> None:
        self.design = design
        self.pairs = _pairs_of(len(design))
        self.products = design[self.pairs[0]] * design[self.pairs[1]] if n_rows > len(design) // 2 else None

    def __call__(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the matrices, shape (n_rows, n_terms, n_terms), for weights of shape (n_rows, n_pixels)."""
        n_terms = len(self.design)
        normal = np.empty((len(weight), n_terms, n_terms))
        if self.products is None:
            for row, own in enumerate(weight):
                normal[row] = (self.design * own) @ self.design.T
            return normal
        normal[:, self.pairs[0], self.pairs[1]] = weight @ self.products.T
        normal[:, self.pairs[1], self.pairs[0]] = normal[:, self.pairs[0], self.pairs[1]]
        return normal


@functools.cache
def _pairs_of(n_terms: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the upper triangle, once for the fits of thousands of single spectra."""
    rows, columns = np.triu_indices(n_terms)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def solve_ridge(
    normal: NDArray[np.float64], right: NDArray[np.float64], ridge: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve the normal equations of all spectra; without any weight the solution is 0."""
    n_terms = normal.shape[1]
    trace = np.trace(normal, axis1=1, axis2=2)
    lift = np.maximum(np.maximum(ridge, 1e-13 * trace), np.where(trace > 0, 0.0, 1.0))
    lifted = normal + lift[:, None, None] * np.eye(n_terms)
    solved: NDArray[np.float64] = np.linalg.solve(lifted, right[..., None])[..., 0]
    return solved


@compiled
def clip_pixels(  # noqa: PLR0917
    data: NDArray[np.float64],
    continuum: NDArray[np.float64],
    error: NDArray[np.float64],
    weight: NDArray[np.float64],
    clip_low: float,
    clip_high: float,
    kept: NDArray[np.float64],
    weighted: NDArray[np.float64],
) -> None:
    """Clip pixels of spectra: fill the weights that stay, and their products with the data.

    The yardstick is the larger of a pixel's error and the spread above the continuum, where there are no
    lines: of good spectra the errors of the model are larger than those of the pixels. Below, half of that
    spread will do.
    """
    for row in range(data.shape[0]):
        square, n_above = 0.0, 0
        for pixel in range(data.shape[1]):
            residual = data[row, pixel] - continuum[row, pixel]
            if weight[row, pixel] > 0 and residual > 0:
                square += residual * residual
                n_above += 1
        spread = math.sqrt(square / max(n_above, 1))
        for pixel in range(data.shape[1]):
            residual = data[row, pixel] - continuum[row, pixel]
            high = clip_high * max(error[row, pixel], spread)
            low = -clip_low * max(error[row, pixel], 0.5 * spread)
            stays = low < residual < high
            kept[row, pixel] = weight[row, pixel] if stays else 0.0
            weighted[row, pixel] = kept[row, pixel] * data[row, pixel]


def _assess(
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    continuum: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    used: NDArray[np.bool_],
) -> Continuum:
    """Make the result, with the quality of each fit."""
    chi2, lowest = np.empty((2, len(flux)))
    n_used, n_fitted, n_good = np.empty((3, len(flux)), np.int64)
    assess_rows(flux, ivar, continuum, used, chi2, n_used, n_fitted, n_good, lowest)
    flags = np.where(n_fitted == 0, int(SpectrumFlag.NO_DATA), 0)
    part = np.isfinite(coefficients[:, :, 0])
    flags |= np.where(part.any(axis=1) & ~part.all(axis=1), int(SpectrumFlag.OUTSIDE_COVERAGE), 0)
    flags |= np.where(2 * n_good < n_fitted, int(SpectrumFlag.FEW_PIXELS), 0)
    flags |= np.where(lowest <= 0, int(SpectrumFlag.FIT_FAILED), 0)
    return Continuum(continuum, coefficients, used, chi2, n_used, flags.astype(np.int64))


@compiled
def weigh_pixels(  # noqa: PLR0917
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    error: NDArray[np.float64],
) -> None:
    """Fill data, weights and errors of spectra, 0 where a pixel does not count.

    Weights are of order one, so that neither unit nor brightness reaches the ridge.
    """
    for row in range(flux.shape[0]):
        total, n_positive = 0.0, 0
        for pixel in range(flux.shape[1]):
            own = ivar[row, pixel]
            counts = allowed[pixel] and own > 0.0 and math.isfinite(own) and math.isfinite(flux[row, pixel])
            data[row, pixel] = flux[row, pixel] if counts else 0.0
            weight[row, pixel] = own if counts else 0.0
            error[row, pixel] = 1.0 / math.sqrt(own) if counts else 0.0
            total += weight[row, pixel]
            n_positive += counts
        scale = n_positive / total if total > 0.0 else 1.0
        for pixel in range(flux.shape[1]):
            weight[row, pixel] *= scale


@compiled
def assess_rows(  # noqa: PLR0917
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    continuum: NDArray[np.float64],
    used: NDArray[np.bool_],
    chi2: NDArray[np.float64],
    n_used: NDArray[np.int64],
    n_fitted: NDArray[np.int64],
    n_good: NDArray[np.int64],
    lowest: NDArray[np.float64],
) -> None:
    """Fill chi-squared, pixels used, with a continuum and good ones of these, and the lowest continuum."""
    for row in range(flux.shape[0]):
        square, least = 0.0, 1.0
        in_fit, fitted, good = 0, 0, 0
        for pixel in range(flux.shape[1]):
            own, model = ivar[row, pixel], continuum[row, pixel]
            if not math.isfinite(model):
                continue
            fitted += 1
            least = min(least, model)
            good += own > 0.0 and math.isfinite(own) and math.isfinite(flux[row, pixel])
            if used[row, pixel]:
                in_fit += 1
                square += own * (flux[row, pixel] - model) ** 2
        chi2[row], lowest[row] = square, least
        n_used[row], n_fitted[row], n_good[row] = in_fit, fitted, good
