"""Corrections outlast a further run and a late visit: the tables are those of a clean run, corrected."""

import numpy as np
import pytest
import sqlalchemy as sa

from astra.database import apdb
from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.database.models.apdb import (
    apdb_marker,
    dia_forced_source,
    dia_object,
    dia_object_statistics,
    dia_source,
)
from astra.database.models.corrections import apdb_correction
from astra.sky.light_curve_plugins import FURTHER_PLUGINS
from astra.tasks.association_steps import associate_in_order
from tests.tasks.association_worker import MEMBERS, detector_visit

NOW = 61000.25
HOW = {"time_mjd_tai": NOW, "plugins": FURTHER_PLUGINS}
TABLES = (dia_object, dia_source, dia_forced_source, apdb_marker, dia_object_statistics)


@pytest.fixture(scope="module")
def kept():
    """Databases that have been made, by their members."""
    return {}


@pytest.fixture
def run(kept):
    """Make a database in which some detectors have been associated, in the order that is given."""
    engines = []

    def make(members=MEMBERS):
        engine = open_engine("sqlite://")
        engines.append(engine)
        connection = engine.connect()
        file = connection.connection.driver_connection
        if tuple(members) in kept:
            file.deserialize(kept[tuple(members)])
        else:
            metadata.create_all(connection)
            for member in members:
                associate(connection, *member)
            connection.commit()
            kept[tuple(members)] = file.serialize()
        return connection

    yield make
    for engine in engines:
        engine.dispose()


def associate(connection, visit, detector):
    associate_in_order(
        connection, detector_visit(visit, detector), lambda m: detector_visit(m.visit, m.detector)
    )


def dump(connection):
    """All rows of the tables, and of the corrections but for the order in which they are kept."""
    found = {
        table.name: connection.execute(sa.select(table).order_by(*table.primary_key.columns)).all()
        for table in TABLES
    }
    columns = [column for column in apdb_correction.columns if column.name != "pk"]
    found["corrections"] = sorted(map(repr, connection.execute(sa.select(*columns)).all()))
    return found


def pair_of_objects(connection):
    """Two objects with detections at several visits: one of the first visit, and one that was found later."""
    sources = sa.select(dia_source.c.diaObjectId, sa.func.min(dia_source.c.visit))
    several = sources.group_by(dia_source.c.diaObjectId).having(sa.func.count() > 1)
    rows = connection.execute(several.order_by(dia_source.c.diaObjectId)).all()
    early = [number for number, visit in rows if visit == 1]
    late = [number for number, visit in rows if visit == 2]
    return early[0], late[0]


def sources_of(connection, object_id):
    return sorted(apdb.load_sources(connection, np.array([object_id]))["diaSourceId"].tolist())


def merge(connection):
    stays, duplicate = pair_of_objects(connection)
    return apdb.merge_objects(connection, {duplicate: stays}, **HOW)


def reassign(connection):
    stays, other = pair_of_objects(connection)
    source = sources_of(connection, other)[-1]
    return apdb.reassign_to_dia_objects(connection, {source: stays}, **HOW)


def withdraw(connection):
    stays, other = pair_of_objects(connection)
    sources = [*sources_of(connection, other), sources_of(connection, stays)[-1]]
    return apdb.withdraw_sources(connection, sources, **HOW)


def withdraw_forced(connection):
    keys = [(number, 3, 0) for number in pair_of_objects(connection)]
    return apdb.withdraw_forced_sources(connection, keys, **HOW)


def reassign_to_a_body(connection):
    stays, other = pair_of_objects(connection)
    sources = [sources_of(connection, stays)[-1], *sources_of(connection, other)]
    return apdb.reassign_to_ss_objects(connection, dict.fromkeys(sources, 77), **HOW)


def close(connection):
    return apdb.close_validity(connection, pair_of_objects(connection), time_mjd_tai=NOW)


CORRECTIONS = (merge, reassign, withdraw, withdraw_forced, reassign_to_a_body, close)


@pytest.mark.parametrize("correct", CORRECTIONS)
def test_a_correction_outlasts_a_further_run_of_any_visit(run, correct):
    connection = run()
    assert correct(connection) > 0
    expected = dump(connection)
    for member in (MEMBERS[5], MEMBERS[0], MEMBERS[2]):
        associate(connection, *member)
        assert dump(connection) == expected, member


@pytest.mark.parametrize(
    ("late", "correct"),
    [*((MEMBERS[1], one) for one in CORRECTIONS), (MEMBERS[3], merge), (MEMBERS[3], reassign)],
)
def test_a_correction_outlasts_a_late_visit(run, late, correct):
    clean = run()
    correct(clean)
    named = corrections_by_detection(clean)
    connection = run([member for member in MEMBERS if member != late])
    make_corrections(connection, named)
    associate(connection, *late)
    assert dump(connection) == dump(clean)


def corrections_by_detection(connection):
    """What has been corrected, objects by one of their detections."""
    rows = connection.execute(sa.select(apdb_correction).order_by("pk")).mappings().all()
    return [dict(row) for row in rows if not row["by_merge"]]


def object_now(connection, dia_source_id):
    """The object of what was the first detection of an object."""
    query = sa.select(dia_source.c.diaObjectId).where(dia_source.c.diaSourceId == dia_source_id)
    return connection.execute(query).scalar()


def make_corrections(connection, named):
    """Make corrections as they were made in another database, on the objects of the same detections."""
    for fact in named:
        kind, source, target = fact["kind"], fact["diaSourceId"], fact["target"]
        own = object_now(connection, fact["diaObjectId"])
        if kind == "merge":
            other = object_now(connection, target)
            assert own != other
            apdb.merge_objects(connection, {own: other}, **HOW)
        elif kind == "reassign":
            assigned = {source: object_now(connection, target)}
            apdb.reassign_to_dia_objects(connection, assigned, **HOW)
        elif kind == "withdraw":
            apdb.withdraw_sources(connection, [source], **HOW)
        elif kind == "withdraw_forced":
            key = (own, fact["visit"], fact["detector"])
            apdb.withdraw_forced_sources(connection, [key], **HOW)
        elif kind == "solar":
            apdb.reassign_to_ss_objects(connection, {source: target}, **HOW)
        else:
            apdb.close_validity(connection, [own], time_mjd_tai=NOW)
