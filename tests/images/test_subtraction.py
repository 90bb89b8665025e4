import numpy as np
import pytest

from astra.images.decorrelation import FOURIER_SIDE, decorrelate, white_noise
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    MaskPlane,
)
from astra.images.kernel import MatchingKernel
from astra.images.psf import gaussian_psf
from astra.images.spatial import SpatialKernel
from astra.images.subtraction import (
    _subtract,
    apply_kernel,
    find_unrepaired,
    join_masks,
    repair,
    subtract_template,
)
from tests.images.difference_field import make_exposure

SHAPE = (300, 380)
NO_STARS = ([], [], [])
INNER = np.s_[30:-30, 30:-30]


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def matching(fwhm=3.0, ratio=1.0):
    kernel = SpatialKernel(ratio * gaussian_psf(fwhm, 31).coefficients)
    return MatchingKernel(kernel, np.zeros(1), 0, ratio, 10, 10, 1.0)


def lag_correlation(image):
    return np.mean(image[:, 1:] * image[:, :-1]) / np.mean(image**2)


def test_difference_of_unmatched_noise_scatters_by_the_quadratic_sum(rng):
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=10.0) for _ in range(2))
    delta = np.zeros((1, 31, 31))
    delta[0, 15, 15] = 1.0
    same = MatchingKernel(SpatialKernel(delta), np.zeros(1), 0, 1.0, 10, 10, 1.0)
    _, difference = subtract_template(science, template, same, convolve_science=False)
    assert difference.image[INNER].std() == pytest.approx(10 * np.sqrt(2), rel=0.01)
    np.testing.assert_allclose(difference.variance[INNER], 200.0, rtol=1e-3)


def test_variance_plane_is_that_of_the_whitened_difference(rng):
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=10.0) for _ in range(2))
    match = matching()
    _, difference = subtract_template(science, template, match, convolve_science=False)
    correlated = difference.image[INNER]
    assert correlated.var() < 0.7 * 200
    white = decorrelate(difference, match.kernel, white_noise(100.0, 100.0))
    assert white.image[INNER].var() == pytest.approx(200.0, rel=0.02)
    np.testing.assert_allclose(white.variance[INNER], 200.0, rtol=1e-3)
    assert abs(lag_correlation(correlated)) > 0.03
    assert abs(lag_correlation(white.image[INNER])) < 0.01


def test_whitening_keeps_fluxes_and_their_psf(rng):
    star = ([190.0], [150.0], [1e5])
    science = make_exposure(rng, SHAPE, star, 4.0, noise=0.1, photons=False)
    template = make_exposure(rng, SHAPE, NO_STARS, 2.6, noise=0.1, photons=False)
    match = matching()
    _, difference = subtract_template(science, template, match, convolve_science=False)
    white = decorrelate(difference, match.kernel, white_noise(1.0, 1.0))
    assert white.image.sum() == pytest.approx(1e5, rel=1e-3)
    stamp = white.psf.stamp(190.0, 150.0)
    found = white.image[135:166, 175:206] / 1e5
    assert np.abs(found - stamp).max() < 2e-3 * stamp.max()


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_convolved_science_keeps_its_own_flux_scale(rng, ratio):
    star = ([190.0], [150.0], [1e5])
    science = make_exposure(rng, SHAPE, star, 3.0, noise=0.1, photons=False)
    template = make_exposure(rng, SHAPE, NO_STARS, 4.2, noise=0.1, photons=False)
    _, difference = subtract_template(science, template, matching(3.0, ratio), convolve_science=True)
    assert difference.image.sum() == pytest.approx(1e5, rel=1e-3)
    np.testing.assert_allclose(difference.variance[INNER][:20], 0.01 + 0.01 / ratio**2, rtol=1e-2)


def test_masks_say_what_touched_a_pixel(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 3.0)
    mask = exposure.mask.copy()
    mask[100, 100] = MASK_SAT
    mask[:, 300:] = MASK_NO_DATA
    template = exposure.replace(mask=mask)
    _, difference = subtract_template(exposure, template, matching(), convolve_science=False)
    assert difference.mask[101, 102] & MASK_SAT_TEMPLATE
    assert not difference.mask[101, 102] & MASK_SAT
    assert difference.mask[150, 290] & MASK_EDGE
    assert np.isnan(difference.image[150, 310])
    assert difference.mask[150, 310] & MASK_NO_DATA
    assert difference.mask[150, 5] & MASK_EDGE
    assert not difference.mask[150, 150]


def test_unrepaired_defects_are_not_spread_by_a_convolution(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=1.0)
    image, mask = exposure.image.copy(), exposure.mask.copy()
    image[60, 70], mask[60, 70] = 1e6, MASK_CR
    image[80, 90], mask[80, 90] = 500.0, MASK_CR | MASK_INTRP
    image[90, 20], mask[90, 20] = -1e6, MASK_BAD
    mended = repair(exposure.replace(image=image, mask=mask))
    assert abs(mended.image[60, 70]) < 5
    assert abs(mended.image[90, 20]) < 5
    assert mended.image[80, 90] == 500.0
    assert mended.mask[60, 70] == MASK_CR


def test_convolution_scales_variance_by_the_squared_sum(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=10.0)
    convolved = apply_kernel(exposure, SpatialKernel(2 * gaussian_psf(3.0, 21).coefficients))
    np.testing.assert_allclose(convolved.variance, 400.0, rtol=1e-3)


def test_noise_of_a_difference_has_the_power_that_is_told(rng):
    shape = (576, 704)
    science, template = (make_exposure(rng, shape, NO_STARS, 3.0, noise=noise) for noise in (6.0, 10.0))
    _, difference = subtract_template(science, template, matching(), convolve_science=False)
    patches = difference.image[32:544, 32:672].reshape(8, FOURIER_SIDE, 10, FOURIER_SIDE).swapaxes(1, 2)
    power = np.mean(np.abs(np.fft.fft2(patches)) ** 2, axis=(0, 1)) / FOURIER_SIDE**2
    expected = 136.0 * difference.noise_power
    assert power.sum() == pytest.approx(expected.sum(), rel=0.03)
    low = np.abs(np.fft.fftfreq(FOURIER_SIDE)) < 0.1
    both = np.ix_(low, low)
    assert power[both].sum() == pytest.approx(expected[both].sum(), rel=0.05)
    assert power[~low][:, ~low].sum() == pytest.approx(expected[~low][:, ~low].sum(), rel=0.03)


@pytest.mark.parametrize(
    ("of_template", "on_difference"),
    [
        ("SAT", "SAT_TEMPLATE"),
        ("INJECTED", "INJECTED_TEMPLATE"),
        ("INJECTED_CORE", "INJECTED_CORE_TEMPLATE"),
        ("INJECTED_TEMPLATE", "INJECTED_TEMPLATE"),
        ("INJECTED_CORE_TEMPLATE", "INJECTED_CORE_TEMPLATE"),
        ("BAD", "BAD"),
        ("HIGH_VARIANCE", "HIGH_VARIANCE"),
        ("CR", None),
        ("DETECTED", None),
    ],
)
def test_what_is_the_templates_has_a_plane_of_its_own(rng, of_template, on_difference):
    science, template = (make_exposure(rng, (40, 60), NO_STARS, 3.0) for _ in range(2))
    mask = template.mask.copy()
    mask[20, 30] = MaskPlane[of_template]
    delta = np.zeros((1, 3, 3))
    delta[0, 1, 1] = 1.0
    same = MatchingKernel(SpatialKernel(delta), np.zeros(1), 0, 1.0, 10, 10, 1.0)
    _, difference = subtract_template(science, template.replace(mask=mask), same, convolve_science=False)
    expected = np.uint32(MaskPlane[on_difference]) if on_difference else np.uint32(0)
    assert difference.mask[20, 30] & ~np.uint32(MaskPlane.EDGE) == expected
    assert join_masks(science.mask, mask)[20, 30] == expected


def test_the_loop_of_a_subtraction_does_what_whole_arrays_do(rng):
    shape = (40, 53)
    images, variances = rng.normal(size=(2, *shape)), rng.uniform(1, 2, (2, *shape))
    masks = rng.integers(0, 1 << 13, (2, *shape)).astype(np.uint32)
    masks[rng.random(masks.shape) < 0.8] &= ~MASK_NO_DATA
    images[0, 3, 4], images[1, 5, 6], variances[1, 7, 8] = np.nan, np.inf, np.nan
    planes = [
        (i.astype(np.float32), v.astype(np.float32), m)
        for i, v, m in zip(images, variances, masks, strict=True)
    ]
    image, variance, mask = out = tuple(np.empty_like(plane) for plane in planes[0])
    _subtract(*planes, out)
    with np.errstate(invalid="ignore"):
        expected, summed = planes[0][0] - planes[1][0], planes[0][1] + planes[1][1]
    joined = join_masks(*masks)
    bad = ((joined & MASK_NO_DATA) > 0) | ~np.isfinite(expected) | ~np.isfinite(summed)
    assert 0.1 < bad.mean() < 0.5
    np.testing.assert_array_equal(image, np.where(bad, np.nan, expected))
    np.testing.assert_array_equal(variance, np.where(bad, np.nan, summed))
    np.testing.assert_array_equal(mask, np.where(bad, joined | MASK_NO_DATA, joined))


def test_a_defect_is_unrepaired_unless_it_was_interpolated():
    mask = np.array([[0, MASK_BAD, MASK_CR, MASK_BAD | MASK_INTRP, MASK_INTRP, MASK_SAT]], np.uint32)
    np.testing.assert_array_equal(find_unrepaired(mask), [[False, True, True, False, False, False]])
