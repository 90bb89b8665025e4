import datetime as dt
import itertools

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.errors import FormatError, MissingDataError
from astra.images.exposure import MASK_BAD, MASK_SAT
from astra.instruments.simcam import (
    GAP_PIXEL,
    N_AMPLIFIERS,
    N_COLUMNS,
    N_ROWS,
    PIXEL_SCALE_ARCSEC,
    PIXEL_SIZE_MM,
    RAW_SHAPE,
    REFERENCE_GAIN,
    SEQUENCES_PER_DAY,
    bad_pixels,
    camera,
    make_visit,
    raw_name,
)
from astra.simulation.headers import make_header
from astra.simulation.raw import Shot, read_out
from astra.sky.identifiers import pack_rubin

CAMERA = camera()
SHOT = Shot(
    day_obs=20261120,
    seq_num=1,
    band="r",
    begin_mjd_tai=61364.2,
    exposure_time_s=30.0,
    ra=150.1,
    dec=2.2,
    rotation_deg=0.3,
    ra_error_arcsec=0.8,
    dec_error_arcsec=-0.6,
    rotation_error_deg=0.01,
    fwhm_pixel=3.0,
    sky_electrons=600.0,
    electrons_per_njy=1.0,
    transient_scale=1.0,
)


@pytest.fixture
def raw_path(tmp_path):
    path = tmp_path / "20261120" / raw_name(20261120, 1, 1)
    path.parent.mkdir()
    electrons = np.full((N_ROWS, N_COLUMNS), 900.0)
    electrons[20:22, 30:32] = 4e5
    raw = read_out(np.random.default_rng(1), electrons, 1)
    fits.PrimaryHDU(raw, make_header(SHOT, 1)).writeto(path)
    return path


def test_the_header_becomes_a_frame(raw_path):
    frame = CAMERA.read_frames(raw_path)[0]
    assert frame.exposure == 2026112000001
    assert (frame.detector, frame.day_obs, frame.seq_num) == (1, 20261120, 1)
    assert (frame.band, frame.physical_filter) == ("r", "sim-r")
    assert frame.begin_mjd_tai == 61364.2
    assert (frame.end_mjd_tai - frame.begin_mjd_tai) * 86400 == pytest.approx(30.0, abs=1e-4)
    assert frame.observation_type == "science"
    assert frame.corners.shape == (4, 2)
    x, y = CAMERA.boresight_wcs(SHOT.ra, SHOT.dec, SHOT.rotation_deg, 1).wcs_world2pix(frame.corners, 0).T
    np.testing.assert_allclose(x, [-0.5, 599.5, 599.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(y, [-0.5, -0.5, 511.5, 511.5], atol=1e-6)


def test_loading_removes_the_signature_to_one_gain(raw_path):
    exposure = CAMERA.load(raw_path)
    assert exposure.shape == (N_ROWS, N_COLUMNS)
    assert exposure.unit == "adu"
    assert exposure.gain == REFERENCE_GAIN
    for rows, columns in itertools.product(
        (slice(30, 256), slice(310, 512)), (slice(0, 300), slice(300, 400))
    ):
        flat = exposure.image[rows, columns]
        assert np.mean(flat) == pytest.approx(900.0 / REFERENCE_GAIN, rel=0.003)
        pull = (flat - 900.0 / REFERENCE_GAIN) / np.sqrt(exposure.variance[rows, columns])
        assert np.std(pull) == pytest.approx(1.0, abs=0.03)
    assert exposure.info.visit == 2026112000001
    assert exposure.info.midpoint_mjd_tai == pytest.approx(61364.2 + 15 / 86400, abs=1e-9)
    assert exposure.psf is None
    assert exposure.metadata["OSNOISE1"] == pytest.approx(8.5 / 2.05, rel=0.03)


def test_bad_and_saturated_pixels_are_marked(raw_path):
    mask = CAMERA.load(raw_path).mask
    np.testing.assert_array_equal(mask & MASK_BAD != 0, bad_pixels(1))
    saturated = np.argwhere(mask & MASK_SAT)
    np.testing.assert_array_equal(saturated.min(axis=0), [19, 29])
    np.testing.assert_array_equal(saturated.max(axis=0), [22, 32])


def test_raws_are_found_below_a_folder_and_nothing_else(raw_path):
    folder = raw_path.parents[1]
    (folder / ".tmp~host~1~0a~simcam_1.fits").touch()
    (folder / "other.fits").touch()
    assert CAMERA.find_raws(folder) == [raw_path]
    assert CAMERA.find_raws(folder / "nowhere") == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INSTRUME", "othercam"),
        ("TIMESYS", "UTC"),
        ("FILTER", "clear"),
        ("FILTER", 3),
        ("DAYOBS", 20261332),
        ("SEQNUM", -1),
        ("SEQNUM", 100000),
        ("SEQNUM", True),
        ("DETECTOR", 4),
        ("OBSTYPE", "focus"),
        ("MJD-BEG", "soon"),
        ("MJD-END", 61364.1),
        ("EXPTIME", -30.0),
        ("RA", 361.0),
        ("DEC", 91.0),
    ],
)
def test_a_wrong_header_value_is_named(raw_path, key, value):
    with fits.open(raw_path, mode="update") as hdus:
        hdus[0].header[key] = value
    with pytest.raises(FormatError, match=rf"simcam_20261120_00001_1\.fits.*{key}") as caught:
        CAMERA.read_frames(raw_path)[0]
    assert caught.value.context["key"] == key
    if value is not None:
        assert caught.value.context["value"] == str(value)


@pytest.mark.parametrize(
    "key", ["INSTRUME", "DAYOBS", "MJD-BEG", "FILTER", "OBSTYPE", "GAIN1", "RDNOISE4", "SATURATE"]
)
def test_a_missing_header_key_is_named(raw_path, key):
    with fits.open(raw_path, mode="update") as hdus:
        del hdus[0].header[key]
    with pytest.raises(FormatError, match=rf"header key {key} must be .* found nothing"):
        CAMERA.load(raw_path)


def test_a_gain_of_zero_is_refused(raw_path):
    with fits.open(raw_path, mode="update") as hdus:
        hdus[0].header["GAIN2"] = 0.0
    with pytest.raises(FormatError, match=r"GAIN2 must be a number above 0 to 1000 \[e-/adu\]"):
        CAMERA.load(raw_path)


@pytest.mark.parametrize("data", [None, np.zeros((10, 12), np.uint16), np.zeros((2, *RAW_SHAPE), np.uint16)])
def test_an_image_of_another_shape_is_refused(tmp_path, data):
    path = tmp_path / "simcam_a.fits"
    fits.PrimaryHDU(data, make_header(SHOT, 1)).writeto(path)
    with pytest.raises(FormatError, match=r"simcam_a\.fits: .* must "):
        CAMERA.load(path)


def test_missing_truncated_and_foreign_files_are_named(tmp_path, raw_path):
    with pytest.raises(MissingDataError, match="gone"):
        CAMERA.load(tmp_path / "gone.fits")
    content = raw_path.read_bytes()
    raw_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=raw_path.name):
        CAMERA.load(raw_path)
    raw_path.write_bytes(b"hello")
    with pytest.raises(FormatError, match=raw_path.name):
        CAMERA.read_frames(raw_path)[0]


@settings(deadline=None)
@given(
    day=st.dates(min_value=dt.date(2010, 1, 1), max_value=dt.date(2044, 11, 8)),
    seq_num=st.integers(0, 32767),
    detector=st.integers(0, 3),
)
def test_packed_identifiers_are_those_of_rubin(day, seq_num, detector):
    night = int(day.strftime("%Y%m%d"))
    assert CAMERA.pack_visit_detector(make_visit(night, seq_num), detector) == pack_rubin(
        night, seq_num, detector
    )


@pytest.mark.parametrize(
    ("visit", "detector"), [(1, 0), (2026133200001, 0), (1999123100001, 0), (2026112000001, 4), (-5, 0)]
)
def test_identifiers_of_others_are_refused(visit, detector):
    with pytest.raises(ValueError, match=r"."):
        CAMERA.pack_visit_detector(visit, detector)


def test_the_constants_for_the_simulation_are_those_of_the_file():
    plan = CAMERA.plan
    assert plan.pixel_scale_arcsec == PIXEL_SCALE_ARCSEC
    assert plan.focal_plane.pixel_size_mm == PIXEL_SIZE_MM
    assert plan.reference_gain == REFERENCE_GAIN
    assert plan.identifiers.sequences_per_day == SEQUENCES_PER_DAY
    for detector in plan.detectors:
        assert (detector.value.n_rows, detector.value.n_columns) == (N_ROWS, N_COLUMNS)
        sections = [amplifier.constant_sections() for amplifier in detector.amplifiers]
        assert len(sections) == N_AMPLIFIERS
        parts = [part for each in sections for part in (each.data, *each.blind.values())]
        assert (max(part.y1 for part in parts), max(part.x1 for part in parts)) == RAW_SHAPE
    left, right = plan.detectors[0].value, plan.detectors[1].value
    assert (right.x_mm - left.x_mm) / PIXEL_SIZE_MM == pytest.approx(N_COLUMNS + GAP_PIXEL)


def test_detectors_of_the_upper_row_stand_on_their_heads():
    wcs = {number: CAMERA.boresight_wcs(10.0, 0.0, 0.0, number) for number in range(4)}
    for number in (0, 1):
        assert wcs[number].wcs_pix2world(300, 500, 0)[1] > wcs[number].wcs_pix2world(300, 0, 0)[1]
    for number in (2, 3):
        assert wcs[number].wcs_pix2world(300, 500, 0)[1] < wcs[number].wcs_pix2world(300, 0, 0)[1]
    # The pixels next to the axis, 10 pixels away from it along both axes, are one of each corner.
    for number, (x, y) in enumerate([(599, 511), (0, 511), (0, 511), (599, 511)]):
        ra, dec = wcs[number].wcs_pix2world(x, y, 0)
        distance = np.hypot((ra - 10.0), dec) * 3600.0 / PIXEL_SCALE_ARCSEC
        assert distance == pytest.approx(np.hypot(10.5, 10.5), abs=1e-3)
