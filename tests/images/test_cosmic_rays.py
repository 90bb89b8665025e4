import numpy as np
import pytest
from scipy.ndimage import label
from star_field import gaussian_image, grid_stars, make_exposure

from astra.errors import TooManyCosmicRaysError
from astra.images.cosmic_rays import (
    PAIRS,
    CosmicRayConfig,
    Planes,
    find_cosmic_rays,
    find_seeds,
    repair_cosmic_rays,
)
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_SAT
from astra.images.psf import gaussian_psf

SHAPE = 260, 340
GAIN, SKY, READ_VARIANCE = 2.0, 100.0, 4.0


def make_stars(sigma, seed=1, shape=SHAPE):
    """Sky-subtracted stars up to the full well without noise, pixel-integrated to third order, and theirs."""
    rng = np.random.default_rng(seed)
    x, y = grid_stars(shape, 18, rng)
    image = np.zeros(shape)
    nodes = np.array([-np.sqrt(0.6), 0.0, np.sqrt(0.6)]) / 2
    weights = np.array([5.0, 8.0, 5.0]) / 18
    for star_x, star_y in zip(x, y, strict=True):
        flux = 10 ** rng.uniform(2.5, 5.5)
        for dx, wx in zip(nodes, weights, strict=True):
            for dy, wy in zip(nodes, weights, strict=True):
                image += wx * wy * gaussian_image(shape, star_x + dx, star_y + dy, flux, sigma)
    return image


def observe(image, seed=2):
    """Add noise; the variance is the true one."""
    variance = (image + SKY) / GAIN + READ_VARIANCE
    noise = np.random.default_rng(seed).normal(size=image.shape) * np.sqrt(variance)
    return make_exposure(image + noise, variance, gain=GAIN)


def add_tracks(image, n, seed=3):
    """Straight tracks of 1 to 8 pixels, at least 80 adu each; returns the pixels that were hit."""
    rng = np.random.default_rng(seed)
    hit = np.zeros(image.shape, dtype=bool)
    for _ in range(n):
        angle, length, charge = rng.uniform(0, np.pi), rng.integers(1, 9), 10 ** rng.uniform(2.0, 3.5)
        y, x = rng.uniform(0, image.shape[0]), rng.uniform(0, image.shape[1])
        for step in range(length):
            row, column = int(y + step * np.sin(angle)), int(x + step * np.cos(angle))
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                image[row, column] += charge * rng.uniform(0.8, 1.2)
                hit[row, column] = True
    return hit


def found_in(cosmic_rays, shape=SHAPE):
    found = np.zeros(shape, dtype=bool)
    found[cosmic_rays.y, cosmic_rays.x] = True
    return found


def plain_first_hits(image, variance, ratios, min_sigma, noise_sigma):
    """The numpy twin of the test of pixels whose neighbours are not hit; False on the border."""
    stands_out, is_sharp = np.zeros((2, *image.shape), dtype=bool)
    middle = (slice(1, -1), slice(1, -1))
    for ratio, (dy, dx) in zip(ratios, PAIRS, strict=True):
        pair = [
            np.roll(plane, shift, axis=(0, 1))
            for plane in (image, variance)
            for shift in ((dy, dx), (-dy, -dx))
        ]
        mean, error = (pair[0] + pair[1]) / 2, np.sqrt(pair[2] + pair[3]) / 2
        stands_out |= image - mean > min_sigma * np.sqrt(variance)
        is_sharp |= ratio * (image - noise_sigma * np.sqrt(variance)) > mean + noise_sigma * error
    hits = np.zeros(image.shape, dtype=bool)
    hits[middle] = (stands_out & is_sharp & (image > min_sigma * np.sqrt(variance)))[middle]
    return hits


def test_compiled_seeds_equal_their_numpy_twin():
    rng = np.random.default_rng(8)
    image, variance = rng.normal(size=(40, 60)), rng.uniform(0.9, 1.1, (40, 60))
    rows, columns = np.meshgrid(np.arange(3, 38, 4), np.arange(3, 58, 4))
    image[rows, columns] += rng.uniform(2, 9, rows.shape)
    ratios = np.array([0.5, 0.6, 0.4, 0.45])
    excess, hits = np.zeros(image.shape, dtype=np.float32), np.empty((500, 2), np.int64)
    mask = np.zeros(image.shape, dtype=np.uint32)
    planes = Planes(image.astype(np.float32), variance.astype(np.float32), mask, excess, ratios)
    n = find_seeds(planes, hits, (4.0, 1.0))
    hit = excess > 0
    assert np.array_equal(hit, plain_first_hits(planes.image, planes.variance, ratios, 4.0, 1.0))
    assert 20 < n == hit.sum() < rows.size
    assert np.array_equal(np.argwhere(hit), hits[:n])


@pytest.mark.parametrize("fwhm", [2.2, 3.0, 5.0])
def test_stars_are_no_cosmic_rays(fwhm):
    exposure = observe(make_stars(fwhm / 2.3548))
    # The PSF of a pixel-integrated star is a little wider.
    own = gaussian_psf(2.3548 * np.sqrt((fwhm / 2.3548) ** 2 + 1 / 12))
    assert len(find_cosmic_rays(exposure, own)) <= 1


@pytest.mark.parametrize("fwhm", [2.2, 5.0])
def test_stars_are_no_cosmic_rays_to_a_wrong_first_guess(fwhm):
    exposure = observe(make_stars(fwhm / 2.3548))
    assert len(find_cosmic_rays(exposure, gaussian_psf(4.0), CosmicRayConfig(psf_fraction=0.35))) <= 1


@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_tracks_among_stars_are_found_and_nothing_else(fwhm):
    image = make_stars(fwhm / 2.3548)
    hit = add_tracks(image, 60)
    found = found_in(find_cosmic_rays(observe(image), gaussian_psf(fwhm)))
    labels, n_events = label(hit, np.ones((3, 3)))
    assert len(np.unique(labels[found & hit])) >= 0.95 * n_events
    assert (found & hit).sum() > 0.9 * hit.sum()
    assert (found & ~hit).sum() < 0.08 * hit.sum()


def test_events_are_the_connected_groups():
    image = np.zeros(SHAPE)
    image[20, 30:34] = image[21, 34] = image[50, 0] = image[51, SHAPE[1] - 1] = 500.0
    cosmic_rays = find_cosmic_rays(observe(image), gaussian_psf(4.0))
    places = [
        set(zip(cosmic_rays.y[e], cosmic_rays.x[e], strict=True))
        for e in (cosmic_rays.event == k for k in range(3))
    ]
    assert len(cosmic_rays) == 3
    assert places == [{(20, 30), (20, 31), (20, 32), (20, 33), (21, 34)}, {(50, 0)}, {(51, SHAPE[1] - 1)}]


def test_faint_pixels_are_found_next_to_bright_ones_alone():
    image = np.zeros(SHAPE)
    sigma = np.sqrt(SKY / GAIN + READ_VARIANCE)
    image[100, 100], image[100, 101], image[150, 150] = 40 * sigma, 3.5 * sigma, 3.5 * sigma
    exposure = make_exposure(image, np.full(SHAPE, sigma**2), gain=GAIN)
    assert found_in(find_cosmic_rays(exposure, gaussian_psf(4.0))).nonzero()[1].tolist() == [100, 101]


def test_events_of_little_charge_are_dropped():
    image = np.zeros(SHAPE)
    image[100, 100], image[120, 120] = 60.0, 90.0
    exposure = make_exposure(image, gain=GAIN)
    assert len(find_cosmic_rays(exposure, gaussian_psf(4.0))) == 1


def test_masked_pixels_are_neither_hit_nor_compared_with():
    image = np.zeros(SHAPE)
    image[:, 100], image[:, 101] = -80.0, 5000.0
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[:, 100], mask[:, 101] = MASK_BAD, MASK_SAT
    exposure = observe(np.maximum(image, 0)).replace(mask=mask)
    exposure.image[:, 100] = -80.0
    assert len(find_cosmic_rays(exposure, gaussian_psf(4.0))) == 0


def test_repaired_pixels_are_marked_and_near_the_truth():
    clean = make_stars(1.7)
    image = clean.copy()
    hit = add_tracks(image, 60)
    repaired, cosmic_rays = repair_cosmic_rays(observe(image), gaussian_psf(4.0))
    found = found_in(cosmic_rays)
    assert np.array_equal(repaired.mask > 0, found)
    assert np.all(repaired.mask[found] == MASK_CR | MASK_INTRP)
    pull = (repaired.image - clean)[found & hit] / np.sqrt(repaired.variance[found & hit])
    assert np.abs(np.median(pull)) < 0.2
    assert 1.4826 * np.median(np.abs(pull)) < 1.0


def test_hits_that_a_camera_has_marked_are_repaired():
    image = make_stars(1.7)
    marked = np.zeros(SHAPE, dtype=bool)
    marked[40:44, 200] = marked[200, 31:33] = True
    exposure = observe(image + 3000.0 * marked)
    mask = np.where(marked, MASK_CR, 0).astype(np.uint32)
    repaired, found = repair_cosmic_rays(exposure.replace(mask=mask), gaussian_psf(4.0))
    assert len(found) == 0
    assert (repaired.mask[marked] == MASK_CR | MASK_INTRP).all()
    pull = (repaired.image - image)[marked] / np.sqrt(repaired.variance[marked])
    assert np.abs(pull).max() < 5.0
    np.testing.assert_array_equal(repaired.image[~marked], exposure.image[~marked])


def test_an_image_without_events_comes_back_as_it_is():
    exposure = observe(np.zeros(SHAPE))
    repaired, cosmic_rays = repair_cosmic_rays(exposure, gaussian_psf(4.0))
    assert repaired is exposure
    assert len(cosmic_rays) == len(cosmic_rays.y) == 0


def test_pixels_without_value_are_ignored():
    exposure = observe(np.zeros(SHAPE))
    exposure.image[5, 5], exposure.variance[9, 9] = np.nan, np.nan
    masked = exposure.replace(mask=np.full(SHAPE, MASK_BAD, dtype=np.uint32))
    assert len(find_cosmic_rays(exposure, gaussian_psf(4.0))) == 0
    assert len(find_cosmic_rays(masked, gaussian_psf(4.0))) == 0


def test_too_many_hits_are_an_error_that_names_the_exposure():
    image = np.random.default_rng(1).normal(size=SHAPE) * 100
    with pytest.raises(TooManyCosmicRaysError, match="visit 7, detector 2") as raised:
        find_cosmic_rays(make_exposure(image), gaussian_psf(4.0), CosmicRayConfig(max_pixels=300))
    assert raised.value.context == {"n_pixels": 300, "n_allowed": 300}
