from importlib.metadata import EntryPoint

import pytest

from astra.errors import ConfigError
from astra.instruments import registry
from astra.instruments.base import Instrument


@pytest.fixture
def plug_in(monkeypatch):
    """Install an entry point of the group for the length of a test."""

    def install(name, value):
        entry = EntryPoint(name, value, registry.GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
        registry.get_instrument.cache_clear()

    yield install
    registry.get_instrument.cache_clear()


@pytest.mark.parametrize("name", ["sdss", "simcam"])
def test_cameras_that_come_with_astra_are_known(name):
    camera = registry.get_instrument(name)
    assert isinstance(camera, Instrument)
    assert camera.name == name
    assert name in registry.instrument_names()


def test_an_unknown_camera_is_an_error_that_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'nocam' is unknown; known are sdss, simcam"):
        registry.get_instrument("nocam")


def test_a_plug_in_is_a_camera_like_any_other(plug_in):
    plug_in("mycam", "astra.instruments.sdss:SdssCamera")
    assert registry.instrument_names() == ["mycam", "sdss", "simcam"]
    assert registry.get_instrument("mycam").name == "sdss"


def test_a_plug_in_that_is_no_camera_is_refused(plug_in):
    plug_in("mycam", "pathlib:Path")
    with pytest.raises(ConfigError, match="must be a subclass"):
        registry.get_instrument("mycam")
