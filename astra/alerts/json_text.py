"""Alerts as JSON that any reader takes: 64-bit ids as text, no NaN, stamps as base64 or by reference."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal

from astra.alerts.schemas import load_record_schema
from astra.errors import AlertError

Stamps = Literal["reference", "base64", "none"]

_LARGEST_EXACT = 1 << 53  # beyond it readers that know only float64 lose the last digits


def to_json(alert: Mapping[str, Any], *, stamps: Stamps = "reference", indent: int | None = None) -> str:
    """Write an alert as JSON.

    Every field that the schema calls long, an id or a visit, is text, as readers in JavaScript and many
    others have no 64-bit integers; so is any other integer beyond 2**53. NaN and infinity are null, times in
    UTC as in ISO 8601.

    Parameters
    ----------
    alert : mapping
        Packet.
    stamps : {"reference", "base64", "none"}, optional
        Stamps as size and SHA-256, whole, or left out.
    indent : int, optional
        Columns to indent by; None: one line.

    Raises
    ------
    AlertError
        If it holds what JSON cannot say.
    """
    return json.dumps(to_plain(alert, stamps=stamps), indent=indent, allow_nan=False, ensure_ascii=False)


def to_plain(alert: Mapping[str, Any], *, stamps: Stamps = "reference") -> dict[str, Any]:
    """Return an alert as what JSON can say; parameters and errors as in `to_json`.

    Raises
    ------
    ValueError
        If ``stamps`` is something else.
    """
    if stamps not in _STAMPS:
        raise ValueError(f"stamps can be shown as {', '.join(_STAMPS)}, found {stamps!r}")
    kept = alert if stamps != "none" else {k: v for k, v in alert.items() if not isinstance(v, bytes)}
    return {name: _plain(name, value, _STAMPS[stamps]) for name, value in kept.items()}


def _plain(name: str, value: Any, show: Callable[[bytes], Any]) -> Any:
    """Value of a field as JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(str(key), item, show) for key, item in value.items()}
    if isinstance(value, bytes):
        return show(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(name, item, show) for item in value]
    return _scalar(name, value.item() if hasattr(value, "item") else value)


def _scalar(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value) if name in _long_fields() or abs(value) > _LARGEST_EXACT else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    message = f"field {name} of an alert is a {type(value).__name__}, which JSON cannot say"
    raise AlertError(message, field=name)


@cache
def _long_fields() -> frozenset[str]:
    """Names of all fields of 64 bits, those of other surveys included."""
    records = ("alert", "diaSource", "diaForcedSource", "diaObject", "ssSource", "mpc_orbits")
    fields = [field for record in records for field in load_record_schema(record)["fields"]]
    found = {field["name"] for field in fields if "long" in (field["type"], *list(field["type"]))}
    return frozenset(found | {"candid", "jd_candid", "objectId", "id"})


def _reference(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_STAMPS: dict[str, Callable[[bytes], Any]] = {"reference": _reference, "base64": _base64, "none": _reference}
