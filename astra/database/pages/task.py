"""One task and what surrounds it, within limits: a batch may have a million members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from astra.database.constants import all_parameters, constants_of
from astra.database.inputs import file_table, input_table
from astra.database.models.state import Status
from astra.database.pages.tasks import Neighbours, neighbours_of, states_of
from astra.database.queries import read_rows
from astra.database.selection import STATES, codes_of
from astra.database.state import (
    attempt_table,
    batch_table,
    dependency_table,
    metadata_table,
    product_table,
    run_table,
    task_table,
)

LISTED = 50  # of attempts, inputs, outputs ...
COUNTED = 20_000  # members of a batch, dependents ...: more are told as "at least"


@dataclass(frozen=True)
class Listing:
    """Some rows of many.

    Parameters
    ----------
    rows : sequence of mapping
        The first of them.
    n_rows : int
        How many there are; `COUNTED` stands for that many or more.
    """

    rows: Sequence[Mapping[str, Any]]
    n_rows: int

    @property
    def n_left_out(self) -> int:
        """How many are not among the rows."""
        return self.n_rows - len(self.rows)


@dataclass(frozen=True)
class TaskDetails:
    """All that a page shows of one task; each mapping has the names of a table's columns.

    Parameters
    ----------
    task : mapping
        Row of ``task``, all its parameters, and ``state`` in words.
    run : mapping or None
        Row of ``run``, of its last attempt, or of that which planned it.
    attempts : Listing
        Rows of ``task_attempt``, the last ones, oldest first.
    batches : sequence of mapping
        task_id, batch_size and position of batches that it is a member of.
    members : mapping
        Of a batch: members by state, of the first `COUNTED`.
    troubled_members, inputs, dependents : Listing
        task_id, family, state: members that failed, and the lineage.
    read : Listing
        path, size and checksum of files that it read.
    outputs : Listing
        pk, kind, path, size, checksum and created of files that it wrote.
    figures : mapping
        Rows of ``task_metadata``.
    neighbours : Neighbours
        The tasks of its family before and after it.
    """

    task: Mapping[str, Any]
    run: Mapping[str, Any] | None
    attempts: Listing
    batches: Sequence[Mapping[str, Any]]
    members: Mapping[str, int]
    troubled_members: Listing
    inputs: Listing
    dependents: Listing
    read: Listing
    outputs: Listing
    figures: Mapping[str, Any]
    neighbours: Neighbours


def task_details(connection: Connection, task_id: str) -> TaskDetails | None:
    """Return what a page shows of a task; None if there is none of that id."""
    query = select(task_table, constants_of(task_table)).where(task_table.c.task_id == task_id)
    found = read_rows(connection, query)
    if not found:
        return None
    task = {**found[0], "parameters": all_parameters(found[0])}
    key = task["pk"]
    task["state"] = states_of(connection, [(key, task["status_code"])])[key]
    figures = select(metadata_table).where(metadata_table.c.task_pk == key).order_by(metadata_table.c.key)
    attempts = _attempts(connection, key)
    return TaskDetails(
        task={name: value for name, value in task.items() if name not in {"constants", "constants_pk"}},
        run=_run(connection, task, attempts),
        attempts=attempts,
        batches=_batches(connection, key),
        members=_members(connection, key) if task["batch_size"] is not None else {},
        troubled_members=_troubled(connection, key) if task["batch_size"] is not None else Listing((), 0),
        inputs=_relatives(connection, dependency_table.c.task_pk, dependency_table.c.required_task_pk, key),
        dependents=_relatives(
            connection, dependency_table.c.required_task_pk, dependency_table.c.task_pk, key
        ),
        read=_read(connection, key),
        outputs=_outputs(connection, key),
        figures={row.key: row.value for row in connection.execute(figures.limit(500))},
        neighbours=neighbours_of(connection, task["family"], key),
    )


def _count(connection: Connection, condition: ColumnElement[bool], key: ColumnElement[Any]) -> int:
    """Count rows, up to `COUNTED`."""
    some = select(key).where(condition).limit(COUNTED).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _attempts(connection: Connection, key: int) -> Listing:
    columns, own = attempt_table.c, attempt_table.c.task_pk == key
    last = read_rows(connection, select(attempt_table).where(own).order_by(columns.pk.desc()).limit(LISTED))
    return Listing(last[::-1], _count(connection, own, columns.pk))


def _run(connection: Connection, task: Mapping[str, Any], attempts: Listing) -> Mapping[str, Any] | None:
    last = attempts.rows[-1]["run_pk"] if attempts.rows else None
    wanted = last if last is not None else task["run_pk"]
    found = (
        read_rows(connection, select(run_table).where(run_table.c.pk == wanted)) if wanted is not None else []
    )
    return found[0] if found else None


def _batches(connection: Connection, key: int) -> list[dict[str, Any]]:
    query = (
        select(task_table.c.task_id, task_table.c.batch_size, batch_table.c.position)
        .join(batch_table, batch_table.c.parent_task_pk == task_table.c.pk)
        .where(batch_table.c.child_task_pk == key)
        .order_by(task_table.c.pk.desc())
    )
    return read_rows(connection, query.limit(LISTED))


def _members(connection: Connection, key: int) -> dict[str, int]:
    """Count the first members of a batch by the word of their code; what is created is pending here."""
    some = select(batch_table.c.child_task_pk).where(batch_table.c.parent_task_pk == key)
    first = some.order_by(batch_table.c.position).limit(COUNTED).subquery()
    query = (
        select(task_table.c.status_code, func.count().label("number"))
        .join(first, first.c.child_task_pk == task_table.c.pk)
        .group_by(task_table.c.status_code)
    )
    by_code = {row.status_code: row.number for row in connection.execute(query)}
    counts = {word: sum(by_code.get(int(code), 0) for code in codes) for word, codes in STATES.items()}
    return {word: number for word, number in counts.items() if number}


def _troubled(connection: Connection, key: int) -> Listing:
    """Return members of a batch, of the first `COUNTED`, that have failed or could not start."""
    some = select(batch_table.c.child_task_pk).where(batch_table.c.parent_task_pk == key)
    first = some.order_by(batch_table.c.position).limit(COUNTED).subquery()
    bad = task_table.c.status_code.in_(codes_of("failed", "blocked"))
    columns = [task_table.c[name] for name in ("pk", "task_id", "family", "status_code")]
    query = select(*columns).join(first, first.c.child_task_pk == task_table.c.pk).where(bad)
    rows = read_rows(connection, query.order_by(task_table.c.pk).limit(LISTED + 1))
    return Listing(_with_states(connection, rows[:LISTED]), len(rows))


def _with_states(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    words = states_of(connection, [(row["pk"], row["status_code"]) for row in rows])
    return [{**row, "state": words[row["pk"]]} for row in rows]


def _relatives(
    connection: Connection, of: ColumnElement[Any], other: ColumnElement[Any], key: int
) -> Listing:
    columns = [task_table.c[name] for name in ("pk", "task_id", "family", "status_code")]
    query = select(*columns).join(dependency_table, other == task_table.c.pk).where(of == key)
    # Those that stop it first: of a night's thousands, the one that failed is what one looks for.
    is_fine = task_table.c.status_code == int(Status.DONE)
    n_rows = _count(connection, of == key, other)
    ordered = query.order_by(is_fine, task_table.c.pk) if n_rows < COUNTED else query
    return Listing(_with_states(connection, read_rows(connection, ordered.limit(LISTED))), n_rows)


def _read(connection: Connection, key: int) -> Listing:
    query = (
        select(*(file_table.c[name] for name in ("path", "size", "checksum")))
        .join(input_table, input_table.c.file_pk == file_table.c.pk)
        .where(input_table.c.task_pk == key)
    )
    n_rows = _count(connection, input_table.c.task_pk == key, input_table.c.file_pk)
    return Listing(read_rows(connection, query.limit(LISTED)), n_rows)


def _outputs(connection: Connection, key: int) -> Listing:
    own = product_table.c.task_pk == key
    query = select(product_table).where(own).order_by(product_table.c.pk).limit(LISTED)
    return Listing(read_rows(connection, query), _count(connection, own, product_table.c.pk))


def get_product(connection: Connection, key: int) -> Mapping[str, Any] | None:
    """Return the row of a file by its key; None if there is none."""
    found = read_rows(connection, select(product_table).where(product_table.c.pk == key))
    return found[0] if found else None
