import numpy as np
import pytest
from scipy import ndimage

from astra.images.warp import make_pixel_map, warp_exposure
from astra.images.warp_noise import warp_noise_power
from tests.images.difference_field import make_exposure, make_wcs

SHAPE = (384, 448)
RADIUS = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
LEAK = 0.025  # of power into the corners, from squares that do not wrap round


@pytest.fixture
def rng():
    return np.random.default_rng(12)


def measured_power(exposure):
    """Mean spectrum of 64-pixel squares of the noise, in units of the variance plane."""
    pull = (exposure.image / np.sqrt(exposure.variance))[: 64 * (SHAPE[0] // 64), : 64 * (SHAPE[1] // 64)]
    squares = pull.reshape(SHAPE[0] // 64, 64, SHAPE[1] // 64, 64)
    return (np.abs(np.fft.fft2(squares, axes=(1, 3))) ** 2).mean(axis=(0, 2)) / 64**2


def assert_alike(measured, power, tolerance=0.08):
    for low, high in ((0.02, 0.15), (0.15, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.71)):
        ring = np.clip(RADIUS, low, high) == RADIUS
        assert measured[ring].mean() == pytest.approx(power[ring].mean(), rel=tolerance, abs=LEAK)


@pytest.mark.parametrize(
    ("angle_deg", "scale_arcsec"),
    [(0.1, 0.4), (30.0, 0.4), (45.0, 0.4), (10.0, 0.3), (0.0, 0.5), (77.0, 0.44)],
)
def test_power_is_that_of_warped_noise(rng, angle_deg, scale_arcsec):
    noise = make_exposure(rng, (700, 800), ([], [], []), 3.0, 1.0, make_wcs(400.0, 350.0))
    wcs = make_wcs(224.3, 191.6, angle_deg, scale_arcsec)
    warped = warp_exposure(noise, make_pixel_map(wcs, noise.wcs, SHAPE), wcs)
    assert np.isfinite(warped.image).all()
    assert warped.noise_power[0, 0] == pytest.approx(1.0)
    assert warped.noise_power.shape == (64, 64)
    assert_alike(measured_power(warped), warped.noise_power)


def test_power_of_the_input_is_turned_and_scaled_with_it(rng):
    """Noise that is smooth along the columns is smooth along the rows after a quarter turn."""
    noise = make_exposure(rng, (700, 800), ([], [], []), 3.0, 1.0, make_wcs(400.0, 350.0))
    smooth = ndimage.gaussian_filter1d(noise.image, 1.2, axis=0)
    response = np.fft.fft(ndimage.gaussian_filter1d(np.eye(64)[0], 1.2, mode="wrap")).real
    power = np.repeat(response[:, None] ** 2, 64, axis=1)
    noise = noise.replace(image=smooth.astype(np.float32), noise_power=power)
    assert_alike(measured_power(noise), power)
    for angle_deg in (0.3, 90.0, 30.0):
        wcs = make_wcs(224.3, 191.6, angle_deg, 0.4)
        warped = warp_exposure(noise, make_pixel_map(wcs, noise.wcs, SHAPE), wcs)
        assert_alike(measured_power(warped), warped.noise_power)
        rows, columns = warped.noise_power[:, 0], warped.noise_power[0]
        if angle_deg == 90.0:
            assert columns[16] < 0.1
            assert rows[16] > 0.8


def test_a_frame_that_stays_keeps_its_power():
    line = 0.6 + 0.4 * np.cos(2 * np.pi * np.fft.fftfreq(64))
    power = np.outer(line, line)
    wcs = make_wcs(10.0, 20.0)
    found = warp_noise_power(make_pixel_map(wcs, wcs, (90, 70)), 64, power)
    np.testing.assert_allclose(found, power, atol=0.02)
    np.testing.assert_allclose(warp_noise_power(make_pixel_map(wcs, wcs, (90, 70)), 64), 1.0, atol=0.02)
    white = warp_noise_power(make_pixel_map(make_wcs(0.3, 0.4), wcs, (90, 70)), 64, np.ones((64, 64)))
    np.testing.assert_allclose(
        white, warp_noise_power(make_pixel_map(make_wcs(0.3, 0.4), wcs, (90, 70)), 64), atol=1e-5
    )


def test_noise_of_frames_that_do_not_overlap_is_taken_as_white():
    outside = make_pixel_map(make_wcs(ra=170.0), make_wcs(), (90, 70))
    power = warp_noise_power(outside, 64)
    assert power.shape == (64, 64)
    assert power[0, 0] == pytest.approx(1.0)
