"""Fetch files over HTTP, many at a time, so that each appears whole or not at all."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from astra.errors import AstraError, DataError, MissingDataError
from astra.products import http_answers
from astra.products.checksums import digests_in, require_checksum
from astra.products.http_answers import TryAgainError
from astra.products.http_connections import Answer, HttpConnections, UnreachableError, checked
from astra.products.partial_files import PartialFile, partial_file
from astra.products.progress import Progress

CHUNK_BYTES = 1 << 18
LONGEST_PAUSE_S = 60.0
_PROGRESS_BYTES = 1 << 16  # an attempt that brought so much more is no failure of the server
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Parameters
    ----------
    url : str
        Its address.
    path : str or Path
        Where it must appear; missing folders are made.
    checksum : str
        MD5, SHA-1, SHA-256 or SHA-512 that it must have, hexadecimal; empty if it is not known.
    with_siblings : bool
        Whether the server may have it compressed (``.gz``), or uncompressed, instead; it then appears so.
    """

    url: str
    path: str | Path
    checksum: str = ""
    with_siblings: bool = False


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived.

    Parameters
    ----------
    path : Path
        Where it is.
    size : int
        [byte]
    duration : float
        Time that it took [s].
    """

    path: Path
    size: int
    duration: float


@dataclass(frozen=True)
class DownloadConfig:
    """How files are fetched.

    Parameters
    ----------
    n_connections : int
        How many files at a time.
    timeout_s : float
        How long a server may be silent [s].
    n_attempts : int
        How often to try in a row without getting further.
    pause_s : float
        Time before the second attempt, doubled before each further one [s].
    report_interval_s : float
        Time between reports of the progress of many files [s].
    """

    n_connections: int = 8
    timeout_s: float = 60.0
    n_attempts: int = 4
    pause_s: float = 1.0
    report_interval_s: float = 10.0


class Downloader:
    """Fetches files with connections that are kept; a context manager.

    Logs in with the entry of a server in ``.netrc``, if the server asks for it; never asks a person.

    Parameters
    ----------
    config : DownloadConfig, optional
        How files are fetched.
    progress : Progress, optional
        What counts them.
    """

    def __init__(self, config: DownloadConfig | None = None, progress: Progress | None = None) -> None:
        self.config = config or DownloadConfig()
        self._connections = HttpConnections(self.config.timeout_s)
        self._stop = threading.Event()
        self._unreachable: dict[str, str] = {}
        self.progress = progress or Progress()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connections.close()

    def fetch_all(self, files: Iterable[RemoteFile]) -> Iterator[tuple[RemoteFile, Fetched | AstraError]]:
        """Fetch files, some at a time; one that fails does not reach the others.

        Parameters
        ----------
        files : iterable of RemoteFile
            Asked for one after the other, as the earlier ones arrive.

        Yields
        ------
        file : RemoteFile
            In the order in which they end.
        outcome : Fetched or AstraError
            What became of it, see `fetch`.
        """
        waiting = iter(files)
        running: dict[Future[Fetched], RemoteFile] = {}
        executor = ThreadPoolExecutor(self.config.n_connections, thread_name_prefix="download")
        try:
            for file in islice(waiting, 2 * self.config.n_connections):
                running[executor.submit(self.fetch, file)] = file
            while running:
                done, _ = wait(running, self.config.report_interval_s, FIRST_COMPLETED)
                for future in done:
                    file = running.pop(future)
                    for following in islice(waiting, 1):
                        running[executor.submit(self.fetch, following)] = following
                    yield file, self._outcome(future)
                self.progress.report_if_due(self.config.report_interval_s)
        finally:
            if running:  # the caller wants no more
                self._stop.set()
                self._connections.interrupt()
            executor.shutdown(cancel_futures=True)
            self._stop.clear()

    def fetch(self, file: RemoteFile) -> Fetched:
        """Fetch one file.

        Parameters
        ----------
        file : RemoteFile
            What and where to.

        Returns
        -------
        fetched : Fetched
            Where it is.

        Raises
        ------
        MissingDataError
            If the server has no such file.
        ConfigError
            If the server wants a login or refuses one, or the address is not of HTTP.
        DataError
            If it could not be fetched for another reason, has not its checksum, or cannot be written.
        """
        checked(file.url)
        try:
            return self._fetch_form(file.url, Path(file.path), file.checksum)
        except MissingDataError:
            if not file.with_siblings:
                raise
            url, path = _sibling(file.url), Path(_sibling(str(file.path)))
            with suppress(MissingDataError):
                return self._fetch_form(url, path, "")
            raise

    def exists(self, url: str) -> bool:
        """Say whether a server has a file; errors are those of `fetch`."""

        def ask() -> bool:
            with self._connections.request("HEAD", url, {}) as answer:
                if answer.status != http.client.OK:
                    self._refuse(answer, url)
                return True

        try:
            return self._persist(url, ask, lambda: 0)
        except MissingDataError:
            return False

    def _fetch_form(self, url: str, path: Path, checksum: str) -> Fetched:
        began = time.monotonic()
        with partial_file(path, url) as partial:
            expected = {checksum} if checksum else set()
            self._persist(url, lambda: self._attempt(url, partial, expected), lambda: partial.n_kept)
        return Fetched(path, partial.size, time.monotonic() - began)

    def _persist(self, url: str, attempt: Callable[[], T], n_kept: Callable[[], int]) -> T:
        """Make attempts until one succeeds, or as many in a row have brought nothing."""
        origin = urlsplit(url).netloc
        failures, reason = 0, self._unreachable.get(origin, "")
        if reason:
            message = f"{url} is not tried: {reason}"
            raise DataError(message, url=url, reason=reason)
        while failures < self.config.n_attempts:
            before, unreachable, pause_s = n_kept(), False, 0.0
            try:
                return attempt()
            except TryAgainError as exc:
                reason, pause_s = str(exc), exc.pause_s
            except (OSError, http.client.HTTPException) as exc:
                reason, unreachable = str(exc) or type(exc).__name__, isinstance(exc, UnreachableError)
            failures = 1 if n_kept() - before >= _PROGRESS_BYTES else failures + 1
            if failures < self.config.n_attempts:
                self._pause(failures, pause_s)
            elif unreachable:
                self._unreachable[origin] = reason
        message = f"{url} could not be fetched in {failures} attempts: {reason}"
        raise DataError(message, url=url, reason=reason)

    def _pause(self, failures: int, asked_s: float) -> None:
        """Wait longer from failure to failure, and not all threads in step; at least as the server asks."""
        own_s = self.config.pause_s * 2 ** (failures - 1) * random.uniform(0.75, 1.25)  # noqa: S311
        self._stop.wait(min(max(own_s, asked_s), LONGEST_PAUSE_S))
        self._require_going_on()

    def _require_going_on(self) -> None:
        if self._stop.is_set():
            message = "fetching was interrupted"
            raise DataError(message)

    def _attempt(self, url: str, partial: PartialFile, expected: set[str]) -> None:
        """Fetch what is still missing of a file, or all of it if it has changed since."""
        headers = {}
        if partial.n_kept:
            headers = {"Range": f"bytes={partial.size}-", "If-Range": partial.validator}
        given: set[str] = set()
        with self._connections.request("GET", url, headers) as answer:
            if answer.status == http.client.OK:
                http_answers.require_data(answer, url)
                given = digests_in(answer.headers)
                partial.restart(http_answers.validator(answer), http_answers.length(answer))
            elif answer.status == http.client.PARTIAL_CONTENT and headers:
                self._require_rest(answer, partial)
            elif answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                partial.restart()
                reason = "what has arrived is no part of the file on the server"
                raise TryAgainError(reason)
            else:
                self._refuse(answer, url)
            self._copy(answer, partial)
        if partial.total is not None and partial.size != partial.total:
            reason = f"{partial.size} of {partial.total} bytes arrived"
            raise TryAgainError(reason)
        _require_checksums(partial, expected | given, url)

    @staticmethod
    def _require_rest(answer: Answer, partial: PartialFile) -> None:
        try:
            http_answers.require_rest(answer, partial.size, partial.total)
        except TryAgainError:
            partial.restart()
            raise

    def _copy(self, answer: Answer, partial: PartialFile) -> None:
        while chunk := answer.body.read(CHUNK_BYTES):
            partial.write(chunk)
            self.progress.add_bytes(len(chunk))
            self._require_going_on()

    def _refuse(self, answer: Answer, url: str) -> NoReturn:
        """Raise for an answer that is not the file."""
        status = answer.status
        if status in _LATER:
            reason = f"HTTP {status}"
            raise TryAgainError(reason, http_answers.retry_after(answer))
        raise http_answers.refusal(answer, url, self._connections.logins)

    def _outcome(self, future: Future[Fetched]) -> Fetched | AstraError:
        try:
            fetched = future.result()
        except AstraError as exc:
            self.progress.add_file(failed=True)
            return exc
        self.progress.add_file()
        return fetched


def exists_remotely(url: str, *, timeout_s: float = 60.0) -> bool:
    """Say whether a server has a file, without fetching it; errors are those of `Downloader.fetch`."""
    with Downloader(DownloadConfig(1, timeout_s)) as downloader:
        return downloader.exists(url)


def _require_checksums(partial: PartialFile, expected: set[str], url: str) -> None:
    """Refuse a file that has not its checksums; it is fetched anew once."""
    partial.flush()
    for checksum in expected:
        try:
            require_checksum(partial.path, checksum, name=url)
        except DataError as exc:
            partial.restart()
            if partial.is_distrusted:
                raise
            partial.is_distrusted = True
            raise TryAgainError(str(exc)) from exc


def _sibling(name: str) -> str:
    """Return the name of the other form of a file, compressed or not."""
    return name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
