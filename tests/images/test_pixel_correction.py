import numpy as np
import pytest
from star_field import make_wcs

from astra.images.pixel_correction import Correction, choose_correction

SHAPE = 600, 900
IDENTITY = Correction.linear(np.zeros(2), np.zeros((2, 2)), SHAPE)


def pairs(n, displacement, error, seed=0):
    """Positions, those that a displacement (u, v) -> (dx, dy) makes of them, and the error of each."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform([0, 0], [899, 599], (n, 2))
    u, v = (xy[:, 0] - 449.5) / 450, (xy[:, 1] - 299.5) / 450
    expected = xy + np.stack(displacement(u, v), axis=-1) + rng.normal(0, error, (n, 2))
    return xy, expected, np.full(n, error)


@pytest.mark.parametrize(
    ("order", "displacement"),
    [
        (0, lambda u, v: (3.0 + 0 * u, -2.0 + 0 * u)),
        (1, lambda u, v: (3.0 + 0.5 * u, 0.2 * v)),
        (2, lambda u, v: (u * v, v**2)),
        (3, lambda u, v: (u**3, u * v**2)),
        (4, lambda u, v: (u**4, u * v**3)),
    ],
)
def test_the_degree_is_that_of_the_data(order, displacement):
    xy, expected, error = pairs(400, displacement, 0.05)
    fit = choose_correction(xy, expected, error, IDENTITY, 4, clip_sigma=3.0)
    assert fit.order == order
    assert np.abs(xy + fit(xy) - expected).max() < 0.3
    # Of normal errors 1 - exp(-4.5) are within 3 sigma of two dimensions.
    assert fit.used.mean() == pytest.approx(0.989, abs=0.015)
    assert fit.scatter == pytest.approx(0.05, rel=0.1)


def test_exact_pairs_are_fitted_exactly():
    xy, expected, error = pairs(50, lambda u, v: (1 + 2 * u - u * v, 3 * v**2), 1e-9)
    fit = choose_correction(xy, expected, error, IDENTITY, 2, clip_sigma=3.0)
    assert fit.coefficients == pytest.approx(
        np.array([[1, 0], [2, 0], [0, 0], [0, 0], [-1, 0], [0, 3]]), abs=1e-6
    )


@pytest.mark.parametrize("n", [4, 6, 8])
def test_few_pairs_turn_and_scale(n):
    xy, expected, error = pairs(n, lambda u, v: (2 + 3 * u - 5 * v, -1 + 5 * u + 3 * v), 0.01)
    fit = choose_correction(xy, expected, error, IDENTITY, 4, clip_sigma=5.0)
    assert fit.coefficients == pytest.approx(np.array([[2, -1], [3, 5], [-5, 3]]), abs=0.05)


def test_few_pairs_that_need_no_turn_get_a_shift_and_keep_the_first_slopes():
    xy, expected, error = pairs(6, lambda u, v: (2 + 1.0 * u, -1 + 1.0 * v), 0.1)
    first = Correction.linear(np.zeros(2), np.eye(2) / 450, SHAPE)
    fit = choose_correction(xy, expected, error, first, 4, clip_sigma=5.0)
    assert fit.coefficients == pytest.approx(np.array([[2, -1], [1, 0], [0, 1]]), abs=0.2)
    assert fit.coefficients[1:].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_outliers_are_clipped():
    xy, expected, error = pairs(100, lambda u, v: (0.5 * u, 0 * v), 0.02)
    expected[:12] += 0.7
    fit = choose_correction(xy, expected, error, IDENTITY, 3, clip_sigma=3.0)
    assert not fit.used[:12].any()
    assert fit.order == 1
    assert fit.coefficients[1, 0] == pytest.approx(0.5, abs=0.02)


def test_weights_follow_the_errors():
    xy, expected, error = pairs(2000, lambda u, v: (0 * u, 0 * v), 0.01, seed=3)
    error[1000:] = 1.0
    expected[1000:] += np.random.default_rng(2).normal(0, 1.0, (1000, 2))
    fit = choose_correction(xy, expected, error, IDENTITY, 0, clip_sigma=4.0)
    assert np.abs(fit.coefficients).max() < 4 * 0.01 / np.sqrt(1000)


def test_the_floor_explains_what_the_errors_leave():
    xy, expected, error = pairs(3000, lambda u, v: (0 * u, 0 * v), 0.05)
    fit = choose_correction(xy, expected, error, IDENTITY, 0, clip_sigma=4.0)
    assert fit.floor(np.full(3000, 0.03), fit.used) == pytest.approx(0.04, rel=0.05)
    assert fit.floor(np.full(3000, 0.08), fit.used) == pytest.approx(0.0, abs=1e-3)


def test_it_comes_before_the_wcs():
    wcs = make_wcs(SHAPE)
    fit = Correction.linear(np.array([3.0, -4.0]), np.zeros((2, 2)), SHAPE)
    x, y = np.array([10.0, 700.0]), np.array([20.0, 500.0])
    assert np.array(fit.compose(wcs)(x, y)) == pytest.approx(np.array(wcs.all_pix2world(x + 3, y - 4, 0)))
