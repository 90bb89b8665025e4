"""Places on the sky of a visit: what its detectors cover, and what was detected there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, select

from astra.database.models.apdb import apdb_marker, dia_source
from astra.database.survey import region_table
from astra.sky.grouping import ONE_TO_ONE


@dataclass(frozen=True)
class Detection:
    """A detection of a visit; position [deg]."""

    dia_source_id: int
    dia_object_id: int | None
    detector: int
    ra: float
    dec: float
    snr: float | None
    reliability: float | None
    is_negative: bool


def regions_of_visit(
    connection: Connection, instrument: str, visit: int, *, visit_system: int = ONE_TO_ONE
) -> dict[int, NDArray[np.float64]]:
    """Return the corners of what each detector of a visit covers, shape (n, 2) [deg], in order round it."""
    from astra.sky.regions import decode_polygon, positions

    table, found = region_table.c, {}
    query = select(table.detector, table.region).where(
        table.instrument == instrument, table.visit_system == visit_system, table.visit == visit
    )
    for detector, region in connection.execute(query):
        vertices = np.array([list(vertex) for vertex in decode_polygon(region).getVertices()])
        found[detector] = np.column_stack(positions(vertices))
    return found


def detections_of_visit(
    connection: Connection, instrument: str, visit: int, *, limit: int = 2000
) -> list[Detection]:
    """Return the detections of a visit in the Alert Production Database, the brightest first."""
    source, marker = dia_source.c, apdb_marker.c
    names = ("diaSourceId", "diaObjectId", "detector", "ra", "dec", "snr", "reliability", "isNegative")
    query = (
        select(*(source[name] for name in names))
        .join(apdb_marker, and_(marker.visit == source.visit, marker.detector == source.detector))
        .where(marker.instrument == instrument, source.visit == visit, source.timeWithdrawnMjdTai.is_(None))
        .order_by(source.snr.desc(), source.diaSourceId)
        .limit(limit)
    )
    return [
        Detection(
            row.diaSourceId, row.diaObjectId or None, row.detector, row.ra, row.dec, row.snr, row.reliability,
            bool(row.isNegative),
        )
        for row in connection.execute(query)
    ]  # fmt: skip
