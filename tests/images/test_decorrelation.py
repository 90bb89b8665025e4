import numpy as np
import pytest

from astra.images.decorrelation import (
    FOURIER_SIDE,
    NoiseModel,
    choose_half_width,
    decorrelate,
    decorrelation_kernel,
    find_unspreadable,
    fit_whitening,
    keep_unspreadable,
    noise_model,
    white_noise,
)
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE
from astra.images.kernel import MatchingKernel
from astra.images.noise_power import lag_correlations
from astra.images.psf import gaussian_psf
from astra.images.spatial import SpatialKernel, fit_spatial_kernel
from astra.images.subtraction import subtract_template
from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power
from tests.images.difference_field import add_stars, make_exposure, make_wcs

SHAPE = (420, 540)
NO_STARS = ([], [], [])
INNER = np.s_[35:-35, 35:-35]
DELTA = np.zeros((1, 31, 31))
DELTA[0, 15, 15] = 1.0


@pytest.fixture
def rng():
    return np.random.default_rng(81)


def matching(fwhm, ratio=1.0):
    stamp = gaussian_psf(fwhm, 31).coefficients if fwhm else DELTA
    return MatchingKernel(SpatialKernel(ratio * stamp), np.zeros(1), 0, ratio, 10, 10, 1.0)


def warped_noise(rng, science, shift, noise):
    wide = (SHAPE[0] + 40, SHAPE[1] + 60)
    wcs = make_wcs(SHAPE[1] / 2 + 30 + shift, SHAPE[0] / 2 + 20 + shift, 0.4 if shift == 0 else 0.0)
    template = make_exposure(rng, wide, NO_STARS, 3.0, noise=noise, wcs=wcs)
    pixel_map = make_pixel_map(science.wcs, wcs, SHAPE)
    warped = warp_exposure(template, pixel_map, science.wcs)
    return warped.replace(noise_power=warp_noise_power(pixel_map, FOURIER_SIDE))


def whiten(science, template, match, *, convolve_science=False, **keywords):
    _, difference = subtract_template(science, template, match, convolve_science=convolve_science)
    other, convolved = (template, science) if convolve_science else (science, template)
    planes = {"other_variance": other.variance, "convolved_variance": convolved.variance}
    noise = noise_model(other, convolved)
    return difference, decorrelate(difference, match.kernel, noise, **planes, **keywords)


CASES = {
    "equal seeing": (0.0, 10.0, 10.0, False, 1.0),
    "sharper template": (2.6, 10.0, 10.0, False, 1.0),
    "deep template": (2.6, 10.0, 4.0, False, 1.0),
    "much sharper and noisy template": (6.0, 3.0, 10.0, False, 1.0),
    "broader template": (2.6, 10.0, 10.0, True, 1.0),
    "much broader template": (6.0, 10.0, 3.0, True, 1.0),
    "template of another flux scale": (3.0, 10.0, 10.0, False, 2.0),
    "science of another flux scale": (2.6, 10.0, 10.0, True, 2.0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shift", [None, 0.0, 0.3])
def test_noise_is_white_with_the_variance_that_the_plane_says(rng, case, shift):
    fwhm, noise, template_noise, convolve_science, ratio = CASES[case]
    wcs = make_wcs(SHAPE[1] / 2, SHAPE[0] / 2)
    science = make_exposure(rng, SHAPE, NO_STARS, 4.0, noise=noise, wcs=wcs)
    if shift is None:
        template = make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=template_noise)
    else:
        template = warped_noise(rng, science, shift, template_noise)
    match = matching(fwhm, ratio)
    before, white = whiten(science, template, match, convolve_science=convolve_science)
    pulls = white.image[INNER] / np.sqrt(white.variance[INNER])
    everywhere = np.ones(pulls.shape, dtype=bool)
    assert np.mean(pulls**2) == pytest.approx(1.0, abs=0.02)
    assert np.abs(lag_correlations(pulls, everywhere)).max() < 0.02
    # White pixels scatter by the white equivalent.
    assert np.median(white.variance) == pytest.approx(np.median(before.variance), rel=0.015)
    assert white.noise_power is None


def test_published_variances_of_white_inputs(rng):
    # DMTN-021: inputs of variance 0.04 each must come out with the sum; there 0.0778 of 0.0800.
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=0.2) for _ in range(2))
    before, white = whiten(science, template, matching(5.0))
    assert before.image[INNER].var() == pytest.approx(0.0449, rel=0.1)
    assert white.image[INNER].var() == pytest.approx(0.0800, rel=0.01)
    np.testing.assert_allclose(white.variance[INNER], 0.0800, rtol=0.01)


def test_coloured_noise_of_both_images_becomes_white(rng):
    science, template = (
        warped_noise(rng, make_exposure(rng, SHAPE, NO_STARS, 4.0, wcs=make_wcs(270, 210)), 0.4, 10.0)
        for _ in range(2)
    )
    science = science.replace(psf=gaussian_psf(4.0, 31))
    _, white = whiten(science, template, matching(2.0))
    pulls = white.image[INNER] / np.sqrt(white.variance[INNER])
    assert np.mean(pulls**2) == pytest.approx(1.0, abs=0.02)
    assert np.abs(lag_correlations(pulls, np.ones(pulls.shape, bool))).max() < 0.02
    assert max(science.noise_power.mean(), template.noise_power.mean()) < 0.7


def test_kernel_that_varies_is_undone_everywhere(rng):
    def stamp_at(x, y):
        return gaussian_psf(2.0 + 2.0 * x / SHAPE[1] + 1.0 * (y / SHAPE[0]) ** 2, 31).coefficients[0]

    kernel = fit_spatial_kernel(stamp_at, SHAPE, 2)
    match = MatchingKernel(kernel, np.zeros(1), 0, 1.0, 10, 10, 1.0)
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 4.0, noise=10.0) for _ in range(2))
    _, white = whiten(science, template, match)
    for part in (np.s_[35:210, 35:200], np.s_[35:210, -200:-35], np.s_[-210:-35, -200:-35]):
        pulls = white.image[part] / np.sqrt(white.variance[part])
        assert np.mean(pulls**2) == pytest.approx(1.0, abs=0.03)
        assert np.abs(lag_correlations(pulls, np.ones(pulls.shape, bool))).max() < 0.02
    psi = fit_whitening(kernel, white_noise(100.0, 100.0), SHAPE)
    assert 1 <= len(psi.modes) <= 3
    for x, y in ((60.0, 300.0), (500.0, 30.0)):
        exact = decorrelation_kernel(kernel.at(x, y), white_noise(100.0, 100.0), psi.half_width)
        assert np.abs(psi.at(x, y) - exact).max() < 3e-3
        assert psi.at(x, y).sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("case", ["sharper template", "much sharper and noisy template"])
def test_fluxes_with_the_psf_of_the_difference_are_unbiased(case):
    fwhm, noise, template_noise, _, _ = CASES[case]
    kernel = fit_spatial_kernel(
        lambda x, y: gaussian_psf(fwhm * (1 + 0.1 * x / SHAPE[1]), 31).coefficients[0], SHAPE, 1
    )
    x, y = np.array([100.3, 270.5, 455.7]), np.array([80.2, 222.9, 350.0])
    image = np.zeros(SHAPE)
    add_stars(image, x, y, 1e5, 4.0)
    rng = np.random.default_rng(1)
    difference = make_exposure(rng, SHAPE, NO_STARS, 4.0).replace(
        image=image.astype(np.float32), psf=gaussian_psf(4.0, 41)
    )
    white = decorrelate(difference, kernel, white_noise(noise**2, template_noise**2))
    for xk, yk in zip(x, y, strict=True):
        ix, iy = round(xk), round(yk)
        shifted = fourier_shift(white.psf.stamp(xk, yk), xk - ix, yk - iy)
        margin = shifted.shape[0] // 2 - 15
        found = white.image[iy - 15 : iy + 16, ix - 15 : ix + 16]
        stamp = shifted[margin:-margin, margin:-margin]
        assert np.sum(found * stamp) / np.sum(stamp**2) == pytest.approx(1e5, rel=1e-3)


def fourier_shift(stamp, dx, dy):
    fy, fx = np.fft.fftfreq(stamp.shape[0])[:, None], np.fft.fftfreq(stamp.shape[1])[None]
    return np.fft.ifft2(np.fft.fft2(stamp) * np.exp(-2j * np.pi * (fx * dx + fy * dy))).real


def test_variance_plane_is_true_where_stars_add_photon_noise(rng):
    rows, columns = np.mgrid[20 : SHAPE[0] - 20 : 20, 20 : SHAPE[1] - 20 : 20]
    stars = np.zeros(SHAPE)
    add_stars(stars, columns.ravel(), rows.ravel(), 2e4, 4.0)
    sharper = np.zeros(SHAPE)
    add_stars(sharper, columns.ravel(), rows.ravel(), 2e4, 3.0)
    squares = np.zeros((20, 20))
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 4.0) for _ in range(2))
    variances = [(100.0 + light).astype(np.float32) for light in (stars, sharper)]
    n_times = 8
    for _ in range(n_times):
        noise = [np.sqrt(v) * rng.normal(size=SHAPE) for v in variances]
        images = [
            e.replace(image=n.astype(np.float32), variance=v)
            for e, n, v in zip((science, template), noise, variances, strict=True)
        ]
        _, white = whiten(*images, matching(2.6))
        pulls = (white.image**2 / white.variance)[10:-10, 10:-10]
        squares += pulls.reshape(SHAPE[0] // 20 - 1, 20, SHAPE[1] // 20 - 1, 20).mean(axis=(0, 2)) / n_times
    assert white.variance.max() > 10 * np.median(white.variance)
    # 20 x 26 stars, eight times: each place of the star's image is known to 2.2 %.
    assert np.abs(squares - 1.0).max() < 0.1
    assert squares[8:13, 8:13].mean() == pytest.approx(1.0, abs=0.02)


def test_identical_images_leave_nothing(rng):
    science = make_exposure(rng, SHAPE, ([200.0], [150.0], [1e5]), 3.0)
    _, white = whiten(science, science, matching(0.0))
    assert np.abs(white.image).max() < 1e-3


def test_unusable_pixels_do_not_spread(rng):
    science = make_exposure(rng, SHAPE, NO_STARS, 4.0)
    template = make_exposure(rng, SHAPE, NO_STARS, 3.0)
    image, mask = science.image.copy(), science.mask.copy()
    for row, plane in ((100, MASK_CR), (200, MASK_BAD), (300, MASK_SAT)):
        image[row, 250], mask[row, 250] = 1e7, plane
    image[50:60, 400:410], mask[50:60, 400:410] = np.nan, MASK_NO_DATA
    _, white = whiten(science.replace(image=image, mask=mask), template, matching(2.6))
    far = white.image.copy()
    far[300, 250] = 0.0
    assert np.nanmax(np.abs(far)) < 100
    assert white.image[300, 250] == pytest.approx(1e7, rel=1e-3)
    assert np.isnan(white.image[55, 405])
    assert np.isfinite(white.image[62, 405])
    assert np.isfinite(white.variance[62, 405])


def test_wider_filters_are_taken_where_they_are_needed():
    assert choose_half_width(DELTA[0], white_noise(1.0, 1.0)) == 7
    assert choose_half_width(gaussian_psf(6.0, 31).coefficients[0], white_noise(0.09, 1.0)) >= 20


def test_part_of_the_whitening_scatters_less_and_says_what_colour_is_left(rng):
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 3.0, noise=10.0) for _ in range(2))
    _, white = whiten(science, template, matching(3.0))
    _, partial = whiten(science, template, matching(3.0), strength=0.5)
    assert partial.image[INNER].var() < 0.9 * white.image[INNER].var()
    assert partial.noise_power[0, 0] == 1.0
    assert partial.image[INNER].var() == pytest.approx(200.0 * partial.noise_power.mean(), rel=0.02)


def test_whitening_kernel_of_a_noiseless_template_changes_nothing():
    psi = decorrelation_kernel(gaussian_psf(3.0, 31).coefficients[0], white_noise(1.0, 1e-9))
    assert psi[15, 15] == pytest.approx(1.0, abs=1e-6)


def test_whitening_undoes_the_correlation_of_the_warp():
    flat = np.ones((FOURIER_SIDE, FOURIER_SIDE))
    omega = 2 * np.pi * np.fft.fftfreq(FOURIER_SIDE)
    smooth = np.outer(np.cos(omega / 2) ** 2, np.cos(omega / 2) ** 2) + 0.01
    noise = NoiseModel(1.0, 1.0, flat, smooth / smooth[0, 0])
    psi = decorrelation_kernel(DELTA[0], noise)
    padded = np.zeros_like(flat)
    padded[:31, :31] = psi
    power = np.abs(np.fft.fft2(padded)) ** 2 * noise.spectrum(DELTA[0])
    assert power.std() / power.mean() < 0.02


def test_nothing_to_whiten_is_no_error(rng):
    science = make_exposure(rng, (60, 70), NO_STARS, 3.0)
    mask = np.full((60, 70), MASK_NO_DATA, dtype=np.uint32)
    empty = science.replace(mask=mask, image=np.full((60, 70), np.nan, np.float32))
    white = decorrelate(empty, matching(2.0).kernel, white_noise(100.0, 100.0))
    assert np.isnan(white.image).all()


def test_compiled_passes_do_what_masks_say(rng):
    image = rng.normal(size=(40, 50)).astype(np.float32)
    image[rng.random(image.shape) < 0.1] = np.nan
    mask = rng.integers(0, 1 << 13, size=image.shape).astype(np.uint32)
    saturated = (mask & (MASK_SAT | MASK_SAT_TEMPLATE)) > 0
    defect = ((mask & (MASK_BAD | MASK_CR)) > 0) & ((mask & MASK_INTRP) == 0)
    np.testing.assert_array_equal(find_unspreadable(image, mask), ~np.isfinite(image) | saturated | defect)
    out = np.full(image.shape, 7.0, np.float32)
    keep_unspreadable(image, mask, out)
    expected = np.where(saturated & np.isfinite(image), image, np.float32(7))
    np.testing.assert_array_equal(out, np.where((mask & MASK_NO_DATA) > 0, np.nan, expected))
