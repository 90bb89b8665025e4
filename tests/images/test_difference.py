from dataclasses import replace

import numpy as np
import pytest

from astra.errors import DataError, NoOverlapError, TooFewSourcesError
from astra.images.dia_detection_config import DiaDetectionConfig
from astra.images.difference import DifferenceConfig, difference_images
from astra.images.difference_detection import (
    find_blank_sky,
    find_peaks,
    make_matched_filter,
    robust_scatter,
)
from astra.images.difference_measurement import DIA_SOURCE_DTYPE
from astra.images.exposure import (
    MASK_DETECTED,
    MASK_DETECTED_NEGATIVE,
    MASK_HIGH_VARIANCE,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    MASK_STREAK,
)
from astra.images.matching_config import MatchingConfig
from astra.images.point_fit import fit_points
from tests.images.difference_field import add_stars, make_exposure, make_pair, make_wcs

CONFIG = DifferenceConfig(matching=MatchingConfig(stamps_per_cell=12, stamp_min_peak_snr=20.0))
TRANSIENTS = np.array(
    [[60.3, 70.8, 4000.0], [250.6, 300.2, 1500.0], [400.2, 120.5, 9000.0], [330.9, 80.1, 1200.0]]
)
VANISHED = np.array([[150.4, 200.7, 5000.0]])


def inject(exposure, table, fwhm):
    image = exposure.image.astype(float)
    add_stars(image, table[:, 0], table[:, 1], table[:, 2], fwhm)
    return exposure.replace(image=image.astype(np.float32))


def nearest(dia_sources, x, y):
    distance = np.hypot(dia_sources["x"] - x, dia_sources["y"] - y)
    return np.flatnonzero(distance < 2.0)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(17)
    science, template, stars = make_pair(rng)
    science = inject(science, TRANSIENTS, 4.0)
    ra, dec = science.wcs.all_pix2world(VANISHED[:, 0], VANISHED[:, 1], 0)
    x, y = template.wcs.all_world2pix(ra, dec, 0)
    template = inject(template, np.stack([x, y, VANISHED[:, 2]], axis=1), 3.2)
    return science, template, stars


@pytest.fixture(scope="module")
def result(scene):
    science, template, _ = scene
    return difference_images(science, template, CONFIG)


def test_each_transient_is_found_once(result):
    for x, y, flux in TRANSIENTS:
        rows = nearest(result.dia_sources, x, y)
        assert len(rows) == 1
        source = result.dia_sources[rows[0]]
        assert not source["isNegative"]
        assert abs(source["psfFlux"] - flux) < 5 * source["psfFluxErr"]
        assert abs(source["x"] - x) < 5 * source["xErr"]
        assert abs(source["y"] - y) < 5 * source["yErr"]
        assert source["snr"] == pytest.approx(flux / source["psfFluxErr"], rel=0.25)


def test_what_vanished_is_found_once_as_negative(result):
    rows = nearest(result.dia_sources, *VANISHED[0, :2])
    assert len(rows) == 1
    source = result.dia_sources[rows[0]]
    assert source["isNegative"]
    assert source["psfFlux"] == pytest.approx(-5000.0, abs=6 * source["psfFluxErr"])
    assert source["templateFlux"] == pytest.approx(5000.0, rel=0.15)


def test_little_else_is_found(result):
    inside = ~result.dia_sources["pixelFlags_edge"]
    assert inside.sum() <= len(TRANSIENTS) + len(VANISHED) + 2


def test_noise_of_blank_sky_is_what_the_variance_says(result):
    assert result.metrics["pixelScatter"] == pytest.approx(1.0, abs=0.02)
    assert result.metrics["snrScatterBeforeLocalMean"] == pytest.approx(1.0, abs=0.05)
    assert result.metrics["snrScatter"] == pytest.approx(1.0, abs=0.05)


def test_sky_positions_are_those_of_the_wcs(scene, result):
    ra, dec = scene[0].wcs.all_pix2world(result.dia_sources["x"], result.dia_sources["y"], 0)
    np.testing.assert_allclose(result.dia_sources["ra"], ra)
    np.testing.assert_allclose(result.dia_sources["dec"], dec)
    error = result.dia_sources["xErr"] * 0.4 / 3600
    np.testing.assert_allclose(result.dia_sources["raErr"], error, rtol=0.05)


def test_shapes_are_in_square_arcseconds(result):
    rows = nearest(result.dia_sources, *TRANSIENTS[2, :2])
    source = result.dia_sources[rows[0]]
    assert source["ixx"] == pytest.approx(source["ixxPSF"], rel=0.15)
    assert 0.2 < source["ixxPSF"] < 0.6


def test_detected_pixels_are_in_the_mask(result):
    mask = result.difference.mask
    x, y = np.rint(TRANSIENTS[2, :2]).astype(int)
    assert mask[y, x] & MASK_DETECTED
    x, y = np.rint(VANISHED[0, :2]).astype(int)
    assert mask[y, x] & MASK_DETECTED_NEGATIVE


def test_every_column_is_finite_far_from_the_edge(result):
    row = nearest(result.dia_sources, *TRANSIENTS[2, :2])
    for name in DIA_SOURCE_DTYPE.names:
        if DIA_SOURCE_DTYPE[name].kind == "f" and not name.startswith("dipole"):
            assert np.isfinite(result.dia_sources[name][row]).all(), name
    assert result.dia_sources["band"][row[0]] == "r"
    assert result.dia_sources["exposureTime"][row[0]] == 30.0
    flags = [name for name in DIA_SOURCE_DTYPE.names if DIA_SOURCE_DTYPE[name].kind == "b"]
    assert not any(result.dia_sources[name][row[0]] for name in flags)


def test_the_sharper_image_is_convolved(scene):
    science, template, _ = scene
    reverse = difference_images(template, science, replace(CONFIG, min_overlap=0.5))
    assert reverse.metrics["templateFwhmPixel"] > reverse.metrics["scienceFwhmPixel"]
    ra, dec = science.wcs.all_pix2world(TRANSIENTS[2, 0], TRANSIENTS[2, 1], 0)
    x, y = template.wcs.all_world2pix(ra, dec, 0)
    rows = nearest(reverse.dia_sources, x, y)
    assert len(rows) == 1
    source = reverse.dia_sources[rows[0]]
    assert source["psfFlux"] == pytest.approx(-9000.0, abs=6 * source["psfFluxErr"])
    assert reverse.metrics["pixelScatter"] == pytest.approx(1.0, abs=0.03)


def test_inputs_are_not_modified(scene):
    science, template, _ = scene
    before = science.image.copy(), science.mask.copy(), template.image.copy()
    plain = DiaDetectionConfig(local_background_pixel=0)
    difference_images(science, template, replace(CONFIG, decorrelate=False, detection=plain))
    for old, new in zip(before, (science.image, science.mask, template.image), strict=True):
        np.testing.assert_array_equal(old, new)


def test_where_the_template_is_noisy_is_flagged(scene):
    science, template, _ = scene
    ra, dec = science.wcs.all_pix2world(*TRANSIENTS[1, :2], 0)
    column, row = np.rint(template.wcs.all_world2pix(ra, dec, 0)).astype(int)
    mask = template.mask.copy()
    mask[row - 5 : row + 6, column - 5 : column + 6] |= MASK_HIGH_VARIANCE
    found = difference_images(science, template.replace(mask=mask), CONFIG).dia_sources
    flags = [f"pixelFlags_high_variance{where}" for where in ("", "Center", "CenterAll")]
    for place, expected in ((TRANSIENTS[1], True), (TRANSIENTS[2], False)):
        [source] = found[nearest(found, *place[:2])]
        assert [bool(source[name]) for name in flags] == [expected] * 3


def test_a_part_of_the_whitening_leaves_true_fluxes_and_less_scatter(scene, result):
    science, template, _ = scene
    partial = difference_images(science, template, replace(CONFIG, decorrelation_strength=0.5))
    scatter = [robust_scatter(each.difference.image[each.difference.mask == 0]) for each in (partial, result)]
    assert scatter[0] < 0.99 * scatter[1]
    for x, y, flux in TRANSIENTS:
        [source] = partial.dia_sources[nearest(partial.dia_sources, x, y)]
        assert source["psfFlux"] == pytest.approx(flux, abs=5 * source["psfFluxErr"])


def test_identical_images_leave_nothing(scene):
    science, _, _ = scene
    result = difference_images(science, science, CONFIG)
    assert len(result.dia_sources) == 0
    assert result.dia_sources.dtype == DIA_SOURCE_DTYPE


def test_saturated_stars_are_flagged_or_left_out(scene):
    science, template, _ = scene
    image, mask = science.image.copy(), science.mask.copy()
    image[200:206, 300:306], mask[200:206, 300:306] = 3e5, MASK_SAT
    result = difference_images(science.replace(image=image, mask=mask), template, CONFIG)
    near = np.hypot(result.dia_sources["x"] - 302.5, result.dia_sources["y"] - 202.5) < 8
    assert result.dia_sources["pixelFlags_saturated"][near].all()
    assert result.difference.mask[203, 308] & (MASK_SAT | MASK_SAT_TEMPLATE)


def test_a_template_of_another_field_is_refused(scene):
    science, template, _ = scene
    with pytest.raises(NoOverlapError):
        difference_images(science, template.replace(wcs=make_wcs(ra=40.0)), CONFIG)


def test_a_template_that_covers_too_little_is_refused_with_the_numbers(scene):
    science, template, _ = scene
    with pytest.raises(NoOverlapError, match=r"99.0 % are required") as caught:
        difference_images(
            science, template.replace(wcs=make_wcs(425.0, 230.0)), replace(CONFIG, min_overlap=0.99)
        )
    assert 0 < caught.value.context["covered"] < 0.99


def test_an_empty_field_is_refused():
    rng = np.random.default_rng(2)
    empty = make_exposure(rng, (200, 250), ([], [], []), 4.0)
    with pytest.raises(TooFewSourcesError):
        difference_images(empty, empty, CONFIG)


def test_all_masked_input_is_refused(scene):
    science, template, _ = scene
    masked = template.replace(mask=np.full_like(template.mask, MASK_SAT))
    with pytest.raises(TooFewSourcesError):
        difference_images(science, masked, CONFIG)
    missing = template.replace(image=np.full_like(template.image, np.nan))
    with pytest.raises(NoOverlapError):
        difference_images(science, missing, CONFIG)


def test_images_without_psf_or_wcs_are_refused(scene):
    science, template, _ = scene
    with pytest.raises(ValueError, match="WCS and a PSF"):
        difference_images(science.replace(psf=None), template, CONFIG)
    with pytest.raises(ValueError, match="WCS and a PSF"):
        difference_images(science, template.replace(wcs=None), CONFIG)


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="mode"):
        DifferenceConfig(mode="both")
    with pytest.raises(ValueError, match="degrees"):
        MatchingConfig(kernel_degrees=(2, 1))
    with pytest.raises(ValueError, match=r"decorrelation_strength must be in 0 < x <= 1, found 1\.5"):
        DifferenceConfig(decorrelation_strength=1.5)


def test_point_fits_scatter_by_their_errors():
    rng = np.random.default_rng(9)
    y, x = np.mgrid[25:400:25, 25:480:25].astype(float)
    x, y = x.ravel() + rng.uniform(-0.5, 0.5, x.size), y.ravel() + rng.uniform(-0.5, 0.5, x.size)
    flux = np.full(x.size, 1500.0)
    exposure = make_exposure(rng, (420, 500), (x, y, flux), 3.5)
    fits = fit_points(exposure, np.rint(x), np.rint(y))
    assert not fits.failed.any()
    errors = np.sqrt(fits.covariance[:, 0, 0]), np.sqrt(fits.covariance[:, 1, 1]), fits.flux_err
    for found, true, error in zip((fits.x, fits.y, fits.flux), (x, y, flux), errors, strict=True):
        pull = (found - true) / error
        assert abs(np.median(pull)) < 0.25
        assert robust_scatter(pull) == pytest.approx(1.0, abs=0.15)
    dof = fits.n_data - 3
    assert np.median(fits.chi2 / dof) == pytest.approx(1.0, abs=0.03)


def test_snr_map_of_noise_has_unit_scatter():
    rng = np.random.default_rng(10)
    exposure = make_exposure(rng, (300, 340), ([], [], []), 3.5)
    snr = make_matched_filter(exposure).snr(exposure.image)
    assert snr[20:-20, 20:-20].std() == pytest.approx(1.0, abs=0.03)


def test_snr_is_zero_where_nothing_can_be_measured():
    rng = np.random.default_rng(10)
    exposure = make_exposure(rng, (100, 140), ([], [], []), 3.5)
    mask = exposure.mask.copy()
    mask[:, :60] = MASK_NO_DATA
    snr = make_matched_filter(exposure.replace(mask=mask)).snr(exposure.image)
    assert not snr[:, :60].any()
    empty = exposure.replace(mask=np.full_like(mask, MASK_NO_DATA))
    assert not make_matched_filter(empty).snr(exposure.image).any()
    with pytest.raises(ValueError, match="PSF"):
        make_matched_filter(exposure.replace(psf=None))


def test_footprints_of_both_signs_that_touch_are_one():
    snr = np.zeros((40, 60), np.float32)
    snr[10, 10], snr[10, 13] = 9.0, -7.0
    snr[30, 40] = -6.0
    peaks = find_peaks(snr, 5.0, 2)
    np.testing.assert_array_equal(peaks.x, [10, 40])
    np.testing.assert_array_equal(peaks.snr, [9.0, -6.0])
    np.testing.assert_array_equal(peaks.opposite, [7.0, 0.0])
    assert peaks.box_pixel[0] == 8


def test_no_peak_is_an_empty_result():
    assert len(find_peaks(np.zeros((10, 12), np.float32), 5.0, 2).x) == 0


def test_blank_sky_leaves_out_sources_and_defects():
    rng = np.random.default_rng(12)
    exposure = make_exposure(rng, (120, 160), ([80.0], [60.0], [5000.0]), 3.5)
    mask = exposure.mask.copy()
    mask[100, 20] = MASK_SAT
    blank = find_blank_sky([exposure.replace(mask=mask)])
    assert not blank[60, 80]
    assert not blank[100, 20]
    assert blank.mean() > 0.8


def test_scatter_of_nothing_is_nan():
    assert np.isnan(robust_scatter(np.array([])))


def test_images_of_two_bands_are_refused():
    science, template, _ = make_pair(np.random.default_rng(5), shape=(120, 140), n_stars=5)
    other = template.replace(info=replace(template.info, band="g"))
    with pytest.raises(DataError, match="only images of one band"):
        difference_images(science, other)


def test_a_satellite_is_masked_and_no_field_has_one_without(scene, result):
    science, template, _ = scene
    assert result.metrics["streaks"] == 0
    image = science.image.copy()
    ny, nx = image.shape
    y, x = np.mgrid[:ny, :nx]
    distance = np.abs((x - 0.6 * nx) * np.sin(0.5) - (y - 0.5 * ny) * np.cos(0.5))
    image += 30.0 * np.exp(-0.5 * (distance / 1.7) ** 2).astype(np.float32)
    found = difference_images(science.replace(image=image), template, CONFIG)
    assert found.metrics["streaks"] == 1
    marked = (found.difference.mask & MASK_STREAK) > 0
    assert marked[distance < 3].mean() > 0.95
    assert not marked[distance > 20].any()


def test_glints_of_a_satellite_are_flagged(scene):
    science, template, _ = scene
    x = np.linspace(60.0, 440.0, 12)
    y = 80.0 + 0.6 * (x - 60.0)
    image = science.image.astype(float)
    add_stars(image, x, y, np.full(12, 3000.0), 4.0)
    found = difference_images(science.replace(image=image.astype(np.float32)), template, CONFIG)
    glints = found.dia_sources["glint_trail"]
    distance = np.abs(found.dia_sources["y"] - 80.0 - 0.6 * (found.dia_sources["x"] - 60.0))
    assert glints.sum() >= 10
    assert (distance[glints] < 4).all()
    assert found.metrics["glintTrails"] == 1
    assert not difference_images(science, template, CONFIG).dia_sources["glint_trail"].any()
