import numpy as np
import pytest
import sqlalchemy as sa

from astra.database import apdb
from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_object, dia_source
from astra.errors import ConflictingDefinitionError, FormatError, MissingDataError
from astra.sky.dia_objects import make_dia_objects
from astra.sky.regions import convex_hull, htm_pixels, htm_ranges

TABLES = (dia_object, dia_source, dia_forced_source, apdb_marker)
BASE = 2**45


@pytest.fixture
def connection():
    engine = open_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


def make_visit(visit, object_ids, *, now, midpoint=None, detector=1, instrument="camera"):
    """Marker, detections, objects and forced measurements of a visit that saw some objects."""
    n = len(object_ids)
    midpoint = 60000.0 + visit if midpoint is None else midpoint
    required = ["diaSourceId", "diaObjectId", "visit", "detector", "midpointMjdTai", "ra", "dec", "x", "y"]
    required += ["psfNdata", "trailNdata", "dipoleNdata", "bboxSize", "timeProcessedMjdTai", "pixelId"]
    sources = np.zeros(n, apdb.table_dtype(dia_source, [*required, "band", *apdb.SOURCE_COLUMNS[10:]]))
    sources["diaObjectId"] = BASE + np.array(object_ids, dtype=np.int64)
    sources["diaSourceId"] = visit * 2**20 + sources["diaObjectId"]
    sources["ra"], sources["dec"] = 10 + np.array(object_ids, dtype=float) / 100, 5.0
    sources["pixelId"] = htm_pixels(sources["ra"], sources["dec"])
    sources["band"], sources["psfFlux"], sources["psfFluxErr"] = "r", 100.0 * visit, 5.0
    sources["visit"], sources["detector"] = visit, detector
    sources["midpointMjdTai"], sources["timeProcessedMjdTai"] = midpoint, now
    forced = np.zeros(n, apdb.table_dtype(dia_forced_source))
    for name in set(forced.dtype.names) & set(sources.dtype.names):
        forced[name] = sources[name]
    forced["diaForcedSourceId"], forced["timeWithdrawnMjdTai"] = sources["diaSourceId"], np.nan
    marker = apdb.Marker(instrument, visit, detector, "task", "r", midpoint, now, n_dia_sources=n)
    return marker, sources, forced


def store(connection, visit, object_ids, *, now, **options):
    marker, sources, forced = make_visit(visit, object_ids, now=now, **options)
    ids = sources["diaObjectId"]
    apdb.withdraw_visit(connection, marker.instrument, marker.visit, marker.detector)
    history = apdb.load_sources(connection, ids)
    new = np.zeros(len(sources), history.dtype)
    for name in set(history.dtype.names) & set(sources.dtype.names):
        new[name] = sources[name]
    objects = make_dia_objects(np.concatenate([history, new]))
    apdb.store_visit(connection, marker, sources, objects, forced)
    return marker, sources, objects, forced


def dump(connection):
    return {
        table.name: connection.execute(sa.select(table).order_by(*table.primary_key.columns)).all()
        for table in TABLES
    }


def versions(connection, object_id):
    names = ("validityStartMjdTai", "validityEndMjdTai", "nDiaSources")
    columns = [dia_object.c[name] for name in names]
    of_object = dia_object.c.diaObjectId == BASE + object_id
    return connection.execute(sa.select(*columns).where(of_object).order_by("validityStartMjdTai")).all()


def test_storing_closes_the_current_version_and_opens_a_new_one(connection):
    store(connection, 1, [0, 1], now=61001.0)
    store(connection, 2, [1, 2], now=61002.0)
    assert versions(connection, 0) == [(60001.0, None, 1)]
    assert versions(connection, 1) == [(60001.0, 60002.0, 1), (60002.0, None, 2)]
    assert versions(connection, 2) == [(60002.0, None, 1)]


def test_storing_the_same_twice_leaves_the_same_tables(connection):
    store(connection, 1, [0, 1], now=61001.0)
    marker, *arrays = store(connection, 2, [1, 2], now=61002.0)
    before = dump(connection)
    sources, objects, forced = arrays
    apdb.store_visit(connection, marker, sources, objects, forced)
    assert dump(connection) == before


def test_removing_gives_the_previous_version_back(connection):
    store(connection, 1, [0, 1], now=61001.0)
    before = dump(connection)
    store(connection, 2, [1, 2], now=61002.0)
    apdb.remove_visit(connection, "camera", 2, 1)
    assert dump(connection) == before


def test_removing_a_visit_below_others_remakes_their_versions(connection):
    store(connection, 1, [0, 1], now=61001.0)
    store(connection, 2, [1], now=61002.0)
    store(connection, 3, [1], now=61003.0)
    apdb.remove_visit(connection, "camera", 2, 1)
    assert versions(connection, 1) == [(60001.0, 60003.0, 1), (60003.0, None, 2)]
    apdb.remove_visit(connection, "camera", 1, 1)
    assert versions(connection, 1) == [(60003.0, None, 1)]
    assert versions(connection, 0) == []


def test_an_object_without_detections_goes_with_its_forced_measurements(connection):
    store(connection, 1, [0], now=61001.0)
    marker, sources, forced = make_visit(2, [0], now=61002.0)
    apdb.store_visit(
        connection, marker, sources[:0], make_dia_objects(apdb.load_sources(connection, [])), forced
    )
    apdb.remove_visit(connection, "camera", 1, 1)
    tables = dump(connection)
    assert tables["DiaObject"] == tables["DiaForcedSource"] == []
    assert len(tables["apdb_marker"]) == 1


def test_a_visit_that_wrote_nothing_can_be_removed(connection):
    store(connection, 1, [0], now=61001.0)
    before = dump(connection)
    apdb.remove_visit(connection, "camera", 7, 1)
    apdb.remove_visit(connection, "other", 1, 1)
    assert dump(connection) == before


def test_objects_are_loaded_by_region_and_only_the_current_ones(connection):
    store(connection, 1, [0, 1, 500], now=61001.0)
    store(connection, 2, [1], now=61002.0)
    region = convex_hull([9.9, 10.1, 10.1, 9.9], [4.9, 4.9, 5.1, 5.1])
    objects = apdb.load_dia_objects(connection, htm_ranges(region))
    assert objects["diaObjectId"].tolist() == [BASE, BASE + 1]
    assert objects["nDiaSources"].tolist() == [1, 2]
    assert np.isnan(objects["ra"]).sum() == 0
    assert apdb.load_dia_objects(connection, []).shape == (0,)


def test_many_objects_are_loaded_in_parts(connection):
    ids = list(range(1203))
    store(connection, 1, ids, now=61001.0)
    found = apdb.load_sources(connection, BASE + np.arange(1203))
    assert sorted(found["diaObjectId"]) == [BASE + number for number in ids]
    assert len(apdb.load_forced(connection, BASE + np.arange(1203))) == 1203


def test_a_missing_required_column_is_named_and_nothing_is_committed(connection):
    connection.commit()
    marker, sources, forced = make_visit(1, [0], now=61001.0)
    objects = make_dia_objects(apdb.load_sources(connection, []))
    with pytest.raises(FormatError, match=r"DiaSource need the columns .*psfNdata"):
        apdb.store_visit(connection, marker, sources[["diaSourceId", "visit", "ra", "dec"]], objects, forced)
    connection.rollback()
    assert not any(dump(connection).values())


def test_another_camera_may_not_use_the_same_visit_and_detector(connection):
    store(connection, 1, [0], now=61001.0)
    with pytest.raises(ConflictingDefinitionError, match="camera has the same numbers"):
        store(connection, 1, [1], now=61002.0, instrument="other")


def test_alert_rows_need_a_marker(connection):
    with pytest.raises(MissingDataError, match="visit 5 detector 1 has not been associated"):
        apdb.load_alert_rows(connection, "camera", 5, 1)


def test_alert_rows_show_the_object_as_the_visit_left_it(connection):
    store(connection, 1, [0], now=61001.0)
    store(connection, 2, [0], now=61002.0)
    _, rows = apdb.load_alert_rows(connection, "camera", 1, 1)
    assert (rows[0].dia_object["nDiaSources"], rows[0].prv_sources) == (1, [])
    _, rows = apdb.load_alert_rows(connection, "camera", 2, 1)
    assert rows[0].dia_object["nDiaSources"] == 2
    assert [row["visit"] for row in rows[0].prv_sources] == [1]
    assert [row["visit"] for row in rows[0].prv_forced] == [1]
