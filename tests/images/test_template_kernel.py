"""The loops of a template against whole arrays of numpy, and tiles cut or mapped against whole ones."""

import numpy as np
import pytest

from astra.images.exposure import MASK_DETECTED, MASK_NO_DATA
from astra.images.template_kernel import add_tile, finish_mean

STEP, CELL = 16, 16
SHAPE, CORNER = (70, 90), (16, 32)


@pytest.fixture
def tile():
    """Image, variance and mask with missing pixels, and what counts of it at the nodes."""
    rng = np.random.default_rng(3)
    shape = (40, 51)
    image, variance = rng.normal(size=shape), rng.uniform(0.5, 2.0, shape)
    mask = np.where(rng.random(shape) < 0.1, MASK_NO_DATA, MASK_DETECTED).astype(np.uint32)
    image[3, 4], variance[5, 6], variance[7, 8], variance[9, 10] = np.nan, np.inf, np.nan, 0.0
    share = rng.uniform(-0.5, 1.5, (-(-shape[0] // STEP) + 1, -(-shape[1] // STEP) + 1))
    return (image.astype(np.float32), variance.astype(np.float32), mask), share.astype(np.float32)


def plain_weight(planes, share):
    """Weights of the pixels, as whole arrays."""
    y, x = (np.arange(n) for n in planes[0].shape)
    hat_y, hat_x = (
        np.maximum(1 - np.abs(place[:, None] / STEP - np.arange(n)), 0)
        for place, n in zip((y, x), share.shape, strict=True)
    )
    good = (planes[2] & MASK_NO_DATA) == 0
    good &= np.isfinite(planes[0]) & np.isfinite(planes[1]) & (planes[1] > 0)
    return np.where(good, np.clip(hat_y @ share @ hat_x.T, 0, 1) / np.where(good, planes[1], 1), 0)


def add_twice(tile, n):
    """Sums of ``n`` times a tile, and those over cells."""
    sums = [*(np.zeros(SHAPE, np.float32) for _ in range(3)), np.zeros(SHAPE, np.uint32)]
    cells = np.zeros((5, 6), np.float32)
    for _ in range(n):
        add_tile(tile[0], tile[1], STEP, CORNER, tuple(sums), (cells, CELL))
    return sums, cells


def test_sums_are_those_of_whole_arrays(tile):
    planes, weight = tile[0], plain_weight(*tile)
    (total, image, sigma, mask), cells = add_twice(tile, 1)
    here = np.s_[CORNER[0] : CORNER[0] + 40, CORNER[1] : CORNER[1] + 51]
    np.testing.assert_allclose(total[here], weight, atol=1e-6)
    used = weight > 1e-6
    assert used.mean() > 0.5
    np.testing.assert_allclose(image[here][used], weight[used] * planes[0][used], atol=1e-5)
    np.testing.assert_allclose(sigma[here][used], weight[used] * np.sqrt(planes[1][used]), atol=1e-5)
    np.testing.assert_array_equal(mask[here][used], planes[2][used])
    outside = np.ones(SHAPE, bool)
    outside[here] = False
    assert all((plane[outside] == 0).all() for plane in (total, image, sigma, mask))
    whole = np.zeros((80, 96))
    whole[here] = weight
    np.testing.assert_allclose(cells, whole.reshape(5, CELL, 6, CELL).sum(axis=(1, 3)), atol=1e-3)


def test_the_mean_of_equal_tiles_is_the_tile(tile):
    planes, weight = tile[0], plain_weight(*tile)
    (total, image, variance, mask), _ = add_twice(tile, 3)
    finish_mean(total, image, variance, mask)
    here = np.s_[CORNER[0] : CORNER[0] + 40, CORNER[1] : CORNER[1] + 51]
    used = weight > 1e-6
    np.testing.assert_allclose(image[here][used], planes[0][used], atol=1e-5)
    np.testing.assert_allclose(variance[here][used], planes[1][used], rtol=1e-5)
    empty = total == 0
    assert empty[0, 0]
    assert np.isnan(image[empty]).all() and np.isnan(variance[empty]).all()  # noqa: PT018
    assert (mask[empty] == MASK_NO_DATA).all()
