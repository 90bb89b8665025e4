"""What a page is asked for in its address: read once, within limits, and said back for the next page."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

MAX_TEXT = 200  # characters of one value
MAX_ID = 2**63 - 1
MAX_RADIUS_ARCSEC = 3600.0

T = TypeVar("T")


class BadFilterError(ValueError):
    """A value in an address is not what it must be."""


@dataclass(frozen=True)
class Cone:
    """A circle on the sky: centre [deg, ICRS] and radius [arcsec]."""

    ra: float
    dec: float
    radius_arcsec: float


@dataclass(frozen=True)
class Query:
    """Values of an address by name; an empty one is none.

    Parameters
    ----------
    values : mapping of str to str
        The last value of each name.
    """

    values: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """Return a text.

        Raises
        ------
        BadFilterError
            If it is too long, or has a character that no text has.
        """
        value = self.values.get(name, "").strip()
        if len(value) > MAX_TEXT or "\0" in value:
            message = f"{name} may have {MAX_TEXT} characters, but has {len(value)}"
            raise BadFilterError(message)
        return value or None

    def integer(self, name: str, low: int = 0, high: int = MAX_ID) -> int | None:
        """Return a whole number between two others."""
        return self._read(name, _integer, f"a whole number from {low} to {high}", low, high)

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        """Return a number between two others."""
        return self._read(name, _number, "a number", low, high)

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str | None:
        """Return one of some words."""
        value = self.text(name)
        if value is not None and value not in choices:
            message = f"{name} must be one of {', '.join(choices)}, not {value!r}"
            raise BadFilterError(message)
        return value or default

    def night(self, name: str = "night") -> int | None:
        """Return a night, 20261120 or 2026-11-20, as the integer YYYYMMDD."""
        value = self.text(name)
        if value is None:
            return None
        try:
            date = dt.date.fromisoformat(value)
        except ValueError as exc:
            message = f"{name} must be a night as in 20261120 or 2026-11-20, not {value!r}"
            raise BadFilterError(message) from exc
        return date.year * 10000 + date.month * 100 + date.day

    def cone(self, name: str = "near") -> Cone | None:
        """Return a circle, given as ra,dec,radius [deg, deg, arcsec]."""
        value = self.text(name)
        if value is None:
            return None
        wanted = f"{name} must be ra,dec,radius [deg, deg, arcsec up to {MAX_RADIUS_ARCSEC:g}], not {value!r}"
        parts = value.replace(" ", "").split(",")
        try:
            ra, dec, radius = (float(part) for part in parts)
        except ValueError as exc:
            raise BadFilterError(wanted) from exc
        is_place = abs(ra) <= 360.0 and abs(dec) <= 90.0 and 0.0 < radius <= MAX_RADIUS_ARCSEC
        if not is_place:
            raise BadFilterError(wanted)
        return Cone(ra % 360.0, dec, radius)

    def _read(
        self, name: str, read: Callable[[str], T | None], what: str, low: float, high: float
    ) -> T | None:
        value = self.text(name)
        if value is None:
            return None
        found = read(value)
        if found is None or not low <= found <= high:  # type: ignore[operator]  # both are numbers
            message = f"{name} must be {what}, not {value!r}"
            raise BadFilterError(message)
        return found

    def address(self, path: str, **changes: object) -> str:
        """Return a path with these values and some changed; None takes one out."""
        values = {**self.values, **changes}
        kept = {name: str(value) for name, value in values.items() if value is not None and value != ""}
        return path + (f"?{urlencode(kept)}" if kept else "")


def _integer(text: str) -> int | None:
    is_plain = text.isascii() and text.lstrip("-").isdigit() and len(text) <= 20
    return int(text) if is_plain else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
