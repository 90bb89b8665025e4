import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from astra.images.overscan import METHODS, OverscanConfig, measure_overscan, measure_parallel_overscan

CURVES = ("polynomial", "chebyshev", "legendre", "spline", "akima_spline")


def plain_mean_per_row(section):
    """Clipped mean of each row and the scatter about it, in plain numpy."""
    values = section.astype(np.float64)
    middle = np.median(values, axis=1, keepdims=True)
    residual = np.abs(values - middle)
    kept = residual <= 3.0 * max(1.4826 * np.median(residual), 1.0)
    level = np.mean(values, axis=1, where=kept)
    scatter = np.sqrt(np.sum((values - level[:, None]) ** 2, where=kept) / (kept.sum() - len(level)))
    limit = 3.0 * max(1.4826 * np.median(residual), 1.0)
    # The Gaussian whose part within the limit has this scatter.
    sigma = brentq(lambda s: s * stats.truncnorm(-limit / s, limit / s).std() - scatter, 1.0, 20.0)
    return level, sigma


def drifting(method="mean_per_row", n_rows=600, seed=3, **options):
    rng = np.random.default_rng(seed)
    rows = np.arange(n_rows)
    truth = 1000.0 + 0.01 * rows + (4.0 * np.sin(rows / 150.0) if "spline" in method else 0.0)
    section = rng.normal(truth[:, None], 4.0, size=(n_rows, 32))
    return section, truth, OverscanConfig(method, **options)


def test_the_compiled_sums_agree_with_plain_numpy():
    section = np.round(np.random.default_rng(1).normal(1000.0, 4.0, size=(200, 31))).astype(np.uint16)
    section[::9, 4] = 1900
    level, noise = plain_mean_per_row(section)
    found = measure_overscan(section)
    np.testing.assert_allclose(found.level, level, rtol=1e-12)
    assert found.noise_adu == pytest.approx(noise, rel=1e-3)
    assert not found.bad_rows.any()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_level_and_noise_and_ignores_outliers(method):
    rng = np.random.default_rng(9)
    section = rng.normal(500.0, 4.0, size=(400, 32))
    section[::7, 3] = 65535
    section[5, 5] = np.nan
    found = measure_overscan(section, OverscanConfig(method, order=3))
    assert found.level.shape == (400,)
    assert np.mean(found.level) == pytest.approx(500.0, abs=0.2)
    assert found.noise_adu == pytest.approx(4.0, rel=0.02)
    scatter = {"mean_per_row": 4.0 / np.sqrt(32), "median_per_row": 1.25 * 4.0 / np.sqrt(32)}
    if method in scatter:
        assert np.std(found.level) == pytest.approx(scatter[method], rel=0.15)
    else:
        assert np.std(found.level) < 0.2


@pytest.mark.parametrize("method", CURVES)
def test_a_curve_follows_a_drift_with_less_noise_than_rows_have(method):
    section, truth, config = drifting(method, order=12 if "spline" in method else 3)
    error = measure_overscan(section, config).level - truth
    assert np.std(error) < 0.35
    assert np.std(measure_overscan(section).level - truth) > 0.5


def test_a_curve_does_not_follow_rows_that_jump():
    section, truth, config = drifting("legendre")
    section[100:110] += 60.0
    assert np.abs(measure_overscan(section, config).level - truth).max() < 0.5


def test_the_noise_of_whole_numbers_is_right_wherever_the_cut_falls():
    rng = np.random.default_rng(11)
    for noise in np.arange(2.5, 6.0, 0.25):
        section = np.round(rng.normal(1000.0, noise, size=(2000, 32))).astype(np.uint16)
        expected = np.hypot(noise, np.sqrt(1 / 12))
        for method in ("mean_per_row", "clipped_mean"):
            found = measure_overscan(section, OverscanConfig(method)).noise_adu
            assert found == pytest.approx(expected, rel=0.025)


def test_skipped_columns_do_not_count():
    section, truth, _ = drifting()
    section[:, :2] += 500.0
    section[:, -3:] -= 400.0
    config = OverscanConfig("median", leading_skip=2, trailing_skip=3)
    assert measure_overscan(section, config).level[0] == pytest.approx(np.mean(truth), abs=0.5)


def test_rows_without_values_take_the_level_of_their_neighbours_and_are_told():
    section, truth, _ = drifting()
    section[50:53] = np.nan
    found = measure_overscan(section)
    np.testing.assert_array_equal(np.flatnonzero(found.bad_rows), [50, 51, 52])
    np.testing.assert_allclose(found.level[50:53], truth[50:53], atol=1.0)
    assert np.isfinite(found.noise_adu)


def test_rows_unlike_their_neighbours_take_their_level_if_asked_to():
    section, truth, config = drifting(row_outlier_sigma=6.0)
    section[300] += 90.0
    assert measure_overscan(section).level[300] == pytest.approx(truth[300] + 90, abs=3.0)
    assert measure_overscan(section, config).level[300] == pytest.approx(truth[300], abs=1.0)


def test_a_quiet_overscan_of_whole_numbers_has_a_level():
    section = np.full((5, 8), 1000, dtype=np.uint16)
    section[:, 0] = 1001
    found = measure_overscan(section, OverscanConfig("clipped_mean"))
    assert found.level == pytest.approx(1000.125)


@pytest.mark.parametrize(
    "section", [np.zeros((0, 4)), np.zeros((4, 0)), np.zeros(4), np.full((2, 3), np.nan)]
)
def test_an_overscan_without_values_is_refused(section):
    with pytest.raises(ValueError, match="overscan"):
        measure_overscan(section)


@pytest.mark.parametrize(
    "options", [{"method": "magic"}, {"leading_skip": -1}, {"method": "spline", "order": 1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"overscan"):
        OverscanConfig(**options)


def test_more_columns_to_skip_than_there_are_is_refused():
    with pytest.raises(ValueError, match="8 columns, of which 5 and 3"):
        measure_overscan(np.zeros((4, 8)), OverscanConfig(leading_skip=5, trailing_skip=3))


def test_a_parallel_overscan_gives_each_column_its_level_without_bled_charge():
    rng = np.random.default_rng(5)
    truth = np.linspace(-3.0, 9.0, 120)
    section = rng.normal(truth, 1.0, size=(40, 120))
    section[:6, 60] = 50000.0
    section[:, 90] = 60000.0
    level = measure_parallel_overscan(section, saturation_adu=20000.0)
    np.testing.assert_allclose(level, truth, atol=1.0)
    assert not measure_parallel_overscan(np.full((3, 7), 6e4), saturation_adu=2e4).any()
