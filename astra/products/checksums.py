"""Checksums of files: those of files read more than once, computed once for each state, and those given."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from stat import S_ISREG

from astra.errors import DataError, FormatError
from astra.products.atomic import checksum

MAX_KNOWN = 100_000  # files; beyond it the oldest half is forgotten

_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}  # by number of hexadecimal digits
_HEADERS = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}  # names in HTTP

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


def require_checksum(path: str | Path, expected: str, *, name: str) -> None:
    """Refuse a file that has not its checksum.

    Parameters
    ----------
    path : str or Path
        The file.
    expected : str
        MD5, SHA-1, SHA-256 or SHA-512, hexadecimal; the number of digits tells which.
    name : str
        What the file is called in the message.

    Raises
    ------
    DataError
        If it has another.
    FormatError
        If ``expected`` is no checksum.
    """
    wanted = expected.strip().lower()
    algorithm = _ALGORITHMS.get(len(wanted))
    if algorithm is None or not re.fullmatch("[0-9a-f]+", wanted):
        message = f"{expected!r} must be an MD5, SHA-1, SHA-256 or SHA-512 in hexadecimal digits"
        raise FormatError(message, checksum=expected)
    with Path(path).open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found != wanted:
        message = f"{name} must have the {algorithm} {wanted}, but has {found}"
        raise DataError(message, expected=wanted, found=found)


def digests_in(headers: Message) -> set[str]:
    """Return the checksums that an HTTP header gives of its body, hexadecimal.

    Read are ``Repr-Digest`` and ``Content-Digest`` (RFC 9530), ``Digest`` (RFC 3230) and ``Content-MD5``.
    What is of another kind, or cannot be read, is left out.
    """
    items = [f"md5={headers['Content-MD5']}"] if headers.get("Content-MD5") else []
    for name in ("Repr-Digest", "Content-Digest", "Digest"):
        items += [item for value in headers.get_all(name, []) for item in str(value).split(",")]
    found = set()
    for item in items:
        name, _, value = item.strip().partition("=")
        digits = _digits(value.strip(":"))
        if _ALGORITHMS.get(len(digits)) == _HEADERS.get(name.strip().lower(), ""):
            found.add(digits)
    return found


def read_checksums(path: str | Path) -> dict[str, str]:
    """Read a list of checksums, as ``sha1sum``, ``sha256sum``, ``sha512sum`` and ``md5sum`` write it.

    Parameters
    ----------
    path : str or Path
        The list: a checksum and a file in each line.

    Returns
    -------
    checksums : dict of str to str
        By path, as it stands in the list but for a leading ``./``.

    Raises
    ------
    FormatError
        If a line is not like that, or it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{path} cannot be read as a list of checksums: {exc}"
        raise FormatError(message, path=str(path)) from exc
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([0-9a-fA-F]+) [ *](.+)", line)
        if match is None or len(match[1]) not in _ALGORITHMS:
            message = f"line {number} of {path} must be a checksum and a file, as sha1sum writes it"
            raise FormatError(message, path=str(path), line=number)
        found[match[2].removeprefix("./")] = match[1].lower()
    return found


def _digits(text: str) -> str:
    """Return what stands in base64 as hexadecimal digits; empty if it cannot be read."""
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
