import os
from importlib.metadata import EntryPoint
from pathlib import Path

import luigi
import pytest

from astra import config
from astra.errors import ConfigError
from astra.instruments import camera_files, registry
from astra.instruments.base import Instrument
from tests.instruments.cameras import TWO_AMPLIFIERS

CAMERA_PATH = Path(__file__).parent / "plug_in.toml"


@pytest.fixture
def plug_in(monkeypatch):
    """Install an entry point of the group for the length of a test."""

    def install(name, value):
        entry = EntryPoint(name, value, registry.GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
        registry.forget_cameras()

    yield install
    registry.forget_cameras()


@pytest.mark.parametrize("name", ["decam", "kast", "sdss", "simcam", "simcam1k"])
def test_cameras_that_come_with_astra_are_known(name):
    camera = registry.get_instrument(name)
    assert isinstance(camera, Instrument)
    assert camera.name == name
    assert name in registry.instrument_names()


def test_an_unknown_camera_is_an_error_that_names_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"'nocam' is unknown; known are decam, kast, sdss, simcam, simcam1k"
    ):
        registry.get_instrument("nocam")


def test_a_plug_in_is_a_camera_like_any_other(plug_in):
    plug_in("mycam", "astra.instruments.sdss:SdssCamera")
    assert registry.instrument_names() == ["decam", "kast", "mycam", "sdss", "simcam", "simcam1k"]
    assert registry.get_instrument("mycam").name == "sdss"


def test_a_plug_in_that_is_no_camera_is_refused(plug_in):
    plug_in("mycam", "pathlib:Path")
    with pytest.raises(ConfigError, match="must be a subclass"):
        registry.get_instrument("mycam")


@pytest.fixture
def use(monkeypatch):
    """Make camera files known for the length of a test."""

    def name_files(*paths):
        monkeypatch.setattr(camera_files, "_source", lambda: paths)

    return name_files


@pytest.fixture
def own_camera(tmp_path, use):
    """A camera file of the user's, made known for the length of a test."""
    path = tmp_path / "mine.toml"
    path.write_text(TWO_AMPLIFIERS)
    use(path)
    return path


def test_a_plug_in_may_be_an_object_or_the_path_of_a_file(plug_in, monkeypatch, tmp_path):
    path = tmp_path / "packaged.toml"
    path.write_text(TWO_AMPLIFIERS)
    plug_in("mycam", "tests.instruments.test_registry:CAMERA_PATH")
    monkeypatch.setattr("tests.instruments.test_registry.CAMERA_PATH", path)
    assert registry.get_instrument("mycam").name == "testcam"
    registry.forget_cameras()
    camera = registry.get_instrument("sdss")
    monkeypatch.setattr("tests.instruments.test_registry.CAMERA_PATH", camera)
    assert registry.get_instrument("mycam") is camera


def test_a_file_of_ones_own_is_a_camera_like_any_other(own_camera, use):
    assert registry.get_instrument("testcam").detector(3).name == "T3"
    origin = next(origin for origin in registry.instrument_origins() if origin.name == "testcam")
    assert (origin.kind, origin.place) == ("file", str(own_camera))
    use()
    with pytest.raises(ConfigError, match="'testcam' is unknown"):
        registry.get_instrument("testcam")


def test_a_file_goes_before_a_camera_of_astra(tmp_path, use):
    path = tmp_path / "mine.toml"
    path.write_text(TWO_AMPLIFIERS.replace('name = "testcam"', 'name = "kast"'))
    use(path)
    assert registry.get_instrument("kast").detectors[0].name == "T3"
    use()
    assert registry.get_instrument("kast").detectors[0].name == "blue"


def test_two_files_of_one_name_are_refused(own_camera, use, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(TWO_AMPLIFIERS)
    use(own_camera, other)
    with pytest.raises(ConfigError, match=r"mine\.toml and .*other\.toml both have the name 'testcam'"):
        registry.get_instrument("testcam")


def test_a_wrong_file_is_said_when_a_camera_is_asked_for(tmp_path, use):
    path = tmp_path / "wrong.toml"
    path.write_text("name = 'x'")
    use(path)
    with pytest.raises(ConfigError, match=r"wrong\.toml: pixel_scale_arcsec must be"):
        registry.get_instrument("x")


def test_luigi_cfg_names_the_files(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TWO_AMPLIFIERS)
    luigi.configuration.get_config().set("astra", "instruments", f"{tmp_path / 'mine.toml'}{os.pathsep}")
    try:
        assert config.instrument_files() == [path]
        assert registry.get_instrument("testcam").name == "testcam"
    finally:
        luigi.configuration.get_config().remove_option("astra", "instruments")
    assert config.instrument_files() == []


@pytest.mark.parametrize("name", [name for name, place in registry.BUILT_IN.items() if ".toml" in place])
def test_shipped_files_have_the_name_they_go_by(name):
    assert registry.get_instrument(name).name == name
