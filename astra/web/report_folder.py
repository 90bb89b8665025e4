"""The folder of a report while it grows: its settings, its pages and links, and how it takes its place."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astra.errors import ConfigError
from astra.web.links import StaticLinks
from astra.web.pictures import PictureStore
from astra.web.render import FILE_POLICY, render

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
    """Yield a new folder beside a report; it takes its place at the end, or is removed on an error."""
    if target.exists() and not (target / MARKER).is_file() and (not target.is_dir() or any(target.iterdir())):
        message = f"{target} is there and is no report of astra; name another folder, or remove it"
        raise ConfigError(message, path=str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}~{os.getpid()}~{secrets.token_hex(4)}"
    older = fresh.with_name(fresh.name + "~older")
    fresh.mkdir()
    try:
        (fresh / MARKER).write_text("A report of astra; it may be replaced by a new one.\n")
        yield fresh
        if target.exists():
            target.rename(older)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)
