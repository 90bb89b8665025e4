"""The templates of the package sdss-tree, read from its files: nothing of it is imported.

Its files name each other as ``base``; a release has what its bases have, and overrides it.
"""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from astra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = "sdss-tree"
_TOP = "@FILESYSTEM@"


@dataclass(frozen=True)
class TreeRelease:
    """What the files say of a release.

    Parameters
    ----------
    templates : mapping of str to str
        Template of each product.
    roots : mapping of str to str
        Folders that templates begin with: relative to the SAS, absolute, or beginning with others.
    """

    templates: Mapping[str, str]
    roots: Mapping[str, str]


def tree_folder() -> Path | None:
    """Return the folder of the files: that below ``TREE_DIR``, else that of the installed package, if any."""
    named = os.environ.get("TREE_DIR")
    if named and (Path(named) / "data").is_dir():
        return Path(named) / "data"
    return _installed_folder()


@lru_cache(maxsize=1)
def _installed_folder() -> Path | None:
    try:
        found = files(PACKAGE) or []
    except PackageNotFoundError:
        return None
    return next((Path(str(path.locate())).parent for path in found if path.name == "sdsswork.cfg"), None)


def tree_releases(folder: Path) -> list[str]:
    """Return the names of the releases that a folder has files of."""
    return sorted(path.stem for path in folder.glob("*.cfg") if not path.stem.endswith("work"))


@lru_cache(maxsize=32)
def read_tree(folder: Path, release: str) -> TreeRelease:
    """Read what the files say of a release.

    Parameters
    ----------
    folder : Path
        With a file ``<release>.cfg``, as sdss-tree has them in its ``data``.
    release : str
        Name of the release.

    Returns
    -------
    release : TreeRelease
        Empty if there is no such file.

    Raises
    ------
    ConfigError
        If a file cannot be read, or they name each other in a circle.
    """
    if not (folder / f"{release}.cfg").is_file():
        return TreeRelease({}, {})
    parser = _parser()
    for path in _chain(folder, release):
        _read(parser, path)
    if parser.has_section("EBOSS"):
        parser.remove_section("BOSS")  # the later survey took its folders over
    defaults = set(parser.defaults())
    roots: dict[str, str] = {}
    for section in parser.sections():
        if section != "PATHS":
            names = [name for name in parser.options(section) if name not in defaults]
            roots |= {name.upper(): _below_top(_value(parser, section, name)) for name in names}
    templates = {}
    if parser.has_section("PATHS"):
        names = [name for name in parser.options("PATHS") if name not in defaults]
        templates = {name: _value(parser, "PATHS", name) for name in names}
    return TreeRelease(MappingProxyType(templates), MappingProxyType(roots))


def _parser() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


def _read(parser: configparser.ConfigParser, path: Path) -> None:
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as exc:
        message = f"{path} cannot be read as a file of {PACKAGE}: {exc}"
        raise ConfigError(message, path=str(path)) from exc


def _chain(folder: Path, release: str) -> list[Path]:
    """Return the files of a release, its bases first."""
    paths: list[Path] = []
    name = release
    while name:
        path = folder / f"{name}.cfg"
        if path in paths:
            message = f"{path} is a base of itself"
            raise ConfigError(message, path=str(path))
        paths.insert(0, path)
        parser = _parser()
        _read(parser, path)
        name = parser.defaults().get("base", "")
    return paths


def _value(parser: configparser.ConfigParser, section: str, name: str) -> str:
    """Return a value; as it stands if it names what no file defines."""
    try:
        return parser.get(section, name)
    except configparser.InterpolationError:
        return parser.get(section, name, raw=True)


def _below_top(value: str) -> str:
    """Return a folder relative to the SAS if it is below it."""
    if value == _TOP:
        return "."
    return re.sub(f"^{_TOP}/+", "", value).rstrip("/")
