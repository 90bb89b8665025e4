"""The detections of visits that are most likely real, one of each object."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, and_, case, cast, func, or_, select

from astra.database.bulk import is_among
from astra.database.models.apdb import apdb_marker, dia_source

NO_RELIABILITY = -1.0  # what a detection without one is sorted by


@dataclass(frozen=True)
class BestAlert:
    """A detection; fluxes [nJy], position [deg], time [d, MJD TAI].

    Parameters
    ----------
    dia_source_id : int
        Of the detection.
    dia_object_id, ss_object_id : int or None
        What it belongs to: an object, or a body of the solar system.
    visit, detector : int
        Where.
    band : str
        Filter band.
    mjd_tai, ra, dec : float
        When, and where on the sky.
    flux, flux_err, snr, reliability : float or None
        Of the difference.
    n_detections : int
        Detections of its object in these visits.
    is_dipole : bool
        Whether it has two lobes.
    rank : (int, float, int)
        Its place in the order of `best_alerts`, to ask for those after it.
    """

    dia_source_id: int
    dia_object_id: int | None
    ss_object_id: int | None
    visit: int
    detector: int
    band: str
    mjd_tai: float
    ra: float
    dec: float
    flux: float | None
    flux_err: float | None
    snr: float | None
    reliability: float | None
    n_detections: int
    is_dipole: bool
    rank: tuple[int, float, int]


def best_alerts(
    connection: Connection,
    instrument: str,
    visits: Collection[int],
    *,
    limit: int = 24,
    after: tuple[int, float, int] | None = None,
) -> list[BestAlert]:
    """Return the best detection of each object, by reliability in per cent and then by signal to noise.

    Detections without a reliability come last; those that are withdrawn, or of injected sources, are left
    out.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str
        Camera name.
    visits : collection of int
        Which visits.
    limit : int, optional
        How many at most.
    after : (float, float, int), optional
        ``rank`` of the last one of the page before.
    """
    source, marker = dia_source.c, apdb_marker.c
    # In steps: among those that are all but certain, the brighter one shows more.
    reliability = cast(func.coalesce(source.reliability, NO_RELIABILITY) * 100.0, Integer)
    snr = func.coalesce(func.abs(source.snr), 0.0)
    # A body of the solar system and a detection without an object are objects of their own.
    whose = case(
        (source.diaObjectId > 0, source.diaObjectId),
        (source.ssObjectId > 0, -source.ssObjectId),
        else_=source.diaSourceId,
    )
    order = (reliability.desc(), snr.desc(), source.diaSourceId)
    ranked = (
        select(
            dia_source,
            reliability.label("by_reliability"),
            snr.label("by_snr"),
            func.row_number().over(partition_by=whose, order_by=order).label("place"),
            func.count().over(partition_by=whose).label("n_detections"),
        )
        .join(marker.visit.table, and_(marker.visit == source.visit, marker.detector == source.detector))
        .where(
            marker.instrument == instrument,
            is_among(connection, source.visit, sorted(visits)),
            source.timeWithdrawnMjdTai.is_(None),
            func.coalesce(source.pixelFlags_injected, False).is_(False),
        )
        .subquery("ranked")
    )
    column = ranked.c
    query = select(ranked).where(column.place == 1)
    if after is not None:
        query = query.where(_is_after(column, after))
    query = query.order_by(column.by_reliability.desc(), column.by_snr.desc(), column.diaSourceId)
    return [_alert(row) for row in connection.execute(query.limit(limit)).mappings()]


def _is_after(column: Any, after: tuple[int, float, int]) -> Any:
    reliability, snr, source_id = after
    return or_(
        column.by_reliability < reliability,
        and_(column.by_reliability == reliability, column.by_snr < snr),
        and_(column.by_reliability == reliability, column.by_snr == snr, column.diaSourceId > source_id),
    )


def _alert(row: Any) -> BestAlert:
    return BestAlert(
        dia_source_id=row["diaSourceId"],
        dia_object_id=row["diaObjectId"] or None,
        ss_object_id=row["ssObjectId"] or None,
        visit=row["visit"],
        detector=row["detector"],
        band=(row["band"] or "").strip(),
        mjd_tai=row["midpointMjdTai"],
        ra=row["ra"],
        dec=row["dec"],
        flux=row["psfFlux"],
        flux_err=row["psfFluxErr"],
        snr=row["snr"],
        reliability=row["reliability"],
        n_detections=row["n_detections"],
        is_dipole=bool(row["isDipole"]),
        rank=(row["by_reliability"], row["by_snr"], row["diaSourceId"]),
    )
