"""Velocities of the visits of one star without any template but the star itself.

Each visit is measured against the sum of the others, all of them brought to rest by the velocities of the
step before: a visit's own noise, if it were in the sum, would hold it where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astra.spectra.coadd import Coadd, Visit, combine, rest_visit
from astra.spectra.deposit import Deposit
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import APSTAR_GRID, LogGrid
from astra.spectra.masks import APOGEE_BAD_FOR_VELOCITY, spikes, widened
from astra.spectra.radial_velocity import Velocities, VelocityConfig, measure_velocities, prepare_spectra
from astra.spectra.snr import signal_to_noise
from astra.spectra.templates import TemplateSet, make_templates
from astra.spectra.velocities import compose, remove

_SETTLED_KMS = 0.005


def prepare_visit(visit: Visit, grid: LogGrid = APSTAR_GRID, config: VelocityConfig | None = None) -> Deposit:
    """Put a visit onto a grid without bad pixels, sky lines and the ghost."""
    bad = visit.bad | ((visit.pixel_flags & int(APOGEE_BAD_FOR_VELOCITY)) != 0)
    planes = (visit.flux[None], visit.ivar[None], bad[None])
    return prepare_spectra(grid, visit.wavelength, *planes, config=config)


def template_of(
    coadd: Coadd, grid: LogGrid = APSTAR_GRID, config: VelocityConfig | None = None
) -> TemplateSet:
    """Make a template of a sum of visits, without what is no star in it: sky lines, the ghost and spikes."""
    config = config or VelocityConfig()
    void = (coadd.pixel_flags & int(APOGEE_BAD_FOR_VELOCITY)) != 0
    void |= spikes(coadd.flux[None], coadd.ivar[None], config.spike_sigma)[0]
    ivar = np.where(widened(void, config.widen), 0.0, coadd.ivar)[None]
    return make_templates(
        grid, grid.wavelength, coadd.flux[None], ivar, names=("coadd",), continuum=config.continuum
    )


def measure_star(
    visits: Sequence[Visit],
    bc: NDArray[np.float64],
    *,
    grid: LogGrid = APSTAR_GRID,
    config: VelocityConfig | None = None,
    max_steps: int = 8,
) -> Velocities:
    """Measure the velocities of the visits of a star against each other.

    Parameters
    ----------
    visits : sequence of Visit
        Of one star, in the observed frame.
    bc : float64 ndarray, shape (n_visits,)
        Barycentric corrections [km/s].
    grid : LogGrid, optional
        Of the star's rest frame.
    config : VelocityConfig, optional
        How.
    max_steps : int, optional
        How often sums and velocities are made in turn.

    Returns
    -------
    velocities : Velocities
        Relative to the observer, of a star whose mean barycentric velocity is 0: what is absolute is not
        known. A single visit has the negative of its correction, no error and a flag.

    Raises
    ------
    ValueError
        If there is no visit, or not one correction for each.
    """
    bc = np.asarray(bc, np.float64)
    if not visits or bc.shape != (len(visits),) or not np.isfinite(bc).all():
        message = (
            f"{len(visits)} visits, at least one, must have a finite correction each, not shape {bc.shape}"
        )
        raise ValueError(message)
    prepared = [prepare_visit(visit, grid, config) for visit in visits]
    snr = np.array([signal_to_noise(v.flux[None], v.ivar[None], v.bad[None])[0] for v in visits])
    v_rad = np.zeros(len(visits))
    if len(visits) == 1:
        return _single(prepared[0], remove(v_rad, bc), config, visits[0], grid)
    # First against the best visit, which may be far from the others; that one stays where it is.
    best = int(np.nanargmax(np.where(np.isfinite(snr), snr, -1.0)))
    own = template_of(combine([rest_visit(visits[best], float(remove(0.0, bc[best])), grid)]), grid, config)
    found = measure_velocities(Deposit.stack(prepared), own, config)
    v_rad = np.where(np.isfinite(found.v_rel), compose(found.v_rel, bc), 0.0)
    v_rad[best] = 0.0
    for _ in range(max_steps):
        found = _against_the_others(visits, prepared, remove(v_rad, bc), grid, config)
        usable = np.isfinite(found.v_rel)
        # Each visit moves the template of all others: half steps for two, nearly whole ones for many.
        change = np.where(usable, compose(found.v_rel, bc) - v_rad, 0.0) * (1.0 - 1.0 / len(visits))
        before, v_rad = v_rad, v_rad + change
        v_rad -= np.average(v_rad, weights=np.where(usable, snr, 1e-9) ** 2)
        # What all visits have in common is taken off again: the noise of two makes some of it in each step.
        if np.abs(v_rad - before).max() < _SETTLED_KMS:
            break
    return replace(found, v_rel=np.where(np.isfinite(found.v_rel), remove(v_rad, bc), np.nan))


def _against_the_others(
    visits: Sequence[Visit],
    prepared: Sequence[Deposit],
    v_rel: NDArray[np.float64],
    grid: LogGrid,
    config: VelocityConfig | None,
) -> Velocities:
    """Measure each visit against the sum of the others."""
    at_rest = [rest_visit(visit, float(v), grid) for visit, v in zip(visits, v_rel, strict=True)]
    parts = []
    for number, one in enumerate(prepared):
        others = combine([rest for other, rest in enumerate(at_rest) if other != number], clip=True)
        parts.append(measure_velocities(one, template_of(others, grid, config), config))
    return Velocities.stack(parts)


def _single(
    prepared: Deposit, v_rel: NDArray[np.float64], config: VelocityConfig | None, visit: Visit, grid: LogGrid
) -> Velocities:
    """Return what can be said of one visit alone."""
    template = template_of(combine([rest_visit(visit, float(v_rel[0]), grid)]), grid, config)
    found = measure_velocities(prepared, template, config)
    flags = found.flags | int(SpectrumFlag.SINGLE_VISIT)
    unusable = np.isfinite(found.v_rel)
    return replace(found, v_rel=np.where(unusable, v_rel, np.nan), v_rel_err=np.full(1, np.nan), flags=flags)
