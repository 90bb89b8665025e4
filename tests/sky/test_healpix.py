import numpy as np
import pytest
from lsst.sphgeom import HealpixPixelization, UnitVector3d

from astra.sky.healpix import healpix_pixels, healpix_points, healpix_ranges
from astra.sky.regions import convex_hull, unit_vectors


def sky(n=2000, seed=0):
    """Positions all over the sky, and on its special places."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    special = [(0, 90), (77, -90), (0, 0), (359.9999999, 0.1), (-10, 89.999), (45, 41.8103), (370, -41.8104)]
    return np.append(ra, [p[0] for p in special]), np.append(dec, [p[1] for p in special])


@pytest.mark.parametrize("order", [0, 1, 5, 12, 17])
def test_pixels_are_those_of_another_implementation(order):
    ra, dec = sky()
    pixelization = HealpixPixelization(order)
    theirs = [pixelization.index(UnitVector3d(*vector)) for vector in unit_vectors(ra, dec).tolist()]
    assert healpix_pixels(ra, dec, order).tolist() == theirs


def test_pixels_nest_to_the_highest_order():
    ra, dec = sky()
    deepest = healpix_pixels(ra, dec, 29)
    for order in (0, 3, 17):
        assert (deepest >> 2 * (29 - order) == healpix_pixels(ra, dec, order)).all()
    assert deepest.max() < 12 * 4**29


def test_areas_are_equal():
    count = np.bincount(healpix_pixels(*sky(48 * 400, seed=3), 1), minlength=48)
    assert np.sum((count - 400) ** 2 / 400) < 48 + 5 * np.sqrt(2 * 48)


@pytest.mark.parametrize("order", [-1, 30])
def test_orders_out_of_range_are_refused(order):
    with pytest.raises(ValueError, match=f"from 0 to 29, found {order}"):
        healpix_pixels([0.0], [0.0], order)


def test_no_positions_have_no_pixels():
    assert len(healpix_pixels([], [], 5)) == 0


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.9, -30.0), (120.0, 89.8)])
def test_ranges_cover_a_region(ra, dec):
    rng = np.random.default_rng(1)
    angle, radius = rng.uniform(0, 2 * np.pi, 500), 0.4 * np.sqrt(rng.uniform(0, 1, 500))
    vectors = unit_vectors([ra], [dec])[0]
    east = np.cross([0, 0, 1], vectors)
    east /= np.linalg.norm(east)
    north = np.cross(vectors, east)
    points = vectors + np.radians(radius)[:, None] * (
        np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north
    )
    lon = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    lat = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    ranges = healpix_ranges(convex_hull(lon, lat), 7)
    pixels = healpix_pixels(lon, lat, 7)
    assert all(any(first <= pixel <= last for first, last in ranges) for pixel in pixels)
    assert sum(last - first + 1 for first, last in ranges) < 40


@pytest.mark.parametrize("order", [0, 1, 6, 12, 20])
def test_points_lie_in_their_pixels(order):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 12 * 4**order, 1000)
    ra, dec = healpix_points(pixels, order, *rng.uniform(0.01, 0.99, (2, 1000)))
    assert (healpix_pixels(ra, dec, order) == pixels).all()
    assert ((ra >= 0) & (ra < 360)).all()


def test_corners_meet_at_the_poles_and_the_equator():
    ra, dec = healpix_points(np.arange(12), 0, 1.0, 1.0)
    np.testing.assert_allclose(dec, [90.0] * 4 + [41.810314895778596] * 4 + [0.0] * 4, atol=1e-12)
    np.testing.assert_allclose(ra[4:8], [0.0, 90.0, 180.0, 270.0])
    np.testing.assert_allclose(healpix_points(np.arange(8, 12), 0, 0.0, 0.0)[1], -90.0)


def test_points_of_no_pixel_are_refused():
    with pytest.raises(ValueError, match="from 0 to 47"):
        healpix_points([48], 1)
    with pytest.raises(ValueError, match="from 0 to 29"):
        healpix_points([0], 30)
