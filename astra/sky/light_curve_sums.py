"""Running sums over the detections and forced measurements of objects, from which their statistics follow.

A state is one row of float64: all that the statistics of an object need to know of its detections so far, or
of its forced measurements. Measurements are added one at a time in a fixed order, so that a state that is
carried on is, to the last bit, the state that all measurements would have made together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.sky.regions import positions, unit_vectors

FloatArray = NDArray[np.float64]

BANDS = "ugrizy"
OBJECT_FIELDS = ("count", "first", "last", "x", "y", "z", "ra_variance", "dec_variance", "covariance")
BAND_FIELDS = (
    *("n", "weight", "weighted", "mean", "m2", "err", "low", "high", "slope", "time", "flux"),
    *("n_science", "science_weight", "science_weighted"),
)
N_OBJECT, N_BAND = len(OBJECT_FIELDS), len(BAND_FIELDS)
N_SUMS = N_OBJECT + len(BANDS) * N_BAND
FORCED_FIELDS = ("n", "weight", "weighted")
N_FORCED = len(FORCED_FIELDS)
N_FORCED_SUMS = len(BANDS) * N_FORCED
_SCIENCE_FIRST = BAND_FIELDS.index("n_science")

# Columns of the rows that the kernel adds.
_DETECTION = (
    *("midpointMjdTai", "psfFlux", "psfFluxErr", "scienceFlux", "scienceFluxErr"),
    *("x", "y", "z", "raErr", "decErr", "ra_dec_Cov"),
)
_FORCED = ("psfFlux", "psfFluxErr")


@dataclass(frozen=True)
class Chain:
    """Versions of objects, in order of object and time; each goes on from the one before it.

    Parameters
    ----------
    object_ids : int64 ndarray, shape (n,)
        Object of each version.
    times : float64 ndarray, shape (n,)
        Time until which, inclusive, measurements count [d, MJD TAI].
    """

    object_ids: NDArray[np.int64]
    times: FloatArray

    @property
    def previous(self) -> NDArray[np.int64]:
        """Row of the version that each goes on from, -1 for the first of an object; shape (n,)."""
        rows = np.arange(len(self.object_ids)) - 1
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = self.object_ids[1:] != self.object_ids[:-1]
        return np.where(is_first, -1, rows)

    def version_of(self, object_ids: NDArray[np.int64], times: FloatArray) -> NDArray[np.int64]:
        """First version that counts each measurement; -1 if there is none.

        Parameters
        ----------
        object_ids : int64 ndarray, shape (m,)
            Object of each measurement.
        times : float64 ndarray, shape (m,)
            When it became known [d, MJD TAI].
        """
        n_rows = len(object_ids)
        if not n_rows or not len(self.object_ids):
            return np.full(n_rows, -1, dtype=np.int64)
        ids = np.concatenate([object_ids, self.object_ids])
        is_version = np.arange(len(ids)) >= n_rows
        order = np.lexsort([is_version, np.concatenate([times, self.times]), ids])
        following = np.empty(len(ids), dtype=np.int64)
        following[order] = np.cumsum(is_version[order]) - is_version[order]
        version = following[:n_rows]
        found = np.minimum(version, len(self.object_ids) - 1)
        belongs = (version < len(self.object_ids)) & (self.object_ids[found] == object_ids)
        return np.where(belongs, version, -1)


def empty_sums(n: int) -> FloatArray:
    """States of objects without any measurement, shape (n, N_SUMS)."""
    states = np.zeros((n, N_SUMS))
    states[:, OBJECT_FIELDS.index("first")] = np.inf
    states[:, OBJECT_FIELDS.index("last")] = -np.inf
    bands = states[:, N_OBJECT:].reshape(n, len(BANDS), N_BAND)
    bands[:, :, BAND_FIELDS.index("low")] = np.inf
    for name in ("high", "slope", "time"):
        bands[:, :, BAND_FIELDS.index(name)] = -np.inf
    return states


def add_detections(
    chain: Chain, states: FloatArray, sources: NDArray[Any], known: FloatArray | None = None
) -> FloatArray:
    """Make the states of versions of objects from their detections.

    Parameters
    ----------
    chain : Chain
        The n versions.
    states : float64 ndarray, shape (n, N_SUMS)
        What the first version of each object goes on from; the other rows do not matter.
    sources : structured ndarray, shape (m,)
        Detections, of these objects and others: ``diaObjectId``, ``diaSourceId``, position with errors,
        ``midpointMjdTai``, ``band``, ``psfFlux``, ``psfFluxErr`` and, if measured, the science fluxes.
    known : float64 ndarray, shape (m,), optional
        When each became known, ``midpointMjdTai`` by default [d, MJD TAI].

    Returns
    -------
    states : float64 ndarray, shape (n, N_SUMS)
    """
    known = sources["midpointMjdTai"] if known is None else known
    version, rows = _ordered(
        chain, sources, known, ("psfFluxErr", "psfFlux", "diaSourceId", "midpointMjdTai")
    )
    result: FloatArray = np.array(states, dtype=np.float64)
    _accumulate_detections(result, chain.previous, version, _band_index(rows), _detection_values(rows))
    return result


def add_forced(
    chain: Chain, states: FloatArray, forced: NDArray[Any], known: FloatArray | None = None
) -> FloatArray:
    """Make the states of versions of objects from their forced measurements.

    Parameters
    ----------
    chain : Chain
        The n versions.
    states : float64 ndarray, shape (n, N_FORCED_SUMS)
        What the first version of each object goes on from; the other rows do not matter.
    forced : structured ndarray, shape (m,)
        Forced measurements: ``diaObjectId``, ``diaForcedSourceId``, ``band``, ``psfFlux``, ``psfFluxErr``.
    known : float64 ndarray, shape (m,), optional
        When each became known; by default all are [d, MJD TAI].

    Returns
    -------
    states : float64 ndarray, shape (n, N_FORCED_SUMS)
    """
    known = np.full(len(forced), -np.inf) if known is None else known
    version, rows = _ordered(chain, forced, known, ("psfFluxErr", "psfFlux", "diaForcedSourceId"))
    result: FloatArray = np.array(states, dtype=np.float64)
    _accumulate_forced(result, chain.previous, version, _band_index(rows), _values(rows, _FORCED))
    return result


def empty_forced_sums(n: int) -> FloatArray:
    """States of objects without any forced measurement, shape (n, N_FORCED_SUMS)."""
    return np.zeros((n, N_FORCED_SUMS))


def _ordered(
    chain: Chain, rows: NDArray[Any], known: FloatArray, keys: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Rows that count in a version, in the order in which they are added, with their versions."""
    version = chain.version_of(rows["diaObjectId"], known)
    names = rows.dtype.names or ()
    order = np.lexsort([*(rows[key] for key in keys if key in names), known, version])
    order = order[np.searchsorted(version[order], 0) :]
    return version[order], rows[order]


def _band_index(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each row's band; -1 if it is none of Rubin's."""
    index = np.full(len(rows), -1, dtype=np.int64)
    for number, band in enumerate(BANDS):
        index[rows["band"] == band] = number
    return index


def _values(rows: NDArray[Any], names: tuple[str, ...]) -> FloatArray:
    """Columns as a matrix of float64; NaN for those that are absent."""
    present = rows.dtype.names or ()
    matrix = np.full((len(rows), len(names)), np.nan)
    for number, name in enumerate(names):
        if name in present:
            matrix[:, number] = rows[name]
    return matrix


def _detection_values(rows: NDArray[Any]) -> FloatArray:
    """Make what the kernel needs of detections, columns ``_DETECTION``."""
    matrix = _values(rows, _DETECTION)
    first = _DETECTION.index("x")
    matrix[:, first : first + 3] = unit_vectors(rows["ra"], rows["dec"])
    return matrix


@part
def _copy(states, source, target):  # type: ignore[no-untyped-def]
    """Copy a state, element by element: to assign to a row takes long to compile."""
    for k in range(states.shape[1]):
        states[target, k] = states[source, k]


@compiled
def _accumulate_detections(states, previous, version, band, rows):  # type: ignore[no-untyped-def]
    row = 0
    for v in range(len(previous)):
        if previous[v] >= 0:
            _copy(states, previous[v], v)
        while row < len(version) and version[row] == v:
            _add_detection(states[v], band[row], rows[row])
            row += 1


@compiled
def _accumulate_forced(states, previous, version, band, rows):  # type: ignore[no-untyped-def]
    row = 0
    for v in range(len(previous)):
        if previous[v] >= 0:
            _copy(states, previous[v], v)
        while row < len(version) and version[row] == v:
            if band[row] >= 0:
                _add_weighted(states[v], N_FORCED * band[row], rows[row, 0], rows[row, 1])
            row += 1


@part
def _add_weighted(state, first, flux, err):  # type: ignore[no-untyped-def]
    """Add a flux to a count, a sum of weights and a weighted sum; say whether it counted."""
    usable = np.isfinite(flux) and np.isfinite(err) and err > 0.0
    if usable:
        weight = 1.0 / (err * err)
        state[first] += 1.0
        state[first + 1] += weight
        state[first + 2] += weight * flux
    return usable


@part
def _add_detection(state, band, row):  # type: ignore[no-untyped-def]
    state[0] += 1.0
    state[1], state[2] = min(state[1], row[0]), max(state[2], row[0])
    for axis in range(3):
        state[3 + axis] += row[5 + axis]
    state[6] += row[8] * row[8]
    state[7] += row[9] * row[9]
    state[8] += row[10]
    if band < 0:
        return
    sums = state[N_OBJECT + N_BAND * band : N_OBJECT + N_BAND * (band + 1)]
    _add_weighted(sums, _SCIENCE_FIRST, row[3], row[4])
    time, flux, err = row[0], row[1], row[2]
    if not _add_weighted(sums, 0, flux, err):
        return
    # Welford's update: the squares are about the mean so far, and nothing cancels.
    deviation = flux - sums[3]
    sums[3] += deviation / sums[0]
    sums[4] += deviation * (flux - sums[3])
    sums[5] += err
    sums[6], sums[7] = min(sums[6], flux), max(sums[7], flux)
    if np.isfinite(sums[9]) and time > sums[9]:
        sums[8] = max(sums[8], (flux - sums[10]) / (time - sums[9]))
    sums[9], sums[10] = time, flux


def object_columns(states: FloatArray) -> dict[str, NDArray[Any]]:
    """Columns of DiaObject that belong to an object as a whole, from states, shape (n, N_SUMS).

    ``ra``, ``dec`` is the mean of the unit vectors of the detections; ``raErr`` (times cos(dec)), ``decErr``
    [deg] and ``ra_dec_Cov`` [deg**2] are propagated from theirs, NaN if one of them has none.
    """
    sums = dict(zip(OBJECT_FIELDS, states.T, strict=False))
    ra, dec = positions(np.column_stack([sums["x"], sums["y"], sums["z"]]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "ra": ra,
            "dec": dec,
            "raErr": np.sqrt(sums["ra_variance"]) / sums["count"],
            "decErr": np.sqrt(sums["dec_variance"]) / sums["count"],
            "ra_dec_Cov": sums["covariance"] / sums["count"] ** 2,
            "nDiaSources": sums["count"].astype(np.int64),
            "firstDiaSourceMjdTai": sums["first"],
            "lastDiaSourceMjdTai": sums["last"],
        }


def band_columns(states: FloatArray, forced_states: FloatArray) -> dict[str, NDArray[Any]]:
    """Columns of DiaObject that belong to a band, from both kinds of states of n objects.

    Means are weighted by inverse variance; ``Sigma`` is the sample standard deviation of two or more values;
    ``MaxSlope`` is the steepest rise between successive times [nJy/d]. Without enough values NaN, or 0.
    """
    columns: dict[str, NDArray[Any]] = {}
    for number, band in enumerate(BANDS):
        first = N_OBJECT + number * N_BAND
        sums = dict(zip(BAND_FIELDS, states[:, first : first + N_BAND].T, strict=True))
        own = forced_states[:, number * N_FORCED : (number + 1) * N_FORCED].T
        sums |= {f"forced_{name}": values for name, values in zip(FORCED_FIELDS, own, strict=True)}
        columns |= {f"{band}_{name}": values for name, values in _of_band(sums).items()}
    return columns


def _of_band(sums: Mapping[str, FloatArray]) -> dict[str, NDArray[Any]]:
    n = sums["n"]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "psfFluxSigma": np.where(n > 1, np.sqrt(sums["m2"] / (n - 1)), np.nan),
            "psfFluxMin": _finite(sums["low"]),
            "psfFluxMax": _finite(sums["high"]),
            "psfFluxMaxSlope": _finite(sums["slope"]),
            "psfFluxErrMean": sums["err"] / n,
            "psfFluxNdata": n.astype(np.int32),
        }
        for kind, prefix in (("psf", ""), ("science", "science_"), ("fp", "forced_")):
            weight = sums[prefix + "weight"]
            columns[f"{kind}FluxMean"] = sums[prefix + "weighted"] / weight
            columns[f"{kind}FluxMeanErr"] = np.where(weight > 0, weight**-0.5, np.nan)
    return columns


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)
