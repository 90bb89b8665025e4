import numpy as np
import pytest

from astra.images.coadd_config import CoaddConfig
from astra.images.coadd_kernels import OUTLIER, add_values, flag_outliers, trimmed_mean
from astra.images.coadd_sums import CoaddSums, PixelMedian
from astra.images.coadd_warps import WarpedInput
from astra.images.exposure import MASK_BAD, MASK_CLIPPED, MASK_NO_DATA, MASK_REJECTED, MASK_SAT
from astra.images.psf import gaussian_psf

SHAPE = (23, 31)
REJECTED = np.uint32(MASK_BAD)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def warped(planes, corner=(0, 0)):
    return WarpedInput(planes, corner, (0.0, 0.0), gaussian_psf(3.0, 9), np.ones((64, 64)))


def stack(rng, n):
    images = rng.normal(size=(n, *SHAPE)).astype(np.float32)
    variances = rng.uniform(0.5, 2.0, size=images.shape).astype(np.float32)
    masks = np.where(rng.uniform(size=images.shape) < 0.2, REJECTED, 0).astype(np.uint32)
    images[rng.uniform(size=images.shape) < 0.05] = np.nan
    variances[rng.uniform(size=images.shape) < 0.05] = 0.0
    good = (masks == 0) & np.isfinite(images) & (variances > 0)
    return images, variances, masks, good


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_the_median_of_a_stream_is_that_of_numpy(rng, n):
    images, variances, masks, good = stack(rng, n)
    median = PixelMedian(SHAPE)
    for planes in zip(images, variances, masks, strict=True):
        median.add(warped(planes))
    assert (median.count == good.sum(axis=0)).all()
    expected = np.full(SHAPE, np.nan)
    some = good.any(axis=0)
    expected[some] = np.nanmedian(np.where(good, images, np.nan)[:, some], axis=0)
    np.testing.assert_allclose(median.finish(), expected, rtol=1e-5, atol=1e-6)


def test_of_more_values_the_extremes_are_left_out(rng):
    images, variances, masks, good = stack(rng, 12)
    extremes, middle = np.zeros((4, *SHAPE), np.float32), np.zeros(SHAPE, np.float32)
    count = np.zeros(SHAPE, np.uint16)
    for planes in zip(images, variances, masks, strict=True):
        add_values(planes, REJECTED, (0, 0), extremes, middle, count)
    trimmed_mean(extremes, middle, count)
    for y, x in np.ndindex(SHAPE):
        values = np.sort(images[good[:, y, x], y, x])
        if len(values) > 4:
            assert middle[y, x] == pytest.approx(values[2:-2].mean(), abs=1e-5)


def test_boxes_go_to_their_corner(rng):
    images, variances, masks, good = stack(rng, 1)
    median = PixelMedian((30, 50))
    median.add(warped((images[0], variances[0], masks[0]), (5, 11)))
    assert (median.count[5:28, 11:42] == good[0]).all()
    assert median.count.sum() == good.sum()


def test_outliers_are_those_of_numpy(rng):
    images, variances, masks, good = stack(rng, 1)
    reference = rng.normal(scale=0.1, size=SHAPE).astype(np.float32)
    bright = rng.uniform(0, 3, size=SHAPE).astype(np.float32)
    flags = np.empty(SHAPE, np.uint8)
    planes = images[0], variances[0], masks[0]
    n = flag_outliers(planes, REJECTED, (0, 0), reference, bright, (1.0, 0.5, 0.2), flags)
    excess = (np.abs(images[0] - reference) - 0.2 * bright) / np.sqrt(np.where(good[0], variances[0], 1))
    expected = np.where(good[0] & (excess > 1), 2, np.where(good[0] & (excess > 0.5), 1, 0))
    assert (flags != expected).sum() <= 1
    assert n == (flags == OUTLIER).sum() > 20


def plain_sums(images, variances, masks, good, weights, config):  # noqa: PLR0917
    """The numpy twin: clipped weighted mean without neighbours of outliers."""
    values = np.where(good, images, np.nan)
    median = np.full(SHAPE, np.nan)
    median[good.any(axis=0)] = np.nanmedian(values[:, good.any(axis=0)], axis=0)
    usable = np.where(good.any(axis=0), good, np.isfinite(images) & (variances > 0))
    sigma = np.sqrt(np.where(variances > 0, variances, 1))
    outlier = good & (np.abs(images - median) > config.clip_sigma * sigma) & (good.sum(axis=0) >= 3)
    used = usable & ~outlier
    w = np.where(used, weights[:, None, None], 0.0)
    total = np.where(w.sum(axis=0) > 0, w.sum(axis=0), np.nan)
    image = np.where(used, w * images, 0).sum(axis=0) / total
    variance = np.where(used, w**2 * variances, 0).sum(axis=0) / total**2
    return image, variance, used, outlier


def test_sums_are_those_of_numpy(rng):
    images, variances, masks, good = stack(rng, 6)
    masks[2] |= np.where(rng.uniform(size=SHAPE) < 0.1, MASK_SAT, 0).astype(np.uint32)
    masks[:, 3, 4] = REJECTED
    images[:, 3, 4], variances[:, 3, 4] = 1.0, 1.0
    good = ((masks & REJECTED) == 0) & np.isfinite(images) & (variances > 0)
    weights = rng.uniform(0.1, 1.0, 6)
    # Doubtful neighbours need a limit above that of outliers to be none.
    config = CoaddConfig(clip_sigma=1.5, clip_neighbour_sigma=1.5, clip_fraction=0.0)
    median = PixelMedian(SHAPE)
    for planes in zip(images, variances, masks, strict=True):
        median.add(warped(planes))
    sums = CoaddSums(median, config)
    numbers = [
        sums.add(warped(planes), weight, 0.0)
        for planes, weight in zip(zip(images, variances, masks, strict=True), weights, strict=True)
    ]
    expected, variance, used, outlier = plain_sums(images, variances, masks, good, weights, config)
    image, found_variance, mask = sums.planes()
    np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found_variance, variance, rtol=1e-4)
    assert (sums.coverage == used.sum(axis=0)).all()
    assert [n for n, _, _ in numbers] == used.sum(axis=(1, 2)).tolist()
    assert [n for _, n, _ in numbers] == outlier.sum(axis=(1, 2)).tolist()
    empty = ~used.any(axis=0)
    assert (mask[empty] == MASK_NO_DATA).all()
    assert (((mask & MASK_CLIPPED) > 0) == outlier.any(axis=0))[~empty].all()
    left_out = (masks & REJECTED > 0) & np.isfinite(images) & (variances > 0) & good.any(axis=0)
    assert (((mask & MASK_REJECTED) > 0) == left_out.any(axis=0))[~empty].all()
    saturated = (used & (masks & MASK_SAT > 0)).any(axis=0)
    assert (((mask & MASK_SAT) > 0) == saturated)[~empty].all()
    assert mask[3, 4] & REJECTED
    assert image[3, 4] == pytest.approx(1.0)
    weights_by_cell = sums.weights()
    assert weights_by_cell.shape == (6, 2, 2)
    expected = weights * used[:, :16, 16:].sum(axis=(1, 2)) / 16**2
    np.testing.assert_allclose(weights_by_cell[:, 0, 1], expected, rtol=1e-5)
