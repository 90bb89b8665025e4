"""The current versions of objects after a correction of what they are made of: made again, or closed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from astra.database.apdb_replica import open_chunk
from astra.database.apdb_rows import among
from astra.database.apdb_sums import forget_sums
from astra.database.apdb_update_records import UpdateRecords
from astra.database.apdb_versions import remake_current
from astra.database.models.apdb import dia_object

Row = Mapping[str, Any]


def load_current(connection: sa.Connection, object_ids: Iterable[int]) -> list[Row]:
    """Load what is told of the current versions of objects, in order of their ids."""
    names = ("diaObjectId", "ra", "dec", "nDiaSources")
    is_current = dia_object.c.validityEndMjdTai.is_(None)
    condition = among(connection, dia_object.c.diaObjectId, sorted_ids(object_ids))
    query = sa.select(*(dia_object.c[name] for name in names)).where(condition, is_current)
    return [dict(row) for row in connection.execute(query.order_by("diaObjectId")).mappings()]


def refresh_objects(update: UpdateRecords, object_ids: Iterable[int | None], plugins: Sequence[str]) -> None:
    """Make the current versions of objects again, and close those that have no detection left.

    Parameters
    ----------
    update : UpdateRecords
        The change, which has been made; a record is added for each object whose number of detections differs.
    object_ids : iterable of int or None
        Whose measurements have changed.
    plugins : sequence of str
        Statistics, see `astra.database.apdb_store.store_visit`.
    """
    connection, ids = update.connection, sorted_ids(number for number in object_ids if number is not None)
    if not len(ids):
        return
    before = load_current(connection, ids)
    forget_sums(connection, ids)
    made = remake_current(connection, ids, chunk=open_chunk(connection, update.moment), plugins=plugins)
    counts = dict(zip(made["diaObjectId"].tolist(), made["nDiaSources"].tolist(), strict=True))
    for row in before:
        number = counts.get(row["diaObjectId"])
        if number not in {None, row["nDiaSources"]}:
            update.add("update_n_dia_sources", **_place(row), nDiaSources=number)
    close_objects(update, [row for row in before if row["diaObjectId"] not in counts], n_dia_sources=0)


def close_objects(
    update: UpdateRecords, current: Collection[Row], *, n_dia_sources: int | None = None
) -> None:
    """End the validity of current versions at the time of a change, and tell it.

    Parameters
    ----------
    update : UpdateRecords
        The change.
    current : collection of mapping
        The versions, see `load_current`.
    n_dia_sources : int, optional
        How many detections they have now, if that has changed.
    """
    connection, time = update.connection, update.time_mjd_tai
    ids = sorted_ids(row["diaObjectId"] for row in current)
    condition = among(connection, dia_object.c.diaObjectId, ids), dia_object.c.validityEndMjdTai.is_(None)
    changes = {} if n_dia_sources is None else {"nDiaSources": n_dia_sources}
    connection.execute(sa.update(dia_object).where(*condition).values(validityEndMjdTai=time, **changes))
    for row in current:
        update.add(
            "close_diaobject_validity", **_place(row), validityEndMjdTai=time, nDiaSources=n_dia_sources
        )


def sorted_ids(ids: Iterable[int]) -> NDArray[np.int64]:
    """Sort identifiers, each once."""
    return np.array(sorted(set(ids)), dtype=np.int64)


def _place(row: Row) -> dict[str, Any]:
    """Return what a record of an object tells of it: the copy is found by where the object was."""
    return {name: row[name] for name in ("diaObjectId", "ra", "dec")}
