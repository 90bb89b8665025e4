"""Which visits may make a template, what is noted of one, and which cover a detector."""

import datetime as dt

import pytest
from sqlalchemy import insert

from astra.database.engine import reading, transaction
from astra.database.survey import (
    definition_table,
    exposure_table,
    raw_table,
    region_table,
    system_table,
    visit_table,
)
from astra.database.templates import (
    VisitRule,
    collections_of,
    divisions_of,
    exposures_to_define,
    find_candidates,
    inputs_of_template,
    templates_of_detector,
    templates_on_tiles,
    write_template_row,
)
from astra.sky.healpix import healpix_pixels
from astra.sky.regions import convex_hull, encode

MADE = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
ORDER, SCALE = 8, 0.4
EXPOSURE = {
    "instrument": "cam",
    "obs_id": "o",
    "day_obs": 20250101,
    "seq_num": 1,
    "seq_start": 1,
    "seq_end": 1,
    "physical_filter": "cam-r",
    "exposure_time_s": 30.0,
    "observation_type": "science",
    "observation_reason": "",
    "target_name": "",
    "science_program": "",
    "group_name": "",
    "can_see_sky": True,
}
NOT_OF_A_VISIT = {"obs_id", "observation_type", "group_name", "can_see_sky", "seq_start", "seq_end"}
VISIT = {name: value for name, value in EXPOSURE.items() if name not in NOT_OF_A_VISIT}


def box(ra, dec=0.0, width=0.2, height=0.1):
    return convex_hull([ra, ra + width, ra + width, ra], [dec, dec, dec + height, dec + height])


def write_exposure(connection, number, mjd, band="r", *, detectors=(0, 1), region=b"r"):
    """Write an exposure of 0.1 d with raws."""
    times = {"begin_mjd_tai": mjd, "end_mjd_tai": mjd + 0.1, "band": band}
    connection.execute(insert(exposure_table), [{**EXPOSURE, **times, "exposure": number}])
    raw = {"instrument": "cam", "exposure": number, "path": "a", "size": 1, "modified_ns": 2, "checksum": "c"}
    rows = [{**raw, "detector": detector, "region": region} for detector in detectors]
    if rows:
        connection.execute(insert(raw_table), rows)


def write_visit(connection, number, mjd, ra, *, band="r", system=0, **exposure):
    """Write a visit of one exposure, whose detectors 0 and 1 lie side by side in declination."""
    write_exposure(connection, number, mjd, band, **exposure)
    key = {"instrument": "cam", "visit_system": system, "visit": number}
    row = {**VISIT, **key, "begin_mjd_tai": mjd, "end_mjd_tai": mjd + 0.1, "band": band, "name": "n"}
    region = encode(box(ra, height=0.2))
    connection.execute(insert(visit_table), [{**row, "region": region, "region_source": "x"}])
    connection.execute(insert(definition_table), [{**key, "exposure": number}])
    regions = [{**key, "detector": n, "region": encode(box(ra, 0.1 * n, height=0.099))} for n in (0, 1)]
    connection.execute(insert(region_table), regions)


@pytest.fixture
def survey(any_database_url):
    """Six visits: of another time, in another band, elsewhere, without a raw, and two that fit."""
    with transaction(any_database_url) as connection:
        systems = [{"instrument": "cam", "visit_system": n, "name": f"s{n}"} for n in (0, 1)]
        connection.execute(insert(system_table), systems)
        write_visit(connection, 1, 60000.0, 10.0)
        write_visit(connection, 2, 60001.0, 10.0)
        write_visit(connection, 3, 60001.0, 10.1, detectors=(1,))
        write_visit(connection, 4, 60001.0, 10.0, band="g")
        write_visit(connection, 5, 60001.0, 11.0)
        write_visit(connection, 6, 60001.0, 10.0, detectors=())
        write_visit(connection, 7, 60001.0, 10.0, system=1)
    return any_database_url


def find(url, region=None, **rule):
    with reading(url) as connection:
        return find_candidates(connection, VisitRule("cam", "r", **rule), region or box(10.15, height=0.2))


def test_each_rule_is_counted_for_what_it_leaves_out(survey):
    found = find(survey, begin_mjd_tai=60000.5, end_mjd_tai=60002.0)
    assert found.pairs == [(2, 0), (2, 1), (3, 1)]
    assert found.visits == [2, 3]
    assert found.n_visits == 6
    assert found.dropped == {
        "lie outside the dates": 1,
        "are not in band r": 1,
        "look elsewhere": 1,
        "have no raws there": 1,
    }


def test_named_visits_are_the_only_ones(survey):
    found = find(survey, visits=(2, 4, 99))
    assert (found.pairs, found.n_visits) == ([(2, 0), (2, 1)], 3)
    assert found.dropped == {"are not defined": 1, "are not in band r": 1}


def test_the_middle_of_a_visit_is_dated_its_end_left_out(survey):
    assert find(survey, begin_mjd_tai=60000.05, end_mjd_tai=60000.06).visits == [1]
    assert find(survey, begin_mjd_tai=60000.06, end_mjd_tai=60000.07).visits == []
    assert find(survey, begin_mjd_tai=60000.0, end_mjd_tai=60000.05).visits == []


def test_detectors_that_look_beside_the_region_are_left_out(survey):
    assert find(survey, box(10.15, 0.11, height=0.02), visits=(2,)).pairs == [(2, 1)]
    assert find(survey, box(10.25, 0.0, height=0.2), visits=(2, 3)).pairs == [(3, 1)]


def test_systems_of_visits_are_told_apart(survey):
    assert find(survey, visit_system=1).visits == [7]
    assert find(survey, visits=(7,)).pairs == []


def test_exposures_without_a_visit_are_those_to_define(survey):
    with transaction(survey) as connection:
        write_exposure(connection, 20, 60001.0)
        write_exposure(connection, 21, 60001.0, region=None)
        write_exposure(connection, 22, 60005.0)
    with reading(survey) as connection:
        assert exposures_to_define(connection, "cam", 60000.5, 60002.0) == [7, 20]
        assert exposures_to_define(connection, "cam", None, None) == [7, 20, 22]
        assert exposures_to_define(connection, "dog", None, None) == []


def write(url, path, tile, *, inputs=(), hour=0, **changes):
    row = {
        "instrument": "cam",
        "collection": "",
        "band": "r",
        "tile_order": ORDER,
        "pixel_scale_arcsec": SCALE,
        "tile": tile,
        "path": path,
        "source": "",
        "task_id": "BuildTemplate_1",
        "n_inputs": len(inputs),
        "coverage": 0.5,
        "fwhm_arcsec": 1.0,
        "created": MADE + dt.timedelta(hours=hour),
    }
    with transaction(url) as connection:
        write_template_row(connection, {**row, **changes}, inputs)


def considered(visit, detector, *, used=True, reason=""):
    return {
        "visit": visit,
        "detector": detector,
        "used": used,
        "weight": 0.5 if used else None,
        "fwhm_arcsec": None,
        "reason": reason,
    }


def test_a_template_that_is_made_again_replaces_its_row_and_inputs(any_database_url):
    write(any_database_url, "a", 5, inputs=[considered(1, 0), considered(2, 0, used=False, reason="blurred")])
    write(any_database_url, "a", 5, inputs=[considered(2**40, 0)], hour=1)
    with reading(any_database_url) as connection:
        [row] = templates_on_tiles(connection, "cam", {(ORDER, SCALE): [5]}, band="r")
        inputs = inputs_of_template(connection, "a")
    assert (row.path, row.n_inputs) == ("a", 1)
    assert [(one.visit, one.used, one.weight) for one in inputs] == [(2**40, True, 0.5)]


def test_templates_are_found_by_tile_band_collection_and_division(any_database_url):
    write(any_database_url, "old", 5)
    write(any_database_url, "new", 5, hour=1)
    write(any_database_url, "other tile", 6)
    write(any_database_url, "other band", 5, band="g")
    write(any_database_url, "other camera", 5, instrument="dog")
    write(any_database_url, "coarse", 5, tile_order=7)
    write(any_database_url, "ingested", 5, collection="deep")

    def paths(tiles, **rule):
        with reading(any_database_url) as connection:
            return [row.path for row in templates_on_tiles(connection, "cam", tiles, **{"band": "r", **rule})]

    assert paths({(ORDER, SCALE): [5]}, collection="") == ["new", "old"]
    assert sorted(paths({(ORDER, SCALE): [5, 6]})) == ["ingested", "new", "old", "other tile"]
    assert paths({(ORDER, SCALE): [5]}, collection="deep") == ["ingested"]
    assert paths({(7, SCALE): [5], (ORDER, 0.2): [5]}) == ["coarse"]
    assert paths({}) == paths({(ORDER, SCALE): [9]}) == []
    with reading(any_database_url) as connection:
        assert divisions_of(connection, "cam", "r") == [(7, SCALE), (ORDER, SCALE)]
        assert divisions_of(connection, "cam", "r", "deep") == [(ORDER, SCALE)]
        assert collections_of(connection, "cam") == [("deep", "r")]


def test_the_templates_that_cover_a_detector_are_those_of_the_tiles_below_it(survey):
    [under, beside] = healpix_pixels([10.1, 20.0], [0.05, 0.05], ORDER).tolist()
    write(survey, "under", under)
    write(survey, "under, ingested", under, collection="deep", hour=1)
    write(survey, "beside", beside)
    write(survey, "of another band", under, band="g")
    with reading(survey) as connection:
        paths = [row.path for row in templates_of_detector(connection, "cam", 2, 0)]
        built = [row.path for row in templates_of_detector(connection, "cam", 2, 0, collection="")]
        of_g = [row.path for row in templates_of_detector(connection, "cam", 4, 0)]
        assert templates_of_detector(connection, "cam", 5, 0) == []
        assert templates_of_detector(connection, "cam", 99, 0) == []
    assert (paths, built, of_g) == (["under, ingested", "under"], ["under"], ["of another band"])
