"""Statistics of light curves that need every measurement again: a registry by the names of Rubin's plugins.

All take the light curves of many objects at once. What running sums give stands in
`astra.sky.light_curve_sums`; periods in `astra.sky.periodograms`. A value counts if flux and error are finite
and the error is positive; times are relative to the first detection of the object in any band, and so are the
intercept of the linear fit and the phases. A statistic without enough values is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.sky.detection_rules import any_flag
from astra.sky.light_curve_sums import BANDS, Chain
from astra.sky.periodograms import multiband_period, period

FloatArray = NDArray[np.float64]

# What the alert production of Rubin computes, and what the running sums give.
DEFAULT_PLUGINS = (
    *("ap_meanPosition", "ap_HTMIndex", "ap_nDiaSources", "ap_meanFlux", "ap_sigmaFlux", "ap_minMaxFlux"),
    *("ap_maxSlopeFlux", "ap_meanErrFlux", "ap_meanTotFlux"),
)
PERCENTILES = (5, 25, 50, 75, 95)
OBJECT_FLAGS = ("centroid_flag", "psfFlux_flag", "shape_flag", "pixelFlags")
STETSON_ITERATIONS, STETSON_TOLERANCE = 20, 1e-6


@dataclass(frozen=True)
class Flux:
    """The usable values of one flux of many objects, ordered by object and time.

    Parameters
    ----------
    n_objects : int
        Number of objects.
    index : int64 ndarray, shape (n,)
        Object of each value.
    time : float64 ndarray, shape (n,)
        Since the first detection of the object [d].
    flux, err : float64 ndarray, shape (n,)
        Value and error [nJy].
    band : str ndarray, shape (n,)
        Band of each.
    """

    n_objects: int
    index: NDArray[np.int64]
    time: FloatArray
    flux: FloatArray
    err: FloatArray
    band: NDArray[np.str_]

    @property
    def count(self) -> NDArray[np.int64]:
        """Number of values of each object, shape (n_objects,)."""
        return np.bincount(self.index, minlength=self.n_objects)

    def sum(self, values: FloatArray) -> FloatArray:
        """Sum over the values of each object, shape (n_objects,)."""
        return np.bincount(self.index, values, self.n_objects).astype(np.float64)

    def mean(self, values: FloatArray, weight: FloatArray | None = None) -> FloatArray:
        """Mean over the values of each object, NaN without any, shape (n_objects,)."""
        weight = np.ones(len(values)) if weight is None else weight
        with np.errstate(invalid="ignore"):
            return self.sum(weight * values) / self.sum(weight)

    def quantile(self, values: FloatArray, fraction: float) -> FloatArray:
        """Quantile over the values of each object, between the two nearest ones linearly."""
        count = self.count
        ordered = np.append(values[np.lexsort([values, self.index])], np.nan)
        place = np.maximum(count - 1, 0) * fraction  # within the object: rounded alike wherever that stands
        part = place - np.floor(place)
        low = np.cumsum(count) - count + np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, len(ordered) - 1)
        low_value = ordered[low]
        result = low_value + np.where(part > 0, part * (ordered[high] - low_value), 0.0)
        return np.where(count > 0, result, np.nan)


def statistics(
    chain: Chain, sources: NDArray[Any], known: FloatArray, plugins: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Compute statistics of versions of objects, each of all its detections up to then.

    Parameters
    ----------
    chain : Chain
        The n versions.
    sources : structured ndarray, shape (m,)
        Detections, of these objects and others: ``diaObjectId``, ``midpointMjdTai``, ``band``, fluxes, flags.
    known : float64 ndarray, shape (m,)
        When each became known [d, MJD TAI].
    plugins : sequence of str
        Names of ``PLUGINS``; those of ``DEFAULT_PLUGINS`` are left to the running sums.

    Returns
    -------
    columns : dict of ndarray, shape (n,)
        By name, as in the table ``dia_object_statistics``.

    Raises
    ------
    ValueError
        If there is no such plugin.
    """
    unknown = set(plugins) - set(PLUGINS) - set(DEFAULT_PLUGINS)
    if unknown:
        known_names = ", ".join([*DEFAULT_PLUGINS, *PLUGINS])
        message = f"there is no statistic {', '.join(sorted(unknown))}; there are {known_names}"
        raise ValueError(message)
    rows, index = _rows_of_versions(chain, sources, known)
    columns: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(plugins):
        if name in PLUGINS:
            columns |= PLUGINS[name](rows, index, len(chain.object_ids))
    return columns


def _rows_of_versions(
    chain: Chain, sources: NDArray[Any], known: FloatArray
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the detections of each version, in order of version and time, and the version of each."""
    first = chain.version_of(sources["diaObjectId"], known)
    order = np.lexsort([sources["psfFlux"], sources["midpointMjdTai"], known, first])
    order = order[np.searchsorted(first[order], 0) :]
    rows, first = sources[order], first[order]
    number = np.arange(len(chain.object_ids))
    is_start = chain.previous < 0
    start_of = np.maximum.accumulate(np.where(is_start, number, 0))
    begin = np.searchsorted(first, start_of[number])
    length = np.searchsorted(first, number, side="right") - begin
    index = np.repeat(number, length)
    place = np.arange(len(index)) - np.repeat(np.cumsum(length) - length, length)
    repeated, times = rows[np.repeat(begin, length) + place], rows["midpointMjdTai"]
    by_time = np.lexsort([repeated["midpointMjdTai"], index]) if len(times) else np.zeros(0, dtype=np.int64)
    return repeated[by_time], index[by_time]


def make_flux(rows: NDArray[Any], index: NDArray[np.int64], n_objects: int, column: str, band: str) -> Flux:
    """Take the usable values of a flux in some bands from rows that are ordered by object and time."""
    flux, err = rows[column].astype(float), rows[column + "Err"].astype(float)
    usable = np.isfinite(flux) & np.isfinite(err) & (err > 0) & np.isin(rows["band"], list(band))
    time = _since_first(rows["midpointMjdTai"], index, n_objects)
    return Flux(n_objects, index[usable], time[usable], flux[usable], err[usable], rows["band"][usable])


def _since_first(time: FloatArray, index: NDArray[np.int64], n_objects: int) -> FloatArray:
    first = np.full(n_objects, np.inf)
    np.minimum.at(first, index, time)
    since: FloatArray = time - first[index]
    return since


def percentiles(flux: Flux) -> dict[str, FloatArray]:
    """Percentiles of the flux."""
    return {f"psfFluxPercentile{p:02d}": flux.quantile(flux.flux, p / 100) for p in PERCENTILES}


def chi2(flux: Flux) -> dict[str, FloatArray]:
    """Sum of squared residuals about the weighted mean, in units of the errors."""
    mean = flux.mean(flux.flux, flux.err**-2.0)
    total = flux.sum(((flux.flux - mean[flux.index]) / flux.err) ** 2)
    return {"psfFluxChi2": np.where(flux.count > 0, total, np.nan)}


def mad(flux: Flux) -> dict[str, FloatArray]:
    """Median of the distances from the median, not scaled."""
    median = flux.quantile(flux.flux, 0.5)
    return {"psfFluxMAD": flux.quantile(np.abs(flux.flux - median[flux.index]), 0.5)}


def sigma(flux: Flux) -> FloatArray:
    """Sample standard deviation of two or more values."""
    residual = flux.flux - flux.mean(flux.flux)[flux.index]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux.count > 1, np.sqrt(flux.sum(residual**2) / (flux.count - 1)), np.nan)


def skew(flux: Flux) -> dict[str, FloatArray]:
    """Skewness of three or more values, without bias for normal ones; 0 where all values are one."""
    n = flux.count.astype(float)
    residual = flux.flux - flux.mean(flux.flux)[flux.index]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance, third = flux.sum(residual**2) / n, flux.sum(residual**3) / n
        biased = np.where(variance > 0, third / variance**1.5, 0.0)
        return {"psfFluxSkew": np.where(n > 2, np.sqrt(n * (n - 1)) / (n - 2) * biased, np.nan)}


def linear_fit(flux: Flux) -> dict[str, FloatArray]:
    """Straight line by weighted least squares: slope [nJy/d], and intercept [nJy] at time 0."""
    weight = flux.err**-2.0
    mean_time, mean_flux = flux.mean(flux.time, weight), flux.mean(flux.flux, weight)
    time, value = flux.time - mean_time[flux.index], flux.flux - mean_flux[flux.index]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = flux.sum(weight * time * value) / flux.sum(weight * time**2)
    latest = np.full(flux.n_objects, -np.inf)
    np.maximum.at(latest, flux.index, _since_first(flux.time, flux.index, flux.n_objects))
    slope = np.where(latest > 0, slope, np.nan)
    return {"psfFluxLinearSlope": slope, "psfFluxLinearIntercept": mean_flux - slope * mean_time}


def stetson_j(flux: Flux) -> dict[str, FloatArray]:
    """Stetson's J of single observations, about his mean that gives outliers little weight.

    Stetson (1996), PASP 108, 851: weights are divided by 1 + (|delta| / 2)^2 until the mean changes by less
    than 1e-6 of itself, 20 times at most.
    """
    n = flux.count.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(n / (n - 1))[flux.index] / flux.err
        weight = flux.err**-2.0
        mean = flux.mean(flux.flux, weight)
        moving = n > 1
        for _ in range(STETSON_ITERATIONS):
            delta = scale * (flux.flux - mean[flux.index])
            step = flux.mean(flux.flux, weight / (1.0 + (np.abs(delta) / 2.0) ** 2))
            change, mean = np.abs(step - mean), np.where(moving, step, mean)
            moving = moving & (change >= STETSON_TOLERANCE * np.abs(mean))
            if not moving.any():
                break
        delta = scale * (flux.flux - mean[flux.index])
    product = delta**2 - 1.0
    index = flux.mean(np.sign(product) * np.sqrt(np.abs(product)))
    return {"psfFluxStetsonJ": np.where(n > 1, index, np.nan)}


Plugin = Callable[[NDArray[Any], NDArray[np.int64], int], Mapping[str, NDArray[Any]]]


def _in_each_band(function: Callable[[Flux], Mapping[str, FloatArray]], column: str = "psfFlux") -> Plugin:
    """Make a plugin of what is computed of one flux in one band."""

    def plugin(rows: NDArray[Any], index: NDArray[np.int64], n_objects: int) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {}
        for band in BANDS:
            values = function(make_flux(rows, index, n_objects, column, band))
            columns |= {f"{band}_{name}": column_values for name, column_values in values.items()}
        return columns

    return plugin


def _flags(rows: NDArray[Any], index: NDArray[np.int64], n_objects: int) -> dict[str, NDArray[Any]]:
    """Whether any detection has one of the general flags."""
    return {"flags": np.bincount(index, any_flag(rows, OBJECT_FLAGS), n_objects) > 0}


def _multiband(rows: NDArray[Any], index: NDArray[np.int64], n_objects: int) -> dict[str, NDArray[Any]]:
    """Period common to all bands."""
    values = make_flux(rows, index, n_objects, "psfFlux", BANDS)
    curves = values.time, values.flux, values.err
    return multiband_period(n_objects, values.index, curves, values.band)


PLUGINS: dict[str, Plugin] = {
    "ap_diaObjectFlag": _flags,
    "ap_percentileFlux": _in_each_band(percentiles),
    "ap_chi2Flux": _in_each_band(chi2),
    "ap_madFlux": _in_each_band(mad),
    "ap_skewFlux": _in_each_band(skew),
    "ap_linearFit": _in_each_band(linear_fit),
    "ap_stetsonJ": _in_each_band(stetson_j),
    "ap_sigmaTotFlux": _in_each_band(lambda flux: {"scienceFluxSigma": sigma(flux)}, "scienceFlux"),
    "ap_lombScarglePeriodogram": _in_each_band(
        lambda flux: period(flux.n_objects, flux.index, (flux.time, flux.flux, flux.err))
    ),
    "ap_lombScarglePeriodogramMulti": _multiband,
}

# All but the periodograms: of a dozen detections they take 0.3 s an object, and all others 70 microseconds.
FURTHER_PLUGINS = tuple(name for name in PLUGINS if "Periodogram" not in name)
