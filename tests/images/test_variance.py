import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from astra.images.exposure import Exposure, VisitInfo
from astra.images.variance import remove_own_noise

GAIN = 2.0
SKY = 300.0
INFO = VisitInfo("simcam", 1, 0, "r", "r", 60000.0, 30.0)


def noisy_sky(seed, shape=(300, 410)):
    """Blank sky [adu] whose variance plane is made of its own counts."""
    counts = np.random.default_rng(seed).poisson(SKY * GAIN, shape) / GAIN
    image = (counts - SKY).astype(np.float32)
    variance = (counts / GAIN).astype(np.float32)
    return Exposure(image, variance, np.zeros(shape, np.uint32), INFO, gain=GAIN)


def test_blank_sky_gets_one_variance_and_loses_its_bias():
    sky = noisy_sky(1)
    none = np.zeros(sky.shape, dtype=bool)
    cleaned = remove_own_noise(sky, none)
    assert np.allclose(cleaned.variance, SKY / GAIN, rtol=1e-5)
    biased, fair = (np.average(e.image, weights=1 / e.variance) for e in (sky, cleaned))
    error = np.sqrt(SKY / GAIN / sky.image.size)
    assert biased < -10 * error
    assert abs(fair) < 4 * error


def test_bright_pixels_keep_their_variance_and_faint_ones_follow_their_neighbours():
    sky = noisy_sky(2)
    sources = np.zeros(sky.shape, dtype=bool)
    sources[100:120, 200:230] = True
    image, variance = sky.image.copy(), sky.variance.copy()
    image[110, 215] += 5000.0
    variance[110, 215] += 5000.0 / GAIN
    cleaned = remove_own_noise(sky.replace(image=image, variance=variance), sources)
    assert cleaned.variance[110, 215] == pytest.approx(variance[110, 215], rel=1e-5)
    inside = cleaned.variance[101:106, 201:229]
    assert inside.std() < 0.5 * variance[101:106, 201:229].std()


def test_unusable_pixels_keep_what_they_have():
    sky = noisy_sky(3)
    image, variance = sky.image.copy(), sky.variance.copy()
    image[4, 5], variance[6, 7], variance[8, 9] = np.nan, np.nan, 0.0
    cleaned = remove_own_noise(sky.replace(image=image, variance=variance), np.zeros(sky.shape, dtype=bool))
    assert np.isnan(cleaned.variance[6, 7])
    assert cleaned.variance[8, 9] == 0.0
    assert (cleaned.variance[np.isfinite(cleaned.variance)] >= 0).all()


def plain_remove_own_noise(exposure, sources):
    """The same in plain numpy."""
    image = np.where(np.isfinite(exposure.image), exposure.image, 0.0).astype(np.float64)
    sky_variance = exposure.variance - image / exposure.gain
    expected = np.where(sources, uniform_filter(image, 3), 0.0)
    bright = image**2 > 25.0 * np.maximum(sky_variance, 0.0)
    expected = np.where(bright & sources, image, expected)
    variance = sky_variance + expected / exposure.gain
    usable = np.isfinite(exposure.variance) & (exposure.variance > 0) & (variance > 0)
    return np.where(usable, variance, exposure.variance)


def test_the_compiled_pass_agrees_with_plain_numpy():
    rng = np.random.default_rng(8)
    image = rng.normal(0.0, 20.0, (40, 55))
    image[10:14, 20:30] += 800.0
    variance = np.maximum(image, -50.0) / 2.0 + 300.0
    image[3, 4], image[0, 0], variance[7, 7], variance[8, 8], variance[9, 9] = (
        np.nan,
        np.inf,
        np.nan,
        0.0,
        -4.0,
    )
    image, variance = image.astype(np.float32), variance.astype(np.float32)
    exposure = Exposure(image, variance, np.zeros(image.shape, np.uint32), INFO, gain=2.0)
    sources = rng.random((40, 55)) < 0.4
    found = remove_own_noise(exposure, sources).variance
    assert found == pytest.approx(plain_remove_own_noise(exposure, sources), rel=1e-5, nan_ok=True)
