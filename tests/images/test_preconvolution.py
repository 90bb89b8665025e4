import numpy as np
import pytest
from scipy import ndimage

from astra.images.alard_lupton import AlardLupton
from astra.images.decorrelation import FOURIER_SIDE
from astra.images.difference_config import DifferenceConfig
from astra.images.kernel_direction import choose_mode, width_ratios
from astra.images.matching_config import MatchingConfig
from astra.images.preconvolution import preconvolve
from astra.images.psf import Psf, gaussian_psf, sigma_from_fwhm
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (420, 510)
NO_STARS = ([], [], [])
CONFIG = MatchingConfig(stamps_per_cell=12)
INNER = np.s_[40:-40, 40:-40]


def elliptical_psf(fwhm_x, fwhm_y, size=41):
    profiles = [
        np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma_from_fwhm(f)) ** 2) for f in (fwhm_y, fwhm_x)
    ]
    stamp = np.outer(*profiles)
    return Psf((stamp / stamp.sum())[None])


def elliptical_exposure(rng, stars, widths, noise):
    """Stars blurred to an elliptical PSF."""
    image = make_exposure(rng, SHAPE, stars, 2.0, noise=1e-6, photons=False).image.astype(float)
    sigmas = [np.sqrt(sigma_from_fwhm(w) ** 2 - sigma_from_fwhm(2.0) ** 2) for w in widths[::-1]]
    image = ndimage.gaussian_filter(image, sigmas, mode="constant")
    variance = noise**2 + np.clip(image, 0, None)
    image += rng.normal(size=SHAPE) * np.sqrt(variance)
    exposure = make_exposure(rng, SHAPE, NO_STARS, 2.0)
    return exposure.replace(
        image=image.astype(np.float32), variance=variance.astype(np.float32), psf=elliptical_psf(*widths)
    )


@pytest.fixture(scope="module")
def crossed():
    """A pair in which either image is the sharper one along one axis, with a new star of flux 4000."""
    rng = np.random.default_rng(21)
    x, y, flux = make_stars(rng, SHAPE, 180, low=2000.0)
    template = elliptical_exposure(rng, (x, y, flux), (4.4, 3.2), 6.0)
    new = tuple(np.append(old, value) for old, value in ((x, 255.3), (y, 210.6), (flux, 4000.0)))
    science = elliptical_exposure(rng, new, (3.2, 4.4), 10.0)
    return science, template


@pytest.fixture(scope="module")
def found(crossed):
    return AlardLupton().subtract(*crossed, DifferenceConfig(matching=CONFIG))


def test_ratios_of_widths_are_those_of_gaussians_along_their_axes():
    ratios = width_ratios(elliptical_psf(3.2, 4.4), elliptical_psf(4.4, 3.2), SHAPE)
    assert ratios.min() == pytest.approx(3.2 / 4.4, rel=0.01)
    assert ratios.max() == pytest.approx(4.4 / 3.2, rel=0.01)


@pytest.mark.parametrize(
    ("science", "template", "mode"),
    [
        ((4.0, 4.0), (3.0, 3.0), "convolve_template"),
        ((3.0, 3.0), (4.0, 4.0), "convolve_science"),
        ((3.5, 3.5), (3.5, 3.5), "convolve_template"),
        ((3.5, 3.5), (3.55, 3.55), "convolve_template"),
        ((3.2, 4.4), (4.4, 3.2), "preconvolve"),
        ((4.2, 5.0), (4.0, 3.0), "convolve_template"),
        ((3.8, 4.6), (4.0, 3.4), "convolve_template"),
        ((3.6, 4.1), (4.6, 4.0), "convolve_science"),
        ((3.9, 3.9), (4.2, 4.2), "convolve_science"),
    ],
)
def test_the_mode_is_the_one_that_sharpens_nothing(science, template, mode):
    assert choose_mode(elliptical_psf(*science), elliptical_psf(*template), SHAPE, 1.15) == mode


def test_crossed_psfs_are_preconvolved_and_leave_nothing_but_what_is_new(crossed, found):
    assert found.metrics["preconvolved"] == 1.0
    score = found.score.image.copy()
    score[195:227, 240:272] = 0.0
    assert score[INNER].std() == pytest.approx(1.0, abs=0.03)
    assert np.abs(score[INNER]).max() < 5.5


def test_score_of_a_star_is_its_best_signal_to_noise(crossed, found):
    science, template = crossed
    # White noise of both images, the template's as the kernel K = P_s / P_t passes it on.
    response = [np.abs(np.fft.fft2(e.psf.coefficients[0], s=(256, 256))) ** 2 for e in (science, template)]
    noise = 10.0**2 + 6.0**2 * response[0] / np.maximum(response[1], 1e-12)
    sky_limit = 4000.0 * np.sqrt(np.mean(response[0] / noise))
    peak = found.score.image[205:217, 250:262].max()
    assert peak < sky_limit + 3
    own_light = 10.0**2 + 4000.0 * 0.5 * science.psf.coefficients[0].max()
    assert peak > sky_limit * 10.0 / np.sqrt(own_light) - 3
    y, x = np.unravel_index(np.argmax(found.score.image), SHAPE)
    assert (x, y) == (255, 211)


def test_difference_beside_a_score_keeps_fluxes_and_their_psf(found):
    difference = found.difference
    cut = difference.image[211 - 15 : 211 + 16, 255 - 15 : 255 + 16]
    stamp = ndimage.shift(difference.psf.stamp(255, 211), (-0.4, 0.3), order=3)
    middle = len(stamp) // 2
    stamp = stamp[middle - 15 : middle + 16, middle - 15 : middle + 16]
    assert np.sum(cut * stamp) / np.sum(stamp**2) == pytest.approx(4000.0, rel=0.05)


def test_preconvolved_image_has_the_autocorrelation_of_its_psf():
    rng = np.random.default_rng(3)
    star = ([255.0], [210.0], [1e6])
    exposure = make_exposure(rng, SHAPE, star, 3.5, noise=0.1, photons=False)
    correlated = preconvolve(exposure, 15)
    expected = gaussian_psf(3.5 * np.sqrt(2), 31).coefficients[0]
    np.testing.assert_allclose(correlated.image[195:226, 240:271] / 1e6, expected, atol=2e-4 * expected.max())
    np.testing.assert_allclose(correlated.psf.stamp(255, 210), expected, atol=2e-4 * expected.max())


def test_noise_of_a_preconvolved_image_has_the_power_that_is_told():
    rng = np.random.default_rng(3)
    exposure = make_exposure(rng, (512, 640), NO_STARS, 3.5, noise=7.0)
    correlated = preconvolve(exposure, 15)
    patches = correlated.image[64:448, 64:576].reshape(6, FOURIER_SIDE, 8, FOURIER_SIDE).swapaxes(1, 2)
    power = np.mean(np.abs(np.fft.fft2(patches)) ** 2, axis=(0, 1)) / FOURIER_SIDE**2
    expected = 49.0 * correlated.noise_power
    assert power.sum() == pytest.approx(expected.sum(), rel=0.05)
    np.testing.assert_allclose(correlated.variance[INNER], 49.0, rtol=1e-3)


def test_an_image_without_psf_is_not_preconvolved(crossed):
    with pytest.raises(ValueError, match="has none"):
        preconvolve(crossed[0].replace(psf=None), 15)
