import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from astra.sky.ephemerides import EXPECTED_DTYPE
from astra.sky.ss_sources import make_ss_sources

OBSERVER = np.array([0.6, -0.7, -0.3])


def detections(*rows):
    table = np.zeros(len(rows), [("diaSourceId", "i8"), ("ssObjectId", "i8"), ("ra", "f8"), ("dec", "f8")])
    for number, row in enumerate(rows):
        table[number] = row
    return table


def expect(*rows):
    table = np.zeros(len(rows), EXPECTED_DTYPE)
    for number, (body, ra, dec, distance) in enumerate(rows):
        table[number] = (body, ra, dec, np.nan, np.nan, distance)
    return table


def test_directions_are_those_of_astropy():
    table = detections((2**62, 2**50, 10.0, 20.0), (2**62 + 1, 7, 359.9, -70.0))
    rows = make_ss_sources(table, None, OBSERVER)
    sky = SkyCoord(table["ra"] * u.deg, table["dec"] * u.deg)
    np.testing.assert_allclose(rows["galLon"], sky.galactic.l.deg)
    np.testing.assert_allclose(rows["eclBeta"], sky.barycentricmeanecliptic.lat.deg)
    assert rows["diaSourceId"].tolist() == [2**62, 2**62 + 1]
    assert np.isnan(rows["ephRa"]).all()
    sun = SkyCoord(*(-OBSERVER), representation_type="cartesian").represent_as("unitspherical")
    toward = SkyCoord(sun.lon, sun.lat)
    np.testing.assert_allclose(rows["elongation"], sky.separation(toward).deg, rtol=1e-5)


def test_the_triangle_of_sun_body_and_observer_closes():
    table = detections((1, 5, 40.0, 15.0))
    [row] = make_ss_sources(table, expect((5, 40.0, 15.0, 1.8)), OBSERVER)
    near = np.linalg.norm(OBSERVER)
    cosine = near**2 + 1.8**2 - 2 * near * 1.8 * np.cos(np.deg2rad(row["elongation"]))
    assert row["helioRange"] == pytest.approx(np.sqrt(cosine), rel=1e-6)
    at_the_sun = 180 - row["elongation"] - row["phaseAngle"]
    law = near / np.sin(np.deg2rad(row["phaseAngle"]))
    assert 1.8 / np.sin(np.deg2rad(at_the_sun)) == pytest.approx(law, rel=1e-5)
    assert row["topoRange"] == pytest.approx(1.8)


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 60.0), (359.9999, -45.0)])
def test_offsets_are_observed_minus_expected(ra, dec):
    table = detections(
        (1, 5, (ra + 2 / 3600 / np.cos(np.deg2rad(dec))) % 360, dec - 1.5 / 3600), (2, 6, 1.0, 1.0)
    )
    rows = make_ss_sources(table, expect((9, 0.0, 0.0, 1.0), (5, ra, dec, np.nan)), OBSERVER)
    assert rows["ephOffsetRa"][0] == pytest.approx(2.0, abs=1e-4)
    assert rows["ephOffsetDec"][0] == pytest.approx(-1.5, abs=1e-6)
    assert rows["ephOffset"][0] == pytest.approx(2.5, abs=1e-4)
    assert (rows["ephRa"][0], rows["ephDec"][0]) == (ra, dec)
    assert np.isnan(rows["helioRange"]).all()
    assert np.isnan(rows["ephRa"][1])


def test_no_bodies_make_no_rows():
    assert len(make_ss_sources(detections(), expect((5, 1.0, 1.0, 1.0)), OBSERVER)) == 0
