"""Revision 0008 and back: survey rows stay, and what the older tables cannot hold is left out."""

import pytest
from alembic import command
from sqlalchemy import text

from astra.database.engine import get_engine
from astra.database.revision import _config, upgrade

EXPOSURE = {
    "instrument": "cam",
    "obs_id": "o",
    "day_obs": 20250101,
    "band": "r",
    "physical_filter": "cam-r",
    "begin_mjd_tai": 60676.1,
    "end_mjd_tai": 60676.2,
    "exposure_time_s": 30.0,
    "observation_type": "science",
    "target_name": "field",
    "science_program": "p",
    "group_name": "g",
}
NOT_OF_A_VISIT = {"obs_id", "observation_type", "group_name"}
VISIT = {name: value for name, value in EXPOSURE.items() if name not in NOT_OF_A_VISIT}
RAW = {"instrument": "cam", "size": 1, "modified_ns": 2, "checksum": "c", "region": b"r"}
KEY = {"instrument": "cam", "visit_system": 0}


def write(connection, table, **row):
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608


def rows(engine, query):
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def write_keyed_by_visit(connection, visit, exposure):
    write(connection, "visit_definition", **KEY, visit=visit, exposure=exposure)
    write(connection, "visit_detector_region", **KEY, visit=visit, detector=1, region=b"d")
    write(connection, "visit_system_membership", **KEY, visit=visit)


@pytest.fixture
def old(any_database_url):
    """An engine on a database of revision 0007 with one visit."""
    engine = get_engine(any_database_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0007")
        write(connection, "exposure", **EXPOSURE, exposure=2**40, seq_num=7)
        write(connection, "raw", **RAW, exposure=2**40, detector=1, path="a")
        write(connection, "visit_system", visit_system=0, name="one-to-one")
        write(connection, "visit", **VISIT, visit_system=0, visit=2**40, name="o", seq_num=7, region=b"v")
        write_keyed_by_visit(connection, 2**40, 2**40)
    return engine


def test_survey_rows_survive_the_way_up(old):
    upgrade(old)
    query = "SELECT exposure, begin_mjd_tai, seq_start, seq_end, observation_reason, azimuth FROM exposure"
    assert rows(old, query) == [(2**40, 60676.1, 7, 7, "", None)]
    assert rows(old, "SELECT count(*) FROM exposure WHERE can_see_sky") == [(1,)]
    assert rows(old, "SELECT * FROM raw_collection") == [("cam", 2**40, 1, "raw/all")]
    assert rows(old, "SELECT * FROM visit_system") == [("cam", 0, "one-to-one")]
    query = "SELECT visit, name, region, region_source, azimuth FROM visit"
    assert [(*row[:2], bytes(row[2]), *row[3:]) for row in rows(old, query)] == [(2**40, "o", b"v", "", None)]
    for table in ("visit_definition", "visit_detector_region", "visit_system_membership"):
        assert rows(old, f"SELECT instrument, visit_system, visit FROM {table}") == [("cam", 0, 2**40)]  # noqa: S608


def test_the_way_down_leaves_out_what_the_older_tables_cannot_hold(old):
    upgrade(old)
    with old.begin() as connection:
        timeless = {**EXPOSURE, "begin_mjd_tai": None, "end_mjd_tai": None}
        more = {"seq_start": 8, "seq_end": 9, "observation_reason": "x", "can_see_sky": True}
        write(connection, "exposure", **timeless, exposure=3, seq_num=8, **more)
        write(connection, "exposure", **EXPOSURE, exposure=4, seq_num=9, **more)
        for exposure, detector, region in ((3, 1, b"r"), (4, 1, b"r"), (4, 2, b"r"), (4, 3, None)):
            path = f"{exposure}.fits"
            key = {"exposure": exposure, "detector": detector}
            write(connection, "raw", **{**RAW, "region": region}, **key, path=path)
            write(connection, "raw_collection", instrument="cam", **key, collection="raw/all")
        write(connection, "visit_system", instrument="other", visit_system=0, name="one-to-one")
        mixed = {**VISIT, "band": None, "physical_filter": None, "target_name": None}
        more = {"observation_reason": "various", "region": b"v", "region_source": "raw-corners"}
        for visit, times in ((3, {"begin_mjd_tai": None, "end_mjd_tai": None}), (4, {})):
            row = {**mixed, **times, **more, "visit_system": 0, "visit": visit, "name": "n", "seq_num": 8}
            write(connection, "visit", **row)
            write_keyed_by_visit(connection, visit, visit)
    with old.begin() as connection:
        command.downgrade(_config(connection), "0007")
    assert rows(old, "SELECT exposure FROM exposure ORDER BY exposure") == [(4,), (2**40,)]
    assert rows(old, "SELECT exposure, detector, path FROM raw ORDER BY exposure") == [
        (4, 1, "4.fits"),
        (2**40, 1, "a"),
    ]
    assert rows(old, "SELECT * FROM visit_system") == [(0, "one-to-one")]
    assert rows(old, "SELECT visit, band, target_name, science_program FROM visit ORDER BY visit") == [
        (4, "", "", "p"),
        (2**40, "r", "field", "p"),
    ]
    for table in ("visit_definition", "visit_detector_region", "visit_system_membership"):
        assert rows(old, f"SELECT visit FROM {table} ORDER BY visit") == [(4,), (2**40,)]  # noqa: S608
    upgrade(old)
    assert len(rows(old, "SELECT * FROM visit")) == 2
