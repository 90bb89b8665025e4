"""Every way to subtract, as a task: detections, products, figures."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from astra import plugins
from astra.images.subtraction_method import Subtraction, SubtractionMethod
from astra.plugins import SUBTRACTION_METHODS
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure
from astra.tasks.diffim import DiffIm
from tests.tasks.night import build


def subtraction(night, **changes):
    """DiffIm on the first detector of the night."""
    visit, detector = night.pairs[0]
    return DiffIm(**{**night.parameters(), "visit": visit, "detector": detector, **changes})


def found_of_transients(night, task):
    """Share of the bright transients of the detector that are among the detections."""
    truth = read_catalog(night.files.truth_path)
    here = truth[(truth["visit"] == task.visit) & (truth["detector"] == task.detector)]
    rows = read_catalog(task.path("diaSrc"))
    reference = read_catalog(subtraction(night).path("diaSrc"))
    apart = np.hypot(here["x"][:, None] - reference["x"], here["y"][:, None] - reference["y"])
    bright = here[[near.min() < 2 and reference["snr"][near.argmin()] > 12 for near in apart]]
    assert len(bright) > 2
    return np.mean([np.hypot(rows["x"] - t["x"], rows["y"] - t["y"]).min() < 2.0 for t in bright])


@pytest.mark.parametrize(
    "change",
    [
        {"method": "zogy"},
        {"mode": "preconvolve"},
        {"difference_options": "decorrelation_strength=0.7"},
    ],
    ids=lambda change: "-".join(change.values()),
)
def test_every_way_to_subtract_finds_the_transients(night, processed, change):
    task = subtraction(night, **change)
    assert build(task)
    assert found_of_transients(night, task) == 1.0
    assert ("kernel" in task.output()) == ("method" not in change)
    for kind, target in task.output().items():
        assert target.exists(), kind
    assert np.isfinite(read_exposure(task.path("diffexp")).image).mean() > 0.8


class PlainMethod(SubtractionMethod):
    """A method of a plug-in: no matching at all."""

    def subtract(self, science, template, config):
        """Take one image from the other."""
        del config
        mask = science.mask | template.mask
        variance = science.variance + template.variance
        difference = science.replace(image=science.image - template.image, variance=variance, mask=mask)
        return Subtraction(difference, template, None, metrics={"plain": 1.0})


def test_a_method_of_a_plug_in_is_chosen_by_its_name(night, processed, monkeypatch):
    entry = EntryPoint("plain", f"{__name__}:PlainMethod", SUBTRACTION_METHODS.group)
    known = plugins.entry_points
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [entry] if group == entry.group else known(group=group)
    )
    task = subtraction(night, method="plain")
    build(task)
    science, template = (read_exposure(task.requires()[n].path(n)) for n in ("calexp", "template"))
    difference = read_exposure(task.path("diffexp"))
    both = np.isfinite(difference.image) & np.isfinite(template.image)
    np.testing.assert_allclose(
        difference.image[both], (science.image - template.image)[both], rtol=1e-3, atol=50
    )
