import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

from astra.alerts.cutout_batch import StampCutter
from astra.alerts.cutout_headers import is_same_wcs
from astra.alerts.cutouts import CutoutConfig, linearize_wcs, make_cutout, make_cutout_bytes
from astra.images.coadd_psf import CoaddPsf
from astra.images.exposure import MaskPlane, PhotoCalib
from astra.images.psf import gaussian_psf
from astra.instruments.base import Detector
from astra.instruments.focal_plane import FocalPlane
from tests.alerts.stamp_images import make_exposure, tilted_wcs, varying_psf


@pytest.fixture
def exposure():
    return make_exposure()


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


def test_a_stamp_where_a_template_has_no_data_is_none(exposure):
    empty = exposure.copy()
    empty.image[:, :100] = np.nan
    empty.mask[:, :100] |= np.uint32(MaskPlane.NO_DATA)
    assert make_cutout(empty, 50, 60, 30) is None
    assert make_cutout(empty, 90, 60, 30) is not None
    plan = StampCutter(empty).plan(*np.array([[50, 90], [60, 60], [30, 30]]))
    assert [stamp is None for stamp in plan.stamps()] == [True, False]


@pytest.mark.parametrize("size", [1, 21, 64, 201])
def test_the_side_can_be_fixed(exposure, size):
    planes = read(make_cutout(exposure, 100, 60, 45, CutoutConfig(size)))
    assert planes["PRIMARY"][1].shape == planes["MASK"][1].shape == (size, size)


def test_a_side_below_one_pixel_is_refused():
    with pytest.raises(ValueError, match="1 pixel or more, found 0"):
        CutoutConfig(0)


def test_the_psf_is_that_of_the_place_or_of_the_middle(exposure):
    own = read(make_cutout(exposure, 20.0, 100.0, 30))["PSFIMAGE"][1]
    average = read(make_cutout(exposure, 20.0, 100.0, 30, CutoutConfig(use_average_psf=True)))["PSFIMAGE"][1]
    np.testing.assert_allclose(own, exposure.psf.stamp(20.0, 100.0), rtol=1e-6)
    np.testing.assert_allclose(average, exposure.psf.stamp(99.5, 59.5), rtol=1e-6)
    assert abs(own - average).max() > 1e-4


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize(("rotation", "sky_angle"), [(0.0, 0.0), (90.0, 35.0), (180.0, 200.0), (37.0, -20.0)])
def test_rotpa_is_the_position_angle_of_the_focal_planes_y_axis(exposure, rotation, sky_angle, flip_x):
    plane = FocalPlane(0.01, 0.2, flip_x)
    detector = Detector(3, "R22_S11", 120, 200, rotation_deg=rotation)
    exposure = exposure.replace(wcs=plane.wcs(150.0, -30.0, sky_angle, detector))
    config = CutoutConfig(detector_rotation_deg=rotation)
    header, _ = read(make_cutout(exposure, 99.0, 60.0, 30, config))["PRIMARY"]
    assert (header["ROTPA"] - sky_angle + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-3)


PSFS = {
    "none": None,
    "constant": gaussian_psf(4.0, 25),
    "varying": varying_psf(31),
    "coadd": CoaddPsf(
        np.concatenate([varying_psf(25).coefficients, gaussian_psf(5.0, 25).coefficients.repeat(3, 0) * 0.3]),
        1, 100.0, 60.0, 100.0,
        weights=np.random.default_rng(4).uniform(0, 1, (2, 8, 13)).astype(np.float32),
    ),
}  # fmt: skip


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("config", [CutoutConfig(), CutoutConfig(33, True, 12.0)])
@pytest.mark.parametrize("unit", ["nJy", "adu"])
def test_stamps_of_all_sources_are_those_of_each(exposure, psf, config, unit):
    rng = np.random.default_rng(8)
    exposure = exposure.replace(psf=PSFS[psf], unit=unit, photo_calib=PhotoCalib(2.5))
    x, y, size = rng.uniform(-5, 205, 60), rng.uniform(-5, 125, 60), rng.integers(0, 140, 60)
    x[0], y[1] = np.nan, np.inf
    plan = StampCutter(exposure, config).plan(x, y, size)
    expected = [make_cutout(exposure, *place, config) for place in zip(x, y, size, strict=True)]
    assert plan.stamps() == expected
    assert plan.sizes.tolist() == [-1 if stamp is None else len(stamp) for stamp in expected]
    for stamp, place in zip(expected, zip(x, y, strict=True), strict=True):
        if stamp is not None and psf != "none" and not config.use_average_psf:
            found = read(stamp)["PSFIMAGE"][1]
            np.testing.assert_allclose(found, PSFS[psf].stamp(*place), rtol=2e-6, atol=1e-9)


def test_no_positions_make_no_stamps(exposure):
    assert StampCutter(exposure).plan(np.zeros(0), np.zeros(0), np.zeros(0)).stamps() == []


def test_ccddata_reads_every_stamp(exposure, tmp_path):
    rng = np.random.default_rng(9)
    x, y = rng.uniform(0, 199, 12), rng.uniform(0, 119, 12)
    for number, data in enumerate(StampCutter(exposure).plan(x, y, np.full(12, 41)).stamps()):
        path = tmp_path / "stamp.fits"
        path.write_bytes(data)
        stamp = CCDData.read(path)
        corner = [int(np.floor(axis[number] + 0.5)) - 20 for axis in (y, x)]
        inside = [(k, i) for k in range(41) for i in range(41)
                  if 0 <= corner[0] + k < 120 and 0 <= corner[1] + i < 200]  # fmt: skip
        for k, i in inside[:: len(inside) // 40]:
            at = corner[0] + k, corner[1] + i
            assert stamp.data[k, i] == exposure.image[at]
            assert stamp.uncertainty.array[k, i] == exposure.variance[at]
            assert stamp.mask[k, i] == (exposure.mask[at] != 0)
        column, row = stamp.wcs.world_to_pixel(exposure.wcs.pixel_to_world(x[number] + 9.0, y[number] - 7.0))
        assert column == pytest.approx(x[number] + 9.0 - corner[1], abs=1e-3)
        assert row == pytest.approx(y[number] - 7.0 - corner[0], abs=1e-3)


def test_images_of_one_wcs_share_their_headers(exposure):
    x, y, size = np.array([[50.0, 90.0], [60.0, 61.0], [30, 40]])
    first = StampCutter(exposure).plan(x, y, size)
    same = StampCutter(make_exposure(7)).plan(x, y, size, first)
    assert same.content.headers.primary is first.content.headers.primary
    other = StampCutter(exposure.replace(wcs=tilted_wcs(dec=59.0))).plan(x, y, size, first)
    assert other.stamps() == StampCutter(exposure.replace(wcs=tilted_wcs(dec=59.0))).plan(x, y, size).stamps()
    assert is_same_wcs(None, None)
    assert not is_same_wcs(None, exposure.wcs)


def test_bytes_of_a_cutout_keep_its_mask_variance_psf_and_wcs(exposure, tmp_path):
    bits = exposure.mask[40:70, 90:120]
    cutout = CCDData(
        exposure.image[40:70, 90:120],
        uncertainty=VarianceUncertainty(exposure.variance[40:70, 90:120]),
        flags=bits,
        wcs=exposure.wcs[40:70, 90:120],
        unit="nJy",
        psf=exposure.psf.stamp(105, 55),
        header={"ROTPA": 12.5, "MP_SAT": 1, "MP_DETECTED": 5, "TARGET": "COSMOS"},
    )
    data = make_cutout_bytes(cutout)
    planes = read(data)
    np.testing.assert_array_equal(planes["MASK"][1], bits)
    assert (planes["MASK"][0]["MP_SAT"], planes["MASK"][0]["MP_DETECTED"]) == (1, 5)
    assert planes["PRIMARY"][0]["ROTPA"] == 12.5
    assert planes["PSFIMAGE"][1].dtype == np.dtype(">f4")
    path = tmp_path / "stamp.fits"
    path.write_bytes(data)
    again = CCDData.read(path)
    np.testing.assert_array_equal(again.data, cutout.data)
    np.testing.assert_array_equal(again.uncertainty.array, cutout.uncertainty.array)
    np.testing.assert_array_equal(again.mask, bits != 0)
    np.testing.assert_allclose(again.psf, cutout.psf, rtol=1e-6)
    place = exposure.wcs.pixel_to_world(100.0, 50.0)
    np.testing.assert_allclose(again.wcs.world_to_pixel(place), (10.0, 10.0), atol=1e-3)
    assert again.header["TARGET"] == "COSMOS"


def test_a_mask_of_truth_values_is_written_too():
    cutout = CCDData(np.ones((4, 6)), mask=np.arange(24).reshape(4, 6) % 3 == 0, unit="nJy")
    np.testing.assert_array_equal(read(make_cutout_bytes(cutout))["MASK"][1], cutout.mask)


def test_a_standard_deviation_becomes_a_variance():
    cutout = CCDData(np.ones((4, 6)), uncertainty=StdDevUncertainty(np.full((4, 6), 3.0)), unit="nJy")
    planes = read(make_cutout_bytes(cutout))
    np.testing.assert_array_equal(planes["UNCERT"][1], np.full((4, 6), 9.0))
    assert planes["UNCERT"][0]["UTYPE"] == "VarianceUncertainty"
    assert set(planes) == {"PRIMARY", "UNCERT"}


def test_no_cutout_has_no_bytes_and_bytes_stay_as_they_are():
    assert make_cutout_bytes(None) is None
    assert make_cutout_bytes(b"SIMPLE") == b"SIMPLE"
    with pytest.raises(ValueError, match="two axes"):
        make_cutout_bytes(CCDData(np.ones(3), unit="nJy"))
