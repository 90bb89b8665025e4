import numpy as np

from astra.images.dia_flags import find_mask_bits


def find(mask, footprints, peak, centroid, box=9):
    arrays = (np.array([p]) for p in (peak, box, centroid))
    return find_mask_bits(mask, footprints, *arrays)


def scene():
    mask, footprints = np.zeros((40, 60), np.uint32), np.zeros((40, 60), np.int32)
    footprints[10:19, 20:26], footprints[12:30, 27:30] = 1, 2
    return mask, footprints


def test_only_the_own_footprint_and_the_vicinity_count():
    mask, footprints = scene()
    mask[18, 20], mask[20, 28], mask[15, 26], mask[35, 50] = 1, 2, 4, 8
    bits = find(mask, footprints, (23, 13), (24, 14))
    assert bits.near[0] == 1 | 4
    assert bits.centre[0] == 0
    assert find(mask, footprints, (28, 20), (28, 20), 18).near[0] == 2


def test_the_centre_is_three_pixels_wide():
    mask, footprints = scene()
    mask[13, 23], mask[14, 26] = 1, 2
    assert find(mask, footprints, (23, 13), (24, 14)).centre[0] == 1
    mask[13:16, 23:26] |= 16
    bits = find(mask, footprints, (23, 13), (24, 14))
    assert bits.centre[0] == 17
    assert bits.centre_all[0] == 16


def test_a_centroid_elsewhere_is_not_contained_and_has_no_bits_off_the_image():
    mask, footprints = scene()
    mask[:] = 4
    near = find(mask, footprints, (23, 13), (24, 14))
    away = find(mask, footprints, (23, 13), (-30, 14))
    assert near.is_contained[0]
    assert not away.is_contained[0]
    assert away.centre[0] == away.centre_all[0] == 0
    assert away.near[0] == 4


def test_it_agrees_with_plain_indexing():
    rng = np.random.default_rng(2)
    mask = (rng.random((50, 70)) < 0.02).astype(np.uint32) << rng.integers(0, 20, (50, 70)).astype(np.uint32)
    footprints = np.zeros((50, 70), np.int32)
    peaks = []
    for label, (y, x) in enumerate(((5, 8), (5, 40), (30, 20), (44, 65)), start=1):
        footprints[y - 5 : y + 6, x - 4 : x + 5] = label
        peaks.append((x, y))
    peaks = np.array(peaks)
    bits = find_mask_bits(mask, footprints, peaks, np.full(4, 11), peaks)
    for k, (x, y) in enumerate(peaks):
        inside = footprints == k + 1
        inside[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = True
        assert bits.near[k] == np.bitwise_or.reduce(mask[inside])
        assert bits.centre[k] == np.bitwise_or.reduce(mask[y - 1 : y + 2, x - 1 : x + 2], axis=None)


def test_no_detections_have_no_bits():
    mask, footprints = scene()
    empty = np.zeros((0, 2), np.int64)
    assert find_mask_bits(mask, footprints, empty, np.zeros(0, np.int64), empty).near.shape == (0,)
