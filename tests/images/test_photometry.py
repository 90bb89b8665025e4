import dataclasses

import numpy as np
import pytest

from astra.errors import TooFewSourcesError
from astra.images.photometry import ColorTerm, apply_color_term, fit_zero_point


def make_matches(n=80, scale=18.0, scatter_mag=0.02, seed=1):
    rng = np.random.default_rng(seed)
    flux = rng.uniform(1e3, 1e5, n)
    reference = scale * flux * 10 ** (0.4 * scatter_mag * rng.normal(size=n))
    return flux, 0.01 * flux, reference, 0.01 * reference


def test_zero_point_is_the_scale_within_its_error():
    zero_point = fit_zero_point(*make_matches())
    assert abs(zero_point.njy_per_count - 18.0) < 3 * zero_point.njy_per_count_err
    assert zero_point.scatter_mag == pytest.approx(0.02, rel=0.25)
    assert zero_point.njy_per_count_err == pytest.approx(18 * 0.02 / 1.086 * 1.25 / np.sqrt(80), rel=0.3)


def test_variable_stars_are_clipped():
    matches = make_matches()
    matches[2][:8] *= 1.5
    zero_point = fit_zero_point(*matches)
    assert zero_point.njy_per_count == pytest.approx(18.0, rel=0.01)
    assert not zero_point.used[:8].any()


def test_faint_negative_and_unknown_fluxes_are_not_used():
    flux, error, reference, reference_err = make_matches()
    flux[0], reference[1], error[2] = -5.0, np.nan, flux[2]
    zero_point = fit_zero_point(flux, error, reference, reference_err)
    assert not zero_point.used[:3].any()


def test_too_few_standards_are_an_error_with_numbers():
    matches = make_matches(n=2)
    with pytest.raises(TooFewSourcesError, match="2 of 2 matched stars can be used") as caught:
        fit_zero_point(*matches)
    assert caught.value.context == {"n_sources": 2, "n_required": 3}


def test_the_error_says_why_stars_cannot_be_used():
    flux, error, reference, reference_err = make_matches(n=12)
    flux[:2], reference[2:5], error[5:10] = -1.0, np.nan, flux[5:10]
    with pytest.raises(TooFewSourcesError) as caught:
        fit_zero_point(flux, error, reference, reference_err)
    assert "2 of 12 matched stars can be used for the zero point, but 3 are required" in str(caught.value)
    assert (
        "2 have no instrumental flux, 3 have no reference flux, 5 have a combined error above 0.05 mag"
        in str(caught.value)
    )


def test_stars_that_do_not_agree_give_no_zero_point():
    flux, error, reference, _ = make_matches(n=4, scatter_mag=0.0)
    reference *= np.array([1.0, 10.0, 100.0, 1000.0])
    with pytest.raises(TooFewSourcesError, match="4 have outlying ratios"):
        fit_zero_point(flux, error, reference, 0.001 * reference)


def test_no_matches_are_too_few():
    with pytest.raises(TooFewSourcesError, match="0 of 0 matched stars"):
        fit_zero_point(*(np.zeros(0) for _ in range(4)))


def test_half_of_the_stars_may_be_variable():
    matches = make_matches(n=200)
    matches[2][:80] *= np.linspace(1.2, 3.0, 80)
    zero_point = fit_zero_point(*matches)
    assert zero_point.njy_per_count == pytest.approx(18.0, rel=0.01)
    assert zero_point.scatter_mag == pytest.approx(0.02, rel=0.3)


TERM = ColorTerm("r", "g", "r", (0.01, 0.1))


def catalogue_fluxes(color, error=0.01):
    """Fluxes of stars of r = 20 and some g - r [mag]."""
    color = np.asarray(color, dtype=float)
    bands = {"r": 20.0 + 0.0 * color, "g": 20.0 + color}
    fluxes = {band: 10 ** (0.4 * (31.4 - magnitude)) for band, magnitude in bands.items()}
    return {band: (flux, error * flux) for band, flux in fluxes.items()}


def test_color_terms_change_magnitudes_by_the_color():
    flux, _ = apply_color_term(catalogue_fluxes([0.0, 1.0, -0.5]), TERM)
    assert 31.4 - 2.5 * np.log10(flux) == pytest.approx([20.01, 20.11, 19.96])


def test_curved_color_terms_too():
    term = dataclasses.replace(TERM, coefficients=(0.0, 0.0, 0.05))
    flux, _ = apply_color_term(catalogue_fluxes([2.0]), term)
    assert 31.4 - 2.5 * np.log10(flux) == pytest.approx([20.2])


def test_errors_of_color_terms_are_those_of_many_trials():
    rng = np.random.default_rng(0)
    fluxes = {
        band: (np.repeat(f, 20000), np.repeat(e, 20000)) for band, (f, e) in catalogue_fluxes([1.0]).items()
    }
    noisy = {band: (f + rng.normal(0, 1, f.size) * e, e) for band, (f, e) in fluxes.items()}
    term = dataclasses.replace(TERM, coefficients=(0.0, 0.4))
    flux, error = apply_color_term(noisy, term)
    assert np.median(error) == pytest.approx(np.std(flux), rel=0.03)


def test_stars_without_color_have_no_flux():
    fluxes = catalogue_fluxes([0.5, 0.5, 0.5])
    fluxes["g"][0][:2] = np.nan, -3.0
    flux, error = apply_color_term(fluxes, TERM)
    assert np.isnan(flux).tolist() == np.isnan(error).tolist() == [True, True, False]


def test_no_coefficients_change_nothing():
    fluxes = catalogue_fluxes([0.3])
    flux, error = apply_color_term(fluxes, dataclasses.replace(TERM, coefficients=()))
    assert flux == pytest.approx(fluxes["r"][0])
    assert error == pytest.approx(fluxes["r"][1])
    assert TERM.bands == ("r", "g")
