import numpy as np
import pytest
from scipy.ndimage import correlate
from star_field import gaussian_image, make_exposure, make_star_field

from astra.images.background import fit_background, subtract_background
from astra.images.detection import detect_sources, filter_with_psf, mark_detected, mark_suspect
from astra.images.exposure import MASK_BAD, MASK_DETECTED, MASK_SAT, MASK_SUSPECT
from astra.images.psf import Psf, gaussian_psf

SHAPE = 150, 240
PSF = gaussian_psf(2.3548 * 1.4, 21)


def test_filtered_noise_has_unit_sigma_and_is_at_the_borders_too():
    image = np.random.default_rng(3).normal(size=SHAPE) * 3.0
    significance = filter_with_psf(make_exposure(image, np.full(SHAPE, 9.0)), PSF)
    assert significance.std() == pytest.approx(1.0, abs=0.03)
    assert significance[:5].std() == pytest.approx(1.0, abs=0.15)


def test_filtered_peak_of_a_star_is_its_optimal_signal_to_noise():
    image = gaussian_image(SHAPE, 100, 60, 500.0, 1.4)
    significance = filter_with_psf(make_exposure(image, np.full(SHAPE, 4.0)), PSF)
    # flux / (sigma_pixel sqrt(4 pi) sigma_psf)
    assert significance[60, 100] == pytest.approx(500 / (2 * np.sqrt(4 * np.pi) * 1.4), rel=0.01)
    assert np.unravel_index(significance.argmax(), SHAPE) == (60, 100)


def test_bad_pixels_do_not_enter_the_filter():
    image = np.zeros(SHAPE)
    image[40:44, 50:54] = np.nan
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[100, 100:120] = MASK_BAD
    image[100, 100:120] = 1e6
    assert np.abs(filter_with_psf(make_exposure(image, mask=mask), PSF)).max() < 1e-3


def plain_significance(image, variance, usable, stamp):
    """The numpy twin: the sums of the definition, with what lies beyond the border unusable."""
    weight = usable / variance
    signal = correlate(weight * np.where(usable, image, 0.0), stamp, mode="constant")
    return signal / np.sqrt(correlate(weight, stamp**2, mode="constant"))


def test_the_filter_is_that_of_its_definition():
    rng = np.random.default_rng(5)
    image, usable = rng.normal(size=SHAPE), rng.random(SHAPE) > 0.01
    stamp = gaussian_image((21, 21), 10, 10, 0.7, 2.0, 1.3) + gaussian_image((21, 21), 12, 9, 0.3, 1.5)
    mask = np.where(usable, 0, MASK_BAD).astype(np.uint32)
    found = filter_with_psf(make_exposure(image, np.full(SHAPE, 2.0), mask), Psf(stamp[None]))
    expected = plain_significance(image, 2.0, usable, stamp / stamp.sum())
    # A hundredth of sigma is what the products of columns and rows may leave out.
    assert np.abs(found - expected).max() < 1e-2
    assert np.abs(found - expected).std() < 2e-3


def test_a_sky_that_brightens_lowers_the_significance():
    shape = 400, 300
    image = gaussian_image(shape, 150, 60, 500.0, 1.4) + gaussian_image(shape, 150, 340, 500.0, 1.4)
    variance = np.repeat(np.linspace(2.0, 6.0, shape[0])[:, None], shape[1], axis=1)
    significance = filter_with_psf(make_exposure(image, variance), PSF)
    ratio = significance[60, 150] / significance[340, 150]
    assert ratio == pytest.approx(np.sqrt(variance[340, 0] / variance[60, 0]), rel=0.02)


def test_all_stars_of_a_field_are_found_once():
    field = make_star_field()
    science = subtract_background(field.exposure, fit_background(field.exposure))
    found = detect_sources(science, PSF)
    distance = np.hypot(found.x[:, None] - field.truth["x"], found.y[:, None] - field.truth["y"])
    assert (distance.min(axis=0) < 1.5).all()
    assert len(found) <= len(field.truth) + 1


def test_a_star_far_brighter_than_the_sky_is_one_source():
    star = gaussian_image(SHAPE, 100.3, 60.2, 1e7, 1.4)
    found = detect_sources(make_exposure(star, 10.0 + star / 2), PSF)
    assert len(found) == 1
    assert np.hypot(found.x - 100.3, found.y - 60.2) < 1


def test_a_close_pair_is_split():
    pair = gaussian_image(SHAPE, 100, 60, 5e3, 1.4) + gaussian_image(SHAPE, 107, 60, 2e3, 1.4)
    found = detect_sources(make_exposure(pair, np.full(SHAPE, 4.0)), PSF)
    assert sorted(found.x) == [100, 107]
    assert found.blended.any()


def test_segments_belong_to_the_source_of_their_label():
    pair = gaussian_image(SHAPE, 30, 60, 5e3, 1.4) + gaussian_image(SHAPE, 200, 60, 2e3, 1.4)
    found = detect_sources(make_exposure(pair, np.full(SHAPE, 4.0)), PSF)
    for k in range(len(found)):
        assert found.segments[int(found.y[k]), int(found.x[k])] == k + 1
        assert (found.segments == k + 1).sum() == found.n_pixels[k]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_empty_or_masked_image_has_no_sources(value):
    found = detect_sources(make_exposure(np.full(SHAPE, value)), PSF)
    assert len(found) == 0
    assert not found.segments.any()
    assert found.segments.shape == SHAPE


def test_detected_bits_are_those_of_the_footprints_alone():
    segments = np.zeros(SHAPE, dtype=np.int32)
    segments[10, 20] = 1
    mask = np.full(SHAPE, MASK_BAD | MASK_DETECTED, dtype=np.uint32)
    marked = mark_detected(mask, segments, grow_pixel=1)
    assert ((marked & MASK_DETECTED) > 0).sum() == 9
    assert (marked & MASK_BAD).all()
    assert marked.dtype == np.uint32


def test_peaks_tell_the_signal_to_noise():
    image = gaussian_image(SHAPE, 100, 60, 500.0, 1.4)
    found = detect_sources(make_exposure(image, np.full(SHAPE, 4.0)), PSF)
    assert found.peak_snr == pytest.approx([500 / (2 * np.sqrt(4 * np.pi) * 1.4)], rel=0.01)


def test_a_star_on_a_bad_column_is_found_on_it():
    image = gaussian_image(SHAPE, 100, 60, 5000.0, 1.4)
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[:, 100] = MASK_BAD
    image[:, 100] = np.nan
    found = detect_sources(make_exposure(image, np.full(SHAPE, 4.0), mask), PSF)
    assert (found.x.tolist(), found.y.tolist()) == ([100.0], [60.0])


def test_all_that_touches_a_saturated_source_is_suspect():
    segments = np.zeros(SHAPE, dtype=np.int32)
    segments[10:20, 10:20], segments[20:30, 15:25], segments[29:40, 25:30] = 1, 3, 2
    segments[60:70, 60:70] = 4
    mask = np.full(SHAPE, MASK_BAD, dtype=np.uint32)
    mask[12, 12] |= MASK_SAT
    marked = mark_suspect(mask, segments)
    assert np.array_equal((marked & MASK_SUSPECT) > 0, (segments > 0) & (segments < 4))
    assert np.array_equal(marked & ~MASK_SUSPECT, mask)
    assert mark_suspect(mask & ~MASK_SAT, segments).tolist() == (mask & ~MASK_SAT).tolist()
