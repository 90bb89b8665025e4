"""Versions of objects do not depend on the order in which visits are stored, nor on repeats."""

import itertools

import numpy as np
import pytest
import sqlalchemy as sa

from astra.database import apdb
from astra.database.apdb_sums import forget_sums
from astra.database.arrays import table_dtype, to_array
from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.database.models.apdb import (
    dia_forced_source,
    dia_object,
    dia_object_statistics,
    dia_object_sums,
    dia_source,
)
from astra.sky.dia_objects import make_dia_objects
from astra.sky.light_curve_plugins import PLUGINS, statistics
from astra.sky.light_curve_sums import Chain
from tests.database.apdb_visits import BASE, EPOCH, dump, make_visit, store, versions

# Visit, detector, objects detected and objects measured; visit 3 has two detectors that share object 1.
VISITS = (
    (1, 1, [0, 1, 2], [0, 1, 2]),
    (2, 1, [1, 3], [0, 1, 2, 3]),
    (3, 1, [1, 2, 4], [0, 1, 2, 4, 5]),
    (3, 2, [1, 5], [1, 5]),
    (4, 1, [], [0, 1, 2, 3, 4, 5]),
    (5, 1, [0, 1, 5], [0, 1, 2, 3, 4, 5]),
)


@pytest.fixture
def empty():
    engines = []

    def make():
        engine = open_engine("sqlite://")
        engines.append(engine)
        connection = engine.connect()
        metadata.create_all(connection)
        return connection

    yield make
    for engine in engines:
        engine.dispose()


def store_one(connection, visit, detector, detected, measured, **options):
    return store(connection, visit, detected, measured, detector=detector, **options)


@pytest.fixture
def clean(empty):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one)
    return dump(connection)


def test_a_version_starts_at_the_midpoint_and_ends_where_the_next_starts(empty):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one)
    assert versions(connection, 1) == [
        *((EPOCH + 1, EPOCH + 2, 1), (EPOCH + 2, EPOCH + 3, 2), (EPOCH + 3, EPOCH + 5, 4)),
        (EPOCH + 5, None, 5),
    ]
    assert versions(connection, 5) == [(EPOCH + 3, EPOCH + 5, 1), (EPOCH + 5, None, 2)]


@pytest.mark.parametrize("seed", range(12))
def test_the_order_of_the_visits_does_not_matter(empty, clean, seed):
    connection = empty()
    for position in np.random.default_rng(seed).permutation(len(VISITS)):
        store_one(connection, *VISITS[position], now=61000.0 + position)
    assert dump(connection) == clean


@pytest.mark.parametrize("again", range(len(VISITS)))
def test_a_visit_stored_again_leaves_the_same_tables(empty, clean, again):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one)
    store_one(connection, *VISITS[again], now=62000.0)
    assert dump(connection) == clean


@pytest.mark.parametrize("removed", range(len(VISITS)))
def test_a_visit_that_is_removed_leaves_the_tables_of_the_others(empty, removed):
    connection, others = empty(), empty()
    for number, one in enumerate(VISITS):
        store_one(connection, *one)
        if number != removed:
            store_one(others, *one)
    apdb.remove_visit(connection, "camera", *VISITS[removed][:2])
    found, expected = dump(connection), dump(others)
    # What was measured of an object at other visits goes with its last detection.
    present = {row.diaObjectId for row in expected["DiaObject"]}
    for name in ("DiaForcedSource", "DiaForcedSourceChunks"):
        expected[name] = [row for row in expected[name] if row.diaObjectId in present]
    assert found == expected


def test_every_version_is_what_all_measurements_up_to_it_make(empty):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one)
    rows = {
        table: to_array(connection.execute(sa.select(table)).all(), table_dtype(table))
        for table in (dia_source, dia_forced_source)
    }
    for version in connection.execute(sa.select(dia_object)).mappings():
        known = {
            table: found[
                (found["diaObjectId"] == version["diaObjectId"])
                & (found["midpointMjdTai"] <= version["validityStartMjdTai"])
            ]
            for table, found in rows.items()
        }
        [expected] = make_dia_objects(known[dia_source], known[dia_forced_source])
        for name in expected.dtype.names:
            narrow = isinstance(dia_object.c[name].type, sa.REAL)
            value = np.float32(expected[name]) if narrow else expected[name]
            assert version[name] == (None if np.isnan(value) else value), name


def test_sums_that_are_lost_change_nothing(empty, clean):
    connection = empty()
    for one in VISITS:
        forget_sums(connection, BASE + np.arange(0, 6, 2))
        store_one(connection, *one)
    assert dump(connection) == clean


def test_the_sums_are_those_of_the_newest_version(empty):
    connection = empty()
    for position in (5, 0, 3, 1, 2, 4):
        store_one(connection, *VISITS[position])
    newest = sa.select(dia_object.c.diaObjectId, dia_object.c.validityStartMjdTai)
    newest = newest.where(dia_object.c.validityEndMjdTai.is_(None)).order_by("diaObjectId")
    kept = sa.select(dia_object_sums.c.diaObjectId, dia_object_sums.c.validityStartMjdTai)
    assert connection.execute(kept.order_by("diaObjectId")).all() == connection.execute(newest).all()


def test_rows_whose_own_times_differ_from_the_midpoint_belong_to_their_visit(empty):
    connection, backwards = empty(), empty()
    made = []
    for visit, shift in ((1, 0.02), (2, -0.02), (3, 0.01)):
        marker, sources, forced = make_visit(visit, [0, 1], [0, 1], midpoint=EPOCH + visit * 1e-3)
        sources["midpointMjdTai"] += shift
        forced["midpointMjdTai"] += shift
        made.append((marker, sources, None, forced))
    for one in made:
        apdb.store_visit(connection, *one)
    for one in reversed(made):
        apdb.store_visit(backwards, *one)
    assert dump(backwards) == dump(connection)
    assert [count for _, _, count in versions(connection, 0)] == [1, 2, 3]


def test_both_databases_hold_the_same_rows(empty, postgresql_url):
    sqlite = empty()
    engine = open_engine(postgresql_url)
    with engine.begin() as postgresql:
        for position in (0, 2, 1, 4, 3, 5, 1):
            for connection in (sqlite, postgresql):
                store_one(connection, *VISITS[position])
        found, expected = dump(postgresql), dump(sqlite)
    engine.dispose()
    for name, rows in expected.items():
        assert len(rows) == len(found[name])
        for one, other in itertools.chain.from_iterable(
            zip(a, b, strict=True) for a, b in zip(rows, found[name], strict=True)
        ):
            assert one == other or (isinstance(one, float) and np.float32(one) == np.float32(other))


def test_objects_that_are_not_those_of_the_detections_are_refused(empty):
    marker, sources, forced = make_visit(1, [0, 1])
    objects = make_dia_objects(sources[:1])
    with pytest.raises(ValueError, match="1 objects are given"):
        apdb.store_visit(empty(), marker, sources, objects, forced)


def test_the_versions_of_a_visit_are_returned(empty):
    connection = empty()
    store_one(connection, *VISITS[0])
    written = store_one(connection, *VISITS[1])
    assert written["diaObjectId"].tolist() == [BASE + 1, BASE + 3]
    assert written["nDiaSources"].tolist() == [2, 1]
    assert np.isnan(written["validityEndMjdTai"]).all()


def test_further_statistics_are_those_of_the_detections_up_to_each_version(empty):
    plugins = [name for name in PLUGINS if "lombScargle" not in name]
    connection = empty()
    for position in (2, 0, 5, 1, 3, 4):
        store_one(connection, *VISITS[position], plugins=plugins)
    count = sa.select(sa.func.count())
    assert (
        connection.execute(count.select_from(dia_object_statistics)).scalar()
        == connection.execute(count.select_from(dia_object)).scalar()
    )
    rows = to_array(connection.execute(sa.select(dia_source)).all(), table_dtype(dia_source))
    for version in connection.execute(sa.select(dia_object_statistics)).mappings():
        chain = Chain(np.array([version["diaObjectId"]]), np.array([version["validityStartMjdTai"]]))
        for name, values in statistics(chain, rows, rows["midpointMjdTai"], plugins).items():
            assert version[name] == (None if np.isnan(values[0]) else values[0]), name


def test_further_statistics_go_with_their_version(empty):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one, plugins=["ap_madFlux"])
    for visit, detector, *_ in VISITS:
        apdb.remove_visit(connection, "camera", visit, detector, plugins=["ap_madFlux"])
    assert connection.execute(sa.select(dia_object_statistics)).all() == []


def test_a_statistic_that_is_not_there_is_refused(empty):
    with pytest.raises(ValueError, match="there is no statistic ap_unknown"):
        store_one(empty(), *VISITS[0], plugins=["ap_unknown"])


@pytest.mark.parametrize("are_kept", [True, False])
def test_objects_with_new_detections_are_the_versions_that_a_store_writes(empty, are_kept):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one)
    if not are_kept:
        forget_sums(connection, np.arange(BASE, BASE + 9))
    marker, sources, forced = make_visit(6, [0, 1, 4, 7], [])
    found = apdb.objects_with(connection, sources, marker.midpointMjdTai)
    written = apdb.store_visit(connection, marker, sources, None, forced)
    assert found["nDiaSources"].tolist() == written["nDiaSources"].tolist() == [3, 6, 2, 1]
    for name in ("diaObjectId", "ra", "dec", "firstDiaSourceMjdTai", "g_psfFluxNdata", "pixelId"):
        assert found[name].tolist() == written[name].tolist(), name


def test_later_detections_do_not_count_for_a_visit_that_comes_late(empty):
    connection = empty()
    for one in VISITS:
        store_one(connection, *one)
    _, sources, _ = make_visit(9, [0, 1], [], midpoint=EPOCH + 2.5)
    found = apdb.objects_with(connection, sources, EPOCH + 2.5)
    assert found["nDiaSources"].tolist() == [2, 3]
    assert found["lastDiaSourceMjdTai"].tolist() == [EPOCH + 2.5] * 2
