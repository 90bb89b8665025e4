"""Replica chunks: which rows a store or an update has written, for those that copy the database elsewhere.

The chunk of a store is its time in TAI, rounded down to ten minutes; chunk tables refer to the rows
themselves and go with them.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.apdb_rows import is_visit, pairs
from astra.database.models.apdb import (
    dia_forced_source,
    dia_forced_source_chunks,
    dia_object,
    dia_object_chunks,
    dia_source,
    dia_source_chunks,
    replica_chunks,
)

CHUNK_SECONDS = 600
_UNIX_EPOCH_MJD = 40587.0
_SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True)
class Moment:
    """A time at which the database is changed.

    Parameters
    ----------
    ns : int
        Time since 1970-01-01 TAI [ns].
    """

    ns: int

    @classmethod
    def at(cls, mjd_tai: float) -> Moment:
        """Return the moment of a time [d, MJD TAI]."""
        return cls(round((mjd_tai - _UNIX_EPOCH_MJD) * _SECONDS_PER_DAY * 1e6) * 1000)

    @property
    def chunk(self) -> int:
        """Replica chunk that the moment falls into [s since 1970-01-01 TAI]."""
        return self.ns // 10**9 // CHUNK_SECONDS * CHUNK_SECONDS


def open_chunk(connection: sa.Connection, moment: Moment) -> int:
    """Write the row of a moment's chunk, or change it: each store gives it a new ``unique_id``."""
    written = dt.datetime.fromtimestamp(moment.ns / 1e9, tz=dt.UTC)
    values = {"last_update_time": written, "unique_id": uuid.uuid4()}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    upsert = dialect.insert(replica_chunks).values(apdb_replica_chunk=moment.chunk, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["apdb_replica_chunk"], set_=values))
    return moment.chunk


def analyze_if_new(connection: sa.Connection) -> None:
    """Let a server count the rows of tables that it has never counted.

    Until it knows that the primary key tells one row, it looks up what each chunk row refers to by visit,
    among all rows of the visit: a second for 3,000 rows.
    """
    if connection.dialect.name != "postgresql":
        return
    format_table = connection.dialect.identifier_preparer.format_table
    names = [format_table(table) for table in (dia_object, dia_source, dia_forced_source)]
    is_new = "SELECT CAST(oid AS regclass) FROM pg_class WHERE oid = ANY(CAST(:names AS regclass[]))"
    for name in connection.execute(sa.text(f"{is_new} AND reltuples < 0"), {"names": names}).scalars().all():
        connection.exec_driver_sql(f"ANALYZE {name}")


def record_visit(connection: sa.Connection, chunk: int, visit: int, detector: int) -> None:
    """Put the detections and forced measurements of a visit and detector into a chunk."""
    for table, chunks in ((dia_source, dia_source_chunks), (dia_forced_source, dia_forced_source_chunks)):
        names = [column.name for column in chunks.columns]
        columns = [sa.literal(chunk, sa.BigInteger), *(table.c[name] for name in names[1:])]
        rows = sa.select(*columns).where(*is_visit(table, visit, detector))
        connection.execute(sa.insert(chunks).from_select(names, rows))


def record_versions(
    connection: sa.Connection, chunk: int, object_ids: NDArray[np.int64], starts: NDArray[np.float64]
) -> None:
    """Put versions of objects into a chunk."""
    pair = pairs(connection, object_ids, starts)
    rows = sa.select(sa.literal(chunk, sa.BigInteger), pair.c.id, pair.c.time)
    names = [column.name for column in dia_object_chunks.columns]
    connection.execute(sa.insert(dia_object_chunks).from_select(names, rows))
