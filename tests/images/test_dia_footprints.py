"""Where the pixels of a footprint are looked for."""

import numpy as np

from astra.images.dia_footprints import MAX_REACH_PIXEL, footprint_at


def test_the_whole_footprint_of_a_pixel_is_looked_at():
    footprints = np.zeros((40, 70), np.int32)
    footprints[10:15, 20:32] = 3
    label, (left, right, top, bottom) = footprint_at(footprints, 20, 14, 12)
    assert label == 3
    rows, columns = np.nonzero(footprints == 3)
    assert left <= columns.min() <= columns.max() < right
    assert top <= rows.min() <= rows.max() < bottom
    assert left >= 0
    assert bottom <= 40


def test_outside_footprints_there_is_nothing_to_look_at():
    label, (left, right, top, bottom) = footprint_at(np.zeros((40, 70), np.int32), 20, 14, 12)
    assert label == 0
    assert (right - left) * (bottom - top) == 0


def test_a_long_footprint_is_looked_at_in_part():
    footprints = np.ones((1000, 3), np.int32)
    _, (left, right, top, bottom) = footprint_at(footprints, 1, 500, 1000)
    assert (left, right) == (0, 3)
    assert (top, bottom) == (500 - MAX_REACH_PIXEL, 500 + MAX_REACH_PIXEL + 1)
