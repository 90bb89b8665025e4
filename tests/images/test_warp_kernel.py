import numpy as np
import pytest
from scipy import ndimage

from astra.images.warp_kernel import (
    BAND_ROWS,
    MIN_REPAIRED,
    REPAIRED,
    TAIL,
    blank_missing,
    cubic_weights,
    resample,
    spline_coefficients,
)

NO_DATA = np.uint32(256)
SHAPE = (90, 130)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize(
    "shape",
    [(5, 3), (2, 40), (BAND_ROWS, 20), (BAND_ROWS + 1, 33), (BAND_ROWS + TAIL, 7), (BAND_ROWS + TAIL + 1, 40),
     (2 * BAND_ROWS, 30), (2 * BAND_ROWS + 1, 20), (201, 111)],
)  # fmt: skip
def test_coefficients_are_those_of_scipy(rng, shape):
    image = rng.normal(size=shape).astype(np.float32)
    expected = ndimage.spline_filter(image, 3, output=np.float64, mode="mirror")
    assert np.abs(spline_coefficients(image) - expected).max() < 5e-6


def test_lines_of_one_pixel_stay_as_they_are_along_them(rng):
    line = rng.normal(size=(1, 20)).astype(np.float32)
    expected = ndimage.spline_filter1d(line, 3, axis=1, mode="mirror")
    np.testing.assert_allclose(spline_coefficients(line), expected, atol=5e-6)
    np.testing.assert_allclose(spline_coefficients(line.T), expected.T, atol=5e-6)
    np.testing.assert_array_equal(spline_coefficients(line[:, :1]), line[:, :1])


def test_bright_pixels_do_not_reach_beyond_their_surroundings(rng):
    image = rng.normal(size=SHAPE).astype(np.float32)
    quiet = spline_coefficients(image)
    image[40, 60] = 1e6
    loud = spline_coefficients(image)
    far = np.hypot(*np.ogrid[-40:50, -60:70]) > 25
    assert np.abs(loud - quiet)[far].max() < 1e-5


def test_weights_add_up_to_one():
    for f in np.linspace(0, 1, 11, dtype=np.float32):
        weights = cubic_weights(f)
        assert sum(weights) == pytest.approx(1.0, abs=1e-6)
        assert np.dot(weights, [-1, 0, 1, 2]) == pytest.approx(f, abs=1e-6)


def affine_grids(shape, matrix, offset, step=16):
    """Nodes of an affine map, with a Jacobian that varies."""
    rows, columns = (np.arange(0, n + step, step, dtype=float) for n in shape)
    x, y = np.meshgrid(columns, rows)
    places = np.tensordot(matrix, np.array([x, y]), axes=1) + np.array(offset)[:, None, None]
    return np.array([places[0], places[1], 1.0 + 1e-3 * x + 2e-3 * y])


def plain_resample(planes, grids, step, shape):
    """The numpy twin."""
    image, variance, mask = planes
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    nodes = np.array([rows, columns]) / step
    x, y, jacobian = (ndimage.map_coordinates(grid, nodes, order=1) for grid in grids)
    ny, nx = image.shape
    inside = (x >= -0.5) & (y >= -0.5) & (x < nx - 0.5) & (y < ny - 0.5)
    value = ndimage.map_coordinates(image.astype(float), [y, x], order=3, mode="mirror")
    power = ndimage.map_coordinates(variance.astype(float), [y, x], order=1, mode="nearest")
    ix, iy = np.floor(x).astype(int), np.floor(y).astype(int)
    bits, share = np.zeros(shape, np.uint32), np.zeros(shape)
    for b in (0, 1):
        for a in (0, 1):
            here = mask[np.clip(iy + b, 0, ny - 1), np.clip(ix + a, 0, nx - 1)]
            bits |= here
            share += (here & REPAIRED > 0) * abs(1 - b - (y - iy)) * abs(1 - a - (x - ix))
    bits = np.where(share >= MIN_REPAIRED, bits, bits & ~REPAIRED)
    bits = np.where(inside, bits, NO_DATA)
    good = bits & NO_DATA == 0
    return np.where(good, value * jacobian, np.nan), np.where(good, power * jacobian, np.nan), bits


@pytest.mark.parametrize(
    ("angle_deg", "scale", "offset"),
    [(0.0, 1.0, (0.3, -0.7)), (0.2, 1.01, (-3.0, 4.0)),
     (30.0, 1.1, (20.0, -30.0)), (135.0, 0.5, (90.0, 70.0)),
     (-90.0, 1.0, (5.5, 80.0)), (0.0, 3.0, (-20.0, -20.0))],
)  # fmt: skip
def test_planes_are_those_of_scipy(rng, angle_deg, scale, offset):
    image = rng.normal(size=SHAPE).astype(np.float32)
    variance = rng.uniform(1, 2, size=SHAPE).astype(np.float32)
    mask = np.where(rng.uniform(size=SHAPE) < 0.05, 1 << rng.integers(0, 5, SHAPE), 0).astype(np.uint32)
    mask[30:33, 40] |= NO_DATA
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    shape = (83, 121)
    grids = affine_grids(shape, scale * np.array([[cosine, -sine], [sine, cosine]]), offset)
    out = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint32)
    resample((spline_coefficients(image), variance, mask), grids, 16, NO_DATA, out)
    expected = plain_resample((image, variance, mask), grids, 16, shape)
    assert np.isfinite(expected[0]).mean() > 0.1
    same = out[2] == expected[2]  # but for places within rounding of a pixel
    assert same.mean() > 0.995
    np.testing.assert_allclose(out[0][same], expected[0][same], atol=3e-5)
    np.testing.assert_allclose(out[1][same], expected[1][same], rtol=1e-4)


def test_places_that_are_unknown_have_no_data(rng):
    image = rng.normal(size=SHAPE).astype(np.float32)
    grids = affine_grids(SHAPE, np.eye(2), (0.0, 0.0))
    grids[2] = 1.0
    grids[:, :, 5:] = np.nan
    out = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float32), np.empty(SHAPE, np.uint32)
    planes = spline_coefficients(image), np.ones_like(image), np.zeros(SHAPE, np.uint32)
    resample(planes, grids, 16, NO_DATA, out)
    assert np.isnan(out[0][:, 65:]).all()
    assert (out[2][:, 65:] == NO_DATA).all()
    np.testing.assert_allclose(out[0][:, :64], image[:, :64], atol=5e-6)


def test_missing_pixels_are_blanked_and_marked():
    rng = np.random.default_rng(4)
    image, variance = rng.normal(size=(2, 9, 13)).astype(np.float32)
    image[1, 2], image[3, 4], variance[5, 6], variance[7, 8] = np.nan, -np.inf, np.inf, np.nan
    mask = rng.integers(0, 8, image.shape).astype(np.uint32)
    out = np.empty_like(image), np.empty_like(image), np.empty_like(mask)
    blank_missing((image, variance, mask), np.uint32(256), out)
    bad = ~(np.isfinite(image) & np.isfinite(variance))
    assert bad.sum() == 4
    np.testing.assert_array_equal(out[0], np.where(bad, 0, image))
    np.testing.assert_array_equal(out[1], np.where(bad, 0, variance))
    np.testing.assert_array_equal(out[2], np.where(bad, mask | 256, mask))
