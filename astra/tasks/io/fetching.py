"""Fetching the files of file tasks: where each comes from, and what became of it."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from astra import config
from astra.errors import AstraError, MissingDataError
from astra.products.checksums import read_checksums, require_checksum
from astra.products.download import DownloadConfig, Downloader, Fetched, RemoteFile
from astra.products.progress import Progress
from astra.products.rsync import RsyncConfig, rsync_files

if TYPE_CHECKING:
    from astra.products.sdss_paths import SdssPath
    from astra.tasks.io.sdss import SDSSDataProduct

MAX_RSYNC_FILES = 10_000  # of one call: the members of a larger batch are recorded in between

logger = logging.getLogger("luigi-interface")


@dataclass(frozen=True)
class Member:
    """A single file task, and what becomes of its file.

    Parameters
    ----------
    task : SDSSDataModelTask
        The task.
    recorder : Recorder or None
        What records it, while its batch runs.
    product : SDSSDataProduct
        Its file.
    error : AstraError or None
        Why the file is not here.
    figures : dict
        How it was fetched: ``bytes``, and for HTTP ``seconds``.
    """

    task: Any
    recorder: Any
    product: SDSSDataProduct
    error: AstraError | None = None
    figures: dict[str, float] | None = None


@dataclass(frozen=True)
class FetchConfig:
    """How files are fetched.

    Parameters
    ----------
    tree : SdssPath
        Paths of the release.
    n_connections : int
        How many files at a time, by HTTP.
    checksums : str
        List of checksums; empty for none.
    n_files : int
        How many there are.
    verbose : bool
        Whether to log how far it is.
    """

    tree: SdssPath
    n_connections: int
    checksums: str
    n_files: int
    verbose: bool

    def progress(self, set_status: Any) -> Progress:
        """Return what counts the files, and tells the log and the scheduler."""

        def report(sentence: str) -> None:
            if self.verbose:
                logger.info("fetching: %s", sentence)
            if set_status is not None:
                set_status(sentence)

        return Progress(report, self.n_files)

    def known_checksums(self) -> KnownChecksums:
        """Return the checksums of the list."""
        return KnownChecksums(self.checksums, self.tree.sas_base_dir)


class KnownChecksums:
    """Checksums of files of the SAS, from a list.

    Parameters
    ----------
    path : str
        The list; empty for none. Its paths are below the SAS, or beside it if it lies below the SAS itself.
    sas_base_dir : str
        Top of the SAS here.
    """

    def __init__(self, path: str, sas_base_dir: str) -> None:
        self._found = read_checksums(path) if path else {}
        self._beside = os.path.relpath(os.path.dirname(path), sas_base_dir) if path else ""

    def of(self, location: str) -> str:
        """Return the checksum of a file, empty if it is not in the list."""
        return self._found.get(location) or self._found.get(
            os.path.relpath(location, self._beside or "."), ""
        )


def fetch_by_http(members: Iterable[Any], settings: FetchConfig, progress: Progress) -> Iterator[Member]:
    """Fetch the files of members that are not here, and yield each as it arrives or fails.

    Parameters
    ----------
    members : iterable of SDSSDataModelTask
        Single tasks, made as they are asked for.
    settings : FetchConfig
        How.
    progress : Progress
        Counts the files.

    Yields
    ------
    member : Member
        In any order.
    """
    queue = _Queue(members, settings)
    with Downloader(DownloadConfig(n_connections=settings.n_connections), progress) as downloader:
        for file, outcome in downloader.fetch_all(queue.missing()):
            yield from queue.arrived(file.url, outcome)
    yield from queue.take_present()
    progress.report_end()


class _Queue:
    """The members of a batch whose files are being fetched, and those whose files are here already.

    Parameters
    ----------
    members : iterable of SDSSDataModelTask
        Single tasks.
    settings : FetchConfig
        Where their files are, and the checksums that these must have.
    """

    def __init__(self, members: Iterable[Any], settings: FetchConfig) -> None:
        self._members = map(_of, members)
        self._checksums = settings.known_checksums()
        self._top = settings.tree.sas_base_dir
        self._present: deque[Member] = deque()
        self._waiting: dict[str, list[Member]] = {}

    def missing(self) -> Iterator[RemoteFile]:
        """Yield the files that are not here, each once."""
        for member in self._members:
            product = member.product
            if product.exists():
                self._present.append(member)
                continue
            others = self._waiting.setdefault(product.url, [])
            others.append(member)
            if len(others) == 1:
                checksum = self._checksums.of(product.location)
                path = os.path.join(self._top, product.location)
                yield RemoteFile(product.url, path, checksum, with_siblings=True)

    def arrived(self, url: str, outcome: Fetched | AstraError) -> Iterator[Member]:
        """Yield the members that a file is of, after those whose files were here."""
        yield from self.take_present()
        for member in self._waiting.pop(url):
            if isinstance(outcome, AstraError):
                yield _with(member, error=outcome)
            else:
                yield _with(member, figures={"bytes": outcome.size, "seconds": outcome.duration})

    def take_present(self) -> Iterator[Member]:
        """Yield the members whose files were here, each once."""
        while self._present:
            yield self._present.popleft()


def fetch_by_rsync(members: Iterable[Any], settings: FetchConfig, progress: Progress) -> Iterator[Member]:
    """Fetch the files of members that are not here, as `fetch_by_http` does, in one call for each module."""
    checksums = settings.known_checksums()
    waiting = iter(members)
    while block := [_of(task) for task in islice(waiting, MAX_RSYNC_FILES)]:
        missing = [member.product.location for member in block if not member.product.exists()]
        errors = _rsync(missing, settings, progress)
        errors |= _wrong_files(missing, errors, checksums, settings.tree.sas_base_dir)
        wanted = set(missing)
        for member in block:
            location = member.product.location
            error = errors.get(location)
            now = _with(member, error=error)
            if location in wanted and error is None:
                now = replace(now, figures={"bytes": os.path.getsize(now.product.path)})
            yield now
    progress.report_end()


def _rsync(locations: list[str], settings: FetchConfig, progress: Progress) -> dict[str, AstraError]:
    """Fetch files; where the server lacks one, its compressed form, or the uncompressed one."""
    if not locations:
        return {}
    tree = settings.tree
    how = RsyncConfig(tree.rsync_server, password_file=config.option("rsync_login_file"))
    errors = rsync_files(locations, tree.sas_base_dir, how, progress=progress)
    absent = {_sibling(name): name for name, error in errors.items() if isinstance(error, MissingDataError)}
    if absent:
        still = rsync_files(absent, tree.sas_base_dir, how, progress=progress)
        for sibling, name in absent.items():
            if sibling not in still:
                del errors[name]
    return errors


def _wrong_files(
    locations: list[str], errors: dict[str, AstraError], checksums: KnownChecksums, top: str
) -> dict[str, AstraError]:
    """Return the errors of files that have not their checksum, and remove them."""
    wrong: dict[str, AstraError] = {}
    for location in locations:
        path, checksum = os.path.join(top, location), checksums.of(location)
        if not checksum or location in errors or not os.path.isfile(path):
            continue
        try:
            require_checksum(path, checksum, name=path)
        except AstraError as exc:
            os.unlink(path)
            wrong[location] = exc
    return wrong


def _sibling(location: str) -> str:
    return location.removesuffix(".gz") if location.endswith(".gz") else f"{location}.gz"


def _of(task: Any) -> Member:
    return Member(task, task.recorder, task.output())


def _with(
    member: Member, *, error: AstraError | None = None, figures: dict[str, float] | None = None
) -> Member:
    """Return a member with what became of its file, looked at anew: it may be compressed."""
    return replace(member, product=member.task.output(), error=error, figures=figures)
