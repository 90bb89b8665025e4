"""Rows of detections and forced measurements, from what was measured to the columns of their tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.database.arrays import to_table
from astra.database.models.apdb import dia_forced_source, dia_source
from astra.errors import FormatError
from astra.sky.identifiers import IdParts
from astra.sky.regions import htm_pixels

# Counts that may not be null, but that not every measurement makes.
_COUNTS = ("psfNdata", "trailNdata", "dipoleNdata", "bboxSize")
_REQUIRED = ("ra", "dec", "x", "y", "psfFlux", "psfFluxErr")

ForcedPhotometry = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[Any]]


def is_reliable(sources: NDArray[Any], min_reliability: float) -> NDArray[np.bool_]:
    """Whether detections have at least a reliability, shape (n,); one without a score has none.

    Raises
    ------
    FormatError
        If a reliability is asked for, and the detections have no such column.
    """
    if min_reliability <= 0.0:
        return np.ones(len(sources), dtype=bool)
    if "reliability" not in (sources.dtype.names or ()):
        message = (
            f"a least reliability of {min_reliability:g} is asked for, but the detections have no column "
            f"reliability; subtract with a reliability model, or set min_reliability to 0"
        )
        raise FormatError(message, min_reliability=min_reliability)
    enough: NDArray[np.bool_] = sources["reliability"] >= np.float32(min_reliability)
    return enough


def source_ids(sources: NDArray[Any], parts: IdParts) -> NDArray[np.int64]:
    """Give detections their own identifiers, or their numbers in the catalogue, from 1."""
    if "diaSourceId" in (sources.dtype.names or ()):
        return sources["diaSourceId"].astype(np.int64)
    return parts.ids(np.arange(1, len(sources) + 1))


def source_rows(sources: NDArray[Any], common: dict[str, Any], defaults: dict[str, Any]) -> NDArray[Any]:
    """Rows of DiaSource, not yet of any object."""
    present = set(sources.dtype.names or ())
    missing = [name for name in _REQUIRED if name not in present]
    if missing:
        message = f"a catalogue of detections needs the columns {', '.join(missing)}"
        raise FormatError(message, missing=missing)
    absent = {name: value for name, value in defaults.items() if name not in present}
    absent |= {name: 0 for name in _COUNTS if name not in present}
    absent |= {"diaObjectId": 0, "ssObjectId": 0, "pixelId": htm_pixels(sources["ra"], sources["dec"])}
    return to_table(dia_source, sources, **common, **absent)


def stack(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Rows of two arrays, with the columns of the first; those that the second lacks are NaN."""
    rows = np.zeros(len(second), dtype=first.dtype)
    for name in first.dtype.names or ():
        if name in (second.dtype.names or ()):
            rows[name] = second[name]
        elif rows[name].dtype.kind == "f":
            rows[name] = np.nan
    return np.concatenate([first, rows])


def forced_targets(detected: NDArray[Any], known: NDArray[Any], min_detections: int = 1) -> NDArray[Any]:
    """Positions to measure, by object: those detected now, and the others that were known.

    Objects with fewer detections than ``min_detections`` are left out.
    """
    names = ["diaObjectId", "ra", "dec"]
    others = known[~np.isin(known["diaObjectId"], detected["diaObjectId"])]
    tables = [table[table["nDiaSources"] >= min_detections] for table in (detected, others)]
    targets = np.zeros(sum(map(len, tables)), dtype=[(name, detected.dtype[name]) for name in names])
    for name in names:
        targets[name] = np.concatenate([table[name] for table in tables])
    return np.sort(targets, order="diaObjectId")


def forced_rows(
    targets: NDArray[Any],
    forced_photometry: ForcedPhotometry,
    common: dict[str, Any],
    defaults: dict[str, Any],
    parts: IdParts,
) -> NDArray[Any]:
    """Rows of DiaForcedSource of all targets where something could be measured."""
    fluxes = forced_photometry(targets["ra"], targets["dec"])
    names = [name for name in fluxes.dtype.names or () if name.endswith(("Flux", "FluxErr"))]
    measured = np.zeros(len(targets), dtype=bool)
    for name in names:
        measured |= np.isfinite(fluxes[name])
    absent = {name: value for name, value in defaults.items() if name not in (fluxes.dtype.names or ())}
    own = {name: targets[name][measured] for name in ("diaObjectId", "ra", "dec")}
    counters = np.arange(1, int(measured.sum()) + 1)
    ids = parts.ids(counters)
    return to_table(dia_forced_source, fluxes[measured], diaForcedSourceId=ids, **own, **absent, **common)
