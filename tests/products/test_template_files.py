"""What lies beside a template: its coverage, and what went into it."""

import numpy as np
import pytest
from astropy.wcs import WCS

from astra.errors import FormatError, MissingDataError
from astra.images.exposure import Exposure, VisitInfo
from astra.images.psf import gaussian_psf
from astra.products.exposures import write_exposure
from astra.products.template_files import (
    TemplateInput,
    read_coverage,
    read_fwhm_arcsec,
    read_template_inputs,
    write_coverage,
    write_template_inputs,
)


def make_wcs(scale_arcsec=0.5):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [10.0, 80.0], [20.0, 30.0]
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    return wcs


def test_inputs_come_back_as_they_were_written(tmp_path):
    used = TemplateInput(2**40, 3, "a.fits", 0.93, 0.25)
    left_out = TemplateInput(7, 4).without("blurred: FWHM 2.00 above 1.5 arcsec")
    write_template_inputs(tmp_path / "inputs.fits", [used, left_out])
    first, second = read_template_inputs(tmp_path / "inputs.fits")
    assert first.row() == used.row()
    assert second.row() == left_out.row()
    assert (first.used, second.used) == (True, False)
    write_template_inputs(tmp_path / "none.fits", [])
    assert read_template_inputs(tmp_path / "none.fits") == []


def test_the_first_reason_stays():
    one = TemplateInput(1, 2, weight=0.5).without("first").without("second")
    assert (one.reason, one.weight, one.used) == ("first", None, False)


def test_coverage_comes_back(tmp_path):
    coverage = np.arange(12, dtype=np.uint16).reshape(3, 4)
    write_coverage(tmp_path / "coverage.fits", coverage, make_wcs())
    np.testing.assert_array_equal(read_coverage(tmp_path / "coverage.fits"), coverage)
    with pytest.raises(MissingDataError):
        read_coverage(tmp_path / "absent.fits")


def test_the_width_of_a_psf_is_read_in_arcsec(tmp_path):
    shape = (20, 30)
    planes = {name: np.zeros(shape, dtype=np.float32) for name in ("image", "variance")}
    info = VisitInfo("simcam", 1, 2, "r", "r", 60000.0, 30.0)
    exposure = Exposure(
        **planes, mask=np.zeros(shape, np.uint32), info=info, wcs=make_wcs(), psf=gaussian_psf(3.0)
    )
    write_exposure(tmp_path / "a.fits", exposure)
    assert read_fwhm_arcsec(tmp_path / "a.fits") == pytest.approx(1.5, rel=0.01)
    write_exposure(tmp_path / "b.fits", exposure.replace(psf=None))
    with pytest.raises(FormatError, match="has no PSF"):
        read_fwhm_arcsec(tmp_path / "b.fits")
    write_exposure(tmp_path / "c.fits", exposure.replace(wcs=None))
    with pytest.raises(FormatError, match="has no WCS"):
        read_fwhm_arcsec(tmp_path / "c.fits")
