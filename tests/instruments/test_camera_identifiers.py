import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.instruments.identifiers import PACKED_LIMIT, Identifiers, local_noon_utc_h, night_of
from astra.sky.identifiers import unpack_rubin

DAYS = st.dates(min_value=dt.date(2000, 1, 1), max_value=dt.date(2099, 12, 31))
RUBIN_DAYS = st.dates(min_value=dt.date(2000, 1, 1), max_value=dt.date(2044, 11, 8))
FOUR = Identifiers(last_detector=3)
MANY = Identifiers(last_detector=3, max_seq_num=99999)
NUMBERED = Identifiers(last_detector=62, max_seq_num=None)


def night(date):
    return date.year * 10000 + date.month * 100 + date.day


@settings(deadline=None)
@given(DAYS, st.integers(0, 99999), st.integers(0, 3), st.booleans())
def test_packed_identifiers_give_back_what_was_packed(date, seq_num, detector, is_first):
    exposure = MANY.exposure(night(date), seq_num)
    packed = MANY.pack(int(f"9{exposure}") if is_first else exposure, detector)
    assert 0 <= packed < PACKED_LIMIT
    packed, found_detector = divmod(packed, 4)
    packed, found_first = divmod(packed, 2)
    days, found_number = divmod(packed, 100000)
    assert (found_detector, found_first, found_number) == (detector, is_first, seq_num)
    assert dt.date(2000, 1, 1) + dt.timedelta(days=days) == date


@settings(deadline=None)
@given(RUBIN_DAYS, st.integers(0, 32767), st.integers(0, 3), st.booleans())
def test_shots_that_are_counted_by_night_are_packed_as_rubin_does_it(date, seq_num, detector, is_first):
    exposure = FOUR.exposure(night(date), seq_num)
    packed = FOUR.pack(int(f"9{exposure}") if is_first else exposure, detector)
    assert 0 <= packed < 2**38
    later = date if date.year >= 2010 else date + dt.timedelta(days=16384)
    assert unpack_rubin(packed) == (night(later), seq_num, detector, is_first)


def test_a_packed_number_has_the_layout_that_rubin_documents():
    camera = Identifiers(last_detector=204)
    packed = camera.pack(camera.exposure(20260225, 123), 94)
    assert packed == 94 + 256 * (123 + 32768 * (dt.date(2026, 2, 25) - dt.date(2010, 1, 1)).days)


def test_a_night_that_rubin_cannot_name_is_refused():
    with pytest.raises(ValueError, match="night 2044-11-09 is after 2044-11-08"):
        FOUR.pack(FOUR.exposure(20441109, 1), 0)


def test_a_camera_with_bits_of_its_own_keeps_to_them():
    few = Identifiers(last_detector=0, max_seq_num=999, ccd_exposure_id_bits=26)
    assert not few.is_rubin
    assert few.is_lasting
    assert 0 < few.pack(20261120999, 0) < 2**26
    assert not Identifiers(last_detector=0, max_seq_num=999, ccd_exposure_id_bits=24).is_lasting


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
        Identifiers(last_detector=300).pack(2999010100001, 30)


@pytest.mark.parametrize(
    ("last", "number", "fits"),
    [(82, 99999, True), (84, 99999, False), (188, 9999, True), (256, 32767, False)],
)
def test_whether_decades_fit_is_known_beforehand(last, number, fits):
    assert Identifiers(last, number).is_lasting is fits


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
