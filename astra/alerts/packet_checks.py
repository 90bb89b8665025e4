"""Strict checks of packets: the schema compiled into functions, once.

Official validators fill in what is missing and skip what is too much; this one does neither, and says
which field of which record is wrong.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from astra.alerts.schemas import LATEST_VERSION, Schema, load_schema
from astra.errors import AlertError

MAX_FLOAT32 = 3.4028234663852886e38


def validate_alert(alert: Mapping[str, Any], version: str = LATEST_VERSION) -> None:
    """Check that a packet has every field of the schema, no other, and each of the right type.

    Raises
    ------
    AlertError
        If not; the context has ``field``, its path in the packet.
    """
    try:
        _checker(version)(alert)
    except _Mismatch as exc:
        field = ".".join(reversed(exc.path)) or "alert"
        source_id = alert.get("diaSourceId") if isinstance(alert, Mapping) else None
        message = f"alert {source_id}, schema {version}: field {field} {exc.problem}"
        raise AlertError(message, field=field, diaSourceId=source_id, version=version) from None


class _Mismatch(Exception):  # noqa: N818  (never leaves this module)
    """What is wrong, and where: the path is filled from the inside out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []


_Check = Callable[[Any], None]


def _is_integer(bits: int) -> Callable[[Any], bool]:
    limit = 1 << (bits - 1)
    return lambda value: type(value) is int and -limit <= value < limit


def _is_float(largest: float) -> Callable[[Any], bool]:
    return lambda value: type(value) is float and abs(value) <= largest  # false for NaN too


_SCALARS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_is_integer(32), "an int of 32 bits"),
    "long": (_is_integer(64), "an int of 64 bits"),
    "float": (_is_float(MAX_FLOAT32), "a finite float that fits 32 bits"),
    "double": (_is_float(math.inf), "a float, not NaN"),
    "boolean": (lambda value: type(value) is bool, "a bool"),
    "string": (lambda value: type(value) is str, "a str"),
    "bytes": (lambda value: type(value) is bytes, "bytes"),
    "timestamp-micros": (
        lambda value: isinstance(value, dt.datetime) and value.tzinfo is not None,
        "a datetime with a time zone",
    ),
}


@cache
def _checker(version: str) -> _Check:
    """Compile the schema of a packet into one function."""
    schema = load_schema(version)
    return _compile(schema, dict(schema["__named_schemas"]), {})


def _compile(schema: Any, named: dict[str, Schema], done: dict[str, _Check]) -> _Check:
    """Compile any schema of the packet."""
    if isinstance(schema, list):
        return _nullable(_compile(schema[1], named, done))
    kind = schema if isinstance(schema, str) else schema.get("logicalType", schema["type"])
    if kind in _SCALARS:
        return _scalar(*_SCALARS[kind])
    if kind == "array":
        return _array(_compile(schema["items"], named, done))
    name = schema if isinstance(schema, str) else schema["name"]
    if name not in done:
        fields = named[name]["fields"] if isinstance(schema, str) else schema["fields"]
        done[name] = _record({field["name"]: _compile(field["type"], named, done) for field in fields})
    return done[name]


def _scalar(is_right: Callable[[Any], bool], expected: str) -> _Check:
    def check(value: Any) -> None:
        if not is_right(value):
            problem = f"must be {expected}, found {type(value).__name__} {str(value)[:40]!r}"
            raise _Mismatch(problem)

    return check


def _nullable(inner: _Check) -> _Check:
    def check(value: Any) -> None:
        if value is not None:
            inner(value)

    return check


def _array(inner: _Check) -> _Check:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            problem = f"must be a list, found {type(value).__name__}"
            raise _Mismatch(problem)
        for number, item in enumerate(value):
            try:
                inner(item)
            except _Mismatch as exc:
                exc.path.append(str(number))
                raise

    return check


def _record(fields: dict[str, _Check]) -> _Check:
    names = fields.keys()
    items = tuple(fields.items())

    def check(value: Any) -> None:
        if not isinstance(value, Mapping):
            problem = f"must be a record, found {type(value).__name__}"
            raise _Mismatch(problem)
        if value.keys() != names:
            _report_names(set(value), set(names))
        name = ""
        try:
            for name, inner in items:
                inner(value[name])
        except _Mismatch as exc:
            exc.path.append(name)
            raise

    return check


def _report_names(found: set[Any], expected: set[str]) -> None:
    """Raise for the first field that is missing or too much."""
    for name in sorted(expected - found):
        mismatch = _Mismatch("is missing")
        mismatch.path.append(name)
        raise mismatch
    for name in sorted(map(str, found - expected)):
        mismatch = _Mismatch("is not in the schema")
        mismatch.path.append(name)
        raise mismatch
