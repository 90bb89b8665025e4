import numpy as np
import pytest
from star_field import gaussian_image, make_exposure, make_star_field

from astra.images.background import fit_background, subtract_background
from astra.images.detection import detect_sources
from astra.images.exposure import MASK_CR, MASK_EDGE, MASK_INTRP, MASK_SAT
from astra.images.measurement import MeasurementConfig, measure_sources, psf_moments, source_dtype
from astra.images.psf import Psf, gaussian_psf

PSF = gaussian_psf(2.3548 * 1.4, 31)
CONFIG = MeasurementConfig()
SHAPE = 120, 170


def measure(exposure, psf=PSF, config=CONFIG):
    return measure_sources(exposure, psf, detect_sources(exposure, psf), config)


def one_star(flux=2000.0, x=80.2, y=60.7, sigma=1.4, mask=None):
    star = gaussian_image(SHAPE, x, y, flux, sigma)
    return make_exposure(star, np.full(SHAPE, 4.0), mask)


@pytest.fixture(scope="module")
def matched():
    field = make_star_field()
    science = subtract_background(field.exposure, fit_background(field.exposure))
    sources = measure(science)
    distance = np.hypot(sources["x"][:, None] - field.truth["x"], sources["y"][:, None] - field.truth["y"])
    nearest = distance.argmin(axis=0)
    assert distance.min(axis=0).max() < 1.0
    return sources[nearest], field.truth


def test_positions_are_right_within_their_errors(matched):
    sources, truth = matched
    for axis in "xy":
        pull = (sources[axis] - truth[axis]) / sources[f"{axis}Err"]
        assert np.std(pull) == pytest.approx(1.0, abs=0.2)
        assert abs(np.mean(pull)) < 0.25


def test_fluxes_are_right_within_their_errors(matched):
    sources, truth = matched
    pull = (sources["psfInstFlux"] - truth["flux"]) / sources["psfInstFluxErr"]
    assert np.std(pull) == pytest.approx(1.0, abs=0.25)
    bright = truth["flux"] > 2e4
    assert np.median(sources["apInstFlux"][bright] / truth["flux"][bright]) == pytest.approx(1.0, abs=0.003)


def test_stars_are_stars_and_a_galaxy_is_extended(matched):
    sources, _ = matched
    assert np.mean(sources["extendedness"][sources["snr"] > 20]) < 0.05
    assert measure(one_star(sigma=2.5))["extendedness"][0] == 1
    assert measure(one_star())["extendedness"][0] == 0


def test_apertures_have_their_columns(matched):
    names = source_dtype(CONFIG).names
    for name in ("apInstFlux_4_5", "apFlux_12", "apFlux_12Err", "psfFluxErr", "ra_dec_Cov"):
        assert name in names
    sources, _ = matched
    assert sources["apInstFlux"] == pytest.approx(sources["apInstFlux_6"])


def test_what_is_not_calibrated_is_nan(matched):
    sources, _ = matched
    for name in ("ra", "dec", "psfFlux", "apFlux", "apFlux_12"):
        assert np.isnan(sources[name]).all()


@pytest.mark.parametrize(
    ("bit", "where", "raised"),
    [
        (MASK_SAT, (60, 80), {"flag_saturated", "flag_saturatedCenter"}),
        (MASK_INTRP, (62, 83), {"flag_interpolated"}),
        (MASK_CR, (61, 80), {"flag_cr", "flag_crCenter"}),
        (MASK_EDGE, (61, 81), {"flag_edge"}),
        (MASK_SAT, (5, 5), set()),
    ],
)
def test_mask_bits_become_flags(bit, where, raised):
    mask = np.zeros(SHAPE, dtype=np.uint32)
    mask[where] = bit
    source = measure(one_star(mask=mask))[0]
    flags = {name for name in source.dtype.names if name.startswith("flag_") and source[name]}
    assert flags == raised


def test_a_source_at_the_border_is_flagged():
    assert measure(one_star(x=4.0))["flag_edge"][0]
    assert not measure(one_star(x=12.0))["flag_edge"][0]


def test_ids_are_the_labels_of_the_footprints():
    pair = gaussian_image(SHAPE, 40, 60, 3e3, 1.4) + gaussian_image(SHAPE, 120, 60, 2e3, 1.4)
    exposure = make_exposure(pair, np.full(SHAPE, 4.0))
    found = detect_sources(exposure, PSF)
    sources = measure_sources(exposure, PSF, found, CONFIG)
    assert sources["id"].tolist() == [1, 2]
    for source in sources:
        assert found.segments[int(np.rint(source["y"])), int(np.rint(source["x"]))] == source["id"]


def test_nothing_detected_is_an_empty_catalogue():
    sources = measure(make_exposure(np.zeros(SHAPE)))
    assert len(sources) == 0
    assert sources.dtype == source_dtype(CONFIG)


def test_psf_moments_follow_the_variation_of_the_psf():
    narrow, wide = (
        gaussian_psf(2.3548 * 1.3, 31).coefficients[0],
        gaussian_psf(2.3548 * 1.6, 31).coefficients[0],
    )
    middle, slope = (narrow + wide) / 2, (wide - narrow) / 2
    psf = Psf(np.array([middle, slope, 0 * slope]), order=1, x_centre=85, y_centre=60, scale=85)
    moments = psf_moments(psf, np.array([0.0, 170.0]), np.array([60.0, 60.0]), SHAPE)
    assert moments[:, 0] == pytest.approx([1.3**2, 1.6**2], rel=0.02)
    assert moments[:, 1] == pytest.approx(0.0, abs=1e-6)
