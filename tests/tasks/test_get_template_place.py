"""What a task that makes a template knows of its exposure is read once for each state of the file."""

import dataclasses

import numpy as np

from astra.products import exposures
from astra.products.checksums import stamp
from astra.tasks.get_template import _read_place
from tests.images.difference_field import make_exposure


def test_an_exposure_is_looked_at_once_and_again_when_its_file_has_changed(tmp_path, monkeypatch):
    rng, opened = np.random.default_rng(1), []
    look = exposures.read_exposure_place
    monkeypatch.setattr(exposures, "read_exposure_place", lambda path: opened.append(path) or look(path))
    path = str(tmp_path / "calexp.fits")
    shape = (40, 56)
    first = make_exposure(rng, shape, ([], [], []), 3.5)
    exposures.write_exposure(path, first)
    for _ in range(3):
        info, wcs, seen = _read_place(path, stamp(path))
        assert (info, seen) == (first.info, shape)
        assert wcs.pixel_to_world_values(3.0, 4.0) == first.wcs.pixel_to_world_values(3.0, 4.0)
    assert len(opened) == 1
    other = first.replace(info=dataclasses.replace(first.info, visit=first.info.visit + 1))
    exposures.write_exposure(path, other)
    assert _read_place(path, stamp(path))[0].visit == first.info.visit + 1
