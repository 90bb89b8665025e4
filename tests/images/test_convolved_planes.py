import numpy as np
import pytest
from scipy import ndimage, signal

from astra.images.convolved_planes import convolved_mask, fill_defects, spread_variance
from astra.images.exposure import MASK_BAD, MASK_EDGE, MASK_NO_DATA, MASK_SAT
from astra.images.psf import gaussian_psf


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def elongated_stamp():
    offset = np.arange(-15, 16)
    y, x = np.meshgrid(offset, offset, indexing="ij")
    return np.exp(-0.5 * ((x + 0.4 * y) ** 2 / 4 + (y - 0.4) ** 2 / 9)) - 0.02 * np.exp(-(x**2 + y**2) / 50)


@pytest.mark.parametrize("total", [1.0, 0.3])
def test_variance_is_convolved_with_the_squared_kernel(rng, total):
    variance = (50 + 200 * gaussian_psf(4.0, 61).coefficients[0] * 400).astype(np.float32)
    variance = np.pad(variance, ((20, 9), (31, 8)), constant_values=50.0)
    stamp = elongated_stamp()
    square = total * stamp**2 / (stamp**2).sum()
    expected = signal.convolve(variance - 50.0, square, mode="same") + 50.0 * total
    found = spread_variance(variance, stamp, total)
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())
    assert found.sum() == pytest.approx(expected.sum(), rel=2e-4)


def test_variance_that_is_missing_counts_as_the_sky(rng):
    variance = np.full((50, 70), 9.0, np.float32)
    variance[20:25, 30:40] = np.nan
    np.testing.assert_allclose(spread_variance(variance, elongated_stamp(), 1.0), 9.0, rtol=1e-5)
    assert not spread_variance(np.full((9, 12), np.nan, np.float32), elongated_stamp(), 1.0).any()


def masks(rng):
    clean = np.zeros((61, 83), np.uint32)
    spotted = clean.copy()
    spotted[rng.random(clean.shape) < 0.01] |= MASK_SAT
    spotted[rng.random(clean.shape) < 0.01] |= MASK_BAD
    holed = spotted.copy()
    holed[rng.random(clean.shape) < 0.002] |= MASK_NO_DATA
    holed[:3] |= MASK_NO_DATA
    return clean, spotted, holed, np.full((61, 83), MASK_NO_DATA), np.zeros((4, 7), np.uint32)


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("half_width", [3, 15])
def test_mask_grows_as_dilations_say(rng, which, half_width):
    mask = masks(rng)[which]
    expected = mask & MASK_NO_DATA
    for bit in (MASK_SAT, MASK_BAD):
        grown = ndimage.binary_dilation((mask & bit) > 0, np.ones((5, 5)))
        expected |= np.where(grown, bit, np.uint32(0))
    side = 2 * half_width + 1
    missing = ndimage.binary_dilation((mask & MASK_NO_DATA) > 0, np.ones((side, side)), border_value=True)
    expected |= np.where(missing, MASK_EDGE, np.uint32(0))
    before = mask.copy()
    np.testing.assert_array_equal(convolved_mask(mask, half_width), expected)
    np.testing.assert_array_equal(mask, before)


def test_defects_become_the_weighted_mean_of_their_good_neighbours(rng):
    image = rng.normal(size=(40, 55)).astype(np.float32)
    bad = rng.random(image.shape) < 0.1
    image[5, 6] = np.nan
    good = ~bad & np.isfinite(image)
    total = ndimage.gaussian_filter(np.where(good, image, 0.0), 1.5, mode="constant", radius=6)
    share = ndimage.gaussian_filter(good.astype(float), 1.5, mode="constant", radius=6)
    found = fill_defects(image, bad, 1.5)
    np.testing.assert_allclose(found[bad], (total / share)[bad], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[~bad], image[~bad])


def test_defects_without_good_neighbours_become_zero():
    image = np.full((12, 15), 7.0, np.float32)
    assert not fill_defects(image, np.ones(image.shape, bool), 1.5).any()
