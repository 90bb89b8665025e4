import numpy as np
import pytest
from star_field import gaussian_image, make_exposure

from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT
from astra.images.interpolation import (
    JITTER,
    LEAST_SIGNAL,
    REACH_PIXEL,
    Planes,
    interpolate,
    interpolate_defects,
    predict_pixels,
)
from astra.images.psf import gaussian_psf

SHAPE = 70, 90
SIGMA = 1.6
PSF = gaussian_psf(2.3548 * SIGMA, size=31)


def plain_prediction(image, variance, usable, y, x):
    """The numpy twin: ordinary kriging from the two nearest usable pixels in each of eight directions."""
    places = []
    for dy, dx in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
        ray = [(y + k * dy, x + k * dx) for k in range(1, REACH_PIXEL + 1)]
        ray = [p for p in ray if 0 <= p[0] < image.shape[0] and 0 <= p[1] < image.shape[1] and usable[p]]
        places += ray[:2]
    places = np.array(places)
    values, noise = image[tuple(places.T)].astype(float), variance[tuple(places.T)].astype(float)
    signal = max(values.var() - noise.mean(), LEAST_SIGNAL * noise.mean())
    squared = np.sum((places[:, None] - places[None]) ** 2, axis=-1)
    covariance = signal * np.exp(-0.25 * squared / SIGMA**2)
    system = np.ones((len(places) + 1, len(places) + 1))
    system[:-1, :-1] = covariance + np.diag(noise + JITTER * signal)
    system[-1, -1] = 0.0
    to_pixel = signal * np.exp(-0.25 * np.sum((places - [y, x]) ** 2, axis=1) / SIGMA**2)
    solution = np.linalg.solve(system, np.append(to_pixel, 1.0))
    weights, multiplier = solution[:-1], solution[-1]
    return weights @ values, max(signal - weights @ to_pixel - multiplier, noise.mean())


def make_scene(seed=3, sky=50.0):
    """Stars on a flat sky, its noise, and what they are without noise."""
    rng = np.random.default_rng(seed)
    truth = np.full(SHAPE, sky)
    for x, y, flux in ((20.2, 30.4, 4e4), (50.0, 22.7, 2e3), (66.6, 48.1, 9e3), (40.4, 55.0, 800.0)):
        truth += gaussian_image(SHAPE, x, y, flux, SIGMA)
    variance = truth / 2 + 4
    return truth, truth + rng.normal(size=SHAPE) * np.sqrt(variance), variance


def test_compiled_predictions_equal_their_numpy_twin():
    _, image, variance = make_scene()
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[:, 20:22] = mask[30, 40:60] = MASK_BAD
    rows, columns = np.array([30, 5, 30, 0, 69]), np.array([20, 21, 45, 20, 21])
    planes = Planes(image.astype(np.float32), variance.astype(np.float32), mask)
    predicted = predict_pixels(planes, MASK_BAD, rows, columns, SIGMA)
    for k, place in enumerate(zip(rows, columns, strict=True)):
        assert predicted[k] == pytest.approx(plain_prediction(*planes[:2], mask == 0, *place), rel=1e-4)


def test_bad_columns_are_bridged_within_the_stated_error():
    truth, image, variance = make_scene()
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[:, 20:22] = mask[:, 50] = mask[48, 60:75] = MASK_BAD
    image[mask > 0] = -1e4
    filled = interpolate_defects(make_exposure(image, variance, mask), PSF)
    where = mask > 0
    pull = (filled.image - truth)[where] / np.sqrt(filled.variance[where])
    assert np.abs(np.median(pull)) < 0.1
    assert np.sqrt(np.mean(pull**2)) < 1.0
    # In the brightest star, of which both central columns are lost: a straight line would miss by 20 %.
    assert abs(filled.image[30, 20] - truth[30, 20]) < 0.08 * truth[30, 20]
    assert np.all(filled.mask[where] == MASK_BAD | MASK_INTRP)
    assert np.array_equal(filled.image[~where], image.astype(np.float32)[~where])


def test_a_noiseless_slope_is_continued():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    slope = 100.0 + 2.0 * x - 1.0 * y
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[20:23, 40:42] = MASK_CR
    filled = interpolate_defects(make_exposure(np.where(mask, 1e5, slope), np.full(SHAPE, 1e-4), mask), PSF)
    assert filled.image[mask > 0] == pytest.approx(slope[mask > 0], abs=0.3)


def test_the_prediction_never_outweighs_a_measured_pixel():
    _, image, variance = make_scene()
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[10, 10] = MASK_BAD
    filled = interpolate_defects(make_exposure(image, np.full(SHAPE, 3.0), mask), PSF)
    assert filled.variance[10, 10] >= 3.0
    assert variance.shape == filled.variance.shape


def test_saturated_pixels_are_grown_before_they_are_replaced():
    _, image, variance = make_scene()
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[30, 20] = MASK_SAT
    exposure = make_exposure(image, variance, mask)
    filled = interpolate_defects(exposure, PSF, grow_saturated_pixel=2)
    assert np.all(filled.mask[28:33, 18:23] == MASK_SAT | MASK_INTRP)
    assert np.count_nonzero(filled.mask) == 25
    assert np.count_nonzero(exposure.mask) == 1


def test_what_sees_no_good_pixel_is_left_alone():
    _, image, variance = make_scene()
    everything = np.full(SHAPE, MASK_NO_DATA, dtype=np.uint32)
    exposure = make_exposure(image, variance, everything)
    filled = interpolate_defects(exposure, PSF)
    assert np.array_equal(filled.image, exposure.image)
    assert np.array_equal(filled.mask, everything)


def test_masked_rows_at_the_border_are_filled_as_far_as_the_reach():
    _, image, variance = make_scene()
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[:40] = MASK_NO_DATA
    image[:40] = np.nan
    filled = interpolate_defects(make_exposure(image, variance, mask), PSF)
    assert np.isfinite(filled.image[40 - REACH_PIXEL :]).all()
    assert np.isnan(filled.image[: 40 - REACH_PIXEL]).all()
    assert np.all(filled.mask[: 40 - REACH_PIXEL] == MASK_NO_DATA)


def test_pixels_without_value_or_variance_tell_nothing():
    image, variance = np.ones(SHAPE), np.ones(SHAPE)
    image[10, 11], variance[10, 9], image[10, 10] = np.nan, 0.0, 77.0
    image[9:12, 9] = 1e6
    variance[9:12, 9] = 0.0
    filled = interpolate(make_exposure(image, variance), np.array([10]), np.array([10]), PSF)
    assert filled.image[10, 10] == pytest.approx(1.0)


def test_nothing_to_replace_changes_nothing():
    exposure = make_exposure(np.ones(SHAPE))
    filled = interpolate(exposure, np.zeros(0, np.int64), np.zeros(0, np.int64), PSF, marks=MASK_CR)
    assert np.array_equal(filled.image, exposure.image)
    assert not filled.mask.any()
