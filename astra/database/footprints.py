"""Where the detectors looked that have been associated, and in which order: rows in the caller's transaction.

Detectors are associated in the order of their midpoints, then of visit and detector. What one finds depends
on those before it that look at the same sky, so that one that comes late has to know which it is late for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lsst.sphgeom import DISJOINT, ConvexPolygon
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, and_, delete, insert, or_, select, update

from astra.database.arrays import fetch
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_source
from astra.database.models.night import AssociationFootprint
from astra.sky.regions import decode_polygon, dilate, encode

footprint_table: Table = AssociationFootprint.__table__  # type: ignore[assignment]

# When a row was written, which says nothing about what was found.
_WALL_CLOCK = frozenset({"timeProcessedMjdTai"})


@dataclass(frozen=True)
class Member:
    """One detector of one visit in the order of association.

    Parameters
    ----------
    midpoint_mjd_tai : float
        Middle of the exposure [d, MJD TAI].
    visit, detector : int
        Which it is.
    task_id : str
        Task that has associated it.
    region : ConvexPolygon
        Where it looked.
    """

    midpoint_mjd_tai: float
    visit: int
    detector: int
    task_id: str
    region: ConvexPolygon


def note_footprint(connection: Connection, instrument: str, member: Member) -> None:
    """Note where a detector looked, in place of what was noted before."""
    key = {"instrument": instrument, "visit": member.visit, "detector": member.detector}
    connection.execute(delete(footprint_table).where(*(footprint_table.c[n] == v for n, v in key.items())))
    dec_min, dec_max = _declinations(member.region)
    values = {"midpoint_mjd_tai": member.midpoint_mjd_tai, "dec_min": dec_min, "dec_max": dec_max}
    connection.execute(insert(footprint_table).values(**key, **values, region=encode(member.region)))


def later_members(
    connection: Connection, instrument: str, member: Member, margin_arcsec: float
) -> list[Member]:
    """Return what has been associated though a detector should come before it, in order.

    Those that overlap with it, and those after them that overlap with one of these, as what they found
    depends on it in turn.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    instrument : str
        Camera name.
    member : Member
        The detector that is to be associated.
    margin_arcsec : float
        Regions that are closer count as overlapping [arcsec].
    """
    place, marker = footprint_table.c, apdb_marker.c
    is_later = or_(
        place.midpoint_mjd_tai > member.midpoint_mjd_tai,
        and_(
            place.midpoint_mjd_tai == member.midpoint_mjd_tai,
            or_(
                place.visit > member.visit,
                and_(place.visit == member.visit, place.detector > member.detector),
            ),
        ),
    )
    same = and_(*(place[name] == marker[name] for name in ("instrument", "visit", "detector")))
    query = (
        select(place.midpoint_mjd_tai, place.visit, place.detector, marker.task_id, place.region)
        .join(apdb_marker, same)
        .where(place.instrument == instrument, is_later)
        .order_by(place.midpoint_mjd_tai, place.visit, place.detector)
    )
    touched, found = [dilate(member.region, margin_arcsec)], []
    for row in connection.execute(query):
        other = Member(*row[:4], decode_polygon(row.region))
        if any(not region.relate(other.region) & DISJOINT for region in touched):
            touched.append(dilate(other.region, margin_arcsec))
            found.append(other)
    return found


def holds_rows(
    connection: Connection, visit: int, detector: int, sources: NDArray[Any], forced: NDArray[Any]
) -> bool:
    """Whether the tables hold just these rows of a detector, whenever they were written.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    visit, detector : int
        Which one.
    sources, forced : structured ndarray
        Rows of DiaSource and DiaForcedSource, with some of the columns.
    """
    for table, key, rows in (
        (dia_source, "diaSourceId", sources),
        (dia_forced_source, "diaForcedSourceId", forced),
    ):
        names = [name for name in rows.dtype.names or () if name not in _WALL_CLOCK]
        condition = table.c.visit == visit, table.c.detector == detector
        stored = np.sort(fetch(connection, table, names, *condition), order=key)
        if len(stored) != len(rows) or not _are_equal(stored, np.sort(rows, order=key), names):
            return False
    return True


def _are_equal(stored: NDArray[Any], rows: NDArray[Any], names: Sequence[str]) -> bool:
    """Whether rows are equal in some columns; what is null is equal."""
    return all(np.array_equal(stored[n], rows[n], equal_nan=rows.dtype[n].kind == "f") for n in names)


def hand_over(connection: Connection, instrument: str, visit: int, detector: int, task_id: str) -> None:
    """Say that the rows of a detector are those of another task, which has found the same."""
    condition = apdb_marker.c.visit == visit, apdb_marker.c.detector == detector
    statement = update(apdb_marker).where(apdb_marker.c.instrument == instrument, *condition)
    connection.execute(statement.values(task_id=task_id))


def _declinations(region: ConvexPolygon) -> tuple[float, float]:
    """Bounds of the declinations of a region [deg]."""
    box = region.getBoundingBox().getLat()
    return float(box.getA().asDegrees()), float(box.getB().asDegrees())
