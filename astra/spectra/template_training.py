"""Templates of classes of objects, trained on spectra of known redshift.

Each spectrum is brought to rest onto the grid of its class, where a redshift is a shift; the templates are
the mean and the principal components of the class, by weighted least squares, so that noise, gaps and the
ends of spectra of other redshifts count as they should. How well they do is told by spectra that were left
out of the training (cross validation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astra.spectra.grid import LogGrid
from astra.spectra.redshift import Redshifts, SpectralClass, fit_redshifts
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS

_MIN_SPECTRA = 2  # that must reach a pixel of the grid, where there are as many
CATASTROPHIC_KMS = 3000.0


@dataclass(frozen=True)
class LabelledSpectrum:
    """A spectrum of known class and redshift.

    Parameters
    ----------
    grid : LogGrid
        Of its wavelengths, observed.
    flux, ivar : float64 ndarray, shape (n_pixels,)
        Flux and its inverse variance; 0 where there is no measurement.
    name : str
        Of its class.
    z : float
        Redshift.
    """

    grid: LogGrid
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    name: str
    z: float


@dataclass(frozen=True)
class Validation:
    """What templates find of spectra that they were not trained on, one row each.

    Parameters
    ----------
    name, found_name : tuple of str
        True class, and the best one; empty where there is none.
    z, found_z, found_z_err : float64 ndarray, shape (n,)
        True redshift, and that found.
    chi2_dof, delta_chi2 : float64 ndarray, shape (n,)
        As of `Redshifts`.
    """

    name: tuple[str, ...]
    found_name: tuple[str, ...]
    z: NDArray[np.float64]
    found_z: NDArray[np.float64]
    found_z_err: NDArray[np.float64]
    chi2_dof: NDArray[np.float64]
    delta_chi2: NDArray[np.float64]

    @property
    def velocity_kms(self) -> NDArray[np.float64]:
        """What redshifts are off by [km/s]."""
        return SPEED_OF_LIGHT_KMS * (self.found_z - self.z) / (1.0 + self.z)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return figures by class: number, share in the right class, scatter and outliers of redshifts."""
        result = {}
        for one in sorted(set(self.name)):
            own = np.array([name == one for name in self.name])
            right = np.array([name == one for name in self.found_name]) & own
            velocity = self.velocity_kms[right & np.isfinite(self.found_z)]
            middle = float(np.median(velocity)) if velocity.size else np.nan
            spread = 1.4826 * float(np.median(np.abs(velocity - middle))) if velocity.size else np.nan
            wrong = (np.abs(velocity) > CATASTROPHIC_KMS).mean() if velocity.size else np.nan
            result[one] = {
                "n": int(own.sum()),
                "right_class": float(right.sum() / own.sum()),
                "velocity_median_kms": middle,
                "velocity_sigma_kms": spread,
                "catastrophic": float(wrong),
                "chi2_dof_median": float(np.nanmedian(self.chi2_dof[own])),
            }
        return result


def at_rest(spectrum: LabelledSpectrum, grid: LogGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bring a spectrum to rest onto a grid.

    Parameters
    ----------
    spectrum : LabelledSpectrum
        On a grid of the same step.
    grid : LogGrid
        Rest wavelengths.

    Returns
    -------
    flux, ivar : float64 ndarray, shape (n_pixels,)
        By 4-point Lagrange interpolation, at one place between the pixels for the whole spectrum; ivar is
        0 where one of the four is not known.

    Raises
    ------
    ValueError
        If the steps of the grids differ.
    """
    if abs(spectrum.grid.step - grid.step) > 1e-6 * grid.step:
        message = f"spectra must have steps of {grid.step} dex, not of {spectrum.grid.step}"
        raise ValueError(message)
    # Pixel of the spectrum that the first one of the grid falls on.
    place = (grid.start + np.log10(1.0 + spectrum.z) - spectrum.grid.start) / grid.step
    whole = int(np.floor(place))
    f = place - whole
    taps = (
        -f * (f - 1.0) * (f - 2.0) / 6.0,
        (f + 1.0) * (f - 1.0) * (f - 2.0) / 2.0,
        -(f + 1.0) * f * (f - 2.0) / 2.0,
        (f + 1.0) * f * (f - 1.0) / 6.0,
    )
    good = (spectrum.ivar > 0) & np.isfinite(spectrum.flux) & np.isfinite(spectrum.ivar)
    variance = 1.0 / np.where(good, spectrum.ivar, 1.0)
    index = whole + np.arange(grid.n_pixels)
    flux, total = np.zeros((2, grid.n_pixels))
    known = np.ones(grid.n_pixels, dtype=bool)
    for offset, tap in zip(range(-1, 3), taps, strict=True):
        at = np.clip(index + offset, 0, good.size - 1)
        inside = (index + offset == at) & good[at]
        flux += tap * np.where(inside, spectrum.flux[at], 0.0)
        total += tap**2 * np.where(inside, variance[at], 0.0)
        known &= inside | (abs(tap) < 1e-9)
    known &= total > 0
    return np.where(known, flux, 0.0), np.where(known, 1.0 / np.where(known, total, 1.0), 0.0)


def train_class(
    spectra: Sequence[LabelledSpectrum], n_components: int, *, z_margin: float = 0.01
) -> SpectralClass:
    """Train the templates of one class.

    Parameters
    ----------
    spectra : sequence of LabelledSpectrum
        Of one class, on grids of one step.
    n_components : int
        Templates; of fewer spectra than that and one more, one less than there are spectra, of one its own.
    z_margin : float, optional
        What is searched beyond the redshifts of the spectra, over 1 + z.

    Returns
    -------
    trained : SpectralClass

    Raises
    ------
    ValueError
        If there is no spectrum, or they are of several classes or steps.
    """
    if not spectra or len({one.name for one in spectra}) != 1:
        message = f"templates are trained on spectra of one class, at least one, not on {len(spectra)}"
        raise ValueError(message)
    z = np.array([one.z for one in spectra])
    reach = (float((1.0 + z.min()) * (1.0 - z_margin) - 1.0), float((1.0 + z.max()) * (1.0 + z_margin) - 1.0))
    grid = _rest_grid(spectra)
    planes = [at_rest(one, grid) for one in spectra]
    flux, ivar = (np.stack(plane) for plane in zip(*planes, strict=True))
    reached = (ivar > 0).sum(axis=0) >= min(_MIN_SPECTRA, len(spectra))
    first, last = int(reached.argmax()), len(reached) - int(reached[::-1].argmax())
    grid = LogGrid(grid.start + first * grid.step, grid.step, last - first)
    flux, ivar = flux[:, first:last], ivar[:, first:last]
    name = spectra[0].name
    if len(spectra) == 1:
        known = ivar[0] > 0
        filled = np.interp(np.arange(grid.n_pixels), np.flatnonzero(known), flux[0][known])
        return SpectralClass(name, grid, filled[None], *reach)
    return train_components(name, grid, flux, ivar, min(n_components, len(spectra) - 1), reach)


def train_classes(
    spectra: Sequence[LabelledSpectrum], n_components: int, *, z_margin: float = 0.01
) -> list[SpectralClass]:
    """Train the templates of all classes that spectra have, in alphabetical order."""
    names = sorted({one.name for one in spectra})
    return [
        train_class([one for one in spectra if one.name == name], n_components, z_margin=z_margin)
        for name in names
    ]


def cross_validate(
    spectra: Sequence[LabelledSpectrum],
    n_components: int,
    *,
    n_folds: int = 5,
    z_margin: float = 0.01,
    n_polynomials: int = 4,
) -> Validation:
    """Train on all but a part of the spectra, classify that part, and so on for all parts.

    Parameters
    ----------
    spectra : sequence of LabelledSpectrum
        In any order. What is the only one of its class cannot be found again, and counts as wrong.
    n_components : int
        As for `train_class`.
    n_folds : int, optional
        Parts; two or more.
    z_margin, n_polynomials : optional
        As for `train_class` and `fit_redshifts`.

    Returns
    -------
    validation : Validation
        In the order of the spectra. The search covers the redshifts of all spectra of a class.

    Raises
    ------
    ValueError
        If there are fewer than two parts.
    """
    if n_folds < 2:
        message = f"cross validation needs two parts or more, not {n_folds}"
        raise ValueError(message)
    ranges = {one.name: (one.z_min, one.z_max) for one in train_classes(spectra, 1, z_margin=z_margin)}
    fold = _folds(spectra, n_folds)
    found: list[tuple[str, Redshifts] | None] = [None] * len(spectra)
    for number in range(n_folds):
        rest = [one for one, own in zip(spectra, fold, strict=True) if own != number]
        if not rest or number not in fold:
            continue
        classes = [
            replace(one, z_min=ranges[one.name][0], z_max=ranges[one.name][1])
            for one in train_classes(rest, n_components, z_margin=z_margin)
        ]
        for index in np.flatnonzero(fold == number):
            one = spectra[int(index)]
            fit = fit_redshifts(one.grid, one.flux[None], one.ivar[None], classes, n_polynomials)
            best = int(fit.class_index[0])
            found[int(index)] = (classes[best].name if best >= 0 else "", fit)
    return _validation(spectra, found)


def _validation(
    spectra: Sequence[LabelledSpectrum], found: Sequence[tuple[str, Redshifts] | None]
) -> Validation:
    """Arrange what was found."""

    def values(name: str) -> NDArray[np.float64]:
        return np.array([getattr(fit[1], name)[0] if fit else np.nan for fit in found], np.float64)

    return Validation(
        name=tuple(one.name for one in spectra),
        found_name=tuple(fit[0] if fit else "" for fit in found),
        z=np.array([one.z for one in spectra]),
        found_z=values("z"),
        found_z_err=values("z_err"),
        chi2_dof=values("chi2_dof"),
        delta_chi2=values("delta_chi2"),
    )


def _folds(spectra: Sequence[LabelledSpectrum], n_folds: int) -> NDArray[np.int64]:
    """Deal the spectra of each class, in the order of their redshifts, to the parts in turn."""
    fold = np.zeros(len(spectra), np.int64)
    for name in {one.name for one in spectra}:
        own = [number for number, one in enumerate(spectra) if one.name == name]
        own.sort(key=lambda number: spectra[number].z)
        fold[own] = np.arange(len(own)) % n_folds
    return fold


def _rest_grid(spectra: Sequence[LabelledSpectrum]) -> LogGrid:
    """Return a grid over all that spectra cover at rest."""
    step = spectra[0].grid.step
    starts = [one.grid.start - np.log10(1.0 + one.z) for one in spectra]
    ends = [start + one.grid.n_pixels * step for start, one in zip(starts, spectra, strict=True)]
    start = step * np.floor(min(starts) / step)
    return LogGrid(float(start), step, int(np.ceil((max(ends) - start) / step)) + 1)


def train_components(  # noqa: PLR0917
    name: str,
    grid: LogGrid,
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    n_components: int,
    z_range: tuple[float, float],
    n_iterations: int = 15,
) -> SpectralClass:
    """Train principal components on spectra at rest, with their weights and gaps.

    Alternating least squares, after Bailey (2012, PASP 124, 1015): coefficients of all spectra, then
    components, each a weighted fit.

    Parameters
    ----------
    name : str
        Of the class.
    grid : LogGrid
        Rest wavelengths.
    flux, ivar : float64 ndarray, shape (n, n_pixels)
        Spectra at rest on that grid; ivar 0 where they do not reach.
    n_components : int
        How many; fewer than spectra.
    z_range : (float, float)
        That will be searched.
    n_iterations : int, optional
        Of the two fits in turn.

    Returns
    -------
    trained : SpectralClass

    Raises
    ------
    ValueError
        If there are not more spectra than components.
    """
    if not 0 < n_components < len(flux):
        message = f"{n_components} components need more spectra than {len(flux)}"
        raise ValueError(message)
    good = (ivar > 0) & np.isfinite(flux)
    level = np.array([np.median(np.abs(f[g])) if g.any() else 1.0 for f, g in zip(flux, good, strict=True)])
    level = np.where(level > 0, level, 1.0)[:, None]
    data, weight = np.where(good, flux, 0.0) / level, np.where(good, ivar, 0.0) * level**2
    weight = weight / max(weight.mean(), 1e-300)
    components, scores = np.empty((0, grid.n_pixels)), np.empty((len(flux), 0))
    left = data
    # One after the other: the first must be right where spectra have gaps before another takes what is left.
    for _ in range(n_components):
        new = np.linalg.svd(np.where(good, left, 0.0), full_matrices=False)[2][:1]
        components = np.concatenate([components, new])
        for _ in range(n_iterations):
            scores, components = _alternate(components, data, weight)
        left = data - scores @ components
    # Signs are arbitrary: templates look like spectra.
    sign = np.where(np.median(components, axis=1) < 0, -1.0, 1.0)
    return SpectralClass(name, grid, components * sign[:, None], *z_range)


def _alternate(
    components: NDArray[np.float64], data: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the coefficients of all spectra, then the components; return both, the latter orthonormal."""
    ridge = 1e-8 * np.eye(len(components))
    normal = np.einsum("kp,ip,lp->ikl", components, weight, components, optimize=True) + ridge
    scores = np.linalg.solve(normal, ((weight * data) @ components.T)[..., None])[..., 0]
    normal = np.einsum("ik,ip,il->pkl", scores, weight, scores, optimize=True) + ridge
    fitted = np.linalg.solve(normal, (scores.T @ (weight * data)).T[..., None])[..., 0]
    orthonormal, mixing = np.linalg.qr(fitted)
    return scores @ mixing.T, np.ascontiguousarray(orthonormal.T)
