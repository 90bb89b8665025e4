"""Templates of other software: what the file says, what is given, and what is refused."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astra.errors import FormatError, MissingDataError, TooFewSourcesError
from astra.images.exposure import MASK_BAD, MASK_NO_DATA
from astra.images.psf import gaussian_psf
from astra.products.exposures import write_exposure
from astra.products.template_source import TemplateSource, read_template_source, with_measured_psf

SHAPE = (40, 60)
SCALE_ARCSEC = 0.5
DEEP = TemplateSource("simcam", "r")


def make_wcs(kind="RA---TAN", frame="ICRS"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [kind, "DEC--TAN" if kind.startswith("RA") else "GLAT-TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [10.0, -5.0], [20.0, 30.0]
    wcs.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    if kind.startswith("RA"):
        wcs.wcs.radesys = frame
    return wcs


def write(path, *, image=None, wcs=None, extensions=(), primary=True, **cards):
    """Write a template; its image is 100 + 3 y."""
    image = 100.0 + 3.0 * np.indices(SHAPE)[0] if image is None else image
    header = (make_wcs() if wcs is None else wcs).to_header()
    header.update({key.replace("_", "-"): value for key, value in cards.items()})
    first = fits.PrimaryHDU(image, header) if primary else fits.PrimaryHDU()
    rest = [] if primary else [fits.ImageHDU(image, header, name="SCI")]
    others = [fits.ImageHDU(data, name=name) for name, data in extensions]
    fits.HDUList([first, *rest, *others]).writeto(path, overwrite=True)
    return path


def read(path, **given):
    return read_template_source(path, TemplateSource("simcam", "r", **given))


def test_fluxes_and_variances_are_in_njy(tmp_path):
    path = write(tmp_path / "a.fits", FILTER="r", MJD_OBS=60000.5, EXPTIME=900.0)
    template = read(path, noise=2.0, zero_point_mag=28.9)
    scale = 10.0 ** (0.4 * (31.4 - 28.9))
    np.testing.assert_allclose(template.image[7], 121.0 * scale, rtol=1e-6)
    np.testing.assert_allclose(template.variance, 4.0 * scale**2, rtol=1e-6)
    assert (template.mask == 0).all()
    assert (template.unit, template.info.band, template.info.instrument) == ("nJy", "r", "simcam")
    assert (template.info.midpoint_mjd_tai, template.info.exposure_time_s) == (60000.5, 900.0)
    assert template.psf is None
    np.testing.assert_allclose(template.wcs.all_pix2world(19, 29, 0), [10.0, -5.0])


@pytest.mark.parametrize(
    ("unit", "expected"), [("nJy", 1.0), ("uJy", 1e3), ("nanomaggies", 3630.78), ("nanomaggy", 3630.78)]
)
def test_a_unit_of_flux_is_a_zero_point(tmp_path, unit, expected):
    template = read(write(tmp_path / "a.fits", BUNIT=unit), noise=1.0)
    assert template.image[0, 0] == pytest.approx(100.0 * expected, rel=1e-5)


def test_a_key_of_the_header_is_a_zero_point(tmp_path):
    path = write(tmp_path / "a.fits", MAGZERO=31.4, BUNIT="adu")
    assert read(path, noise=1.0, zero_point_key="MAGZERO").image[0, 0] == pytest.approx(100.0)
    with pytest.raises(FormatError, match="ZPT must be an AB magnitude, found None"):
        read(path, noise=1.0, zero_point_key="ZPT")


@pytest.mark.parametrize("name", ["VARIANCE", "VAR", "WEIGHT", "WHT", "IVAR"])
def test_extensions_of_the_usual_names_are_variance_or_weight(tmp_path, name):
    plane = np.full(SHAPE, 4.0)
    plane[3, 5] = 0.0
    template = read(write(tmp_path / "a.fits", BUNIT="nJy", extensions=[(name, plane)]))
    expected = 4.0 if name.startswith("VAR") else 0.25
    assert template.variance[0, 0] == pytest.approx(expected)
    assert template.mask[3, 5] == MASK_NO_DATA
    assert np.isnan(template.image[3, 5])
    assert np.count_nonzero(template.mask) == 1


def test_other_files_hold_weight_mask_and_psf(tmp_path):
    weight = np.full(SHAPE, 0.25)
    fits.PrimaryHDU(weight).writeto(tmp_path / "a.weight.fits")
    mask = np.zeros(SHAPE, dtype=np.int32)
    mask[2, 2] = 8
    stamp = 7.0 * gaussian_psf(3.0, size=21).stamp(0, 0)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(mask, name="DQ"), fits.ImageHDU(stamp, name="PSF")]
    fits.HDUList(hdus).writeto(tmp_path / "more.fits")
    path, more = write(tmp_path / "a.fits", BUNIT="nJy", primary=False), tmp_path / "more.fits"
    template = read(path, weight=str(tmp_path / "a.weight.fits"), mask=f"{more}[DQ]", psf=f"{more}[PSF]")
    assert template.variance[0, 0] == pytest.approx(4.0)
    assert template.mask[2, 2] == MASK_BAD
    assert np.count_nonzero(template.mask) == 1
    assert template.psf.stamp(5.0, 5.0).sum() == pytest.approx(1.0)
    assert template.psf.fwhm_pixel(5.0, 5.0) == pytest.approx(3.0, rel=0.01)


def test_a_fwhm_is_a_gaussian_psf(tmp_path):
    template = read(write(tmp_path / "a.fits", BUNIT="nJy"), noise=1.0, psf_fwhm_arcsec=2.0)
    assert template.psf.fwhm_pixel(5.0, 5.0) == pytest.approx(2.0 / SCALE_ARCSEC, rel=0.01)


def test_stars_tell_the_psf(tmp_path):
    rng = np.random.default_rng(5)
    shape = (300, 420)
    image = rng.normal(0.0, 1.0, shape)
    stamp = gaussian_psf(3.2, size=25).stamp(0, 0)
    for y in range(30, 280, 30):
        for x in range(30, 400, 30):
            image[y - 12 : y + 13, x - 12 : x + 13] += rng.uniform(800, 3000) * stamp
    template = read(write(tmp_path / "a.fits", image=image, BUNIT="nJy"), noise=1.0)
    measured = with_measured_psf(template, "a.fits")
    assert measured.psf.fwhm_pixel(210.0, 150.0) == pytest.approx(3.2, rel=0.02)
    np.testing.assert_array_equal(measured.image, template.image)


def test_without_stars_the_psf_must_be_given(tmp_path):
    image = np.random.default_rng(5).normal(0.0, 1.0, (120, 150))
    template = read(write(tmp_path / "a.fits", image=image, BUNIT="nJy"), noise=1.0)
    with pytest.raises(TooFewSourcesError, match=r"PSF of template a\.fits cannot be measured.*give psf"):
        with_measured_psf(template, "a.fits")


@pytest.mark.parametrize(
    ("cards", "given", "expected"),
    [
        ({}, {"noise": 1.0}, "has no zero point: its BUNIT '' is no flux; give njy_per_count"),
        ({"BUNIT": "adu"}, {"noise": 1.0}, "its BUNIT 'adu' is no flux"),
        ({"BUNIT": "nJy"}, {"noise": 1.0, "njy_per_count": 2.0}, "2 nJy as given, but 1 by its BUNIT 'nJy'"),
        ({}, {"noise": 1.0, "njy_per_count": -2.0}, "a count must be a positive number of nJy, found -2"),
        ({"BUNIT": "nJy"}, {}, "has neither variance nor weight"),
        ({"BUNIT": "nJy"}, {"noise": 0.0}, "noise of .* must be positive"),
        ({"BUNIT": "nJy"}, {"variance": "ERR"}, "has no extension 'ERR'; it has PRIMARY"),
        ({"BUNIT": "nJy"}, {"image": "SCI"}, "has no extension 'SCI'"),
        ({"BUNIT": "nJy", "FILTER": "g"}, {"noise": 1.0}, "must be in band r, its header says FILTER 'g'"),
        ({"BUNIT": "nJy", "FILTER": "g.MP9401"}, {"noise": 1.0}, r"says FILTER 'g\.MP9401'"),
        ({"BUNIT": "nJy", "BAND": "i"}, {"noise": 1.0}, "says BAND 'i'"),
        ({"BUNIT": "nJy"}, {"noise": 1.0, "psf_fwhm_arcsec": 0.0}, "FWHM of .* must be positive"),
        ({"BUNIT": "nJy"}, {"noise": 1.0, "psf": "0"}, r"square stamp of odd side .* found shape \(40, 60\)"),
    ],
)
def test_what_is_missing_or_contradicts_is_refused_by_name(tmp_path, cards, given, expected):
    path = write(tmp_path / "lies.fits", **cards)
    with pytest.raises(FormatError, match=expected) as caught:
        read(path, **given)
    assert "lies.fits" in str(caught.value)


@pytest.mark.parametrize("value", ["r", "R", "r.MP9601", "r DECam SDSS c0002", "clear", "rp1"])
def test_a_filter_that_is_the_band_or_no_band_is_taken(tmp_path, value):
    assert read(write(tmp_path / "a.fits", BUNIT="nJy", FILTER=value), noise=1.0).info.band == "r"


@pytest.mark.parametrize(
    ("wcs", "expected"),
    [
        (WCS(naxis=2), "has no WCS"),
        (make_wcs("GLON-TAN"), "must be of RA, DEC of ICRS or FK5, found GLON, GLAT"),
        (make_wcs(frame="FK4"), "found RA, DEC of FK4"),
    ],
)
def test_a_wcs_that_is_not_of_the_sky_is_refused(tmp_path, wcs, expected):
    with pytest.raises(FormatError, match=expected):
        read(write(tmp_path / "a.fits", wcs=wcs, BUNIT="nJy"), noise=1.0)


def test_an_image_of_nothing_is_refused(tmp_path):
    path = write(tmp_path / "a.fits", image=np.full(SHAPE, np.nan), BUNIT="nJy")
    with pytest.raises(FormatError, match="no pixel with a finite value and variance"):
        read(path, noise=1.0)
    path = write(tmp_path / "b.fits", BUNIT="nJy", extensions=[("WEIGHT", np.zeros(SHAPE))])
    with pytest.raises(FormatError, match="no pixel with a finite value and variance"):
        read(path)


def test_files_that_are_not_there_or_no_images_are_refused(tmp_path):
    with pytest.raises(MissingDataError):
        read(tmp_path / "absent.fits", noise=1.0)
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    with pytest.raises(FormatError, match="has no image with two axes"):
        read(tmp_path / "empty.fits", noise=1.0)
    path = write(tmp_path / "a.fits", BUNIT="nJy", extensions=[("VAR", np.ones((3, 4)))])
    with pytest.raises(FormatError, match=r"VAR of template .* must have shape \(40, 60\), found \(3, 4\)"):
        read(path)


def test_an_exposure_of_astra_is_read_whole(tmp_path):
    path = write(tmp_path / "a.fits", BUNIT="nJy")
    template = read(path, noise=1.0, psf_fwhm_arcsec=1.5)
    write_exposure(tmp_path / "own.fits", template)
    own = read_template_source(tmp_path / "own.fits", DEEP)
    np.testing.assert_array_equal(own.image, template.image)
    assert own.psf.size == template.psf.size
    with pytest.raises(FormatError, match="must be in band g, its header says band 'r'"):
        read_template_source(tmp_path / "own.fits", TemplateSource("simcam", "g"))
    write_exposure(tmp_path / "raw.fits", template.replace(unit="adu"))
    with pytest.raises(FormatError, match="is not calibrated"):
        read_template_source(tmp_path / "raw.fits", DEEP)


def test_injected_sources_stay_known_when_other_software_rewrites_the_file(tmp_path):
    path = write(tmp_path / "a.fits", FILTER="r", NINJECT=7)
    assert read(path, noise=2.0, zero_point_mag=28.9).metadata["NINJECT"] == 7
    path = write(tmp_path / "b.fits", FILTER="r")
    assert "NINJECT" not in read(path, noise=2.0, zero_point_mag=28.9).metadata
