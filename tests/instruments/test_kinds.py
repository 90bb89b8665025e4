import datetime as dt
import math

import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.instruments.kinds import (
    ANGLE_UNITS,
    DURATION_UNITS,
    Angle,
    Flag,
    Integer,
    Moment,
    Night,
    Number,
    Reader,
    Text,
    Word,
    ZenithAngle,
)

PLAIN = Reader()
RA = Angle(low=0.0, high=360.0, units=ANGLE_UNITS, wraps=True)
DEC = Angle(low=-90.0, high=90.0, units=ANGLE_UNITS)
SECONDS = Number(low=0.0, high=86400.0, unit="s", units=DURATION_UNITS)
ZENITH = ZenithAngle(low=0.0, high=180.0, units=ANGLE_UNITS)


@pytest.mark.parametrize(
    ("kind", "raw", "reader", "value"),
    [
        (RA, "15:43:57.92", Reader(unit="hour"), (15 + 43 / 60 + 57.92 / 3600) * 15),
        (RA, "235 59 28.8", PLAIN, 235 + 59 / 60 + 28.8 / 3600),
        (RA, 10.5, PLAIN, 10.5),
        (RA, "10.5", Reader(unit="hour"), 157.5),
        (RA, 360, PLAIN, 0.0),
        (RA, math.pi, Reader(unit="rad"), 180.0),
        (DEC, "-00:15:50.8", PLAIN, -(15 / 60 + 50.8 / 3600)),
        (DEC, "-1:15:50.8", PLAIN, -(1 + 15 / 60 + 50.8 / 3600)),
        (DEC, "+02:30", PLAIN, 2.5),
        (DEC, -36000.0, Reader(unit="arcsec"), -10.0),
        (ZENITH, 60.0, Reader(factor=-1.0, add=90.0), 30.0),
        (ZENITH, 2.0, Reader(unit="airmass"), 60.0),
        (SECONDS, "53.9", PLAIN, 53.9),
        (SECONDS, 1500, Reader(unit="ms"), 1.5),
        (SECONDS, 2, Reader(unit="min"), 120.0),
        (Integer(), 7.0, PLAIN, 7),
        (Integer(), " 0042", PLAIN, 42),
        (Night(), 20181231, PLAIN, 20181231),
        (Night(), "2018-09-15T01:02:03", PLAIN, 20180915),
        (Flag(), "closed", PLAIN, False),
        (Flag(), True, PLAIN, True),
        (Word(words=("bias", "flat")), " BIAS ", PLAIN, "bias"),
        (Text(), " M 31 ", PLAIN, "M 31"),
        (Text(), 17, PLAIN, "17"),
    ],
)
def test_values_are_read_in_their_unit(kind, raw, reader, value):
    read = kind.read(raw, reader)
    assert read == (pytest.approx(value, abs=1e-11) if isinstance(value, float) else value)
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw", "reader", "expected"),
    [
        (RA, 361.0, PLAIN, r"from 0 to 360 \[deg\] or sexagesimal"),
        (RA, "25:00:00", Reader(unit="hour"), "from 0 to 360"),
        (DEC, "10:61:00", PLAIN, "from -90 to 90"),
        (DEC, "north", PLAIN, "from -90"),
        (DEC, float("nan"), PLAIN, "from -90"),
        (DEC, True, PLAIN, "from -90"),
        (ZENITH, 0.9, Reader(unit="airmass"), "an airmass from 1"),
        (SECONDS, -1.0, PLAIN, r"from 0 to 86400 \[s\]"),
        (SECONDS, 1j, PLAIN, "from 0"),
        (Number(low=0.0, unit="e-/adu", is_open=True), 0.0, PLAIN, r"above 0 \[e-/adu\]"),
        (Integer(), 1.5, PLAIN, "an integer from 0"),
        (Integer(), "x", PLAIN, "an integer"),
        (Integer(), 10**400, PLAIN, "an integer"),
        (Integer(), None, PLAIN, "an integer"),
        (Night(), 20181332, PLAIN, "a night as"),
        (Night(), "15/09/18", PLAIN, "a night as"),
        (Night(), 3.5, PLAIN, "a night as"),
        (Flag(), "maybe", PLAIN, "true or false"),
        (Word(words=("bias", "flat")), 3, PLAIN, "one of bias, flat"),
        (Text(), "a\x1b[2Jb", PLAIN, "printable"),
        (Text(longest=4), "abcde", PLAIN, "at most 4"),
        (Moment(), "2018-09-15", PLAIN, "a date with time of day"),
        (Moment(), "yesterday", PLAIN, "a date"),
        (Moment(), "2018-02-30T00:00:00", PLAIN, "a date"),
        (Moment(), 58376.2, PLAIN, "in the format iso"),
        (Moment(), 1e30, Reader(time_format="mjd"), "in the format mjd"),
        (Moment(), 5.0, Reader(time_format="mjd"), "of 1950 to 2179"),
    ],
)
def test_what_cannot_be_read_says_what_is_expected(kind, raw, reader, expected):
    with pytest.raises(ValueError, match=expected):
        kind.read(raw, reader)


def test_utc_is_37_seconds_behind_tai_and_tt_32_before():
    text = "2026-11-20T03:04:05.250"
    utc, tai, tt = (Moment().read(text, Reader(time_scale=scale)) for scale in ("utc", "tai", "tt"))
    assert (utc - tai) * 86400 == pytest.approx(37.0, abs=1e-5)
    assert (tt - tai) * 86400 == pytest.approx(-32.184, abs=1e-5)
    assert tai == Time(text, scale="tai").mjd


@settings(deadline=None)
@given(
    st.datetimes(min_value=dt.datetime(1972, 1, 2), max_value=dt.datetime(2026, 1, 1)),
    st.sampled_from(["utc", "tai", "tt"]),
)
def test_every_format_means_the_same_moment(moment, scale):
    time = Time(moment, scale=scale)
    expected = time.tai.mjd
    assert Moment().read(time.isot, Reader(time_scale=scale)) == pytest.approx(expected, abs=2e-8)
    for name, value in (("mjd", time.mjd), ("jd", time.jd)):
        read = Moment().read(value, Reader(time_format=name, time_scale=scale))
        assert read == pytest.approx(expected, abs=1e-9)
    seconds = moment.replace(tzinfo=dt.UTC).timestamp()
    unix = Moment().read(seconds, Reader(time_format="unix", time_scale="utc"))
    # On the day of a leap second Unix time is up to a second off by itself.
    assert unix == pytest.approx(Time(moment, scale="utc").tai.mjd, abs=1.2e-5)


@settings(deadline=None)
@given(st.floats(-90, 90))
def test_sexagesimal_text_gives_the_angle_back(angle):
    sign, size = "-" if angle < 0 else "+", abs(angle)
    minutes, microseconds = divmod(round(size * 3600e6), 60_000_000)
    text = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{microseconds / 1e6:09.6f}"
    assert DEC.read(text, PLAIN) == pytest.approx(angle, abs=1e-8)
