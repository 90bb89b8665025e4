import numpy as np
import pytest
from scipy.optimize import curve_fit

from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import BOSS_GRID
from astra.spectra.line_fits import (
    accumulate,
    evaluate,
    first_guess,
    fit_lines,
    fit_profile,
    line_profile,
    solve_symmetric,
)
from astra.spectra.lines import Line

WAVELENGTH = BOSS_GRID.wavelength
LINE = Line("Halpha", (6535.0, 6595.0), (6480.0, 6530.0), (6600.0, 6650.0), "vacuum")
CENTRE, SIGMA = 6564.6, 5.0


def spectrum(width=4.0, centre=CENTRE, slope=0.02):
    continuum = 100.0 + slope * (WAVELENGTH - 6565.0)
    depth = width / (SIGMA * np.sqrt(2 * np.pi))
    return continuum * (1.0 - depth * np.exp(-0.5 * ((WAVELENGTH - centre) / SIGMA) ** 2))


@pytest.mark.parametrize("width", [4.0, -12.0])
def test_a_gaussian_line_is_found_exactly_in_absorption_and_emission_whatever_the_unit(width):
    planes = np.stack([spectrum(width), 1e-17 * spectrum(width)])
    found = fit_lines(WAVELENGTH, planes, np.stack([planes[0] * 0 + 1, planes[0] * 0 + 1e34]), [LINE])
    assert found.centre[:, 0] == pytest.approx(CENTRE, abs=0.01)
    assert found.sigma[:, 0] == pytest.approx(SIGMA, rel=2e-3)
    assert found.width[:, 0] == pytest.approx(width, rel=2e-3)
    assert found.flux[0, 0] == pytest.approx(-100.0 * width, rel=3e-3)
    assert (found.flags == 0).all()


def test_pulls_of_all_quantities_are_normal():
    rng = np.random.default_rng(2)
    error = 5.0 * rng.uniform(0.5, 2.0, WAVELENGTH.size)
    noisy = spectrum() + error * rng.standard_normal((600, WAVELENGTH.size))
    found = fit_lines(WAVELENGTH, noisy, np.tile(error**-2, (600, 1)), [LINE])
    assert (found.flags[:, 0] == 0).mean() > 0.98
    good = found.flags[:, 0] == 0
    for name, truth in (("centre", CENTRE), ("sigma", SIGMA), ("width", 4.0), ("flux", -400.0)):
        pulls = (getattr(found, name)[good, 0] - truth) / getattr(found, f"{name}_err")[good, 0]
        assert np.std(pulls) == pytest.approx(1.0, abs=0.1), name
        assert np.mean(pulls) == pytest.approx(0.0, abs=0.15), name
    assert np.median(found.chi2_dof) == pytest.approx(1.0, abs=0.05)


def test_fit_and_errors_are_those_of_scipy():
    rng = np.random.default_rng(3)
    part = (LINE.blue[0] < WAVELENGTH) & (LINE.red[1] > WAVELENGTH)
    x, y = WAVELENGTH[part], (spectrum() + 4.0 * rng.standard_normal(WAVELENGTH.size))[part]
    parameters, covariance, _, is_settled = fit_profile(LINE, x, y, np.full(x.size, 1 / 16))

    def model(x, *values):
        return line_profile(LINE, x, np.array(values))

    expected, errors = curve_fit(
        model, x, y, p0=parameters * 1.02, sigma=np.full(x.size, 4.0), absolute_sigma=True
    )
    assert is_settled
    assert parameters == pytest.approx(expected, rel=2e-3, abs=1e-3)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(np.sqrt(np.diag(errors)), rel=0.05)


def test_what_cannot_be_fitted_is_flagged():
    rng = np.random.default_rng(4)
    planes = np.stack(
        [spectrum(), 100.0 + rng.standard_normal(WAVELENGTH.size), spectrum(), spectrum() - 200.0]
    )
    ivar = np.ones_like(planes)
    ivar[2, (WAVELENGTH > 6540) & (WAVELENGTH < 6590)] = 0.0
    found = fit_lines(WAVELENGTH, planes, ivar, [LINE])
    assert found.flags[0, 0] == 0
    assert found.flags[1, 0] & (SpectrumFlag.WEAK_PEAK | SpectrumFlag.EDGE_OF_RANGE)
    assert found.flags[2, 0] == SpectrumFlag.OUTSIDE_COVERAGE
    assert found.flags[3, 0] == SpectrumFlag.FIT_FAILED
    assert np.isnan(found.width[2:]).all()
    at_edge = fit_lines(WAVELENGTH, spectrum(centre=6605.0)[None], ivar[:1], [LINE])
    assert at_edge.flags[0, 0] & SpectrumFlag.EDGE_OF_RANGE
    assert fit_lines(WAVELENGTH, planes[:0], ivar[:0], [LINE]).width.shape == (0, 1)
    with pytest.raises(ValueError, match="must have shape"):
        fit_lines(WAVELENGTH, planes[0], ivar[0], [LINE])


def test_kernels_of_fits_are_those_of_plain_arrays():
    rng = np.random.default_rng(5)
    x, data, weight = np.linspace(-1, 1, 30), rng.normal(1, 0.1, 30), rng.uniform(0.5, 2, 30)
    parameters = np.array([1.0, 0.1, -0.2, 0.1, 0.15])
    step = 1e-6 * np.eye(5)
    slope = np.stack([(evaluate(x, parameters + s) - evaluate(x, parameters - s)) / 2e-6 for s in step])
    residual = data - evaluate.py_func(x, parameters)
    for kernel in (accumulate, accumulate.py_func):
        normal, gradient = np.empty((5, 5)), np.empty(5)
        chi2 = kernel(x, data, weight, parameters, normal, gradient)
        assert chi2 == pytest.approx((weight * residual**2).sum())
        assert normal == pytest.approx((slope * weight) @ slope.T, rel=1e-5, abs=1e-6)
        assert gradient == pytest.approx(slope @ (weight * residual), rel=1e-5, abs=1e-6)
    right = rng.normal(size=(5, 2))
    for kernel in (solve_symmetric, solve_symmetric.py_func):
        assert kernel(normal, right) == pytest.approx(np.linalg.solve(normal, right), rel=1e-6)
        assert kernel(np.zeros((2, 2)), np.ones((2, 1))).tolist() == [[0.0], [0.0]]
    guess = np.zeros(5)
    data = evaluate(x, np.array([1.0, 0.0, -0.2, 0.0, 0.12]))
    first_guess(x, data, weight, np.array([-0.5, 0.01]), np.array([0.5, 0.5]), np.array([0.06, 0.12]), guess)
    assert guess == pytest.approx([1.0, 0.0, -0.2, 0.0, 0.12], abs=1e-6)
