"""``astra instrument``: the cameras, how they read a file, and a file to begin one's own with."""

import json
import re
import tomllib

import numpy as np
import pytest
from astropy.io import fits

from astra.cli import main
from astra.errors import ConfigError
from astra.instruments import camera_files
from astra.instruments.camera_tables import KINDS, parse_camera
from astra.instruments.registry import shipped_file
from tests.instruments.cameras import TWO_AMPLIFIERS, raw_pixels, write_raw


@pytest.fixture
def own_camera(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text(TWO_AMPLIFIERS)
    monkeypatch.setattr(camera_files, "_source", lambda: [path])
    return path


@pytest.fixture
def raw_path(tmp_path):
    return write_raw(tmp_path / "t12.fits")


def run(capsys, *arguments, status=0):
    assert main(["instrument", *map(str, arguments)]) == status
    return capsys.readouterr()


def test_cameras_are_listed_with_their_origin(capsys, own_camera):
    lines = run(capsys, "list").out.splitlines()
    assert lines[0].split() == ["name", "from", "place", "detectors", "amplifiers", "description"]
    rows = {row["name"]: row for row in json.loads(run(capsys, "list", "--json").out)}
    assert set(rows) == {"decam", "kast", "sdss", "simcam", "simcam1k", "testcam"}
    assert (rows["decam"]["detectors"], rows["decam"]["amplifiers"], rows["decam"]["from"]) == (
        62,
        124,
        "astra",
    )
    assert (rows["testcam"]["from"], rows["testcam"]["place"]) == ("file", str(own_camera))
    assert (rows["sdss"]["detectors"], rows["sdss"]["amplifiers"]) == (6, None)


def test_a_sound_file_is_told_line_by_line(capsys, own_camera, raw_path):
    lines = run(capsys, "check", raw_path, "--instrument", "testcam").out.splitlines()
    assert lines[0] == f"{raw_path}: camera testcam, detector 3 (T3)"
    row = next(line for line in lines if line.startswith("tracking_ra"))
    assert row.split() == ["tracking_ra", "RA", "0", "'10:00:24.0'", "150.1", "deg"]
    begin = next(line for line in lines if line.startswith("begin_mjd_tai"))
    assert "'2026-11-21T02:00:00'" in begin
    assert "(2026-11-21T02:00:37.0)" in begin
    assert lines[-1] == "nothing is wrong"


def test_the_camera_of_a_file_is_found_by_itself(capsys, own_camera, raw_path):
    assert "camera testcam" in run(capsys, "check", raw_path).out
    other = raw_path.with_name("other.fits")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(other)
    assert (
        "must be known to one camera, or be given --instrument" in run(capsys, "check", other, status=1).err
    )


def test_what_is_wrong_or_missing_is_said_and_the_exit_status_tells(capsys, own_camera, tmp_path):
    path = write_raw(tmp_path / "t.fits", EXPTIME="long", FILTER="V", OBJECT=None)
    lines = run(capsys, "check", path, "--camera", own_camera, status=1).out.splitlines()
    assert next(line for line in lines if line.startswith("exposure_time_s")).endswith("WRONG")
    assert next(line for line in lines if line.startswith("target_name")).endswith("missing")
    start = lines.index("problems: 2")
    assert lines[start + 1].startswith("detector 3: physical_filter: header key FILTER must be one of the")
    assert lines[start + 2].startswith("detector 3: exposure_time_s: header key EXPTIME must be a number")


def test_everything_is_said_as_json(capsys, own_camera, raw_path):
    report = json.loads(run(capsys, "check", raw_path, "--camera", own_camera, "--json").out)
    assert (report["instrument"], report["problems"], report["file"]) == ("testcam", 0, str(raw_path))
    [detector] = report["detectors"]
    readings = {reading["name"]: reading for reading in detector["readings"]}
    assert readings["B.gain"] == {
        "name": "B.gain",
        "source": "GAIN2",
        "hdu": "0",
        "raw": 2.5,
        "value": 2.5,
        "unit": "e-/adu",
        "problem": "",
    }


def test_pixels_tell_levels_and_noise(capsys, own_camera, tmp_path):
    rng = np.random.default_rng(1)
    given = TWO_AMPLIFIERS.replace(",1:6]", ",1:600]").replace(",6:1]", ",600:1]")
    own_camera.write_text(given)
    pixels = rng.normal(1000.0, 4.0 / 1.5, (600, 20))
    pixels[:, 2:7] += 500.0
    pixels[5, 4] = 65000
    path = write_raw(tmp_path / "t.fits", pixels=np.rint(pixels).astype(np.uint16))
    report = json.loads(run(capsys, "check", path, "--camera", own_camera, "--pixels", "--json").out)
    found = {reading["name"]: reading["value"] for reading in report["detectors"][0]["readings"]}
    assert found["A.median"] == pytest.approx(1500.0, abs=1.0)
    assert found["A.overscan_level"] == pytest.approx(1000.0, abs=1.0)
    assert found["A.overscan_noise"] == pytest.approx(4.0, rel=0.3)
    assert (found["A.saturated"], found["B.saturated"]) == (1, 0)


def test_a_wrong_camera_file_is_one_sentence(capsys, own_camera, raw_path):
    own_camera.write_text(TWO_AMPLIFIERS.replace('gain = "GAIN1"', "gain = 0"))
    for arguments in ((raw_path, "--camera", own_camera), ("--camera", own_camera), (raw_path,)):
        error = run(capsys, "check", *arguments, status=1).err
        assert error == (
            f"astra: {own_camera}: [amplifiers 1] gain must be a number above 0 to 1000 [e-/adu], found 0\n"
        )


def test_a_camera_file_can_be_checked_alone(capsys, own_camera):
    assert (
        run(capsys, "check", "--camera", own_camera).out
        == f"{own_camera} is sound: camera testcam, detectors: 1\n"
    )
    assert json.loads(run(capsys, "check", "--camera", own_camera, "--json").out)["problems"] == 0
    assert "needs a raw file" in run(capsys, "check", status=1).err


def test_files_that_are_not_there_or_no_raw_are_said(capsys, own_camera, tmp_path):
    error = run(capsys, "check", tmp_path / "gone.fits", "--camera", own_camera, status=1).err
    assert "gone.fits cannot be read" in error
    (tmp_path / "junk.fits").write_bytes(b"\x1b[2Jjunk")
    error = run(capsys, "check", tmp_path / "junk.fits", "--camera", own_camera, status=1).err
    assert "junk.fits is not a usable FITS file" in error
    assert "\x1b" not in error


def test_text_of_a_header_cannot_move_the_cursor(capsys, own_camera, raw_path):
    """A card with an escape sequence, which astropy itself would not write."""
    given = raw_path.read_bytes()
    start = given.index(b"'field 7 '")
    raw_path.write_bytes(given[:start] + b"'fi\x1b[2J  '" + given[start + 10 :])
    text = run(capsys, "check", raw_path, "--camera", own_camera).out
    assert "target_name" in text
    assert "\x1b" not in text


def test_one_detector_of_several_is_shown(capsys, tmp_path):
    camera = tmp_path / "two.toml"
    text = TWO_AMPLIFIERS.replace('layout = "detector"', 'layout = "extensions"')
    head, _, _ = text.partition("[[detectors]]")
    camera.write_text(head + '[[detectors]]\ndetector = 1\nhdu = 1\n[[detectors]]\ndetector = 2\nhdu = "B"\n')
    write_raw(tmp_path / "plain.fits")
    header = fits.getheader(tmp_path / "plain.fits")
    images = [fits.ImageHDU(raw_pixels(), name=name) for name in ("A", "B")]
    images[1].header["EXPTIME"] = -1.0
    fits.HDUList([fits.PrimaryHDU(None, header), *images]).writeto(tmp_path / "t.fits")
    text = run(capsys, "check", tmp_path / "t.fits", "--camera", camera, status=1).out
    assert "detector 1 (1)" in text
    assert "further detectors: 2" in text
    assert "detector 2: exposure_time_s: header key EXPTIME" in text
    text = run(capsys, "check", tmp_path / "t.fits", "--camera", camera, "--detector", 1).out
    assert "nothing is wrong" in text
    error = run(capsys, "check", tmp_path / "t.fits", "--camera", camera, "--detector", 3, status=1).err
    assert "holds the detectors 1, 2, wanted is 3" in error


def test_a_camera_without_a_file_is_told_by_its_records(capsys, shared_data):
    path = next((shared_data / "sdss_s82").rglob("fpC-004192-r4-0300.fit*"))
    text = run(capsys, "check", path).out
    assert "camera sdss, detector 4 (camcol4)" in text
    assert "419220300" in text


def test_the_template_is_a_camera_and_names_every_key(capsys):
    text = run(capsys, "template").out
    plan = parse_camera(tomllib.loads(text), "template", shipped_file("template.toml").parent)
    assert plan.name == "mycam"
    assert all(f"\n{name} =" in text or f"\n# {name} =" in text for name in KINDS)


OPTIONAL = re.findall(r"^# (\w+ = .*)$", shipped_file("template.toml").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("line", OPTIONAL, ids=lambda line: line.partition(" ")[0])
def test_each_line_that_the_template_leaves_out_may_be_put_in(line):
    """It is a key of its table; that another one then has to change is another matter."""
    text = shipped_file("template.toml").read_text().replace(f"\n# {line}", f"\n{line}", 1)
    try:
        parse_camera(tomllib.loads(text), "template", shipped_file("template.toml").parent)
    except ConfigError as exc:
        assert "is not a key" not in str(exc)  # noqa: PT017
        assert line.partition(" ")[0] in str(exc) or "max_seq_num" in str(exc)  # noqa: PT017
