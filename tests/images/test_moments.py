import numpy as np
import pytest
from numba import njit
from star_field import gaussian_image

from astra.images.moments import (
    WINDOW_SIGMA,
    Pixels,
    adaptive_moments,
    match_gaussian,
    stand_in,
    weighted_sums,
    windowed_centroids,
)

SHAPE = 60, 90


def make_pixels(image, variance=None, owner=None):
    return Pixels(
        np.asarray(image, dtype=np.float64),
        np.ones(image.shape) if variance is None else variance,
        np.zeros(image.shape, dtype=np.int32) if owner is None else owner,
    )


def plain_weighted_sums(pixels, centre, matrix):
    """The numpy twin for a source that nothing disturbs."""
    y, x = np.mgrid[: pixels.image.shape[0], : pixels.image.shape[1]]
    dx, dy = x - centre[0], y - centre[1]
    inverse = np.linalg.inv([[matrix[0], matrix[1]], [matrix[1], matrix[2]]])
    exponent = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
    w = np.where(exponent <= WINDOW_SIGMA**2, np.exp(-0.5 * exponent), 0.0)
    signal, noise = w * pixels.image, w**2 * pixels.variance
    terms = [signal * t for t in (1, dx, dy, dx**2, dx * dy, dy**2)]
    terms += [noise, noise * dx**2, noise * dy**2, w**2]
    return np.array([term.sum() for term in terms])


def test_compiled_sums_equal_their_numpy_twin():
    rng = np.random.default_rng(5)
    pixels = make_pixels(rng.normal(size=SHAPE), rng.uniform(1, 2, SHAPE))
    # The compiled box is as wide as the larger axis, the ellipse lies within it.
    for matrix in ((4.0, 0.0, 4.0), (6.0, 1.5, 3.0)):
        compiled = njit(weighted_sums)(pixels, 1, (40.3, 29.8), matrix)
        assert compiled == pytest.approx(plain_weighted_sums(pixels, (40.3, 29.8), matrix))


def test_a_neighbours_pixel_is_replaced_by_the_opposite_one():
    owner = np.zeros((6, 10), dtype=np.int32)
    owner[2, 3] = 2
    assert stand_in(owner, 1, (3, 2), (4.0, 3.0)) == (5, 4)
    assert stand_in(owner, 2, (3, 2), (4.0, 3.0)) == (3, 2)


def test_a_pixel_without_a_usable_opposite_is_left_out():
    owner = np.zeros((6, 10), dtype=np.int32)
    owner[2, 3] = -1
    assert stand_in(owner, 1, (3, 2), (0.0, 0.0)) == (-1, -1)
    assert stand_in(owner, 1, (-1, 2), (12.0, 3.0)) == (-1, -1)


@pytest.mark.parametrize(("x", "y"), [(40.0, 30.0), (40.37, 29.51), (41.5, 30.5)])
def test_centroid_of_a_noiseless_star_is_exact(x, y):
    pixels = make_pixels(gaussian_image(SHAPE, x, y, 100.0, 1.4))
    found = windowed_centroids(pixels, np.array([1]), np.rint([[x, y]]), 1.4, 3.0)[0]
    assert found[:2] == pytest.approx([x, y], abs=1e-3)
    assert found[4] == 0


def test_centroid_pulls_are_standard_normal():
    rng = np.random.default_rng(11)
    pulls = []
    for _ in range(200):
        x, y = 40 + rng.uniform(-0.5, 0.5), 30 + rng.uniform(-0.5, 0.5)
        image = gaussian_image(SHAPE, x, y, 300.0, 1.4) + rng.normal(size=SHAPE)
        found = windowed_centroids(make_pixels(image), np.array([1]), np.array([[40.0, 30.0]]), 1.4, 3.0)[0]
        pulls += [(found[0] - x) / found[2], (found[1] - y) / found[3]]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert abs(np.mean(pulls)) < 0.15


def test_centroid_error_is_that_of_the_gaussian_formula():
    pixels = make_pixels(gaussian_image(SHAPE, 40, 30, 300.0, 1.4))
    found = windowed_centroids(pixels, np.array([1]), np.array([[40.0, 30.0]]), 1.4, 3.0)[0]
    # sigma_psf / (S/N), S/N = flux / (sqrt(4 pi) sigma_psf): a window as wide as the PSF loses nothing
    optimal = 1.4 * np.sqrt(4 * np.pi) * 1.4 / 300.0 * np.sqrt(2)
    assert found[2] == pytest.approx(optimal, rel=0.01)


def test_centroid_without_light_fails_and_stays():
    found = windowed_centroids(
        make_pixels(np.zeros(SHAPE)), np.array([1]), np.array([[40.0, 30.0]]), 1.4, 3.0
    )[0]
    assert found[:2] == pytest.approx([40, 30])
    assert np.isnan(found[2])
    assert found[4] == 1


def test_moments_are_those_of_an_elliptical_gaussian():
    image = gaussian_image(SHAPE, 40.2, 30.4, 250.0, 2.2, 1.5)
    found = adaptive_moments(make_pixels(image), np.array([1]), np.array([[40.2, 30.4]]), 1.4, 15.0)[0]
    assert found[:3] == pytest.approx([2.2**2, 0.0, 1.5**2], abs=0.01)
    assert found[3] == pytest.approx(250.0, rel=0.003)
    assert found[5] == 0


def test_moments_do_not_see_a_neighbour():
    star, neighbour = gaussian_image(SHAPE, 40, 30, 250.0, 1.5), gaussian_image(SHAPE, 49, 30, 900.0, 1.5)
    owner = np.where(neighbour > star, 2, 0).astype(np.int32)
    pixels = make_pixels(star + neighbour, owner=owner)
    found = adaptive_moments(pixels, np.array([1]), np.array([[40.0, 30.0]]), 1.4, 15.0)[0]
    assert found[[0, 2]] == pytest.approx(1.5**2, rel=0.02)


@pytest.mark.parametrize("image", [np.zeros(SHAPE), np.ones(SHAPE), -gaussian_image(SHAPE, 40, 30, 9.0, 2.0)])
def test_moments_of_no_source_fail(image):
    found = adaptive_moments(make_pixels(image), np.array([1]), np.array([[40.0, 30.0]]), 1.4, 10.0)[0]
    assert found[5] == 1
    assert np.isnan(found[:5]).all()


def test_light_on_a_slanting_line_is_no_ellipse():
    sums = np.array([1.0, 0.0, 0.0, 1.0, 1.0 - 1e-15, 1.0, 0.0, 0.0, 0.0, 1.0])
    matrix, is_ellipse = match_gaussian(sums, (4.0, 0.0, 4.0))
    assert not is_ellipse
    assert matrix == (4.0, 0.0, 4.0)
