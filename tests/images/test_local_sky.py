import numpy as np
import pytest

from astra.images.local_sky import make_local_sky
from tests.images.difference_field import make_wcs

SCALE = 0.4


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 0.5), (359.9999, 60.0), (0.0, -45.0)])
def test_vectors_have_their_length_and_bearing(ra, dec):
    sky = make_local_sky(make_wcs(100.0, 80.0, ra=ra, dec=dec), np.full(4, 100.0), np.full(4, 80.0))
    length, bearing = sky.vector(np.array([2.0, 0.0, -2.0, 0.0]), np.array([0.0, 3.0, 0.0, -3.0]))
    np.testing.assert_allclose(length, [0.8, 1.2, 0.8, 1.2], rtol=1e-5)
    np.testing.assert_allclose(np.sin(np.radians(bearing)), [1.0, 0.0, -1.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(np.cos(np.radians(bearing)), [0.0, 1.0, 0.0, -1.0], atol=1e-4)
    np.testing.assert_allclose(sky.scale_arcsec, SCALE, rtol=1e-5)


def test_the_covariance_turns_with_the_image():
    sky = make_local_sky(make_wcs(angle_deg=90.0), np.zeros(1), np.zeros(1))
    covariance = sky.covariance(np.array([[[4.0, 0.5], [0.5, 1.0]]])) * (3600 / SCALE) ** 2
    np.testing.assert_allclose(covariance[0], [[1.0, -0.5], [-0.5, 4.0]], rtol=1e-3, atol=1e-3)


def test_bearings_are_from_north_through_east_below_full_circle():
    sky = make_local_sky(make_wcs(), np.zeros(2), np.zeros(2))
    _, bearing = sky.vector(np.array([-1e-18, -1.0]), np.array([1.0, 1.0]))
    assert ((bearing >= 0) & (bearing < 360)).all()
    assert bearing[1] == pytest.approx(315.0, abs=0.01)


def test_without_a_wcs_or_a_position_all_is_nan():
    sky = make_local_sky(None, np.zeros(2), np.zeros(2))
    assert np.isnan(sky.ra).all()
    assert np.isnan(sky.scale_arcsec).all()
    lost = make_local_sky(make_wcs(), np.array([np.nan, 1.0]), np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(np.isnan(lost.ra), [True, False])
    assert make_local_sky(make_wcs(), np.zeros(0), np.zeros(0)).jacobian.shape == (0, 2, 2)
