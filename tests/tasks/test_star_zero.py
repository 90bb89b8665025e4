import luigi
import numpy as np
import pytest

from astra.products.spectra import read_ap_star
from astra.spectra.continuum import fit_continuum
from astra.spectra.grid import APSTAR_GRID
from astra.tasks.spectra.combine_visits import CombineVisits
from tests.tasks.spectral_night import MJD, STAR, write_night_models, write_star_visit


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="CRITICAL", no_lock=True)


@pytest.mark.parametrize("n_visits", [1, 2])
def test_sum_of_a_moving_star_is_at_rest_if_templates_tell_its_zero(astra_root, n_visits):
    paths = [
        str(write_star_visit(astra_root / f"apVisit-{i}.fits", 55.0, seed=i, mjd=MJD, obj="2M"))
        for i in range(n_visits)
    ]
    templates = write_night_models(astra_root / "models")["templates"]
    names = {"obj": "2M", "visits": ":".join(paths)}
    at_rest, moving = CombineVisits(**names, templates=templates), CombineVisits(**names)
    assert build(at_rest, moving)
    star = read_ap_star(at_rest.output().path)
    expected = 55.0 + 8.0  # the visits are made for a correction of -8 km/s
    assert star.v_rel[-n_visits:] == pytest.approx([expected] * n_visits, abs=0.5)
    alike = {}
    for task in (at_rest, moving):
        found = read_ap_star(task.output().path)
        ivar = np.where(found.bad, 0.0, found.ivar)[:1]
        normal = found.flux[0] / fit_continuum(found.wavelength, found.flux[:1], ivar).continuum[0]
        good = (ivar[0] > 0) & np.isfinite(normal)
        alike[task] = np.corrcoef(normal[good], STAR(APSTAR_GRID.wavelength)[good])[0, 1]
    assert alike[at_rest] > 0.95
    assert alike[moving] < 0.5


def test_star_without_a_velocity_against_the_templates_has_no_sum(astra_root):
    visit = write_star_visit(astra_root / "good.fits", 10.0, seed=1, mjd=MJD, obj="2M")
    templates = write_night_models(astra_root / "models")["templates"]
    content = dict(np.load(templates))
    np.savez(templates, **{**content, "flux": np.ones_like(content["flux"])})
    task = CombineVisits(obj="2M", visits=str(visit), templates=templates)
    assert not build(task)
    assert task.query_state().one().status_code == 30
