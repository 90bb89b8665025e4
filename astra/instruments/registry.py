"""The cameras that this installation knows, by name.

Some come with astra. A user's own is a TOML file, named in ``[astra] instruments`` of luigi.cfg (by
`astra.instruments.camera_files`), or comes with a package under the entry-point group ``astra.instruments``:
a class, an object, or the path of a TOML file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from astra.errors import ConfigError
from astra.instruments.base import Instrument
from astra.instruments.camera_files import camera_files

GROUP = "astra.instruments"
BUILT_IN = {
    "decam": "decam.toml",
    "kast": "kast.toml",
    "sdss": "astra.instruments.sdss:SdssCamera",
    "simcam": "simcam.toml",
    "simcam1k": "simcam1k.toml",
}


@dataclass(frozen=True)
class Origin:
    """Where a camera comes from.

    Parameters
    ----------
    name : str
        The camera's name.
    kind : str
        ``astra``, ``entry point`` or ``file``.
    place : str
        Module and class, the entry point's value, or the path of the file.
    """

    name: str
    kind: str
    place: str


def instrument_origins() -> list[Origin]:
    """Return where each known camera comes from, sorted by name.

    A file's camera takes precedence over an entry point's, and that over one of astra's.

    Raises
    ------
    ConfigError
        If a camera's file is wrong, or two have one name.
    """
    found = {name: Origin(name, "astra", place) for name, place in BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        found[entry.name] = Origin(entry.name, "entry point", entry.value)
    for path in camera_files():
        name = _read(path).name
        known = found.get(name)
        if known is not None and known.kind == "file":
            message = f"the camera files {known.place} and {path} both have the name {name!r}"
            raise ConfigError(message, instrument=name, file=str(path))
        found[name] = Origin(name, "file", str(path))
    return [found[name] for name in sorted(found)]


def instrument_names() -> list[str]:
    """Names of all known cameras, sorted."""
    return [origin.name for origin in instrument_origins()]


def get_instrument(name: str) -> Instrument:
    """Return the camera of a given name; its module or file is read at the first call.

    Parameters
    ----------
    name : str
        One of `instrument_names`.

    Raises
    ------
    ConfigError
        If no camera has this name, its file is wrong, or the plug-in is not an `Instrument`.
    """
    return _get(name, camera_files())


def forget_cameras() -> None:
    """Read cameras anew when they are next asked for."""
    _get.cache_clear()


@lru_cache(maxsize=32)
def _get(name: str, own: tuple[Path, ...]) -> Instrument:
    """Find and make a camera, once for each list of files of one's own."""
    del own  # the key of the cache alone
    origins = {origin.name: origin for origin in instrument_origins()}
    if name not in origins:
        known = ", ".join(origins)
        raise ConfigError(f"instrument {name!r} is unknown; known are {known}", instrument=name)
    origin = origins[name]
    if origin.kind == "entry point":
        entry = next(entry for entry in entry_points(group=GROUP) if entry.name == name)
        return _make(name, entry.load())
    if origin.kind == "file":
        return _read(Path(origin.place))
    if origin.place.endswith(".toml"):
        return _read(shipped_file(origin.place))
    module, attribute = origin.place.split(":")
    return _make(name, getattr(import_module(module), attribute))


def shipped_file(name: str) -> Path:
    """Path of a camera file that comes with astra."""
    return Path(str(files("astra.instruments") / "cameras" / name))


def _read(path: Path) -> Instrument:
    """Read a camera's file."""
    from astra.instruments.toml_camera import TomlCamera

    return TomlCamera.from_file(path)


def _make(name: str, plug_in: object) -> Instrument:
    """Make a camera of what a plug-in gives: an object, a class, or the path of a file."""
    if isinstance(plug_in, Instrument):
        return plug_in
    if isinstance(plug_in, str | Path):
        return _read(Path(plug_in))
    if isinstance(plug_in, type) and issubclass(plug_in, Instrument):
        return plug_in()
    message = (
        f"instrument {name!r} must be a subclass or an object of astra.instruments.base.Instrument, "
        f"or the path of a TOML file, found {plug_in!r}"
    )
    raise ConfigError(message, instrument=name)
