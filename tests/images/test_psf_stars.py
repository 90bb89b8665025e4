import numpy as np
import pytest

from astra.images.psf_stars import affordable_order, half_sample_mode, is_common_size, is_isolated


@pytest.mark.parametrize(("n_stars", "order"), [(3, 0), (11, 0), (12, 1), (23, 1), (24, 2), (500, 2)])
def test_order_is_what_the_stars_can_afford(n_stars, order):
    assert affordable_order(n_stars, 2) == order


def test_isolation_is_broken_by_a_bright_neighbour_alone():
    sources = np.zeros(3, dtype=[("x", "f8"), ("y", "f8"), ("psfInstFlux", "f8")])
    sources["x"], sources["psfInstFlux"] = [10, 15, 60], [100.0, 5.0, 3.0]
    assert is_isolated(sources, 9.0).tolist() == [True, False, True]
    assert is_isolated(sources[:1], 9.0).tolist() == [True]


def test_common_size_is_that_of_the_clump():
    rng = np.random.default_rng(0)
    size = np.concatenate([rng.normal(1.5, 0.02, 40), rng.uniform(1.7, 5.0, 60)])
    chosen = is_common_size(size, rng.uniform(0, 1000, (100, 2)))
    assert chosen[:40].mean() > 0.95
    assert chosen[40:].sum() <= 1
    assert half_sample_mode(size) == pytest.approx(1.5, abs=0.03)


def test_common_size_may_drift_over_the_image():
    rng = np.random.default_rng(1)
    positions = rng.uniform(0, 4000, (200, 2))
    size = 1.5 + 0.25 * positions[:, 0] / 4000 + rng.normal(0, 0.01, 200)
    size[150:] *= 1.25
    chosen = is_common_size(size, positions)
    assert chosen[:150].mean() > 0.95
    assert chosen[150:].sum() <= 1
