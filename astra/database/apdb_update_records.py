"""Update records: what a correction of stored rows tells to those that copy the database.

A record is JSON text, ordered by its time and its number within the change; one identifier marks the change.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import sqlalchemy as sa

from astra.database.apdb_replica import Moment, open_chunk
from astra.database.bulk import execute_columns
from astra.database.models.apdb import update_record_chunks


class UpdateRecords:
    """One change of the database: its time, and the records of what it changes, in their order.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    time_mjd_tai : float
        When it is made [d, MJD TAI].
    again_at : Moment, optional
        When the change is made again: no record is written then, and versions of objects go into its chunk.
    """

    def __init__(
        self, connection: sa.Connection, time_mjd_tai: float, *, again_at: Moment | None = None
    ) -> None:
        self.connection, self.is_told = connection, again_at is None
        self.time_mjd_tai, self.moment = time_mjd_tai, again_at or Moment.at(time_mjd_tai)
        self.payloads: list[str] = []

    def add(self, update_type: str, **payload: Any) -> None:
        """Add a record, its values as plain numbers."""
        self.payloads.append(json.dumps(payload | {"update_type": update_type}))

    def write(self) -> int:
        """Write the records into the replica chunk of the time; return how many there are."""
        n_records = len(self.payloads) if self.is_told else 0
        if n_records:
            columns: dict[str, list[Any]] = {
                "apdb_replica_chunk": [open_chunk(self.connection, self.moment)] * n_records,
                "update_time_ns": [self.moment.ns] * n_records,
                "update_order": list(range(n_records)),
                "update_unique_id": [uuid.uuid4()] * n_records,
                "update_payload": self.payloads,
            }
            execute_columns(self.connection, sa.insert(update_record_chunks), columns)
        return n_records
