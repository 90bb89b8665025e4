import datetime as dt

import pytest

from astra.database.calibrations import (
    calibrations_of_visits,
    calibrations_read,
    find_calibrations,
    write_calibration_row,
)
from astra.database.engine import reading, transaction
from astra.errors import DataError

MADE = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def write(url, path, *, kind="bias", begin=None, end=None, hour=0, **changes):
    row = {
        "instrument": "cam",
        "kind": kind,
        "detector": 3,
        "physical_filter": "",
        "begin_mjd_tai": begin,
        "end_mjd_tai": end,
        "path": path,
        "checksum": "0" * 64,
        "task_id": "CombineBias_1",
        "created": MADE + dt.timedelta(hours=hour),
        "statistics": {"level_A1": 1.5},
    }
    with transaction(url) as connection:
        write_calibration_row(connection, {**row, **changes})


def find(url, mjd=61000.0, *, detector=3, physical_filter="r", instrument="cam"):
    with reading(url) as connection:
        rows = find_calibrations(connection, instrument, detector, physical_filter, mjd)
    return {kind: row.path for kind, row in rows.items()}


def test_a_range_holds_from_its_beginning_to_before_its_end(any_database_url):
    write(any_database_url, "a", begin=60000.0, end=60010.0)
    assert find(any_database_url, 60000.0) == {"bias": "a"}
    assert find(any_database_url, 60009.99) == {"bias": "a"}
    assert find(any_database_url, 59999.99) == find(any_database_url, 60010.0) == {}
    write(any_database_url, "b", begin=60010.0)
    assert find(any_database_url, 60010.0) == find(any_database_url, 1e6) == {"bias": "b"}


def test_of_ranges_that_overlap_the_one_made_last_holds(any_database_url):
    write(any_database_url, "old", begin=60000.0, end=60100.0, hour=1)
    write(any_database_url, "new", begin=60050.0, end=60060.0, hour=2)
    write(any_database_url, "oldest", hour=0)
    assert [find(any_database_url, mjd)["bias"] for mjd in (59000.0, 60049.0, 60055.0, 60061.0)] == [
        "oldest",
        "old",
        "new",
        "old",
    ]


def test_a_file_that_is_made_again_counts_as_the_last(any_database_url):
    write(any_database_url, "first", hour=1)
    write(any_database_url, "second", hour=2)
    assert find(any_database_url) == {"bias": "second"}
    write(any_database_url, "first", hour=3, checksum="1" * 64)
    assert find(any_database_url) == {"bias": "first"}
    with reading(any_database_url) as connection:
        row = find_calibrations(connection, "cam", 3, "r", 0.0)["bias"]
    assert (row.checksum, row.statistics) == ("1" * 64, {"level_A1": 1.5})


def test_kinds_detectors_cameras_and_filters_are_told_apart(any_database_url):
    write(any_database_url, "bias")
    write(any_database_url, "flat r", kind="flat", physical_filter="r")
    write(any_database_url, "flat i", kind="flat", physical_filter="i", hour=1)
    write(any_database_url, "other detector", detector=4, hour=2)
    write(any_database_url, "other camera", instrument="dog", hour=2)
    assert find(any_database_url) == {"bias": "bias", "flat": "flat r"}
    assert find(any_database_url, physical_filter="i") == {"bias": "bias", "flat": "flat i"}
    assert find(any_database_url, physical_filter="z") == {"bias": "bias"}
    assert find(any_database_url, detector=4) == {"bias": "other detector"}


def test_one_of_the_filter_goes_before_one_for_all(any_database_url):
    write(any_database_url, "of r", kind="defects", physical_filter="r")
    write(any_database_url, "for all", kind="defects", hour=1)
    assert find(any_database_url) == {"defects": "of r"}
    assert find(any_database_url, physical_filter="i") == {"defects": "for all"}


def test_at_an_unknown_time_only_what_always_holds_is_found(any_database_url):
    write(any_database_url, "from a day on", begin=60000.0)
    assert find(any_database_url, None) == {}
    write(any_database_url, "always", kind="flat")
    assert find(any_database_url, None) == {"flat": "always"}


def test_a_range_that_ends_before_it_begins_is_refused(any_database_url):
    with pytest.raises(DataError, match=r"valid for some time, found from MJD 60010\.0 to 60010\.0"):
        write(any_database_url, "a", begin=60010.0, end=60010.0)


def test_nothing_known_is_nothing_found(any_database_url):
    with reading(any_database_url) as connection:
        assert find_calibrations(connection, "cam", 3, "r", 6e4) == {}
        assert calibrations_of_visits(connection, "cam", [(1, 3)]) == {}
        assert calibrations_read(connection, ["nobody"]) == {}
