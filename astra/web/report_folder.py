"""The folder of a report while it grows: its settings, its pages and links, and how it takes its place."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from astra.errors import ConfigError
from astra.web.links import StaticLinks
from astra.web.pictures import PictureStore
from astra.web.render import FILE_POLICY, render

ASIDE = "~older"
MARKER = ".astra-report"  # in a folder that a report may take the place of


@dataclass(frozen=True)
class ReportSettings:
    """What bounds a report.

    Parameters
    ----------
    max_alerts : int
        Alerts that are shown, one of each object.
    max_visits : int
        Visits that have pages of their own; of a night with more, those with the worst lights.
    max_detectors : int
        Detectors that have pages of their own.
    max_mosaics : int
        Visits whose difference is on the page of the night.
    max_mb : float
        Size after which no more pictures are added [MB].
    thresholds : Path, optional
        File of thresholds of one's own.
    """

    max_alerts: int = 24
    max_visits: int = 100
    max_detectors: int = 1000
    max_mosaics: int = 6
    max_mb: float = 100.0
    thresholds: Path | None = None


@dataclass
class ReportWriter:
    """A report on its way: where it grows, and what all its pages need."""

    folder: Path
    root: Path
    instrument: str
    night: int
    settings: ReportSettings
    store: PictureStore
    pages: frozenset[str] = frozenset()
    n_pages: int = 0
    left_out: list[str] = field(default_factory=list)

    def links(self, at: str) -> StaticLinks:
        """Return the links of a page."""
        return StaticLinks(at, self.pages)

    @property
    def command(self) -> str:
        """What processes the night."""
        return (
            f"luigi --module astra ApNight --instrument {self.instrument} --night {self.night} "
            "--raw FILES --local-scheduler"
        )

    def write(self, template: str, page: str, at: str, **values: Any) -> None:
        """Render a page and write it."""
        scope = {"instrument": self.instrument, "night": self.night}
        path = self.folder / at
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {"command": self.command, "policy": FILE_POLICY, **values}
        path.write_text(render(template, self.links(at), page=page, scope=scope, **values), encoding="utf-8")
        self.n_pages += 1


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new folder beside a report; it takes its place at the end, or is removed on an error.

    What killed writers of this host have left there is removed, too; an older report that one of them had put
    aside is put back.

    Parameters
    ----------
    target : Path
        Where the report is to be.

    Raises
    ------
    ConfigError
        If something else than a report is there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    if target.exists() and not (target / MARKER).is_file() and (not target.is_dir() or any(target.iterdir())):
        message = f"{target} is there and is no report of astra; name another folder, or remove it"
        raise ConfigError(message, path=str(target))
    fresh = target.parent / f".{target.name}~{_host()}~{os.getpid()}~{secrets.token_hex(4)}"
    fresh.mkdir()
    try:
        (fresh / MARKER).write_text("A report of astra; it may be replaced by a new one.\n")
        yield fresh
        _take_place(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _take_place(fresh: Path, target: Path) -> None:
    """Put an older report aside, the new one in its place, and remove the older one."""
    aside = fresh.with_name(fresh.name + ASIDE)
    if target.exists():
        target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what writers of this host that no longer live have left; put back what they had put aside."""
    for path in target.parent.glob(f".{glob.escape(target.name)}~{glob.escape(_host())}~*"):
        pid = path.name.removeprefix(f".{target.name}~{_host()}~").partition("~")[0]
        if not pid.isdigit() or psutil.pid_exists(int(pid)):
            continue
        if path.name.endswith(ASIDE) and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _host() -> str:
    """Name of this host, as far as it can stand in a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]
