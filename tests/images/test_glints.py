import numpy as np
import pytest

from astra.images.glints import GLINT_DTYPE, GlintConfig, find_glint_trails


def field(rng, n=300):
    return rng.uniform(0, 4096, n), rng.uniform(0, 3000, n)


def with_trail(rng, n=8, angle=0.6, scatter=0.5):
    x, y = field(rng)
    along = np.linspace(0, 420, n) + rng.uniform(-8, 8, n)
    across = rng.normal(0, scatter, n)
    tx = 1500 + along * np.cos(angle) - across * np.sin(angle)
    ty = 900 + along * np.sin(angle) + across * np.cos(angle)
    return np.concatenate([x, tx]), np.concatenate([y, ty])


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2, 2.5])
def test_a_row_of_glints_is_found(angle):
    x, y = with_trail(np.random.default_rng(3), angle=angle)
    trail, trails = find_glint_trails(x, y)
    assert len(trails) == 1
    assert (trail[300:] == 0).sum() >= 7
    assert (trail[:300] == 0).sum() <= 1
    assert (trails["angle"][0] - np.degrees(angle) + 90) % 180 - 90 == pytest.approx(0.0, abs=0.5)
    assert trails["rmsPixel"][0] < 1.5
    assert trails["chance"][0] < 1e-3
    if angle == 0.6:
        assert trails["slope"][0] == pytest.approx(np.tan(0.6), abs=0.01)
        assert trails["intercept"][0] == pytest.approx(900 - 1500 * np.tan(0.6), abs=15)


def test_random_fields_have_none():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        trail, trails = find_glint_trails(*field(rng, int(rng.integers(20, 500))))
        assert len(trails) == 0
        assert (trail == -1).all()


def test_a_crowd_of_residuals_is_no_trail():
    rng = np.random.default_rng(5)
    x, y = field(rng, 100)
    clump = rng.normal(0, 12, (2, 40))
    _, trails = find_glint_trails(np.append(x, 2000 + clump[0]), np.append(y, 1500 + clump[1]))
    assert len(trails) == 0
    column = np.append(x, np.full(6, 900.0)), np.append(y, 700.0 + 3 * np.arange(6))
    assert len(find_glint_trails(*column)[1]) == 0


def test_two_rows_are_two_trails():
    x, y = with_trail(np.random.default_rng(3))
    t = np.linspace(0, 400, 9)
    trail, trails = find_glint_trails(np.append(x, 3000 + t), np.append(y, 2000 - 0.3 * t))
    assert len(trails) == 2
    assert set(np.unique(trail)) == {-1, 0, 1}
    np.testing.assert_array_equal(np.bincount(trail[trail >= 0]), trails["nSources"])


def test_four_are_not_enough_and_bad_positions_are_no_sources():
    t = np.linspace(0, 300, 4)
    assert len(find_glint_trails(t, 2 * t)[1]) == 0
    x, y = np.append(t, [np.nan] * 3), np.append(t, [np.nan] * 3)
    trail, trails = find_glint_trails(x, y)
    assert trails.dtype == GLINT_DTYPE
    assert (trail == -1).all()
    assert len(find_glint_trails(np.zeros(0), np.zeros(0))[0]) == 0


def test_a_lot_of_pairs_is_drawn_alike_each_time():
    x, y = with_trail(np.random.default_rng(3), n=12)
    config = GlintConfig(max_pairs=1500, seed=4)
    first, again = find_glint_trails(x, y, config), find_glint_trails(x, y, config)
    np.testing.assert_array_equal(first[0], again[0])
