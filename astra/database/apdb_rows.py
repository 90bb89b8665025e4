"""Rows of the Alert Production Database by object: ids in a statement, markers, times of visits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from astra.database.arrays import fetch
from astra.database.bulk import is_among
from astra.database.models.apdb import apdb_marker

_LOCK_KEY = 0x41504442  # any number that no other user of the database's advisory locks takes
_PAIR: tuple[tuple[int, TypeEngine[Any]], ...] = ((0, sa.BigInteger()), (1, sa.Double()))


@dataclass(frozen=True)
class Marker:
    """The row that says that a visit and detector has been associated.

    Parameters
    ----------
    instrument : str
        Camera name.
    visit, detector : int
        What was processed.
    task_id : str
        Task that did it.
    band : str
        Band, one of ``ugrizy``.
    midpointMjdTai : float
        Middle of the exposure; the validity of the objects that it wrote starts here [d, MJD TAI].
    timeProcessedMjdTai : float
        When it was processed [d, MJD TAI].
    n_dia_sources, n_new_objects, n_updated_objects, n_forced_sources : int
        Rows that it wrote.
    """

    instrument: str
    visit: int
    detector: int
    task_id: str
    band: str
    midpointMjdTai: float  # noqa: N815
    timeProcessedMjdTai: float  # noqa: N815
    n_dia_sources: int = 0
    n_new_objects: int = 0
    n_updated_objects: int = 0
    n_forced_sources: int = 0


def lock(connection: sa.Connection) -> None:
    """Let one transaction at a time associate; the others wait here.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


def load_marker(connection: sa.Connection, instrument: str, visit: int, detector: int) -> Marker | None:
    """Load the marker of a visit and detector; None if it has not been associated."""
    statement = sa.select(apdb_marker).where(*is_visit(apdb_marker, visit, detector))
    row = connection.execute(statement.where(apdb_marker.c.instrument == instrument)).mappings().first()
    return None if row is None else Marker(**row)


def is_visit(table: sa.Table, visit: int, detector: int) -> list[sa.ColumnElement[bool]]:
    """Conditions on the rows of one visit and detector."""
    return [table.c.visit == visit, table.c.detector == detector]


def among(connection: sa.Connection, column: sa.Column[Any], ids: NDArray[Any]) -> sa.ColumnElement[bool]:
    """Condition that a column is one of some ids, however many."""
    return is_among(connection, column, np.asarray(ids, dtype=np.int64).tolist())


def pairs(connection: sa.Connection, ids: NDArray[np.int64], times: NDArray[np.float64]) -> sa.FromClause:
    """Make a table for a statement, columns ``id`` and ``time``, of pairs that travel as one value."""
    if connection.dialect.name == "postgresql":
        lists = (sa.literal(ids.tolist(), ARRAY(sa.BigInteger)), sa.literal(times.tolist(), ARRAY(sa.Double)))
        columns = sa.column("id", sa.BigInteger), sa.column("time", sa.Double)
        return sa.func.unnest(*lists).table_valued(*columns, name="pair").render_derived()
    each = sa.func.json_each(json.dumps(list(zip(ids.tolist(), times.tolist(), strict=True))))
    values = each.table_valued("value").c.value
    part = [sa.func.json_extract(values, f"$[{number}]", type_=kind) for number, kind in _PAIR]
    return sa.select(part[0].label("id"), part[1].label("time")).subquery("pair")


def select_in_ranges(
    connection: sa.Connection, column: sa.Column[Any], bounds: Sequence[tuple[int, int]], names: Sequence[str]
) -> sa.Select[Any]:
    """Select some columns of the rows of which a column lies in one of some ranges that are apart.

    SQLite looks into an index of some rows only for a join, PostgreSQL knows how many rows there will be only
    from conditions.
    """
    query = sa.select(*(column.table.c[name] for name in names))
    if connection.dialect.name == "postgresql":
        return query.where(sa.or_(sa.false(), *(column.between(first, last) for first, last in bounds)))
    values = sa.func.json_each(json.dumps(list(bounds))).table_valued("value").c.value
    part = [sa.func.json_extract(values, f"$[{number}]", type_=sa.BigInteger()) for number in (0, 1)]
    ends = sa.select(part[0].label("first"), part[1].label("last")).subquery("range")
    return query.select_from(ends).join(column.table, column.between(ends.c.first, ends.c.last))


def known_times(connection: sa.Connection, rows: NDArray[Any]) -> NDArray[np.float64]:
    """When rows became known: the midpoint of their visit, as its marker tells it [d, MJD TAI].

    Rows that have no marker count from their own midpoint.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    rows : structured ndarray, shape (n,)
        With ``visit``, ``detector`` and ``midpointMjdTai``.

    Returns
    -------
    times : float64 ndarray, shape (n,)
    """
    times = rows["midpointMjdTai"].astype(np.float64)
    if not len(rows):
        return times
    visits, number = np.unique(rows["visit"], return_inverse=True)
    names = ["visit", "detector", "midpointMjdTai"]
    markers = fetch(connection, apdb_marker, names, among(connection, apdb_marker.c.visit, visits))
    n_detectors = 1 + max(int(rows["detector"].max()), int(markers["detector"].max(initial=0)))
    keys = number * n_detectors + rows["detector"]
    known = np.searchsorted(visits, markers["visit"]) * n_detectors + markers["detector"]
    order = np.argsort(known)
    row = np.searchsorted(known[order], keys)
    found = np.minimum(row, max(len(known) - 1, 0))
    if len(known):
        is_known = known[order][found] == keys
        times[is_known] = markers["midpointMjdTai"][order][found[is_known]]
    return times
