"""Redshifts and classes of spectra: least squares with linear templates at all redshifts, by transforms.

On a grid uniform in the logarithm a redshift is a shift, so that the sums of least squares at all redshifts
are correlations of the data, and of their weights, with the templates and their products. Templates are
principal components, or single archetypes; polynomials in the observed frame stand for what calibration and
continuum add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import LogGrid
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS


@dataclass(frozen=True)
class SpectralClass:
    """Linear templates of one class of objects.

    Parameters
    ----------
    name : str
        Of the class.
    grid : LogGrid
        Rest wavelengths of the templates.
    templates : float64 ndarray, shape (n_templates, n_pixels)
        Components that are added up; one for an archetype.
    z_min, z_max : float
        Range that is searched.
    """

    name: str
    grid: LogGrid
    templates: NDArray[np.float64] = field(repr=False)
    z_min: float
    z_max: float

    def __post_init__(self) -> None:
        shape = self.templates.shape
        if self.templates.ndim != 2 or shape[1] != self.grid.n_pixels or not shape[0]:
            message = (
                f"templates of {self.name} must have shape (n, {self.grid.n_pixels}), n > 0, not {shape}"
            )
            raise ValueError(message)
        if not -0.1 < self.z_min < self.z_max or not np.isfinite(self.templates).all():
            message = f"{self.name} needs finite templates and -0.1 < z_min < z_max"
            raise ValueError(message)


@dataclass(frozen=True)
class Redshifts:
    """Redshifts of spectra, one row each.

    Parameters
    ----------
    z, z_err : float64 ndarray, shape (n,)
        Redshift and its error by the curvature of chi-squared; NaN if there is none.
    class_index : int64 ndarray, shape (n,)
        The best class; -1 if there is none.
    chi2_dof : float64 ndarray, shape (n,)
        Of the best fit.
    delta_chi2 : float64 ndarray, shape (n,)
        How much worse the second best is: another class, or 3000 km/s away.
    n_pixels : int64 ndarray, shape (n,)
        Pixels that count.
    flags : int64 ndarray, shape (n,)
        `SpectrumFlag`.
    """

    z: NDArray[np.float64]
    z_err: NDArray[np.float64]
    class_index: NDArray[np.int64]
    chi2_dof: NDArray[np.float64]
    delta_chi2: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    flags: NDArray[np.int64]


def fit_redshifts(  # noqa: PLR0917
    grid: LogGrid,
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    classes: Sequence[SpectralClass],
    n_polynomials: int = 4,
    min_delta_chi2: float = 9.0,
) -> Redshifts:
    """Find redshift and class of spectra.

    Parameters
    ----------
    grid : LogGrid
        Of the spectra; that of the templates must have the same step.
    flux, ivar : float64 ndarray, shape (n, n_pixels)
        Flux and its inverse variance; 0 where there is no measurement.
    classes : sequence of SpectralClass
        At least one.
    n_polynomials : int, optional
        Terms that are fitted beside the templates, in the observed frame.
    min_delta_chi2 : float, optional
        A second best that is less worse makes a redshift ambiguous.

    Returns
    -------
    redshifts : Redshifts

    Raises
    ------
    ValueError
        If there is no class, shapes differ, or steps of the grids do.
    """
    if not classes or flux.shape != ivar.shape or flux.shape[1:] != (grid.n_pixels,):
        message = f"redshifts need a class and spectra of shape (n, {grid.n_pixels}), not {flux.shape}"
        raise ValueError(message)
    searches = [_Search(grid, one, n_polynomials) for one in classes]
    rows = [_fit_row(searches, f, w, min_delta_chi2) for f, w in zip(flux, ivar, strict=True)]
    columns = zip(*rows, strict=True) if rows else [()] * 7
    dtypes = (float, float, np.int64, float, float, np.int64, np.int64)
    return Redshifts(*(np.array(values, dtype) for values, dtype in zip(columns, dtypes, strict=True)))


class _Search:
    """One class, arranged for spectra of one grid."""

    def __init__(self, grid: LogGrid, one: SpectralClass, n_polynomials: int) -> None:
        if abs(one.grid.step - grid.step) > 1e-6 * grid.step:
            message = f"templates of {one.name} have steps of {one.grid.step} dex, the spectra of {grid.step}"
            raise ValueError(message)
        self.step = grid.step
        self.offset = (one.grid.start - grid.start) / grid.step
        low, high = (np.log10(1.0 + z) / grid.step + self.offset for z in (one.z_min, one.z_max))
        self.shifts = np.arange(int(np.floor(low)), int(np.ceil(high)) + 1)
        n = grid.n_pixels + one.grid.n_pixels
        self.length = fft.next_fast_len(n + 1, real=True)
        scale = np.sqrt(np.mean(one.templates**2, axis=1, keepdims=True))
        templates = one.templates / np.where(scale > 0, scale, 1.0)
        self.n_templates = len(templates)
        self.pairs = np.triu_indices(self.n_templates)
        products = templates[self.pairs[0]] * templates[self.pairs[1]]
        self.single = np.conj(fft.rfft(templates, self.length))
        self.double = np.conj(fft.rfft(products, self.length))
        x = np.linspace(-1.0, 1.0, grid.n_pixels)
        self.polynomials = np.polynomial.legendre.legvander(x, n_polynomials - 1).T[:n_polynomials]

    def gain(self, data: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much templates and polynomials lower chi-squared, at each shift."""
        n, m = self.n_templates, len(self.polynomials)
        weighted = np.concatenate([[weight * data, weight], self.polynomials * weight])
        transformed = fft.rfft(weighted, self.length)
        right = np.zeros((len(self.shifts), n + m))
        normal = np.zeros((len(self.shifts), n + m, n + m))
        right[:, :n] = self._at_shifts(transformed[0] * self.single).T
        right[:, n:] = self.polynomials @ (weight * data)
        square = self._at_shifts(transformed[1] * self.double).T
        normal[:, self.pairs[0], self.pairs[1]] = square
        normal[:, self.pairs[1], self.pairs[0]] = square
        for k in range(m):
            cross = self._at_shifts(transformed[2 + k] * self.single).T
            normal[:, :n, n + k], normal[:, n + k, :n] = cross, cross
        normal[:, n:, n:] = (self.polynomials * weight) @ self.polynomials.T
        diagonal = np.einsum("ijj->ij", normal)
        diagonal += 1e-9 * diagonal.max(axis=1, keepdims=True) + 1e-300
        solved = np.linalg.solve(normal, right[..., None])[..., 0]
        gain = np.einsum("ij,ij->i", right, solved)
        if n == 1:  # an archetype cannot be negative
            empty = np.linalg.solve(normal[0, n:, n:], right[0, n:]) @ right[0, n:] if m else 0.0
            gain = np.where(solved[:, 0] > 0, gain, empty)
        return np.asarray(gain, np.float64)

    def _at_shifts(self, product: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Return correlations at the shifts that are searched."""
        return np.asarray(fft.irfft(product, self.length)[..., self.shifts % self.length], np.float64)

    def z_of(self, shift: float) -> float:
        """Return the redshift of a shift [pixel]."""
        return float(10.0 ** ((shift - self.offset) * self.step) - 1.0)


def scan_redshifts(
    grid: LogGrid,
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    classes: Sequence[SpectralClass],
    n_polynomials: int = 4,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return chi-squared of one spectrum over redshift, for each class.

    Parameters
    ----------
    grid, classes, n_polynomials
        As for `fit_redshifts`.
    flux, ivar : float64 ndarray, shape (n_pixels,)
        Of one spectrum, with good pixels.

    Returns
    -------
    curves : list of (float64 ndarray, float64 ndarray)
        By class: redshifts, and chi-squared there.
    """
    data, weight, unit, total = _scaled(flux, ivar)
    curves = []
    for one in classes:
        search = _Search(grid, one, n_polynomials)
        z = np.asarray(10.0 ** ((search.shifts - search.offset) * search.step) - 1.0, np.float64)
        curves.append((z, total - search.gain(data, weight) * unit**2))
    return curves


def class_model(  # noqa: PLR0917
    grid: LogGrid,
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    one: SpectralClass,
    z: float,
    n_polynomials: int = 4,
) -> NDArray[np.float64]:
    """Return the best fit to one spectrum of the templates of a class at a redshift, shape (n_pixels,).

    Templates are interpolated there and fitted directly, without transforms.
    """
    position = np.arange(grid.n_pixels) - ((one.grid.start + np.log10(1.0 + z) - grid.start) / one.grid.step)
    pixel = np.arange(one.grid.n_pixels)
    shifted = [np.interp(position, pixel, template, 0.0, 0.0) for template in one.templates]
    x = np.linspace(-1.0, 1.0, grid.n_pixels)
    terms = np.concatenate(
        [np.stack(shifted), np.polynomial.legendre.legvander(x, n_polynomials - 1).T[:n_polynomials]]
    )
    size = np.sqrt(np.mean(terms**2, axis=1, keepdims=True))
    terms = terms / np.where(size > 0, size, 1.0)
    good = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
    root = np.sqrt(np.where(good, ivar, 0.0))
    solved = np.linalg.lstsq((terms * root).T, np.where(good, flux, 0.0) * root, rcond=1e-10)[0]
    model: NDArray[np.float64] = solved @ terms
    return model


def _scaled(
    flux: NDArray[np.float64], ivar: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Return data and weights of order one, whatever the unit, what to multiply by, and chi-squared."""
    good = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
    weight, data = np.where(good, ivar, 0.0), np.where(good, flux, 0.0)
    total = float((weight * data**2).sum())
    mean = float(weight[good].mean())
    unit = np.sqrt(total / good.sum()) or 1.0
    return data * np.sqrt(mean) / unit, weight / mean, float(unit), total


def _fit_row(
    searches: Sequence[_Search], flux: NDArray[np.float64], ivar: NDArray[np.float64], min_delta: float
) -> tuple[float, ...]:
    """Return the fields of `Redshifts` for one spectrum."""
    good = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
    n_pixels = int(good.sum())
    if n_pixels < 100:
        return (np.nan, np.nan, -1, np.nan, np.nan, n_pixels, int(SpectrumFlag.NO_DATA))
    data, weight, unit, total = _scaled(flux, ivar)
    gains = [search.gain(data, weight) * unit**2 for search in searches]
    best = int(np.argmax([gain.max() for gain in gains]))
    gain, search = gains[best], searches[best]
    index = int(gain.argmax())
    flags = 0
    if 0 < index < gain.size - 1:
        low, middle, high = gain[index - 1 : index + 2]
        curvature = low - 2.0 * middle + high
        offset = 0.5 * (low - high) / curvature if curvature < 0 else 0.0
        sigma = np.sqrt(-2.0 / curvature) if curvature < 0 else np.nan
    else:
        offset, sigma = 0.0, np.nan
        flags |= int(SpectrumFlag.EDGE_OF_RANGE)
    z = search.z_of(search.shifts[index] + offset)
    chi2_dof = max(total - gain[index], 0.0) / n_pixels
    z_err = sigma * search.step * np.log(10.0) * (1.0 + z) * np.sqrt(max(chi2_dof, 1.0))
    delta = gain[index] - _second(gains, best, index, search.step)
    flags |= int(SpectrumFlag.AMBIGUOUS) if delta < min_delta else 0
    flags |= int(SpectrumFlag.FEW_PIXELS) if 2 * n_pixels < flux.size else 0
    return (z, z_err, best, chi2_dof, float(delta), n_pixels, flags)


def _second(gains: Sequence[NDArray[np.float64]], best: int, index: int, step: float) -> float:
    """Return the gain of the second best: of another class, or 3000 km/s away."""
    apart = int(np.ceil(3000.0 / SPEED_OF_LIGHT_KMS / np.log(10.0) / step))
    rest = np.concatenate([gains[best][: max(index - apart, 0)], gains[best][index + apart + 1 :]])
    others = [gain.max() for number, gain in enumerate(gains) if number != best]
    return float(max([*others, rest.max(initial=0.0)]))
