import numpy as np
import pytest

from astra.products.spectra import read_spec
from astra.spectra.air import air_of, vacuum_of
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import BOSS_GRID
from astra.spectra.lines import LICK_LINES, Line, measure_lines

WAVELENGTH = BOSS_GRID.wavelength
HALPHA = Line("Halpha", (6540.0, 6590.0), (6480.0, 6530.0), (6600.0, 6650.0), "vacuum")


def spectrum(width=4.0, sigma=5.0, slope=0.01):
    """A line of known equivalent width on a continuum with a slope."""
    continuum = 100.0 + slope * (WAVELENGTH - 6000.0)
    depth = width / (sigma * np.sqrt(2 * np.pi))
    return continuum, continuum * (1.0 - depth * np.exp(-0.5 * ((WAVELENGTH - 6564.6) / sigma) ** 2))


@pytest.mark.parametrize("width", [4.0, -12.0])
def test_equivalent_width_is_that_of_the_line_whatever_the_pixels_and_the_unit(width):
    continuum, flux = spectrum(width)
    planes = np.stack([flux, 1e-17 * flux])
    found = measure_lines(WAVELENGTH, planes, np.ones_like(planes), [HALPHA])
    assert found.width[:, 0] == pytest.approx(width, rel=2e-3)
    assert found.continuum[0, 0] == pytest.approx(np.interp(6565.0, WAVELENGTH, continuum), rel=1e-3)
    assert found.flux[0, 0] == pytest.approx(-width * found.continuum[0, 0], rel=2e-3)
    assert (found.flags == 0).all()


def test_pulls_are_normal():
    rng = np.random.default_rng(1)
    _, flux = spectrum()
    error = 5.0 * rng.uniform(0.5, 2.0, WAVELENGTH.size)
    noisy = flux + error * rng.standard_normal((1500, WAVELENGTH.size))
    found = measure_lines(WAVELENGTH, noisy, np.tile(error**-2, (1500, 1)), [HALPHA])
    pulls = (found.width[:, 0] - 4.0) / found.width_err[:, 0]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.06)
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.1)
    assert np.std((found.flux[:, 0] - np.mean(found.flux[:, 0])) / found.flux_err[:, 0]) == pytest.approx(
        1.0, abs=0.06
    )


def test_air_and_vacuum_differ_by_the_refraction_of_air():
    assert vacuum_of(6562.79) == pytest.approx(6564.60, abs=0.01)
    assert vacuum_of(5006.843) == pytest.approx(5008.240, abs=2e-3)
    assert air_of(vacuum_of(np.array([4000.0, 16000.0]))) == pytest.approx([4000.0, 16000.0], abs=1e-6)
    in_air = Line("Halpha", *[(float(air_of(a)), float(air_of(b))) for a, b in HALPHA.windows], medium="air")
    assert in_air.in_vacuum().window == pytest.approx(HALPHA.window)
    _, flux = spectrum()
    both = measure_lines(WAVELENGTH, flux[None], np.ones((1, flux.size)), [in_air, HALPHA])
    assert both.width[0, 0] == pytest.approx(both.width[0, 1], rel=1e-6)
    with pytest.raises(ValueError, match="vacuum or air"):
        Line("x", (1.0, 2.0), (0.0, 1.0), (2.0, 3.0), "water")
    with pytest.raises(ValueError, match="blue, line, red"):
        Line("x", (2.0, 1.0), (0.0, 1.0), (2.0, 3.0), "air")


def test_gaps_are_borne_to_a_limit_and_then_flagged():
    _, flux = spectrum()
    ivar = np.ones((4, flux.size))
    planes = np.tile(flux, (4, 1))
    planes[0, 2660:2663], ivar[0, 2660:2663] = np.nan, 0.0
    ivar[1, (WAVELENGTH > 6600) & (WAVELENGTH < 6640)] = 0.0
    ivar[2] = 0.0
    planes[3] = -5.0
    found = measure_lines(WAVELENGTH, planes, ivar, [HALPHA])
    assert found.width[0, 0] == pytest.approx(4.0, rel=0.15)
    assert found.flags[:3, 0].tolist() == [0, *[int(SpectrumFlag.OUTSIDE_COVERAGE)] * 2]
    assert np.isnan(found.width[1:, 0]).all()
    assert found.flags[3, 0] == SpectrumFlag.FIT_FAILED


def test_lines_beyond_the_spectrum_and_no_lines_are_no_errors():
    _, flux = spectrum()
    far = Line("far", (20000.0, 20010.0), (19980.0, 19990.0), (20020.0, 20030.0), "vacuum")
    found = measure_lines(WAVELENGTH, flux[None], np.ones((1, flux.size)), [far])
    assert found.flags[0, 0] == SpectrumFlag.OUTSIDE_COVERAGE
    assert measure_lines(WAVELENGTH, flux[None], np.ones((1, flux.size)), []).width.shape == (1, 0)
    assert measure_lines(WAVELENGTH, flux[None][:0], np.ones((0, flux.size)), [HALPHA]).width.shape == (0, 1)
    with pytest.raises(ValueError, match="must have shape"):
        measure_lines(WAVELENGTH, flux, flux, [HALPHA])


def test_a_real_g_star_has_the_indices_of_one(shared_data):
    spec = read_spec(shared_data / "boss" / "spec-3586-55181-0500.fits")
    ivar = np.where(spec.bad, 0.0, spec.ivar)
    found = measure_lines(spec.wavelength, spec.flux, ivar, LICK_LINES)
    strengths = dict(zip([line.name for line in LICK_LINES], found.width[0], strict=True))
    assert 1.0 < strengths["Hbeta"] < 6.0
    assert 0.5 < strengths["Mg_b"] < 5.0
    assert 0.3 < strengths["Fe5270"] < 4.0
