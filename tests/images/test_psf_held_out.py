"""Fits of a PSF judged by stars that they have not seen."""

from dataclasses import replace

import pytest
from star_field import make_star_field

from astra.errors import TooFewSourcesError
from astra.images.background import fit_background, subtract_background
from astra.images.detection import detect_sources
from astra.images.measurement import MeasurementConfig, measure_sources
from astra.images.psf import gaussian_psf
from astra.images.psf_fit import fit_psf
from astra.images.psf_held_out import JudgingStars, held_out_residuals, star_residuals
from astra.images.psf_stars import PsfFitConfig

SIGMA = 1.6
FWHM = 2.3548 * SIGMA
CONFIG = PsfFitConfig(size_pixel=25, order=0)


def choose(field, first=gaussian_psf(FWHM, 25)):  # noqa: B008
    science = subtract_background(field.exposure, fit_background(field.exposure)).replace(psf=first)
    sources = measure_sources(science, first, detect_sources(science, first), MeasurementConfig())
    return JudgingStars.choose(science, sources, CONFIG)


@pytest.fixture(scope="module")
def judging():
    return choose(make_star_field(sigma_at=lambda x, y: SIGMA + 0.0 * x))


def test_the_true_psf_leaves_noise_alone(judging):
    found = star_residuals(judging, gaussian_psf(FWHM, 25))
    assert found.n_stars == len(judging.stars) > 50
    assert found.stacked < 5 * found.stacked_err
    assert found.typical < 0.002


def test_a_psf_that_is_too_wide_is_told_by_what_it_leaves(judging):
    wide = star_residuals(judging, gaussian_psf(1.05 * FWHM, 25))
    # Fitted to a Gaussian, one k times as wide has the amplitude 2 k^2 / (1 + k^2), and 1 / k^2 of its peak.
    amplitude = 2 * 1.05**2 / (1 + 1.05**2)
    assert wide.stacked == pytest.approx(abs(1.05**2 / amplitude - 1), rel=0.15)
    assert wide.typical > 0.01


def test_stars_that_were_left_out_are_predicted(judging):
    found = held_out_residuals(judging, CONFIG)
    assert found.n_stars == len(judging.stars)
    assert found.stacked < 0.005
    assert found.typical < 0.005


def test_a_fit_of_more_terms_than_stars_bear_shows_on_those_left_out():
    field = make_star_field(spacing=60, sigma_at=lambda x, y: SIGMA + 0.0 * x)
    few, config = choose(field), replace(CONFIG, order=0, core_sigma=12.0)
    fitted = fit_psf(few.pixels, few.stars, SIGMA, config).psf
    own = star_residuals(few, fitted)
    assert held_out_residuals(few, config).typical > own.typical


def test_too_few_stars_are_an_error(judging):
    with pytest.raises(ValueError, match="5 folds need at least as many stars, found 3"):
        held_out_residuals(replace(judging, stars=judging.stars[:3]), CONFIG)
    with pytest.raises(TooFewSourcesError):
        held_out_residuals(replace(judging, stars=judging.stars[:9]), CONFIG)
    with pytest.raises(ValueError, match="without stars"):
        star_residuals(replace(judging, stars=judging.stars[:0]), gaussian_psf(FWHM, 25))
    with pytest.raises(ValueError, match="this one has none"):
        JudgingStars.choose(make_star_field().exposure, judging.stars, CONFIG)
