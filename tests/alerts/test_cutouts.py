import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS

from astra.alerts.cutouts import linearize_wcs, make_cutout
from astra.images.exposure import Exposure, MaskPlane, PhotoCalib, VisitInfo
from astra.images.psf import gaussian_psf

INFO = VisitInfo("camera", 2**33, 3, "r", "r1", 60000.0, 30.0)


def tilted_wcs(ra=359.9999, dec=60.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [80.0, 40.0]
    wcs.wcs.cd = 1e-4 * np.array([[-np.cos(0.3), np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    return wcs


@pytest.fixture
def exposure():
    rng = np.random.default_rng(5)
    shape = (120, 200)
    mask = rng.choice(np.array([0, MaskPlane.SAT, MaskPlane.DETECTED], dtype=np.uint32), shape)
    return Exposure(
        rng.normal(0, 50, shape).astype(np.float32),
        rng.uniform(1, 2, shape).astype(np.float32),
        mask,
        INFO,
        unit="nJy",
        wcs=tilted_wcs(),
        psf=gaussian_psf(4.0, 25),
    )


def read(data):
    with fits.open(io.BytesIO(data)) as hdus:
        hdus.verify("exception")
        return {hdu.name: (hdu.header.copy(), hdu.data.copy()) for hdu in hdus}


def test_a_stamp_holds_image_mask_variance_and_psf(exposure):
    planes = read(make_cutout(exposure, 100.2, 60.4, 31))
    part = np.s_[45:76, 85:116]
    header, image = planes["PRIMARY"]
    assert image.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(image, exposure.image[part])
    np.testing.assert_array_equal(planes["UNCERT"][1], exposure.variance[part])
    np.testing.assert_array_equal(planes["MASK"][1], exposure.mask[part])
    np.testing.assert_allclose(planes["PSFIMAGE"][1], exposure.psf.stamp(100.2, 60.4), rtol=1e-6)
    assert planes["PSFIMAGE"][1].dtype == np.dtype(">f4")
    assert (header["BUNIT"], header["CUTMINX"], header["CUTMINY"]) == ("nJy", 85, 45)


def test_mask_bits_are_named_in_the_header(exposure):
    header, _ = read(make_cutout(exposure, 100, 60, 30))["MASK"]
    for plane in MaskPlane:
        assert 1 << header[f"MP_{plane.name}"] == plane


def test_ccddata_reads_the_stamp(exposure, tmp_path):
    path = tmp_path / "stamp.fits"
    path.write_bytes(make_cutout(exposure, 100, 60, 30))
    stamp = CCDData.read(path)
    assert stamp.unit == "nJy"
    assert isinstance(stamp.uncertainty, VarianceUncertainty)
    np.testing.assert_array_equal(stamp.mask, exposure.mask[45:75, 85:115] != 0)
    assert stamp.psf.sum() == pytest.approx(1.0, rel=1e-5)
    assert stamp.wcs is not None


@pytest.mark.parametrize("dec", [60.0, 89.999, -30.0, 0.0])
def test_the_wcs_of_the_stamp_agrees_with_that_of_the_image(exposure, dec):
    exposure = exposure.replace(wcs=tilted_wcs(dec=dec))
    header, _ = read(make_cutout(exposure, 101.7, 62.2, 30))["PRIMARY"]
    local = WCS(header)
    x, y = np.array([101.7, 90.0, 110.0]), np.array([62.2, 50.0, 70.0])
    expected = exposure.wcs.pixel_to_world(x, y)
    found = local.pixel_to_world(x - header["CUTMINX"], y - header["CUTMINY"])
    separation = found.separation(expected).arcsec
    assert separation[0] < 1e-6
    assert separation.max() < 1e-3


def test_rotpa_is_the_position_angle_of_the_y_axis(exposure):
    header, _ = read(make_cutout(exposure, 79.0, 39.0, 30))["PRIMARY"]
    below, above = exposure.wcs.pixel_to_world([79, 79], [38, 40])
    expected = below.position_angle(above).deg
    assert header["ROTPA"] == pytest.approx(expected, abs=0.01)
    assert expected == pytest.approx(np.rad2deg(0.3), abs=0.01)


@pytest.mark.parametrize(("wanted", "side"), [(3, 30), (30, 30), (45.2, 46), (102, 102), (900, 102)])
def test_the_side_is_kept_within_its_limits(exposure, wanted, side):
    assert read(make_cutout(exposure, 100, 60, wanted))["PRIMARY"][1].shape == (side, side)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (199.4, 119.4), (-0.4, 60.0)])
def test_pixels_beyond_the_edge_are_nan_and_flagged(exposure, x, y):
    planes = read(make_cutout(exposure, x, y, 31))
    image, mask = planes["PRIMARY"][1], planes["MASK"][1]
    assert np.isnan(image).any()
    np.testing.assert_array_equal(np.isnan(image), mask == MaskPlane.NO_DATA)
    assert image[15, 15] == exposure.image[round(y + 1e-9) if y > 0 else 0, max(round(x), 0)]


@pytest.mark.parametrize(("x", "y"), [(-0.6, 5.0), (5.0, 119.6), (np.nan, 5.0), (1e9, 5.0)])
def test_a_position_off_the_image_has_no_stamp(exposure, x, y):
    assert make_cutout(exposure, x, y, 30) is None


def test_counts_are_scaled_to_flux(exposure):
    counts = exposure.replace(unit="adu", photo_calib=PhotoCalib(2.5))
    planes = read(make_cutout(counts, 100, 60, 30))
    np.testing.assert_allclose(planes["PRIMARY"][1], 2.5 * exposure.image[45:75, 85:115], rtol=1e-6)
    np.testing.assert_allclose(planes["UNCERT"][1], 6.25 * exposure.variance[45:75, 85:115], rtol=1e-6)


def test_counts_without_calibration_are_refused(exposure):
    with pytest.raises(ValueError, match="no photometric calibration"):
        make_cutout(exposure.replace(unit="adu"), 100, 60, 30)


def test_a_stamp_without_wcs_and_psf_is_still_a_fits_file(exposure):
    planes = read(make_cutout(exposure.replace(wcs=None, psf=None), 100, 60, 30))
    assert set(planes) == {"PRIMARY", "MASK", "UNCERT"}


def test_the_exposure_is_not_modified(exposure):
    before = exposure.image.copy(), exposure.mask.copy(), exposure.variance.copy()
    make_cutout(exposure, 1, 1, 40)
    for plane, copy in zip((exposure.image, exposure.mask, exposure.variance), before, strict=True):
        np.testing.assert_array_equal(plane, copy)


def test_a_linearised_wcs_has_the_pixel_scale():
    local = linearize_wcs(tilted_wcs(dec=89.99), 79.0, 39.0)
    assert np.hypot(*local.matrix[:, 0]) == pytest.approx(1e-4, rel=1e-6)
