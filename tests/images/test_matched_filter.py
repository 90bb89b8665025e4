import numpy as np
import pytest
from scipy import ndimage

from astra.images.matched_filter import TILE_PIXEL, MatchedFilter, make_tile_filters, split_stamps
from astra.images.psf import Psf, gaussian_psf

SHAPE = (300, 530)


def varying_psf():
    """A lopsided PSF that widens over the frame."""
    narrow, wide = gaussian_psf(3.0, 31).coefficients[0], gaussian_psf(4.0, 31).coefficients[0]
    tilted = ndimage.rotate(wide, 30, reshape=False)
    return Psf(np.stack([narrow + 0.2 * tilted, 0.2 * tilted, -0.1 * narrow]), 1, 250.0, 150.0, 300.0)


@pytest.fixture
def scene():
    rng = np.random.default_rng(8)
    weight = rng.uniform(0.3, 1.0, SHAPE).astype(np.float32)
    weight[100:110, 200:290], weight[:, 17], weight[250:, 500:] = 0, 0, 0
    image = (rng.normal(size=SHAPE) * np.sqrt(4.0 / np.maximum(weight, 0.1))).astype(np.float32)
    image[weight == 0] = np.nan
    return image, MatchedFilter(weight, 4.0, make_tile_filters(varying_psf(), SHAPE))


def tiles():
    """Number and place of each tile."""
    corners = [(y, x) for y in range(0, SHAPE[0], TILE_PIXEL) for x in range(0, SHAPE[1], TILE_PIXEL)]
    return [(k, np.s_[y : y + TILE_PIXEL, x : x + TILE_PIXEL]) for k, (y, x) in enumerate(corners)]


def add_up(stack, tile, n=None):
    """Stamp of a tile."""
    columns, rows = stack
    return np.einsum("ki,kj->ij", columns[tile, :n].astype(float), rows[tile, :n].astype(float))


def correlate(image, stamp):
    return ndimage.correlate(image, stamp, mode="constant")


def plain_snr(image, matched_filter):
    """Twin of `MatchedFilter.snr`."""
    weight, out = matched_filter.weight.astype(float), np.zeros(SHAPE)
    weighted = np.where(weight > 0, image, 0).astype(float) * weight
    for tile, here in tiles():
        stamp, square = (
            add_up(stack, tile) for stack in (matched_filter.filters.stamp, matched_filter.filters.square)
        )
        first = add_up(matched_filter.filters.stamp, tile, 1)
        snr = correlate(weighted, stamp) / np.sqrt(
            np.maximum(correlate(weight, square), 1e-12) * matched_filter.level
        )
        seen = correlate((weight > 0).astype(float), first) / first.sum()
        out[here] = np.where((seen > 0.5) & (weight > 0), snr, 0)[here]
    return out


def test_numbers_are_those_of_plain_correlations(scene):
    image, matched_filter = scene
    expected = plain_snr(image, matched_filter)
    found = matched_filter.snr(image)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert (expected == 0).mean() < 0.1


def test_quick_numbers_are_those_of_the_first_product(scene):
    image, matched_filter = scene
    weight, expected = matched_filter.weight.astype(float), np.zeros(SHAPE)
    weighted = np.where(weight > 0, image, 0).astype(float) * weight
    for tile, here in tiles():
        first = add_up(matched_filter.filters.stamp, tile, 1)
        noise = np.sqrt(matched_filter.level * np.maximum(weight, 1e-9) * np.sum(first**2))
        expected[here] = np.where(weight > 0, correlate(weighted, first) / noise, 0)[here]
    np.testing.assert_allclose(matched_filter.quick_snr(image), expected, rtol=0, atol=2e-5)


def test_noise_has_unit_scatter_and_sources_their_signal_to_noise(scene):
    _, matched_filter = scene
    rng = np.random.default_rng(3)
    weight = np.ones(SHAPE, dtype=np.float32)
    plain = MatchedFilter(weight, 4.0, matched_filter.filters)
    noise = (2.0 * rng.normal(size=SHAPE)).astype(np.float32)
    assert plain.snr(noise)[20:-20, 20:-20].std() == pytest.approx(1.0, abs=0.02)
    stamp = varying_psf().stamp(400.0, 150.0)
    source = np.zeros(SHAPE, dtype=np.float32)
    source[135:166, 385:416] = 100 * stamp
    assert plain.snr(source)[150, 400] == pytest.approx(100 * np.sqrt(np.sum(stamp**2)) / 2.0, rel=1e-3)


def test_squares_have_the_sum_of_the_squares():
    filters = make_tile_filters(varying_psf(), SHAPE)
    for tile, _ in tiles():
        expected = np.sum(add_up(filters.stamp, tile) ** 2)
        assert add_up(filters.square, tile).sum() == pytest.approx(expected, rel=1e-5)
        assert np.abs(add_up(filters.stamp, tile).sum() - 1) < 0.02


def test_a_separable_stamp_is_one_product():
    columns, rows = split_stamps(gaussian_psf(3.0, 15).coefficients)
    assert columns.shape == (1, 1, 15)
    np.testing.assert_allclose(
        np.outer(columns[0, 0], rows[0, 0]), gaussian_psf(3.0, 15).coefficients[0], atol=1e-7
    )


def test_nothing_usable_is_no_signal():
    filters = make_tile_filters(gaussian_psf(3.0), (40, 60))
    empty = MatchedFilter(np.zeros((40, 60), np.float32), 1.0, filters)
    image = np.full((40, 60), np.nan, np.float32)
    assert not empty.snr(image).any()
    assert not empty.quick_snr(image).any()


def test_a_given_array_is_filled(scene):
    image, matched_filter = scene
    out = np.empty(SHAPE, dtype=np.float32)
    assert matched_filter.snr(image, out=out) is out
    np.testing.assert_array_equal(out, matched_filter.snr(image))
