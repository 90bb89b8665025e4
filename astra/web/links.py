"""Where the pages are: one table of them, with relative links in a folder and absolute ones on a server.

A template asks for ``links.to("visit", instrument="simcam", visit=12)`` and gets the address, or None where
there is no such page: then it writes the text alone.
"""

from __future__ import annotations

import posixpath
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, urlencode

ASSETS = "static"
PICTURES = "pictures"


@dataclass(frozen=True)
class Page:
    """A kind of page.

    Parameters
    ----------
    file : str
        Its file in the folder of a report, which is of one night of one camera; empty if it has none.
    address : str
        Its path on the server. Keys that are in braces in neither are the query on the server.
    """

    file: str
    address: str


PAGES: dict[str, Page] = {
    "nights": Page("", "/"),
    "night": Page("index.html", "/night/{instrument}/{night}"),
    "visit": Page("visits/{visit}.html", "/visit/{instrument}/{visit}"),
    "detector": Page("visits/{visit}_{detector}.html", "/visit/{instrument}/{visit}/detector/{detector}"),
    "efficiency": Page("efficiency.html", "/efficiency/{instrument}/{night}"),
    "spectra": Page("spectra.html", "/spectra"),
    "spectrum": Page("", "/spectrum/{spectrum}"),
    "alerts": Page("alerts.html", "/alerts"),
    "object": Page("objects/{object}.html", "/object/{object}"),
    "tasks": Page("tasks.html", "/tasks"),
    "task": Page("", "/task/{task_id}"),
    "product": Page("", "/product/{product}"),
    "about": Page("about.html", "/about"),
}

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class Links(Protocol):
    """What templates ask for addresses."""

    def to(self, page: str, **keys: object) -> str | None:
        """Address of a page of `PAGES`, None if there is no such page."""

    def asset(self, name: str) -> str:
        """Address of a file that comes with the package, as ``style.css``."""

    def picture(self, name: str) -> str:
        """Address of a picture by its name, which is a hash and an ending."""


def page_file(page: str, **keys: object) -> str:
    """File of a page in the folder of a report; empty if it has none.

    Keys become parts of its name only where they are letters, digits, ``_`` or ``-``; others are refused.
    """
    return PAGES[page].file.format_map({name: _safe(value) for name, value in keys.items()})


def _safe(value: object) -> str:
    text = str(value)
    if not text or _UNSAFE.search(text):
        raise ValueError(f"{text!r} cannot be a part of the name of a page: letters, digits, _ and - can")
    return text


@dataclass(frozen=True)
class StaticLinks:
    """Relative links from one page of a report; ``pages`` are the files that it has."""

    at: str = "index.html"
    pages: frozenset[str] = field(default_factory=frozenset)

    def to(self, page: str, **keys: object) -> str | None:
        """Address of a page from this one; None if the report has no such page."""
        try:
            file = page_file(page, **{name: value for name, value in keys.items() if name in _fields(page)})
        except (KeyError, ValueError):
            return None
        return self._from_here(file) if file and file in self.pages else None

    def asset(self, name: str) -> str:
        """Address of a file that comes with the package."""
        return self._from_here(f"{ASSETS}/{name}")

    def picture(self, name: str) -> str:
        """Address of a picture."""
        return self._from_here(f"{PICTURES}/{name}")

    def _from_here(self, file: str) -> str:
        return posixpath.relpath(file, posixpath.dirname(self.at) or ".")


def _fields(page: str) -> set[str]:
    return _names(PAGES[page].file)


def _names(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@dataclass(frozen=True)
class ServerLinks:
    """Absolute links below a prefix; ``pages`` are the kinds that the server has."""

    prefix: str = ""
    pages: Iterable[str] = tuple(PAGES)

    def to(self, page: str, **keys: object) -> str | None:
        """Address of a page; keys that its path does not have are its query."""
        address = PAGES[page].address
        names = _names(address)
        given = {name: str(value) for name, value in keys.items() if value is not None and value != ""}
        if page not in self.pages or not names <= set(given):
            return None
        path = address.format_map({name: quote(given[name], safe="") for name in names})
        query = urlencode({name: value for name, value in given.items() if name not in names})
        return f"{self.prefix}{path}" + (f"?{query}" if query else "")

    def asset(self, name: str) -> str:
        """Address of a file that comes with the package."""
        return f"{self.prefix}/{ASSETS}/{quote(name)}"

    def picture(self, name: str) -> str:
        """Address of a picture."""
        return f"{self.prefix}/{PICTURES}/{quote(name)}"
