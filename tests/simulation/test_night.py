import numpy as np
import pytest

from astra.instruments.registry import get_instrument
from astra.products.atomic import checksum
from astra.products.catalogs import read_catalog, read_catalog_units
from astra.simulation.night import default_sky, simulate_night
from astra.simulation.sky import SkySettings

CAMERA = get_instrument("simcam")
FEW = SkySettings(n_stars=5, n_galaxies=5, n_transients=4)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return simulate_night(tmp_path_factory.mktemp("night"), 42)


def test_equal_seeds_give_equal_bytes(night, tmp_path):
    again = simulate_night(tmp_path, 42)
    for first, second in zip(night.raw_paths, again.raw_paths, strict=True):
        assert first.name == second.name
        assert checksum(first) == checksum(second)
    assert checksum(night.reference_catalog_path) == checksum(again.reference_catalog_path)
    assert checksum(night.truth_path) == checksum(again.truth_path)


def test_another_seed_gives_another_night(night, tmp_path):
    other = simulate_night(tmp_path, 43, settings=FEW)
    assert checksum(other.raw_paths[0]) != checksum(night.raw_paths[0])


def test_worse_seeing_spreads_the_same_stars(tmp_path):
    bright = SkySettings(n_stars=60, n_galaxies=0, n_transients=4, brightest_mag=17.0, faintest_mag=19.0)
    sharp, broad = (
        simulate_night(tmp_path / str(seeing), 42, settings=bright, detectors=(0,), seeing=seeing)
        for seeing in (1.0, 2.0)
    )
    assert checksum(sharp.truth_path) == checksum(broad.truth_path)
    tops = []
    for paths in (sharp.raw_paths, broad.raw_paths):
        image = CAMERA.load(paths[0]).image
        tops.append(image.max() - np.median(image))
    assert tops[1] < 0.5 * tops[0]


def test_the_night_has_three_template_and_two_science_visits_of_two_detectors(night):
    assert len(night.template_visits) == 3
    assert len(night.science_visits) == 2
    assert len(night.raw_paths) == 10
    frames = [CAMERA.read_frames(path)[0] for path in night.raw_paths]
    assert {frame.exposure for frame in frames} == {*night.template_visits, *night.science_visits}
    assert {frame.band for frame in frames} == {"r"}


def test_the_truth_lies_on_the_detectors_and_has_both_signs(night):
    truth = read_catalog(night.truth_path)
    assert set(truth["visit"]) == set(night.science_visits)
    assert set(truth["detector"]) == {0, 1}
    assert ((truth["x"] > -0.5) & (truth["x"] < 599.5) & (truth["y"] > -0.5) & (truth["y"] < 511.5)).all()
    assert (truth["flux"] > 0).any()
    assert (truth["flux"] < 0).any()
    assert read_catalog_units(night.truth_path)["flux"] == "nJy"


def test_the_initial_wcs_is_off_by_a_few_pixels_and_the_truth_is_not(night):
    truth = read_catalog(night.truth_path)
    for path in night.raw_paths:
        exposure = CAMERA.load(path)
        here = truth[(truth["visit"] == exposure.info.visit) & (truth["detector"] == exposure.info.detector)]
        x, y = exposure.wcs.all_world2pix(here["ra"], here["dec"], 0)
        distance = np.hypot(x - here["x"], y - here["y"])
        assert ((distance > 0.8) & (distance < 6.0)).all()


def test_transients_appear_in_the_images_with_their_flux(night):
    """Aperture sums at the truth, science minus the mean template, against the flux of the truth."""
    truth = read_catalog(night.truth_path)
    bright = truth[(truth["flux"] > 8000) & ~truth["on_host"]]
    assert len(bright) > 0
    exposures = {(e.info.visit, e.info.detector): e for e in map(CAMERA.load, night.raw_paths)}
    for row in bright:
        image = exposures[int(row["visit"]), int(row["detector"])].image
        yy, xx = np.indices(image.shape)
        radius = np.hypot(xx - row["x"], yy - row["y"])
        sky = np.median(image[(radius > 12) & (radius < 20)])
        flux_adu = (image - sky)[radius < 6].sum()
        assert flux_adu * 2.0 == pytest.approx(row["flux"], rel=0.25)


def test_the_reference_catalogue_is_in_njy(night):
    catalog = read_catalog(night.reference_catalog_path)
    assert catalog.dtype.names == ("ra", "dec", "r_flux", "r_fluxErr")
    assert len(catalog) > 150
    assert read_catalog_units(night.reference_catalog_path) == {
        "ra": "deg",
        "dec": "deg",
        "r_flux": "nJy",
        "r_fluxErr": "nJy",
    }


def test_a_band_that_the_sky_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not in g"):
        simulate_night(tmp_path, 1, band="g", settings=SkySettings(bands=("r",)))
    assert list(tmp_path.iterdir()) == []


def test_visits_tell_what_they_are_grouped_and_found_by(night):
    frames = [CAMERA.read_frames(path)[0] for path in night.raw_paths]
    for frame in frames:
        assert (frame.seq_start, frame.seq_end) == (frame.seq_num, frame.seq_num)
        assert frame.group_name == frame.obs_id
        assert 0.0 <= frame.azimuth_deg < 360.0
        assert 0.0 <= frame.zenith_angle_deg < 90.0
    assert {frame.observation_reason for frame in frames} == {"science"}


def test_all_detectors_see_a_sky_that_is_larger(tmp_path):
    night = simulate_night(tmp_path, 1, detectors=(2, 3), settings=FEW)
    frames = [CAMERA.read_frames(path)[0] for path in night.raw_paths]
    assert {frame.detector for frame in frames} == {2, 3}
    # Whatever is simulated looks at the middle of the sky.
    for frame in frames[:2]:
        assert np.mean(frame.corners[:, 1]) == pytest.approx(FEW.dec, abs=0.004)
    everywhere = default_sky((0, 1, 2, 3), "r")
    rows = {frame.detector: CAMERA.boresight_wcs(FEW.ra, FEW.dec, 0.0, frame.detector) for frame in frames}
    tops = [wcs.wcs_pix2world(0, 0, 0)[1] for wcs in rows.values()]
    assert max(tops) - FEW.dec < everywhere.height_arcsec / 7200.0


def test_calibrations_come_with_the_signature_of_the_detectors(tmp_path):
    night = simulate_night(tmp_path, 1, detectors=(0,), settings=FEW, with_calibrations=True)
    assert len(night.calibration_paths) == 2 * (7 + 3 + 10)
    assert all(path.is_file() for path in night.calibration_paths)
    types = {CAMERA.read_frames(path)[0].observation_type for path in CAMERA.find_raws(tmp_path)}
    assert types == {"science", "bias", "dark", "flat"}
    image = CAMERA.load(night.raw_paths[0]).image
    # Vignetting: the corner next to the axis of the whole camera is the brightest.
    assert np.median(image[-60:, -60:]) > 1.15 * np.median(image[:60, :60])
