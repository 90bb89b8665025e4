import numpy as np
import pytest

from astra.errors import DataError
from astra.images.exposure import MASK_NO_DATA
from astra.images.variance_scale import VarianceScaleConfig, scale_variance
from astra.images.warp import make_pixel_map, warp_exposure
from tests.images.difference_field import make_exposure, make_stars, make_wcs

SHAPE = (400, 520)
NO_STARS = ([], [], [])


@pytest.fixture
def rng():
    return np.random.default_rng(6)


@pytest.mark.parametrize("wrong", [0.3, 1.0, 4.0])
def test_a_wrong_plane_is_mended_among_stars(rng, wrong):
    exposure = make_exposure(rng, SHAPE, make_stars(rng, SHAPE, 150), 4.0)
    scaled, factor = scale_variance(exposure.replace(variance=exposure.variance * np.float32(wrong)))
    assert factor * wrong == pytest.approx(1.0, abs=0.03)
    np.testing.assert_allclose(scaled.variance, exposure.variance, rtol=0.03)


def test_smoothing_by_a_warp_is_no_lack_of_variance(rng):
    wcs_in, wcs_out = make_wcs(300.4, 250.3), make_wcs(260.0, 200.0)
    source = make_exposure(rng, (500, 600), NO_STARS, 3.0, wcs=wcs_in)
    pixel_map = make_pixel_map(wcs_out, wcs_in, SHAPE)
    warped = warp_exposure(source, pixel_map, wcs_out)
    assert scale_variance(warped)[1] == pytest.approx(1.0, abs=0.03)
    assert scale_variance(warped.replace(noise_power=None))[1] < 0.8


def test_pixels_of_wild_variance_are_outvoted_by_the_image(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 4.0)
    variance = exposure.variance.copy()
    variance[rng.random(SHAPE) < 0.492] = 1e-6
    _, factor = scale_variance(exposure.replace(variance=variance))
    assert factor == pytest.approx(1.0, abs=0.1)


def test_a_hopeless_plane_is_refused_with_its_numbers(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 4.0)
    with pytest.raises(DataError, match="visit 1, detector 2") as caught:
        scale_variance(exposure.replace(variance=exposure.variance * np.float32(0.01)))
    assert caught.value.context["by_image"] == pytest.approx(100.0, rel=0.05)
    wide = VarianceScaleConfig(limit=200.0)
    scaled, _ = scale_variance(exposure.replace(variance=exposure.variance * np.float32(0.01)), wide)
    assert np.median(scaled.variance) == pytest.approx(100.0, rel=0.03)


def test_structure_of_the_sky_counts_only_if_it_is_to(rng):
    exposure = make_exposure(rng, SHAPE, NO_STARS, 4.0)
    waves = 8.0 * np.sin(2 * np.pi * np.arange(SHAPE[1]) / 90.0)
    wavy = exposure.replace(image=(exposure.image + waves).astype(np.float32))
    assert scale_variance(wavy)[1] == pytest.approx(1.0, abs=0.04)
    assert scale_variance(wavy, VarianceScaleConfig(sky_side_pixel=0))[1] > 1.25


def test_without_sky_or_if_not_wanted_the_plane_stays(rng):
    exposure = make_exposure(rng, (50, 60), NO_STARS, 4.0)
    empty = exposure.replace(mask=np.full((50, 60), MASK_NO_DATA))
    scaled, factor = scale_variance(empty)
    assert scaled is empty
    assert np.isnan(factor)
    assert scale_variance(exposure, VarianceScaleConfig(enabled=False)) == (exposure, 1.0)


def test_large_frames_are_sampled_all_over(rng):
    shape = (1700, 1900)
    variance = np.full(shape, 100.0, np.float32)
    image = (10.0 * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32)
    exposure = make_exposure(rng, (50, 60), NO_STARS, 4.0)
    large = exposure.replace(image=image, variance=2 * variance, mask=np.zeros(shape, np.uint32))
    assert scale_variance(large)[1] == pytest.approx(0.5, abs=0.01)


def test_limits_below_one_are_refused():
    with pytest.raises(ValueError, match="above 1"):
        VarianceScaleConfig(limit=0.5)
