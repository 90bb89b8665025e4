import numpy as np
import pytest

from astra.images.isr import correct_raw
from astra.images.photon_transfer import measure_photon_transfer
from astra.instruments import simcam
from astra.products.atomic import checksum
from astra.simulation.calibration_frames import plan_calibrations, write_calibrations
from astra.simulation.headers import horizontal
from astra.simulation.raw import BIAS_LEVELS, GAINS, READ_NOISES, read_out
from astra.simulation.signature import DARK_RATE, make_signature

CAMERA = simcam.camera()


@pytest.fixture(scope="module")
def calibrations(tmp_path_factory):
    """Frames of detector 2 by type."""
    shots = plan_calibrations(20261120, "r", n_biases=7, n_darks=3, flat_times_s=(6.0, 20.0))
    paths = write_calibrations(tmp_path_factory.mktemp("raw"), 5, shots, [2])
    found = {}
    for path in paths:
        found.setdefault(CAMERA.read_frames(path)[0].observation_type, []).append(path)
    return found


def test_calibrations_are_records_of_their_kind(calibrations):
    assert {kind: len(paths) for kind, paths in calibrations.items()} == {"bias": 7, "dark": 3, "flat": 4}
    frames = {kind: CAMERA.read_frames(paths[0])[0] for kind, paths in calibrations.items()}
    assert {kind: frame.band for kind, frame in frames.items()} == {"bias": "", "dark": "", "flat": "r"}
    assert frames["dark"].dark_time_s == 300.0
    assert all(frame.corners is None and not frame.can_see_sky for frame in frames.values())
    assert all(frame.tracking_ra is None and frame.day_obs == 20261120 for frame in frames.values())
    moments = [CAMERA.read_frames(path)[0].begin_mjd_tai for paths in calibrations.values() for path in paths]
    assert sorted(moments) == moments
    assert len(set(moments)) == len(moments)


def mean_image(paths):
    return np.mean([correct_raw(CAMERA.read_raw(path)).image for path in paths], axis=0)


def test_the_mean_bias_is_the_structure_of_the_detector(calibrations):
    signature = make_signature(2)
    scale = np.empty(signature.bias_adu.shape)
    for sections, gain in zip(simcam.amplifier_sections(), GAINS[2], strict=True):
        scale[sections.assembled.slices] = gain / simcam.REFERENCE_GAIN
    residual = mean_image(calibrations["bias"]) - signature.bias_adu * scale
    noise = max(READ_NOISES[2]) / simcam.REFERENCE_GAIN
    assert residual.std() == pytest.approx(noise / np.sqrt(7), rel=0.15)
    assert abs(np.median(residual.mean(axis=0))) < 0.1
    assert residual.mean(axis=0).std() < 0.3 * signature.bias_adu.std()


def test_darks_collect_the_dark_current(calibrations):
    signature = make_signature(2)
    electrons = (mean_image(calibrations["dark"]) - mean_image(calibrations["bias"])) * simcam.REFERENCE_GAIN
    good = ~simcam.bad_pixels(2)
    assert np.median(electrons[good]) / 300.0 == pytest.approx(DARK_RATE, rel=0.05)
    hot = good & (signature.dark_rate > 10.0)
    assert hot.sum() > 50
    unsaturated = hot & (signature.dark_rate < 200.0)
    ratio = electrons[unsaturated] / 300.0 / signature.dark_rate[unsaturated]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


def test_flats_show_vignetting_and_the_response_of_pixels(calibrations):
    signature = make_signature(2)
    flat = mean_image(calibrations["flat"][2:]) - mean_image(calibrations["bias"])
    good = ~simcam.bad_pixels(2) & (signature.dark_rate < 1.0)
    ratio = flat * simcam.REFERENCE_GAIN / 40000.0 / signature.response
    assert np.median(ratio[good]) == pytest.approx(1.0, abs=1e-3)
    assert np.std(ratio[good]) == pytest.approx(1 / np.sqrt(2 * 40000.0 * 0.9), rel=0.1)
    # The upper left detector stands on its head: its last row is next to the axis.
    assert np.median(signature.response[-40:, :40]) > 1.15 * np.median(signature.response[:40, -40:])


def test_pairs_of_flats_tell_the_gains(calibrations):
    flats = [CAMERA.read_raw(path) for path in calibrations["flat"]]
    pairs = list(zip(flats[::2], flats[1::2], strict=True))
    measured = measure_photon_transfer(pairs)
    for amplifier, gain, noise in zip(flats[0].amplifiers, GAINS[2], READ_NOISES[2], strict=True):
        response = measured[amplifier.name].response
        assert response.gain == pytest.approx(gain, rel=0.02)
        assert response.read_noise == pytest.approx(noise, rel=0.03)


def test_the_signature_belongs_to_the_device():
    first, again, other = make_signature(0), make_signature(0), make_signature(1)
    np.testing.assert_array_equal(first.bias_adu, again.bias_adu)
    assert not np.array_equal(first.response, other.response)


def test_frames_depend_on_the_seed_alone(tmp_path):
    shots = plan_calibrations(20261120, "r", n_biases=1, n_darks=0, flat_times_s=())
    [one], [two], [three] = (write_calibrations(tmp_path / str(k), 5 + k // 2, shots, [0]) for k in range(3))
    assert checksum(one) == checksum(two) != checksum(three)


def amplifier_means(raw, detector):
    amplifiers = simcam.make_amplifiers(GAINS[detector], READ_NOISES[detector], 6e4)
    return [raw[a.data].astype(float) - raw[a.overscan].mean() for a in amplifiers]


def test_crosstalk_shows_a_source_at_the_mirrored_place_in_the_other_amplifiers():
    electrons = np.zeros((simcam.N_ROWS, simcam.N_COLUMNS))
    electrons[40:50, 70:80] = 90000.0
    crosstalk = np.zeros((4, 4))
    crosstalk[1:, 0] = 0.01
    signature = make_signature(0, crosstalk=crosstalk)
    raw = read_out(np.random.default_rng(1), electrons, 0, signature=signature)
    victims = amplifier_means(raw, 0)[1:]
    alone = read_out(np.random.default_rng(1), electrons, 0, signature=make_signature(0))
    plain = amplifier_means(alone, 0)[1:]
    source_adu = 90000.0 * np.median(signature.response[40:50, 70:80]) / GAINS[0][0]
    for victim, without in zip(victims, plain, strict=True):
        assert (victim - without)[40:50, 70:80].mean() == pytest.approx(0.01 * source_adu, rel=0.02)
        assert abs((victim - without)[60:, :].mean()) < 0.01


def test_nonlinearity_bends_the_response():
    signature = make_signature(0, nonlinearity=1e-6)
    electrons = np.full((simcam.N_ROWS, simcam.N_COLUMNS), 60000.0)
    bent = amplifier_means(read_out(np.random.default_rng(1), electrons, 0, signature=signature), 0)[0]
    straight = amplifier_means(
        read_out(np.random.default_rng(1), electrons, 0, signature=make_signature(0)), 0
    )[0]
    np.testing.assert_allclose(bent, straight - 1e-6 * straight**2, rtol=2e-3)


def test_the_parallel_overscan_sees_the_level_alone():
    electrons = np.full((simcam.N_ROWS, simcam.N_COLUMNS), 30000.0)
    raw = read_out(np.random.default_rng(1), electrons, 3, signature=make_signature(3))
    for amplifier, level in zip(CAMERA_AMPLIFIERS, BIAS_LEVELS[3], strict=True):
        assert raw[amplifier.parallel_overscan].mean() == pytest.approx(level, abs=1.0)


CAMERA_AMPLIFIERS = simcam.make_amplifiers(GAINS[3], READ_NOISES[3], 6e4)


@pytest.mark.parametrize(
    ("ra", "dec", "mjd"), [(150.1, 2.2, 60634.17), (10.0, -60.0, 60500.5), (300.0, 20.0, 60600.9)]
)
def test_the_horizon_is_that_of_the_site(ra, dec, mjd):
    import astropy.units as u
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    site = CAMERA.plan.site
    place = EarthLocation(lon=site.longitude_deg * u.deg, lat=site.latitude_deg * u.deg, height=1800 * u.m)
    time = Time(mjd, format="mjd", scale="utc", location=place)
    with iers.conf.set_temp("auto_download", False):
        truth = SkyCoord(ra, dec, unit="deg").transform_to(AltAz(obstime=time, location=place))
    azimuth, zenith_angle = horizontal(ra, dec, mjd)
    found = AltAz(az=azimuth * u.deg, alt=(90 - zenith_angle) * u.deg, obstime=time, location=place)
    assert SkyCoord(found).separation(truth).deg < 0.6
