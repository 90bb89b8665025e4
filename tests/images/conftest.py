"""Fixtures that several test modules share: the real field, calibrated once."""

from typing import Any, NamedTuple

import pytest

from astra.images.coadd import coadd_exposures
from astra.images.difference import difference_images
from astra.images.exposure import Exposure
from astra.images.process_ccd import process_ccd
from astra.instruments.sdss import SdssCamera
from astra.products.reference_catalog import read_reference_catalog

RUN_AND_FIELD = ((4192, 300), (6377, 399))


class RealFrames(NamedTuple):
    """Run 4192 (science) and run 6377 (template) of camera column 4, and what is on the science frame."""

    band: str
    science: Exposure
    template: Exposure
    sources: Any


@pytest.fixture(scope="session", params=["r", "g"])
def real_frames(request, shared_data):
    band = request.param
    folder = shared_data / "sdss_s82"
    if not folder.is_dir():
        pytest.skip("the real frames are not beside the project (../shared/data/sdss_s82)")
    reference = read_reference_catalog(folder / "ref_cat" / "stars.fits", band)
    results = []
    for run, field in RUN_AND_FIELD:
        path = folder / str(run) / "40" / "corr" / "4" / f"fpC-{run:06d}-{band}4-{field:04d}.fit.gz"
        results.append(process_ccd(SdssCamera().load(path), reference))
    science, template = results
    return RealFrames(band, science.calexp, coadd_exposures([template.calexp]), science.sources)


@pytest.fixture(scope="session")
def real_difference(real_frames):
    return difference_images(real_frames.science, real_frames.template)
