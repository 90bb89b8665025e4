"""Alerts on the wire: a zero byte, the schema's number in 4 bytes, big-endian, and the Avro body."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import fastavro

from astra.alerts.packets import Alert
from astra.alerts.schemas import LATEST_VERSION, Schema, load_schema, schema_id, schema_version
from astra.errors import AlertError

_HEADER = struct.Struct(">bI")
_MAGIC = 0

# What fastavro raises on a body that does not follow its schema.
_BODY_ERRORS = (
    *(EOFError, ValueError, TypeError, LookupError, struct.error, OverflowError, MemoryError),
    fastavro.read.SchemaResolutionError,
)


def encode(alert: Mapping[str, Any], version: str = LATEST_VERSION) -> bytes:
    """Encode a packet that `astra.alerts.packets.make_alert` made.

    Raises
    ------
    AlertError
        If it does not fit the schema.
    """
    stream = io.BytesIO()
    stream.write(_HEADER.pack(_MAGIC, schema_id(version)))
    try:
        fastavro.schemaless_writer(stream, load_schema(version), alert, strict=True)
    except _BODY_ERRORS as exc:
        message = f"alert {alert.get('diaSourceId')} does not fit schema {version}: {exc}"
        raise AlertError(message, diaSourceId=alert.get("diaSourceId"), version=version) from exc
    return stream.getvalue()


def decode_header(data: bytes) -> int:
    """Return the schema number of a framed packet.

    Raises
    ------
    AlertError
        If the frame is not one.
    """
    if len(data) < _HEADER.size or data[0] != _MAGIC:
        message = (
            f"a framed alert starts with byte 0 and a 4-byte schema id, found {bytes(data[:5]).hex(' ')!r}"
        )
        raise AlertError(message, size=len(data))
    return int(_HEADER.unpack_from(data)[1])


def decode(data: bytes, schemas: Mapping[int, Schema] | None = None, *, version: str | None = None) -> Alert:
    """Decode a framed packet with the schema that wrote it.

    Parameters
    ----------
    data : bytes
        Frame and body.
    schemas : mapping of int to parsed schema, optional
        Writer schemas by number; those of this package are known without it.
    version : str, optional
        Schema version to bring the packet to: fields that this one lacks are left out, and those that the
        packet lacks are null. None: as it was written.

    Raises
    ------
    AlertError
        If the frame, the schema number or the body is not what it must be.
    """
    number = decode_header(data)
    schema = (schemas or {}).get(number) or load_schema(schema_version(number))
    stream = io.BytesIO(data)
    stream.seek(_HEADER.size)
    try:
        record = fastavro.schemaless_reader(stream, schema, None if version is None else load_schema(version))
    except _BODY_ERRORS as exc:
        message = f"the body of an alert of {len(data)} bytes does not follow schema {number}: {exc}"
        raise AlertError(message, size=len(data), schema_id=number) from exc
    if stream.tell() != len(data) or not isinstance(record, dict):
        message = f"an alert of schema {number} ends at byte {stream.tell()} of {len(data)}"
        raise AlertError(message, size=len(data), schema_id=number)
    return record
