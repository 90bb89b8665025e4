"""What a visit says that is made of exposures, and when two of them say the same."""

import pytest

from astra.sky.visits import TIME_TOLERANCE_DAY, different_columns, visit_columns
from tests.sky.mosaic import snap, snaps


def test_a_visit_of_one_exposure_says_what_the_exposure_says():
    exposure = snap(347, azimuth=359.123456789, observation_reason="test")
    columns = visit_columns([exposure])
    assert all(getattr(exposure, name) == value for name, value in columns.items())


def test_a_visit_spans_its_exposures():
    _, first, second = snaps()
    columns = visit_columns([first, second])
    assert columns["begin_mjd_tai"] == first.begin_mjd_tai
    assert columns["end_mjd_tai"] == second.end_mjd_tai
    assert columns["exposure_time_s"] == 60.0
    assert (columns["day_obs"], columns["seq_num"]) == (20220405, 348)


@pytest.mark.parametrize("name", ["band", "physical_filter", "target_name", "science_program"])
def test_what_exposures_do_not_agree_on_is_null(name):
    assert visit_columns([snap(1), snap(2, **{name: "other"})])[name] is None
    assert visit_columns([snap(1), snap(2)])[name] == getattr(snap(1), name)


def test_different_reasons_are_various():
    assert visit_columns([snap(1), snap(2, observation_reason="x")])["observation_reason"] == "various"
    assert visit_columns([snap(1), snap(2)])["observation_reason"] == "science"


@pytest.mark.parametrize("name", ["begin_mjd_tai", "end_mjd_tai"])
def test_a_visit_has_no_time_if_one_exposure_has_none(name):
    columns = visit_columns([snap(1), snap(2, **{name: None})])
    assert columns["begin_mjd_tai"] is None
    assert columns["end_mjd_tai"] is None


def test_azimuths_are_averaged_round_the_circle():
    assert visit_columns([snap(1, azimuth=350.0), snap(2, azimuth=20.0)])["azimuth"] == pytest.approx(5.0)
    assert visit_columns([snap(1, azimuth=340.0), snap(2, azimuth=350.0)])["azimuth"] == pytest.approx(345.0)
    around = visit_columns([snap(1, azimuth=359.0), snap(2, azimuth=1.0)])["azimuth"]
    assert 0.0 <= around < 360.0
    assert min(around, 360.0 - around) < 1e-9


def test_angles_that_one_exposure_lacks_are_null():
    columns = visit_columns([snap(1), snap(2, azimuth=None, zenith_angle=None)])
    assert columns["azimuth"] is None
    assert columns["zenith_angle"] is None
    assert visit_columns([snap(1), snap(2, zenith_angle=40.0)])["zenith_angle"] == pytest.approx(30.0)


def test_times_may_differ_by_a_little_and_nothing_else_may():
    known = visit_columns(snaps()[:1])
    near = {**known, "begin_mjd_tai": known["begin_mjd_tai"] + 0.5 * TIME_TOLERANCE_DAY}
    far = {**known, "begin_mjd_tai": known["begin_mjd_tai"] + 2.0 * TIME_TOLERANCE_DAY}
    assert different_columns(near, known) == []
    assert different_columns(far, known) == ["begin_mjd_tai"]
    assert different_columns({**known, "zenith_angle": 20.0 + 1e-12}, known) == ["zenith_angle"]
    assert different_columns({**known, "end_mjd_tai": None}, known) == ["end_mjd_tai"]
    assert different_columns({**known, "end_mjd_tai": None}, {**known, "end_mjd_tai": None}) == []
