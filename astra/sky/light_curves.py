"""Statistics of light curves, per band, over many objects at once.

The columns are those of the Rubin DiaObject; a statistic without enough values is NaN, a count is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BANDS = "ugrizy"
_PSF = ("Mean", "MeanErr", "Sigma", "Min", "Max", "MaxSlope", "ErrMean")


def statistics_dtype() -> np.dtype[Any]:
    """Columns of `summarize`: float32 [nJy] (``MaxSlope`` [nJy/d]) and int32 counts."""
    fields: list[tuple[str, str]] = []
    for band in BANDS:
        fields += [(f"{band}_psfFlux{name}", "f4") for name in _PSF]
        fields += [(f"{band}_psfFluxNdata", "i4")]
        fields += [(f"{band}_{kind}Flux{name}", "f4") for kind in ("fp", "science") for name in _PSF[:2]]
    return np.dtype(fields)


def summarize(
    sources: NDArray[Any],
    object_index: NDArray[np.int64],
    n_objects: int,
    *,
    forced: NDArray[Any] | None = None,
    forced_index: NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Summarise the light curves of objects.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        Detections: ``band``, ``midpointMjdTai`` [d], ``psfFlux``, ``psfFluxErr`` and, if measured,
        ``scienceFlux``, ``scienceFluxErr`` [nJy].
    object_index : int64 ndarray, shape (n,)
        Object of each detection, from 0 to ``n_objects`` - 1.
    n_objects : int
        Number of objects.
    forced : structured ndarray, shape (m,), optional
        Forced measurements: ``band``, ``psfFlux``, ``psfFluxErr``; they make ``fpFlux``.
    forced_index : int64 ndarray, shape (m,), optional
        Object of each forced measurement.

    Returns
    -------
    statistics : structured ndarray, shape (n_objects,)
        Columns of `statistics_dtype`. Means are weighted by inverse variance; ``Sigma`` is the sample
        standard deviation of two or more values; ``MaxSlope`` is the steepest rise between successive times.
    """
    result = np.zeros(n_objects, dtype=statistics_dtype())
    has_science = {"scienceFlux", "scienceFluxErr"} <= set(sources.dtype.names or ())
    for band in BANDS:
        chosen = sources["band"] == band
        flux = _Flux(sources[chosen], object_index[chosen], n_objects, "psfFlux")
        for name, values in flux.summary().items():
            result[f"{band}_psfFlux{name}"] = values
        parts = {"science": (sources[chosen], object_index[chosen]) if has_science else None}
        if forced is not None and forced_index is not None:
            in_band = forced["band"] == band
            parts["fp"] = (forced[in_band], forced_index[in_band])
        for kind in ("science", "fp"):
            part = parts.get(kind)
            column = "scienceFlux" if kind == "science" else "psfFlux"
            mean, err = _Flux(*part, n_objects, column).mean() if part else (np.nan, np.nan)
            result[f"{band}_{kind}FluxMean"], result[f"{band}_{kind}FluxMeanErr"] = mean, err
    return result


class _Flux:
    """Usable values of one flux of many objects, sorted by object and time."""

    def __init__(self, rows: NDArray[Any], index: NDArray[np.int64], n_objects: int, column: str) -> None:
        flux, err = rows[column].astype(float), rows[column + "Err"].astype(float)
        usable = np.isfinite(flux) & np.isfinite(err) & (err > 0)
        self.n_objects = n_objects
        self.index, self.flux, self.err = index[usable], flux[usable], err[usable]
        if "midpointMjdTai" in (rows.dtype.names or ()):
            self.time = rows["midpointMjdTai"][usable]
        else:
            self.time = np.zeros(len(self.index))
        # flux and error last: sums must not depend on the order in which a database hands out rows
        order = np.lexsort([self.err, self.flux, self.time, self.index])
        self.index, self.time = self.index[order], self.time[order]
        self.flux, self.err = self.flux[order], self.err[order]
        self.count = np.bincount(self.index, minlength=n_objects)

    def _sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self.index, values, self.n_objects).astype(np.float64)

    def mean(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weighted mean and its error; NaN without a value."""
        weight = self.err**-2.0
        with np.errstate(divide="ignore", invalid="ignore"):
            total = self._sum(weight)
            mean = self._sum(weight * self.flux) / total
            return mean, np.where(self.count > 0, total**-0.5, np.nan)

    def summary(self) -> dict[str, NDArray[Any]]:
        """All statistics of the PSF flux, by the ending of their column."""
        mean, mean_err = self.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = self.flux - (self._sum(self.flux) / self.count)[self.index]
            sigma = np.sqrt(self._sum(residual**2) / (self.count - 1))
            err_mean = self._sum(self.err) / self.count
        return {
            "Mean": mean,
            "MeanErr": mean_err,
            "Sigma": np.where(self.count > 1, sigma, np.nan),
            "Min": self._extreme(np.minimum, self.index, self.flux),
            "Max": self._extreme(np.maximum, self.index, self.flux),
            "MaxSlope": self._max_slope(),
            "ErrMean": err_mean,
            "Ndata": self.count,
        }

    def _extreme(
        self, function: np.ufunc, index: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Minimum or maximum of each object; NaN without a value."""
        start = np.inf if function is np.minimum else -np.inf
        result = np.full(self.n_objects, start)
        function.at(result, index, values)
        return np.where(np.isfinite(result), result, np.nan)

    def _max_slope(self) -> NDArray[np.float64]:
        """Steepest rise of each object between successive times [nJy/d]; NaN with fewer than two times."""
        step = np.diff(self.time)
        use = (np.diff(self.index) == 0) & (step > 0)
        return self._extreme(np.maximum, self.index[1:][use], np.diff(self.flux)[use] / step[use])
