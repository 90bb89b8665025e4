"""The tasks of visits, by an index on the visit among their parameters (`ix_task_visit`).

What the members of a batch have in common stands elsewhere (``task_constants``); where a visit is among that,
which no task of astra does, those tasks are found by the key of what they share.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, and_, cast, func, or_, select

from astra.database.bulk import is_among
from astra.database.constants import constants_table
from astra.database.models.state import Status
from astra.database.pages.tasks import VISIT, states_of, stopped_tasks
from astra.database.selection import STATES, codes_of, parameter_text
from astra.database.state import attempt_table, task_table

STATES_BY_RANK = ("failed", "blocked", "running", "pending", "done")

_task = task_table.c


@dataclass(frozen=True)
class StateCounts:
    """How many tasks of a family are in which state, those of batches by their members."""

    family: str
    done: int = 0
    failed: int = 0
    blocked: int = 0
    running: int = 0
    pending: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.failed + self.blocked + self.running + self.pending


@dataclass(frozen=True)
class TasksInBrief:
    """The worst state among the tasks of a detector, and their keys."""

    state: str
    pks: Sequence[int]


def worst_state(states: Collection[str]) -> str:
    """Return the worst of some states; ``none`` of none."""
    return next((word for word in STATES_BY_RANK if word in states), "none")


def of_visits(connection: Connection, instrument: str | None, visits: Collection[int]) -> ColumnElement[bool]:
    """Return the condition that a row of ``task`` is of visits of a camera; rows of batches are left out."""
    own = is_among(connection, VISIT, [str(visit) for visit in sorted(visits)])
    shared = _sharing(connection, visits)
    found = or_(own, _task.constants_pk.in_(shared)) if shared else own
    conditions = [found, _task.batch_size.is_(None)]
    if instrument is not None:
        camera = parameter_text("instrument")
        conditions.append(or_(camera == instrument, camera.is_(None)))
    return and_(*conditions)


def tasks_in_brief(
    connection: Connection, instrument: str, visits: Collection[int]
) -> dict[tuple[int, int], TasksInBrief]:
    """Return the state of the detectors of visits by their tasks, and the keys of those."""
    # As the index has it: then a row is not parsed for it.
    visit, detector = func.coalesce(VISIT, parameter_text("visit")), parameter_text("detector")
    query = select(_task.pk, _task.status_code, visit, detector)
    query = query.where(of_visits(connection, instrument, visits), detector.is_not(None))
    rows: Sequence[Any] = connection.execute(query).all()
    states = states_of(connection, [(pk, code) for pk, code, _, _ in rows])
    keys: dict[tuple[str, str], list[int]] = {}
    for pk, _, *place in rows:
        keys.setdefault((place[0], place[1]), []).append(pk)
    return {
        (int(one), int(number)): TasksInBrief(worst_state({states[pk] for pk in pks}), pks)
        for (one, number), pks in keys.items()
        if one.isdigit() and number.isdigit()
    }


def _sharing(connection: Connection, visits: Collection[int]) -> list[int]:
    """Keys of the sets of common parameters that have one of the visits."""
    text = cast(constants_table.c.parameters["visit"].as_string(), String)
    query = select(constants_table.c.pk).where(is_among(connection, text, [str(visit) for visit in visits]))
    return list(connection.execute(query).scalars())


def count_tasks(connection: Connection, instrument: str, visits: Collection[int]) -> list[StateCounts]:
    """Count the tasks of visits by family and state, in the order in which they began."""
    condition = of_visits(connection, instrument, visits)
    first = func.min(func.coalesce(_task.started, _task.modified))
    query = select(_task.family, _task.status_code, func.count().label("number"), first.label("first"))
    rows = connection.execute(query.where(condition).group_by(_task.family, _task.status_code)).all()
    blocked: dict[str, int] = {}
    if any(row.status_code == Status.CREATED for row in rows):
        stopped = select(_task.family, func.count()).where(
            condition, _task.status_code == int(Status.CREATED), _task.pk.in_(select(stopped_tasks().c.pk))
        )
        blocked = {row[0]: row[1] for row in connection.execute(stopped.group_by(_task.family))}
    families = sorted(
        {row.family for row in rows}, key=lambda name: min(row.first for row in rows if row.family == name)
    )
    return [
        _counts(name, [row for row in rows if row.family == name], blocked.get(name, 0)) for name in families
    ]


def _counts(family: str, rows: Sequence[Any], n_stopped: int) -> StateCounts:
    by_state = {
        word: sum(row.number for row in rows if row.status_code in {int(code) for code in codes})
        for word, codes in STATES.items()
    }
    by_state["pending"] -= n_stopped
    by_state["blocked"] += n_stopped
    return StateCounts(family, **by_state)


def failures(
    connection: Connection, instrument: str, visits: Collection[int], limit: int
) -> list[tuple[str, str]]:
    """Return (task id, message) of the tasks of visits that failed or are blocked, the failed ones first."""
    query = (
        select(_task.pk, _task.task_id, _task.status_code)
        .where(
            of_visits(connection, instrument, visits), _task.status_code.in_(codes_of("failed", "blocked"))
        )
        .order_by(_task.status_code == int(Status.DEPENDENCY_MISSING), _task.pk.desc())
        .limit(limit)
    )
    rows = connection.execute(query).all()
    attempt = attempt_table.c
    latest = select(func.max(attempt.pk)).where(
        is_among(connection, attempt.task_pk, [row.pk for row in rows])
    )
    said = select(attempt.task_pk, attempt.message).where(attempt.pk.in_(latest.group_by(attempt.task_pk)))
    messages = {row.task_pk: row.message for row in connection.execute(said)}
    return [(row.task_id, messages.get(row.pk) or "") for row in rows]
