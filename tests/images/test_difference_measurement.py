import numpy as np
import pytest

from astra.images.dia_detection_config import DiaDetectionConfig
from astra.images.dia_measurement_config import RUBIN_REMOVED_FLAGS, DiaMeasurementConfig
from astra.images.dia_source_columns import DIA_SOURCE_DTYPE, FLOAT_COLUMNS
from astra.images.difference_detection import detect_dia_sources
from astra.images.difference_measurement import measure_dia_sources
from astra.images.exposure import (
    MASK_BAD,
    MASK_HIGH_VARIANCE,
    MASK_INJECTED,
    MASK_SAT_TEMPLATE,
    MASK_SPIKE,
    MaskPlane,
)
from tests.images.difference_field import add_stars, make_exposure, make_wcs
from tests.images.test_trails import gaussian_trail

FWHM = 4.0
SHAPE = (330, 400)
SCALE = 0.4
ANGLE = 25.0  # of the image on the sky [deg]
PLAIN = DiaDetectionConfig(local_background_pixel=0, model_error=0.0, shift_error_pixel=0.0)


def add_star(image, x, y, flux, fwhm=FWHM):
    add_stars(image, [x], [y], [flux], fwhm)


def with_noise(rng, image, noise):
    """Exposure of an image with sky and photon noise, on a turned grid."""
    wcs = make_wcs(200.0, 165.0, ANGLE, SCALE, dec=40.0)
    exposure = make_exposure(rng, image.shape, ([], [], []), FWHM, wcs=wcs)
    variance = noise**2 + np.abs(image)
    image = image + rng.normal(size=image.shape) * np.sqrt(variance)
    return exposure.replace(image=image.astype(np.float32), variance=variance.astype(np.float32))


def subtract(science, template):
    """Difference of two images of one seeing."""
    return science.replace(
        image=science.image - template.image,
        variance=science.variance + template.variance,
        mask=science.mask | template.mask,
    )


def measure(science, template, config=None):
    difference, peaks, _ = detect_dia_sources(science, template, subtract(science, template), PLAIN)
    return measure_dia_sources(difference, science, template, peaks, config or DiaMeasurementConfig())


def at(dia_sources, x, y, radius=4.0):
    """The one detection near a place."""
    near = np.hypot(dia_sources["x"] - x, dia_sources["y"] - y) < radius
    assert near.sum() == 1
    return dia_sources[near][0]


STAR, NEW, GONE, MOVED, TRAIL = (60.3, 60.8), (130.6, 60.2), (200.4, 60.9), (270.3, 60.6), (100.4, 160.7)
WIDE = (260.3, 160.2)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(12)
    science, template = np.zeros(SHAPE), np.zeros(SHAPE)
    for image in (science, template):
        add_star(image, *STAR, 30000.0)
    add_star(science, *NEW, 8000.0)
    add_star(template, *GONE, 8000.0)
    add_star(science, MOVED[0] + 0.4, MOVED[1] + 0.3, 40000.0)
    add_star(template, MOVED[0] - 0.4, MOVED[1] - 0.3, 40000.0)
    dy, dx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    science += 20000.0 * gaussian_trail(dx - TRAIL[0], dy - TRAIL[1], 12.0, np.radians(30.0))
    add_star(science, *WIDE, 30000.0, 1.6 * FWHM)
    return with_noise(rng, science, 8.0), with_noise(rng, template, 6.0)


@pytest.fixture(scope="module")
def dia_sources(images):
    return measure(*images)


def test_what_is_there_is_found_and_nothing_else(dia_sources):
    assert dia_sources.dtype == DIA_SOURCE_DTYPE
    assert 5 <= len(dia_sources) <= 6
    for place in (NEW, GONE, MOVED, TRAIL, WIDE):
        at(dia_sources, *place)


def test_a_new_star_is_a_point_of_its_flux(dia_sources):
    source = at(dia_sources, *NEW)
    for name, expected in (("psfFlux", 8000.0), ("scienceFlux", 8000.0), ("templateFlux", 0.0)):
        assert abs(source[name] - expected) < 4 * source[f"{name}Err"]
    assert abs(source["apFlux"] - 8000.0 * (1 - 2.0 ** (-((2 * 6.0 / FWHM) ** 2)))) < 4 * source["apFluxErr"]
    assert abs(source["trailFlux"] - 8000.0) < 5 * source["trailFluxErr"]
    assert source["trailLength"] < 3 * source["trailLengthErr"]
    assert source["extendedness"] < 0.05
    assert not source["dipoleFitAttempted"]
    for name in FLOAT_COLUMNS:
        assert np.isfinite(source[name]) != name.startswith("dipole"), name
    flags = [name for name in DIA_SOURCE_DTYPE.names if DIA_SOURCE_DTYPE[name].kind == "b"]
    assert not any(source[name] for name in flags)


def test_a_star_that_is_gone_is_negative(dia_sources):
    source = at(dia_sources, *GONE)
    assert source["isNegative"]
    assert abs(source["psfFlux"] + 8000.0) < 4 * source["psfFluxErr"]
    assert abs(source["templateFlux"] - 8000.0) < 4 * source["templateFluxErr"]
    assert source["apFlux"] < -7000.0
    assert abs(source["trailFlux"] + 8000.0) < 5 * source["trailFluxErr"]
    assert source["ixx"] == pytest.approx(source["ixxPSF"], rel=0.2)
    assert source["extendedness"] < 0.05


def bearing_of(x_angle_deg):
    """Bearing on the sky of a direction on the image, both [deg]: the image is turned, not mirrored."""
    c, s = np.cos(np.radians(x_angle_deg + ANGLE)), np.sin(np.radians(x_angle_deg + ANGLE))
    return np.degrees(np.arctan2(c, s)) % 360.0


def test_a_star_that_moved_is_a_dipole_from_where_it_was(dia_sources):
    source = at(dia_sources, *MOVED)
    assert source["isDipole"]
    assert source["dipoleFitAttempted"]
    assert source["dipoleLength"] == pytest.approx(1.0 * SCALE, abs=0.03)
    assert source["dipoleAngle"] == pytest.approx(bearing_of(np.degrees(np.arctan2(0.3, 0.4))), abs=4.0)
    assert abs(source["dipoleMeanFlux"] - 40000.0) < 4 * source["dipoleMeanFluxErr"]
    assert abs(source["dipoleFluxDiff"]) < 4 * source["dipoleFluxDiffErr"]
    assert source["dipoleMeanFluxErr"] < 500.0
    assert source["dipoleChi2"] == pytest.approx(source["dipoleNdata"], rel=0.2)
    assert source["psfChi2"] > 1.5 * source["psfNdata"]


def test_a_trail_has_its_length_and_bearing(dia_sources):
    source = at(dia_sources, *TRAIL)
    assert abs(source["trailLength"] - 12.0 * SCALE) < 4 * source["trailLengthErr"]
    assert source["trailLengthErr"] < 0.1
    assert abs(source["trailAngle"] - bearing_of(30.0) % 180.0) < 4 * source["trailAngleErr"]
    assert abs(source["trailFlux"] - 20000.0) < 4 * source["trailFluxErr"]
    assert not source["trail_flag"]
    assert not source["trail_flag_edge"]
    assert not source["isDipole"]
    assert source["extendedness"] > 0.95


def test_a_wide_source_is_extended(dia_sources):
    source = at(dia_sources, *WIDE)
    assert source["extendedness"] > 0.95
    assert source["ixx"] / source["ixxPSF"] == pytest.approx(1.6**2, rel=0.1)


def test_positions_of_trails_are_those_of_the_wcs(images, dia_sources):
    source = at(dia_sources, *TRAIL)
    x, y = images[0].wcs.all_world2pix(source["trailRa"], source["trailDec"], 0)
    assert x == pytest.approx(TRAIL[0], abs=0.3)
    assert y == pytest.approx(TRAIL[1], abs=0.3)
    assert source["trailRaErr"] < 0.1 / 3600


def test_masks_of_both_images_are_flagged(images):
    science, template = images
    marks = {MASK_BAD: (8, 0), MASK_SAT_TEMPLATE: (0, 4), MASK_HIGH_VARIANCE: (1, 1), MASK_INJECTED: (0, 0)}
    mask = template.mask.copy()
    for bit, (dx, dy) in marks.items():
        mask[round(NEW[1]) + dy, round(NEW[0]) + dx] |= bit
    mask[round(GONE[1]) - 1 : round(GONE[1]) + 2, round(GONE[0]) - 1 : round(GONE[0]) + 2] |= np.uint32(
        MaskPlane.STREAK
    )
    source, gone = (at(measure(science, template.replace(mask=mask)), *place) for place in (NEW, GONE))
    assert source["pixelFlags_saturated"]
    assert source["pixelFlags_sat_template"]
    assert not source["pixelFlags_streak"]
    for name in ("high_variance", "injected"):
        assert source[f"pixelFlags_{name}"]
        assert source[f"pixelFlags_{name}Center"]
    assert gone["pixelFlags_streakCenter"]


def test_detections_with_some_flags_can_be_left_out(images):
    science, template = images
    mask = template.mask.copy()
    mask[round(NEW[1]), round(NEW[0]) + 1] |= MASK_SPIKE
    flagged, config = template.replace(mask=mask), DiaMeasurementConfig(removed_flags=RUBIN_REMOVED_FLAGS)
    everything, clean = measure(science, flagged), measure(science, flagged, config)
    bad = np.logical_or.reduce([everything[name] for name in RUBIN_REMOVED_FLAGS])
    assert bad.sum() == 1
    assert at(everything, *NEW)["pixelFlags_spikeCenter"]
    np.testing.assert_array_equal(clean["psfFlux"], everything["psfFlux"][~bad])


def test_without_a_wcs_all_but_the_sky_is_measured(images):
    science, template = (e.replace(wcs=None) for e in images)
    source = at(measure(science, template), *NEW)
    assert source["psfFlux"] == pytest.approx(8000.0, rel=0.05)
    assert np.isfinite(source["trailFlux"])
    for name in ("ra", "raErr", "ixx", "trailLength", "trailRa"):
        assert np.isnan(source[name])


def test_no_detections_give_an_empty_table(images):
    science, _ = images
    nothing = measure(science, science)
    assert len(nothing) == 0
    assert nothing.dtype == DIA_SOURCE_DTYPE


def test_fluxes_and_positions_scatter_by_their_errors():
    rng = np.random.default_rng(31)
    y, x = (g.ravel() for g in np.mgrid[25:310:26, 25:380:26].astype(float))
    pulls, ratios = [], []
    for _ in range(4):
        at_x, at_y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)
        flux = np.exp(rng.uniform(np.log(1500), np.log(20000), x.size)) * rng.choice([1.0, -1.0], x.size)
        steady = rng.uniform(0, 5000, x.size)
        science, template = np.zeros(SHAPE), np.zeros(SHAPE)
        add_stars(science, at_x, at_y, np.maximum(flux, 0) + steady, FWHM)
        add_stars(template, at_x, at_y, np.maximum(-flux, 0) + steady, FWHM)
        found = measure(with_noise(rng, science, 8.0), with_noise(rng, template, 6.0))
        distance = np.hypot(found["x"][:, None] - at_x, found["y"][:, None] - at_y)
        row, which = distance.argmin(axis=0), np.arange(x.size)
        assert (distance[row, which] < 1.0).all()
        found = found[row]
        true = {"x": at_x, "y": at_y, "psfFlux": flux, "scienceFlux": np.maximum(flux, 0) + steady}
        true["templateFlux"] = np.maximum(-flux, 0) + steady
        pulls.append([(found[name] - value) / found[f"{name}Err"] for name, value in true.items()])
        ratios.append(found["psfFlux"] / flux)
    pulls, ratios = np.concatenate(pulls, axis=1), np.concatenate(ratios)
    n = pulls.shape[1]
    assert abs(pulls.mean(axis=1)).max() < 3.5 / np.sqrt(n)
    assert pulls.std(axis=1) == pytest.approx(1.0, abs=0.12)
    assert ratios.std() / np.sqrt(n) < 1.5e-3
    assert ratios.mean() == pytest.approx(1.0, abs=3e-3)
