"""How long alerts took: from the shutter to associated, written and sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, and_, delete, insert, select

from astra.database.bulk import is_among
from astra.database.models.outbox import SENT, AlertOutbox, AlertTiming

timing_table: Table = AlertTiming.__table__  # type: ignore[assignment]
outbox_table: Table = AlertOutbox.__table__  # type: ignore[assignment]

SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True)
class Latency:
    """How long a step of alerts took, from the close of the shutter.

    Parameters
    ----------
    step : str
        ``associated``, ``written``, or ``sent to <sink>``.
    n_alerts : int
        How many alerts have got that far.
    median_s, percentile95_s, max_s : float
        Of their times [s].
    """

    step: str
    n_alerts: int
    median_s: float
    percentile95_s: float
    max_s: float


def record_written(
    connection: Connection,
    place: tuple[str, int, int],
    dia_sources: Iterable[Mapping[str, Any]],
    written_mjd_tai: float,
) -> None:
    """Note when the alerts of a visit and detector were written, in place of what was noted before.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    place : (str, int, int)
        Camera, visit and detector.
    dia_sources : iterable of mapping
        Rows of DiaSource; one without ``exposureTime`` [s] counts from the middle of its exposure.
    written_mjd_tai : float
        When [d, MJD TAI].
    """
    instrument, visit, detector = place
    rows = [
        {
            "diaSourceId": int(row["diaSourceId"]),
            "instrument": instrument,
            "visit": visit,
            "detector": detector,
            "shutterCloseMjdTai": _shutter_close(row),
            "associatedMjdTai": float(row["timeProcessedMjdTai"]),
            "writtenMjdTai": written_mjd_tai,
        }
        for row in dia_sources
    ]
    columns = timing_table.c
    here = and_(columns.instrument == instrument, columns.visit == visit, columns.detector == detector)
    connection.execute(delete(timing_table).where(here))
    if rows:
        ids = [row["diaSourceId"] for row in rows]
        connection.execute(delete(timing_table).where(is_among(connection, columns.diaSourceId, ids)))
        connection.execute(insert(timing_table), rows)


def _shutter_close(row: Mapping[str, Any]) -> float:
    return float(row["midpointMjdTai"]) + float(row.get("exposureTime") or 0.0) / 2.0 / SECONDS_PER_DAY


def alert_latencies(
    connection: Connection, *, instrument: str | None = None, visits: Iterable[int] | None = None
) -> list[Latency]:
    """Tell how long alerts took to be associated, written, and sent to each sink.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str, optional
        Camera; all if there is none.
    visits : iterable of int, optional
        Visits; all if there is none.

    Returns
    -------
    latencies : list of Latency
        In the order of the steps; steps that no alert has reached are left out.
    """
    columns = timing_table.c
    conditions = [columns.instrument == instrument] if instrument is not None else []
    if visits is not None:
        conditions.append(is_among(connection, columns.visit, list(visits)))
    times = select(columns.shutterCloseMjdTai, columns.associatedMjdTai, columns.writtenMjdTai)
    found = np.array(list(connection.execute(times.where(*conditions))), dtype=np.float64).reshape(-1, 3)
    steps = [_latency(name, found[:, n] - found[:, 0]) for n, name in ((1, "associated"), (2, "written"))]
    sent = (
        select(outbox_table.c.sink, outbox_table.c.sentMjdTai - columns.shutterCloseMjdTai)
        .join(timing_table, columns.diaSourceId == outbox_table.c.diaSourceId)
        .where(outbox_table.c.status_code == SENT, *conditions)
    )
    by_sink: dict[str, list[float]] = {}
    for sink, days in connection.execute(sent):
        by_sink.setdefault(sink, []).append(days)
    steps += [_latency(f"sent to {sink}", np.array(days)) for sink, days in sorted(by_sink.items())]
    return [step for step in steps if step.n_alerts]


def _latency(step: str, days: NDArray[np.float64]) -> Latency:
    seconds = days * SECONDS_PER_DAY
    if not len(seconds):
        return Latency(step, 0, np.nan, np.nan, np.nan)
    median, high = np.percentile(seconds, [50.0, 95.0])
    return Latency(step, len(seconds), float(median), float(high), float(seconds.max()))
