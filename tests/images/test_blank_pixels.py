import numpy as np
import pytest
from scipy import ndimage

from astra.images import blank_pixels
from astra.images.blank_pixels import find_blank_sky, sample_blank_sky
from astra.images.exposure import MASK_SAT
from astra.images.masks import grow_square
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (120, 160)


@pytest.fixture
def images():
    rng = np.random.default_rng(12)
    one, two = (make_exposure(rng, SHAPE, make_stars(rng, SHAPE, 5), 3.5) for _ in range(2))
    mask, image = one.mask.copy(), two.image.copy()
    mask[100, 20], image[40:43, 100] = MASK_SAT, np.nan
    return one.replace(mask=mask), two.replace(image=image)


def test_blank_sky_is_that_of_the_definition(images):
    occupied = np.zeros(SHAPE, dtype=bool)
    for exposure in images:
        bad = ((exposure.mask & MASK_SAT) > 0) | ~np.isfinite(exposure.image)
        snr = np.where(bad, 0, exposure.image / np.sqrt(exposure.variance)).astype(float)
        occupied |= bad | (5.0 * ndimage.uniform_filter(snr, 5) > 3.0)
    expected = ~grow_square(occupied, 5)
    np.testing.assert_array_equal(find_blank_sky(images), expected)
    assert 0.3 < expected.mean() < 0.95


def test_a_sample_has_the_numbers_of_the_whole(images, monkeypatch):
    monkeypatch.setattr(blank_pixels, "SAMPLE_PIXELS", 8000)
    whole, seen = find_blank_sky(images), 0
    for lines, blank in sample_blank_sky(images):
        np.testing.assert_array_equal(blank, whole[lines])
        seen += blank.size
    assert 8000 <= seen < 0.6 * whole.size


def test_a_small_frame_is_sampled_as_a_whole(images):
    lines = [lines for lines, _ in sample_blank_sky(images)]
    assert sum(part.stop - part.start for part in lines) == SHAPE[0]
