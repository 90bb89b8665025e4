"""What is wrong with an alert: its schema, strictly, and what its schema cannot say.

Readers of Avro take what they can: they fill in what is missing and skip what is too much. Here everything
that differs is told, not the first thing alone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from astra.alerts.packet_checks import MAX_FLOAT32
from astra.alerts.reading import Packet
from astra.alerts.schema_tree import kind_of, named_schemas, resolve
from astra.alerts.schemas import available_versions, load_schema
from astra.alerts.stamps import NAMES, read_stamp
from astra.alerts.views import number
from astra.errors import FormatError

MAX_DEPTH = 32
MAX_SHOWN = 40
IS_NAN = "is NaN, which must be null"

_INTEGER_BITS = {"int": 32, "long": 64}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with an alert.

    Parameters
    ----------
    field : str
        Where, ``prvDiaSources.3.ra`` for example; empty for the alert as a whole.
    what : str
        What must hold, and what was found.
    is_remark : bool, optional
        Whether the schema allows it all the same: a NaN where null is meant.
    """

    field: str
    what: str
    is_remark: bool = False


def find_problems(packet: Packet) -> list[Problem]:
    """Return all that is wrong with an alert; nothing if it is sound.

    It must follow the schema of its writer; one of a version that this package has must follow this package's
    schema of it, and have no NaN, which is a remark with others. Ids must agree, positions be on the sky, the
    history lie before the detection, and stamps be images.

    Parameters
    ----------
    packet : Packet
        Of `astra.alerts.reading.read_packets`.
    """
    problems = list(check_record(packet.record, packet.schema))
    if packet.version in available_versions():
        own = check_record(packet.record, load_schema(packet.version))
        problems += [problem for problem in own if problem not in problems]
    else:
        problems = [replace(one, is_remark=one.what == IS_NAN) for one in problems]
    return [*problems, *_check_ids(packet), *_check_contents(packet)]


def check_record(value: Any, schema: Any) -> Iterator[Problem]:
    """Yield what differs from a schema: fields that are missing or too much, types, ranges, NaN.

    Parameters
    ----------
    value : object
        The record.
    schema : parsed schema
        Of any record, as `fastavro.parse_schema` gives it.
    """
    yield from _check(value, schema, named_schemas(schema), "", 0)


def _check(value: Any, schema: Any, named: Mapping[str, Any], path: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        yield Problem(path, f"is nested more than {MAX_DEPTH} deep")
        return
    schema = resolve(schema, named)
    if isinstance(schema, list):
        yield from _check_union(value, schema, named, path, depth)
        return
    kind = kind_of(schema)
    if kind in {"record", "error"}:
        yield from _check_fields(value, schema, named, path, depth)
    elif kind in {"array", "map"}:
        yield from _check_items(value, schema, named, path, depth)
    else:
        what = _scalar_problem(value, kind, schema if isinstance(schema, Mapping) else {})
        if what:
            yield Problem(path, what)


def _check_union(
    value: Any, branches: list[Any], named: Mapping[str, Any], path: str, depth: int
) -> Iterator[Problem]:
    """Yield nothing if one branch is right; else what is wrong by the last one that is not null."""
    if value is None and "null" in branches:
        return
    found: list[Problem] = []
    for branch in branches:
        if branch == "null":
            continue
        found = list(_check(value, branch, named, path, depth + 1))
        if not found:
            return
    yield from found or [Problem(path, f"must be null, found {_shown(value)}")]


def _check_fields(
    value: Any, schema: Any, named: Mapping[str, Any], path: str, depth: int
) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(path, f"must be a record, found {_shown(value)}")
        return
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    for name in sorted(set(map(str, value)) - set(fields)):
        yield Problem(_below(path, name), "is not in the schema")
    for name, kind in fields.items():
        if name not in value:
            yield Problem(_below(path, name), "is missing")
        else:
            yield from _check(value[name], kind, named, _below(path, name), depth + 1)


def _check_items(
    value: Any, schema: Any, named: Mapping[str, Any], path: str, depth: int
) -> Iterator[Problem]:
    is_list = schema["type"] == "array"
    if not isinstance(value, list if is_list else Mapping):
        yield Problem(path, f"must be {'a list' if is_list else 'a map'}, found {_shown(value)}")
        return
    items: Iterable[tuple[Any, Any]] = enumerate(value) if isinstance(value, list) else value.items()
    inner = schema["items"] if is_list else schema["values"]
    for key, item in items:
        yield from _check(item, inner, named, _below(path, str(key)), depth + 1)


def _scalar_problem(value: Any, kind: str, schema: Mapping[str, Any]) -> str:
    """Say what is wrong with a plain value; nothing if it is right."""
    if str(schema.get("logicalType", "")).startswith(("timestamp", "local-timestamp")):
        right = isinstance(value, dt.datetime)
        return "" if right else f"must be a moment, found {_shown(value)}"
    if kind in _INTEGER_BITS:
        limit = 2 ** (_INTEGER_BITS[kind] - 1)
        right = type(value) is int and -limit <= value < limit
        return "" if right else f"must be an integer of {_INTEGER_BITS[kind]} bits, found {_shown(value)}"
    if kind in {"float", "double"}:
        return _float_problem(value, MAX_FLOAT32 if kind == "float" else math.inf)
    expected: dict[str, tuple[type, str]] = {
        "null": (type(None), "null"),
        "boolean": (bool, "true or false"),
        "string": (str, "text"),
        "bytes": (bytes, "bytes"),
        "fixed": (bytes, "bytes"),
        "enum": (str, "text"),
    }
    if kind not in expected:
        return f"has a type that is not known, {kind!r}"
    klass, words = expected[kind]
    return "" if type(value) is klass else f"must be {words}, found {_shown(value)}"


def _float_problem(value: Any, largest: float) -> str:
    if type(value) is not float:
        return f"must be a float, found {_shown(value)}"
    if math.isnan(value):
        return IS_NAN
    if not abs(value) <= largest or math.isinf(value):
        return f"must be finite, found {value:g}"
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, (bytes, list, dict)):
        return f"{type(value).__name__} of length {len(value)}"
    return f"{type(value).__name__} {value!r}"[:MAX_SHOWN]


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _check_ids(packet: Packet) -> Iterator[Problem]:
    """Ids that stand twice must agree."""
    record = packet.record
    if packet.survey == "ztf":
        inner, outer, name = record["candidate"].get("candid"), record.get("candid"), "candid"
    elif packet.survey == "lsst":
        inner, outer, name = record["diaSource"].get("diaSourceId"), record.get("diaSourceId"), "diaSourceId"
        dia_object = record.get("diaObject")
        theirs = record["diaSource"].get("diaObjectId")
        if isinstance(dia_object, Mapping) and dia_object.get("diaObjectId") != theirs:
            yield Problem("diaObject.diaObjectId", f"must be that of the diaSource, {theirs}")
    else:
        yield Problem("", "is neither of Rubin's kind (diaSource) nor of ZTF's (candidate)")
        return
    if outer is not None and inner != outer:
        yield Problem(name, f"must be that of the detection, {inner}, found {outer}")


def _check_contents(packet: Packet) -> Iterator[Problem]:
    """Positions, times and stamps."""
    record = packet.record
    field, history, time = (
        ("candidate", "prv_candidates", "jd")
        if packet.survey == "ztf"
        else ("diaSource", "prvDiaSources", "midpointMjdTai")
    )
    source = record.get(field)
    if not isinstance(source, Mapping):
        return
    ra, dec, now = number(source, "ra"), number(source, "dec"), number(source, time)
    if not 0.0 <= ra < 360.0:
        yield Problem(f"{field}.ra", f"must be from 0 to 360 deg, found {ra:g}")
    if not abs(dec) <= 90.0:
        yield Problem(f"{field}.dec", f"must be from -90 to 90 deg, found {dec:g}")
    for index, row in enumerate(record.get(history) or []):
        if isinstance(row, Mapping) and number(row, time) > now:
            yield Problem(f"{history}.{index}.{time}", "must be before the detection")
    for name in NAMES.values():
        try:
            read_stamp(record.get(name), ra=ra, dec=dec)
        except FormatError as exc:
            yield Problem(name, str(exc))
