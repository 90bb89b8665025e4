"""Corrections: what they change, the records that tell it, and that nothing is ever deleted."""

import json

import numpy as np
import pytest
import sqlalchemy as sa

from astra.database import apdb
from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.database.models.apdb import (
    dia_forced_source,
    dia_object,
    dia_object_chunks,
    dia_source,
    update_record_chunks,
)
from astra.errors import MissingDataError
from astra.sky.dia_objects import make_dia_objects
from astra.sky.regions import convex_hull
from tests.database.apdb_visits import BASE, EPOCH, make_visit, store, versions

NOW = 61000.25
REGION = convex_hull([9.9, 10.1, 10.1, 9.9], [4.9, 4.9, 5.1, 5.1])


@pytest.fixture
def connection():
    engine = open_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        store(connection, 1, [0, 1], [0, 1])
        store(connection, 2, [0, 2], [0, 1, 2])
        store(connection, 3, [2], [0, 1, 2])
        yield connection
    engine.dispose()


def records(connection):
    """Payloads in order, without positions; those of one change have one id and count from 0."""
    rows = connection.execute(sa.select(update_record_chunks)).mappings().all()
    rows = sorted(
        rows, key=lambda row: (row["update_time_ns"], str(row["update_unique_id"]), row["update_order"])
    )
    assert [row["update_order"] for row in rows] == list(range(len(rows)))
    assert len({row["update_unique_id"] for row in rows}) <= 1
    payloads = [json.loads(row["update_payload"]) for row in rows]
    return [{k: v for k, v in one.items() if k not in {"ra", "dec", "midpointMjdTai"}} for one in payloads]


def ids_of(connection, number):
    """Detections of an object, oldest first."""
    query = sa.select(dia_source.c.diaSourceId).where(dia_source.c.diaObjectId == BASE + number)
    return connection.execute(query.order_by("midpointMjdTai")).scalars().all()


def counts(connection):
    tables = (dia_object, dia_source, dia_forced_source)
    return [connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() for table in tables]


def test_a_duplicate_gives_its_detections_away_and_is_closed(connection):
    before, moved = counts(connection), ids_of(connection, 2)
    n_records = apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW)
    assert counts(connection) == before
    assert set(moved) < set(ids_of(connection, 0))
    assert versions(connection, 0)[-1] == (EPOCH + 2, None, 4)
    assert versions(connection, 2)[-1] == (EPOCH + 3, NOW, 0)
    assert n_records == 4
    assert records(connection) == [
        *(
            {"update_type": "reassign_diasource_to_diaobject", "diaSourceId": one, "diaObjectId": BASE}
            for one in sorted(moved)
        ),
        {"update_type": "update_n_dia_sources", "diaObjectId": BASE, "nDiaSources": 4},
        {
            "update_type": "close_diaobject_validity",
            "diaObjectId": BASE + 2,
            "validityEndMjdTai": NOW,
            "nDiaSources": 0,
        },
    ]


def test_done_twice_it_does_nothing_the_second_time(connection):
    forced = [(BASE, 1, 1)]
    changes = (
        lambda: apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW),
        lambda: apdb.withdraw_sources(connection, ids_of(connection, 0)[:1], time_mjd_tai=NOW),
        lambda: apdb.withdraw_forced_sources(connection, forced, time_mjd_tai=NOW),
        lambda: apdb.close_validity(connection, [BASE + 1], time_mjd_tai=NOW),
    )
    assert all(change() > 0 for change in changes)
    assert [change() for change in changes] == [0, 0, 0, 0]


def test_the_next_version_counts_what_has_been_moved_and_not_what_is_withdrawn(connection):
    apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW)
    apdb.withdraw_sources(connection, ids_of(connection, 0)[:1], time_mjd_tai=NOW)
    apdb.withdraw_forced_sources(connection, [(BASE, 1, 1), (BASE, 2, 1)], time_mjd_tai=NOW)
    store(connection, 4, [0], [0], band="g")
    assert versions(connection, 0)[-1] == (EPOCH + 4, None, 4)
    current = sa.select(dia_object).where(
        dia_object.c.diaObjectId == BASE, dia_object.c.validityEndMjdTai.is_(None)
    )
    row = connection.execute(current).mappings().one()
    sources = apdb.load_sources(connection, [BASE])
    assert row["ra"] == pytest.approx(sources["ra"].mean(), abs=1e-10)
    assert len(sources) == 4
    assert sorted(apdb.load_forced(connection, [BASE])["visit"]) == [3, 4]


def current_row(connection, number):
    """The current version of an object but for its validity."""
    condition = dia_object.c.diaObjectId == BASE + number, dia_object.c.validityEndMjdTai.is_(None)
    row = dict(connection.execute(sa.select(dia_object).where(*condition)).mappings().one())
    assert row.pop("validityStartMjdTai") > 0
    return row


def made_of(connection, number):
    """The same, made of all that is stored of it up to its start; SQLite keeps REAL in double precision."""
    ids = [BASE + number]
    [start] = apdb.load_dia_objects(connection, REGION)["validityStartMjdTai"][
        apdb.load_dia_objects(connection, REGION)["diaObjectId"] == BASE + number
    ]
    forced = apdb.load_forced(connection, ids)
    [row] = make_dia_objects(apdb.load_sources(connection, ids), forced[forced["midpointMjdTai"] <= start])
    return {name: row[name].item() for name in row.dtype.names}


def assert_is_made_of_what_is_stored(connection, number):
    found, expected = current_row(connection, number), made_of(connection, number)
    assert len(expected) > 70
    for name, value in expected.items():
        stored = np.nan if found[name] is None else found[name]
        assert stored == pytest.approx(value, rel=1e-6, nan_ok=True), name
    assert found["pixelId"] == expected["pixelId"]


def test_a_correction_makes_the_current_version_again_at_once(connection):
    before = current_row(connection, 0)
    apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW)
    merged = current_row(connection, 0)
    assert_is_made_of_what_is_stored(connection, 0)
    assert (merged["nDiaSources"], merged["ra"] != before["ra"]) == (4, True)
    assert merged["lastDiaSourceMjdTai"] == EPOCH + 3  # later than the version's start
    apdb.withdraw_sources(connection, ids_of(connection, 0)[-1:], time_mjd_tai=NOW)
    assert_is_made_of_what_is_stored(connection, 0)
    assert current_row(connection, 0)["lastDiaSourceMjdTai"] == EPOCH + 2
    mean = current_row(connection, 0)["g_fpFluxMean"]
    apdb.withdraw_forced_sources(connection, [(BASE, 1, 1)], time_mjd_tai=NOW)
    assert_is_made_of_what_is_stored(connection, 0)
    assert current_row(connection, 0)["g_fpFluxMean"] != mean
    apdb.reassign_to_ss_objects(connection, {ids_of(connection, 0)[0]: 9}, time_mjd_tai=NOW)
    assert_is_made_of_what_is_stored(connection, 0)


def test_a_version_made_again_goes_into_the_chunk_of_the_correction(connection):
    apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW)
    chunk = connection.execute(sa.select(update_record_chunks.c.apdb_replica_chunk)).scalars().first()
    query = sa.select(dia_object_chunks.c.diaObjectId, dia_object_chunks.c.validityStartMjdTai)
    rows = connection.execute(query.where(dia_object_chunks.c.apdb_replica_chunk == chunk)).all()
    assert rows == [(BASE, EPOCH + 2)]
    assert connection.execute(sa.select(sa.func.count()).select_from(dia_object_chunks)).scalar() == 5


def test_versions_after_a_correction_go_on_from_it(connection):
    apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW)
    store(connection, 4, [0], [0])
    assert_is_made_of_what_is_stored(connection, 0)
    store(connection, 7, [0], [0], midpoint=EPOCH + 2.5)  # late: before the last detection that was moved
    assert_is_made_of_what_is_stored(connection, 0)
    assert versions(connection, 0)[-1] == (EPOCH + 4, None, 6)


def test_other_statistics_are_made_again_too(connection):
    store(connection, 4, [0], [0], plugins=("ap_percentileFlux",))
    table = metadata.tables["dia_object_statistics"]
    before = connection.execute(sa.select(table)).mappings().one()
    plugins = ("ap_percentileFlux",)
    apdb.withdraw_sources(connection, ids_of(connection, 0)[:1], time_mjd_tai=NOW, plugins=plugins)
    after = connection.execute(sa.select(table)).mappings().one()
    assert (after["diaObjectId"], after["validityStartMjdTai"]) == (BASE, EPOCH + 4)
    assert (before["g_psfFluxPercentile50"], after["g_psfFluxPercentile50"]) != (None, None)
    assert before["g_psfFluxPercentile50"] != after["g_psfFluxPercentile50"]


def test_withdrawn_detections_stay_and_count_no_more(connection):
    first, second = ids_of(connection, 0)
    assert apdb.withdraw_sources(connection, [first], time_mjd_tai=NOW) == 2
    assert records(connection)[0] == {
        "update_type": "withdraw_diasource",
        "diaSourceId": first,
        "timeWithdrawnMjdTai": NOW,
    }
    times = sa.select(dia_source.c.timeWithdrawnMjdTai).where(dia_source.c.diaSourceId == first)
    assert connection.execute(times).scalar() == NOW
    assert versions(connection, 0)[-1][2] == 1
    assert apdb.load_sources(connection, [BASE])["diaSourceId"].tolist() == [second]
    _, rows = apdb.load_alert_rows(connection, "camera", 2, 1)
    assert rows[0].prv_sources == []


def test_an_object_whose_last_detection_is_withdrawn_is_closed(connection):
    apdb.withdraw_sources(connection, ids_of(connection, 1), time_mjd_tai=NOW)
    assert versions(connection, 1) == [(EPOCH + 1, NOW, 0)]
    for time in (None, EPOCH + 2.5):
        assert BASE + 1 not in apdb.load_dia_objects(connection, REGION, time_mjd_tai=time)["diaObjectId"]


def test_withdrawn_forced_measurements_stay_and_say_when(connection):
    before = counts(connection)
    assert apdb.withdraw_forced_sources(connection, [(BASE, 3, 1)], time_mjd_tai=NOW) == 1
    assert counts(connection) == before
    key = {"diaObjectId": BASE, "visit": 3, "detector": 1}
    assert records(connection) == [
        {"update_type": "withdraw_diaforcedsource", **key, "timeWithdrawnMjdTai": NOW}
    ]
    assert sorted(apdb.load_forced(connection, [BASE])["visit"]) == [1, 2]


def test_detections_of_a_solar_system_object_leave_their_dia_object(connection):
    [only], ss_object = ids_of(connection, 1), 77
    apdb.reassign_to_ss_objects(connection, {only: ss_object}, time_mjd_tai=NOW)
    row = connection.execute(sa.select(dia_source).where(dia_source.c.diaSourceId == only)).mappings().one()
    assert (row["ssObjectId"], row["diaObjectId"], row["ssObjectReassocTimeMjdTai"]) == (ss_object, None, NOW)
    first, second = records(connection)
    assert first == {
        "update_type": "reassign_diasource_to_ssobject",
        "diaSourceId": only,
        "ssObjectId": ss_object,
        "ssObjectReassocTimeMjdTai": NOW,
    }
    assert (second["update_type"], second["nDiaSources"]) == ("close_diaobject_validity", 0)


def test_a_closed_object_keeps_its_count_and_says_so(connection):
    assert apdb.close_validity(connection, [BASE], time_mjd_tai=NOW) == 1
    assert versions(connection, 0)[-1] == (EPOCH + 2, NOW, 2)
    assert records(connection)[0]["nDiaSources"] is None


def test_a_correction_goes_into_the_chunk_of_its_time(connection):
    apdb.close_validity(connection, [BASE], time_mjd_tai=NOW)
    row = connection.execute(sa.select(update_record_chunks)).mappings().one()
    assert row["update_time_ns"] == int((NOW - 40587) * 86400 * 10**9)
    assert row["apdb_replica_chunk"] == row["update_time_ns"] // 10**9 // 600 * 600


def test_what_is_not_there_is_named_and_changes_nothing(connection):
    with pytest.raises(MissingDataError, match="1 detections are not in the APDB: 5"):
        apdb.withdraw_sources(connection, [*ids_of(connection, 0), 5], time_mjd_tai=NOW)
    with pytest.raises(MissingDataError, match="1 current objects are not in the APDB: 6"):
        apdb.merge_objects(connection, {BASE: 6}, time_mjd_tai=NOW)
    with pytest.raises(MissingDataError, match="1 forced measurements are not"):
        apdb.withdraw_forced_sources(connection, [(BASE, 99, 1)], time_mjd_tai=NOW)
    with pytest.raises(MissingDataError, match="1 objects are not"):
        apdb.close_validity(connection, [7], time_mjd_tai=NOW)
    with pytest.raises(ValueError, match="cannot both"):
        apdb.merge_objects(connection, {BASE: BASE + 1, BASE + 1: BASE + 2}, time_mjd_tai=NOW)
    assert records(connection) == []
    assert versions(connection, 0)[-1] == (EPOCH + 2, None, 2)


def test_duplicates_are_near_each_other_and_never_seen_by_one_visit(connection):
    for visit, numbers in ((5, [10, 20]), (6, [30, 40])):
        marker, sources, forced = make_visit(visit, numbers)
        sources["ra"] = 10.02 + np.array([0.0, 0.3]) / 3600 if visit == 5 else [10.02 + 0.1 / 3600, 10.04]
        sources["dec"] = 5.02
        apdb.store_visit(connection, marker, sources, None, forced)
    found = apdb.find_duplicate_objects(connection, REGION)
    assert found == {BASE + 30: BASE + 10}
    apdb.merge_objects(connection, found, time_mjd_tai=NOW)
    assert apdb.find_duplicate_objects(connection, REGION) == {}


def test_corrections_work_on_both_databases(any_database_url):
    engine = open_engine(any_database_url)
    with engine.begin() as connection:
        store(connection, 1, [0, 1], [0, 1])
        store(connection, 2, [0, 2], [0, 1, 2])
        assert apdb.merge_objects(connection, {BASE + 2: BASE}, time_mjd_tai=NOW) == 3
        assert apdb.withdraw_sources(connection, ids_of(connection, 0)[:1], time_mjd_tai=NOW) == 2
        assert apdb.withdraw_forced_sources(connection, [(BASE, 1, 1)], time_mjd_tai=NOW) == 1
        assert apdb.reassign_to_ss_objects(connection, {ids_of(connection, 1)[0]: 5}, time_mjd_tai=NOW) == 2
        store(connection, 3, [0], [0])
        assert versions(connection, 0)[-1][2] == 3
    engine.dispose()
