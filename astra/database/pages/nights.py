"""Nights: which there are, and how far the tasks of one have come."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from astra.database.bulk import is_among
from astra.database.models.apdb import apdb_marker
from astra.database.nights import summary_table
from astra.database.pages.visit_tasks import count_tasks, failures
from astra.database.survey import visit_table
from astra.sky.grouping import ONE_TO_ONE

NIGHTS_PER_PAGE = 14
# Families of which a night has one task for each detector of each visit, however few have been planned.
PER_DETECTOR = frozenset(
    {"ProcessCcd", "GetTemplate", "DiffIm", "MeasureDifferences", "Associate", "PackageAlerts", "ApPipe"}
)


@dataclass(frozen=True)
class NightRow:
    """A night of a camera; what its production of alerts counted is None where there was none.

    Parameters
    ----------
    instrument : str
        Camera name.
    day_obs : int
        Night, YYYYMMDD.
    n_visits : int
        How many there are.
    bands : tuple of str
        Their bands.
    begin_mjd_tai, end_mjd_tai : float or None
        First opening and last close of the shutter [d, MJD TAI].
    n_dia_sources : int
        Detections in the Alert Production Database.
    summary : mapping or None
        Newest row of ``night_summary``.
    """

    instrument: str
    day_obs: int
    n_visits: int
    bands: tuple[str, ...]
    begin_mjd_tai: float | None
    end_mjd_tai: float | None
    n_dia_sources: int
    summary: Mapping[str, Any] | None


@dataclass(frozen=True)
class FamilyOfNight:
    """How many tasks of a family a night has in which state, and how many it should have in all."""

    family: str
    done: int
    failed: int
    blocked: int
    running: int
    pending: int
    expected: int

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by name."""
        return asdict(self)


def list_nights(
    connection: Connection,
    *,
    instrument: str | None = None,
    before: tuple[int, str] | None = None,
    limit: int = NIGHTS_PER_PAGE,
    visit_system: int = ONE_TO_ONE,
) -> list[NightRow]:
    """Return nights, the newest first.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str, optional
        Camera; all of them without it.
    before : (int, str), optional
        ``day_obs`` and instrument of the last night of the page before.
    limit : int, optional
        How many at most.
    visit_system : int, optional
        System of the visits.
    """
    visit = visit_table.c
    conditions = [visit.visit_system == visit_system]
    if instrument is not None:
        conditions.append(visit.instrument == instrument)
    if before is not None:
        same_night = and_(visit.day_obs == before[0], visit.instrument > before[1])
        conditions.append(or_(visit.day_obs < before[0], same_night))
    query = (
        select(
            visit.instrument,
            visit.day_obs,
            func.count().label("n_visits"),
            func.min(visit.begin_mjd_tai).label("begin_mjd_tai"),
            func.max(visit.end_mjd_tai).label("end_mjd_tai"),
        )
        .where(*conditions)
        .group_by(visit.day_obs, visit.instrument)
        .order_by(visit.day_obs.desc(), visit.instrument)
        .limit(limit)
    )
    rows = list(connection.execute(query).mappings())
    return [_night(connection, dict(row), visit_system) for row in rows]


def get_night(
    connection: Connection, instrument: str, day_obs: int, *, visit_system: int = ONE_TO_ONE
) -> NightRow | None:
    """Return a night, None if it has no visit."""
    visit = visit_table.c
    query = select(
        func.count().label("n_visits"),
        func.min(visit.begin_mjd_tai).label("begin_mjd_tai"),
        func.max(visit.end_mjd_tai).label("end_mjd_tai"),
    ).where(visit.instrument == instrument, visit.day_obs == day_obs, visit.visit_system == visit_system)
    row = connection.execute(query).mappings().one()
    if not row["n_visits"]:
        return None
    return _night(connection, {**row, "instrument": instrument, "day_obs": day_obs}, visit_system)


def _night(connection: Connection, row: Mapping[str, Any], visit_system: int) -> NightRow:
    """Add what was made of a night."""
    instrument, day_obs, visit = row["instrument"], row["day_obs"], visit_table.c
    of_night = (
        visit.instrument == instrument,
        visit.visit_system == visit_system,
        visit.day_obs == day_obs,
    )
    bands = connection.execute(select(visit.band).where(*of_night).distinct()).scalars()
    marker = apdb_marker.c
    sources = select(func.coalesce(func.sum(marker.n_dia_sources), 0)).where(
        marker.instrument == instrument, marker.visit.in_(select(visit.visit).where(*of_night))
    )
    summary = (
        select(summary_table)
        .where(summary_table.c.instrument == instrument, summary_table.c.day_obs == day_obs)
        .order_by(summary_table.c.updated.desc())
        .limit(1)
    )
    newest = connection.execute(summary).mappings().first()
    return NightRow(
        **row,
        bands=tuple(sorted((band for band in bands if band), key=_band_rank)),
        n_dia_sources=int(connection.execute(sources).scalar_one()),
        summary=dict(newest) if newest is not None else None,
    )


def _band_rank(band: str) -> tuple[int, str]:
    return ("ugrizy".index(band) if band in "ugrizy" else 6), band


def families_of_night(
    connection: Connection, instrument: str, day_obs: int, n_detectors: int
) -> list[FamilyOfNight]:
    """Count the tasks of the visits of a night by family and state.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str
        Camera name.
    day_obs : int
        Night, YYYYMMDD.
    n_detectors : int
        Detectors of all its visits: of each family in `PER_DETECTOR` that has begun so many tasks are
        expected, of the others those that are planned.
    """
    counts = count_tasks(connection, instrument, _visit_ids(connection, instrument, day_obs))
    return [
        FamilyOfNight(
            count.family, count.done, count.failed, count.blocked, count.running, count.pending,
            max(count.total, n_detectors if count.family in PER_DETECTOR else 0),
        )
        for count in counts
    ]  # fmt: skip


def failures_of_night(
    connection: Connection, instrument: str, day_obs: int, limit: int = 20
) -> list[tuple[str, str]]:
    """Return (task id, message) of tasks of a night whose last attempt failed, newest first."""
    return failures(connection, instrument, _visit_ids(connection, instrument, day_obs), limit)


def _visit_ids(connection: Connection, instrument: str, day_obs: int) -> list[int]:
    visit = visit_table.c
    of_night = visit.instrument == instrument, visit.day_obs == day_obs
    return list(connection.execute(select(visit.visit).where(*of_night).distinct()).scalars())


def count_dia_sources(connection: Connection, instrument: str, visits: Collection[int]) -> dict[int, int]:
    """Return how many detections visits gave to the Alert Production Database, by visit."""
    marker = apdb_marker.c
    query = (
        select(marker.visit, func.sum(marker.n_dia_sources))
        .where(marker.instrument == instrument, is_among(connection, marker.visit, sorted(visits)))
        .group_by(marker.visit)
    )
    return {visit: int(number) for visit, number in connection.execute(query)}


def instruments_of_night(connection: Connection, day_obs: int) -> list[str]:
    """Return the cameras that have visits in a night, sorted."""
    visit = visit_table.c
    query = select(visit.instrument).where(visit.day_obs == day_obs).distinct().order_by(visit.instrument)
    return list(connection.execute(query).scalars())
