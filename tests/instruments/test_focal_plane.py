import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.instruments.base import Detector
from astra.instruments.focal_plane import FocalPlane, image_corners

SCALE = 0.4
PLANE = FocalPlane(pixel_size_mm=0.015, pixel_scale_arcsec=SCALE)
MIRRORED = FocalPlane(pixel_size_mm=0.015, pixel_scale_arcsec=SCALE, flip_x=True)
CENTRAL = Detector(0, "C", 500, 701)
OUTER = Detector(1, "O", 500, 701, x_mm=12.0, y_mm=-5.0, rotation_deg=30.0)
ANGLES = st.floats(0, 360)


def direction(start, end):
    """Position angle [deg] and separation [arcsec] on the sphere."""
    a, b = (SkyCoord(*position, unit="deg") for position in (start, end))
    return a.position_angle(b).deg, a.separation(b).arcsec


def sky(wcs, x, y):
    return tuple(float(value) for value in wcs.wcs_pix2world(x, y, 0))


@settings(deadline=None, max_examples=50)
@given(ANGLES, st.floats(0, 359), st.floats(-85, 85))
def test_the_sky_angle_is_the_position_angle_of_the_y_axis(angle, ra, dec):
    wcs = PLANE.wcs(ra, dec, angle, CENTRAL)
    middle = sky(wcs, 350.0, 249.5)
    assert direction((ra, dec), middle)[1] < 1e-6
    found, distance = direction(middle, sky(wcs, 350.0, 259.5))
    assert distance == pytest.approx(10 * SCALE, rel=1e-6)
    assert (found - angle + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(ANGLES)
def test_x_points_west_of_north_or_east_of_it_in_a_mirrored_camera(angle):
    for plane, quarter in ((PLANE, -90.0), (MIRRORED, 90.0)):
        wcs = plane.wcs(150.0, 20.0, angle, CENTRAL)
        found, _ = direction(sky(wcs, 350.0, 249.5), sky(wcs, 360.0, 249.5))
        assert (found - angle - quarter + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(ANGLES, st.floats(0, 700), st.floats(0, 499))
def test_a_pixel_looks_where_its_place_on_the_focal_plane_says(angle, x, y):
    """Gnomonic: the distance from the boresight is atan(r / f), its position angle that on the plane."""
    x_mm, y_mm = PLANE.position_mm(x, y, OUTER)
    focal_length_mm = 0.015 / np.radians(SCALE / 3600)
    distance = np.degrees(np.arctan(np.hypot(x_mm, y_mm) / focal_length_mm))
    position_angle = angle + np.degrees(np.arctan2(-x_mm, y_mm))
    expected = SkyCoord(150 * u.deg, 20 * u.deg).directional_offset_by(
        position_angle * u.deg, distance * u.deg
    )
    found = SkyCoord(*sky(PLANE.wcs(150.0, 20.0, angle, OUTER), x, y), unit="deg")
    assert expected.separation(found).arcsec < 1e-4


def test_a_detector_turned_by_30_degrees_has_its_rows_there():
    x, y = PLANE.position_mm(np.array([350.0, 360.0]), np.array([249.5, 249.5]), OUTER)
    assert (x[0], y[0]) == pytest.approx((12.0, -5.0))
    assert np.degrees(np.arctan2(y[1] - y[0], x[1] - x[0])) == pytest.approx(30.0)


@settings(deadline=None, max_examples=50)
@given(ANGLES)
def test_detectors_keep_their_places_to_each_other_on_the_sky(angle):
    """Two pixels of one place on the focal plane see one place on the sky, whatever detector they are of."""
    x_mm, y_mm = PLANE.position_mm(10.0, 20.0, OUTER)
    x, y = x_mm / 0.015 + 350.0, y_mm / 0.015 + 249.5
    first = sky(PLANE.wcs(10.0, -70.0, angle, OUTER), 10.0, 20.0)
    second = sky(PLANE.wcs(10.0, -70.0, angle, CENTRAL), x, y)
    assert direction(first, second)[1] < 1e-5


@pytest.mark.parametrize("rotation", [0.0, 90.0, 180.0, -90.0, 360.0])
def test_quarter_turns_are_exact(rotation):
    wcs = PLANE.wcs(0.0, 0.0, 0.0, Detector(0, "Q", 10, 20, rotation_deg=rotation))
    assert sorted(np.abs(wcs.wcs.cd).ravel()) == [0.0, 0.0, SCALE / 3600, SCALE / 3600]


def test_pixels_from_a_distance_of_the_optical_axis_on_are_vignetted():
    plane = dataclasses.replace(PLANE, vignetted_from_mm=14.0)
    found = plane.vignetted(OUTER)
    assert found.shape == (500, 701)
    assert 0.05 < found.mean() < 0.95
    for x, y in ((3, 5), (690, 480), (350, 250), (20, 490)):
        assert found[y, x] == (np.hypot(*plane.position_mm(x, y, OUTER)) >= 14.0)
    assert plane.vignetted(CENTRAL) is None
    assert PLANE.vignetted(OUTER) is None


def test_corners_go_round_the_image():
    wcs = PLANE.wcs(0.0, 90.0, 0.0, CENTRAL)
    corners = image_corners(wcs, 500, 701)
    x, y = wcs.wcs_world2pix(corners, 0).T
    np.testing.assert_allclose(x, [-0.5, 700.5, 700.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(y, [-0.5, -0.5, 499.5, 499.5], atol=1e-6)
    assert wcs.array_shape == (500, 701)
