import numpy as np
import pytest
from scipy import ndimage

from astra.images import blank_sky
from astra.images.blank_sky import find_blank_sky, find_source_free, sample_blank_sky, subtract_sky_mean
from astra.images.exposure import MASK_CR, MASK_DETECTED, MASK_SAT
from astra.images.masks import grow_square
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (240, 310)
SMALL = (120, 160)
NO_STARS = ([], [], [])


def test_sources_are_found_whatever_the_variance_plane_says():
    rng = np.random.default_rng(3)
    x, y = np.array([60.0, 200.0]), np.array([50.0, 180.0])
    exposure = make_exposure(rng, SHAPE, (x, y, 3000.0), 4.0)
    for factor in (0.01, 1.0, 100.0):
        free = find_source_free(exposure.replace(variance=exposure.variance * np.float32(factor)))
        assert not free[50, 60]
        assert not free[180, 200]
        assert 0.97 < free.mean() < 1.0


def test_defects_and_detections_are_no_sky():
    exposure = make_exposure(np.random.default_rng(3), SHAPE, NO_STARS, 4.0)
    image, variance, mask = exposure.image.copy(), exposure.variance.copy(), exposure.mask.copy()
    mask[10, 20], mask[30, 40] = MASK_CR, MASK_DETECTED
    image[50, 60], variance[70, 80], variance[90, 100] = np.nan, 0.0, np.nan
    free = find_source_free(exposure.replace(image=image, variance=variance, mask=mask))
    assert not free[[10, 30, 50, 70, 90], [20, 40, 60, 80, 100]].any()
    assert not find_source_free(exposure.replace(mask=np.full(SHAPE, MASK_CR))).any()


def test_long_waves_go_and_short_ones_stay():
    x = np.arange(SHAPE[1])
    free = np.ones(SHAPE, dtype=bool)
    free[100:120, 150:170] = False
    for period, kept in ((200.0, 0.1), (10.0, 1.0)):
        wave = np.broadcast_to(np.sin(2 * np.pi * x / period), SHAPE).astype(np.float32)
        flat = subtract_sky_mean(wave, free, 25)
        inner = np.s_[40:90, 60:-60]
        assert abs(flat[inner].std() / wave[inner].std() - kept) < 0.05
        assert (flat[~free] == 0).all()


@pytest.fixture
def images():
    rng = np.random.default_rng(12)
    one, two = (make_exposure(rng, SMALL, make_stars(rng, SMALL, 5), 3.5) for _ in range(2))
    mask, image = one.mask.copy(), two.image.copy()
    mask[100, 20], image[40:43, 100] = MASK_SAT, np.nan
    return one.replace(mask=mask), two.replace(image=image)


def test_blank_sky_is_that_of_the_definition(images):
    occupied = np.zeros(SMALL, dtype=bool)
    for exposure in images:
        bad = ((exposure.mask & MASK_SAT) > 0) | ~np.isfinite(exposure.image)
        snr = np.where(bad, 0, exposure.image / np.sqrt(exposure.variance)).astype(float)
        occupied |= bad | (5.0 * ndimage.uniform_filter(snr, 5) > 3.0)
    expected = ~grow_square(occupied, 5)
    np.testing.assert_array_equal(find_blank_sky(images), expected)
    assert 0.3 < expected.mean() < 0.95


def test_a_sample_has_the_numbers_of_the_whole(images, monkeypatch):
    monkeypatch.setattr(blank_sky, "SAMPLE_PIXELS", 8000)
    whole, seen = find_blank_sky(images), 0
    for lines, blank in sample_blank_sky(images):
        np.testing.assert_array_equal(blank, whole[lines])
        seen += blank.size
    assert 8000 <= seen < 0.6 * whole.size


def test_a_small_frame_is_sampled_as_a_whole(images):
    lines = [lines for lines, _ in sample_blank_sky(images)]
    assert sum(part.stop - part.start for part in lines) == SMALL[0]
