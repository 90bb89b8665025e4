"""The folder of the demonstration: known by a file that says so, and never another's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astra.errors import ConfigError

MARKER = "demo.json"
LOG = Path("logs") / "demo.log"
OWN = ("simulation", "products", "alerts", "provenance", "reports", "logs")
OWN_FILES = ("astra.db", "astra.db-wal", "astra.db-shm", "astra.db-journal")
MADE_BY = "the demonstration of astra"


def prepare_folder(folder: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
    """Make a folder that of a demonstration, or look whether it is.

    Parameters
    ----------
    folder : Path
        The folder; it need not exist.
    settings : mapping
        What distinguishes one demonstration from another.
    fresh : bool, optional
        Remove what an earlier one has made in it.

    Raises
    ------
    ConfigError
        If it holds anything else, or the demonstration with other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name another with --output-root", folder=str(folder))
    found = _read_marker(folder)
    if found is None and folder.is_dir() and any(folder.iterdir()):
        message = (
            f"{folder} is not empty, and no demonstration has made it ({MARKER} is missing); "
            "name another folder with --output-root"
        )
        raise ConfigError(message, folder=str(folder))
    if found is not None and fresh:
        clear_folder(folder)
    elif found is not None and found != dict(settings):
        was = ", ".join(f"{name} {value}" for name, value in found.items())
        message = (
            f"{folder} holds the demonstration with {was}; start over with --fresh, or name another folder "
            "with --output-root"
        )
        raise ConfigError(message, folder=str(folder))
    _write_marker(folder, settings)


def clear_folder(folder: Path) -> None:
    """Remove what a demonstration has made in its folder, and nothing else; links are not followed."""
    for name in (*OWN, *OWN_FILES):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _read_marker(folder: Path) -> dict[str, Any] | None:
    """Return the settings in the marker of a folder; None without one, or if it is another's."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.pop("made_by", None) != MADE_BY:
        return None
    return content


def _write_marker(folder: Path, settings: Mapping[str, Any]) -> None:
    from astra.products.atomic import write_text

    try:
        (folder / LOG).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / MARKER, json.dumps({"made_by": MADE_BY, **settings}) + "\n")
    except OSError as exc:
        message = f"{folder} cannot be written: {exc.strerror}; name another folder with --output-root"
        raise ConfigError(message, folder=str(folder)) from exc
