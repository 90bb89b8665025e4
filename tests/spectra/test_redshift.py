import numpy as np
import pytest

from astra.products.spectra import read_spec
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import BOSS_GRID, LogGrid, log_grid_of
from astra.spectra.quasars import quasar_class
from astra.spectra.redshift import SpectralClass, fit_redshifts
from astra.spectra.template_training import train_components

REST = LogGrid(3.2, 1e-4, 8200)


def galaxy(wavelength, strength=1.0):
    spectrum = np.where(wavelength > 4000.0, 1.0, 0.6)
    for centre in (3934.8, 3969.6, 4305.6, 5176.6, 5895.6):
        spectrum = spectrum - 0.3 * np.exp(-0.5 * ((wavelength - centre) / 8.0) ** 2)
    for centre in (3728.5, 5008.2, 6564.6):
        spectrum = spectrum + strength * np.exp(-0.5 * ((wavelength - centre) / 5.0) ** 2)
    return spectrum


@pytest.fixture(scope="module")
def galaxies():
    templates = np.stack(
        [galaxy(REST.wavelength, 0.0), galaxy(REST.wavelength, 1.0) - galaxy(REST.wavelength, 0.0)]
    )
    return SpectralClass("GALAXY", REST, templates, -0.002, 0.8)


def observed(z, rng, snr=5.0, strength=0.7):
    flux = 7.0 * galaxy(BOSS_GRID.wavelength / (1.0 + z), strength) + 0.002 * (BOSS_GRID.wavelength - 6000.0)
    return flux + 7.0 / snr * rng.standard_normal(flux.size), np.full(flux.size, (snr / 7.0) ** 2)


def test_redshifts_have_normal_pulls_and_the_right_class(galaxies):
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.0, 0.7, 60)
    spectra = [observed(z, rng) for z in truth]
    flux, ivar = (np.stack(planes) for planes in zip(*spectra, strict=True))
    found = fit_redshifts(BOSS_GRID, flux, ivar, [quasar_class(), galaxies])
    assert (found.class_index == 1).all()
    assert (found.flags == 0).all()
    pulls = (found.z - truth) / found.z_err
    assert np.abs(pulls).max() < 5.0
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)
    assert np.median(found.chi2_dof) == pytest.approx(1.0, abs=0.05)


def test_unit_and_gaps_do_not_matter(galaxies):
    flux, ivar = observed(0.3, np.random.default_rng(2), snr=20.0)
    plain = fit_redshifts(BOSS_GRID, flux[None], ivar[None], [galaxies])
    scaled = fit_redshifts(BOSS_GRID, 1e-17 * flux[None], 1e34 * ivar[None], [galaxies])
    assert scaled.z == pytest.approx(plain.z, abs=1e-9)
    assert scaled.delta_chi2 == pytest.approx(plain.delta_chi2, rel=1e-6)
    holes = ivar.copy()
    holes[1000:1200] = 0.0
    broken = np.where(holes > 0, flux, np.nan)
    found = fit_redshifts(BOSS_GRID, broken[None], holes[None], [galaxies])
    assert found.z == pytest.approx(0.3, abs=1e-3)


def test_nothing_and_noise_are_flagged(galaxies):
    rng = np.random.default_rng(3)
    flux = np.stack([np.zeros(BOSS_GRID.n_pixels), rng.standard_normal(BOSS_GRID.n_pixels)])
    ivar = np.stack([np.zeros(BOSS_GRID.n_pixels), np.ones(BOSS_GRID.n_pixels)])
    found = fit_redshifts(BOSS_GRID, flux, ivar, [galaxies])
    assert found.flags[0] == SpectrumFlag.NO_DATA
    assert np.isnan(found.z[0])
    assert found.flags[1] & (SpectrumFlag.AMBIGUOUS | SpectrumFlag.EDGE_OF_RANGE)
    assert fit_redshifts(BOSS_GRID, flux[:0], ivar[:0], [galaxies]).z.shape == (0,)


def test_archetypes_are_not_negative():
    archetype = SpectralClass("STAR", REST, galaxy(REST.wavelength, 0.0)[None], -0.002, 0.3)
    flux, ivar = observed(0.1, np.random.default_rng(4), snr=30.0, strength=0.0)
    assert fit_redshifts(BOSS_GRID, flux[None], ivar[None], [archetype]).z[0] == pytest.approx(0.1, abs=1e-3)
    upside_down = fit_redshifts(BOSS_GRID, -flux[None], ivar[None], [archetype])
    assert upside_down.chi2_dof[0] > 2.0


def test_trained_components_span_the_training_spectra():
    rng = np.random.default_rng(5)
    strengths = rng.uniform(0.0, 2.0, 40)
    truth = np.stack([galaxy(REST.wavelength, strength) for strength in strengths]) * rng.uniform(
        1, 9, (40, 1)
    )
    ivar = np.full(truth.shape, 400.0)
    for row, first in zip(ivar, rng.integers(0, 4000, 40), strict=True):
        row[first : first + 3000] = 0.0
    noisy = np.where(ivar > 0, truth + rng.standard_normal(truth.shape) / 20.0, np.nan)
    trained = train_components("GALAXY", REST, noisy, ivar, 2, (0.0, 0.8))
    basis = np.linalg.qr(trained.templates.T)[0]
    left = truth - (truth @ basis) @ basis.T
    assert np.std(left) < 0.02 * np.std(truth)
    flux, observed_ivar = observed(0.4, rng)
    assert fit_redshifts(BOSS_GRID, flux[None], observed_ivar[None], [trained]).z[0] == pytest.approx(
        0.4, abs=1e-3
    )


def test_senseless_input_is_refused(galaxies):
    flux = np.ones((3, BOSS_GRID.n_pixels))
    with pytest.raises(ValueError, match="need a class"):
        fit_redshifts(BOSS_GRID, flux, flux, [])
    other = SpectralClass("X", LogGrid(3.2, 2e-4, 10), np.ones((1, 10)), 0.0, 1.0)
    with pytest.raises(ValueError, match="have steps"):
        fit_redshifts(BOSS_GRID, flux, flux, [other])
    with pytest.raises(ValueError, match="must have shape"):
        SpectralClass("X", REST, np.ones((1, 10)), 0.0, 1.0)
    with pytest.raises(ValueError, match="z_min < z_max"):
        SpectralClass("X", REST, np.ones((1, REST.n_pixels)), 1.0, 0.0)
    with pytest.raises(ValueError, match="need more spectra"):
        train_components("X", BOSS_GRID, flux, flux, 3, (0.0, 1.0))


@pytest.mark.parametrize("name", ["spec-7338-56717-0779", "spec-7339-56722-0739"])
def test_real_quasar_epochs_have_the_published_redshift(shared_data, name):
    spec = read_spec(shared_data / "boss" / f"{name}.fits")
    grid = log_grid_of(spec.wavelength)
    found = fit_redshifts(
        LogGrid(grid.start, 1e-4, grid.n_pixels),
        spec.flux,
        np.where(spec.bad, 0.0, spec.ivar),
        [quasar_class()],
    )
    difference_kms = 299792.458 * (found.z[0] - spec.catalogue["Z"]) / (1.0 + spec.catalogue["Z"])
    assert abs(difference_kms) < 100.0
