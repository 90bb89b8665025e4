"""What has arrived of a file, kept beside it so that the rest can follow, also in another process."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from astra.errors import DataError
from astra.products.atomic import atomic_path

PREFIX = ".part~"
_NOTES = ".json"


class PartialFile:
    """What has arrived of one file.

    Parameters
    ----------
    path : Path
        Where it is.
    stream : file object
        Open for writing.
    notes : Path or None
        Where is kept what it is a part of; None if nothing is to be kept.
    url : str
        Address that it comes from.
    """

    def __init__(self, path: Path, stream: IO[bytes], notes: Path | None, url: str) -> None:
        self.path = path
        self._stream = stream
        self._notes = notes
        self._url = url
        self.validator = ""
        self.total: int | None = None
        self.is_distrusted = False
        kept = self._read_notes()
        if kept.get("url") == url and kept.get("validator"):
            self.validator = str(kept["validator"])
            self.total = kept.get("total")
        else:
            self._stream.truncate(0)
        self.size = self._stream.seek(0, os.SEEK_END)
        if self.total is not None and self.size > self.total:
            self.restart()

    @property
    def n_kept(self) -> int:
        """How much of it the rest can follow [byte]."""
        return self.size if self.validator else 0

    def restart(self, validator: str = "", total: int | None = None) -> None:
        """Forget what has arrived: the file begins anew.

        Parameters
        ----------
        validator : str, optional
            What tells this state of the file from others on the server; empty if nothing does, so that the
            rest of another state could follow.
        total : int, optional
            Its size [byte].
        """
        self.size, self.validator, self.total = 0, validator, total
        with _writing(self.path):
            self._stream.seek(0)
            self._stream.truncate(0)
            if self._notes is not None:
                content = {"url": self._url, "validator": validator, "total": total}
                self._notes.write_text(json.dumps(content), encoding="utf-8")

    def write(self, chunk: bytes) -> None:
        """Add what has arrived."""
        with _writing(self.path):
            self._stream.write(chunk)
        self.size += len(chunk)

    def flush(self) -> None:
        """Bring what has arrived to the disk."""
        with _writing(self.path):
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def _read_notes(self) -> dict[str, Any]:
        if self._notes is None:
            return {}
        try:
            found = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@contextmanager
def partial_file(path: Path, url: str) -> Iterator[PartialFile]:
    """Yield what has arrived of a file; it becomes the file if the block ends without an error.

    What is left by an error stays for the next attempt, if it can be told what it is a part of. Two processes
    that fetch one file at a time do not share it: the second begins anew, elsewhere.

    Parameters
    ----------
    path : Path
        Where the file must appear; missing folders are made.
    url : str
        Address that it comes from.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    with _writing(path), _storage(path, url) as partial:
        yield partial


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell errors of the disk from those of the network, which another attempt may mend."""
    try:
        yield
    except OSError as exc:
        message = f"{path} cannot be written: {exc.strerror or exc}"
        raise DataError(message, path=str(path)) from exc


@contextmanager
def _storage(path: Path, url: str) -> Iterator[PartialFile]:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.with_name(PREFIX + path.name)
    stream = _locked(data)
    if stream is None:
        with atomic_path(path) as temporary, temporary.open("w+b") as private:
            yield PartialFile(temporary, private, None, url)
        return
    notes = data.with_name(data.name + _NOTES)
    with stream:
        partial = PartialFile(data, stream, notes, url)
        try:
            yield partial
            partial.flush()
            data.replace(path)
            notes.unlink(missing_ok=True)
        except BaseException:
            if partial.n_kept:
                with suppress(OSError):
                    partial.flush()
            else:
                notes.unlink(missing_ok=True)
                data.unlink(missing_ok=True)
            raise


def _locked(path: Path) -> IO[bytes] | None:
    """Open and lock a file; None if another process has it."""
    while True:
        stream = path.open("a+b")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return None
        if _is_still(path, stream):
            return stream
        stream.close()  # its last owner has finished it in between: it has another name now


def _is_still(path: Path, stream: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False
