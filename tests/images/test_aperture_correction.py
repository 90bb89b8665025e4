import numpy as np
import pytest

from astra.images.aperture_correction import ApertureCorrection, fit_aperture_correction

SHAPE = 330, 460
CORNERS = np.array([0.0, 459.0, 0.0]), np.array([0.0, 0.0, 329.0])


def make_stars(n=60, ratio=1.03, slope=0.0, noise=0.002, seed=0):
    rng = np.random.default_rng(seed)
    names = ("x", "y", "psfInstFlux", "apInstFlux_12", "apInstFlux_12Err")
    stars = np.zeros(n, dtype=[(name, "f8") for name in names])
    stars["x"], stars["y"] = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    stars["psfInstFlux"] = rng.uniform(1e3, 1e5, n)
    factor = ratio + slope * (stars["x"] - 229.5) / 230 + noise * rng.normal(size=n)
    stars["apInstFlux_12"] = stars["psfInstFlux"] * factor
    stars["apInstFlux_12Err"] = 0.002 * stars["psfInstFlux"]
    return stars


def test_aperture_correction_follows_the_image():
    correction = fit_aperture_correction(make_stars(slope=0.02), "apInstFlux_12", SHAPE)
    factor = correction.at(np.array([0.0, 459.0]), np.array([165.0, 165.0]))
    assert factor == pytest.approx([1.01, 1.05], abs=0.002)
    assert correction.scatter == pytest.approx(0.002, rel=0.4)


@pytest.mark.parametrize(("n", "order"), [(20, 0), (21, 1), (41, 1), (42, 2), (300, 2)])
def test_the_order_grows_with_the_number_of_stars(n, order):
    stars = make_stars(n=n)
    u = (stars["x"] - 229.5) / 230
    stars["apInstFlux_12"] *= 1.0 + 0.05 * u + 0.02 * u**2
    correction = fit_aperture_correction(stars, "apInstFlux_12", SHAPE)
    assert correction.order == order
    assert fit_aperture_correction(stars, "apInstFlux_12", SHAPE, max_order=1).order == min(order, 1)


def test_many_stars_do_not_raise_an_order_that_nothing_asks_for():
    orders = [
        fit_aperture_correction(make_stars(300, seed=k), "apInstFlux_12", SHAPE).order for k in range(20)
    ]
    assert orders.count(0) > 12


def test_a_curved_aperture_correction_is_followed():
    stars = make_stars(n=300)
    u, v = (stars["x"] - 229.5) / 230, (stars["y"] - 164.5) / 230
    stars["apInstFlux_12"] *= 1 + 0.03 * u**2 - 0.02 * u * v
    correction = fit_aperture_correction(stars, "apInstFlux_12", SHAPE)
    residual = correction.at(stars["x"], stars["y"]) - 1.03 * (1 + 0.03 * u**2 - 0.02 * u * v)
    assert np.abs(residual).max() < 0.002


def test_blended_stars_do_not_spoil_the_aperture_correction():
    stars = make_stars()
    stars["apInstFlux_12"][:8] *= 1.4
    correction = fit_aperture_correction(stars, "apInstFlux_12", SHAPE)
    assert correction.at(np.array([100.0]), np.array([100.0])) == pytest.approx(1.03, abs=0.002)


def test_light_of_unseen_neighbours_is_not_taken_for_the_stars_own():
    stars, rng = make_stars(n=200), np.random.default_rng(4)
    stars["apInstFlux_12"] += rng.gamma(2.0, 300.0, len(stars))  # 600 on average: 1.2 % of the mean flux
    correction = fit_aperture_correction(stars, "apInstFlux_12", SHAPE)
    assert correction.at(np.array([100.0]), np.array([100.0])) == pytest.approx(1.03, abs=0.001)


def test_the_error_is_the_scatter_of_many_corrections():
    found = []
    for seed in range(60):
        stars, rng = make_stars(n=80, slope=0.04, seed=seed), np.random.default_rng(seed)
        stars["apInstFlux_12"] += 500.0 * rng.normal(size=len(stars))  # more than the errors tell
        correction = fit_aperture_correction(stars, "apInstFlux_12", SHAPE, max_order=1)
        found.append((correction.at(*CORNERS), correction.error_at(*CORNERS)))
    factor, error = np.swapaxes(found, 0, 1)
    assert factor.std(axis=0) == pytest.approx(np.median(error, axis=0), rel=0.3)


def test_few_stars_give_a_constant_and_none_give_one():
    few = fit_aperture_correction(make_stars(n=5, slope=0.02), "apInstFlux_12", SHAPE)
    assert len(few.coefficients) == 1
    none = fit_aperture_correction(make_stars(n=0), "apInstFlux_12", SHAPE)
    assert none.at(np.array([5.0]), np.array([6.0])) == pytest.approx(1.0)
    assert none.error_at(np.array([5.0]), np.array([6.0])) == [0.0]
    assert none.n_used == 0


def test_a_correction_without_covariance_is_exact():
    assert (ApertureCorrection(np.array([1.0, 0.1, 0.0]), SHAPE, 0.0, 9).error_at(*CORNERS) == 0.0).all()
