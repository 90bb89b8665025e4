"""Exposures and raws as rows, and the rules of grouping with the mosaic's geometry."""

import dataclasses

from sqlalchemy import insert, select

from astra.database.define import VisitRules
from astra.database.engine import reading, transaction
from astra.database.state import upsert
from astra.database.survey import (
    collection_table,
    definition_table,
    exposure_table,
    membership_table,
    raw_table,
    region_table,
    visit_table,
)
from astra.plugins import GROUPERS
from astra.sky.regions import encode
from astra.sky.visit_regions import RegionConfig, SingleRawWcs, camera_regions
from tests.sky.mosaic import Mosaic

GROUPINGS = ("one-to-one", "by-group-metadata", "one-to-one-and-by-counter")


def make_rules(grouping="one-to-one", camera=None, config=None):
    """Rules of grouping for a camera."""
    camera, config, algorithm = camera or Mosaic(), config or RegionConfig(), SingleRawWcs()
    return VisitRules(
        GROUPERS.get(grouping),
        lambda exposures, raws: algorithm.find_regions(camera, exposures, raws, config),
        needs_tracking=algorithm.needs_tracking(camera),
    )


def write_exposures(url, records, detectors=(0, 1, 7), collection="raw/all"):
    """Write exposures with raws of some detectors; those that are there get what the records say."""
    with transaction(url) as connection:
        for record in records:
            row = {**dataclasses.asdict(record), "observation_type": "science", "dark_time": None}
            upsert(connection, exposure_table, [row], ["instrument", "exposure"])
            regions = camera_regions(Mosaic(), record, 0.0) if record.has_tracking else {}
            for detector in detectors:
                key = {"instrument": record.instrument, "exposure": record.exposure, "detector": detector}
                region = encode(regions[detector]) if regions else None
                row = {"path": f"{record.exposure}.fits", "size": 1, "modified_ns": 1, "checksum": "c"}
                upsert(connection, raw_table, [{**key, **row, "region": region}], list(key))
                connection.execute(insert(collection_table), [{**key, "collection": collection}])


def visits(url, instrument="mosaic"):
    """Exposures, name and exposure time of each visit, by (system, id)."""
    with reading(url) as connection:
        columns = definition_table.c.visit_system, definition_table.c.visit, definition_table.c.exposure
        exposures = {}
        query = select(*columns).where(definition_table.c.instrument == instrument).order_by(*columns)
        for system, visit, exposure in connection.execute(query):
            exposures.setdefault((system, visit), []).append(exposure)
        query = select(visit_table).where(visit_table.c.instrument == instrument)
        return {
            (row.visit_system, row.visit): (
                exposures[row.visit_system, row.visit],
                row.name,
                row.exposure_time_s,
            )
            for row in connection.execute(query)
        }


def memberships(url):
    """Systems of each visit."""
    with reading(url) as connection:
        found = {}
        for row in connection.execute(select(membership_table)):
            found.setdefault(row.visit, set()).add(row.visit_system)
        return found


def detectors(url):
    """Detectors with a region of each visit, by (system, id)."""
    with reading(url) as connection:
        found = {}
        for row in connection.execute(select(region_table)):
            found.setdefault((row.visit_system, row.visit), set()).add(row.detector)
        return found


def everything(url):
    """All rows of the tables of visits."""
    with reading(url) as connection:
        return {
            table.name: sorted(repr(tuple(row)) for row in connection.execute(select(table)))
            for table in (visit_table, definition_table, membership_table, region_table)
        }
