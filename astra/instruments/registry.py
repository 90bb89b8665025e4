"""The cameras that this installation knows, by name.

Two come with astra; others register a class under the entry-point group ``astra.instruments``.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

from astra.errors import ConfigError
from astra.instruments.base import Instrument

GROUP = "astra.instruments"
BUILT_IN = {
    "sdss": "astra.instruments.sdss:SdssCamera",
    "simcam": "astra.instruments.simcam:SimCam",
}


def instrument_names() -> list[str]:
    """Names of all known cameras, sorted."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


@lru_cache(maxsize=32)
def get_instrument(name: str) -> Instrument:
    """Return the camera of a given name; its module is imported at the first call.

    Parameters
    ----------
    name : str
        One of `instrument_names`. A plug-in's name takes precedence over a built-in one.

    Raises
    ------
    ConfigError
        If no camera has this name, or the plug-in is not an `Instrument`.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return _make(name, entry.load())
    if name not in BUILT_IN:
        known = ", ".join(instrument_names())
        raise ConfigError(f"instrument {name!r} is unknown; known are {known}", instrument=name)
    module, attribute = BUILT_IN[name].split(":")
    return _make(name, getattr(import_module(module), attribute))


def _make(name: str, factory: object) -> Instrument:
    """Instantiate a camera class and check that it is one."""
    if not (isinstance(factory, type) and issubclass(factory, Instrument)):
        raise ConfigError(
            f"instrument {name!r} must be a subclass of astra.instruments.base.Instrument, found {factory!r}",
            instrument=name,
        )
    return factory()
