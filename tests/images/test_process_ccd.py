import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from star_field import INFO, NJY_PER_ADU, PIXEL_ARCSEC, SHAPE, SKY, make_exposure, make_star_field, make_wcs

from astra.errors import DataError, TooFewSourcesError
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_DETECTED,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_UNMASKEDNAN,
)
from astra.images.failures import raise_first
from astra.images.process_ccd import process_ccd
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf_stars import PsfFitConfig

CONFIG = ProcessCcdConfig(psf=PsfFitConfig(size_pixel=31))


@pytest.fixture(scope="module")
def field():
    return make_star_field()


@pytest.fixture(scope="module")
def result(field):
    moved = field.wcs.deepcopy()
    moved.wcs.crpix = moved.wcs.crpix + np.array([3.0, -2.0])
    return process_ccd(field.exposure.replace(wcs=moved), field.reference, CONFIG)


@pytest.fixture(scope="module")
def matched(field, result):
    distance = np.hypot(
        result.sources["x"][:, None] - field.truth["x"], result.sources["y"][:, None] - field.truth["y"]
    )
    assert distance.min(axis=0).max() < 1.0
    return result.sources[distance.argmin(axis=0)], field.truth


def test_all_stars_and_little_else_are_in_the_catalogue(field, result):
    assert len(field.truth) <= len(result.sources) <= len(field.truth) + 2
    assert result.sources["id"].tolist() == list(range(1, len(result.sources) + 1))


def test_fluxes_in_njy_are_those_put_in(matched):
    sources, truth = matched
    flux = NJY_PER_ADU * truth["flux"]
    pull = (sources["psfFlux"] - flux) / sources["psfFluxErr"]
    assert np.std(pull) == pytest.approx(1.0, abs=0.15)
    bright = truth["flux"] > 1e4
    assert np.median(sources["psfFlux"][bright] / flux[bright]) == pytest.approx(1.0, abs=0.003)
    assert np.median(sources["apFlux"][bright] / flux[bright]) == pytest.approx(1.0, abs=0.005)


def test_noise_that_pixels_share_is_in_the_errors_of_the_fluxes(field, result):
    rng = np.random.default_rng(8)
    shared = 8.0 * gaussian_filter(rng.normal(size=SHAPE), 1.4).astype(np.float32)
    noisy = process_ccd(field.exposure.replace(image=field.exposure.image + shared), field.reference, CONFIG)
    excess = noisy.metrics["sky_psf_excess_adu"]
    # White noise of 8 through a Gaussian of 1.4 pixels, and that again through the PSF, which is as wide.
    assert excess == pytest.approx(8.0 * 1.4 * np.sqrt(2.0 * np.pi), rel=0.2)
    stars = [found.sources[found.sources["snr"] > 10] for found in (result, noisy)]  # not a peak of the noise
    quiet = [np.min(found["psfInstFluxErr"]) for found in stars]
    assert np.hypot(quiet[0], excess) == pytest.approx(quiet[1], rel=0.1)


def test_positions_on_the_sky_are_those_put_in(field, matched):
    sources, truth = matched
    ra, dec = field.wcs.all_pix2world(truth["x"], truth["y"], 0)
    d_ra = (sources["ra"] - ra) * np.cos(np.radians(dec))
    for difference, error in ((d_ra, sources["raErr"]), (sources["dec"] - dec, sources["decErr"])):
        assert np.std(difference / np.hypot(error, 0.005 / 3600)) < 1.4
        assert np.abs(np.median(difference)) * 3600 < 0.01


def test_error_on_the_sky_is_the_one_in_pixels(matched):
    sources, _ = matched
    on_sky = np.hypot(sources["raErr"], sources["decErr"]) * 3600
    assert on_sky == pytest.approx(PIXEL_ARCSEC * np.hypot(sources["xErr"], sources["yErr"]), rel=1e-3)


def test_calexp_is_in_njy_without_its_sky(field, result):
    calexp = result.calexp
    assert calexp.unit == "nJy"
    assert calexp.photo_calib.njy_per_count == 1.0
    assert calexp.image.dtype == calexp.variance.dtype == np.float32
    scale = result.metrics["zero_point_njy_per_adu"]
    assert scale == pytest.approx(NJY_PER_ADU, rel=0.01)
    blank = (calexp.mask & MASK_DETECTED) == 0
    pull = calexp.image[blank] / np.sqrt(calexp.variance[blank])
    assert np.median(pull) == pytest.approx(0.0, abs=0.05)
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.03)
    restored = (calexp.image + result.background) / scale
    kept = (calexp.mask & MASK_CR) == 0
    assert kept.mean() > 0.9999
    assert restored[kept] == pytest.approx(field.exposure.image[kept], rel=1e-4)


def test_background_is_the_sky(result):
    scale = result.metrics["zero_point_njy_per_adu"]
    assert np.median(result.background) / scale == pytest.approx(SKY, rel=0.005)
    assert result.background.dtype == np.float32


def test_psf_and_wcs_are_attached(result):
    assert result.calexp.psf.fwhm_pixel(200, 100) == pytest.approx(2.3548 * 1.4, rel=0.02)
    assert result.calexp.wcs.wcs.ctype[0] == "RA---TAN-SIP"


def test_metrics_say_what_was_found(field, result):
    metrics = result.metrics
    assert metrics["n_sources"] == len(result.sources)
    assert metrics["n_psf_stars"] == result.sources["calib_psf_used"].sum()
    assert metrics["n_astrometry_used"] == result.sources["calib_astrometry_used"].sum()
    assert metrics["n_photometry_used"] == result.sources["calib_photometry_used"].sum()
    assert metrics["astrometry_scatter_ra_arcsec"] < 0.02
    assert metrics["zero_point_scatter_mag"] < 0.03
    assert metrics["aperture_correction"] == pytest.approx(1.0, abs=0.02)
    assert all(isinstance(value, float) for value in metrics.values())
    assert all(len(key) <= 8 and key.isupper() for key in result.calexp.metadata)


def test_matches_name_sources_and_standards(field, result):
    sources = result.sources[result.matches["source_id"] - 1]
    truth = field.truth[result.matches["reference_id"]]
    assert np.hypot(sources["x"] - truth["x"], sources["y"] - truth["y"]).max() < 1.0
    assert result.matches["separation_arcsec"].max() < 0.5


def test_the_input_is_left_alone(field):
    before = field.exposure.image.copy(), field.exposure.mask.copy()
    process_ccd(field.exposure, field.reference, CONFIG)
    assert (field.exposure.image == before[0]).all()
    assert (field.exposure.mask == before[1]).all()


def test_bad_pixels_stay_bad_and_do_not_spoil_the_rest(field):
    image, mask = field.exposure.image.copy(), field.exposure.mask.copy()
    image[:, 100:103], mask[:, 100:103] = np.nan, MASK_BAD
    mask[200:215] |= MASK_NO_DATA
    result = process_ccd(field.exposure.replace(image=image, mask=mask), field.reference, CONFIG)
    assert (result.calexp.mask[:, 100:103] & MASK_BAD).all()
    assert np.isfinite(result.sources["psfFlux"][~result.sources["flag_psfFlux"]]).all()
    assert result.metrics["zero_point_njy_per_adu"] == pytest.approx(NJY_PER_ADU, rel=0.01)


def test_pixels_without_known_noise_are_bad_and_no_variance_is_negative(field):
    variance, image = field.exposure.variance.copy(), field.exposure.image.copy()
    variance[40:90, 150:200], variance[200:203], image[10:12, 20:30] = -5.0, np.nan, np.inf
    result = process_ccd(field.exposure.replace(image=image, variance=variance), field.reference, CONFIG)
    calexp = result.calexp
    assert (calexp.mask[40:90, 150:200] & MASK_BAD).all()
    assert not (calexp.mask[40:90, 150:200] & MASK_UNMASKEDNAN).any()
    for where in (np.s_[200:203], np.s_[10:12, 20:30]):
        assert (calexp.mask[where] & MASK_BAD).all()
        assert (calexp.mask[where] & MASK_UNMASKEDNAN).all()
    assert np.isfinite(calexp.variance).all()
    assert calexp.variance.min() > 0
    assert result.metrics["zero_point_njy_per_adu"] == pytest.approx(NJY_PER_ADU, rel=0.01)
    inside = (result.sources["x"] > 152) & (result.sources["x"] < 198)
    inside &= (result.sources["y"] > 42) & (result.sources["y"] < 88)
    assert not inside.any()


@pytest.mark.parametrize("variance", [-5.0, 0.0, np.nan, np.inf])
def test_an_image_whose_noise_is_known_nowhere_is_refused(field, variance):
    planes = np.full(SHAPE, variance, dtype=np.float32)
    with pytest.raises(DataError, match="no pixel is usable"):
        process_ccd(field.exposure.replace(variance=planes), field.reference, CONFIG)


def test_cosmic_rays_are_replaced_marked_and_counted(field, result):
    rng = np.random.default_rng(5)
    y, x = rng.integers(4, SHAPE[0] - 4, 40), rng.integers(4, SHAPE[1] - 4, 40)
    hit = field.exposure.image.copy()
    hit[y, x] += 900.0
    repaired = process_ccd(field.exposure.replace(image=hit), field.reference, CONFIG)
    calexp = repaired.calexp
    assert ((calexp.mask[y, x] & MASK_CR) != 0).mean() >= 0.95
    assert calexp.metadata["CRREPAIR"]
    assert calexp.metadata["NCOSMIC"] == pytest.approx(40, abs=3)
    assert len(repaired.sources) == pytest.approx(len(result.sources), abs=2)
    again = process_ccd(
        field.exposure.replace(image=hit, metadata={"CRREPAIR": True}), field.reference, CONFIG
    )
    assert not (again.calexp.mask & MASK_CR).any()


def test_bad_pixels_are_interpolated_for_what_comes_after(field):
    image, mask = field.exposure.image.copy(), field.exposure.mask.copy()
    image[:, 100:102], mask[:, 100:102] = 3e4, MASK_BAD
    calexp = process_ccd(field.exposure.replace(image=image, mask=mask), field.reference, CONFIG).calexp
    assert (calexp.mask[:, 100:102] & MASK_INTRP).all()
    column, beside = calexp.image[:, 100], calexp.image[:, 99]
    assert np.median(column - beside) == pytest.approx(
        0.0, abs=3.0 * np.std(beside) / np.sqrt(SHAPE[0]) + 5.0
    )
    config = dataclasses.replace(CONFIG, interpolate=False)
    calexp = process_ccd(field.exposure.replace(image=image, mask=mask), field.reference, config).calexp
    assert (calexp.image[:, 100] > 1e4).all()


def saturated(field):
    """The field with the core of its brightest star clipped, and where."""
    star = field.truth[np.argmax(field.truth["flux"])]
    image, mask = field.exposure.image.copy(), field.exposure.mask.copy()
    row, column = int(np.rint(star["y"])), int(np.rint(star["x"]))
    core = np.s_[row - 2 : row + 3, column - 2 : column + 3]
    image[core], mask[core] = image[core].min(), MASK_SAT
    return field.exposure.replace(image=image, mask=mask), core


def test_saturated_cores_are_interpolated_and_stay_saturated(field):
    exposure, core = saturated(field)
    result = process_ccd(exposure, field.reference, CONFIG)
    for bit in (MASK_SAT, MASK_INTRP, MASK_DETECTED):
        assert (result.calexp.mask[core] & bit).all()
    assert result.calexp.metadata["INTERP"]
    assert result.calexp.metadata["INTERPPL"] == "BAD SAT UNMASKEDNAN"
    row, column = (part.start + 2 for part in core)
    nearest = np.argmin(np.hypot(result.sources["x"] - column, result.sources["y"] - row))
    assert result.sources["flag_saturated"][nearest]
    assert not result.sources["calib_photometry_used"][nearest]


def test_the_planes_that_are_interpolated_are_a_choice(field):
    exposure, core = saturated(field)
    mask = exposure.mask.copy()
    mask[20:22, 30:40] = MASK_BAD
    exposure = exposure.replace(mask=mask)
    config = dataclasses.replace(CONFIG, interpolate_planes=("BAD",))
    calexp = process_ccd(exposure, field.reference, config).calexp
    assert not (calexp.mask[core] & MASK_INTRP).any()
    assert (calexp.mask[20:22, 30:40] & MASK_INTRP).all()
    assert calexp.metadata["INTERPPL"] == "BAD"
    off = process_ccd(exposure, field.reference, dataclasses.replace(CONFIG, interpolate=False)).calexp
    assert not (off.mask[20:22, 30:40] & MASK_INTRP).any()
    assert (off.metadata["INTERP"], off.metadata["INTERPPL"]) == (False, "")
    with pytest.raises(ValueError, match="'SATURATED' is no mask plane; there are BAD, SAT, "):
        dataclasses.replace(CONFIG, interpolate_planes=("SATURATED",))


def test_an_empty_image_is_written_without_what_needs_stars(field):
    rng = np.random.default_rng(9)
    empty = make_exposure(SKY + 7 * rng.normal(size=SHAPE), np.full(SHAPE, 49.0), wcs=make_wcs())
    result = process_ccd(empty, field.reference, CONFIG)
    assert [failure.step for failure in result.failures] == ["psf", "wcs", "photoCalib"]
    calexp = result.calexp
    assert (calexp.psf, calexp.wcs, calexp.photo_calib, calexp.unit) == (None, None, None, "adu")
    assert "0 sources are usable as PSF stars" in calexp.metadata["NOPSF"]
    assert {"NOWCS", "NOPHOTO"} <= set(calexp.metadata)
    assert np.median(result.background) == pytest.approx(SKY, rel=0.005)
    assert result.metrics["sky_noise_adu"] == pytest.approx(7.0, rel=0.02)
    with pytest.raises(TooFewSourcesError, match="without its psf, wcs, photoCalib") as caught:
        raise_first(result.failures)
    assert caught.value.context["n_sources"] == 0


def test_a_field_of_too_few_psf_stars_still_gets_its_wcs(field):
    config = dataclasses.replace(CONFIG, psf=PsfFitConfig(size_pixel=31, min_stars=500))
    result = process_ccd(field.exposure, field.reference, config)
    assert [failure.step for failure in result.failures] == ["psf", "photoCalib"]
    assert result.calexp.psf is None
    assert np.isnan(result.sources["psfInstFlux"]).all()
    assert result.sources["flag_psfFlux"].all()
    expected = field.wcs.all_pix2world([[100.0, 80.0]], 0)
    assert result.calexp.wcs.all_pix2world([[100.0, 80.0]], 0) == pytest.approx(expected, abs=0.02 / 3600)


def test_an_image_masked_whole_is_refused_by_name(field):
    masked = field.exposure.replace(mask=np.full(SHAPE, MASK_BAD, dtype=np.uint32))
    with pytest.raises(DataError, match=f"no pixel is usable.*visit {INFO.visit}, detector {INFO.detector}"):
        process_ccd(masked, field.reference, CONFIG)


def test_an_exposure_without_wcs_is_refused(field):
    with pytest.raises(DataError, match="no initial WCS"):
        process_ccd(field.exposure.replace(wcs=None), field.reference, CONFIG)


def test_galaxies_of_the_reference_are_no_standards(field):
    reference = field.reference.copy()
    reference["isStar"] = False
    result = process_ccd(field.exposure, reference, CONFIG)
    assert [failure.step for failure in result.failures] == ["wcs", "photoCalib"]
    assert "0 sources match" in result.calexp.metadata["NOWCS"]
    assert np.isnan(result.sources["ra"]).all()
    assert np.isnan(result.sources["psfFlux"]).all()
    assert np.isfinite(result.sources["psfInstFlux"]).any()
    assert result.calexp.psf is not None


def test_a_higher_threshold_finds_fewer(field, result):
    fewer = process_ccd(field.exposure, field.reference, dataclasses.replace(CONFIG, threshold=40.0))
    assert 20 < len(fewer.sources) < len(result.sources)
