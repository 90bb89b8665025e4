import numpy as np
import pytest
from scipy.signal import fftconvolve

from astra.images.noise_planes import copy_excess, spread_planes
from astra.images.psf import gaussian_psf

SHAPE = (300, 350)
ONE, OTHER = (gaussian_psf(fwhm, 17).coefficients[0] ** 2 for fwhm in (2.0, 4.0))
SQUARES = np.array([[[3.0 * ONE / ONE.sum(), 0.5 * OTHER / OTHER.sum()]]])


def planes(seed=1):
    rng = np.random.default_rng(seed)
    return tuple((level * rng.uniform(0.5, 1.5, SHAPE)).astype(np.float32) for level in (10.0, 20.0))


def test_planes_are_spread_by_the_squares():
    variances = planes()
    found = spread_planes(variances, (10.0, 20.0), SQUARES)
    expected = sum(
        fftconvolve(np.pad(v, 8, constant_values=level), square, "valid")
        for v, level, square in zip(variances, (10.0, 20.0), SQUARES[0, 0], strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_smooth_planes_are_scaled_by_the_sums():
    level = [np.full(SHAPE, v, np.float32) for v in (10.0, 20.0)]
    level[0] += np.linspace(0, 0.1, SHAPE[1], dtype=np.float32)
    found = spread_planes(tuple(level), (10.0, 20.0), SQUARES)
    np.testing.assert_allclose(found, 3.0 * level[0] + 10.0, rtol=1e-5)


def test_missing_variance_is_taken_as_the_level():
    variances = planes()
    variances[0][100:120, 100:120] = np.nan
    found = spread_planes(variances, (10.0, 20.0), SQUARES)
    assert np.isfinite(found).all()
    assert found[110, 110] == pytest.approx(3 * 10.0 + 0.5 * 20.0, rel=0.2)


def test_parts_of_the_frame_have_squares_of_their_own():
    flat = tuple(np.full((600, 700), v, np.float32) for v in (10.0, 20.0))
    squares = np.concatenate([SQUARES, 2 * SQUARES], axis=1)
    found = spread_planes(flat, (10.0, 20.0), squares)
    assert found[300, 50] == pytest.approx(40.0)
    assert found[300, 650] == pytest.approx(80.0)


def test_window_over_the_frame_is_copied_as_by_numpy():
    plane = planes()[0]
    plane[5, 7] = np.nan
    window = np.empty((40, 40), np.float32)
    change = copy_excess(plane, np.float32(10.0), -10, -8, window)
    expected = np.pad(np.nan_to_num(plane[:30, :32] - np.float32(10.0)), ((10, 0), (8, 0)))
    np.testing.assert_array_equal(window, expected)
    assert change == np.ptp(expected)
