import numpy as np
import pytest

from astra.spectra.grid import BOSS_GRID, LogGrid
from astra.spectra.redshift import class_model, fit_redshifts, scan_redshifts
from astra.spectra.template_training import (
    LabelledSpectrum,
    at_rest,
    cross_validate,
    train_class,
    train_classes,
)
from tests.spectra.test_redshift import galaxy

GRID = LogGrid(3.6, 1e-4, 3600)


def spectrum(z, rng, name="GALAXY", snr=8.0):
    rest = GRID.wavelength / (1.0 + z)
    shape = galaxy(rest, rng.uniform(0.2, 1.5))
    if name == "STAR":
        shape = (rest / 6000.0) ** rng.normal(-1.0, 0.3) * (
            1.0
            - 0.5 * np.exp(-0.5 * ((rest - 6564.6) / 12.0) ** 2)
            - 0.4 * np.exp(-0.5 * ((rest - 4862.7) / 9.0) ** 2)
        )
    level = rng.uniform(1.0, 9.0)
    flux = level * (shape + rng.standard_normal(GRID.n_pixels) / snr)
    ivar = np.full(GRID.n_pixels, (snr / level) ** 2)
    ivar[rng.integers(0, GRID.n_pixels, 40)] = 0.0
    return LabelledSpectrum(GRID, np.where(ivar > 0, flux, np.nan), ivar, name, z)


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(6)
    galaxies = [spectrum(z, rng) for z in rng.uniform(0.05, 0.4, 24)]
    return galaxies + [spectrum(z, rng, "STAR") for z in rng.normal(0.0, 3e-4, 16)]


def test_left_out_spectra_are_classified_and_have_their_redshifts(labelled):
    found = cross_validate(labelled, 3, n_folds=4)
    summary = found.summary()
    assert summary["GALAXY"]["n"] == 24
    assert summary["STAR"]["n"] == 16
    for one in summary.values():
        assert one["right_class"] > 0.9
        assert one["catastrophic"] <= 0.05
        assert one["velocity_sigma_kms"] < 150.0
        assert one["chi2_dof_median"] == pytest.approx(1.0, abs=0.15)


def test_trained_classes_cover_their_redshifts(labelled):
    galaxies, stars = train_classes(labelled, 3)
    assert (galaxies.name, stars.name) == ("GALAXY", "STAR")
    z = [one.z for one in labelled if one.name == "GALAXY"]
    assert galaxies.z_min == pytest.approx(1.01 * min(z) - 0.01 - 0.02 * min(z), abs=0.02)
    assert galaxies.z_max > max(z)
    assert galaxies.templates.shape[0] == 3
    alone = train_class(labelled[:1], 3)
    assert alone.templates.shape[0] == 1
    with pytest.raises(ValueError, match="of one class"):
        train_class([labelled[0], labelled[-1]], 3)
    with pytest.raises(ValueError, match="two parts"):
        cross_validate(labelled, 3, n_folds=1)


def test_spectra_are_brought_to_rest_by_parts_of_pixels():
    z = 0.2345
    smooth = LabelledSpectrum(
        GRID, galaxy(GRID.wavelength / (1 + z)), np.full(GRID.n_pixels, 4.0), "GALAXY", z
    )
    rest = LogGrid(3.55, 1e-4, 3000)
    flux, ivar = at_rest(smooth, rest)
    known = ivar > 0
    assert known.sum() > 2500
    away = np.abs(rest.wavelength - 4000.0) > 3.0  # of the break, which nothing interpolates
    assert flux[known & away] == pytest.approx(galaxy(rest.wavelength)[known & away], abs=2e-3)
    assert (ivar[known] >= 4.0 - 1e-9).all()
    holes = LabelledSpectrum(GRID, smooth.flux, np.where(np.arange(3600) == 2000, 0.0, 4.0), "GALAXY", z)
    assert known.sum() - (at_rest(holes, rest)[1] > 0).sum() == 4
    with pytest.raises(ValueError, match="steps of"):
        at_rest(smooth, LogGrid(3.55, 2e-4, 100))


def test_scan_and_model_are_those_of_the_best_redshift(labelled):
    classes = train_classes(labelled, 3)
    one = labelled[3]
    fit = fit_redshifts(GRID, one.flux[None], one.ivar[None], classes)
    curves = scan_redshifts(GRID, one.flux, one.ivar, classes)
    z, chi2 = curves[int(fit.class_index[0])]
    assert z[chi2.argmin()] == pytest.approx(fit.z[0], abs=2e-4)
    good = one.ivar > 0
    model = class_model(GRID, one.flux, one.ivar, classes[int(fit.class_index[0])], float(fit.z[0]))
    direct = ((one.flux - model)[good] ** 2 * one.ivar[good]).sum()
    assert direct == pytest.approx(chi2.min(), rel=0.02)
    assert BOSS_GRID.step == GRID.step
