import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import get_body_barycentric_posvel
from astropy.time import Time
from scipy.integrate import solve_ivp

from astra.errors import FormatError
from astra.sky.orbits import GAUSS, astrometric_positions, heliocentric_positions

PERIHELION = [(n, "f8") for n in ("q", "e", "inclination", "node", "argPeri", "tPeri")]
SHAPES = [0.0, 0.2, 0.9, 0.9999, 1.0, 1.0001, 1.5, 3.4]


def orbit(e, *, q=0.7, inclination=35.0, node=80.0, arg_peri=210.0, passage=60000.0):
    rows = np.zeros(1, [("ssObjectId", "i8"), *PERIHELION])
    for name, value in zip(
        ("q", "e", "inclination", "node", "argPeri", "tPeri"),
        (q, e, inclination, node, arg_peri, passage),
        strict=True,
    ):
        rows[name] = value
    return rows


def integrate(position, velocity, days):
    """The two-body problem by direct integration, to 1e-12."""

    def slope(_t, state):
        return np.concatenate([state[3:], -(GAUSS**2) * state[:3] / np.linalg.norm(state[:3]) ** 3])

    start = np.concatenate([position, velocity])
    return solve_ivp(slope, (0, days), start, method="DOP853", rtol=1e-13, atol=1e-15).y[:3, -1]


@pytest.mark.parametrize("e", SHAPES)
@pytest.mark.parametrize("days", [-400.0, 30.0, 900.0])
def test_positions_are_those_of_direct_integration(e, days):
    rows, step = orbit(e), 1e-3
    before, at, after = (heliocentric_positions(rows, 60000.0 + t)[0] for t in (-step, 0.0, step))
    speed = GAUSS * np.sqrt((1 + e) / 0.7)
    direction = (after - before) / np.linalg.norm(after - before)
    assert np.linalg.norm(at) == pytest.approx(0.7, rel=1e-14)
    expected = integrate(at, speed * direction, days)
    np.testing.assert_allclose(heliocentric_positions(rows, 60000.0 + days)[0], expected, atol=3e-9)


@pytest.mark.parametrize("days", [1.0, 5000.0])
def test_nearly_parabolic_orbits_are_continuous_in_eccentricity(days):
    places = [heliocentric_positions(orbit(e), 60000.0 + days)[0] for e in (1 - 1e-9, 1.0, 1 + 1e-9)]
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)
    np.testing.assert_allclose(places[2], places[1], atol=1e-6)


def test_a_circle_stays_a_circle_and_returns_after_its_period():
    rows, period = orbit(0.0, q=2.0), 2 * np.pi * 2.0**1.5 / GAUSS
    times = 60000.0 + np.linspace(0, 3 * period, 100)
    places = heliocentric_positions(np.repeat(rows, 100), times)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 2.0, rtol=1e-13)
    np.testing.assert_allclose(places[-1], places[0], atol=1e-9)


def test_mean_anomaly_and_time_of_perihelion_are_the_same_orbit():
    e, axis, anomaly, epoch = 0.3, 2.5, 50.0, 60100.0
    passage = epoch - np.radians(anomaly) * axis**1.5 / GAUSS
    one = orbit(e, q=axis * (1 - e), passage=passage)
    names = ("e", "inclination", "node", "argPeri", "a", "meanAnomaly", "epochMjdTdb")
    two = np.zeros(1, [("ssObjectId", "i8"), *[(n, "f8") for n in names]])
    for name in names[:4]:
        two[name] = one[name]
    two["a"], two["meanAnomaly"], two["epochMjdTdb"] = axis, anomaly, epoch
    np.testing.assert_allclose(
        heliocentric_positions(one, 60333.0), heliocentric_positions(two, 60333.0), atol=1e-11
    )


def elements(position, velocity, epoch):
    """Osculating elements of a state on the axes of the ICRS [AU, AU/d]."""
    angle = np.radians(84381.448 / 3600)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])
    r, v = turn @ position, turn @ velocity
    momentum = np.cross(r, v)
    apse = np.cross(v, momentum) / GAUSS**2 - r / np.linalg.norm(r)
    e = np.linalg.norm(apse)
    node = np.cross([0, 0, 1], momentum)
    axis = 1 / (2 / np.linalg.norm(r) - v @ v / GAUSS**2)
    peri = np.arctan2(np.cross(node, apse) @ momentum / np.linalg.norm(momentum), node @ apse)
    eccentric = np.arctan2(r @ v / (GAUSS * np.sqrt(axis)), 1 - np.linalg.norm(r) / axis)
    passage = epoch - (eccentric - e * np.sin(eccentric)) * axis**1.5 / GAUSS
    tilt = np.arccos(momentum[2] / np.linalg.norm(momentum))
    angles = np.degrees([tilt, np.arctan2(node[1], node[0]), peri])
    tilt, node, peri = angles
    q = axis * (1 - e)
    return orbit(e, q=q, inclination=tilt, node=node, arg_peri=peri, passage=passage)


@pytest.mark.parametrize(
    ("body", "days", "limit_arcsec"), [("mars", 0, 0.05), ("mars", 10, 1), ("mars", 30, 6)]
)
def test_a_planet_is_where_the_ephemeris_of_the_planets_puts_it(body, days, limit_arcsec):
    """With all perturbations there: the accuracy that the module states."""
    epoch = 60500.0

    def state(name, mjd):
        found = get_body_barycentric_posvel(name, Time(mjd, format="mjd", scale="tdb"), ephemeris="builtin")
        return found[0].xyz.to_value(u.AU), found[1].xyz.to_value(u.AU / u.day)

    sun, planet = state("sun", epoch), state(body, epoch)
    rows = elements(planet[0] - sun[0], planet[1] - sun[1], epoch)
    now = epoch + days
    earth, delay = state("earth", now)[0], 0.0
    for _ in range(5):
        line = state(body, now - delay)[0] - earth
        delay = np.linalg.norm(line) * (u.AU / (299792.458 * u.km / u.s)).to_value(u.day)
    ra, dec, distance = astrometric_positions(rows, now, earth - state("sun", now)[0])
    true = line / np.linalg.norm(line)
    seen = np.array(
        [
            np.cos(np.radians(dec)) * np.cos(np.radians(ra)),
            np.cos(np.radians(dec)) * np.sin(np.radians(ra)),
            np.sin(np.radians(dec)),
        ]
    )[:, 0]
    assert np.degrees(np.linalg.norm(true - seen)) * 3600 < limit_arcsec
    assert distance[0] == pytest.approx(np.linalg.norm(line), rel=1e-4)


def test_impossible_orbits_and_missing_columns_are_refused_by_name():
    with pytest.raises(FormatError, match="first that of ssObjectId 0"):
        heliocentric_positions(orbit(0.5, q=-1.0), 60000.0)
    with pytest.raises(FormatError, match="columns e, inclination"):
        heliocentric_positions(np.zeros(1, [("ssObjectId", "i8")]), 60000.0)
    names = [(n, "f8") for n in ("e", "inclination", "node", "argPeri")]
    with pytest.raises(FormatError, match="q and tPeri, or a"):
        heliocentric_positions(np.zeros(1, [("ssObjectId", "i8"), *names]), 60000.0)


def test_no_orbits_have_no_positions():
    assert heliocentric_positions(orbit(0.1)[:0], 60000.0).shape == (0, 3)
