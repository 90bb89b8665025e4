import numpy as np
import pytest
from scipy import ndimage, signal

from astra.images import spatial
from astra.images.psf import gaussian_psf
from astra.images.spatial import SpatialKernel, convolve_spatial, fit_spatial_kernel, frame_geometry


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_constant_kernel_is_an_ordinary_convolution(rng):
    image = rng.normal(size=(301, 523)).astype(np.float32)
    stamp = rng.normal(size=(9, 9))
    found = convolve_spatial(image, SpatialKernel(stamp[None]))
    np.testing.assert_allclose(found, signal.convolve(image, stamp, mode="same"), atol=2e-4)


def test_varying_kernel_is_that_of_the_output_pixel(rng):
    image = rng.normal(size=(60, 75)).astype(np.float32)
    kernel = SpatialKernel(rng.normal(size=(6, 5, 5)), 2, 37.0, 29.5, 37.5)
    found = convolve_spatial(image, kernel)
    for x, y in ((10, 12), (40, 33), (70, 55)):
        patch = image[y - 2 : y + 3, x - 2 : x + 3]
        assert found[y, x] == pytest.approx(np.sum(patch * kernel.at(x, y)[::-1, ::-1]), abs=1e-4)


def test_images_smaller_than_the_kernel_are_convolved(rng):
    image = rng.normal(size=(5, 3)).astype(np.float32)
    stamp = gaussian_psf(3.0, 11).coefficients
    np.testing.assert_allclose(
        convolve_spatial(image, SpatialKernel(stamp)),
        signal.convolve(image, stamp[0], mode="full")[5:10, 5:8],
        atol=1e-5,
    )


def test_a_polynomial_function_is_fitted_exactly(rng):
    terms = rng.normal(size=(6, 7, 7))
    kernel = SpatialKernel(terms, 2, 99.5, 49.5, 100.0)
    fitted = fit_spatial_kernel(kernel.at, (100, 200), 2)
    np.testing.assert_allclose(fitted.at(13.0, 77.0), kernel.at(13.0, 77.0), atol=1e-10)


def test_kernels_of_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="needs shape"):
        SpatialKernel(np.zeros((1, 4, 4)))


def test_kernels_larger_than_a_block_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        convolve_spatial(np.zeros((10, 10), np.float32), SpatialKernel(np.zeros((1, 301, 301))))


def test_pixels_that_are_not_finite_count_as_zero(rng):
    image = rng.normal(size=(70, 90)).astype(np.float32)
    zero = image.copy()
    image[30:35, 40], zero[30:35, 40] = np.nan, 0.0
    image[3, 4], zero[3, 4] = np.inf, 0.0
    kernel = SpatialKernel(gaussian_psf(3.0, 11).coefficients)
    np.testing.assert_allclose(convolve_spatial(image, kernel), convolve_spatial(zero, kernel), atol=1e-6)


def test_a_slowly_varying_kernel_is_linear_within_blocks_and_close_to_exact(rng, monkeypatch):
    shape = (900, 1100)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 1.2).astype(np.float32)
    stamps = np.array([gaussian_psf(3.0 + 0.1 * k, 21).coefficients[0] for k in range(6)])
    stamps[1:] = 0.02 * (stamps[1:] - stamps[0])
    kernel = SpatialKernel(stamps, 2, *frame_geometry(shape))
    found = convolve_spatial(image, kernel)
    monkeypatch.setattr(spatial, "BLOCK_TOLERANCE", 0.0)
    exact = convolve_spatial(image, kernel)
    y, x = 640, 1003
    patch = image[y - 10 : y + 11, x - 10 : x + 11]
    assert exact[y, x] == pytest.approx(np.sum(patch * kernel.at(x, y)[::-1, ::-1]), abs=1e-5)
    assert 0 < np.abs(found - exact).max() < 2e-3 * exact.std()
