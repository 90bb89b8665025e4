"""Where the files of a user's own cameras are named: whoever reads the configuration says so here.

It imports nothing, so that this can be said before a camera is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def _none() -> Sequence[Path]:
    return ()


_source: Callable[[], Sequence[Path]] = _none


def look_for_camera_files(source: Callable[[], Sequence[Path]] = _none) -> None:
    """Let a function name the TOML files of further cameras.

    Parameters
    ----------
    source : callable
        Returns the paths; it is called whenever a camera is asked for. By default there are none.
    """
    global _source  # noqa: PLW0603  (one configuration for a process)
    _source = source


def camera_files() -> tuple[Path, ...]:
    """Return the files that are named now, as absolute paths."""
    return tuple(Path(path).expanduser().absolute() for path in _source())
