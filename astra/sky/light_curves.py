"""Statistics of light curves, per band, over many objects at once.

The columns are those of the Rubin DiaObject; a statistic without enough values is NaN, a count is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.sky.light_curve_sums import (
    BANDS,
    Chain,
    add_detections,
    add_forced,
    band_columns,
    empty_forced_sums,
    empty_sums,
)

_PSF = ("Mean", "MeanErr", "Sigma", "Min", "Max", "MaxSlope", "ErrMean")


def statistics_dtype() -> np.dtype[Any]:
    """Columns of `summarize`: float64 [nJy] (``MaxSlope`` [nJy/d]) and int32 counts."""
    fields: list[tuple[str, str]] = []
    for band in BANDS:
        fields += [(f"{band}_psfFlux{name}", "f8") for name in _PSF]
        fields += [(f"{band}_psfFluxNdata", "i4")]
        fields += [(f"{band}_{kind}Flux{name}", "f8") for kind in ("fp", "science") for name in _PSF[:2]]
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
    chain = Chain(np.arange(n_objects), np.full(n_objects, np.inf))
    states = add_detections(chain, empty_sums(n_objects), _of_objects(sources, object_index))
    forced_states = empty_forced_sums(n_objects)
    if forced is not None and forced_index is not None:
        forced_states = add_forced(chain, forced_states, _of_objects(forced, forced_index))
    result = np.zeros(n_objects, dtype=statistics_dtype())
    for name, values in band_columns(states, forced_states).items():
        result[name] = values
    return result


def _of_objects(rows: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    """Rows with the number of their object as its id, and a position where they have none."""
    names = rows.dtype.names or ()
    added = [(name, "f8") for name in ("ra", "dec") if name not in names]
    kept = [(name, rows.dtype[name]) for name in names if name != "diaObjectId"]
    result = np.zeros(len(rows), dtype=[("diaObjectId", "i8"), *kept, *added])
    for name, _ in kept:
        result[name] = rows[name]
    result["diaObjectId"] = index
    return result
