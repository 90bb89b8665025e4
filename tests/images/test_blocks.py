import numpy as np
import pytest

from astra.images.blocks import block_means


def plain_means(image, step):
    """The numpy twin: a mean without NaN of each block."""
    ny, nx = image.shape[0] // step, image.shape[1] // step
    blocks = image[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return np.nanmean(blocks, axis=(1, 3), dtype=np.float64)


@pytest.mark.parametrize("step", [1, 3, 7])
def test_means_are_those_of_the_numpy_twin(step):
    image = np.random.default_rng(1).normal(5.0, 2.0, (23, 38)).astype(np.float32)
    if step > 1:
        image[4, 5:9] = np.nan
        image[8, 8] = np.inf
    finite = np.where(np.isfinite(image), image, np.nan)
    assert block_means(image, step) == pytest.approx(plain_means(finite, step), rel=1e-6)


def test_a_block_without_a_finite_pixel_is_nan():
    image = np.ones((6, 9), dtype=np.float32)
    image[:3, 3:6] = np.nan
    assert np.isnan(block_means(image, 3)).tolist() == [[False, True, False], [False, False, False]]


def test_an_image_narrower_than_a_block_is_one_block():
    assert block_means(np.arange(8.0).reshape(2, 4), 4) == pytest.approx(np.array([[3.5]]))
