import numpy as np
import pytest

from astra.images.alard_lupton import AlardLupton
from astra.images.decorrelation import NoiseModel, transform_stamp, white_noise
from astra.images.difference import difference_images
from astra.images.difference_config import DifferenceConfig
from astra.images.exposure import MASK_EDGE, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE
from astra.images.matching_config import MatchingConfig
from astra.images.noise_power import lag_correlations
from astra.images.psf import Psf, gaussian_psf
from astra.images.spatial import fit_spatial_kernel
from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power
from astra.images.zogy import Zogy, fit_sky
from astra.images.zogy_filters import make_filters
from astra.images.zogy_fit import register
from astra.plugins import SUBTRACTION_METHODS
from tests.images.difference_field import add_stars, make_exposure, make_pair, make_stars, make_wcs

SHAPE = (360, 440)
NO_STARS = ([], [], [])
INNER = np.s_[35:-35, 35:-35]
CONFIG = DifferenceConfig(method="zogy", matching=MatchingConfig(stamps_per_cell=12, stamp_min_peak_snr=20.0))


@pytest.fixture
def rng():
    return np.random.default_rng(31)


def subtract(science, template):
    return Zogy().subtract(science, template, CONFIG)


def test_filters_cancel_stars_and_make_the_noise_white():
    omega = 2 * np.pi * np.fft.fftfreq(64)
    smooth = np.outer(np.cos(omega / 2) ** 2, np.cos(omega / 2) ** 2) + 0.02
    noise = NoiseModel(100.0, 60.0, np.ones((64, 64)), smooth / smooth[0, 0])
    psfs = [gaussian_psf(fwhm, 41).coefficients[0] for fwhm in (4.0, 3.2)]
    filters = make_filters(*psfs, noise, 1.25)
    assert filters.science.sum() == pytest.approx(1.0)
    assert filters.template.sum() == pytest.approx(0.8)
    left, right = (transform_stamp(stamp) for stamp in (filters.science, filters.template))
    star = left * transform_stamp(psfs[0]) - 1.25 * right * transform_stamp(psfs[1])
    assert np.abs(star).max() < 2e-3
    power = np.abs(left) ** 2 * noise.other_variance
    power += np.abs(right) ** 2 * noise.convolved_variance * noise.convolved_power
    level = 100.0 + 60.0 / 1.25**2
    # Where neither PSF has any response, only the mean of the two noises can be made white.
    answered = np.maximum(np.abs(transform_stamp(psfs[0])), np.abs(transform_stamp(psfs[1]))) > 0.02
    np.testing.assert_allclose(power[answered], level, rtol=0.02)
    assert power.mean() == pytest.approx(level, rel=0.03)


def test_identical_images_leave_nothing(rng):
    exposure = make_exposure(rng, SHAPE, make_stars(rng, SHAPE, 80), 3.5)
    found = subtract(exposure, exposure)
    assert np.nanmax(np.abs(found.difference.image)) < 1e-2
    assert np.nanmax(np.abs(found.score.image)) < 1e-3
    assert found.metrics["zogyFluxRatio"] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("fwhm", "template_fwhm"), [(4.0, 3.0), (4.0, 4.0), (3.0, 4.2)])
def test_noise_is_white_with_the_planned_variance(rng, fwhm, template_fwhm):
    wcs_in, wcs_out = make_wcs(260.4, 210.3, 0.4), make_wcs(220.0, 180.0)
    science = make_exposure(rng, SHAPE, NO_STARS, fwhm, noise=10.0, wcs=wcs_out)
    source = make_exposure(rng, (440, 520), NO_STARS, template_fwhm, noise=7.0, wcs=wcs_in)
    pixel_map = make_pixel_map(wcs_out, wcs_in, SHAPE)
    template = warp_exposure(source, pixel_map, wcs_out).replace(noise_power=warp_noise_power(pixel_map, 64))
    found = subtract(science, template)
    pulls = found.difference.image[INNER] / np.sqrt(found.difference.variance[INNER])
    assert np.mean(pulls**2) == pytest.approx(1.0, abs=0.02)
    assert np.abs(lag_correlations(pulls, np.ones(pulls.shape, bool))).max() < 0.02
    assert np.median(found.difference.variance) == pytest.approx(149.0, rel=0.03)
    assert found.score.image[INNER].std() == pytest.approx(1.0, abs=0.06)
    assert found.metrics["zogyStars"] == 0.0


@pytest.fixture(scope="module")
def varying():
    """Stars and transients in PSFs that vary; the template of another flux scale, and shifted."""
    rng = np.random.default_rng(5)
    x, y, flux = make_stars(rng, SHAPE, 160, low=500.0, high=150000.0)
    grid_y, grid_x = np.mgrid[40:330:30, 40:410:30]
    new = np.full(grid_x.size, 1500.0)
    images, psfs = [], []
    for width, slope, scale, shift in ((3.6, 0.5, 1.0, 0.0), (3.0, -0.4, 1.3, 0.15)):

        def fwhm(x, width=width, slope=slope):
            return width + slope * np.asarray(x) / SHAPE[1]

        image = np.zeros(SHAPE)
        for k in range(len(x)):
            add_stars(image, [x[k] - shift], [y[k] + shift], [scale * flux[k]], fwhm(x[k]))
        if shift == 0:
            for xk, yk, fk in zip(grid_x.ravel(), grid_y.ravel(), new, strict=True):
                add_stars(image, [xk], [yk], [fk], fwhm(xk))
        images.append(image)
        psfs.append(
            fit_spatial_kernel(
                lambda x, y, fwhm=fwhm: gaussian_psf(float(fwhm(x)), 41).coefficients[0], SHAPE, 2
            ).as_psf()
        )
    exposures = []
    for image, psf in zip(images, psfs, strict=True):
        variance = 100.0 + np.clip(image, 0, None)
        noisy = image + rng.normal(size=SHAPE) * np.sqrt(variance)
        blank = make_exposure(rng, SHAPE, NO_STARS, 3.0)
        exposures.append(
            blank.replace(image=noisy.astype(np.float32), variance=variance.astype(np.float32), psf=psf)
        )
    return *exposures, grid_x.ravel(), grid_y.ravel(), new


def fluxes_at(difference, x, y):
    found, errors = [], []
    for xk, yk in zip(x, y, strict=True):
        stamp = difference.psf.stamp(xk, yk)
        margin = stamp.shape[0] // 2 - 7
        stamp = stamp[margin:-margin, margin:-margin]
        window = np.s_[yk - 7 : yk + 8, xk - 7 : xk + 8]
        weight = 1.0 / difference.variance[window]
        norm = np.sum(weight * stamp**2)
        found.append(np.sum(weight * stamp * difference.image[window]) / norm)
        errors.append(1.0 / np.sqrt(norm))
    return np.array(found), np.array(errors)


def test_flux_ratio_and_shift_of_the_template_are_found(varying):
    science, template = varying[:2]
    found = register(science, template, white_noise(100.0, 100.0), min_peak_snr=30.0)
    assert found.flux_ratio == pytest.approx(1.3, rel=4e-3)
    assert found.shift_at(220.0, 180.0) == pytest.approx((0.15, -0.15), abs=0.005)
    assert found.n_kept >= 15


def test_transients_keep_their_flux_with_normal_pulls(varying):
    science, template, x, y, flux = varying
    difference = subtract(science, template).difference
    quiet = template.variance[y, x] < 150.0
    found, errors = fluxes_at(difference, x, y)
    pulls = ((found - flux) / errors)[quiet]
    assert quiet.sum() > 90
    assert pulls.std() == pytest.approx(1.0, abs=0.2)
    assert abs(pulls.mean()) < 0.3
    assert np.mean(found[quiet]) == pytest.approx(1500.0, rel=0.02)


def test_score_is_flux_over_error_and_stars_do_not_stand_out(varying):
    science, template, x, y, _ = varying
    found = subtract(science, template)
    fluxes, errors = fluxes_at(found.difference, x, y)
    quiet = template.variance[y, x] < 105.0
    ratio = found.score.image[y, x][quiet] / (fluxes / errors)[quiet]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
    others = np.abs(found.score.image)
    for xk, yk in zip(x, y, strict=True):
        others[yk - 8 : yk + 9, xk - 8 : xk + 9] = 0.0
    inner = others[INNER]
    assert np.mean(inner > 5.0) < 1e-4
    assert (found.score.variance == 1).all()


def test_matched_template_shows_what_was_subtracted(varying):
    science, template = varying[:2]
    found = subtract(science, template)
    brightest = np.unravel_index(np.argmax(template.image[40:-40, 40:-40]), (SHAPE[0] - 80, SHAPE[1] - 80))
    y, x = brightest[0] + 40, brightest[1] + 40
    window = np.s_[y - 7 : y + 8, x - 7 : x + 8]
    assert found.matched_template.image[window].sum() == pytest.approx(
        template.image[window].sum() / found.metrics["zogyFluxRatio"], rel=0.05
    )


def test_both_methods_agree_on_a_warped_pair():
    rng = np.random.default_rng(17)
    science, source, _ = make_pair(rng)
    x, y = np.array([150, 300, 420]), np.array([90, 260, 330])
    image = science.image.astype(float)
    add_stars(image, x, y, 5000.0, 4.0)
    science = science.replace(image=image.astype(np.float32))
    pixel_map = make_pixel_map(science.wcs, source.wcs, science.shape)
    template = warp_exposure(source, pixel_map, science.wcs)
    template = template.replace(noise_power=warp_noise_power(pixel_map, 64))
    one, other = (method().subtract(science, template, CONFIG).difference for method in (Zogy, AlardLupton))
    fluxes = [fluxes_at(difference, x, y) for difference in (one, other)]
    np.testing.assert_allclose(fluxes[0][0], fluxes[1][0], atol=0.7 * fluxes[0][1].max())
    assert np.median(one.variance) == pytest.approx(np.median(other.variance), rel=0.03)


def test_a_whole_subtraction_finds_what_is_new():
    rng = np.random.default_rng(17)
    science, template, _ = make_pair(rng)
    image = science.image.astype(float)
    add_stars(image, np.array([250.6]), np.array([300.2]), 4000.0, 4.0)
    result = difference_images(science.replace(image=image.astype(np.float32)), template, CONFIG)
    near = np.hypot(result.dia_sources["x"] - 250.6, result.dia_sources["y"] - 300.2) < 1.0
    assert near.sum() == 1
    assert len(result.dia_sources) <= 6
    found = result.dia_sources[near][0]
    assert abs(found["psfFlux"] - 4000.0) < 5 * found["psfFluxErr"]
    assert result.kernel is None
    assert result.metrics["pixelScatter"] == pytest.approx(1.0, abs=0.03)


def test_masked_and_missing_pixels_do_not_spread(rng):
    science, template = (make_exposure(rng, SHAPE, NO_STARS, fwhm) for fwhm in (4.0, 3.2))
    image, mask = template.image.copy(), template.mask.copy()
    image[:, 400:], mask[:, 400:] = np.nan, MASK_NO_DATA
    mask[100, 100] = MASK_SAT
    found = subtract(science, template.replace(image=image, mask=mask))
    assert np.isnan(found.difference.image[50, 420])
    assert np.isnan(found.score.image[50, 420])
    assert np.isfinite(found.difference.image[:, :400]).all()
    assert np.abs(found.difference.image[:, :400]).max() < 100.0
    assert found.difference.mask[50, 395] & MASK_EDGE
    assert found.difference.mask[100, 102] & MASK_SAT_TEMPLATE
    assert not found.difference.mask[150, 200]


def test_sky_of_the_difference_is_taken_out(rng):
    science, template = (make_exposure(rng, SHAPE, NO_STARS, 4.0) for _ in range(2))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = 20.0 + 0.05 * columns - 0.02 * rows
    tilted = science.replace(image=(science.image + sky).astype(np.float32))
    difference = subtract(tilted, template).difference
    plane = fit_sky(difference, np.ones(SHAPE, bool))
    assert np.abs(plane).max() < 2.0
    assert (fit_sky(difference, np.zeros(SHAPE, bool)) == 0).all()


def test_a_psf_is_needed(rng):
    science = make_exposure(rng, SHAPE, NO_STARS, 4.0)
    with pytest.raises(ValueError, match="need a PSF"):
        subtract(science, science.replace(psf=None))


def test_images_too_small_for_stars_are_subtracted_as_they_are(rng):
    science, template = (make_exposure(rng, (50, 60), NO_STARS, 3.0) for _ in range(2))
    found = subtract(science, template)
    assert found.metrics["zogyFluxRatio"] == 1.0
    assert found.difference.image.shape == (50, 60)
    assert isinstance(found.difference.psf, Psf)


def test_method_is_found_by_its_name():
    assert isinstance(SUBTRACTION_METHODS.get("zogy"), Zogy)
