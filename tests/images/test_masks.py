import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from star_field import make_exposure

from astra.images.exposure import MASK_BAD, MASK_CR, MASK_UNMASKEDNAN
from astra.images.masks import grow_square, mark_unknown


@pytest.mark.parametrize("shape", [(30, 47), (3, 9), (1, 5), (0, 4)])
@pytest.mark.parametrize("radius", [0, 1, 3, 8])
def test_growth_is_a_dilation_by_a_square(shape, radius):
    mask = np.random.default_rng(3).random(shape) < 0.05
    before = mask.copy()
    grown = grow_square(mask, radius)
    expected = binary_dilation(mask, np.ones((2 * radius + 1, 2 * radius + 1))) if mask.size else mask
    assert (grown == expected).all()
    assert (mask == before).all()


def unknown_here_and_there(shape=(7, 11)):
    rng = np.random.default_rng(4)
    image = rng.normal(size=shape).astype(np.float32)
    variance = rng.uniform(1, 3, shape).astype(np.float32)
    mask = np.where(rng.random(shape) < 0.3, MASK_CR, 0).astype(np.uint32)
    image[0, 1], image[2, 3], variance[3, 4], variance[4, 5] = np.nan, np.inf, np.nan, -np.inf
    variance[5, 1:4], image[6, 0] = (-5.0, 0.0, np.nan), -1e30
    return make_exposure(image, variance, mask)


def test_pixels_of_unknown_value_or_noise_are_marked_and_others_left():
    given = unknown_here_and_there()
    before = given.copy()
    marked = mark_unknown(given)
    for plane in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(given, plane), getattr(before, plane))
    finite = np.isfinite(given.image) & np.isfinite(given.variance)
    known = finite & (np.nan_to_num(given.variance) > 0)
    expected = given.mask | np.where(known, 0, MASK_BAD) | np.where(finite, 0, MASK_UNMASKEDNAN)
    np.testing.assert_array_equal(marked.mask, expected)
    noise_known = np.isfinite(given.variance) & (np.nan_to_num(given.variance) > 0)
    mean = given.variance[known].mean(dtype=np.float64)
    expected = np.where(noise_known, given.variance, np.float32(mean))
    np.testing.assert_allclose(marked.variance, expected, rtol=1e-6)
    np.testing.assert_array_equal(marked.image, given.image)


def test_an_exposure_all_of_whose_pixels_are_known_is_returned_as_it_is():
    given = make_exposure(np.zeros((5, 8)))
    assert mark_unknown(given) is given
    assert mark_unknown(make_exposure(np.zeros((0, 8)))).shape == (0, 8)


def test_an_exposure_of_negative_variance_is_bad_everywhere():
    marked = mark_unknown(make_exposure(np.ones((5, 8)), np.full((5, 8), -5.0)), overwrite=True)
    assert (marked.mask == MASK_BAD).all()
    assert (marked.variance == 0).all()
