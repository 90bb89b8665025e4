import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.instruments.identifiers import PACKED_LIMIT, Identifiers, local_noon_utc_h, night_of

DAYS = st.dates(min_value=dt.date(2000, 1, 1), max_value=dt.date(2099, 12, 31))
FOUR = Identifiers(last_detector=3)
NUMBERED = Identifiers(last_detector=62, max_seq_num=None)


def night(date):
    return date.year * 10000 + date.month * 100 + date.day


@settings(deadline=None)
@given(DAYS, st.integers(0, 99999), st.integers(0, 3), st.booleans())
def test_packed_identifiers_give_back_what_was_packed(date, seq_num, detector, is_first):
    exposure = FOUR.exposure(night(date), seq_num)
    packed = FOUR.pack(int(f"9{exposure}") if is_first else exposure, detector)
    assert 0 <= packed < PACKED_LIMIT
    packed, found_detector = divmod(packed, 4)
    packed, found_first = divmod(packed, 2)
    days, found_number = divmod(packed, 100000)
    assert (found_detector, found_first, found_number) == (detector, is_first, seq_num)
    assert dt.date(2000, 1, 1) + dt.timedelta(days=days) == date


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 62))
def test_counted_exposures_are_packed_without_collision(visit, detector):
    packed = NUMBERED.pack(visit, detector)
    assert divmod(packed, 63) == (visit, detector)
    assert packed < PACKED_LIMIT


@pytest.mark.parametrize("visit", [1, 2026133200001, 1999123100001, -5, 20261120100001, 92026112000001234])
def test_what_is_no_visit_of_the_camera_is_refused(visit):
    with pytest.raises(ValueError, match=str(abs(visit))[:4]):
        FOUR.pack(visit, 0)


def test_what_does_not_fit_38_bits_is_refused():
    with pytest.raises(ValueError, match="do not fit 38 bits"):
        NUMBERED.pack(2**33, 62)
    with pytest.raises(ValueError, match="do not fit 38 bits"):
        Identifiers(last_detector=30).pack(2999010100001, 30)


@pytest.mark.parametrize(
    ("last", "number", "fits"), [(36, 99999, True), (40, 99999, False), (188, 9999, True)]
)
def test_whether_a_century_fits_is_known_beforehand(last, number, fits):
    assert Identifiers(last, number).reach_2100 is fits


def test_fewer_exposures_a_night_make_shorter_identifiers():
    assert Identifiers(0, 999).exposure(20261120, 7) == 20261120007
    with pytest.raises(ValueError, match="from 0 to 999"):
        Identifiers(0, 999).exposure(20261120, 1000)


@pytest.mark.parametrize("longitude", [-155.5, -121.6, -70.7, 0.0, 20.8, 149.1, 179.0, -179.0, 289.3])
def test_a_night_has_one_date_wherever_it_is(longitude):
    noon = local_noon_utc_h(longitude)
    # 18 h and 6 h local mean time round the night of 2026-11-20, as UTC.
    east = (longitude + 180) % 360 - 180
    midnight = dt.datetime(2026, 11, 21, tzinfo=dt.UTC) - dt.timedelta(hours=east / 15)
    for hours in (-6.0, 0.0, 6.0):
        moment = midnight + dt.timedelta(hours=hours)
        mjd = (moment - dt.datetime(1858, 11, 17, tzinfo=dt.UTC)) / dt.timedelta(days=1)
        assert night_of(mjd, noon) == 20261120
