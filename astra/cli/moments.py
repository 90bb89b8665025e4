"""Times as a user reads and writes them."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any


def plain_json(value: Any) -> Any:
    """Give JSON what it lacks: moments in ISO 8601, anything else as text."""
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def moment_text(moment: dt.datetime | None) -> str:
    """Write a moment to the second, in UTC."""
    return "" if moment is None else moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_text(seconds: float | None) -> str:
    """Write a length of time [s]."""
    return "" if seconds is None else f"{seconds:.3f}"


def night(text: str) -> int:
    """Read a night, ``20251120`` or ``2025-11-20``, as the integer YYYYMMDD.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is not a date.
    """
    try:
        date = dt.date.fromisoformat(text)
    except ValueError as exc:
        message = f"{text!r} is not a night as in 20251120 or 2025-11-20"
        raise argparse.ArgumentTypeError(message) from exc
    return date.year * 10000 + date.month * 100 + date.day
