"""Periods of light curves from Lomb-Scargle periodograms, in one band and in all bands together.

The periodograms are astropy's, evaluated exactly at every frequency; one object is done after the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from astra.sky.light_curve_sums import BANDS

FloatArray = NDArray[np.float64]
Values = tuple[FloatArray, FloatArray, FloatArray]

MIN_VALUES = 5
MIN_VALUES_MULTIBAND = 9
SAMPLES_PER_PEAK = 5
NYQUIST_FACTOR = 100
N_TERMS_BASE = N_TERMS_BAND = 1


def frequencies(
    time: FloatArray, samples_per_peak: int = SAMPLES_PER_PEAK, nyquist_factor: float = NYQUIST_FACTOR
) -> FloatArray:
    """Grid of frequencies [1/d] for times of observation [d], not all the same.

    The step is a part of the inverse of the time that they span; the grid begins half a step from 0 and ends
    at a multiple of the mean Nyquist frequency (VanderPlas 2018, ApJS 236, 16).
    """
    from astropy.timeseries import LombScargle

    grid = LombScargle(time, time).autofrequency(
        samples_per_peak=samples_per_peak, nyquist_factor=nyquist_factor
    )
    return np.asarray(grid, dtype=np.float64)


def period(n_objects: int, index: NDArray[np.int64], values: Values) -> dict[str, FloatArray]:
    """Find the period of each light curve of five values or more in one band.

    Parameters
    ----------
    n_objects : int
        Number of objects.
    index : int64 ndarray, shape (n,)
        Object of each value, ascending.
    values : tuple of ndarray, shape (n,)
        Time [d], flux and error [nJy].

    Returns
    -------
    columns : dict of ndarray, shape (n_objects,)
        ``period`` [d] and ``power``, the standard periodogram at its highest peak; NaN where there is none.
    """
    from astropy.timeseries import LombScargle

    columns = {name: np.full(n_objects, np.nan) for name in ("period", "power")}
    for number, rows in _light_curves(n_objects, index, values[0], MIN_VALUES):
        time, flux, err = (column[rows] for column in values)
        grid = frequencies(time)
        power = LombScargle(time, flux, err).power(grid, method="cython", assume_regular_frequency=True)
        best = int(np.argmax(power))
        columns["period"][number], columns["power"][number] = 1.0 / grid[best], power[best]
    return columns


def multiband_period(
    n_objects: int, index: NDArray[np.int64], values: Values, band: NDArray[np.str_]
) -> dict[str, FloatArray]:
    """Find the period of each light curve of nine values or more in all bands together.

    The model is one sine wave for all bands and one for each (VanderPlas & Ivezic 2015, ApJ 812, 18).

    Parameters
    ----------
    n_objects, index, values
        As for `period`.
    band : str ndarray, shape (n,)
        Band of each value, of ``ugrizy``.

    Returns
    -------
    columns : dict of ndarray, shape (n_objects,)
        ``multiPeriod`` [d], ``multiPower``, ``multiFap`` (`baluev_probability`), and by band
        ``multiAmp`` [nJy] and ``multiPhase`` [rad] of the sine at time 0.
    """
    from astropy.timeseries import LombScargleMultiband

    columns = {name: np.full(n_objects, np.nan) for name in ("multiPeriod", "multiPower", "multiFap")}
    columns |= {
        f"{b}_{name}": np.full(n_objects, np.nan) for b in BANDS for name in ("multiAmp", "multiPhase")
    }
    for number, rows in _light_curves(n_objects, index, values[0], MIN_VALUES_MULTIBAND):
        time, flux, err = (column[rows] for column in values)
        terms = {"nterms_base": N_TERMS_BASE, "nterms_band": N_TERMS_BAND}
        model = LombScargleMultiband(time, flux, band[rows], err, **terms)
        grid = frequencies(time)
        power = model.power(grid, method="flexible")
        best = int(np.argmax(power))
        columns["multiPeriod"][number], columns["multiPower"][number] = 1.0 / grid[best], power[best]
        columns["multiFap"][number] = baluev_probability(float(power[best]), time, float(grid[-1]))
        quarter = 0.25 / grid[best]
        curves = np.asarray(model.model(quarter * np.arange(3.0), grid[best]))
        for name, (zero, one, two) in zip(np.unique(band[rows]), curves, strict=True):
            cosine, sine = 0.5 * (zero - two), one - 0.5 * (zero + two)
            columns[f"{name}_multiAmp"][number] = np.hypot(sine, cosine)
            columns[f"{name}_multiPhase"][number] = np.arctan2(cosine, sine)
    return columns


def baluev_probability(power: float, time: FloatArray, maximum_frequency: float) -> float:
    """Probability that noise makes a peak as high in a standard periodogram up to a frequency.

    Baluev (2008), MNRAS 385, 1279: the bound for a sine wave about a fitted mean.

    Parameters
    ----------
    power : float
        Height of the peak, 0 to 1.
    time : float64 ndarray, shape (n,)
        Times of observation [d].
    maximum_frequency : float
        End of the grid [1/d].
    """
    n_null, n_model = len(time) - 1, len(time) - 3
    gamma = np.sqrt(2.0 / n_null) * np.exp(gammaln(0.5 * n_null) - gammaln(0.5 * (n_null - 1)))
    width = maximum_frequency * np.sqrt(4.0 * np.pi * np.var(time))
    remaining = max(1.0 - power, 0.0)
    peaks = gamma * width * remaining ** (0.5 * (n_model - 1)) * np.sqrt(0.5 * n_null * power)
    single = remaining ** (0.5 * n_model)
    return float(single - (1.0 - single) * np.expm1(-peaks))


def _light_curves(
    n_objects: int, index: NDArray[np.int64], time: FloatArray, min_values: int
) -> Iterator[tuple[int, slice]]:
    """Objects that have enough values, at more than one time, and the rows of each."""
    ends = np.searchsorted(index, np.arange(n_objects + 1))
    for number in np.flatnonzero(np.diff(ends) >= min_values).tolist():
        rows = slice(int(ends[number]), int(ends[number + 1]))
        if np.ptp(time[rows]) > 0:
            yield number, rows
