"""A file of changes, one a line with its checksum, from which a state can be made again.

A line is written before the call that made the change is answered, so that a killed process loses nothing
that anyone was told. Whether a crash of the machine may lose the last changes is a parameter. When the file
has grown to a multiple of the state that it holds, it is replaced by that state, in one step.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from astra.errors import FormatError, StateError
from astra.scheduler.latest import LatestLines
from astra.scheduler.metrics import Histogram

SyncPolicy = Literal["never", "interval", "always"]
SYNC_INTERVAL_S = 1.0
MIN_COMPACTED_BYTES = 16_000_000
GROWTH = 4  # the file may grow to this multiple of the state that it holds
FORMAT = {"format": "astra scheduler journal", "version": 1}
REPLACE_AGAIN_S = 60.0  # after which that is tried again, if it could not be done: it takes long
PART_LINES = 1000  # of a state, written in one piece

logger = logging.getLogger("luigi.scheduler")

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Journal:
    """The file, held by this process alone.

    Parameters
    ----------
    path : Path
        The file; made if it is not there.
    sync : str
        When what was written is forced to the disk: ``never``, at each ``interval`` of a second, or
        ``always``, before each answer.
    """

    def __init__(self, path: Path, sync: SyncPolicy = "interval") -> None:
        self.path = path
        self.sync = sync
        self._size = self._compacted = 0
        self._synced = time.monotonic()
        self._is_torn = False  # a part of a line may stand at the end of the file
        self._not_before = 0.0  # when the file may be replaced
        self.writes, self.syncs = (
            Histogram(),
            Histogram(),
        )  # how long it took to write, and to force to the disk
        self.n_replaced = 0
        self._descriptor = self._open(path)

    def _open(self, path: Path) -> int:
        """Open the file for this process alone."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            message = f"the journal {path} cannot be opened: {exc}; name another one with --state-path"
            raise StateError(message, path=str(path)) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            message = f"the journal {path} is in use by another scheduler"
            raise StateError(message, path=str(path)) from exc
        if not _is_file_of(path, descriptor):  # whose it is has replaced it meanwhile
            os.close(descriptor)
            return self._open(path)
        return descriptor

    def read(self) -> Iterator[Any]:
        """Yield the changes; a last line that was not written to its end is dropped from the file.

        Raises
        ------
        FormatError
            If any other line is damaged, or the file is no journal of this version.
        """
        yield from map(json.loads, self._texts())

    def read_latest(self) -> Iterator[Any]:
        """Yield the changes that still hold: first those that are not of tasks, then the last of each task.

        Raises
        ------
        FormatError
            As `read` does.
        """
        latest = LatestLines()
        yield from (change for text in self._texts() if (change := latest.take(text)) is not None)
        self._compacted = latest.size
        yield from latest.changes()

    def _texts(self) -> Iterator[bytes]:
        """Yield the changes as they are written, without their checksums."""
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = _checked(line)
                if text is None:
                    self._refuse_unless_last(number, is_last=not file.read(1))
                    break
                end += len(line)
                if number == 1:
                    self._check_format(json.loads(text))
                else:
                    yield text
        os.ftruncate(self._descriptor, end)
        self._size = self._compacted = end
        if not end:
            self.write([FORMAT])

    def _refuse_unless_last(self, number: int, *, is_last: bool) -> None:
        if not is_last:
            message = (
                f"line {number} of the journal {self.path} is damaged, and it is not the last one; move the "
                f"file away to begin anew: what is done is known by the tasks themselves"
            )
            raise FormatError(message, path=str(self.path), line=number)
        logger.warning("the last line of %s was not written to its end, and is dropped", self.path)

    def _check_format(self, change: Any) -> None:
        if change != FORMAT:
            message = f"{self.path} begins with {change}, but a journal of this version with {FORMAT}"
            raise FormatError(message, path=str(self.path))

    def write(self, changes: Iterable[Any]) -> None:
        """Append changes, all of one answer.

        Raises
        ------
        StateError
            If they cannot be written: what is answered then would not outlast this process.
        """
        data = b"".join(map(_line, changes))
        if not data:
            return
        began = time.monotonic()
        try:
            if self._is_torn:
                self._cut()
            self._is_torn = True
            _write_all(self._descriptor, data)
            self.writes.observe(time.monotonic() - began)
            self._sync()
        except OSError as exc:
            with suppress(OSError):  # else before the next write
                self._cut()
            message = f"the journal {self.path} cannot be written: {exc}"
            raise StateError(message, path=str(self.path)) from exc
        self._size += len(data)
        self._is_torn = False

    def _cut(self) -> None:
        """Cut off what was written last, and not to its end."""
        os.ftruncate(self._descriptor, self._size)
        self._is_torn = False

    def _sync(self) -> None:
        if self.sync == "never":
            return
        now = time.monotonic()
        if self.sync == "always" or now - self._synced >= SYNC_INTERVAL_S:
            os.fdatasync(self._descriptor)
            self._synced = time.monotonic()
            self.syncs.observe(self._synced - now)

    @property
    def size(self) -> int:
        """Length of the file [B]."""
        return self._size

    @property
    def is_long(self) -> bool:
        """Whether the file is much longer than the state that it holds, and may be replaced."""
        is_long = self._size > max(MIN_COMPACTED_BYTES, GROWTH * self._compacted)
        return is_long and time.monotonic() >= self._not_before

    def replace(self, changes: Iterable[Any]) -> None:
        """Replace the file by one with the changes that make the state, in one step.

        Raises
        ------
        StateError
            If it cannot be written; the file is then as it was.
        """
        self._not_before = time.monotonic() + REPLACE_AGAIN_S
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.unlink(missing_ok=True)
        except OSError as exc:
            message = f"{new} cannot be removed: {exc}"
            raise StateError(message, path=str(new)) from exc
        descriptor = self._open(new)
        try:
            size = _write_in_parts(descriptor, [FORMAT], changes)
            os.fsync(descriptor)
            new.replace(self.path)
        except OSError as exc:
            os.close(descriptor)
            with suppress(OSError):  # it takes the place that is missing
                new.unlink()
            message = f"the journal {self.path} cannot be replaced: {exc}"
            raise StateError(message, path=str(self.path)) from exc
        os.close(self._descriptor)
        self._descriptor, self._size, self._compacted = descriptor, size, size
        self._is_torn, self._not_before = False, 0.0
        self.n_replaced += 1
        _sync_folder(self.path.parent)

    def close(self) -> None:
        """Force all to the disk, and let go of the file."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)


def _line(change: Any) -> bytes:
    text = _encode(change).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _checked(line: bytes) -> bytes | None:
    """Return the change of a line as it is written; None if it is damaged."""
    text = line[9:-1]
    try:
        whole = line[-1:] == b"\n" and line[8:9] == b" " and int(line[:8], 16) == zlib.crc32(text)
    except ValueError:
        return None
    return text if whole else None


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all, also where the system takes a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _write_in_parts(descriptor: int, *groups: Iterable[Any]) -> int:
    size = 0
    part: list[bytes] = []
    for change in (change for group in groups for change in group):
        part.append(_line(change))
        if len(part) == PART_LINES:
            data = b"".join(part)
            _write_all(descriptor, data)
            size += len(data)
            part.clear()
    data = b"".join(part)
    _write_all(descriptor, data)
    return size + len(data)


def _is_file_of(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Have a new name outlast a crash of the machine, as far as the file system lets one ask for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
