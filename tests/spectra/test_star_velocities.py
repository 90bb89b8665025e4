import csv

import numpy as np
import pytest

from astra.products.spectra import read_ap_star, read_ap_visit
from astra.spectra import star_velocities
from astra.spectra.coadd import Visit
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import APSTAR_GRID
from astra.spectra.star_velocities import measure_star, prepare_visit
from astra.spectra.velocities import compose, remove
from tests.spectra.synthetic_stars import Star, observe, visit_wavelength

STAR = Star()


def make_visits(v_rad, bc, snr=60.0):
    rng = np.random.default_rng(4)
    seen = [
        observe(STAR, float(remove(v, b)), snr, rng, sky=True, cosmics=True)
        for v, b in zip(v_rad, bc, strict=True)
    ]
    return [Visit(wave, visit_wavelength()[1], flux, ivar, flags) for wave, flux, ivar, flags in seen]


@pytest.mark.parametrize("n_visits", [2, 5])
def test_velocities_between_visits_are_found_without_a_template(n_visits):
    v_rad = np.array([20.0, -35.0, 21.0, 60.0, 5.0])[:n_visits]
    bc = np.array([-25.0, 14.0, 3.0, 28.0, -11.0])[:n_visits]
    found = measure_star(make_visits(v_rad, bc), bc)
    ours = compose(found.v_rel, bc)
    assert ours - ours.mean() == pytest.approx(v_rad - v_rad.mean(), abs=0.5)
    assert np.average(ours) == pytest.approx(0.0, abs=0.5)
    assert (found.v_rel_err < 0.2).all()


def test_what_two_noisy_visits_have_in_common_does_not_keep_them_from_settling(monkeypatch):
    """Each moves by the same against the other, which no velocity between them tells."""
    steps = []
    against = star_velocities._against_the_others
    monkeypatch.setattr(
        star_velocities, "_against_the_others", lambda *given: steps.append(given[2]) or against(*given)
    )
    bc = np.array([-25.0, 14.0])
    found = measure_star(make_visits([20.0, -35.0], bc, snr=15.0), bc)
    assert len(steps) <= 4
    again = against(*_given(found.v_rel, bc))
    drift = compose(again.v_rel, bc) - compose(found.v_rel, bc)
    assert drift[0] == pytest.approx(drift[1], abs=0.02)


def _given(v_rel, bc):
    visits = make_visits([20.0, -35.0], bc, snr=15.0)
    return visits, [prepare_visit(visit) for visit in visits], v_rel, APSTAR_GRID, None


def test_one_visit_says_nothing_of_its_velocity():
    found = measure_star(make_visits([20.0], [-25.0]), np.array([-25.0]))
    assert found.flags[0] & SpectrumFlag.SINGLE_VISIT
    assert np.isnan(found.v_rel_err[0])
    assert found.v_rel[0] == pytest.approx(float(remove(0.0, -25.0)))


def test_visits_need_their_corrections():
    with pytest.raises(ValueError, match="finite correction"):
        measure_star(make_visits([20.0], [-25.0]), np.array([np.nan]))
    with pytest.raises(ValueError, match="at least one"):
        measure_star([], np.empty(0))


def test_real_visits_agree_with_the_survey_within_1_km_per_s(shared_data):
    folder = shared_data / "apogee"
    with (folder / "VISITMAP.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["in_apStar"] == "True"]
    for path in sorted(folder.glob("apStar-*.fits")):
        star = read_ap_star(path)
        own = [row for row in rows if path.stem.split("-", 2)[2] in row["local_file"]]
        spectra = [read_ap_visit(folder / row["local_file"]) for row in own]
        visits = [Visit(s.wavelength, s.chip, s.flux[0], s.ivar[0], s.pixel_flags[0]) for s in spectra]
        index = [star.sources.index(row["sdss_name"]) for row in own]
        difference = measure_star(visits, star.bc[index]).v_rel - star.v_rel[index]
        assert np.abs(difference - np.mean(difference)).max() < 1.0
