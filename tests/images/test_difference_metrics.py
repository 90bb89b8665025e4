import numpy as np
import pytest

from astra.images.difference_metrics import (
    METRIC_DTYPE,
    _middle,
    difference_figures,
    limiting_magnitude,
    sample_metrics,
    sky_dia_sources,
)
from astra.images.exposure import MASK_NO_DATA, MASK_SAT
from astra.images.psf import gaussian_psf
from astra.images.spatial import SpatialKernel
from tests.images.difference_field import make_exposure, make_stars

SHAPE = (300, 420)
DIA_DTYPE = [("x", "f8"), ("y", "f8"), ("isDipole", "?")]


@pytest.fixture
def images():
    rng = np.random.default_rng(3)
    stars = make_stars(rng, SHAPE, 15)
    science, matched = (make_exposure(rng, SHAPE, stars, 3.5) for _ in range(2))
    difference = make_exposure(rng, SHAPE, ([], [], []), 3.5, noise=14.0)
    mask = difference.mask.copy()
    mask[:, :100] |= MASK_NO_DATA
    mask[100:110, 200:210] |= MASK_SAT
    return science, matched, difference.replace(mask=mask, image=difference.image + np.float32(2.0))


@pytest.mark.parametrize("number", [0, 1, 2, 777, 1000])
def test_the_middle_is_the_median_of_what_is_finite(number):
    values = np.random.default_rng(number).normal(size=number).astype(np.float32)
    expected = np.median(values) if number else np.nan
    spoilt = np.concatenate([values, np.array([np.nan, np.inf, np.nan], np.float32)])
    for given in (values, spoilt):
        found = _middle(given)
        assert found.dtype == np.float32
        np.testing.assert_equal(found, np.float32(expected))


def test_places_tell_of_their_surroundings(images):
    science, matched, difference = images
    sources = np.array([(300.0, 150.0, False), (310.0, 150.0, True)], dtype=DIA_DTYPE)
    stamp = np.zeros((1, 9, 9))
    stamp[0, 5, 4], stamp[0, 4, 5] = 0.5, 0.6
    metrics = sample_metrics(
        science, matched, difference, sources, SpatialKernel(stamp), template_psf=matched.psf
    )
    assert metrics.dtype == METRIC_DTYPE
    assert len(metrics) == 100
    assert metrics["x"].min() > 99
    np.testing.assert_allclose(metrics["diffim_value"], 2.0, atol=1.0)
    np.testing.assert_allclose(metrics["diffim_variance"], 196.0, rtol=0.01)
    np.testing.assert_allclose(metrics["science_psfSize"], 3.5, rtol=0.02)
    np.testing.assert_allclose(metrics["psfMatchingKernel_sum"], 1.1)
    np.testing.assert_allclose(metrics["psfMatchingKernel_dx"], 0.6 / 1.1)
    np.testing.assert_allclose(metrics["psfMatchingKernel_position_angle"], np.degrees(np.arctan2(5, 6)))
    near = (np.abs(metrics["x"] - 305) < 58) & (np.abs(metrics["y"] - 150) < 60)
    whole = near & (metrics["x"] < 355)
    area = 128**2 * (0.4 / 3600) ** 2
    np.testing.assert_allclose(metrics["source_density"][whole], 2 / area, rtol=1e-6)
    np.testing.assert_allclose(metrics["dipole_density"][whole], 1 / area, rtol=1e-6)
    assert whole.sum() > 3
    assert (metrics["no_data_mask_fraction"] > 0).any()
    assert metrics["sat_mask_fraction"].max() == pytest.approx(100 / 129**2, rel=0.2)


def test_without_kernel_wcs_or_data_there_are_gaps(images):
    science, matched, difference = images
    none = np.zeros(0, dtype=DIA_DTYPE)
    metrics = sample_metrics(science, matched, difference.replace(wcs=None), none, None)
    assert np.isnan(metrics["coord_ra"]).all()
    assert np.isnan(metrics["psfMatchingKernel_sum"]).all()
    assert np.isnan(metrics["template_psfSize"]).all()
    assert np.isfinite(metrics["diffim_value"]).all()
    empty = difference.replace(mask=np.full(SHAPE, MASK_NO_DATA, np.uint32))
    assert len(sample_metrics(science, matched, empty, none, None)) == 0


def test_sky_sources_scatter_by_their_errors(images):
    science, matched, difference = images
    flat = difference.replace(image=difference.image - np.float32(2.0))
    sky = sky_dia_sources(science, matched, flat, 300)
    assert len(sky) > 150
    assert (flat.mask[np.rint(sky["y"]).astype(int), np.rint(sky["x"]).astype(int)] == 0).all()
    figures = difference_figures(flat, sky)
    assert figures["skySources"] == len(sky)
    assert figures["skySourceSnrScatter"] == pytest.approx(1.0, abs=0.2)
    assert abs(figures["skySourceSnrMedian"]) < 0.3
    assert figures["diffimLimitingMagnitude"] < limiting_magnitude(science)
    nothing = difference_figures(flat, sky[:0])
    assert np.isnan(nothing["skySourceSnrScatter"])


def test_limiting_magnitude_is_that_of_the_noise(images):
    science, _, _ = images
    area = 1 / np.sum(gaussian_psf(3.5, 31).coefficients[0] ** 2)
    expected = 31.4 - 2.5 * np.log10(5 * 10.0 * np.sqrt(area))
    assert limiting_magnitude(science) == pytest.approx(expected, abs=0.02)
    assert np.isnan(limiting_magnitude(science.replace(psf=None)))
