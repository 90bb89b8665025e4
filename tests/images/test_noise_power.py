import numpy as np
import pytest
from scipy import ndimage

from astra.images.noise_power import lag_correlations, measure_noise_power, with_measured_noise
from astra.images.warp import make_pixel_map, warp_exposure, warp_noise_power
from tests.images.difference_field import make_exposure, make_stars, make_wcs

SHAPE = (500, 640)
FREQUENCY = np.fft.fftfreq(64)
NO_STARS = ([], [], [])


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def smoothed(rng, sigma, shape=SHAPE, noise=5.0):
    """White noise of variance noise**2 at long wavelengths, smoothed; the plane says 1."""
    image = (
        ndimage.gaussian_filter(noise * rng.normal(size=shape), sigma) if sigma else rng.normal(size=shape)
    )
    exposure = make_exposure(rng, shape, NO_STARS, 4.0, noise=1.0)
    return exposure.replace(image=image.astype(np.float32), variance=np.ones(shape, np.float32))


@pytest.mark.parametrize("sigma", [0.7, 1.3, 2.0])
def test_measured_power_is_that_of_the_smoothing(rng, sigma):
    measured = measure_noise_power(smoothed(rng, sigma))
    radius = np.hypot(FREQUENCY[:, None], FREQUENCY[None, :])
    expected = np.exp(-((2 * np.pi * sigma * radius) ** 2))
    assert measured.white_ratio == pytest.approx(25.0, rel=0.06)
    assert measured.power[0, 0] == 1.0
    assert np.std(measured.power - expected) < 0.03
    assert measured.pixel_ratio == pytest.approx(25.0 * expected.mean(), rel=0.04)


def test_stars_and_their_photon_noise_do_not_count(rng):
    stars = make_stars(rng, SHAPE, 150)
    exposure = make_exposure(rng, SHAPE, stars, 4.0, noise=10.0)
    measured = measure_noise_power(exposure)
    assert measured.n_pixels > 0.2 * exposure.image.size
    assert measured.white_ratio == pytest.approx(1.0, abs=0.06)
    assert measured.pixel_ratio == pytest.approx(1.0, abs=0.02)
    assert np.abs(measured.power.mean() * measured.white_ratio - 1.0) < 0.02


def test_structure_of_the_sky_is_told_apart_from_the_noise(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 4.0, noise=10.0)
    waves = 5.0 * np.sin(2 * np.pi * np.arange(SHAPE[1]) / 40.0)
    measured = measure_noise_power(exposure.replace(image=(exposure.image + waves).astype(np.float32)))
    assert measured.white_ratio == pytest.approx(1.0, abs=0.1)
    assert measured.pixel_ratio == pytest.approx(1.0, abs=0.02)
    assert measured.structure_ratio > measured.pixel_ratio + 0.03


def test_resampled_noise_is_recognised(rng):
    wcs_in, wcs_out = make_wcs(350.4, 280.4), make_wcs(320.0, 250.0)
    source = make_exposure(rng, (560, 700), NO_STARS, 3.0, noise=10.0, wcs=wcs_in)
    pixel_map = make_pixel_map(wcs_out, wcs_in, SHAPE)
    warped = warp_exposure(source, pixel_map, wcs_out)
    measured = with_measured_noise(warped)
    assert np.median(measured.variance) == pytest.approx(100.0, rel=0.06)
    assert np.std(measured.noise_power - warp_noise_power(pixel_map, 64)) < 0.06


def test_little_sky_gives_no_spectrum(rng):
    exposure = make_exposure(rng, (60, 70), NO_STARS, 4.0)
    assert measure_noise_power(exposure) is None
    assert with_measured_noise(exposure) is exposure
    assert measure_noise_power(smoothed(rng, 1.0), np.zeros(SHAPE, bool)) is None


def test_lag_correlations_along_either_axis(rng):
    image = rng.normal(size=SHAPE)
    image[:, 1:] = 0.5 * image[:, :-1] + np.sqrt(0.75) * image[:, 1:]
    along_x, along_y = lag_correlations(image.astype(np.float32), np.ones(SHAPE, bool))
    assert along_x > 0.4
    assert abs(along_y) < 0.01
