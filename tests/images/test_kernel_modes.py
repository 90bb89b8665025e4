import numpy as np
import pytest

from astra.images.kernel_modes import convolve_modes, fit_modal_kernel
from astra.images.psf import gaussian_psf
from astra.images.spatial import convolve_spatial, fit_spatial_kernel

SHAPE = (300, 410)


def stamp_at(x, y):
    return gaussian_psf(2.5 + 1.5 * x / SHAPE[1] + (y / SHAPE[0]) ** 2, 21).coefficients[0]


@pytest.fixture
def image():
    return np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)


def test_few_modes_are_as_good_as_all_stamps():
    kernel = fit_modal_kernel(stamp_at, SHAPE, 1e-3)
    assert 2 <= len(kernel.modes) <= 5
    for x, y in ((33.0, 250.0), (205.0, 111.0), (400.0, 20.0)):
        assert np.abs(kernel.at(x, y) - stamp_at(x, y)).max() < 2e-3 * stamp_at(x, y).max()
        assert kernel.at(x, y).sum() == pytest.approx(1.0, abs=1e-6)
    assert len(fit_modal_kernel(stamp_at, SHAPE, 1e-3, max_modes=1).modes) == 1
    assert kernel.centre == ((SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2)


def test_convolution_is_that_with_the_stamp_of_every_output_pixel(image):
    kernel = fit_modal_kernel(stamp_at, SHAPE, 1e-5)
    out = convolve_modes(image, kernel)
    for y, x in ((0, 0), (150, 235), (299, 409), (240, 17)):
        stamp = kernel.at(x, y)
        padded = np.pad(image, 10)[y : y + 21, x : x + 21]
        assert out[y, x] == pytest.approx(np.sum(padded * stamp[::-1, ::-1]), abs=1e-5)


@pytest.mark.parametrize("size", [21, 61])
def test_constant_kernel_is_an_ordinary_convolution(image, size):
    def constant_at(x, y):
        return gaussian_psf(4.0, size).coefficients[0]

    kernel = fit_modal_kernel(constant_at, SHAPE, 1e-3, constant=True)
    expected = convolve_spatial(image, fit_spatial_kernel(constant_at, SHAPE, 0))
    np.testing.assert_allclose(convolve_modes(image, kernel), expected, atol=1e-5)
    assert len(kernel.modes) == 0


def test_bad_pixels_count_as_zero_and_may_be_anything(image):
    bad = np.zeros(SHAPE, dtype=bool)
    bad[100:110, 200:230] = True
    broken = np.where(bad, np.float32(np.nan), image)
    kernel = fit_modal_kernel(stamp_at, SHAPE, 1e-3)
    expected = convolve_modes(np.where(bad, np.float32(0), image), kernel)
    np.testing.assert_array_equal(convolve_modes(broken, kernel, bad), expected)
