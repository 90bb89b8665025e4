import numpy as np
import pytest

from astra.spectra.continuum import (
    ContinuumConfig,
    assess_rows,
    clip_pixels,
    design_matrix,
    fit_continuum,
    normalise,
    weigh_pixels,
)
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import APSTAR_GRID
from tests.spectra.synthetic_stars import Star

WAVELENGTH = APSTAR_GRID.wavelength
INSIDE = np.any(
    [(low <= WAVELENGTH) & (high >= WAVELENGTH) for low, high in ContinuumConfig().regions], axis=0
)


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(2)
    continuum = (
        1000.0 * (1.0 + 0.3 * np.sin(WAVELENGTH / 400.0)) * np.array([[0.5], [1.0], [2.0], [7.0], [9.0]])
    )
    error = continuum / 150.0
    flux = continuum * Star()(WAVELENGTH) + error * rng.standard_normal(continuum.shape)
    return continuum, flux, error**-2


@pytest.mark.parametrize(("basis", "order"), [("sines", 3), ("chebyshev", 5)])
def test_continuum_is_found_through_lines_and_noise(stars, basis, order):
    continuum, flux, ivar = stars
    found = fit_continuum(WAVELENGTH, flux, ivar, ContinuumConfig(basis=basis, order=order))
    ratio = found.continuum[:, INSIDE] / continuum[:, INSIDE]
    assert np.abs(ratio - 1.0).max() < 0.03
    assert np.std(ratio) < 0.004
    assert np.isnan(found.continuum[:, ~INSIDE]).all()
    assert (found.flags == 0).all()


def test_known_continuum_pixels_give_it_exactly_without_noise(stars):
    continuum, _, ivar = stars
    lines = Star()(WAVELENGTH)
    config = ContinuumConfig(basis="chebyshev", order=9, n_clips=0, ridge=0.0)
    found = fit_continuum(WAVELENGTH, continuum * lines, ivar, config, lines > 1 - 1e-9)
    assert found.continuum[:, INSIDE] == pytest.approx(continuum[:, INSIDE], rel=1e-4)


def test_gaps_nan_and_infinite_values_do_not_spread(stars):
    _, flux, ivar = stars
    clean = fit_continuum(WAVELENGTH, flux, ivar)
    spoiled, weight = flux.copy(), ivar.copy()
    spoiled[:, 1000:1010], weight[:, 1000:1010] = np.nan, np.nan
    spoiled[:, 5000], spoiled[:, 5001] = np.inf, 1e30
    weight[:, 5001] = 0.0
    found = fit_continuum(WAVELENGTH, spoiled, weight)
    assert found.continuum[:, INSIDE] == pytest.approx(clean.continuum[:, INSIDE], rel=2e-3)
    normal, normal_ivar = normalise(spoiled, weight, found.continuum)
    assert np.isfinite(normal).all()
    assert np.isfinite(normal_ivar).all()
    assert (normal_ivar[:, 1000:1010] == 0).all()
    assert (normal[:, ~INSIDE] == 1).all()


def test_signal_to_noise_is_kept_by_normalising_and_scale_drops_out(stars):
    _, flux, ivar = stars
    found = fit_continuum(WAVELENGTH, flux, ivar)
    normal, normal_ivar = normalise(flux, ivar, found.continuum)
    used = normal_ivar > 0
    assert (normal * np.sqrt(normal_ivar))[used] == pytest.approx((flux * np.sqrt(ivar))[used])
    scaled = fit_continuum(WAVELENGTH, 1e-17 * flux, 1e34 * ivar)
    assert normalise(1e-17 * flux, 1e34 * ivar, scaled.continuum)[0] == pytest.approx(normal, rel=1e-9)


def test_inputs_are_not_modified_and_rows_do_not_depend_on_each_other(stars):
    _, flux, ivar = stars
    before = flux.copy(), ivar.copy()
    together = fit_continuum(WAVELENGTH, flux, ivar)
    normalise(flux, ivar, together.continuum)
    assert np.array_equal(flux, before[0])
    assert np.array_equal(ivar, before[1])
    alone = fit_continuum(WAVELENGTH, flux[3:4], ivar[3:4])
    assert alone.continuum[:, INSIDE] == pytest.approx(together.continuum[3:4, INSIDE], rel=1e-8)


def test_spectra_without_data_have_a_flag_and_nan(stars):
    _, flux, ivar = stars
    none = ivar.copy()
    none[0] = 0.0
    none[1, WAVELENGTH < 15900.0] = 0.0
    found = fit_continuum(WAVELENGTH, flux, none)
    assert found.flags[0] & SpectrumFlag.NO_DATA
    assert np.isnan(found.continuum[0]).all()
    assert found.flags[1] & SpectrumFlag.OUTSIDE_COVERAGE
    assert found.flags[2] == 0
    assert fit_continuum(WAVELENGTH, flux[:0], ivar[:0]).continuum.shape == (0, 8575)


def test_wrong_shapes_and_configurations_are_refused():
    with pytest.raises(ValueError, match="must have shape"):
        fit_continuum(WAVELENGTH, np.ones((1, 5)), np.ones((1, 5)))
    for wrong in ({"basis": "spline"}, {"order": -1}, {"regions": ()}, {"regions": ((2.0, 1.0),)}):
        with pytest.raises(ValueError, match="continuum"):
            ContinuumConfig(**wrong)


def test_sines_have_the_longest_period_that_is_asked_for():
    config = ContinuumConfig(order=1, length=100.0)
    terms = design_matrix(np.array([0.0, 25.0, 50.0, 100.0]), config, (0.0, 100.0))
    assert terms == pytest.approx(np.array([[1, 1, 1, 1], [1, 0, -1, 1], [0, 1, 0, 0]]), abs=1e-12)


def test_clipping_is_that_of_plain_arrays():
    rng = np.random.default_rng(4)
    data, continuum, error = rng.normal(1.0, 0.3, (3, 50)), np.ones((3, 50)), np.full((3, 50), 0.1)
    weight = rng.choice([0.0, 2.0], (3, 50))
    kept, weighted = np.empty((2, 3, 50))
    clip_pixels(data, continuum, error, weight, 1.5, 3.0, kept, weighted)
    residual = data - continuum
    above = (residual > 0) & (weight > 0)
    spread = np.sqrt((residual**2 * above).sum(axis=1) / above.sum(axis=1))[:, None]
    stays = (residual > -1.5 * np.maximum(error, spread / 2)) & (residual < 3.0 * np.maximum(error, spread))
    assert np.array_equal(kept, np.where(stays, weight, 0.0))
    assert np.array_equal(weighted, kept * data)


def test_kernels_of_weights_and_quality_are_those_of_plain_arrays():
    rng = np.random.default_rng(12)
    flux, ivar = rng.normal(5.0, 1.0, (3, 40)), rng.uniform(0.5, 2.0, (3, 40))
    flux[0, 3], ivar[0, 4], ivar[1, 5], ivar[2] = np.nan, np.inf, 0.0, 0.0
    allowed = np.arange(40) % 7 != 0
    for kernel in (weigh_pixels, weigh_pixels.py_func):
        data, weight, error = np.empty((3, 3, 40))
        kernel(flux, ivar, allowed, data, weight, error)
        counts = allowed & np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
        assert np.array_equal(data, np.where(counts, flux, 0.0))
        assert np.array_equal(weight > 0, counts)
        for row in (0, 1):
            assert weight[row][counts[row]] == pytest.approx(
                ivar[row][counts[row]] / ivar[row][counts[row]].mean()
            )
        assert error[counts] == pytest.approx(ivar[counts] ** -0.5)

    continuum = np.where(np.arange(40) < 30, flux + 0.5, np.nan)
    used = counts & (np.arange(40) < 25)
    for kernel in (assess_rows, assess_rows.py_func):
        chi2, lowest = np.empty((2, 3))
        n_used, n_fitted, n_good = np.empty((3, 3), np.int64)
        kernel(flux, ivar, continuum, used, chi2, n_used, n_fitted, n_good, lowest)
        assert n_used.tolist() == used.sum(axis=1).tolist()
        assert n_fitted.tolist() == np.isfinite(continuum).sum(axis=1).tolist()
        assert chi2 == pytest.approx(np.where(used, 0.25 * np.where(used, ivar, 0), 0.0).sum(axis=1))
        assert lowest == pytest.approx(np.minimum(1.0, np.nanmin(continuum, axis=1)))
