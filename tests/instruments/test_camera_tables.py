import tomllib

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import ConfigError, MissingDataError
from astra.instruments.camera_tables import parse_camera, read_camera_file
from astra.instruments.toml_camera import TomlCamera
from tests.instruments.cameras import TWO_AMPLIFIERS, camera, changed, content

SECOND_DETECTOR = {"detector": 3, "name": "again"}


def test_a_camera_file_becomes_a_camera(tmp_path):
    path = tmp_path / "testcam.toml"
    path.write_text(TWO_AMPLIFIERS)
    found = TomlCamera.from_file(path)
    assert (found.name, found.pixel_scale_arcsec, len(found.detectors)) == ("testcam", 0.5, 1)
    detector = found.detector(3)
    assert (detector.n_rows, detector.n_columns) == (6, 10)
    assert (detector.x_mm, detector.y_mm, detector.rotation_deg) == (1.5, -0.6, 90.0)
    assert found.plan.site.longitude_deg == -70.8
    assert found.focal_plane.pixel_size_mm == 0.015


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("name", None, "name must be text that is not empty, found nothing"),
        (
            "name",
            "my cam",
            "name must be a word of at most 64 letters, digits and underscores, found 'my cam'",
        ),
        ("naem", "x", "naem is not a key of this table; 'name' is"),
        ("pixel_scale_arcsec", 0, "pixel_scale_arcsec must be a number above 0 [arcsec], found 0"),
        ("reference_gain", -1.0, "reference_gain must be a number above 0 [e-/adu], found -1.0"),
        ("files.patterns", [], "[files] patterns must be a list of patterns of file names"),
        ("files.patterns", "*", "[files] patterns must be a list of patterns of file names"),
        (
            "files.layout",
            "mosaic",
            "[files] layout must be one of 'detector', 'extensions', 'amplifiers', found",
        ),
        ("files.hdu", -1, "[files] hdu must be the number or the name of an HDU, found -1"),
        (
            "files.require",
            {"INSTRUME": ["a"]},
            "[files.require] INSTRUME must be the text, the number or the",
        ),
        ("files.pattern", "x", "[files] pattern is not a key of this table; 'patterns' is"),
        (
            "site.longitude_deg",
            400,
            "[site] longitude_deg must be a number from -180 to 360 [deg], found 400",
        ),
        (
            "site.latitude_deg",
            "30 N",
            "[site] latitude_deg must be a number from -90 to 90 [deg], found '30 N'",
        ),
        ("exposure", None, "exposure must be a table, found nothing"),
        ("exposure.begin", None, "[exposure] begin must be a keyword in capitals"),
        ("exposure.begin", "date", "[exposure] begin must be a keyword in capitals"),
        (
            "exposure.begin",
            {"key": "D", "format": "julian"},
            "[exposure.begin] format must be one of 'iso', 'mjd'",
        ),
        (
            "exposure.begin",
            {"key": "D", "scale": "ut1"},
            "[exposure.begin] scale must be one of 'utc', 'tai', 'tt'",
        ),
        ("exposure.begin", {"value": "soon"}, "[exposure.begin] value must be a date with time of day"),
        ("exposure.seq_num", None, "[exposure] seq_num must be given, or exposure_id"),
        (
            "exposure.exptime",
            "EXPTIME",
            "[exposure] exptime is not a key of this table; 'exposure_time_s' is",
        ),
        (
            "exposure.exposure_time_s",
            {"key": "T", "unit": "days"},
            "[exposure.exposure_time_s] unit must be one of",
        ),
        (
            "exposure.exposure_time_s",
            {"value": -3},
            "[exposure.exposure_time_s] value must be a number from 0 to",
        ),
        (
            "exposure.exposure_time_s",
            {"key": "T", "factor": "2"},
            "[exposure.exposure_time_s] factor must be a number",
        ),
        (
            "exposure.exposure_time_s",
            {"key": "T", "value": 3},
            "must have one of key, value and filename, found key and",
        ),
        ("exposure.exposure_time_s", {}, "must have one of key, value and filename, found none of them"),
        ("exposure.exposure_time_s", [], "[exposure] exposure_time_s must be a keyword in capitals"),
        (
            "exposure.exposure_time_s",
            [{"key": "T"}, "x"],
            "[exposure] exposure_time_s must be a keyword in capitals",
        ),
        (
            "exposure.exposure_time_s",
            ["T", {"kee": "T"}],
            "[exposure.exposure_time_s 2] must have one of key",
        ),
        ("exposure.obs_id", {"key": []}, "[exposure.obs_id] key must be a keyword in capitals, or a list"),
        (
            "exposure.obs_id",
            {"key": "A", "hdu": True},
            "[exposure.obs_id] hdu must be the number or the name",
        ),
        ("exposure.obs_id", {"key": "A", "hdu": -2}, "[exposure.obs_id] hdu must be the number or the name"),
        (
            "exposure.obs_id",
            {"key": "A", "joined_by": 3},
            "[exposure.obs_id] joined_by must be text, found 3",
        ),
        (
            "exposure.obs_id",
            {"filename": "b(.*"},
            "[exposure.obs_id] filename must be a regular expression with one",
        ),
        (
            "exposure.obs_id",
            {"filename": "b.*"},
            "[exposure.obs_id] filename must be a regular expression with one",
        ),
        (
            "exposure.obs_id",
            {"key": "A", "when": {"b": 1}},
            "[exposure.obs_id.when] b must be a keyword in capitals",
        ),
        (
            "exposure.observation_type",
            {"key": "A", "map": {"x": "sky"}},
            "x must be one of science, bias, dark, flat, arc, other, found 'sky'",
        ),
        (
            "fiducials",
            {"r": {"psf_sigma_pixel": 0}},
            "[fiducials.r] psf_sigma_pixel must be a number above 0",
        ),
        (
            "filters",
            {"V": "visual band"},
            "[filters] V must be a band, a word of at most 8 letters and digits",
        ),
        (
            "wcs",
            {"sources": ["astrometry"]},
            "[wcs] sources must be a list with some of 'header', 'boresight'",
        ),
        ("wcs", {"pixels": "raw"}, "[wcs] pixels must be one of 'assembled', 'stored', found 'raw'"),
        (
            "focal_plane.pixel_size_mm",
            15,
            "[focal_plane] pixel_size_mm must be a number above 0 to 1 [mm], found 15",
        ),
        ("focal_plane.flip_x", "yes", "[focal_plane] flip_x must be true or false, found 'yes'"),
        ("identifiers", {"max_seq_num": 0}, "[identifiers] max_seq_num must be an integer from 1"),
        (
            "identifiers",
            {"max_seq_num": 10**8},
            "[identifiers] max_seq_num must be smaller: 38 bits do not hold each night until 2044",
        ),
        (
            "amplifiers.0.name",
            "B",
            "[amplifiers 1] name must be a name that no other amplifier has, found 'B'",
        ),
        ("amplifiers.0.gain", 0, "[amplifiers 1] gain must be a number above 0 to 1000 [e-/adu], found 0"),
        (
            "amplifiers.0.gain",
            -1.5,
            "[amplifiers 1] gain must be a number above 0 to 1000 [e-/adu], found -1.5",
        ),
        ("amplifiers.0.gain", None, "[amplifiers 1] gain must be a keyword in capitals"),
        ("amplifiers.0.read_noise", "low", "[amplifiers 1] read_noise must be a keyword in capitals"),
        ("amplifiers.0.data", "[3:7]", "[amplifiers 1] data must be a section [x1:x2,y1:y2] counted from 1"),
        (
            "amplifiers.0.data",
            "datasec",
            "[amplifiers 1] data must be a section [x1:x2,y1:y2] counted from 1",
        ),
        ("amplifiers.0.linearity", ["a"], "[amplifiers 1] linearity must be a list of numbers"),
        (
            "amplifiers.0.linearity_type",
            "cubic",
            "[amplifiers 1] linearity_type must be one of 'polynomial',",
        ),
        (
            "amplifiers.0.linearity_type",
            "squared",
            "[amplifiers 1] linearity must be what its type needs: linearity_",
        ),
        ("amplifiers.0.is_dead", 1, "[amplifiers 1] is_dead must be true or false, found 1"),
        ("amplifiers.0.suspect", 0, "[amplifiers 1] suspect must be a number above 0"),
        (
            "amplifiers.0.parallel_overscan",
            "[2:6,7:9]",
            "amplifier 'A': parallel_overscan [2:6,7:9] must have the columns of data [3:7,1:6]",
        ),
        (
            "detectors.0.dead",
            ["C"],
            "[detectors 1] dead must be a list of names of amplifiers (A, B), found ['C']",
        ),
        ("amplifiers.0.readout_corner", "TOP", "[amplifiers 1] readout_corner must be one of 'LL', 'LR'"),
        (
            "amplifiers.1.readout_corner",
            "LR",
            "[amplifiers 2] readout_corner must be 'UR', by the order of the ends",
        ),
        ("amplifiers.0.datasec", "D", "[amplifiers 1] datasec is not a key of this table; 'data' is"),
        (
            "amplifiers.0.data",
            "[3:8,1:6]",
            "[detectors 1] amplifier 'A': data [3:8,1:6] must have the shape of assembled [1:5,1:6]",
        ),
        (
            "amplifiers.0.overscan",
            "[8:10,2:6]",
            "[detectors 1] amplifier 'A': overscan [8:10,2:6] must have the rows of data [3:7,1:6]",
        ),
        (
            "amplifiers.0.overscan",
            "[7:9,1:6]",
            "amplifier 'A': overscan [7:9,1:6] must not overlap data [3:7,1:6] of amplifier 'A'",
        ),
        (
            "amplifiers.1.overscan",
            "[7:9,1:6]",
            "amplifier 'B': overscan [7:9,1:6] must not overlap data [3:7,1:6] of amplifier 'A'",
        ),
        (
            "amplifiers.0.prescan",
            "[12:13,1:6]",
            "amplifier 'A': prescan [12:13,1:6] must not overlap data [13:17,1:6] of amplifier 'B'",
        ),
        (
            "amplifiers.1.data",
            "[7:11,1:6]",
            "amplifier 'B': data [7:11,1:6] must not overlap data [3:7,1:6] of amplifier 'A'",
        ),
        (
            "amplifiers.1.assembled",
            "[5:9,1:6]",
            "amplifier 'B': assembled [5:9,1:6] must not overlap assembled [1:5,1:6] of amplifier 'A'",
        ),
        (
            "amplifiers.1.assembled",
            "[7:11,1:6]",
            "[detectors 1] the assembled sections must tile an image of 6 rows and 11 columns",
        ),
        (
            "detectors.0.n_columns",
            9,
            "amplifier 'B': assembled [10:6,6:1] must lie in an image of 6 rows and 9 columns",
        ),
        ("detectors", [], "detectors must be an array with a table at least, found []"),
        ("detectors", None, "detectors must be an array of tables, written [[detectors]], found nothing"),
        (
            "detectors.0.detector",
            -1,
            "[detectors 1] detector must be an integer from 0 to 2147483647, found -1",
        ),
        (
            "detectors",
            [SECOND_DETECTOR] * 2,
            "[detectors 1] detector must be a number that no other detector has",
        ),
        (
            "detectors",
            [{"detector": 1}, {"detector": 2}],
            "[files] detector must be the keyword that tells which",
        ),
        ("detectors.0.gains", [1.0], "[detectors 1] gains must be a list of 2 values, each a number above 0"),
        (
            "detectors.0.gains",
            [1.0, 0.0],
            "[detectors 1] gains must be a list of 2 values, each a number above 0",
        ),
        (
            "detectors.0.hdu",
            "S1",
            "[detectors 1] hdu must be 0 numbers or names of HDUs in the layout 'detector'",
        ),
        ("detectors.0.defects", ["[1:2]"], "[detectors 1] defects must be a list of sections"),
        (
            "detectors.0.defects",
            ["[1:2,5:9]"],
            "[detectors 1] defects must be boxes in an image of 6 rows and 10",
        ),
        ("detectors.0.x", 3, "[detectors 1] x is not a key of this table"),
        ("amplifiers", None, "[detectors 1] amplifiers must be given as [[detectors.amplifiers]]"),
        (
            "defects_file",
            "absent.csv",
            "defects_file must be a CSV or FITS table with the integer columns detector",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(path, value, sentence, tmp_path):
    with pytest.raises(ConfigError) as caught:
        camera(changed(path, value), tmp_path)
    assert str(caught.value).startswith("testcam.toml: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_night_must_begin_somewhere():
    given = content()
    del given["site"]
    with pytest.raises(ConfigError, match=r"\[identifiers\] rollover_utc_h must be given, or \[site\]"):
        camera(given)
    given["identifiers"] = {"rollover_utc_h": 16.5}
    assert camera(given).plan.rollover_utc_h == 16.5


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"gone\.toml cannot be read: No such file"):
        read_camera_file(tmp_path / "gone.toml")
    path = tmp_path / "bad.toml"
    path.write_text("name = [")
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML in UTF-8: "):
        read_camera_file(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML in UTF-8: "):
        read_camera_file(path)


def test_a_detector_may_have_values_and_amplifiers_of_its_own():
    given = changed("detectors.0.gains", [1.1, 1.2])
    amplifiers = camera(given).plan.detectors[0].amplifiers
    assert [plan.values["gain"].sources[0].constant for plan in amplifiers] == [1.1, 1.2]
    only = {**given["amplifiers"][0], "name": "own", "gain": 3.0}
    amplifiers = camera(changed("detectors.0.amplifiers", [only])).plan.detectors[0].amplifiers
    assert [plan.name for plan in amplifiers] == ["own"]


@pytest.mark.parametrize("kind", ["csv", "fits"])
def test_boxes_of_bad_pixels_come_from_a_file_beside_the_camera(tmp_path, kind):
    path = tmp_path / f"boxes.{kind}"
    if kind == "csv":
        path.write_text("# a comment\ndetector,x0,y0,width,height\n3,4,0,2,3\n3,9,5,1,1\n")
    else:
        rows = np.array(
            [(3, 4, 0, 2, 3), (3, 9, 5, 1, 1)],
            dtype=[(name, "i4") for name in ("detector", "x0", "y0", "width", "height")],
        )
        fits.BinTableHDU(rows).writeto(path)
    bad = camera(changed("defects_file", path.name), tmp_path).plan.detectors[0].bad_pixels()
    expected = np.zeros((6, 10), bool)
    expected[0:3, 4:6] = expected[5, 9] = expected[:, 1] = True
    np.testing.assert_array_equal(bad, expected)


@pytest.mark.parametrize(
    "text",
    [
        "detector,x0,y0,width\n3,1,1,1\n",
        "detector,x0,y0,width,height\n3,1,1,0,1\n",
        "detector,x0,y0,width,height\n3,a,1,1,1\n",
    ],
)
def test_a_file_of_boxes_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(
        ConfigError, match=r"testcam\.toml: defects_file must be a CSV or FITS table .* found .*boxes"
    ):
        camera(changed("defects_file", "boxes.csv"), tmp_path)


def test_boxes_on_a_detector_that_is_not_there_are_refused(tmp_path):
    (tmp_path / "boxes.csv").write_text("detector,x0,y0,width,height\n7,1,1,1,1\n")
    with pytest.raises(ConfigError, match="boxes on the detectors given, not on 7"):
        camera(changed("defects_file", "boxes.csv"), tmp_path)


def test_a_camera_file_is_checked_as_a_whole_and_stays_as_it_is():
    given = tomllib.loads(TWO_AMPLIFIERS)
    parse_camera(given, "x", None)
    assert given == tomllib.loads(TWO_AMPLIFIERS)
