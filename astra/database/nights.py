"""Nights: which detectors of which visits they have, and what the production of alerts made of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, and_, delete, exists, func, insert, select

from astra.database.models.apdb import apdb_marker
from astra.database.models.night import NightSummary
from astra.database.state import chunks
from astra.database.survey import definition_table, exposure_table, raw_table, visit_table
from astra.sky.grouping import ONE_TO_ONE

summary_table: Table = NightSummary.__table__  # type: ignore[assignment]

SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True)
class NightCounts:
    """What a night gave; latencies [s] from the shutter's close to the association, None without any."""

    n_visits: int
    n_detectors: int
    n_done: int
    n_failed: int
    n_dia_sources: int = 0
    n_new_objects: int = 0
    n_updated_objects: int = 0
    n_forced_sources: int = 0
    n_alerts: int = 0
    latency_median_s: float | None = None
    latency_p95_s: float | None = None
    latency_max_s: float | None = None


def undefined_exposures(connection: Connection, instrument: str, day_obs: int) -> list[int]:
    """Return the exposures of a night that see the sky and have no visit of their own yet, sorted."""
    exposure = exposure_table.c
    has_visit = exists().where(
        definition_table.c.instrument == exposure.instrument,
        definition_table.c.visit_system == ONE_TO_ONE,
        definition_table.c.exposure == exposure.exposure,
    )
    has_region = exists().where(
        *(raw_table.c[name] == exposure[name] for name in ("instrument", "exposure")),
        raw_table.c.region.is_not(None),
    )
    conditions = exposure.instrument == instrument, exposure.day_obs == day_obs, has_region, ~has_visit
    query = select(exposure.exposure).where(*conditions).order_by(exposure.exposure)
    return list(connection.execute(query).scalars())


def detectors_of_night(
    connection: Connection, instrument: str, day_obs: int, visit_system: int = ONE_TO_ONE
) -> list[tuple[int, int]]:
    """Return the visits of a night with their detectors that have raws, in the order of their midpoints."""
    visit, definition, raw = visit_table, definition_table, raw_table
    middle = 0.5 * (visit.c.begin_mjd_tai + func.coalesce(visit.c.end_mjd_tai, visit.c.begin_mjd_tai))
    keys = ("instrument", "visit_system", "visit")
    query = (
        select(middle.label("middle"), visit.c.visit, raw.c.detector)
        .join(definition, and_(*(definition.c[name] == visit.c[name] for name in keys)))
        .join(raw, and_(*(raw.c[name] == definition.c[name] for name in ("instrument", "exposure"))))
        .where(
            visit.c.instrument == instrument,
            visit.c.visit_system == visit_system,
            visit.c.day_obs == day_obs,
        )
        .distinct()
        .order_by("middle", visit.c.visit, raw.c.detector)
    )
    return [(row.visit, row.detector) for row in connection.execute(query)]


def count_night(
    connection: Connection,
    instrument: str,
    pairs: Sequence[tuple[int, int]],
    done: Collection[tuple[int, int]],
    visit_system: int = ONE_TO_ONE,
) -> NightCounts:
    """Count what some visits and detectors gave.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str
        Camera name.
    pairs : sequence of (int, int)
        Visits and detectors that were to be processed.
    done : collection of (int, int)
        Those of them whose alerts are packaged: one for each detection.
    visit_system : int, optional
        System of the visits.
    """
    marker = apdb_marker
    wanted, names = set(pairs), ("n_dia_sources", "n_new_objects", "n_updated_objects", "n_forced_sources")
    ends = _shutter_close(connection, instrument, {visit for visit, _ in pairs}, visit_system)
    totals: dict[str, Any] = dict.fromkeys(names, 0)
    latencies: list[float] = []
    n_alerts = 0
    for chunk in chunks({visit for visit, _ in pairs}):
        query = select(marker).where(marker.c.instrument == instrument, marker.c.visit.in_(chunk))
        for row in connection.execute(query).mappings():
            pair = row["visit"], row["detector"]
            if pair not in wanted:
                continue
            for name in names:
                totals[name] += row[name]
            n_alerts += row["n_dia_sources"] if pair in done else 0
            if pair[0] in ends:
                latencies.append((row["timeProcessedMjdTai"] - ends[pair[0]]) * SECONDS_PER_DAY)
    n_visits, n_failed = len({visit for visit, _ in pairs}), len(pairs) - len(done)
    counts = NightCounts(n_visits, len(pairs), len(done), n_failed, n_alerts=n_alerts)
    return replace(counts, **totals, **_spread(latencies))


def write_summary(
    connection: Connection,
    counts: NightCounts,
    *,
    task_id: str,
    instrument: str,
    day_obs: int,
    updated: dt.datetime,
) -> None:
    """Write the summary of a night by a task, in place of its older one."""
    connection.execute(delete(summary_table).where(summary_table.c.task_id == task_id))
    row = {"task_id": task_id, "instrument": instrument, "day_obs": day_obs, "updated": updated}
    connection.execute(insert(summary_table).values(**row, **asdict(counts)))


def _shutter_close(
    connection: Connection, instrument: str, visits: Collection[int], visit_system: int
) -> Mapping[int, float]:
    """When the shutter closed on visits, by id [d, MJD TAI]."""
    table, found = visit_table, dict[int, float]()
    for chunk in chunks(visits):
        query = select(table.c.visit, table.c.end_mjd_tai).where(
            table.c.instrument == instrument,
            table.c.visit_system == visit_system,
            table.c.end_mjd_tai.is_not(None),
            table.c.visit.in_(chunk),
        )
        found.update({row.visit: row.end_mjd_tai for row in connection.execute(query)})
    return found


def _spread(latencies: Sequence[float]) -> dict[str, Any]:
    """Median, 95th percentile and largest of latencies [s]."""
    names = ("latency_median_s", "latency_p95_s", "latency_max_s")
    values = np.percentile(latencies, [50, 95, 100]).tolist() if latencies else [None, None, None]
    return dict(zip(names, values, strict=True))
