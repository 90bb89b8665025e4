"""From the rows of the database to the packets of one visit and detector: no files, no Luigi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.encoder import AlertBatch, Chosen, Related
from astra.alerts.nearby import upper_limits
from astra.sky.ss_sources import make_ss_sources

if TYPE_CHECKING:
    from astra.database.alert_rows import AlertColumns, ChosenRows, History


def make_batch(
    alerts: AlertColumns,
    *,
    observation_reason: str | None = None,
    target_name: str | None = None,
    extra: Mapping[str, Related] | None = None,
    bodies: Chosen | None = None,
) -> AlertBatch:
    """Make what is encoded of what was loaded.

    Parameters
    ----------
    alerts : AlertColumns
        Rows.
    observation_reason, target_name : str, optional
        What the visit was for; empty is null.
    extra : mapping of str to Related, optional
        Lists of our own schema.
    bodies : Chosen, optional
        Geometry of solar-system bodies; None: as stored.
    """
    return AlertBatch(
        alerts.dia_sources,
        _related(alerts.prv_sources),
        _related(alerts.prv_forced),
        _chosen(alerts.dia_objects),
        _chosen(alerts.ss_sources) if bodies is None else bodies,
        _chosen(alerts.mpc_orbits),
        observation_reason or None,
        target_name or None,
        extra or {},
    )


def make_bodies(
    alerts: AlertColumns, expected: NDArray[np.void] | None, observer: NDArray[np.float64]
) -> Chosen:
    """Geometry of the detections that are known bodies of the solar system: stored rows, or made now.

    Parameters
    ----------
    alerts : AlertColumns
        Rows.
    expected : structured ndarray, optional
        Where bodies are expected, see `astra.sky.ss_sources.make_ss_sources`.
    observer : float64 ndarray, shape (3,)
        Place of the observer about the Sun [AU].
    """
    if alerts.ss_sources.columns:
        return _chosen(alerts.ss_sources)
    ids = alerts.dia_sources["ssObjectId"]
    rows = np.flatnonzero(~np.ma.getmaskarray(ids) & (ids.data != 0))
    names = ("diaSourceId", "ssObjectId", "ra", "dec")
    sources = np.zeros(len(rows), [(name, alerts.dia_sources[name].dtype) for name in names])
    for name in names:
        sources[name] = alerts.dia_sources[name].data[rows]
    chosen = np.full(len(alerts), -1, dtype=np.int64)
    chosen[rows] = np.arange(len(rows))
    return Chosen(make_ss_sources(sources, expected, observer), chosen)


def make_upper_limits(alerts: AlertColumns, neighbours: History) -> Related:
    """Upper limits of all detections.

    Parameters
    ----------
    alerts : AlertColumns
        Rows.
    neighbours : History
        Forced measurements of the nearest object, for detections of objects that have none of their own.
    """
    own, count = alerts.prv_forced, len(alerts.prv_forced.columns["visit"])
    names = ("visit", "detector", "band", "midpointMjdTai", "psfFluxErr")
    forced = {name: np.ma.concatenate([own.columns[name], neighbours.columns[name]]) for name in names}
    pairs = zip(_ranges(own), _ranges(neighbours), strict=True)
    lists = [first if len(first) else second + count for first, second in pairs]
    methods = ["forced" if end > start else "neighbour" for start, end in _bounds(own)]
    detected = [_visits(alerts.prv_sources.columns, rows) for rows in _ranges(alerts.prv_sources)]
    return upper_limits(forced, lists, detected, methods)


def _related(history: History) -> Related:
    """Turn ranges of rows into lists of them."""
    counts = history.end - history.start
    start = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=start[1:])
    rows = np.arange(start[-1]) + np.repeat(history.start - start[:-1], counts)
    return Related(history.columns, rows, start)


def _chosen(rows: ChosenRows) -> Chosen:
    return Chosen(rows.columns, rows.rows)


def _bounds(history: History) -> Sequence[tuple[int, int]]:
    return list(zip(history.start.tolist(), history.end.tolist(), strict=True))


def _ranges(history: History) -> list[NDArray[np.int64]]:
    return [np.arange(start, end) for start, end in _bounds(history)]


def _visits(columns: Mapping[str, Any], rows: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Visits and detectors of rows."""
    visits, detectors = (columns[name].data[rows].tolist() for name in ("visit", "detector"))
    return set(zip(visits, detectors, strict=True))
