import numpy as np
import pytest
from scipy import ndimage

from astra.images.dia_pixels import (
    exclude_sources,
    find_above,
    find_bits,
    grow_planes,
    subtract_box_mean,
    weigh_pixels,
)
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE
from astra.images.masks import grow_square
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (110, 170)


@pytest.fixture
def pair():
    rng = np.random.default_rng(2)
    difference = make_exposure(rng, SHAPE, ([], [], []), 3.5)
    matched = make_exposure(rng, SHAPE, make_stars(rng, SHAPE, 20), 3.5)
    mask, image, variance = difference.mask.copy(), difference.image.copy(), difference.variance.copy()
    mask[10:14, 20:30] |= MASK_SAT
    mask[:, 0] |= MASK_NO_DATA
    mask[50, 60:70] |= MASK_BAD | MASK_INTRP
    mask[60, 60:70] |= MASK_CR
    mask[62, 60:70] |= MASK_CR | MASK_INTRP
    image[80, 80], variance[81, 80], variance[82, 80], variance[83, 80] = np.nan, 0, np.nan, np.inf
    template = matched.image.copy()
    template[40:44, 40:44] = np.nan
    return difference.replace(mask=mask, image=image, variance=variance), matched.replace(image=template)


def test_weights_are_those_of_the_definition(pair):
    difference, matched = pair
    made_up = np.zeros(SHAPE, np.uint32)
    made_up[20:22, 100:120] = MASK_INTRP
    weight, level = weigh_pixels(
        difference,
        matched,
        interpolated=(difference.mask, made_up),
        model_error=0.02,
        shift_error_pixel=0.1,
    )
    image = np.nan_to_num(matched.image).astype(float)
    along_y, along_x = np.gradient(image)
    extra = (0.02 * np.maximum(image, 0)) ** 2 + 0.1**2 * (along_x**2 + along_y**2)
    repeated = ((difference.mask | made_up) & MASK_INTRP) > 0
    variance = difference.variance.astype(float)
    bad = (difference.mask & (MASK_SAT | MASK_NO_DATA | MASK_BAD)) > 0
    bad |= (difference.mask & (MASK_CR | MASK_INTRP)) == MASK_CR
    bad |= ~np.isfinite(difference.image) | ~np.isfinite(variance) | ~(variance > 0)
    expected = np.where(bad, 0, level / (variance + extra + np.where(repeated, 4 * variance, 0)))
    np.testing.assert_allclose(weight, expected, rtol=1e-5)
    assert level == pytest.approx(100.0)


def test_without_a_template_the_variance_alone_weighs(pair):
    difference, _ = pair
    weight, level = weigh_pixels(difference)
    good = weight > 0
    np.testing.assert_allclose(weight[good], level / difference.variance[good], rtol=1e-6)


def test_no_usable_pixel_has_weight(pair):
    difference, matched = pair
    nothing = difference.replace(mask=np.full(SHAPE, MASK_NO_DATA, np.uint32))
    weight, level = weigh_pixels(nothing, matched)
    assert not weight.any()
    assert level == 1.0


def test_planes_grow_by_squares():
    rng = np.random.default_rng(4)
    mask = np.zeros(SHAPE, np.uint32)
    for plane in (MASK_SAT, MASK_SAT_TEMPLATE, MASK_BAD):
        seeds = ndimage.binary_dilation(rng.random(SHAPE) < 0.002, iterations=3)
        mask |= np.where(seeds, plane, np.uint32(0))
    before = mask.copy()
    grown = grow_planes(mask, MASK_SAT | MASK_SAT_TEMPLATE, 3)
    np.testing.assert_array_equal(mask, before)
    for plane, radius in ((MASK_SAT, 3), (MASK_SAT_TEMPLATE, 3), (MASK_BAD, 0)):
        np.testing.assert_array_equal((grown & plane) > 0, grow_square((mask & plane) > 0, radius))


@pytest.mark.parametrize("side", [5, 33, 301])
def test_box_mean_is_that_of_the_definition(side):
    rng = np.random.default_rng(5)
    image = rng.normal(3.0, 2.0, SHAPE).astype(np.float32)
    excluded = rng.random(SHAPE) < 0.3
    excluded[:, 100:160] = True
    image[excluded] = np.nan
    flat = subtract_box_mean(image, excluded, side)
    total, number = (
        side**2 * ndimage.uniform_filter(plane, side, mode="constant")
        for plane in (np.where(excluded, 0.0, image.astype(float)), (~excluded).astype(float))
    )
    mean = np.where(number > 0.05 * side**2, total / np.maximum(number, 1), 0)
    np.testing.assert_allclose(flat, image - mean, rtol=1e-5, atol=1e-5)


def test_sources_and_what_has_no_weight_are_excluded():
    rng = np.random.default_rng(6)
    snr = rng.normal(size=SHAPE).astype(np.float32)
    weight = (rng.random(SHAPE) > 0.01).astype(np.float32)
    expected = grow_square(np.abs(snr) >= 3.0, 2) | (weight == 0)
    np.testing.assert_array_equal(exclude_sources(snr, weight, 3.0, 2), expected)


def test_pixels_are_found_in_their_order():
    rng = np.random.default_rng(7)
    snr = (3 * rng.normal(size=SHAPE)).astype(np.float32)
    snr[3, 4] = np.nan
    np.testing.assert_array_equal(
        find_above(snr, np.float32(5)), np.argwhere(np.abs(np.nan_to_num(snr)) >= 5)
    )
    mask = rng.integers(0, 4096, SHAPE).astype(np.uint32) * (rng.random(SHAPE) < 0.1).astype(np.uint32)
    np.testing.assert_array_equal(find_bits(mask, MASK_SAT), np.argwhere((mask & MASK_SAT) > 0))


def test_local_mean_takes_the_sky_and_leaves_sources():
    rng = np.random.default_rng(12)
    exposure = make_exposure(rng, (120, 160), ([80.0], [60.0], [5000.0]), 3.5, noise=1.0)
    tilted = exposure.replace(image=exposure.image + np.linspace(0, 20, 160, dtype=np.float32))
    sources = np.hypot(*np.meshgrid(np.arange(160) - 80, np.arange(120) - 60)) < 9
    flat = subtract_box_mean(tilted.image, sources, 33)
    assert abs(np.mean(flat[20:40, 30:130])) < 0.1
    assert flat[51:70, 71:90].sum() == pytest.approx(5000.0, rel=0.03)
