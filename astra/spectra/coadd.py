"""Visits of one star resampled onto its rest frame, and their sums.

After the APOGEE reduction (Nidever et al. 2015, arXiv:1501.03742): bad pixels are filled before a damped
sinc resamples each chip, errors grow where persistence or sky lines are, visits are divided by their
continuum, averaged by weight, and multiplied by the median continuum. Pixels that are bad in a visit do not
count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from astra.spectra.grid import APSTAR_GRID, LogGrid
from astra.spectra.masks import APOGEE_BAD, ApogeePixel
from astra.spectra.resampling import PIXELS_PER_RESOLUTION, sinc_operator
from astra.spectra.velocities import shifted

INFLATION = {
    ApogeePixel.PERSIST_HIGH: 5.0**0.5,
    ApogeePixel.PERSIST_MED: 4.0**0.5,
    ApogeePixel.PERSIST_LOW: 3.0**0.5,
    ApogeePixel.SIG_SKYLINE: 10.0,
}
"""What errors are multiplied by where a bit is set; of several bits the largest factor counts."""

_MEDIAN_PIXEL, _GAUSSIAN_PIXEL = 501, 100  # of the smooth continuum of a chip
_STEP_PIXEL = 10  # at which that is sampled
# Of what is clipped: in errors, and of the continuum, since lines at wrong velocities differ as well.
_CLIP_SIGMA, _CLIP_FRACTION = 7.0, 0.1


@dataclass(frozen=True)
class _Chip:
    """The pixels of a chip of a visit, bad ones filled: flux, its variance, and the smooth continuum."""

    number: int
    own: slice
    flux: NDArray[np.float64] = field(repr=False)
    variance: NDArray[np.float64] = field(repr=False)
    continuum: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class Visit:
    """One visit in the observed frame.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        Increasing, in vacuum [Angstrom].
    chip : integer ndarray, shape (n_pixels,)
        Index of the chip of each pixel, from 0.
    flux, ivar : float64 ndarray, shape (n_pixels,)
        Flux and its inverse variance; 0 where it cannot be used.
    pixel_flags : int64 ndarray, shape (n_pixels,)
        Bits of APOGEE_PIXMASK.
    bad_bits : int, optional
        Those of them that make a pixel bad.
    """

    wavelength: NDArray[np.float64] = field(repr=False)
    chip: NDArray[np.integer] = field(repr=False)
    flux: NDArray[np.float64] = field(repr=False)
    ivar: NDArray[np.float64] = field(repr=False)
    pixel_flags: NDArray[np.int64] = field(repr=False)
    bad_bits: int = int(APOGEE_BAD)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Pixels that cannot be used."""
        flagged = (self.pixel_flags & self.bad_bits) != 0
        return np.asarray(flagged | (self.ivar <= 0) | ~np.isfinite(self.flux), np.bool_)

    @cached_property
    def chips(self) -> tuple[_Chip, ...]:
        """Chips with a good pixel, without regard to velocity: made once for all that are tried."""
        bad, chips = self.bad, []
        for number in np.unique(self.chip[self.chip >= 0]):
            pixels = np.flatnonzero(self.chip == number)
            own = slice(int(pixels[0]), int(pixels[-1]) + 1)
            if not bad[own].all():
                chips.append(_Chip(int(number), own, *_filled(self.flux[own], self.ivar[own], bad[own])))
        return tuple(chips)


@dataclass(frozen=True)
class RestVisit:
    """One visit on the grid of stars, in the rest frame.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_pixels,)
        As resampled; ivar is 0 outside of the chips, and holds the inflation of errors.
    pixel_flags : int64 ndarray, shape (n_pixels,)
        Bits with a share above 0.1.
    continuum : float64 ndarray, shape (n_pixels,)
        Smooth; NaN outside of the chips.
    bad : bool ndarray, shape (n_pixels,)
        Where bad pixels have a share above 0.1.
    """

    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    pixel_flags: NDArray[np.int64]
    continuum: NDArray[np.float64]
    bad: NDArray[np.bool_]

    @property
    def good(self) -> NDArray[np.bool_]:
        """Pixels that count in sums."""
        usable = (self.ivar > 0) & (self.continuum > 0) & ~self.bad
        return np.asarray(usable, np.bool_)


@dataclass(frozen=True)
class Coadd:
    """The sum of the visits of a star.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_pixels,)
        0 where no visit counts.
    pixel_flags : int64 ndarray, shape (n_pixels,)
        Bits that all visits have.
    n_visits : int64 ndarray, shape (n_pixels,)
        How many count.
    """

    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    pixel_flags: NDArray[np.int64]
    n_visits: NDArray[np.int64]


def rest_visit(
    visit: Visit,
    v_rel: float,
    grid: LogGrid = APSTAR_GRID,
    resolution: Sequence[float] = PIXELS_PER_RESOLUTION,
) -> RestVisit:
    """Resample a visit onto the rest frame of its star.

    Parameters
    ----------
    visit : Visit
        In the observed frame; undithered visits have half as many pixels.
    v_rel : float
        Velocity of the star relative to the observer [km/s].
    grid : LogGrid, optional
        Where to.
    resolution : sequence of float, optional
        Pixels per resolution element of each chip, of dithered visits of 4096 pixels a chip.

    Returns
    -------
    resampled : RestVisit

    Raises
    ------
    ValueError
        If the velocity is not finite, or there are more chips than resolutions.
    """
    if not np.isfinite(v_rel):
        message = f"a visit can be brought to rest by a finite velocity alone, not by {v_rel} km/s"
        raise ValueError(message)
    flux, ivar = np.zeros((2, grid.n_pixels))
    flags, continuum = np.zeros(grid.n_pixels, np.int64), np.full(grid.n_pixels, np.nan)
    spoilt = np.zeros(grid.n_pixels, dtype=bool)
    observed, bad = shifted(grid.wavelength, v_rel), visit.bad
    for chip in visit.chips:
        own = chip.own
        wavelength = visit.wavelength[own]
        inside = slice(*np.searchsorted(observed, [wavelength[0], wavelength[-1]]))
        if inside.stop <= inside.start:
            continue
        position = np.interp(observed[inside], wavelength, np.arange(len(wavelength)))
        # Never below what the pixels can hold, for visits without dithering.
        width = max(resolution[chip.number] * len(wavelength) / 4096.0, 2.0)
        operator = sinc_operator(position, len(wavelength), width)
        flux[inside] = operator.value(chip.flux)
        ivar[inside] = 1.0 / operator.variance(chip.variance)
        flags[inside] = operator.mask(visit.pixel_flags[own] | np.where(bad[own], int(ApogeePixel.BADPIX), 0))
        spoilt[inside] = operator.mask(bad[own].astype(np.int64)) != 0
        continuum[inside] = np.interp(position, np.arange(len(wavelength)), chip.continuum)
    return RestVisit(flux, ivar / _inflation(flags) ** 2, flags, continuum, spoilt)


def combine(visits: Sequence[RestVisit], *, smooth_weights: bool = False, clip: bool = False) -> Coadd:
    """Sum visits in the rest frame.

    Parameters
    ----------
    visits : sequence of RestVisit
        At least one.
    smooth_weights : bool, optional
        Weight by visit rather than by pixel: with the median of the weights of the pixels around.
    clip : bool, optional
        Leave out what differs from the median of three visits or more. The survey's sums do not.

    Returns
    -------
    coadd : Coadd

    Raises
    ------
    ValueError
        If there is no visit.
    """
    if not visits:
        message = "a sum needs one visit at least"
        raise ValueError(message)
    good = np.stack([visit.good for visit in visits])
    continuum = np.stack([visit.continuum for visit in visits])
    scale = np.where(good, continuum, 1.0)
    value = np.where(good, np.stack([visit.flux for visit in visits]), 0.0) / scale
    precision = np.where(good, np.stack([visit.ivar for visit in visits]), 0.0) * scale**2
    good &= ~_outliers(value, precision, good) if clip else True
    precision = np.where(good, precision, 0.0)
    weight = np.where(good, _smoothed(precision), 0.0) if smooth_weights else precision
    total, n_visits = weight.sum(axis=0), good.sum(axis=0)
    some = total > 0
    mean = (weight * value).sum(axis=0) / np.where(some, total, 1.0)
    variance = (weight**2 / np.where(good, precision, 1.0)).sum(axis=0) / np.where(some, total, 1.0) ** 2
    level = _median_of_good(continuum, good)
    flags = np.bitwise_and.reduce([visit.pixel_flags for visit in visits])
    flux = np.where(some, mean * level, 0.0)
    ivar = np.where(some, 1.0 / np.where(some, variance * level**2, 1.0), 0.0)
    return Coadd(flux, ivar, flags.astype(np.int64), n_visits.astype(np.int64))


def smooth_continuum(flux: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the running median, smoothed by a Gaussian, of the good pixels of a chip.

    Parameters
    ----------
    flux : float64 ndarray, shape (n_pixels,)
        Of one chip.
    good : bool ndarray, shape (n_pixels,)
        Pixels that count.

    Returns
    -------
    smooth : float64 ndarray, shape (n_pixels,)
        NaN if no pixel is good.
    """
    pixel = np.arange(flux.size)
    if not good.any():
        return np.full(flux.size, np.nan)
    filled = np.interp(pixel, pixel[good], flux[good])
    # A median of pixels sampled sparsely is as smooth, and costs a tenth.
    n_blocks = max(flux.size // _STEP_PIXEL, 1)
    edges = np.linspace(0, flux.size, n_blocks + 1).astype(int)
    blocks = (
        filled[: n_blocks * _STEP_PIXEL].reshape(n_blocks, -1) if flux.size >= _STEP_PIXEL else filled[None]
    )
    middle = 0.5 * (edges[1:] + edges[:-1] - 1)
    size = min(_MEDIAN_PIXEL // _STEP_PIXEL, max(n_blocks, 1))
    running = median_filter(np.median(blocks, axis=1), size=size | 1, mode="nearest")
    running = gaussian_filter1d(running, _GAUSSIAN_PIXEL / _STEP_PIXEL, mode="nearest")
    return np.asarray(np.interp(pixel, middle, running), np.float64)


def _filled(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], bad: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return flux and variance with bad pixels filled by what is smooth, and the continuum."""
    continuum = smooth_continuum(flux, ~bad)
    variance = 1.0 / np.where(bad, 1.0, ivar)
    typical = smooth_continuum(variance, ~bad)
    return np.where(bad, continuum, flux), np.where(bad, typical, variance), continuum


def _inflation(flags: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what errors are multiplied by."""
    factor = np.ones(flags.shape)
    for bit, by in INFLATION.items():
        factor = np.where((flags & int(bit)) != 0, np.maximum(factor, by), factor)
    return factor


def _outliers(
    value: NDArray[np.float64], precision: NDArray[np.float64], good: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return what differs from the median of three visits or more: cosmic rays, residuals of the sky."""
    distance = np.abs(value - _median_of_good(value, good))
    differs = (distance > _CLIP_FRACTION) & (distance * np.sqrt(precision) > _CLIP_SIGMA)
    return np.asarray(good & differs & (good.sum(axis=0) > 2), np.bool_)


def _smoothed(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return precisions that are smooth along each visit."""
    return np.stack([smooth_continuum(row, row > 0) for row in precision])


def _median_of_good(values: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the median of the good values of each column; 0 where there are none."""
    ordered = np.sort(np.where(good, values, np.inf), axis=0)
    number = good.sum(axis=0)
    low, high = np.maximum((number - 1) // 2, 0), np.minimum(number // 2, len(values) - 1)
    columns = np.arange(values.shape[1])
    some = number > 0
    low_value = np.where(some, ordered[low, columns], 0.0)
    high_value = np.where(some, ordered[high, columns], 0.0)
    return 0.5 * (low_value + high_value)
