"""A detector that cannot be calibrated whole: what can be made is written, the task says what is missing."""

import json

import numpy as np
import pytest

from astra.errors import ConfigError
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure
from astra.tasks.process_ccd import ProcessCcd
from tests.tasks.night import build, rows


def test_a_reference_catalogue_of_another_field_leaves_a_catalogue_in_counts(astra_root, night, tmp_path):
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("ra,dec,r_flux,r_fluxErr,g_flux,g_fluxErr\n10.0,-80.0,1e5,1e3,1e5,1e3\n")
    parameters = night.parameters(night.pairs[:1])
    parameters.pop("template_visits")
    parameters |= {"reference_catalog": str(elsewhere), "visit": night.pairs[0][0], "detector": 0}
    task = ProcessCcd(**parameters, quality_pictures=True, write_post_isr=True, write_first_pass=True)
    assert not build(task)
    assert not task.complete()
    calexp = read_exposure(task.path("calexp"))
    assert (calexp.wcs, calexp.photo_calib, calexp.unit) == (None, None, "adu")
    assert calexp.psf is not None
    assert "0 sources match" in calexp.metadata["NOWCS"]
    sources = read_catalog(task.path("src"))
    assert len(sources) > 50
    assert len(read_catalog(task.path("srcMatch"))) == 0
    assert task.path("qa").name == "qa.png"
    assert task.path("qa").stat().st_size > 10_000
    raw, first = read_exposure(task.path("postISR")), read_exposure(task.path("icExp"))
    assert np.median(raw.image) > np.median(first.image) + 50.0
    assert read_catalog(task.path("icSrc"))["calib_psf_used"].sum() >= 8
    query = "SELECT error_class, message, context FROM task_attempt WHERE error_class IS NOT NULL"
    [(error_class, message, context)] = [row for row in rows(astra_root, query) if "sources match" in row[1]]
    assert error_class.endswith("TooFewSourcesError")
    assert "the rest is written, without its wcs, photoCalib" in message
    assert json.loads(context)["missing"] == "wcs, photoCalib"


def test_an_option_that_is_unknown_is_refused_with_those_there_are(astra_root, night):
    parameters = night.parameters(night.pairs[:1])
    parameters.pop("template_visits")
    task = ProcessCcd(**{**parameters, "visit": night.pairs[0][0], "detector": 0}, options="psf.odrer=1")
    with pytest.raises(ConfigError, match=r"option psf\.odrer is unknown; did you mean psf\.order\?"):
        task.ccd_config()
    task = ProcessCcd(**{**parameters, "visit": night.pairs[0][0], "detector": 0}, options="psf.order=1")
    assert task.ccd_config().psf.order == 1
