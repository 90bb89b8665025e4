"""Visits to store in the APDB: detections of some objects, forced measurements of others, from a seed."""

import numpy as np
import sqlalchemy as sa

from astra.database import apdb
from astra.database.models.apdb import (
    apdb_marker,
    dia_forced_source,
    dia_forced_source_chunks,
    dia_object,
    dia_object_chunks,
    dia_source,
    dia_source_chunks,
)
from astra.sky.regions import htm_pixels

BASE = 2**45
EPOCH = 60000.0
TABLES = (dia_object, dia_source, dia_forced_source, apdb_marker)
CHUNKS = (dia_object_chunks, dia_source_chunks, dia_forced_source_chunks)
WALL_CLOCK = {"timeProcessedMjdTai", "apdb_replica_chunk"}
SOURCE_NAMES = (
    *("diaSourceId", "diaObjectId", "visit", "detector", "band", "midpointMjdTai", "timeProcessedMjdTai"),
    *("ra", "dec", "raErr", "decErr", "ra_dec_Cov", "x", "y", "psfFlux", "psfFluxErr", "scienceFlux"),
    *("scienceFluxErr", "psfNdata", "trailNdata", "dipoleNdata", "bboxSize", "pixelId"),
)


def object_positions(numbers):
    """Positions [deg] of objects on a grid of 5 arcsec, 100 a row."""
    numbers = np.asarray(numbers, dtype=np.int64)
    return 10 + (numbers % 100) / 720, 5 + (numbers // 100) / 720


def make_visit(visit, detected, measured=(), *, detector=1, midpoint=None, now=None, band=None):
    """Marker, detections and forced measurements of a visit."""
    rng = np.random.default_rng([visit, detector])
    midpoint = EPOCH + visit if midpoint is None else midpoint
    now = midpoint + 0.5 if now is None else now
    band = "ugrizy"[visit % 6] if band is None else band
    common = {"visit": visit, "detector": detector, "band": band}
    common |= {"midpointMjdTai": midpoint, "timeProcessedMjdTai": now}
    sources = np.zeros(len(detected), apdb.table_dtype(dia_source, SOURCE_NAMES))
    forced = np.zeros(len(measured), apdb.table_dtype(dia_forced_source))
    forced["timeWithdrawnMjdTai"] = np.nan
    for rows, numbers in ((sources, detected), (forced, measured)):
        rows["diaObjectId"] = BASE + np.asarray(numbers, dtype=np.int64)
        rows["ra"], rows["dec"] = object_positions(numbers)
        for name, value in common.items():
            rows[name] = value
        for name in ("psfFlux", "scienceFlux"):
            rows[name] = rng.normal(200.0, 30.0, len(rows))
            rows[f"{name}Err"] = rng.uniform(5.0, 15.0, len(rows))
    sources["ra"] += rng.normal(0.0, 1e-5, len(sources))
    sources["raErr"] = sources["decErr"] = 1e-5
    sources["pixelId"] = htm_pixels(sources["ra"], sources["dec"])
    number = (visit * 100 + detector) * 2**20
    sources["diaSourceId"] = number + np.arange(len(sources))
    forced["diaForcedSourceId"] = number + np.arange(len(forced))
    counts = {"n_dia_sources": len(sources), "n_forced_sources": len(forced)}
    return apdb.Marker("camera", visit, detector, "task", band, midpoint, now, **counts), sources, forced


def store(connection, *arguments, plugins=(), **options):
    """Store such a visit."""
    marker, sources, forced = make_visit(*arguments, **options)
    return apdb.store_visit(connection, marker, sources, None, forced, plugins=plugins)


def dump(connection, tables=(*TABLES, *CHUNKS)):
    """All rows of tables but for the columns of the clock."""
    found = {}
    for table in tables:
        columns = [column for column in table.columns if column.name not in WALL_CLOCK]
        found[table.name] = connection.execute(sa.select(*columns).order_by(*table.primary_key.columns)).all()
    return found


def versions(connection, number):
    """Starts, ends and counts of the versions of an object."""
    names = ("validityStartMjdTai", "validityEndMjdTai", "nDiaSources")
    query = sa.select(*(dia_object.c[name] for name in names)).where(
        dia_object.c.diaObjectId == BASE + number
    )
    return [tuple(row) for row in connection.execute(query.order_by("validityStartMjdTai")).all()]
