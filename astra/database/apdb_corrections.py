"""Taking corrections back and making them again, around what associates their visits again.

Association does not know of corrections that were made after it: they are taken back before a visit is
associated again, and made again after it, in their order and at their time. The tables are then those of
corrections that were made after a clean run. What a correction names and is not there stays noted, for when
it comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import sqlalchemy as sa
from lsst.sphgeom import ConvexPolygon
from numpy.typing import NDArray

from astra.database import apdb_facts
from astra.database.apdb_changes import (
    close,
    count_sources,
    find_rows,
    last_versions,
    load_forced_rows,
    merge,
    reassign,
    reassign_to_bodies,
    set_forced,
    set_source,
    withdraw,
    withdraw_forced,
)
from astra.database.apdb_current import sorted_ids
from astra.database.apdb_facts import CLOSE, FORCED, MERGE, REASSIGN, SOLAR, WITHDRAW, Fact
from astra.database.apdb_replica import Moment, open_chunk
from astra.database.apdb_rows import among, is_visit
from astra.database.apdb_sums import forget_sums
from astra.database.apdb_update_records import UpdateRecords
from astra.database.apdb_versions import remake_current
from astra.database.arrays import fetch
from astra.database.models.apdb import dia_forced_source, dia_object, dia_source

# Column of a detection by which one tells whether a correction holds, and of the fact that says its value.
_HOLDS = {
    WITHDRAW: ("timeWithdrawnMjdTai", "timeMjdTai"),
    REASSIGN: ("diaObjectId", "target"),
    SOLAR: ("ssObjectId", "target"),
}


def take_back(
    connection: sa.Connection, facts: Sequence[Fact], moment: Moment, plugins: Sequence[str]
) -> None:
    """Make the rows as they were before corrections, the latest first; `make_again` is to follow.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    facts : sequence of dict
        In the order in which they were noted, with all that tell of the same objects.
    moment : Moment
        Now, whose replica chunk versions of objects go into.
    plugins : sequence of str
        Statistics of these, see `astra.database.apdb_store.store_visit`.
    """
    objects = apdb_facts.objects_of(facts)
    for fact in reversed(facts):
        rows = find_rows(connection, [fact["diaSourceId"]] if fact["diaSourceId"] else [])
        objects |= {row["diaObjectId"] for row in rows if row["diaObjectId"] is not None}
        # What the fact does not hold for has not been corrected: its rows were not there, or have changed.
        if fact["kind"] == FORCED:
            forced = load_forced_rows(connection, [_key(fact)]).values()
            held = [row for row in forced if row["timeWithdrawnMjdTai"] == fact["timeMjdTai"]]
            set_forced(connection, held, None)
        elif fact["kind"] in _HOLDS:
            column, said = _HOLDS[fact["kind"]]
            held = [row for row in rows if row[column] == fact[said]]
            before = {name: [value] * len(held) for name, value in _before(fact).items()}
            set_source(connection, held, **before)
    apdb_facts.forget(connection, facts)
    _reopen(connection, objects, moment, plugins)


def _before(fact: Fact) -> dict[str, Any]:
    """Return what a detection said before a correction."""
    if fact["kind"] == WITHDRAW:
        return {"timeWithdrawnMjdTai": None}
    owner = {"diaObjectId": fact["previousDiaObjectId"]}
    if fact["kind"] == REASSIGN:
        return owner
    return owner | {"ssObjectId": fact["previousSsObjectId"], "ssObjectReassocTimeMjdTai": None}


def take_back_of_visit(
    connection: sa.Connection,
    visit: int,
    detector: int,
    *new: NDArray[Any],
    time_mjd_tai: float,
    plugins: Sequence[str],
) -> list[Fact]:
    """Take back what corrections say of a visit that is stored already, or was; see `take_back`.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    visit, detector : int
        What is stored or removed.
    *new : structured ndarray
        Rows that it will have, with ``diaObjectId``.
    time_mjd_tai : float
        Now [d, MJD TAI].
    plugins : sequence of str
        Statistics of versions of objects that are made again.

    Returns
    -------
    facts : list of dict
        What `make_again` takes.
    """
    if not apdb_facts.are_there_any(connection):
        return []
    own = [
        fetch(connection, table, ["diaObjectId"], *is_visit(table, visit, detector))["diaObjectId"]
        for table in (dia_source, dia_forced_source)
    ]
    given = [rows["diaObjectId"] for rows in new if "diaObjectId" in (rows.dtype.names or ())]
    ids = np.unique(np.concatenate([*own, *given])).astype(np.int64)
    facts = apdb_facts.facts_of_visit(connection, visit, detector, ids)
    if not any(map(len, own)) and not apdb_facts.names_visit(facts, visit, detector):
        return []
    take_back(connection, facts, Moment.at(time_mjd_tai), plugins)
    return facts


def take_back_in(
    connection: sa.Connection,
    regions: Sequence[ConvexPolygon],
    visit: int,
    detector: int,
    *,
    is_again: bool,
    time_mjd_tai: float,
    plugins: Sequence[str],
) -> list[Fact]:
    """Take back what corrections say of regions, if they are associated again; see `take_back`.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    regions : sequence of ConvexPolygon
        Where the detectors looked that are associated.
    visit, detector : int
        The first of them.
    is_again : bool
        Whether any has been associated before. If not, only corrections of rows of the first count, which
        were there once: association goes by all others as they are.
    time_mjd_tai : float
        Now [d, MJD TAI].
    plugins : sequence of str
        Statistics of versions of objects that are made again.

    Returns
    -------
    facts : list of dict
        What `make_again` takes.
    """
    if not apdb_facts.are_there_any(connection):
        return []
    facts = apdb_facts.facts_in(connection, regions)
    if not is_again and not apdb_facts.names_visit(facts, visit, detector):
        return []
    take_back(connection, facts, Moment.at(time_mjd_tai), plugins)
    return facts


def make_again(
    connection: sa.Connection, facts: Iterable[Fact], time_mjd_tai: float, plugins: Sequence[str]
) -> None:
    """Make corrections again that were taken back, each as of its own time; no record tells it."""
    asked = _renamed(connection, [fact for fact in facts if not fact["by_merge"]])
    for (kind, time), group in groupby(asked, key=lambda fact: (fact["kind"], fact["timeMjdTai"])):
        together = list(group)
        possible = _possible(connection, kind, together)
        update = UpdateRecords(connection, time, again_at=Moment.at(time_mjd_tai))
        if kind == MERGE:
            merge(update, {fact["diaObjectId"]: fact["target"] for fact in possible}, plugins)
        elif kind == REASSIGN:
            reassign(update, {fact["diaSourceId"]: fact["target"] for fact in possible}, plugins)
        elif kind == SOLAR:
            reassign_to_bodies(update, {fact["diaSourceId"]: fact["target"] for fact in possible}, plugins)
        elif kind == WITHDRAW:
            withdraw(update, [fact["diaSourceId"] for fact in possible], plugins)
        elif kind == FORCED:
            withdraw_forced(update, [_key(fact) for fact in possible], plugins)
        else:
            close(update, [fact["diaObjectId"] for fact in possible])
        apdb_facts.note(connection, (fact for fact in together if fact not in possible))


def _renamed(connection: sa.Connection, facts: Sequence[Fact]) -> list[Fact]:
    """Let facts name objects as they are called now.

    An object is named after its first detection; if an earlier one has come, that still belongs to it.
    """
    ids = apdb_facts.objects_of(facts)
    there = {row["diaObjectId"] for row in last_versions(connection, np.array(sorted(ids), dtype=np.int64))}
    owners = {row["diaSourceId"]: row["diaObjectId"] for row in find_rows(connection, ids - there)}
    names = {number: owner for number, owner in owners.items() if owner is not None}
    renamed = []
    for fact in facts:
        columns = apdb_facts.object_columns(fact)
        renamed.append({**fact, **{name: names.get(fact[name], fact[name]) for name in columns}})
    return [fact for fact in renamed if fact["kind"] != MERGE or fact["diaObjectId"] != fact["target"]]


def _possible(connection: sa.Connection, kind: str, facts: Sequence[Fact]) -> list[Fact]:
    """Return those facts whose rows are there, and whose object is current that gets something."""
    if kind == FORCED:
        there = load_forced_rows(connection, [_key(fact) for fact in facts])
        return [fact for fact in facts if _key(fact) in there]
    ids = {fact[name] for fact in facts for name in ("diaObjectId", "target") if fact[name] is not None}
    last = {row["diaObjectId"]: row for row in last_versions(connection, np.array(sorted(ids)))}
    current = {number for number, row in last.items() if row["validityEndMjdTai"] is None}
    if kind in {MERGE, CLOSE}:
        wanted = current if kind == MERGE else {None}
        return [f for f in facts if f["diaObjectId"] in last and f["target"] in wanted]
    found = {row["diaSourceId"] for row in find_rows(connection, [fact["diaSourceId"] for fact in facts])}
    return [f for f in facts if f["diaSourceId"] in found and (kind != REASSIGN or f["target"] in current)]


def _key(fact: Fact) -> tuple[int, int, int]:
    return fact["diaObjectId"], fact["visit"], fact["detector"]


def _reopen(
    connection: sa.Connection, object_ids: Iterable[int], moment: Moment, plugins: Sequence[str]
) -> None:
    """Let objects that have detections have a current version again, made of all of them."""
    ids = sorted_ids(object_ids)
    forget_sums(connection, ids)
    counts = count_sources(connection, ids)
    last = [row for row in last_versions(connection, ids) if row["diaObjectId"] in counts]
    closed = [row for row in last if row["validityEndMjdTai"] is not None]
    for start in {row["validityStartMjdTai"] for row in closed}:
        own = sorted_ids(row["diaObjectId"] for row in closed if row["validityStartMjdTai"] == start)
        is_last = dia_object.c.validityStartMjdTai == start
        condition = among(connection, dia_object.c.diaObjectId, own), is_last
        connection.execute(sa.update(dia_object).where(*condition).values(validityEndMjdTai=None))
    chunk = open_chunk(connection, moment)
    remake_current(connection, sorted_ids(counts), chunk=chunk, plugins=plugins)
