import numpy as np
import pytest

from astra.images.streaks import STREAK_DTYPE, SearchImage, find_streaks, radon
from tests.images.difference_field import add_stars

SHAPE = (500, 700)
SIGMA = 1.5


def noise(seed=1):
    return np.random.default_rng(seed).normal(size=SHAPE)


def add_trail(image, angle, amplitude, sigma=SIGMA, through=(352.3, 241.7)):
    """Add a trail in place; return the distance of each pixel from it."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    a = np.radians(angle)
    distance = (x - through[0]) * np.sin(a) - (y - through[1]) * np.cos(a)
    image += amplitude * np.exp(-0.5 * (distance / sigma) ** 2)
    return np.abs(distance)


def search(image, weight=None):
    weight = np.ones(SHAPE, np.float32) if weight is None else weight
    return find_streaks(SearchImage(image.astype(np.float32), weight, 1.0, SIGMA))


@pytest.mark.parametrize(
    ("angle", "amplitude", "sigma"),
    [
        (0.0, 0.6, 1.5),
        (90.0, 0.6, 1.5),
        (33.0, 0.5, 1.5),
        (122.0, 0.5, 1.5),
        (45.0, 30.0, 3.0),
        (3.0, 0.5, 1.5),
    ],
)
def test_a_trail_is_found_with_its_width_and_masked(angle, amplitude, sigma):
    image = noise()
    distance = add_trail(image, angle, amplitude, sigma)
    streaks, masked = search(image)
    assert len(streaks) == 1
    streak = streaks[0]
    assert (streak["angle"] - angle + 90) % 180 - 90 == pytest.approx(0.0, abs=0.3)
    assert streak["sigmaPixel"] == pytest.approx(sigma, rel=0.25)
    assert streak["amplitude"] == pytest.approx(amplitude, rel=0.25)
    assert masked[distance < 2 * sigma].mean() > 0.98
    assert not masked[distance > 8 * sigma + 4].any()


def test_noise_has_no_trail():
    for seed in range(5):
        streaks, masked = search(noise(seed))
        assert len(streaks) == 0
        assert streaks.dtype == STREAK_DTYPE
        assert not masked.any()


def test_a_sky_that_is_off_is_no_trail():
    streaks, masked = search(noise() + 0.12)
    assert len(streaks) == 0
    assert not masked.any()


def test_two_trails_are_two():
    image = noise()
    add_trail(image, 20.0, 1.0)
    add_trail(image, 100.0, 1.0)
    streaks, _ = search(image)
    np.testing.assert_allclose(np.sort(streaks["angle"]), [20.0, 100.0], atol=0.3)


def test_stars_spikes_and_bleed_trails_are_no_trails():
    image = noise()
    rng = np.random.default_rng(2)
    add_stars(image, rng.uniform(0, 700, 60), rng.uniform(0, 500, 60), rng.uniform(200, 3000, 60), 3.5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for a in (np.radians(45), np.radians(135)):
        across = (x - 300) * np.sin(a) - (y - 200) * np.cos(a)
        along = (x - 300) * np.cos(a) + (y - 200) * np.sin(a)
        image += 20 * np.exp(-0.5 * (across / 1.5) ** 2 - np.abs(along) / 25)
    image[120:280, 299:302] += 500.0
    assert len(search(image)[0]) == 0


def test_rows_of_the_detector_are_no_trails():
    image = noise()
    image[200] += 2.0
    image[:, 333] -= 3.0
    assert len(search(image)[0]) == 0


def test_a_trail_among_stars_and_defects_is_found():
    image = noise()
    rng = np.random.default_rng(2)
    add_trail(image, 33.0, 1.0)
    add_stars(image, rng.uniform(0, 700, 60), rng.uniform(0, 500, 60), rng.uniform(200, 3000, 60), 3.5)
    weight = (rng.random(SHAPE) > 0.02).astype(np.float32)
    weight[:, 100:160] = 0
    image[weight == 0] = np.nan
    streaks, _ = search(image, weight)
    assert len(streaks) == 1
    assert streaks["angle"][0] == pytest.approx(33.0, abs=0.3)


def test_nothing_usable_has_no_trail():
    assert len(search(np.full(SHAPE, np.nan), np.zeros(SHAPE, np.float32))[0]) == 0


def test_sums_are_those_along_the_lines():
    square = np.random.default_rng(3).normal(size=(16, 16)).astype(np.float32)
    sums = radon(square)
    assert sums.shape == (16, 32)
    np.testing.assert_allclose(sums[0, 16:], square.sum(axis=0), atol=1e-5)
    diagonal = [np.trace(square, offset) for offset in range(-15, 16)]
    np.testing.assert_allclose(sums[15, 1:], diagonal, atol=1e-5)
    np.testing.assert_allclose(sums.sum(axis=1), square.sum(), atol=1e-4)
