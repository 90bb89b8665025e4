"""Checksums of files that are read more than once: computed once for each state of a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG

from astra.products.atomic import checksum

MAX_KNOWN = 100_000  # files; beyond it the oldest half is forgotten

_known: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True)
class FileStamp:
    """A file at one moment.

    Parameters
    ----------
    path : str
        Absolute path.
    size : int
        [byte]
    modified_ns : int
        Time of its last change [ns since 1970].
    checksum : str
        SHA-256, hexadecimal; empty if it is not known.
    """

    path: str
    size: int
    modified_ns: int
    checksum: str = ""

    @property
    def state(self) -> tuple[str, int, int]:
        """Path, size and time of change."""
        return self.path, self.size, self.modified_ns


def stamp(path: str | Path) -> FileStamp | None:
    """Return what a look at a file tells without reading it; None if it is no file, or not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not S_ISREG(found.st_mode):
        return None
    return FileStamp(os.path.abspath(path), found.st_size, found.st_mtime_ns)


def learn(checksums: Mapping[tuple[str, int, int], str]) -> None:
    """Take over checksums that are known from elsewhere, by path, size [byte] and time of change [ns]."""
    if len(_known) + len(checksums) > MAX_KNOWN:
        for key in list(_known)[: MAX_KNOWN // 2]:
            del _known[key]
    _known.update(checksums)


def unknown(stamps: Iterable[FileStamp]) -> list[FileStamp]:
    """Return the stamps whose checksum would have to be computed."""
    return [found for found in stamps if found.state not in _known]


def with_checksum(before: FileStamp) -> FileStamp:
    """Return a stamp with its checksum; empty if the file is gone, or no longer as the stamp says."""
    if before.state in _known:
        return replace(before, checksum=_known[before.state])
    try:
        digest = checksum(before.path)
    except OSError:
        return before
    if stamp(before.path) != before:
        return before
    learn({before.state: digest})
    return replace(before, checksum=digest)
