"""Files that appear whole or not at all, their checksums, and the leftovers of killed writers."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

TEMPORARY_PATTERN = re.compile(r"^\.tmp~(?P<host>[^~]*)~(?P<pid>\d+)~[0-9a-f]+~")
_CHUNK_BYTES = 1 << 20
_LONGEST_KEPT_NAME_BYTES = 120  # with host and pid it stays below the 255 bytes that file systems allow


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside the target; on success it becomes the target, else it is removed.

    The file is flushed to disk before it is renamed, and the rename replaces an older target in one
    step, so that a reader, or a run after a crash, sees the old file, the new one or none. The
    temporary name ends as the target's does (compression by suffix works) and carries host and
    process id for `sweep_leftovers`.

    Parameters
    ----------
    path : Path or str
        Where the file must appear; missing folders are made.

    Yields
    ------
    temporary : Path
        Where to write.

    Raises
    ------
    FileNotFoundError
        If the block ended without writing the temporary file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / _temporary_name(target.name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(target)
        _flush_to_disk(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to a file that appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, content: str) -> None:
    """Write ``content``, as UTF-8, to a file that appears whole or not at all."""
    write_bytes(path, content.encode())


def checksum(path: Path | str) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_temporary(path: Path | str) -> bool:
    """Whether a path is a file that `atomic_path` has not finished."""
    return TEMPORARY_PATTERN.match(Path(path).name) is not None


def sweep_leftovers(folder: Path | str) -> list[Path]:
    """Remove what writers of this host that no longer live have left below a folder.

    Files of other hosts stay, since nothing here can tell whether their writers live.

    Returns
    -------
    removed : list of Path
        The files removed, sorted.
    """
    leftovers = [path for path in Path(folder).rglob(".tmp~*") if _is_abandoned(path.name)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return sorted(leftovers)


def _temporary_name(name: str) -> str:
    kept = name.encode()[-_LONGEST_KEPT_NAME_BYTES:].decode(errors="ignore")
    return f".tmp~{_host()}~{os.getpid()}~{secrets.token_hex(4)}~{kept}"


def _host() -> str:
    """Name of this host, as far as it can stand in a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]


def _is_abandoned(name: str) -> bool:
    match = TEMPORARY_PATTERN.match(name)
    return match is not None and match["host"] == _host() and not psutil.pid_exists(int(match["pid"]))


def _flush_to_disk(path: Path) -> None:
    """Flush a file or a folder, so that neither content nor name is lost with the power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
