import numpy as np
import pytest
from scipy import ndimage

from astra.images.saturation import TRAIL_GROWTH, grow_bit, widen_trails

BIT, OTHER = np.uint32(2), np.uint32(8)


def scattered(seed=1, shape=(40, 70), share=0.02):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) < share).astype(np.uint32) * BIT + (rng.random(shape) < 0.1) * OTHER


def plain_widen(mask, growth):
    """The same with the runs of each row as python lists."""
    widened = mask.copy()
    for y, row in enumerate(mask & BIT != 0):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        for start, stop in edges.reshape(-1, 2):
            by = growth[min(stop - start, len(growth) - 1)]
            widened[y, max(start - by, 0) : stop + by] |= BIT
    return widened


@pytest.mark.parametrize("radius", [0, 1, 4])
def test_growing_is_a_dilation_of_one_bit(radius):
    mask = scattered()
    expected = ndimage.binary_dilation(mask & BIT != 0, np.ones((2 * radius + 1,) * 2))
    others = mask & OTHER
    grow_bit(mask, BIT, radius)
    np.testing.assert_array_equal(mask & BIT != 0, expected)
    np.testing.assert_array_equal(mask & OTHER, others)


def test_rows_that_are_told_not_to_have_the_bit_are_not_looked_at():
    mask = scattered()
    rows = np.zeros(40, bool)
    rows[7] = True
    expected = mask.copy()
    expected[[i for i in range(40) if i != 7]] &= ~BIT
    grow_bit(expected, BIT, 1)
    grow_bit(mask, BIT, 1, rows)
    np.testing.assert_array_equal(mask[6:9] & BIT, (expected | scattered())[6:9] & BIT)


@pytest.mark.parametrize("length", range(1, 14))
def test_a_run_widens_by_what_its_length_asks_for(length):
    mask = np.zeros((3, 60), np.uint32)
    mask[1, 20 : 20 + length] = BIT
    widen_trails(mask, BIT)
    by = TRAIL_GROWTH[min(length, 10)]
    expected = np.zeros((3, 60), np.uint32)
    expected[1, 20 - by : 20 + length + by] = BIT
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.6, 0.9, 1.0])
def test_widening_agrees_with_plain_python(share):
    mask = scattered(3, share=share)
    expected = plain_widen(mask, TRAIL_GROWTH)
    widen_trails(mask, BIT)
    np.testing.assert_array_equal(mask, expected)
