"""One alert out of a container of thousands, without reading the others each time.

The first question to a file notes where each packet begins; the next ones go there. Containers that are
compressed are gone through from the beginning.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro

from astra.alerts.reading import CONTAINER_MAGIC, Packet, read_packets
from astra.errors import AlertError, MissingDataError

INDEXED_FILES = 64
MAX_RECORDS = 200_000  # of a file: more than one detector gives
_ERRORS = (EOFError, ValueError, TypeError, LookupError, OverflowError, MemoryError, RecursionError)
_lock = threading.Lock()


@dataclass(frozen=True)
class PacketIndex:
    """Where the packets of a container begin.

    Parameters
    ----------
    schema : parsed schema
        Of the file.
    offsets : mapping of int to int
        First byte of each packet by its ``diaSourceId``.
    """

    schema: Any
    offsets: Mapping[int, int]


def find_packet(path: Path | str, source_id: int) -> Packet:
    """Read the packet of a detection out of a container.

    Parameters
    ----------
    path : Path or str
        The file.
    source_id : int
        ``diaSourceId``.

    Raises
    ------
    MissingDataError
        If the file, or the packet in it, is not there.
    AlertError
        If the file is damaged.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as exc:
        message = f"alert file {path.name} cannot be read: {exc.strerror}"
        raise MissingDataError(message, path=str(path)) from exc
    with _lock:  # of several who ask at once for one file, one makes the index
        index = _index(path, status.st_mtime_ns, status.st_size)
    if index is None:
        return _search(path, source_id)
    offset = index.offsets.get(source_id)
    if offset is None:
        raise _missing(path, source_id)
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            record: Any = fastavro.schemaless_reader(stream, index.schema, None)
    except (*_ERRORS, OSError) as exc:
        message = f"alert {source_id} of {path.name} cannot be read: {exc}"
        raise AlertError(message, path=str(path), source_id=source_id) from exc
    return Packet(record, index.schema, path)


@functools.lru_cache(maxsize=INDEXED_FILES)
def _index(path: Path, _modified_ns: int, _size: int) -> PacketIndex | None:
    """Note where packets begin; None for a file that is compressed, or no container."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(CONTAINER_MAGIC)) != CONTAINER_MAGIC:
                return None
            stream.seek(0)
            head = fastavro.reader(stream)
            if head.metadata.get("avro.codec", "null") != "null":
                return None
            schema: Any = head.writer_schema
            stream.seek(0)
            return PacketIndex(schema, _offsets(stream, schema))
    except (*_ERRORS, OSError) as exc:
        message = f"alert file {path.name} is not a whole Avro container: {exc}"
        raise AlertError(message, path=str(path)) from exc


def _offsets(stream: Any, schema: Any) -> dict[int, int]:
    found: dict[int, int] = {}
    blocks: Any = fastavro.block_reader(stream)
    for block in blocks:
        content = block.bytes_
        content.seek(0)
        # The block is its number of packets, its length, the packets, and the 16 bytes between blocks.
        begin = block.offset + block.size - 16 - len(content.getbuffer())
        for _ in range(block.num_records):
            start = content.tell()
            record: Any = fastavro.schemaless_reader(content, schema, None)
            found[int(record["diaSourceId"])] = begin + start
            if len(found) > MAX_RECORDS:
                message = f"it has more than {MAX_RECORDS} packets"
                raise ValueError(message)
    return found


def _search(path: Path, source_id: int) -> Packet:
    for packet in read_packets(path):
        if packet.source_id == source_id:
            return packet
    raise _missing(path, source_id)


def _missing(path: Path, source_id: int) -> MissingDataError:
    message = f"alert {source_id} is not in {path.name}"
    return MissingDataError(message, path=str(path), source_id=source_id)


def packet_bytes(packet: Packet) -> bytes:
    """Write a packet as an Avro container of its own."""
    stream = io.BytesIO()
    fastavro.writer(stream, packet.schema, [packet.record])
    return stream.getvalue()
