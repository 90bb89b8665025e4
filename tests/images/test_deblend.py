import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astra.images.deblend import split_peaks

SHAPE = 40, 57


def split(significance, threshold=5.0, min_pixels=1, min_rise=0.0, min_contrast=0.0):
    return split_peaks(
        np.asarray(significance, dtype=np.float32),
        threshold,
        min_pixels=min_pixels,
        min_rise=min_rise,
        min_contrast=min_contrast,
    )


def smooth_map(seed=0, shape=SHAPE):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.3)
    return (8.0 + 5.0 * noise / noise.std()).astype(np.float32)


def plain_split(significance, threshold, min_pixels, min_rise, min_contrast):
    """The numpy twin: floods the map from its highest pixel down, and joins lists of pixels."""
    label = np.zeros(significance.shape, dtype=int)
    padded = np.pad(significance.astype(np.float64), 1, constant_values=-np.inf)
    owner, region, peaks = [0], [0], [None]
    for place in np.argsort(-significance, axis=None, kind="stable"):
        y, x = np.unravel_index(place, significance.shape)
        if significance[y, x] <= threshold:
            break
        window = padded[y : y + 3, x : x + 3]
        near = [(window[j, i], y + j - 1, x + i - 1) for j in range(3) for i in range(3)]
        near = [one for one in near if one[0] > -np.inf and label[one[1], one[2]]]
        if not near:
            label[y, x] = len(owner)
            peaks.append((y, x))
            owner.append(len(owner))
            region.append(len(region))
            continue
        label[y, x] = label[max(near)[1:]]
        for group in sorted({region[label[j, i]] for _, j, i in near})[::-1]:
            high = min(region[label[j, i]] for _, j, i in near)
            if group == high:
                continue
            rise, saddle = significance[peaks[group]] - significance[y, x], significance[y, x]
            if rise < max(min_rise, min_contrast * saddle):
                owner = [high if one == group else one for one in owner]
            region = [high if one == group else one for one in region]
    kept = [
        k
        for k in range(1, len(owner))
        if owner[k] == k and np.isin(label, np.flatnonzero(np.array(region) == region[k])).sum() >= min_pixels
    ]
    found = {}
    for k in kept:
        pixels = np.isin(label, [other for other in range(1, len(owner)) if owner[other] == k])
        touches = sum(region[other] == region[k] for other in kept) > 1
        found[peaks[k]] = set(zip(*map(list, np.nonzero(pixels)), strict=True)), touches
    return found


@pytest.mark.parametrize(("rise", "contrast", "least"), [(0.0, 0.0, 1), (1.5, 0.0, 4), (0.5, 0.3, 2)])
def test_the_sources_are_those_of_a_flood_from_the_top(rise, contrast, least):
    significance = smooth_map()
    found = split(significance, 5.0, least, rise, contrast)
    expected = plain_split(significance, 5.0, least, rise, contrast)
    assert len(expected) > 5
    for k, place in enumerate(found.peaks):
        pixels, blended = expected.pop(np.unravel_index(place, SHAPE))
        assert set(zip(*map(list, np.nonzero(found.segments == k + 1)), strict=True)) == pixels
        assert len(pixels) == found.n_pixels[k]
        assert blended == found.blended[k]
    assert not expected


def ridge(*heights):
    significance = np.zeros((9, 2 * len(heights) + 5))
    significance[3:6, 2:-3] = np.repeat(heights, 2)
    return significance


def test_a_peak_is_split_off_if_it_rises_enough_above_the_saddle():
    significance = ridge(20, 10, 13)
    assert len(split(significance, min_rise=3.1).peaks) == 1
    assert len(split(significance, min_rise=2.9).peaks) == 2
    assert len(split(significance, min_contrast=0.31).peaks) == 1
    assert len(split(significance, min_contrast=0.29).peaks) == 2


def test_of_three_peaks_the_middle_one_is_judged_by_its_higher_saddle():
    # It rises 2 above the saddle to the first, which is the higher of its two.
    significance = ridge(30, 14, 16, 6, 20)
    found = split(significance, min_rise=2.5)
    assert significance.ravel()[found.peaks].tolist() == [30, 20]
    assert found.blended.all()
    assert found.n_pixels.sum() == (significance > 0).sum()


def test_a_plateau_is_one_peak_and_alone_it_is_no_blend():
    found = split(ridge(9, 9, 9))
    assert len(found.peaks) == 1
    assert not found.blended[0]
    assert (found.segments == (ridge(9, 9, 9) > 0)).all()


def test_what_has_too_few_pixels_is_no_source_but_a_part_of_a_large_blend_may_be_small():
    significance = np.zeros(SHAPE)
    significance[3, 3:5] = 9.0
    significance[20:30, 20:30] = 10.0
    significance[30, 30], significance[31, 31] = 6.0, 12.0
    found = split(significance, min_pixels=3, min_rise=1.0)
    assert significance.ravel()[found.peaks].tolist() == [10.0, 12.0]
    assert not found.segments[3].any()


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_map_that_is_nowhere_above_the_threshold_has_no_sources(value):
    found = split(np.full(SHAPE, value))
    assert len(found.peaks) == len(found.n_pixels) == len(found.blended) == 0
    assert not found.segments.any()


def test_a_map_that_is_one_peak_everywhere_is_one_source():
    y, x = np.indices(SHAPE)
    found = split(100.0 - np.hypot(y - 11.0, x - 30.0), threshold=1.0)
    assert found.peaks.tolist() == [11 * SHAPE[1] + 30]
    assert (found.segments == 1).all()
