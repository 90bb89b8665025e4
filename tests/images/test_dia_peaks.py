import numpy as np
from scipy import ndimage

from astra.images.dia_peaks import find_peaks

EIGHT = np.ones((3, 3))


def smooth_noise(seed, shape=(60, 90), sigma=1.5):
    """Noise as a matched filter leaves it, of unit scatter."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (noise / noise.std()).astype(np.float32)


def bump(shape, x, y, height, sigma=2.0):
    """What a matched filter makes of a point source."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))).astype(np.float32)


def plain_maxima(values, threshold, prominence):
    """Maxima of one sign by their definition: lower the water from each until a higher pixel is reached."""
    found = []
    rows, columns = ndimage.find_objects((values != 0).astype(int))[0]
    values = values[rows, columns]
    for y, x in np.argwhere(values >= threshold):
        if values[y, x] < ndimage.maximum_filter(values, 3)[y, x]:
            continue
        saddle = values[y, x] - prominence  # of a hill that no higher one touches
        for level in np.unique(values[(values > 0) & (values <= values[y, x])])[::-1]:
            hill, _ = ndimage.label(values >= level, EIGHT)
            if np.any(values[hill == hill[y, x]] > values[y, x]):
                saddle = level
                break
        if values[y, x] - saddle >= prominence:
            found.append((values[y, x], y + rows.start, x + columns.start))
    return found


def plain_peaks(snr, threshold, merge, prominence, separation):
    """Twin of `find_peaks`: x, y, snr, opposite and area of each source."""
    grown = ndimage.binary_dilation(np.abs(snr) >= threshold, EIGHT, iterations=merge)
    labels, n = ndimage.label(grown, EIGHT)
    rows = []
    for label in range(1, n + 1):
        inside = np.where(labels == label, snr, 0).astype(float)
        maxima = [
            (v, y, x, s) for s in (1, -1) for v, y, x in plain_maxima(s * inside, threshold, prominence)
        ]
        kept = []
        for value, y, x, sign in sorted(maxima, reverse=True):
            if not any(s != sign and np.hypot(y - j, x - i) <= separation for _, j, i, s in kept):
                kept.append((value, y, x, sign))
        for value, y, x, sign in kept:
            near = np.hypot(*np.ogrid[-y : snr.shape[0] - y, -x : snr.shape[1] - x]) <= separation
            rows.append((x, y, sign * value, max((-sign * inside * near).max(), 0), np.sum(labels == label)))
    return np.array(sorted(rows, key=lambda row: (row[1], row[0])))


def test_peaks_are_those_of_the_definition():
    for seed in range(2):
        snr = 3.0 * smooth_noise(seed)
        peaks = find_peaks(snr, 5.0, 2, min_prominence=1.0, dipole_separation=7.5)
        expected = plain_peaks(snr, 5.0, 2, 1.0, 7.5)
        assert len(peaks) > 10
        assert peaks.n_peaks.max() > 1
        found = np.stack([peaks.x, peaks.y, peaks.snr, peaks.opposite, peaks.area_pixel], axis=1)
        np.testing.assert_array_equal(found, expected)


def test_numbers_of_a_footprint_are_those_of_its_pixels():
    snr = 3.0 * smooth_noise(7)
    peaks = find_peaks(snr, 5.0, 2)
    labels, n = ndimage.label(
        ndimage.binary_dilation(np.abs(snr) >= 5.0, EIGHT, iterations=2), EIGHT, output=np.int32
    )
    assert n == peaks.footprints.max()
    assert len(np.unique(labels * (n + 1) + peaks.footprints)) == n + 1
    boxes = ndimage.find_objects(peaks.footprints)
    for k in range(len(peaks)):
        rows, columns = boxes[peaks.footprint[k] - 1]
        assert (rows.start, rows.stop - 1) == (peaks.y_min[k], peaks.y_max[k])
        assert (columns.start, columns.stop - 1) == (peaks.x_min[k], peaks.x_max[k])
        assert peaks.box_pixel[k] == max(rows.stop - rows.start, columns.stop - columns.start)
    np.testing.assert_array_equal(snr[peaks.y, peaks.x], peaks.snr.astype(np.float32))
    np.testing.assert_array_equal(peaks.footprints[peaks.y, peaks.x], peaks.footprint)
    counts = np.bincount(peaks.footprint, minlength=n + 1)
    np.testing.assert_array_equal(counts[peaks.footprint], peaks.n_peaks)
    some = peaks.opposite > 0
    np.testing.assert_allclose(np.abs(snr[peaks.opposite_y, peaks.opposite_x])[some], peaks.opposite[some])


def test_two_transients_six_pixels_apart_are_two_sources():
    snr = bump((50, 70), 30, 20, 20.0) + bump((50, 70), 36, 20, 12.0)
    peaks = find_peaks(snr, 5.0, 2)
    np.testing.assert_array_equal(peaks.x, [30, 36])
    np.testing.assert_array_equal(peaks.n_peaks, [2, 2])
    assert peaks.footprints.max() == 1


def test_a_dipole_is_one_source_that_knows_both_lobes():
    snr = bump((50, 70), 30, 20, -20.0) + bump((50, 70), 35, 22, 25.0)
    peaks = find_peaks(snr, 5.0, 2)
    assert len(peaks) == 1
    assert peaks.snr[0] > 0
    assert np.hypot(peaks.x[0] - 35, peaks.y[0] - 22) < 2
    assert np.hypot(peaks.opposite_x[0] - 30, peaks.opposite_y[0] - 20) < 2
    assert peaks.opposite[0] == -snr[peaks.opposite_y[0], peaks.opposite_x[0]]


def test_a_source_of_the_other_sign_farther_off_is_a_source():
    snr = bump((50, 70), 30, 20, 20.0) + bump((50, 70), 40, 20, -15.0)
    np.testing.assert_array_equal(find_peaks(snr, 3.0, 2, dipole_separation=7.0).x, [30, 40])
    np.testing.assert_array_equal(find_peaks(snr, 3.0, 2, dipole_separation=10.0).x, [30])


def test_the_side_of_a_source_is_no_source():
    snr = bump((50, 70), 30, 20, 20.0) + bump((50, 70), 34, 20, 9.0)
    snr[22, 36] += 2.0
    assert len(find_peaks(snr, 5.0, 2)) == 1


def test_footprints_that_must_not_be_split_have_their_highest_peak():
    snr = bump((50, 70), 30, 20, 20.0) + bump((50, 70), 38, 20, 12.0) + bump((50, 70), 12, 40, 8.0)
    mask = np.full(snr.shape, 4, dtype=np.uint32)
    mask[20, 40] |= 2
    peaks = find_peaks(snr, 5.0, 2, mask=mask, unsplit_planes=2)
    np.testing.assert_array_equal(peaks.x, [30, 12])


def test_a_plateau_is_one_peak():
    snr = np.zeros((30, 40), np.float32)
    snr[10:13, 10:14] = 6.0
    peaks = find_peaks(snr, 5.0, 2, min_prominence=0.0)
    np.testing.assert_array_equal([peaks.x, peaks.y], [[10], [10]])


def test_peaks_at_the_edge_are_found():
    snr = np.zeros((30, 40), np.float32)
    snr[0, 0], snr[29, 39], snr[0, 39] = 6.0, -7.0, 5.0
    peaks = find_peaks(snr, 5.0, 2)
    np.testing.assert_array_equal(peaks.snr, [6.0, 5.0, -7.0])
    np.testing.assert_array_equal(peaks.area_pixel, [9, 9, 9])


def test_nothing_and_no_number_are_no_peaks():
    assert len(find_peaks(np.full((10, 12), np.nan, np.float32), 5.0, 2)) == 0
    empty = find_peaks(
        np.zeros((10, 12), np.float32), 5.0, 2, mask=np.ones((10, 12), np.uint32), unsplit_planes=1
    )
    assert len(empty) == 0
    assert len(empty.where(np.zeros(0, bool))) == 0
    assert empty.box_pixel.shape == (0,)


def test_some_peaks_keep_their_rows():
    peaks = find_peaks(3.0 * smooth_noise(7), 5.0, 2)
    kept = peaks.snr > 0
    np.testing.assert_array_equal(peaks.where(kept).opposite_x, peaks.opposite_x[kept])
    assert peaks.where(kept).footprints is peaks.footprints
