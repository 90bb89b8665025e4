"""Avro object containers, written block by block from packets that are encoded already."""

from __future__ import annotations

import hashlib
import json
from typing import IO

from astra.alerts.encoder_kernels import EncodedRows
from astra.alerts.schemas import LATEST_VERSION, load_schema

_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16


class ContainerWriter:
    """Writes a container file: a header with the schema, and blocks of packets.

    The marker between blocks is made from the schema, not drawn: the same packets give the same file.

    Parameters
    ----------
    stream : binary file
        Where to; it stays open.
    version : str, optional
        Schema version.
    """

    def __init__(self, stream: IO[bytes], version: str = LATEST_VERSION) -> None:
        self._stream = stream
        schema = {name: value for name, value in load_schema(version).items() if not name.startswith("__")}
        text = json.dumps(schema).encode()
        self._sync = hashlib.sha256(text).digest()[:_SYNC_BYTES]
        self.count = 0
        metadata = {"avro.codec": b"null", "avro.schema": text}
        entries = b"".join(_bytes(name.encode()) + _bytes(value) for name, value in metadata.items())
        stream.write(_MAGIC + _long(len(metadata)) + entries + b"\0" + self._sync)

    def write(self, packets: EncodedRows) -> None:
        """Write packets as one block; none make no block."""
        if not packets.n_rows:
            return
        self._stream.write(_long(packets.n_rows) + _long(len(packets.data)))
        self._stream.write(packets.data.data)
        self._stream.write(self._sync)
        self.count += packets.n_rows


def _long(value: int) -> bytes:
    """Zig-zag code of a number that is not negative."""
    code, groups = 2 * value, bytearray()
    while code > 127:
        groups.append(code & 127 | 128)
        code >>= 7
    groups.append(code)
    return bytes(groups)


def _bytes(content: bytes) -> bytes:
    return _long(len(content)) + content
