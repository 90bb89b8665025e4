"""Visits of several exposures: one calibrated exposure each."""

from unittest import mock

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import ConfigError
from astra.images.photometry import ColorTerm
from astra.products.exposures import read_exposure
from astra.tasks.exposures import IngestRaws
from astra.tasks.process_ccd import ProcessCcd, read_color_terms
from astra.tasks.visits import DefineVisits
from tests.tasks.night import build, rows


@pytest.fixture
def snaps(astra_root, night, tmp_path):
    """Two exposures of one group of the simulated camera: the second is the first, a minute later."""
    visit, detector = night.pairs[0]
    name = f"simcam_{visit // 100000}_{visit % 100000:05d}_{detector}"
    [first] = [path for path in night.files.raw_paths if path.stem == name]
    folder = tmp_path / "snaps"
    folder.mkdir()
    with fits.open(first) as hdus:
        for number in (0, 1):
            header = hdus[0].header
            header["GROUP"] = "2026-11-20T03:36:00.000"
            header["SEQNUM"] = visit % 100000 + 50 * number
            header["SEQSTART"], header["SEQEND"] = visit % 100000, visit % 100000 + 50
            header["OBSID"] = f"simcam_{visit // 100000}_{header['SEQNUM']:05d}"
            for key in ("MJD-BEG", "MJD-END"):
                header[key] += number * 60.0 / 86400.0
            hdus.writeto(folder / f"{header['OBSID']}_{detector}.fits")
    return folder, visit, detector


def test_a_visit_of_two_exposures_is_one_calibrated_exposure(astra_root, night, snaps):
    folder, first, detector = snaps
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    exposures = (first, first + 50)
    assert build(DefineVisits(instrument="simcam", exposure=exposures, grouping="by-group-metadata"))
    query = "SELECT visit, exposure_time_s FROM visit WHERE visit_system = 1"
    [(visit, exposure_time)] = rows(astra_root, query)
    assert visit == 20261120033600000
    parameters = night.parameters()
    for name in ("template_visits", "raw"):
        parameters.pop(name)
    parameters |= {"visit": visit, "detector": detector, "visit_system": "by-group-metadata"}
    task = ProcessCcd(**parameters)
    assert build(task)
    calexp = read_exposure(task.path("calexp"))
    assert calexp.metadata["NEXP"] == 2
    assert calexp.info.visit == visit
    assert calexp.info.exposure_time_s == exposure_time == 60.0
    one = ProcessCcd(**{**parameters, "visit": first, "visit_system": "one-to-one"}, raw=str(folder))
    assert build(one)
    single = read_exposure(one.path("calexp"))
    assert single.metadata["NEXP"] == 1
    query = (
        "SELECT task_id, key, value FROM task_metadata JOIN task ON pk = task_pk WHERE key LIKE '%summary.%'"
    )
    found = {(task_id, key.split(".")[-1]): value for task_id, key, value in rows(astra_root, query)}
    effective = {t: found[t.task_id, "effTime"] for t in (one, task)}
    assert 15.0 < effective[one] < 60.0  # as the camera's ordinary conditions are
    assert effective[task] / effective[one] == pytest.approx(2.0, rel=0.1)
    depths = found[task.task_id, "magLim"] - found[one.task_id, "magLim"]
    assert depths == pytest.approx(1.25 * np.log10(2.0), abs=0.05)
    # The same light twice: half the flux of a count, and the same calibrated image.
    scales = [exposure.metadata["NJYADU"] for exposure in (calexp, single)]
    errors = [exposure.metadata["NJYADUER"] for exposure in (calexp, single)]
    error = np.hypot(errors[0], errors[1] / 2)
    assert scales[0] == pytest.approx(scales[1] / 2, abs=3 * error)
    assert error < 0.01 * scales[0]
    assert np.median(np.abs(calexp.image - single.image)) < 0.02 * np.std(single.image)
    middle = (calexp.info.midpoint_mjd_tai - single.info.midpoint_mjd_tai) * 86400.0
    assert middle == pytest.approx(30.0, abs=0.01)


def test_the_first_exposure_of_a_counter_is_calibrated_as_a_visit_of_its_own(astra_root, night, snaps):
    folder, first, detector = snaps
    assert build(IngestRaws(instrument="simcam", path=str(folder)))
    exposures, grouping = (first, first + 50), "one-to-one-and-by-counter"
    assert build(DefineVisits(instrument="simcam", exposure=exposures, grouping=grouping))
    own = int(f"9{first}")
    found = rows(astra_root, "SELECT visit, name FROM visit WHERE visit_system = 0 ORDER BY visit")
    assert found == [(first + 50, mock.ANY), (own, f"simcam_{first // 100000}_{first % 100000:05d}_first")]
    parameters = night.parameters()
    parameters.pop("template_visits")
    parameters |= {"raw": "", "visit": own, "detector": detector}
    task = ProcessCcd(**parameters)
    assert task.requires() == []
    assert build(task)
    calexp = read_exposure(task.path("calexp"))
    assert (calexp.info.visit, calexp.metadata["NEXP"], calexp.info.exposure_time_s) == (own, 1, 30.0)
    # Beside another, which its exposure defines, and one that nobody knows.
    batch = ProcessCcd(**{**parameters, "visit": (own, first + 50, 3)})
    [required] = batch.requires()
    assert required.exposure == (first + 50, 3)
    assert rows(astra_root, "SELECT count(*) FROM visit WHERE visit_system = 0") == [(2,)]


def test_a_visit_of_a_system_in_which_none_is_defined_is_named(astra_root, night):
    parameters = night.parameters()
    parameters.pop("template_visits")
    parameters |= {"visit": 1, "detector": 0, "visit_system": "by-moon-phase"}
    assert not build(ProcessCcd(**parameters))
    query = "SELECT message FROM task_attempt WHERE message LIKE '%by-moon-phase%'"
    assert "known are by-group-metadata, by-seq-start-end, one-to-one" in rows(astra_root, query)[0][0]


def test_colour_terms_are_read_or_refused():
    terms = read_color_terms("r=r:g:r:0.01:-0.03,g=V:B:V:0.1")
    assert terms["r"] == ColorTerm("r", "g", "r", (0.01, -0.03))
    assert terms["g"] == ColorTerm("V", "B", "V", (0.1,))
    for wrong in ("r=r:g:r", "r=r:g:r:x", "r=0.1"):
        with pytest.raises(ConfigError, match="a colour term is given as band=reference:blue:red"):
            read_color_terms(wrong)
