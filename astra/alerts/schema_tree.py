"""Avro schemas as they are read: records that are named once and meant elsewhere, unions in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def named_schemas(schema: Any) -> dict[str, Any]:
    """Return the records, and what else has a name, that a schema defines at any depth.

    Parameters
    ----------
    schema : parsed schema
        As `fastavro.parse_schema` gives it: names are full.
    """
    named: dict[str, Any] = dict(schema.get("__named_schemas", {})) if isinstance(schema, Mapping) else {}
    _collect(schema, named)
    return named


def _collect(schema: Any, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, named)
    elif isinstance(schema, Mapping):
        if isinstance(schema.get("type"), (list, Mapping)):
            _collect(schema["type"], named)
        if "name" in schema:
            named.setdefault(str(schema["name"]), schema)
        for field in schema.get("fields", ()):
            _collect(field["type"], named)
        for part in ("items", "values"):
            _collect(schema.get(part), named)


def resolve(schema: Any, named: Mapping[str, Any]) -> Any:
    """Return what a schema means: what a name stands for, and what is nested as a type."""
    while True:
        if isinstance(schema, str) and schema in named:
            schema = named[schema]
        elif isinstance(schema, Mapping) and isinstance(schema.get("type"), (list, Mapping)):
            schema = schema["type"]
        else:
            return schema


def kind_of(schema: Any) -> str:
    """Return the type of a schema that is resolved and no union: ``record``, ``long`` and so on."""
    return str(schema["type"] if isinstance(schema, Mapping) else schema)


def branch_for(value: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    """Return the branch of a union that a value was written with, resolved; or the schema itself.

    Parameters
    ----------
    value : object
        A part of a record.
    schema : schema
        Of the field.
    named : mapping
        Of `named_schemas`.
    """
    schema = resolve(schema, named)
    if not isinstance(schema, list):
        return schema
    branches = [resolve(branch, named) for branch in schema]
    if value is None:
        return "null"
    kinds = (
        {"record", "map"} if isinstance(value, Mapping) else {"array"} if isinstance(value, list) else None
    )
    fitting = [one for one in branches if kind_of(one) != "null" and (kinds is None or kind_of(one) in kinds)]
    return fitting[0] if fitting else "null"
