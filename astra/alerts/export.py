"""Alerts in other forms: JSON, and tables of their detections."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.alerts.reading import Packet
from astra.alerts.schema_tree import branch_for, kind_of, named_schemas
from astra.errors import ConfigError, FormatError
from astra.products.atomic import atomic_path

if TYPE_CHECKING:
    from astropy.table import Table

TABLE_SUFFIXES = (".parquet", ".ecsv", ".fits")
_PLAIN = {"int": "i4", "long": "i8", "float": "f4", "double": "f8", "boolean": "?", "string": "U"}
_MISSING: dict[str, Any] = {"i4": -1, "i8": -1, "f4": math.nan, "f8": math.nan, "?": False, "U": ""}


def packet_json(packet: Packet) -> dict[str, Any]:
    """Return a whole alert as JSON has it.

    Integers of 64 bits become text, since JSON's numbers do not hold them; bytes become Base64, moments ISO
    8601, and NaN null.
    """
    found: dict[str, Any] = _json(packet.record, packet.schema, named_schemas(packet.schema))
    return found


def _json(value: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    schema = branch_for(value, schema, named)
    if isinstance(value, Mapping):
        fields = _field_types(schema)
        return {str(name): _json(item, fields.get(name, "long"), named) for name, item in value.items()}
    if isinstance(value, list):
        items = schema.get("items", "long") if isinstance(schema, Mapping) else "long"
        return [_json(item, items, named) for item in value]
    return _scalar(value, kind_of(schema))


def _field_types(schema: Any) -> dict[str, Any]:
    fields = schema.get("fields", ()) if isinstance(schema, Mapping) else ()
    return {field["name"]: field["type"] for field in fields}


def _scalar(value: Any, kind: str) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if type(value) is int and kind != "int":
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def detection_schema(packet: Packet) -> dict[str, str]:
    """Return the columns of a detection and their Avro types, plain ones alone."""
    field = "candidate" if packet.survey == "ztf" else "diaSource"
    named = named_schemas(packet.schema)
    fields = _field_types(branch_for(packet.record, packet.schema, named))
    record = branch_for(packet.record.get(field), fields.get(field, "null"), named)
    kinds = {name: kind_of(branch_for(0, kind, named)) for name, kind in _field_types(record).items()}
    return {name: kind for name, kind in kinds.items() if kind in _PLAIN}


def detections_table(packets: Iterable[Packet]) -> Table:
    """Put the detections of alerts into one table: ``diaSource`` or ``candidate``; null is masked.

    Parameters
    ----------
    packets : iterable of Packet
        All of one survey; what one schema lacks of another's columns is null.

    Raises
    ------
    FormatError
        If they are of different surveys, or there is none.
    """
    import numpy as np
    from astropy.table import MaskedColumn, Table

    columns: dict[str, str] = {}
    rows: list[Mapping[str, Any]] = []
    surveys: set[str] = set()
    for packet in packets:
        surveys.add(packet.survey)
        columns |= detection_schema(packet)
        rows.append(_detection(packet))
        if packet.survey == "ztf":
            columns["objectId"] = "string"
    if len(surveys) != 1:
        found = " and ".join(sorted(surveys)) or "no alert"
        raise FormatError(f"a table holds the detections of one survey, found {found}")
    table = Table()
    for name, kind in columns.items():
        code = _PLAIN[kind]
        values = [row.get(name) for row in rows]
        empty = [value is None or (isinstance(value, float) and math.isnan(value)) for value in values]
        plain = [_MISSING[code] if gone else value for gone, value in zip(empty, values, strict=True)]
        table[name] = MaskedColumn(np.array(plain, dtype=None if code == "U" else code), mask=empty)
    return table


def _detection(packet: Packet) -> Mapping[str, Any]:
    if packet.survey == "ztf":
        return {**packet.record["candidate"], "objectId": packet.record.get("objectId")}
    found: Mapping[str, Any] = packet.record.get("diaSource") or {}
    return found


def write_detections(path: Path, packets: Iterable[Packet]) -> int:
    """Write the table of detections as the end of the name says; return its length.

    Raises
    ------
    ConfigError
        If the name ends otherwise, or Parquet needs what is not installed.
    FormatError
        As `detections_table`.
    """
    if path.suffix not in TABLE_SUFFIXES:
        message = f"a table is written as {', '.join(TABLE_SUFFIXES)}, found {path.name!r}"
        raise ConfigError(message, path=str(path))
    table = detections_table(packets)
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, table)
        else:
            table.write(temporary, format=path.suffix[1:].replace("ecsv", "ascii.ecsv"), overwrite=True)
    return len(table)


def _write_parquet(path: Path, table: Table) -> None:
    try:
        import pyarrow as pa  # type: ignore[import-not-found,import-untyped,unused-ignore]
        import pyarrow.parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as exc:
        message = "Parquet is written with the extra 'parquet': pip install 'astra-pipeline[parquet]'"
        raise ConfigError(message) from exc
    arrays = {name: pa.array(table[name].tolist(), pa.from_numpy_dtype(table[name].dtype))
              for name in table.colnames}  # fmt: skip
    pyarrow.parquet.write_table(pa.table(arrays), path, compression="zstd")


def json_lines(packets: Iterable[Packet]) -> Iterator[str]:
    """Yield each alert as one line of JSON, in ASCII."""
    import json

    for packet in packets:
        yield json.dumps(packet_json(packet), separators=(",", ":"), allow_nan=False)
