import numpy as np
import pytest
from star_field import gaussian_image, make_star_field

from astra.errors import TooFewSourcesError
from astra.images.background import fit_background, subtract_background
from astra.images.detection import detect_sources
from astra.images.measurement import MeasurementConfig, make_pixels, measure_sources
from astra.images.psf import gaussian_psf
from astra.images.psf_fit import (
    PsfFitConfig,
    affordable_order,
    fit_psf,
    half_sample_mode,
    is_common_size,
    is_isolated,
    select_psf_stars,
)

CONFIG = PsfFitConfig(size_pixel=25)
FIRST = gaussian_psf(2.3548 * 1.6, 31)


def widening(x, y):
    return 1.4 + 0.25 * x / 460 + 0.1 * y / 330


def fit_field(field, config=CONFIG):
    science = subtract_background(field.exposure, fit_background(field.exposure))
    found = detect_sources(science, FIRST)
    sources = measure_sources(science, FIRST, found, MeasurementConfig())
    stars = sources[select_psf_stars(sources, config)]
    return fit_psf(make_pixels(science, found.segments), stars, 1.5, config), stars


@pytest.fixture(scope="module")
def fitted():
    return fit_field(make_star_field(sigma_at=widening))


@pytest.mark.parametrize(("x", "y"), [(230, 165), (40, 40), (420, 290), (40, 290)])
def test_psf_is_that_of_the_place(fitted, x, y):
    expected = gaussian_image((25, 25), 12, 12, 1.0, widening(x, y))
    stamp = fitted[0].psf.stamp(x, y)
    assert np.abs(stamp - expected).max() < 0.02 * expected.max()


def test_psf_has_unit_sum_and_is_centred(fitted):
    stamp = fitted[0].psf.stamp(100, 200)
    offset = np.arange(25) - 12
    assert stamp.sum() == pytest.approx(1.0)
    assert stamp.sum(axis=0) @ offset == pytest.approx(0.0, abs=0.05)
    assert stamp.sum(axis=1) @ offset == pytest.approx(0.0, abs=0.05)


def test_residual_is_small_and_most_stars_are_used(fitted):
    fit, stars = fitted
    assert fit.residual < 0.02
    assert fit.used.mean() > 0.8
    assert len(fit.used) == len(stars)


def test_galaxies_do_not_become_psf_stars():
    field = make_star_field(sigma_at=lambda x, y: np.where(np.arange(x.size) % 4 == 0, 2.6, 1.4))
    fit, stars = fit_field(field)
    size = np.sqrt((stars["ixx"] + stars["iyy"]) / 2)
    assert size.max() < 1.8
    assert fit.psf.fwhm_pixel(230, 165) == pytest.approx(2.3548 * 1.4, rel=0.02)


def test_too_few_stars_are_an_error_with_numbers():
    field = make_star_field(spacing=100)
    with pytest.raises(TooFewSourcesError, match="but 30 are required") as caught:
        fit_field(field, PsfFitConfig(size_pixel=25, min_stars=30))
    assert caught.value.context["n_required"] == 30
    assert caught.value.context["n_sources"] < 30


@pytest.mark.parametrize(("n_stars", "order"), [(3, 0), (11, 0), (12, 1), (23, 1), (24, 2), (500, 2)])
def test_order_is_what_the_stars_can_afford(n_stars, order):
    assert affordable_order(n_stars, 2) == order


def test_isolation_is_broken_by_a_bright_neighbour_alone():
    sources = np.zeros(3, dtype=[("x", "f8"), ("y", "f8"), ("psfInstFlux", "f8")])
    sources["x"], sources["psfInstFlux"] = [10, 15, 60], [100.0, 5.0, 3.0]
    assert is_isolated(sources, 9.0).tolist() == [True, False, True]
    assert is_isolated(sources[:1], 9.0).tolist() == [True]


def test_common_size_is_that_of_the_clump():
    rng = np.random.default_rng(0)
    size = np.concatenate([rng.normal(1.5, 0.02, 40), rng.uniform(1.7, 5.0, 60)])
    chosen = is_common_size(size)
    assert chosen[:40].mean() > 0.95
    assert chosen[40:].sum() <= 1
    assert half_sample_mode(size) == pytest.approx(1.5, abs=0.03)
