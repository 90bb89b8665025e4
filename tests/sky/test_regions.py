import numpy as np
import pytest

from astra.sky import regions


@pytest.fixture
def over_ra_zero():
    return regions.convex_hull([359.9, 0.1, 0.1, 359.9], [-0.2, -0.2, 0.2, 0.2])


def test_region_contains_points_on_both_sides_of_ra_zero(over_ra_zero):
    inside = regions.contains(over_ra_zero, [359.95, 0.05, 0.0, 180.0, 0.11], [0.0, 0.1, -0.1, 0.0, 0.0])
    assert inside.tolist() == [True, True, True, False, False]


def test_region_contains_the_pole_it_surrounds():
    cap = regions.convex_hull([0, 90, 180, 270], [89.9] * 4)
    assert regions.contains(cap, [12.0, 12.0], [90.0, 89.8]).tolist() == [True, False]


def test_positions_that_are_not_finite_are_outside(over_ra_zero):
    assert not regions.contains(over_ra_zero, [np.nan, 0.0], [0.0, np.inf]).any()


def test_encoded_region_comes_back(over_ra_zero):
    assert regions.decode(regions.encode(over_ra_zero)) == over_ra_zero


@pytest.mark.parametrize("data", [b"", b"xx", b"p" + b"\x00" * 30])
def test_bytes_that_are_no_region_are_refused(data):
    with pytest.raises(ValueError, match="not an encoded region"):
        regions.decode(data)


def test_too_few_or_collinear_positions_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        regions.convex_hull([1, 2], [0, 0])
    with pytest.raises(ValueError, match="no convex region"):
        regions.convex_hull([1, 1, 1], [0, 0, 0])


@pytest.mark.parametrize("dec", [-89.95, -30.0, 0.0, 60.0])
def test_dilation_holds_all_within_the_margin_and_little_more(dec):
    region = regions.convex_hull([10.0, 10.2, 10.2, 10.0], [dec - 0.03, dec - 0.03, dec + 0.03, dec + 0.03])
    dilated = regions.dilate(region, 20.0)
    north = dec + 0.03 + np.array([19.9, 21.9]) / 3600
    vertices = list(region.getVertices())
    assert regions.contains(dilated, [10.1, 10.1], north)[0]
    if dec == 0.0:  # elsewhere the great circle between the corners bulges
        assert not regions.contains(dilated, [10.1, 10.1], north)[1]
    ra, decs = regions.positions(np.array([[v.x(), v.y(), v.z()] for v in vertices]))
    assert regions.contains(dilated, ra, decs).all()


def test_htm_ranges_cover_the_pixels_of_the_region(over_ra_zero):
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-0.1, 0.1, 200) % 360, rng.uniform(-0.19, 0.19, 200)
    pixels = regions.htm_pixels(ra, dec)
    ranges = regions.htm_ranges(over_ra_zero)
    assert len(ranges) <= 64
    assert all(any(first <= pixel <= last for first, last in ranges) for pixel in pixels.tolist())


def test_htm_pixels_are_those_of_the_level():
    pixels = regions.htm_pixels([0.0, 120.0, 359.999999], [0.0, -90.0, 89.0])
    assert pixels.dtype == np.int64
    assert ((pixels >= 8 * 4**20) & (pixels < 16 * 4**20)).all()
    assert regions.htm_pixels([], []).shape == (0,)


def test_positions_invert_unit_vectors():
    ra, dec = np.array([0.0, 359.9999, 180.0]), np.array([-89.0, 0.0, 45.0])
    back = regions.positions(3.0 * regions.unit_vectors(ra, dec))
    np.testing.assert_allclose(back, (ra, dec), atol=1e-12)


def test_hull_of_regions_holds_them_all(over_ra_zero):
    other = regions.convex_hull([1.0, 1.1, 1.1], [0.0, 0.0, 0.1])
    hull = regions.hull_of_regions([over_ra_zero, other])
    assert regions.contains(hull, [359.95, 1.09, 0.5], [0.0, 0.05, 0.0]).all()
    with pytest.raises(ValueError, match="at least 3"):
        regions.hull_of_regions([])
