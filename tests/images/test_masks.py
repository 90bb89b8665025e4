import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from astra.images.masks import grow_square


@pytest.mark.parametrize("shape", [(30, 47), (3, 9), (1, 5), (0, 4)])
@pytest.mark.parametrize("radius", [0, 1, 3, 8])
def test_growth_is_a_dilation_by_a_square(shape, radius):
    mask = np.random.default_rng(3).random(shape) < 0.05
    before = mask.copy()
    grown = grow_square(mask, radius)
    expected = binary_dilation(mask, np.ones((2 * radius + 1, 2 * radius + 1))) if mask.size else mask
    assert (grown == expected).all()
    assert (mask == before).all()
