"""Stored tasks, as what is needed to run them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, select

from astra.database.constants import all_parameters, constants_of
from astra.database.selection import Selection, codes_of, in_state
from astra.database.state import batch_table, run_table, task_table


@dataclass(frozen=True)
class StoredTask:
    """What runs a task again.

    Parameters
    ----------
    task_id, family, module : str
        Identity.
    parameters : mapping
        Text of the parameters, by name.
    status_code : int
        One of `Status`.
    batch_size : int or None
        Number of members of a batch.
    run_command : str or None
        Command line of the run that planned or tried it last.
    """

    task_id: str
    family: str
    module: str
    parameters: Mapping[str, Any]
    status_code: int
    batch_size: int | None
    run_command: str | None


def get_stored_task(connection: Connection, task_id: str) -> StoredTask:
    """Return the task with an id."""
    return _fetch(connection, task_table.c.task_id == task_id)[0]


def find_stored_task(connection: Connection, task_id: str) -> StoredTask | None:
    """Return the task with an id; None if there is none."""
    return next(iter(_fetch(connection, task_table.c.task_id == task_id)), None)


def unfinished_tasks(
    connection: Connection, selection: Selection, states: Iterable[str] = ("failed",)
) -> list[StoredTask]:
    """Return the selected tasks in some states, members in the place of their batches, by state and age.

    A batch counts only where none of its members is in such a state: it then failed by itself.
    """
    found: list[StoredTask] = []
    for state in states:
        found += _fetch(connection, *replace(selection, state=state).conditions())
        if selection.night is None:
            found += _fetch(connection, *_lonely_batch(selection, state))
    return found


def _lonely_batch(selection: Selection, state: str) -> list[ColumnElement[bool]]:
    member = task_table.alias("member")
    is_bad_member = and_(
        batch_table.c.parent_task_pk == task_table.c.pk,
        batch_table.c.child_task_pk == member.c.pk,
        member.c.status_code.in_(codes_of("failed", "blocked")),
    )
    conditions: list[ColumnElement[bool]] = [in_state(state), task_table.c.batch_size.is_not(None)]
    conditions.append(~exists(select(member.c.pk).where(is_bad_member).correlate(task_table)))
    if selection.family is not None:
        conditions.append(task_table.c.family == selection.family)
    return conditions


def _fetch(connection: Connection, *conditions: ColumnElement[bool]) -> list[StoredTask]:
    names = ("task_id", "family", "module", "parameters", "status_code", "batch_size")
    query = (
        select(
            *(task_table.c[name] for name in names),
            constants_of(task_table),
            run_table.c.command.label("run_command"),
        )
        .join(run_table, run_table.c.pk == task_table.c.run_pk, isouter=True)
        .where(*conditions)
        .order_by(task_table.c.pk)
    )
    found = []
    for row in connection.execute(query).mappings():
        values = {**row, "parameters": all_parameters(row)}
        del values["constants"]
        found.append(StoredTask(**values))
    return found
