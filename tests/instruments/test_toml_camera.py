import gzip
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.images.exposure import MASK_BAD, MASK_VIGNETTED
from tests.instruments.cameras import HEADER, camera, changed, content, raw_pixels, write_raw

CAMERA = camera()


@pytest.fixture
def raw_path(tmp_path):
    return write_raw(tmp_path / "t12.fits")


def test_the_header_becomes_a_record(raw_path):
    [frame] = CAMERA.read_frames(raw_path)
    assert (frame.exposure, frame.day_obs, frame.seq_num) == (2026112000012, 20261120, 12)
    assert (frame.detector, frame.instrument, frame.obs_id) == (3, "testcam", "testcam_2026112000012")
    assert (frame.band, frame.physical_filter) == ("r", "SDSS r (1)")
    assert (frame.observation_type, frame.can_see_sky) == ("science", True)
    assert (frame.target_name, frame.science_program) == ("field 7", "")
    assert frame.begin_mjd_tai == Time("2026-11-21T02:00:37", scale="tai").mjd
    assert (frame.end_mjd_tai - frame.begin_mjd_tai) * 86400 == pytest.approx(30.0, abs=1e-5)
    assert (frame.tracking_ra, frame.tracking_dec) == (pytest.approx(150.1), -29.5)
    assert frame.sky_angle_deg == 30.0
    assert (frame.azimuth_deg, frame.dark_time_s, frame.seq_start) == (None, None, None)


def test_the_corners_are_where_the_boresight_puts_them(raw_path):
    [frame] = CAMERA.read_frames(raw_path)
    wcs = CAMERA.boresight_wcs(frame.tracking_ra, frame.tracking_dec, 30.0, 3)
    x, y = wcs.wcs_world2pix(frame.corners, 0).T
    np.testing.assert_allclose(x, [-0.5, 9.5, 9.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(y, [-0.5, -0.5, 5.5, 5.5], atol=1e-6)


def test_pixels_go_where_the_amplifiers_say(raw_path):
    raw = CAMERA.read_raw(raw_path)
    assert [(a.gain, a.read_noise, a.saturation) for a in raw.amplifiers] == [
        (1.5, 4.0, 6e4),
        (2.5, 6.0, 5e4),
    ]
    assert [a.readout_corner for a in raw.amplifiers] == ["LL", "UR"]
    assert raw.pixels.dtype == np.uint16
    image = CAMERA.load(raw_path).image
    assert image.shape == (6, 10)
    # Every pixel of the raw frame tells its row and column; overscan 100 row + 1008 (or 1018).
    np.testing.assert_allclose(image[2, 1], (1203 - 1208) * 1.5 / 2.0)
    np.testing.assert_allclose(image[0, 9], (1512 - 1518) * 2.5 / 2.0)
    np.testing.assert_allclose(image[5, 5], (1016 - 1018) * 2.5 / 2.0)
    assert (CAMERA.load(raw_path).mask[:, 1] & MASK_BAD).all()
    assert raw.info.visit == 2026112000012
    assert raw.info.midpoint_mjd_tai == pytest.approx(Time("2026-11-21T02:00:52", scale="tai").mjd, abs=1e-9)


def test_packed_files_read_alike(raw_path, tmp_path):
    frame = CAMERA.read_frames(raw_path)[0]
    packed = tmp_path / "t12.fits.gz"
    with raw_path.open("rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    with fits.open(raw_path) as hdus:
        image = fits.CompImageHDU(hdus[0].data, hdus[0].header)
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "t12.fits.fz")
    assert CAMERA.find_raws(tmp_path) == [raw_path, tmp_path / "t12.fits.fz", packed]
    for path in (packed, tmp_path / "t12.fits.fz"):
        other = CAMERA.read_frames(path)[0]
        assert other.exposure == frame.exposure
        np.testing.assert_array_equal(other.corners, frame.corners)
        np.testing.assert_array_equal(CAMERA.load(path).image, CAMERA.load(raw_path).image)


@pytest.mark.parametrize(
    ("cards", "sentence"),
    [
        ({"INSTRUME": "Other"}, "header key INSTRUME must be 'TestCam' in a raw of testcam, found 'Other'"),
        ({"INSTRUME": None}, "header key INSTRUME must be 'TestCam' in a raw of testcam, found nothing"),
        ({"SEQ": "x"}, "header key SEQ must be an integer from 0 to 9007199254740992 (seq_num), found 'x'"),
        ({"SEQ": 100000}, "header key SEQ must be an integer from 0 to 32767 (seq_num), found 100000"),
        (
            {"SEQ": None},
            "header key SEQ must be an integer from 0 to 9007199254740992 (seq_num), found nothing",
        ),
        (
            {"DATE_OBS": "21/11/26"},
            "header key DATE-OBS must be a date with time of day, of 1950 to 2179, in",
        ),
        ({"DATE_OBS": None}, "header key DATE-OBS must be a date with time of day, of 1950 to 2179 (begin)"),
        (
            {"EXPTIME": -1.0},
            "header key EXPTIME must be a number from 0 to 86400 [s] (exposure_time_s), found -1.0",
        ),
        ({"EXPTIME": True}, "header key EXPTIME must be a number from 0 to 86400 [s]"),
        ({"FILTER": "V"}, "header key FILTER must be one of the [filters] ('SDSS r*', 'SDSS g*'), found 'V'"),
        (
            {"FILTER": None},
            "header key FILTER must be one of the [filters] ('SDSS r*', 'SDSS g*'), found nothing",
        ),
        (
            {"IMAGETYP": "focus"},
            "header key IMAGETYP must be one of 'light*', 'zero', 'flat' (observation_type)",
        ),
        ({"IMAGETYP": None}, "header key IMAGETYP must be one of science, bias, dark"),
        (
            {"RA": "10 hours"},
            "header key RA must be a number from 0 to 360 [deg] or sexagesimal text (tracking_ra)",
        ),
        ({"DEC": 91.0}, "header key DEC must be a number from -90 to 90 [deg] or sexagesimal text"),
        ({"GAIN1": 0.0}, "header key GAIN1 must be a number above 0 to 1000 [e-/adu] (gain), found 0.0"),
        ({"GAIN2": None}, "header key GAIN2 must be a number above 0 to 1000 [e-/adu] (gain), found nothing"),
    ],
)
def test_a_wrong_header_value_is_one_sentence(tmp_path, cards, sentence):
    path = write_raw(tmp_path / "t.fits", **cards)
    with pytest.raises(FormatError) as caught:
        CAMERA.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)
    assert caught.value.context["key"] in sentence


def test_what_a_header_may_leave_out_is_left_open(tmp_path):
    [frame] = CAMERA.read_frames(write_raw(tmp_path / "t.fits", OBJECT=None, RA=None))
    assert (frame.target_name, frame.tracking_ra, frame.corners) == ("", None, None)


def test_a_bias_needs_no_filter_and_sees_no_sky(tmp_path):
    [frame] = CAMERA.read_frames(write_raw(tmp_path / "t.fits", IMAGETYP="zero", FILTER=None, EXPTIME=0.0))
    assert (frame.observation_type, frame.band, frame.physical_filter) == ("bias", "", "")
    assert not frame.can_see_sky
    assert frame.corners is None
    assert frame.begin_mjd_tai == frame.end_mjd_tai


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (
            np.zeros((6, 19), np.uint16),
            "overscan [18:20,1:6] of amplifier 'B' must lie in its HDU of 6 rows and 19",
        ),
        (np.zeros((2, 6, 20), np.uint16), "HDU 0 must hold an image of two axes"),
        (np.zeros(20, np.uint16), "HDU 0 must hold an image of two axes"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(tmp_path, pixels, sentence):
    path = write_raw(tmp_path / "t.fits", pixels=pixels)
    with pytest.raises(FormatError) as caught:
        CAMERA.load(path)
    assert sentence in str(caught.value)


def test_a_detector_that_the_file_does_not_hold_is_missing(raw_path):
    assert CAMERA.read_raw(raw_path, 3).info.detector == 3
    with pytest.raises(MissingDataError, match="holds the detectors 3, wanted is 4"):
        CAMERA.read_raw(raw_path, 4)


@pytest.mark.parametrize(
    "card", ["NAXIS1  =           9999999999", "NAXIS1  =                   -4", "NAXIS1  = 'many'"]
)
def test_an_absurd_size_is_refused_before_it_is_read(raw_path, card):
    content = raw_path.read_bytes()
    start = content.index(b"NAXIS1")
    raw_path.write_bytes(content[:start] + card.ljust(80).encode() + content[start + 80 :])
    with pytest.raises(FormatError, match=r"t12\.fits"):
        CAMERA.read_raw(raw_path)


@pytest.mark.parametrize(
    "card",
    [
        "SEQ     = \xe9\xe9",
        "SEQ     =",
        "SEQ     = NaN",
        "SEQ     = (1, 2)",
        "SEQ     = 'open",
        "SEQ     = 1 2 3",
        "SEQ",
    ],
)
def test_cards_that_are_none_are_refused(raw_path, card):
    content = raw_path.read_bytes()
    start = content.index(b"SEQ     =")
    raw_path.write_bytes(content[:start] + card.ljust(80).encode("latin-1") + content[start + 80 :])
    with pytest.raises(FormatError, match=r"t12\.fits.*SEQ"):
        CAMERA.read_frames(raw_path)
    assert any(reading.problem for _, readings in CAMERA.inspect(raw_path) for reading in readings)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_worse(tmp_path_factory, junk):
    path = tmp_path_factory.mktemp("junk") / "t.fits"
    path.write_bytes(junk)
    with pytest.raises(FormatError, match=r"t\.fits"):
        CAMERA.read_frames(path)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([key for key in HEADER if key != "INSTRUME"]),
    st.one_of(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), st.integers(), st.booleans()
    ),
)
def test_any_card_value_is_read_or_refused(tmp_path_factory, key, value):
    path = tmp_path_factory.mktemp("any") / "t.fits"
    try:
        write_raw(path, {key: value})
    except (ValueError, fits.VerifyError):
        return  # no FITS card can have this value
    try:
        CAMERA.load(path)
    except FormatError as exc:
        assert key in str(exc)  # noqa: PT017


def test_the_raws_below_a_folder_are_found_and_nothing_else(raw_path):
    folder = raw_path.parent
    (folder / "sub").mkdir()
    deep = write_raw(folder / "sub" / "t13.fits")
    (folder / ".tmp~host~1~0a~t14.fits").touch()
    (folder / "x.fits").touch()
    (folder / "t15.fits").mkdir()
    assert CAMERA.find_raws(folder) == [deep, raw_path]
    assert CAMERA.find_raws(folder / "nowhere") == []


def test_every_quantity_is_told_with_its_place(raw_path):
    [(detector, readings)] = CAMERA.inspect(raw_path)
    found = {reading.name: reading for reading in readings}
    assert detector == 3
    assert not [reading for reading in readings if reading.problem]
    assert (found["tracking_ra"].source, found["tracking_ra"].hdu) == ("RA", "0")
    assert (found["tracking_ra"].raw, found["tracking_ra"].unit) == ("10:00:24.0", "deg")
    assert found["sky_angle_deg"].source == "constant"
    assert found["day_obs"].source == "begin; a night begins at 16.72 h UTC"
    assert (found["A.gain"].source, found["A.gain"].value) == ("GAIN1", 1.5)
    assert found["middle of the image"].unit == "deg"


def test_all_problems_are_told_at_once(tmp_path):
    path = write_raw(tmp_path / "t.fits", EXPTIME="long", FILTER="V", GAIN2=0, pixels=raw_pixels()[:, :12])
    [(_, readings)] = CAMERA.inspect(path)
    problems = {reading.name for reading in readings if reading.problem}
    assert problems == {"exposure_time_s", "physical_filter", "B.gain", "sections"}


def test_the_first_alternative_that_applies_counts(tmp_path):
    alternatives = [
        {"value": "dark", "when": {"OBJECT": "dark*"}},
        "NOTHERE",
        {"value": "flat", "when": {"SEQ": 12}},
    ]
    given = changed("exposure.observation_type", [*alternatives, {"value": "arc"}])
    path = write_raw(tmp_path / "t.fits", OBJECT="dark 1")
    assert camera(given).read_frames(path)[0].observation_type == "dark"
    path = write_raw(tmp_path / "t.fits")
    assert camera(given).read_frames(path)[0].observation_type == "flat"
    path = write_raw(tmp_path / "t.fits", SEQ=13)
    assert camera(given).read_frames(path)[0].observation_type == "arc"


def test_values_come_from_file_names_and_joined_keywords(tmp_path):
    given = content()
    given["exposure"] |= {
        "seq_num": {"filename": r"t_(\d+)"},
        "begin": {"key": ["DAY", "UT"], "scale": "tai"},
        "science_program": {"key": "OBJECT", "pattern": r"field (\d)"},
    }
    path = write_raw(tmp_path / "t_0042.fits", {"DAY": "2026-11-21", "UT": "02:00:00"})
    [frame] = camera(given).read_frames(path)
    assert (frame.seq_num, frame.science_program) == (42, "7")
    assert frame.begin_mjd_tai == Time("2026-11-21T02:00:00", scale="tai").mjd
    with pytest.raises(FormatError, match=r"file name must be an integer"):
        camera(given).read_frames(write_raw(tmp_path / "t.fits", {"DAY": "2026-11-21", "UT": "02:00:00"}))


def test_exposures_may_be_counted_by_the_camera(tmp_path):
    given = changed("exposure.exposure_id", "EXPNUM")
    del given["exposure"]["seq_num"]
    [frame] = camera(given).read_frames(write_raw(tmp_path / "t.fits", EXPNUM=123456))
    assert (frame.exposure, frame.seq_num) == (123456, 123456)
    assert camera(given).pack_visit_detector(123456, 3) == 123456 * 4 + 3


def test_logical_cards_are_told_apart(tmp_path):
    by_map = {"key": "SHUT", "map": {"T": "bias", "F": "science"}}
    by_condition = [{"value": "bias", "when": {"SHUT": True}}, {"value": "arc"}]
    for told, value, kind in [
        (by_map, True, "bias"),
        (by_map, False, "science"),
        (by_condition, True, "bias"),
        (by_condition, False, "arc"),
        (by_condition, 1, "arc"),
    ]:
        path = write_raw(tmp_path / "t.fits", SHUT=value)
        [frame] = camera(changed("exposure.observation_type", told)).read_frames(path)
        assert frame.observation_type == kind


def test_an_end_before_the_beginning_is_refused(tmp_path):
    given = changed("exposure.end", "DATE-END")
    path = write_raw(tmp_path / "t.fits", {"DATE-END": "2026-11-21T01:59:00"})
    with pytest.raises(FormatError, match=r"header key DATE-END must be from .* to a day after it \(end\)"):
        camera(given).read_frames(path)


def test_sections_come_from_keywords(tmp_path):
    given = content()
    for index, amplifier in enumerate(given["amplifiers"], start=1):
        amplifier |= {"data": f"DATASEC{index}", "overscan": f"BIASSEC{index}", "assembled": f"DETSEC{index}"}
    given["detectors"][0] |= {"n_rows": 6, "n_columns": 10}
    cards = {"DATASEC1": "[3:7,1:6]", "BIASSEC1": "[8:10,1:6]", "DETSEC1": "[1:5,1:6]"}
    cards |= {"DATASEC2": "[13:17,1:6]", "BIASSEC2": "[18:20,1:6]", "DETSEC2": "[10:6,6:1]"}
    path = write_raw(tmp_path / "t.fits", cards)
    plain = write_raw(tmp_path / "plain.fits")
    np.testing.assert_array_equal(camera(given).load(path).image, CAMERA.load(plain).image)
    path = write_raw(tmp_path / "t.fits", cards, DATASEC2="[13:18,1:6]")
    with pytest.raises(
        FormatError, match=r"data \[13:18,1:6\] must have the shape of assembled \[10:6,6:1\]"
    ):
        camera(given).read_raw(path)
    path = write_raw(tmp_path / "t.fits", cards, DATASEC2="all")
    with pytest.raises(FormatError, match=r"header key DATASEC2 must be a section .* \(data\), found 'all'"):
        camera(given).read_raw(path)


def in_extensions(given):
    """The same camera with a second detector, both in extensions."""
    given["files"]["layout"] = "extensions"
    given["detectors"] = [
        {"detector": 3, "hdu": "CHIP3"},
        {"detector": 4, "hdu": "CHIP4", "gains": [3.0, 3.5]},
    ]
    return given


def write_extensions(path, names, **cards):
    primary = fits.PrimaryHDU()
    primary.header.update(HEADER)
    images = [fits.ImageHDU(raw_pixels() + 10 * index, name=name) for index, name in enumerate(names)]
    for image in images:
        image.header.update(cards)
    fits.HDUList([primary, *images]).writeto(path, overwrite=True)
    return path


def test_detectors_stand_in_named_extensions(tmp_path):
    two = camera(in_extensions(content()))
    path = write_extensions(tmp_path / "t.fits", ["CHIP4", "GUIDE", "CHIP3"])
    assert [frame.detector for frame in two.read_frames(path)] == [3, 4]
    assert two.read_raw(path, 3).pixels[0, 0] == 1020
    assert two.read_raw(path, 4).pixels[0, 0] == 1000
    assert [a.gain for a in two.read_raw(path, 4).amplifiers] == [3.0, 3.5]
    with pytest.raises(MissingDataError, match="wanted is one of them"):
        two.read_raw(path)
    part = write_extensions(tmp_path / "t.fits", ["CHIP4"])
    assert [frame.detector for frame in two.read_frames(part)] == [4]
    with pytest.raises(FormatError, match="holds none of the 2 detectors of testcam"):
        two.read_frames(write_extensions(tmp_path / "t.fits", ["GUIDE"]))


def test_detectors_are_told_by_a_keyword_of_the_extension(tmp_path):
    given = content()
    given["files"] |= {"layout": "extensions", "detector": "CCDNUM"}
    path = write_extensions(tmp_path / "t.fits", ["GUIDE", "A", "B"])
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["CCDNUM"] = 63
        hdus[2].header["CCDNUM"] = 3
    assert camera(given).read_raw(path).pixels[0, 0] == 1010
    with fits.open(path, mode="update") as hdus:
        hdus[3].header["CCDNUM"] = 3
    with pytest.raises(FormatError, match="detector 3 must stand in one extension, found two"):
        camera(given).read_frames(path)


def test_a_header_of_the_extension_goes_before_the_primary(tmp_path):
    two = camera(in_extensions(content()))
    path = write_extensions(tmp_path / "t.fits", ["CHIP3"], EXPTIME=45.0)
    assert two.read_frames(path)[0].exposure_time_s == 45.0
    only_primary = changed("exposure.exposure_time_s", {"key": "EXPTIME", "hdu": 0})
    assert camera(in_extensions(only_primary)).read_frames(path)[0].exposure_time_s == 30.0


def test_amplifiers_in_extensions_are_put_side_by_side(tmp_path):
    given = content()
    given["files"]["layout"] = "amplifiers"
    given["detectors"][0]["hdu"] = ["AMP1", 2]
    second = given["amplifiers"][1]
    second |= {"data": "[3:7,1:6]", "overscan": "[8:10,1:6]"}
    primary = fits.PrimaryHDU()
    primary.header.update(HEADER)
    pixels = raw_pixels()
    images = [fits.ImageHDU(pixels[:, :10], name="AMP1"), fits.ImageHDU(pixels[:, 10:])]
    images[1].header["GAIN2"] = 2.75  # of the extension, before that of the primary
    path = tmp_path / "t.fits"
    fits.HDUList([primary, *images]).writeto(path)
    raw = camera(given).read_raw(path)
    np.testing.assert_array_equal(raw.pixels, pixels)
    assert [a.gain for a in raw.amplifiers] == [1.5, 2.75]
    one_hdu = CAMERA.load(write_raw(tmp_path / "plain.fits", GAIN2=2.75))
    np.testing.assert_array_equal(camera(given).load(path).image, one_hdu.image)
    fits.HDUList([primary, images[0]]).writeto(path, overwrite=True)
    with pytest.raises(MissingDataError, match="has no HDU 2, an amplifier of detector T3"):
        camera(given).read_frames(path)
    fits.HDUList([primary, images[0], fits.ImageHDU(pixels[:5, 10:])]).writeto(path, overwrite=True)
    with pytest.raises(FormatError, match="must lie in its HDU of 5 rows"):
        camera(given).read_raw(path)


def test_which_of_the_detectors_a_file_holds_is_told_by_a_keyword(tmp_path):
    given = changed("files.detector", {"key": "CHIP", "map": {"left": 1, "right": 2}})
    given["detectors"] = [{"detector": 1}, {"detector": 2}]
    path = write_raw(tmp_path / "t.fits", CHIP="right")
    assert camera(given).read_frames(path)[0].detector == 2
    with pytest.raises(
        FormatError, match=r"header key CHIP must be one of 'left', 'right' \(detector\), found 'up'"
    ):
        camera(given).read_frames(write_raw(tmp_path / "t.fits", CHIP="up"))
    given["files"]["detector"] = "CHIP"
    with pytest.raises(FormatError, match=r"header key CHIP must be a detector of testcam \(1, 2\), found 3"):
        camera(given).read_frames(write_raw(tmp_path / "t.fits", CHIP=3))


SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.0,
    "CRVAL2": -29.0,
    "CRPIX1": 12.0,
    "CRPIX2": 3.0,
    "CD1_1": -1e-4,
    "CD2_2": 1e-4,
}


def test_coordinates_of_the_header_go_before_the_pointing(tmp_path):
    given = changed("wcs", {"pixels": "assembled"})
    wcs = camera(given).read_raw(write_raw(tmp_path / "t.fits", SKY)).wcs
    np.testing.assert_allclose(wcs.wcs_pix2world(11.0, 2.0, 0), (150.0, -29.0))
    given = changed("wcs", {"sources": ["boresight"]})
    wcs = camera(given).read_raw(write_raw(tmp_path / "t.fits", SKY)).wcs
    assert wcs.wcs.crval.tolist() == pytest.approx([150.1, -29.5])


def test_amplifiers_that_stand_in_place_need_no_place_and_shift_the_coordinates(tmp_path):
    given = content()
    first, second = given["amplifiers"]
    for amplifier in given["amplifiers"]:
        del amplifier["assembled"]
    del first["prescan"]
    first |= {"data": "[4:8,1:6]", "overscan": "[1:3,1:6]"}
    second |= {"data": "[9:13,1:6]", "overscan": "[14:20,1:6]"}
    raw = camera(given).read_raw(write_raw(tmp_path / "t.fits", SKY))
    assert [a.assembled for a in raw.amplifiers] == [(slice(0, 6), slice(0, 5)), (slice(0, 6), slice(5, 10))]
    np.testing.assert_allclose(raw.wcs.wcs_pix2world(11.0 - 3.0, 2.0, 0), (150.0, -29.0))


def test_coordinates_of_stored_pixels_need_amplifiers_in_place(tmp_path):
    path = write_raw(tmp_path / "t.fits", SKY)
    with pytest.raises(FormatError, match=r"with \[wcs\] pixels = 'stored' the data of the amplifiers must"):
        CAMERA.read_frames(path)
    [(_, readings)] = CAMERA.inspect(path)
    assert [reading.name for reading in readings if reading.problem] == ["wcs"]


def test_a_raw_knows_which_of_its_pixels_are_vignetted(tmp_path):
    path = write_raw(tmp_path / "t12.fits")
    assert camera().read_raw(path).vignetted is None
    given = changed("focal_plane.vignetted_from_mm", 1.6)
    found = camera(given).read_raw(path).vignetted
    assert found.shape == (6, 10)
    assert 0 < found.sum() < 60
    assert (camera(given).load(path).mask[found] & MASK_VIGNETTED).all()
    with pytest.raises(ConfigError, match=r"\[focal_plane\] vignetted_from_mm must be a number above 0"):
        camera(changed("focal_plane.vignetted_from_mm", 0))
