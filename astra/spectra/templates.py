"""Templates of velocities: spectra at rest on a logarithmic grid, less their continuum."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from astra.spectra.continuum import ContinuumConfig, fit_continuum, normalise
from astra.spectra.correlation import BlockTransform
from astra.spectra.grid import LogGrid

_LONGEST_BRIDGE_PIXEL = 24  # some resolution elements of APOGEE: a masked sky line with its surroundings


@dataclass(frozen=True)
class TemplateSet:
    """Templates on one grid, ready to be correlated.

    Parameters
    ----------
    grid : LogGrid
        Their wavelengths, in the rest frame.
    residual : float64 ndarray, shape (n_templates, n_pixels)
        Flux over continuum, less 1; 0 where a template knows nothing.
    names : tuple of str
        What they are.
    max_shift : int
        Largest shift that is searched [pixel].
    """

    grid: LogGrid
    residual: NDArray[np.float64]
    names: tuple[str, ...]
    max_shift: int
    blocks: BlockTransform = field(init=False, repr=False)
    transformed: NDArray[np.complex64] = field(init=False, repr=False)
    """Of each template, then of their squares, as `BlockTransform.of_templates` gives them."""

    def __post_init__(self) -> None:
        shape = (len(self.names), self.grid.n_pixels)
        if self.residual.shape != shape or not self.names or not np.isfinite(self.residual).all():
            message = (
                f"templates must be finite and have shape {shape}, at least one, not {self.residual.shape}"
            )
            raise ValueError(message)
        blocks = BlockTransform(self.grid.n_pixels, self.max_shift)
        single = self.residual.astype(np.float32)
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(
            self, "transformed", blocks.of_templates(np.concatenate([single, single**2], axis=0))
        )

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self.names)


def make_templates(
    grid: LogGrid,
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64] | None = None,
    *,
    names: tuple[str, ...] | None = None,
    continuum: ContinuumConfig | None = None,
    max_velocity_kms: float = 800.0,
) -> TemplateSet:
    """Make templates of spectra at rest.

    Parameters
    ----------
    grid : LogGrid
        Where velocities are measured.
    wavelength : float64 ndarray, shape (n,)
        In vacuum, in the rest frame [Angstrom].
    flux : float64 ndarray, shape (n_templates, n)
        In any unit.
    ivar : float64 ndarray, shape (n_templates, n), optional
        Inverse variance; 0 where a template is not known, which then is taken
        for continuum but in short gaps.
    names : tuple of str, optional
        What they are; else their numbers.
    continuum : ContinuumConfig, optional
        As for the spectra that are to be measured.
    max_velocity_kms : float, optional
        Largest velocity that is searched [km/s].

    Returns
    -------
    templates : TemplateSet

    Raises
    ------
    ValueError
        If shapes differ, or no template has a continuum.
    """
    weight = np.where(np.isfinite(flux), 1.0, 0.0) if ivar is None else ivar
    if ivar is None:
        weight = weight / np.maximum(np.nanmedian(np.abs(flux), axis=1, keepdims=True) * 0.01, 1e-300) ** 2
    fit = fit_continuum(wavelength, flux, weight, continuum)
    if not np.isfinite(fit.continuum).any():
        message = "no template has a continuum in the regions where it is fitted"
        raise ValueError(message)
    normal, known = normalise(flux, weight, fit.continuum)
    residual = np.stack([bridged(row - 1.0, own > 0) for row, own in zip(normal, known, strict=True)])
    position = grid.pixel_of(wavelength)
    if position.size != grid.n_pixels or np.abs(position - np.arange(grid.n_pixels)).max() > 1e-3:
        residual = _onto_grid(grid, position, residual)
    max_shift = int(np.ceil(abs(float(grid.shift_of(max_velocity_kms)))))
    return TemplateSet(grid, residual, names or tuple(map(str, range(len(flux)))), max_shift)


def bridged(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return values with short gaps filled by straight lines, and 0 in long ones and at the ends.

    A gap that is taken for continuum in the midst of a line would pull velocities to where the gaps are.
    """
    if not known.any():
        return np.zeros(values.shape)
    pixel = np.arange(values.size)
    place = np.flatnonzero(known)
    after = np.searchsorted(place, pixel)
    before = place[np.clip(after - 1, 0, None)]
    gap = place[np.clip(after, None, place.size - 1)] - before - 1
    is_short = (gap <= _LONGEST_BRIDGE_PIXEL) & (pixel > place[0]) & (pixel < place[-1])
    filled = np.interp(pixel, place, values[place])
    return np.where(known | is_short, filled, 0.0)


def _onto_grid(
    grid: LogGrid, position: NDArray[np.float64], residual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate templates at the pixels of a grid; 0 outside of them."""
    from scipy.interpolate import CubicSpline

    pixel = np.arange(grid.n_pixels)
    inside = (pixel >= position[0]) & (pixel <= position[-1])
    values: NDArray[np.float64] = CubicSpline(position, residual, axis=1)(pixel)
    return np.where(inside, values, 0.0)
