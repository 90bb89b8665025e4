"""Corrections as facts: one row of ``apdb_correction`` for each thing that was asked for, in order.

The rows that a correction changed are written anew when a visit is associated again; what was asked for must
not be lost with them. A fact tells what to do, and what the row said before, so that it can be taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from lsst.sphgeom import ConvexPolygon
from numpy.typing import NDArray

from astra.database.apdb_rows import among
from astra.database.bulk import execute_columns
from astra.database.models.corrections import apdb_correction
from astra.sky.regions import contains, dilate, htm_pixels, htm_ranges

REASSIGN, SOLAR, WITHDRAW, FORCED, MERGE, CLOSE = (
    *("reassign", "solar", "withdraw", "withdraw_forced"),
    *("merge", "close"),
)
Fact = Mapping[str, Any]

MARGIN_ARCSEC = 20.0  # objects this far beyond a detector may still be the ones detected on it
_REGIONS_PER_STATEMENT, _RANGES = 50, 8
_OWN = tuple(column.name for column in apdb_correction.columns if column.name not in {"pk", "pixelId"})
_OBJECTS = ("diaObjectId", "target", "previousDiaObjectId")


def note(connection: sa.Connection, facts: Iterable[Fact]) -> None:
    """Write facts, in order; columns that they lack are null."""
    rows = [{name: fact.get(name) for name in _OWN} for fact in facts]
    if rows:
        columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _OWN}
        columns["by_merge"] = [bool(value) for value in columns["by_merge"]]
        columns["pixelId"] = htm_pixels(np.array(columns["ra"]), np.array(columns["dec"])).tolist()
        execute_columns(connection, sa.insert(apdb_correction), columns)


def forget(connection: sa.Connection, facts: Iterable[Fact]) -> None:
    """Delete facts."""
    keys = np.array([fact["pk"] for fact in facts], dtype=np.int64)
    connection.execute(sa.delete(apdb_correction).where(among(connection, apdb_correction.c.pk, keys)))


def are_there_any(connection: sa.Connection) -> bool:
    """Whether anything has ever been corrected."""
    return connection.execute(sa.select(apdb_correction.c.pk).limit(1)).first() is not None


def merged_into(connection: sa.Connection, object_ids: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Return which objects have been merged, each with the one that stays."""
    table = apdb_correction.c
    query = sa.select(table.diaObjectId, table.target).where(
        among(connection, table.diaObjectId, object_ids), table.kind == MERGE
    )
    return {(row[0], row[1]) for row in connection.execute(query)}


def facts_in(connection: sa.Connection, regions: Sequence[ConvexPolygon]) -> list[Fact]:
    """Load the facts of regions, and those that go with them, as they tell of the same objects."""
    found: dict[int, Fact] = {}
    for first in range(0, len(regions), _REGIONS_PER_STATEMENT):
        around = [dilate(one, MARGIN_ARCSEC) for one in regions[first : first + _REGIONS_PER_STATEMENT]]
        ranges = {pair for region in around for pair in htm_ranges(region, max_ranges=_RANGES)}
        is_near = sa.or_(sa.false(), *(apdb_correction.c.pixelId.between(*pair) for pair in ranges))
        for fact in _load(connection, is_near):
            if any(contains(region, fact["ra"], fact["dec"]) for region in around):
                found[fact["pk"]] = fact
    return _with_relatives(connection, found)


def facts_of_visit(
    connection: sa.Connection, visit: int, detector: int, object_ids: NDArray[np.int64]
) -> list[Fact]:
    """Load the facts of the rows of a visit and detector, or of objects, and those that go with them."""
    is_own = (apdb_correction.c.visit == visit) & (apdb_correction.c.detector == detector)
    found = {fact["pk"]: fact for fact in _load(connection, is_own)}
    found |= {fact["pk"]: fact for fact in _of_objects(connection, object_ids.tolist())}
    return _with_relatives(connection, found)


def names_visit(facts: Iterable[Fact], visit: int, detector: int) -> bool:
    """Whether a fact tells of a row of a visit and detector."""
    return any((fact["visit"], fact["detector"]) == (visit, detector) for fact in facts)


def objects_of(facts: Iterable[Fact]) -> set[int]:
    """Return the objects that facts tell of."""
    return {fact[name] for fact in facts for name in object_columns(fact) if fact[name] is not None}


def object_columns(fact: Fact) -> tuple[str, ...]:
    """Return the columns that name objects; the target of the solar system is none."""
    return tuple(name for name in _OBJECTS if not (fact["kind"] == SOLAR and name == "target"))


def _with_relatives(connection: sa.Connection, found: dict[int, Fact]) -> list[Fact]:
    """Add the facts that tell of the same objects, and so on; in the order in which they were noted."""
    known: set[int] = set()
    while new := objects_of(found.values()) - known:
        known |= new
        found |= {fact["pk"]: fact for fact in _of_objects(connection, sorted(new))}
    return [found[pk] for pk in sorted(found)]


def _of_objects(connection: sa.Connection, object_ids: Collection[int]) -> list[Fact]:
    """Load the facts that tell of objects."""
    ids = np.array(list(object_ids), dtype=np.int64)
    found = [
        fact
        for name in _OBJECTS
        for fact in _load(connection, among(connection, apdb_correction.c[name], ids))
    ]
    return [fact for fact in found if objects_of([fact]) & set(object_ids)]


def _load(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Fact]:
    rows = connection.execute(sa.select(apdb_correction).where(condition)).mappings()
    return [dict(row) for row in rows]
