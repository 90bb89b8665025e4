"""Which task has associated which visit and detector."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from astra.database.models.apdb import apdb_marker
from astra.database.state import chunks


def marker_tasks(
    connection: Connection, instrument: str, visits: Iterable[int]
) -> dict[tuple[int, int], str]:
    """Return the task id of the marker of each visit and detector; those without one are left out."""
    columns = (apdb_marker.c.visit, apdb_marker.c.detector, apdb_marker.c.task_id)
    found: dict[tuple[int, int], str] = {}
    for chunk in chunks(set(visits)):
        query = select(*columns).where(apdb_marker.c.instrument == instrument, apdb_marker.c.visit.in_(chunk))
        found.update({(row.visit, row.detector): row.task_id for row in connection.execute(query)})
    return found
