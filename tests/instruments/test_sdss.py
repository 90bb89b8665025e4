import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError, MissingDataError
from astra.images.exposure import MASK_EDGE, MASK_INTRP, MASK_SAT
from astra.instruments import sdss_files
from astra.instruments.sdss import SdssCamera, pack_exposure

CAMERA = SdssCamera()
# Run, field, night, MJD TAI of the first row (tsField) and the offset of 744 rows less half an exposure.
RUNS = {4192: (300, 20031019), 6377: (399, 20060920)}


@pytest.fixture(scope="session")
def s82(shared_data):
    return shared_data / "sdss_s82"


@pytest.fixture(scope="session")
def frame_path(s82):
    return s82 / "4192" / "40" / "corr" / "4" / "fpC-004192-r4-0300.fit.gz"


@pytest.fixture(scope="session")
def exposure(frame_path):
    return CAMERA.load(frame_path)


@pytest.fixture
def copied_run(s82, tmp_path):
    """The run 4192 under a folder of one's own, by links, so that a file can be spoilt."""
    for path in (s82 / "4192").rglob("*.fit*"):
        target = tmp_path / path.relative_to(s82)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    return tmp_path / "4192" / "40"


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


def test_raws_are_the_corrected_frames_alone(s82):
    found = CAMERA.find_raws(s82)
    assert len(found) == 4
    assert found == sorted(found)
    assert all(path.name.startswith("fpC-") for path in found)


def test_inspection_tells_the_keys_of_each_quantity_and_the_companions(frame_path):
    [(detector, readings)] = CAMERA.inspect(frame_path)
    assert detector == 4
    assert not [reading.problem for reading in readings if reading.problem]
    by_name = {reading.name: reading for reading in readings}
    assert (by_name["detector"].source, by_name["detector"].raw, by_name["detector"].value) == (
        "CAMCOL",
        4,
        4,
    )
    exposure = by_name["exposure"]
    assert (exposure.source, exposure.raw, exposure.hdu) == ("RUN FILTER FRAME", "4192 r 300", "0")
    assert exposure.value == 419220300
    time = by_name["exposure_time_s"]
    assert (time.source, time.raw, time.value, time.unit) == ("EXPTIME", "53.907456", 53.907456, "s")
    assert by_name["begin_mjd_tai"].source == "TAI C_OBS EXPTIME"
    assert by_name["middle of the image"].value.startswith("351.6")
    assert by_name["psField"].value == "psField-004192-4-0300.fit"
    told = {key for reading in readings for key in reading.source.split()}
    assert {"RUN", "CAMCOL", "FRAME", "FILTER", "TAI", "EXPTIME", "C_OBS", "SOFTBIAS"} <= told


@pytest.mark.parametrize("key", ["FILTER", "TAI", "EXPTIME", "SOFTBIAS"])
def test_inspection_names_a_key_that_is_missing(frame_path, tmp_path, key):
    with fits.open(frame_path) as hdus:
        header = hdus[0].header.copy()
        del header[key]
        path = tmp_path / "40" / "corr" / "4" / "fpC-004192-r4-0300.fit"
        path.parent.mkdir(parents=True)
        fits.PrimaryHDU(np.zeros((1489, 2048), np.int16), header).writeto(path, output_verify="ignore")
    [(_, readings)] = CAMERA.inspect(path)
    problems = {reading.name: reading.problem for reading in readings if reading.problem}
    assert f"header key {key} is missing" in problems.values()
    if key == "SOFTBIAS":  # all else is read, and the companions are looked for
        assert {"fpM", "tsField", "psField", "asTrans"} < set(problems)


def test_ordinary_conditions_are_those_that_are_published():
    fiducials = CAMERA.fiducials
    assert {band: fiducials[band].mag_lim for band in "ugriz"} == dict(
        zip("ugriz", (22.3, 23.3, 23.1, 22.3, 20.8), strict=True)
    )
    assert fiducials["r"].psf_sigma_pixel * 2.3548 * 0.396 == pytest.approx(1.43, rel=1e-4)
    assert np.isnan(fiducials["g"].psf_sigma_pixel)
    assert np.isnan([each.zero_point_mag for each in fiducials.values()]).all()


def test_inspection_refuses_what_is_no_frame(tmp_path):
    path = tmp_path / "fpC-x.fit"
    fits.PrimaryHDU(np.zeros((1489, 2048), np.int16)).writeto(path)
    with pytest.raises(FormatError, match=r"KeyError: .*RUN"):
        CAMERA.inspect(path)


def test_a_folder_without_raws_has_none(tmp_path):
    assert CAMERA.find_raws(tmp_path) == []


def test_frames_say_what_they_are(s82):
    for path in CAMERA.find_raws(s82):
        frame = CAMERA.read_frames(path)[0]
        run = int(frame.obs_id.split("-")[0])
        field, night = RUNS[run]
        assert (frame.seq_num, frame.day_obs, frame.detector) == (field, night, 4)
        assert frame.exposure == pack_exposure(run, frame.band, field)
        assert frame.observation_type == "science"
        assert frame.exposure_time_s == pytest.approx(53.907456)
        assert frame.end_mjd_tai - frame.begin_mjd_tai == pytest.approx(53.907456 / 86400)


def test_exposure_identifiers_are_as_documented():
    assert pack_exposure(4192, "r", 300) == 419220300
    assert pack_exposure(6377, "g", 399) == 637710399


def test_middle_of_the_exposure_is_that_of_the_central_row(frame_path, s82):
    frame = CAMERA.read_frames(frame_path)[0]
    row = fits.getdata(s82 / "4192/40/calibChunks/4/tsField-004192-4-40-0300.fit", 1)[0]
    first_row = float(row["mjd"][2])
    expected = first_row + (744 * 0.026322 - 26.953728) / 86400
    assert (frame.begin_mjd_tai + frame.end_mjd_tai) / 2 == pytest.approx(expected, abs=1e-6)


def test_rows_of_a_drift_scan_have_their_own_times(exposure):
    span = exposure.midpoint_mjd_tai_at(1488.0) - exposure.midpoint_mjd_tai_at(0.0)
    assert span * 86400 == pytest.approx(1488 * 0.026322, abs=1e-4)
    assert exposure.midpoint_mjd_tai_at(744.0) == pytest.approx(exposure.info.midpoint_mjd_tai)


def test_corners_surround_the_field(frame_path, exposure):
    corners = CAMERA.read_frames(frame_path)[0].corners
    pixels = np.array([(-0.5, -0.5), (2047.5, -0.5), (2047.5, 1488.5), (-0.5, 1488.5)])
    exact = exposure.wcs.all_pix2world(pixels, 0)
    assert np.abs(corners - exact).max() * 3600 < 0.15


@pytest.mark.parametrize("band", "gr")
def test_wcs_reproduces_the_surveys_solution(s82, band):
    path = s82 / "4192" / "40" / "corr" / "4" / f"fpC-004192-{band}4-0300.fit.gz"
    solution = sdss_files.read_drift_scan_solution(s82 / "4192/40/astrom/asTrans-004192.fit", 4, band, 300)
    x, y = np.random.default_rng(0).uniform(0, [[2047], [1488]], (2, 500))
    ra, dec = solution.to_sky(x, y)
    fitted = CAMERA.load(path).wcs.all_pix2world(x, y, 0)
    assert np.abs(fitted[0] - ra).max() * 3600 < 0.005
    assert np.abs(fitted[1] - dec).max() * 3600 < 0.005


def test_solution_of_an_inclined_great_circle_is_a_rotation():
    flat = sdss_files.DriftScanSolution((120.0, 1e-4, 0.0, 2.0, 0.0, 1e-4), (0.0,) * 4, (0.0,) * 4, 95.0, 0.0)
    tilted = sdss_files.DriftScanSolution(flat.linear, flat.row_terms, flat.column_terms, 95.0, 40.0)
    x, y = np.array([0.0, 2000.0]), np.array([0.0, 1000.0])
    mu, nu = flat.to_sky(x, y)
    assert mu == pytest.approx(120 + 1e-4 * (y + 0.5))
    ra, dec = np.radians(tilted.to_sky(x, y))
    mu, nu = np.radians(mu), np.radians(nu)
    # The height over the great circle, whose pole lies 40 deg from the celestial one, is nu.
    pole_ra, pole_dec = np.radians(95.0 - 90.0), np.radians(50.0)
    height = np.sin(dec) * np.sin(pole_dec) + np.cos(dec) * np.cos(pole_dec) * np.cos(ra - pole_ra)
    assert height == pytest.approx(np.sin(nu), abs=1e-12)


def test_pixels_are_counts_over_the_soft_bias(exposure, frame_path):
    raw = fits.getdata(frame_path)
    assert np.array_equal(exposure.image, raw.astype(np.float32) - 1000)
    assert exposure.unit == "adu"
    assert exposure.shape == (1489, 2048)
    assert exposure.gain == pytest.approx(4.76)


def test_variance_is_that_found_in_the_sky(exposure):
    sky = (exposure.mask == 0) & (np.abs(exposure.image - np.median(exposure.image)) < 25)
    difference = (exposure.image[1:] - exposure.image[:-1])[sky[1:] & sky[:-1]]
    predicted = np.sqrt(np.median(exposure.variance))
    assert predicted == pytest.approx(5.63, abs=0.02)
    assert np.std(difference) / np.sqrt(2) == pytest.approx(predicted, rel=0.01)


def test_mask_planes_are_those_of_the_survey(exposure):
    assert (exposure.mask[744, :4] & MASK_EDGE).all()
    assert not (exposure.mask & MASK_EDGE)[5:-5, 5:-5].any()
    x, y = np.rint(exposure.wcs.all_world2pix([[351.6000, 0.1011]], 0)[0]).astype(int)
    assert (exposure.mask[y - 5 : y + 6, x - 5 : x + 6] & MASK_SAT).any()
    assert 0 < (exposure.mask & MASK_INTRP > 0).sum() < 40000


def test_psf_is_the_surveys_expansion(exposure, s82):
    table = fits.getdata(s82 / "4192/40/objcs/4/psField-004192-4-0300.fit", 3)
    for x, y in ((100.0, 50.0), (2000.0, 1400.0)):
        row, column = (y + 0.5) / 1000, (x + 0.5) / 1000
        expected = np.zeros((51, 51))
        for component in table:
            powers = np.outer(row ** np.arange(3), column ** np.arange(3))
            weight = np.sum(component["c"][:3, :3].astype(float) * powers)
            expected += weight * np.asarray(component["RROWS"], dtype=float).reshape(51, 51)
        expected /= expected.sum()
        assert exposure.psf.stamp(x, y) == pytest.approx(expected, abs=1e-7)
    assert np.unravel_index(exposure.psf.stamp(1000, 700).argmax(), (51, 51)) == (25, 25)


def test_visit_and_detector_pack_without_collision():
    visits = [
        pack_exposure(run, band, field) for run in (94, 4192, 8162) for band in "ugriz" for field in (11, 999)
    ]
    packed = {CAMERA.pack_visit_detector(visit, column) for visit in visits for column in range(1, 7)}
    assert len(packed) == len(visits) * 6
    assert max(packed) < 2**38
    assert CAMERA.pack_visit_detector(419220300, 4) == 4192203004


@pytest.mark.parametrize(("visit", "detector"), [(-1, 4), (419220300, 0), (419220300, 7), (2**38, 1)])
def test_visits_and_detectors_out_of_range_are_refused(visit, detector):
    with pytest.raises(ValueError, match=r"no detector|visit must be"):
        CAMERA.pack_visit_detector(visit, detector)


def test_a_missing_frame_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"fpC-9\.fit is not there"):
        CAMERA.read_frames(tmp_path / "fpC-9.fit")[0]


@pytest.mark.parametrize(
    ("companion", "kind"),
    [
        ("objcs/4/fpM-004192-r4-0300.fit", "fpM"),
        ("objcs/4/psField-004192-4-0300.fit", "psField"),
        ("calibChunks/4/tsField-004192-4-40-0300.fit", "tsField"),
        ("astrom/asTrans-004192.fit", "asTrans"),
    ],
)
def test_a_missing_companion_is_named_with_the_frame(copied_run, companion, kind):
    (copied_run / companion).unlink()
    frame = copied_run / "corr/4/fpC-004192-r4-0300.fit.gz"
    assert CAMERA.read_frames(frame)[0].band == "r"
    with pytest.raises(MissingDataError, match=rf"fpC-004192-r4-0300.* needs its {kind} file") as caught:
        CAMERA.load(frame)
    assert caught.value.context["path"] == str(copied_run / companion)


def test_a_truncated_frame_is_a_format_error_with_its_path(copied_run, frame_path):
    frame = copied_run / "corr/4/fpC-004192-r4-0300.fit.gz"
    replace(frame, frame_path.read_bytes()[:1_000_000])
    with pytest.raises(FormatError, match="cannot be read as an SDSS fpC file") as caught:
        CAMERA.load(frame)
    assert caught.value.context["path"] == str(frame)


def test_a_truncated_frame_without_gzip_is_a_format_error(copied_run, frame_path):
    frame = copied_run / "corr/4/fpC-004192-r4-0300.fit"
    frame.write_bytes(gzip.decompress(frame_path.read_bytes())[:3_000_000])
    with pytest.raises(FormatError, match="cannot be read as an SDSS fpC file"):
        CAMERA.load(frame)


@pytest.mark.parametrize(
    "companion",
    [
        "objcs/4/fpM-004192-r4-0300.fit",
        "objcs/4/psField-004192-4-0300.fit",
        "calibChunks/4/tsField-004192-4-40-0300.fit",
        "astrom/asTrans-004192.fit",
    ],
)
def test_a_spoilt_companion_is_a_format_error_with_its_path(copied_run, companion):
    path = copied_run / companion
    replace(path, path.read_bytes()[:9000])
    with pytest.raises(FormatError) as caught:
        CAMERA.load(copied_run / "corr/4/fpC-004192-r4-0300.fit.gz")
    assert caught.value.context["path"] == str(path)


def test_another_fits_file_is_no_frame(tmp_path):
    path = tmp_path / "fpC-1.fit"
    fits.PrimaryHDU(np.zeros((3, 4))).writeto(path)
    with pytest.raises(FormatError, match="expected 2048 x 1489 pixels, found 4 x 3"):
        CAMERA.read_frames(path)[0]


def test_a_text_file_is_no_frame(tmp_path):
    path = tmp_path / "fpC-1.fit"
    path.write_text("no FITS file")
    with pytest.raises(FormatError, match="cannot be read as an SDSS fpC file"):
        CAMERA.read_frames(path)[0]


@pytest.mark.parametrize("key", ["RUN", "FILTER", "TAI", "CD1_1"])
def test_a_missing_key_is_named(tmp_path, frame_path, key):
    header = fits.getheader(frame_path)
    del header[key]
    path = tmp_path / "fpC-1.fit"
    path.write_bytes(header.tostring().encode())
    with pytest.raises(FormatError, match=key):
        CAMERA.read_frames(path)[0]


def test_a_camera_column_out_of_range_is_refused(tmp_path, frame_path):
    header = fits.getheader(frame_path)
    header["CAMCOL"] = 9
    path = tmp_path / "fpC-1.fit"
    path.write_bytes(header.tostring().encode())
    with pytest.raises(FormatError, match=r"CAMCOL must be in 1\.\.6"):
        CAMERA.read_frames(path)[0]


def test_a_frame_of_another_field_misses_its_companions(copied_run, frame_path):
    moved = copied_run / "corr" / "4" / "fpC-004192-r4-0999.fit.gz"
    shutil.copy(frame_path, moved)
    assert CAMERA.read_frames(moved)[0].seq_num == 300
