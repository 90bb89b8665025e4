"""Alerts of any survey as they lie in files: Avro containers, and packets in the wire format."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro

from astra.alerts.packets import Alert
from astra.alerts.schemas import Schema, available_versions, load_schema, schema_id, schema_version
from astra.alerts.wire import decode, decode_header
from astra.errors import AlertError, MissingDataError

CONTAINER_MAGIC = b"Obj\x01"

_SCHEMA_NAME = re.compile(r"(?P<space>lsst|astra)\.v(?P<major>\d{1,4})_(?P<minor>\d{1,2})\.alert", re.ASCII)
# What fastavro raises on a file that is damaged, or made to harm.
_FILE_ERRORS = (
    EOFError, ValueError, TypeError, LookupError, OverflowError, MemoryError, RecursionError, struct.error,
    zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Packet:
    """One alert, and the schema that it was written with.

    Parameters
    ----------
    record : dict
        The alert as it is.
    schema : parsed schema
        Of its writer.
    path : Path
        Its file.
    number : int
        Which one in the file, from 1.
    """

    record: Alert = field(repr=False)
    schema: Any = field(repr=False)
    path: Path
    number: int = 1

    @property
    def schema_name(self) -> str:
        """Full name of the schema, ``lsst.v11_1.alert`` for example."""
        name, space = str(self.schema.get("name", "")), self.schema.get("namespace")
        return f"{space}.{name}" if space and "." not in name else name

    @property
    def version(self) -> str | None:
        """Version of a schema of Rubin's or of ours, ``11.1`` or ``astra-1.0``; None of any other."""
        match = _SCHEMA_NAME.fullmatch(self.schema_name)
        if match is None:
            return None
        return f"{'astra-' if match['space'] == 'astra' else ''}{match['major']}.{match['minor']}"

    @property
    def survey(self) -> str:
        """The alert's kind, by its fields: ``lsst``, ``ztf`` or ``unknown``."""
        if isinstance(self.record.get("diaSource"), Mapping):
            return "lsst"
        return "ztf" if isinstance(self.record.get("candidate"), Mapping) else "unknown"

    @property
    def source_id(self) -> int | None:
        """``diaSourceId`` or ``candid``."""
        source = self.record.get("diaSource")
        nested = source.get("diaSourceId") if isinstance(source, Mapping) else None
        for value in (self.record.get("diaSourceId"), nested, self.record.get("candid")):
            if isinstance(value, int):
                return value
        return None


def read_packets(path: Path | str, schemas: Mapping[int, Schema] | None = None) -> Iterator[Packet]:
    """Read the alerts of a file one at a time.

    Parameters
    ----------
    path : Path or str
        An Avro object container, or one packet in the wire format.
    schemas : mapping of int to parsed schema, optional
        Writer schemas of packets on the wire by their number; those of this package are known without it, and
        those of ``lsst-alert-packet`` where that is installed.

    Yields
    ------
    packet : Packet

    Raises
    ------
    MissingDataError
        If the file is not there.
    AlertError
        If it is neither, or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            beginning = stream.read(len(CONTAINER_MAGIC))
            stream.seek(0)
            if beginning == CONTAINER_MAGIC:
                yield from _read_container(path, stream)
                return
            data = stream.read()
    except OSError as exc:
        message = f"alert file {path} cannot be read: {exc.strerror}"
        raise MissingDataError(message, path=str(path)) from exc
    yield _read_wire(path, data, schemas or {})


def _read_container(path: Path, stream: Any) -> Iterator[Packet]:
    number = 0
    try:
        reader = fastavro.reader(stream)
        schema: Any = reader.writer_schema
        for number, record in enumerate(reader, 1):
            if not isinstance(record, dict):
                message = f"alert {number} of {path} is no record but {type(record).__name__}"
                raise AlertError(message, path=str(path), number=number)
            yield Packet(record, schema, path, number)
    except _FILE_ERRORS as exc:
        message = f"alert file {path} is not a whole Avro container, after alert {number}: {exc}"
        raise AlertError(message, path=str(path), number=number) from exc


def _read_wire(path: Path, data: bytes, schemas: Mapping[int, Schema]) -> Packet:
    try:
        number = decode_header(data)
    except AlertError as exc:
        message = f"{path} is no alert: it begins neither as an Avro container nor as a packet on the wire"
        raise AlertError(message, path=str(path)) from exc
    version = schema_version(number)
    schema = schemas.get(number) or (
        load_schema(version) if version in available_versions() else _official_schema(path, number)
    )
    try:
        return Packet(decode(data, {number: schema}), schema, path)
    except AlertError as exc:
        raise AlertError(f"{path}: {exc}", path=str(path), **exc.context) from exc


def _official_schema(path: Path, number: int) -> Schema:
    """Load a schema of Rubin's own package, where it is installed.

    Raises
    ------
    AlertError
        If it is not, or has no such schema.
    """
    major, minor = divmod(number, 100)
    try:
        from lsst.alert.packet import Schema as OfficialSchema
        from lsst.alert.packet import get_schema_path
    except ImportError:
        raise _unknown(path, number) from None
    file = Path(get_schema_path(major, minor)) / f"lsst.v{major}_{minor}.alert.avsc"
    if not file.is_file():
        raise _unknown(path, number)
    schema: Schema = OfficialSchema.from_file(str(file)).definition
    return schema


def _unknown(path: Path, number: int) -> AlertError:
    known = ", ".join(available_versions())
    message = (
        f"{path} is written with schema {schema_version(number)}; known are {known}, "
        "and those of the package lsst-alert-packet if it is installed"
    )
    return AlertError(message, path=str(path), schema_id=number)


def wire_bytes(packet: Packet) -> bytes:
    """Encode a packet of Rubin's kind for the wire again, with the schema that it was written with.

    Raises
    ------
    AlertError
        If its schema has no number, or it does not follow it.
    """
    if packet.version is None:
        message = (
            f"alert {packet.source_id} of {packet.path} is written with {packet.schema_name or 'no name'}, "
            "which has no number on the wire"
        )
        raise AlertError(message, path=str(packet.path))
    stream = io.BytesIO()
    stream.write(struct.pack(">bI", 0, schema_id(packet.version)))
    fastavro.schemaless_writer(stream, packet.schema, packet.record)
    return stream.getvalue()
