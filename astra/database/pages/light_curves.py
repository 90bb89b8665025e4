"""The light curve of an object: its detections, and the fluxes measured where it was not detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from astra.database.bulk import is_among
from astra.database.models.apdb import dia_forced_source, dia_source

MAX_POINTS = 20_000  # of an object, of each kind


@dataclass(frozen=True)
class LightPoint:
    """One measurement of the flux of an object on a difference image.

    Parameters
    ----------
    is_forced : bool
        Whether it was measured at the place of the object, and not detected by itself.
    mjd_tai : float
        Middle of the exposure [d, MJD TAI].
    band : str
        Filter band; empty if unknown.
    flux, flux_err : float or None
        [nJy].
    science_flux, science_flux_err : float or None
        On the image itself, not the difference [nJy].
    snr, reliability : float or None
        Of a detection.
    visit, detector : int
        Where.
    source_id : int
        ``diaSourceId`` or ``diaForcedSourceId``.
    is_dipole, is_negative : bool
        Of a detection.
    """

    is_forced: bool
    mjd_tai: float
    band: str
    flux: float | None
    flux_err: float | None
    science_flux: float | None
    science_flux_err: float | None
    snr: float | None
    reliability: float | None
    visit: int
    detector: int
    source_id: int
    is_dipole: bool = False
    is_negative: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def light_curve(
    connection: Connection, dia_object_id: int, *, max_points: int = MAX_POINTS
) -> list[LightPoint]:
    """Return the light curve of an object, oldest first; what was withdrawn is left out."""
    return light_curves(connection, [dia_object_id], max_points=max_points).get(dia_object_id, [])


def light_curves(
    connection: Connection, dia_object_ids: Sequence[int], *, max_points: int = MAX_POINTS
) -> dict[int, list[LightPoint]]:
    """Return the light curves of objects by their id; one without a measurement is left out.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    dia_object_ids : sequence of int
        The objects.
    max_points : int, optional
        Most points of each kind, of all objects together; the newest are kept.
    """
    found: dict[int, list[LightPoint]] = {}
    for table, is_forced in ((dia_source, False), (dia_forced_source, True)):
        for row in _rows(connection, table, dia_object_ids, max_points):
            found.setdefault(row["diaObjectId"], []).append(_point(row, is_forced=is_forced))
    return {
        name: sorted(points, key=lambda point: (point.mjd_tai, point.is_forced))
        for name, points in found.items()
    }


def body_curves(
    connection: Connection, ss_object_ids: Sequence[int], *, max_points: int = MAX_POINTS
) -> dict[int, list[LightPoint]]:
    """Return the detections of bodies of the solar system by their ``ssObjectId``, oldest first."""
    found: dict[int, list[LightPoint]] = {}
    for row in _rows(connection, dia_source, ss_object_ids, max_points, "ssObjectId"):
        found.setdefault(row["ssObjectId"], []).append(_point(row, is_forced=False))
    return {name: sorted(points, key=lambda point: point.mjd_tai) for name, points in found.items()}


def _rows(
    connection: Connection, table: Table, ids: Sequence[int], limit: int, column: str = "diaObjectId"
) -> list[Any]:
    query = (
        select(table)
        .where(is_among(connection, table.c[column], sorted(set(ids))), table.c.timeWithdrawnMjdTai.is_(None))
        .order_by(table.c.midpointMjdTai.desc(), *table.primary_key.columns)
        .limit(limit)
    )
    return list(connection.execute(query).mappings())


def _point(row: Any, *, is_forced: bool) -> LightPoint:
    return LightPoint(
        is_forced=is_forced,
        mjd_tai=row["midpointMjdTai"],
        band=(row["band"] or "").strip(),
        flux=row["psfFlux"],
        flux_err=row["psfFluxErr"],
        science_flux=row["scienceFlux"],
        science_flux_err=row["scienceFluxErr"],
        snr=None if is_forced else row["snr"],
        reliability=None if is_forced else row["reliability"],
        visit=row["visit"],
        detector=row["detector"],
        source_id=row["diaForcedSourceId" if is_forced else "diaSourceId"],
        is_dipole=not is_forced and bool(row["isDipole"]),
        is_negative=not is_forced and bool(row["isNegative"]),
    )
