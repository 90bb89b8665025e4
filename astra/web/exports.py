"""The same page for programs: JSON without numbers that lose digits, CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

MAX_SAFE = 2**53 - 1  # larger whole numbers are rounded by JavaScript and by many readers of JSON
FORMULA = ("=", "+", "-", "@", "\t", "\r")
DEEPEST = 40


def to_json(value: Any) -> str:
    """Write JSON: keys and ids as text, moments in ISO 8601, what is no number as null."""
    return json.dumps(_plain(value, DEEPEST), allow_nan=False, separators=(",", ":"))


def _plain(value: Any, deepest: int, name: str = "") -> Any:
    if deepest == 0:
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, deepest - 1, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, deepest - 1, name) for item in value]
    return _scalar(value, name)


def _scalar(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return str(value) if abs(value) > MAX_SAFE or is_id(name) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    return str(value)


def is_id(name: str) -> bool:
    """Say whether a name is that of an id, which is text in JSON whatever its size."""
    return name.endswith("Id") or name in {"pk", "visit", "exposure", "source_id", "object_id"}


def to_csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Write CSV with a header.

    Text that a spreadsheet would take for a formula begins with an apostrophe; numbers stay numbers.

    Parameters
    ----------
    rows : sequence of mapping
        By name of the column.
    names : sequence of str
        The columns; there is a header even without a row.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (Mapping, list, tuple)):
        value = to_json(value)
    text = value.isoformat() if isinstance(value, dt.datetime) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
