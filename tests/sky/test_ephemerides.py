import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation, get_body_barycentric
from astropy.time import Time
from astropy.utils import iers

from astra.errors import FormatError
from astra.sky.ephemerides import expected_from_orbits, expected_from_table, observer_position
from tests.sky.test_orbits import orbit

PACHON = (-70.749417, -30.244639, 2663.0)
MJD = 60500.25


def test_the_centre_of_the_earth_is_an_astronomical_unit_from_the_sun():
    time = Time(MJD, format="mjd", scale="tai")
    expected = [
        get_body_barycentric(n, time, ephemeris="builtin").xyz.to_value(u.AU) for n in ("earth", "sun")
    ]
    np.testing.assert_allclose(observer_position(MJD), expected[0] - expected[1], atol=1e-14)
    assert np.linalg.norm(observer_position(MJD)) == pytest.approx(1.0, abs=0.02)


def test_an_observatory_is_where_astropy_puts_it_but_for_ut1():
    time = Time(MJD, format="mjd", scale="tai")
    place = EarthLocation.from_geodetic(PACHON[0] * u.deg, PACHON[1] * u.deg, PACHON[2] * u.m)
    with iers.conf.set_temp("auto_download", False):
        expected = place.get_gcrs_posvel(time)[0].xyz.to_value(u.km)
    found = (observer_position(MJD, PACHON) - observer_position(MJD)) * 149597870.7
    np.testing.assert_allclose(found, expected, atol=0.5)  # [km] the Earth turns by that in a second


def test_parallax_moves_a_body_by_the_angle_of_the_earths_radius():
    centre, place = (
        expected_from_orbits(orbit(0.1, q=2.2), MJD),
        expected_from_orbits(orbit(0.1, q=2.2), MJD, PACHON),
    )
    shift = np.hypot(
        (place["ra"] - centre["ra"]) * np.cos(np.radians(centre["dec"])), place["dec"] - centre["dec"]
    )
    assert 0 < shift[0] * 3600 <= 8.8 / centre["distance"][0]


def test_errors_of_positions_come_along():
    rows = np.zeros(1, [*orbit(0.1).dtype.descr, ("positionErr", "f4")])
    for name in orbit(0.1).dtype.names:
        rows[name] = orbit(0.1)[name]
    rows["positionErr"] = 0.36
    assert expected_from_orbits(rows, MJD)["raErr"][0] == pytest.approx(1e-4)
    assert np.isnan(expected_from_orbits(orbit(0.1), MJD)["raErr"][0])


def hourly(bodies, hours):
    """Positions of orbits at some hours from MJD."""
    parts = []
    for hour in hours:
        found = expected_from_orbits(bodies, MJD + hour / 24)
        part = np.zeros(len(bodies), [("ssObjectId", "i8"), ("mjdTai", "f8"), ("ra", "f8"), ("dec", "f8")])
        part["mjdTai"] = MJD + hour / 24
        for name in ("ssObjectId", "ra", "dec"):
            part[name] = found[name]
        parts.append(part)
    return np.concatenate(parts)


@pytest.mark.parametrize("node", [0.0, 80.0, 200.0])
def test_a_table_is_interpolated_to_a_milliarcsecond(node):
    bodies = orbit(0.3, q=1.2, node=node)
    table = np.random.default_rng(1).permutation(hourly(bodies, [-5, -3, -1, 1, 3, 5]))
    found, expected = expected_from_table(table, 7, MJD), expected_from_orbits(bodies, MJD)
    for name in ("ra", "dec"):
        assert found[name][0] == pytest.approx(expected[name][0], abs=3e-7)


def test_rows_at_the_very_time_are_taken_and_times_beyond_the_table_are_not():
    table = hourly(orbit(0.3), [0, 4, 8])
    assert expected_from_table(table, 7, MJD)["ra"].tolist() == table["ra"][:1].tolist()
    assert len(expected_from_table(table, 7, MJD - 0.01)) == 0
    assert len(expected_from_table(table, 7, MJD + 1.0)) == 0


def test_rows_of_the_visit_are_taken_as_they_are():
    table = np.zeros(3, [("ssObjectId", "i8"), ("visit", "i8"), ("ra", "f8"), ("dec", "f8"), ("raErr", "f4")])
    table["ssObjectId"], table["visit"], table["ra"] = [1, 2, 3], [5, 7, 7], [10.0, 20.0, 30.0]
    found = expected_from_table(table, 7, MJD)
    assert found["ssObjectId"].tolist() == [2, 3]
    assert found["ra"].tolist() == [20.0, 30.0]


def test_a_table_without_times_is_refused_by_name():
    with pytest.raises(FormatError, match="columns dec, mjdTai"):
        expected_from_table(np.zeros(1, [("ssObjectId", "i8"), ("ra", "f8")]), 7, MJD)
