"""Alert packets: rows of the database and stamps, made into one strictly checked record.

Official validators fill in what is missing and skip what is too much; this one does neither, and says
which field of which record is wrong.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from astra.alerts.schemas import LATEST_VERSION, Schema, load_record_schema, load_schema
from astra.errors import AlertError

MAX_FLOAT32 = 3.4028234663852886e38

Alert = dict[str, Any]


@dataclass(frozen=True)
class Cutouts:
    """Stamps of one source as FITS bytes; None where there is none.

    Parameters
    ----------
    difference, science, template : bytes, optional
        See `astra.alerts.cutouts.make_cutout`.
    """

    difference: bytes | None = None
    science: bytes | None = None
    template: bytes | None = None


def to_record(record: str, row: Mapping[str, Any], version: str = LATEST_VERSION) -> dict[str, Any]:
    """Take the fields of a record out of a database row.

    Columns that only the database has are left out, columns that the row lacks are null, numpy scalars
    become plain numbers and NaN becomes null.

    Parameters
    ----------
    record : str
        ``diaSource``, ``diaForcedSource``, ``diaObject`` and so on.
    row : mapping
        Values by column name.
    version : str, optional
        Schema version.
    """
    names = _field_names(record, version)
    return {name: _plain(row.get(name)) for name in names}


@cache
def _field_names(record: str, version: str) -> tuple[str, ...]:
    return tuple(field["name"] for field in load_record_schema(record, version)["fields"])


def _plain(value: Any) -> Any:
    """Plain Python value; None for NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def make_alert(
    dia_source: Mapping[str, Any],
    prv_sources: Iterable[Mapping[str, Any]] = (),
    prv_forced: Iterable[Mapping[str, Any]] = (),
    dia_object: Mapping[str, Any] | None = None,
    cutouts: Cutouts | None = None,
    *,
    ss_source: Mapping[str, Any] | None = None,
    mpc_orbit: Mapping[str, Any] | None = None,
    observation_reason: str | None = None,
    target_name: str | None = None,
    version: str = LATEST_VERSION,
) -> Alert:
    """Make the packet of one detection and check it.

    Parameters
    ----------
    dia_source : mapping
        Database row of the detection.
    prv_sources, prv_forced : iterable of mapping, optional
        Rows of the object's earlier detections and forced measurements, oldest first.
    dia_object : mapping, optional
        Row of the object; none for a solar-system body.
    cutouts : Cutouts, optional
        Stamps.
    ss_source, mpc_orbit : mapping, optional
        Geometry and orbit of a solar-system body.
    observation_reason, target_name : str, optional
        What the visit was for.
    version : str, optional
        Schema version.

    Raises
    ------
    AlertError
        If a field is missing or has the wrong type; the message and the context name it.
    """
    stamps = cutouts or Cutouts()

    def one(record: str, row: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if row is None else to_record(record, row, version)

    alert: Alert = {
        "diaSourceId": _plain(dia_source.get("diaSourceId")),
        "observation_reason": observation_reason,
        "target_name": target_name,
        "diaSource": to_record("diaSource", dia_source, version),
        "prvDiaSources": [to_record("diaSource", row, version) for row in prv_sources] or None,
        "prvDiaForcedSources": [to_record("diaForcedSource", row, version) for row in prv_forced] or None,
        "diaObject": one("diaObject", dia_object),
        "ssSource": one("ssSource", ss_source),
        "mpc_orbits": one("mpc_orbits", mpc_orbit),
        "cutoutDifference": stamps.difference,
        "cutoutScience": stamps.science,
        "cutoutTemplate": stamps.template,
    }
    validate_alert(alert, version)
    return alert


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
