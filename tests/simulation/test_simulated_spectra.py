import csv

import numpy as np
import pytest

from astra.products.apogee import read_ap_visit
from astra.products.atomic import checksum
from astra.products.night_lists import read_night_table, visits_of_night
from astra.products.spectral_models import read_cannon_model, read_template_spectra
from astra.simulation.spectra import APRED, MJD, TELESCOPE, SpectralNight
from astra.simulation.stars import CONTINUUM, Star, observe
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    night = SpectralNight(tmp_path_factory.mktemp("spectra"), 42, n_stars=3, n_before=1)
    night.write()
    return night


def test_visits_are_read_as_those_of_the_survey(night):
    for visit in night.visits:
        spectrum = read_ap_visit(visit.path)
        assert spectrum.flux.shape == (1, 3 * 2048)
        assert (np.diff(spectrum.wavelength) > 0).all()
        snr = np.median(spectrum.flux * np.sqrt(spectrum.ivar))
        assert snr == pytest.approx(visit.snr, rel=0.25)


def test_the_list_the_summary_and_the_truth_have_the_same_visits(night):
    listed = read_night_table(night.path("manifest"), MJD, lambda release: night.tree)
    assert [file.path for file in listed] == [visit.path for visit in night.visits]
    assert [file.mjd for file in listed].count(MJD) == 3
    keys = {"apred": APRED, "telescope": TELESCOPE}
    rows = visits_of_night([night.tree.full("allVisit", **keys)], MJD, **keys)
    assert sorted(night.tree.full("apVisit", **row) for row in rows) == sorted(
        visit.path for visit in night.visits if visit.mjd == MJD
    )
    with night.path("truth").open(newline="") as stream:
        truth = {row["path"]: float(row["v_rad"]) for row in csv.DictReader(stream)}
    assert truth == {visit.path: visit.v_rad for visit in night.visits}


def test_lines_stand_where_the_velocity_of_the_day_puts_them(night):
    """The deepest line of the star, at its barycentric velocity less the motion of the Earth."""
    star, correction = Star(), night._corrections()
    for visit, bc in zip(night.visits, correction, strict=True):
        spectrum = read_ap_visit(visit.path)
        seen = (1.0 + visit.v_rad / SPEED_OF_LIGHT_KMS) / (1.0 + bc / SPEED_OF_LIGHT_KMS) - 1.0
        model = star(spectrum.wavelength, seen * SPEED_OF_LIGHT_KMS)
        wrong = star(spectrum.wavelength, seen * SPEED_OF_LIGHT_KMS + 15.0)
        level = 1.0 + 0.2 * np.sin(spectrum.wavelength / 300.0)
        residuals = [np.nanstd(spectrum.flux[0] / level / CONTINUUM - one) for one in (model, wrong)]
        assert residuals[0] < 0.7 * residuals[1]


def test_the_earth_moves_by_less_than_31_km_per_s(night):
    assert (np.abs(night._corrections()) < 31.0).all()


def test_models_are_there_for_every_analysis(night):
    wavelength, flux, names = read_template_spectra(night.path("templates"))
    assert flux.shape == (3, wavelength.size) == (len(names), wavelength.size)
    assert read_cannon_model(night.path("model")).names == ("label",)
    assert night.path("lines").read_text().count("\n") == 3


def test_equal_seeds_give_equal_bytes(night, tmp_path):
    again = SpectralNight(tmp_path, 42, n_stars=3, n_before=1)
    again.write()
    for first, second in zip(night.visits, again.visits, strict=True):
        assert checksum(first.path) == checksum(second.path)


def test_strength_deepens_lines_and_leaves_the_continuum():
    rng = np.random.default_rng
    weak, strong = (observe(Star(), 0.0, 1e6, rng(1), n_pixels=300, strength=s)[1] for s in (1.0, 1.5))
    depth = 1.0 - Star()(observe(Star(), 0.0, 1e6, rng(1), n_pixels=300)[0])
    assert strong[depth < 1e-6] == pytest.approx(weak[depth < 1e-6])
    deep = depth > 0.3
    assert (strong[deep] < weak[deep]).all()
