"""Ingesting raws: several detectors in a file, packed files, second runs, and files that lie."""

import gzip
import json
import logging
import os
import shutil

import pytest

from astra.tasks.exposures import IngestRaws
from tests.sky.mosaic import snap
from tests.tasks.mosaic_camera import cameras, write_raw  # noqa: F401  # a fixture
from tests.tasks.night import build, rows

pytestmark = pytest.mark.usefixtures("cameras")
TABLES = ("exposure", "raw", "raw_collection", "data_product")


def ingest(*paths, **parameters):
    """Run the task on paths, one member for each."""
    path = str(paths[0]) if len(paths) == 1 else tuple(map(str, paths))
    return build(IngestRaws(instrument="mosaic", path=path, **parameters))


def tables(root):
    """All rows of the tables that ingest writes."""
    return {table: sorted(map(repr, rows(root, f"SELECT * FROM {table}"))) for table in TABLES}  # noqa: S608


def figures(root):
    """Figures of the last ingest."""
    query = "SELECT key, value FROM task_metadata WHERE key LIKE 'IngestRaws:ingest.%'"
    return {
        key.rpartition(".")[2]: json.loads(value) if isinstance(value, str) else value
        for key, value in rows(root, query)
    }


def last_error(root):
    [(name, message)] = rows(
        root,
        "SELECT error_class, message FROM task_attempt WHERE message IS NOT NULL ORDER BY pk DESC LIMIT 1",
    )
    return name, message


@pytest.fixture
def raws(tmp_path):
    """Folder of raws, apart from the root."""
    return tmp_path / "raws"


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_a_file_of_several_detectors_becomes_one_exposure_and_its_raws(astra_root, raws, name):
    record = snap(348, 348, 349, azimuth=12.25)
    path = write_raw(raws / name, record)
    assert ingest(path)
    columns = (
        "exposure, obs_id, day_obs, seq_num, seq_start, seq_end, group_name, band, physical_filter, "
        "begin_mjd_tai, end_mjd_tai, exposure_time_s, target_name, science_program, observation_reason, "
        "tracking_ra, tracking_dec, sky_angle, azimuth, zenith_angle, can_see_sky"
    )
    [row] = rows(astra_root, f"SELECT {columns} FROM exposure")  # noqa: S608
    assert row == tuple(getattr(record, column) for column in columns.split(", "))
    found = rows(
        astra_root, "SELECT exposure, detector, path, size, length(checksum) FROM raw ORDER BY detector"
    )
    assert found == [
        (record.exposure, detector, str(path), path.stat().st_size, 64) for detector in (0, 1, 7)
    ]
    assert figures(astra_root) == {"nFiles": 1, "nRaws": 3, "nWritten": 3, "nRefused": 0, "refused": []}


def test_a_second_run_writes_nothing(astra_root, raws):
    for number in (1, 2):
        write_raw(raws / f"{number}.fits", snap(number))
    assert ingest(raws)
    before = tables(astra_root)
    assert ingest(raws, rerun=True)
    assert tables(astra_root) == before
    assert figures(astra_root)["nWritten"] == 0
    attempts = rows(astra_root, "SELECT count(*) FROM task_attempt")
    assert ingest(raws)
    assert rows(astra_root, "SELECT count(*) FROM task_attempt") == attempts


def test_files_that_lie_are_refused_by_name_and_the_rest_goes_in(astra_root, raws, caplog):
    for number in (1, 2, 3):
        write_raw(raws / f"good{number}.fits", snap(number))
    write_raw(raws / "other_camera.fits", snap(4), instrument="elsewhere")
    write_raw(raws / "cut.fits", snap(5))
    os.truncate(raws / "cut.fits", (raws / "cut.fits").stat().st_size - 2880)
    write_raw(raws / "cut.fits.gz", snap(6))
    os.truncate(raws / "cut.fits.gz", (raws / "cut.fits.gz").stat().st_size - 100)
    write_raw(raws / "cut.fits.fz", snap(7))
    os.truncate(raws / "cut.fits.fz", (raws / "cut.fits.fz").stat().st_size - 2880)
    (raws / "junk.fits").write_bytes(b"nothing of the kind" * 1000)
    write_raw(raws / "lacks_a_key.fits", snap(8), obs_id=None)
    write_raw(raws / "same_id.fits", snap(3), seed=5)
    write_raw(raws / "split.fits", snap(9), own=[(7, "OBJECT", "elsewhere")])
    write_raw(raws / "twice.fits", snap(10), detectors=(0, 1, 0))
    with caplog.at_level(logging.ERROR, logger="luigi-interface"):
        assert not ingest(raws)
    wrong = [
        "cut.fits",
        "cut.fits.fz",
        "cut.fits.gz",
        "junk.fits",
        "lacks_a_key.fits",
        "other_camera.fits",
        "same_id.fits",
        "split.fits",
        "twice.fits",
    ]
    name, message = last_error(astra_root)
    assert name == "DataError"
    assert message.startswith(f"9 of 12 raw files below {raws} are refused, the others are ingested: ")
    assert all(file in message for file in wrong)
    refused = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("refused: ")
    ]
    assert len(refused) == 9
    assert figures(astra_root)["refused"] == [str(raws / file) for file in wrong]
    assert all(any(f"/{file}" in text for text in refused) for file in wrong)
    assert rows(astra_root, "SELECT seq_num FROM exposure ORDER BY seq_num") == [(1,), (2,), (3,)]
    assert rows(astra_root, "SELECT count(*) FROM raw") == [(9,)]
    assert rows(astra_root, "SELECT count(*) FROM data_product WHERE kind = 'raw'") == [(3,)]


def test_one_file_alone_says_itself_what_is_wrong(astra_root, raws):
    path = write_raw(raws / "a.fits", snap(1))
    os.truncate(path, path.stat().st_size - 4000)
    assert not ingest(path)
    name, message = last_error(astra_root)
    assert name == "FormatError"
    assert f"{path} is cut off in HDU 3" in message


def test_of_detectors_that_contradict_each_other_most_are_believed(astra_root, raws):
    write_raw(raws / "a.fits", snap(1), [0], target_name="elsewhere")
    for detector in (1, 7):
        write_raw(raws / f"b{detector}.fits", snap(1), [detector])
    assert not ingest(raws)
    assert rows(astra_root, "SELECT target_name FROM exposure") == [("field",)]
    assert rows(astra_root, "SELECT detector FROM raw ORDER BY detector") == [(1,), (7,)]
    message = last_error(astra_root)[1]
    assert (
        "target_name of exposure 2022040500001 of mosaic is 'elsewhere', but for other detectors" in message
    )


def test_a_detector_that_comes_later_must_agree_with_those_that_are_there(astra_root, raws):
    first = write_raw(raws / "a.fits", snap(1), [0])
    assert ingest(first)
    second = write_raw(raws / "b.fits", snap(1), [1], exposure_time_s=31.0)
    assert not ingest(second)
    assert rows(astra_root, "SELECT exposure_time_s FROM exposure") == [(30.0,)]
    assert rows(astra_root, "SELECT detector FROM raw") == [(0,)]
    # A header that is silent, and a time that differs by less than it is good to, contradict nothing.
    begin = snap(1).begin_mjd_tai + 1e-10
    write_raw(second, snap(1), [1], target_name="", azimuth=None, begin_mjd_tai=begin)
    assert ingest(second)
    assert rows(astra_root, "SELECT target_name, azimuth FROM exposure") == [("field", 350.0)]
    assert rows(astra_root, "SELECT begin_mjd_tai FROM exposure") == [(snap(1).begin_mjd_tai,)]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_headers_that_were_all_put_right_replace_what_was_there(astra_root, raws, one_by_one):
    paths = [raws / f"{detector}.fits" for detector in (0, 1)]
    for detector, path in enumerate(paths):
        write_raw(path, snap(1), [detector])
    task = paths if one_by_one else [raws]
    assert ingest(*task)
    for detector, path in enumerate(paths):
        write_raw(path, snap(1), [detector], target_name="right name")
    assert ingest(*task)
    assert rows(astra_root, "SELECT target_name FROM exposure") == [("right name",)]


def test_a_copy_is_known_by_its_content_and_the_first_place_stays(astra_root, raws):
    path = write_raw(raws / "b.fits", snap(1))
    assert ingest(path)
    copy = raws / "a.fits"
    shutil.copy(path, copy)
    assert ingest(raws)
    before = tables(astra_root)
    assert rows(astra_root, "SELECT DISTINCT path FROM raw") == [(str(path),)]
    assert ingest(raws, rerun=True)
    assert tables(astra_root) == before
    path.unlink()
    assert ingest(raws, rerun=True)
    assert rows(astra_root, "SELECT DISTINCT path FROM raw") == [(str(copy),)]


def test_a_file_that_is_packed_in_its_place_replaces_the_plain_one(astra_root, raws):
    path = write_raw(raws / "a.fits", snap(1))
    assert ingest(raws)
    packed = raws / "a.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert not ingest(raws)
    assert "remove one of the two" in last_error(astra_root)[1]
    path.unlink()
    assert ingest(raws)
    assert rows(astra_root, "SELECT DISTINCT path FROM raw") == [(str(packed),)]


def test_what_a_file_no_longer_holds_is_removed(astra_root, raws):
    path = write_raw(raws / "a.fits", snap(1))
    assert ingest(path)
    write_raw(path, snap(2), [0, 1])
    assert ingest(path)
    assert rows(astra_root, "SELECT exposure, detector FROM raw ORDER BY detector") == [
        (snap(2).exposure, 0),
        (snap(2).exposure, 1),
    ]
    assert rows(astra_root, "SELECT count(*) FROM raw_collection") == [(2,)]


def test_an_exposure_without_sky_or_times_is_kept_as_that(astra_root, raws):
    write_raw(raws / "a.fits", snap(1), can_see_sky=False, tracking_ra=None, begin_mjd_tai=None)
    assert ingest(raws)
    query = "SELECT can_see_sky, tracking_ra, begin_mjd_tai, seq_start FROM exposure"
    assert rows(astra_root, query) == [(0, None, None, 1)]
    assert rows(astra_root, "SELECT DISTINCT region FROM raw") == [(None,)]


def test_an_exposure_that_ends_before_it_begins_ends_then(astra_root, raws, caplog):
    begin = snap(1).begin_mjd_tai
    write_raw(raws / "a.fits", snap(1), end_mjd_tai=begin - 0.5)
    with caplog.at_level(logging.WARNING, logger="luigi-interface"):
        assert ingest(raws)
    assert rows(astra_root, "SELECT begin_mjd_tai, end_mjd_tai FROM exposure") == [(begin, begin)]
    assert "before it begins" in caplog.text


def test_a_raw_may_belong_to_several_collections(astra_root, raws):
    path = write_raw(raws / "a.fits", snap(1), [0])
    assert ingest(path)
    assert ingest(path, collection="night/1")
    assert rows(astra_root, "SELECT collection FROM raw_collection ORDER BY collection") == [
        ("night/1",),
        ("raw/all",),
    ]
    assert rows(astra_root, "SELECT count(*) FROM raw") == [(1,)]
