"""Values of large batches, stored once under the hash of their text."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Mapping

from sqlalchemy import Connection, Table, select

from astra.database.models.state import BatchParameter
from astra.database.state import upsert

values_table: Table = BatchParameter.__table__  # type: ignore[assignment]


def store_values(connection: Connection, texts: Mapping[str, str], n_values: int) -> None:
    """Store texts by digest, compressed; what is there already is left as it is."""
    digests = [digest for digest in texts if not _is_stored(connection, digest)]
    now = dt.datetime.now(dt.UTC)
    for digest in digests:
        row = {
            "digest": digest,
            "n_values": n_values,
            "content": zlib.compress(texts[digest].encode(), level=1),
            "created": now,
        }
        upsert(connection, values_table, [row], ["digest"])


def load_values(connection: Connection, digest: str) -> str | None:
    """Return the text stored under a digest; None if there is none."""
    query = select(values_table.c.content).where(values_table.c.digest == digest)
    content = connection.execute(query).scalar_one_or_none()
    return None if content is None else zlib.decompress(content).decode()


def _is_stored(connection: Connection, digest: str) -> bool:
    query = select(values_table.c.digest).where(values_table.c.digest == digest)
    return connection.execute(query).first() is not None
