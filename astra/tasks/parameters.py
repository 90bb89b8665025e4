"""Parameter types that Luigi lacks."""

from __future__ import annotations

import os
from typing import Any

import luigi


class PathParameter(luigi.Parameter):
    """A file or folder, kept as an absolute path; empty stays empty."""

    def normalize(self, value: Any) -> Any:
        """Make one path, or each of a tuple, absolute."""
        if isinstance(value, (list, tuple)):
            return tuple(self.normalize(item) for item in value)
        return os.path.abspath(os.path.expanduser(value)) if value else value


class PathsParameter(luigi.Parameter):
    """Files or folders, separated by colons as in PATH; kept as absolute paths."""

    def normalize(self, value: Any) -> Any:
        """Make each path absolute."""
        if isinstance(value, (list, tuple)):
            value = os.pathsep.join(map(str, value))
        paths = [os.path.abspath(os.path.expanduser(item)) for item in value.split(os.pathsep) if item]
        return os.pathsep.join(paths)


class IdsParameter(luigi.Parameter):
    """A set of identifiers in one word, as in ``12^15^20..22``: kept sorted, without ranges.

    The value is text, so that a tuple of them is a batch of sets.
    """

    def parse(self, text: str) -> str:
        """Read ``a^b`` and inclusive ranges ``a..b``.

        Raises
        ------
        ValueError
            If a part is neither a number nor a range.
        """
        return str(self.normalize(text))

    def normalize(self, value: Any) -> Any:
        """Sort and join the identifiers; of a tuple, each."""
        if isinstance(value, (list, tuple)):
            return tuple(self.normalize(item) for item in value)
        if isinstance(value, int):
            return str(value)
        return "^".join(map(str, sorted({number for part in value.split("^") for number in _range(part)})))

    @staticmethod
    def ids(value: str) -> list[int]:
        """Return the identifiers of a value."""
        return [int(part) for part in value.split("^")] if value else []


def _range(part: str) -> range:
    """Read ``a`` or ``a..b``."""
    first, separator, last = part.strip().partition("..")
    if not part.strip():
        return range(0)
    try:
        start = int(first)
        stop = int(last) if separator else start
    except ValueError as exc:
        message = f"{part!r} is neither an identifier nor a range as in 3..7"
        raise ValueError(message) from exc
    if stop < start:
        message = f"the range {part!r} is empty: it must not end before it begins"
        raise ValueError(message)
    return range(start, stop + 1)
