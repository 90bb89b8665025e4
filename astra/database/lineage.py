"""All that is known of one task: parameters, attempts, batches, inputs, outputs and what came of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from astra.database.constants import all_parameters, constants_of
from astra.database.inputs import file_table, input_table
from astra.database.queries import read_rows
from astra.database.selection import state_of_task
from astra.database.state import (
    attempt_table,
    batch_table,
    dependency_table,
    metadata_table,
    product_table,
    run_table,
    task_table,
)
from astra.errors import MissingDataError


@dataclass(frozen=True)
class TaskReport:
    """A task and what surrounds it; each mapping has the names of a table's columns.

    Parameters
    ----------
    task : mapping
        Row of ``task``, with ``state`` in words.
    run : mapping or None
        Row of ``run``, of its last attempt; of the run that planned it where there was none.
    attempts : sequence of mapping
        Rows of ``task_attempt``, oldest first.
    batches : sequence of mapping
        task_id, batch_size and position of the batches that it is a member of.
    members : mapping
        For a batch, the number of members by state.
    inputs, dependents : sequence of mapping
        task_id, family and state of what it required and of what required it; inputs with ``products``.
    read : sequence of mapping
        path, size [byte] and checksum of the files that it read, as they were then.
    outputs : sequence of mapping
        kind, path, size [byte], checksum and created of the files that it wrote.
    figures : mapping
        Rows of ``task_metadata``.
    n_inputs, n_dependents, n_read, n_outputs : int
        How many there are; the sequences may be cut.
    """

    task: Mapping[str, Any]
    run: Mapping[str, Any] | None
    attempts: Sequence[Mapping[str, Any]]
    batches: Sequence[Mapping[str, Any]]
    members: Mapping[str, int]
    inputs: Sequence[Mapping[str, Any]]
    dependents: Sequence[Mapping[str, Any]]
    read: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any]
    n_inputs: int
    n_dependents: int
    n_read: int
    n_outputs: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def find_task_ids(connection: Connection, prefix: str, limit: int) -> list[str]:
    """Return the task that has an id, else the tasks whose ids begin so, sorted."""
    column = task_table.c.task_id
    exact = connection.execute(select(column).where(column == prefix)).scalar_one_or_none()
    if exact is not None:
        return [exact]
    # LIKE of SQLite ignores the case of letters.
    begins = column.startswith(prefix, autoescape=True) & (func.substr(column, 1, len(prefix)) == prefix)
    return list(connection.execute(select(column).where(begins).order_by(column).limit(limit)).scalars())


def get_task_id(connection: Connection, prefix: str, candidates: int = 20) -> str:
    """Return the only task whose id is, or begins with, ``prefix``.

    Raises
    ------
    MissingDataError
        If there is none, or more than one; the message lists them.
    """
    found = find_task_ids(connection, prefix, candidates + 1)
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"no task has an id that begins with {prefix!r}; see astra status --state STATE"
        raise MissingDataError(message, prefix=prefix)
    listed = ", ".join(found[:candidates]) + (", ..." if len(found) > candidates else "")
    message = f"more than one task has an id that begins with {prefix!r}: {listed}"
    raise MissingDataError(message, prefix=prefix)


def get_named_task(connection: Connection, name: str, paths: Sequence[str]) -> str:
    """Return the task that a name stands for: by its id or the beginning of it, else by a file that it wrote.

    Parameters
    ----------
    connection : Connection
        To the database.
    name : str
        The name; one with a folder is no id.
    paths : sequence of str
        What the file would be recorded as, the likeliest first.

    Raises
    ------
    MissingDataError
        If there is no such task, or more than one.
    """
    is_path = os.sep in name
    if not is_path and find_task_ids(connection, name, 1):
        return get_task_id(connection, name)
    writers = _writers(connection, paths)
    if not writers:
        begin = "" if is_path else f"no task has an id that begins with {name!r}, and "
        readers = _readers(connection, paths)
        what = f"but {', '.join(readers)} read it" if readers else "see astra status, or --root"
        message = f"{begin}no task of this database has written {paths[0]}; {what}"
        raise MissingDataError(message, name=name)
    path = next(path for path in paths if path in writers)
    task_id = writers[path]
    if task_id is None:
        message = f"the task that wrote {path} has been forgotten; the file is still recorded"
        raise MissingDataError(message, path=path)
    return task_id


def get_task_by_parameters(connection: Connection, family: str, wanted: Mapping[str, str]) -> str:
    """Return the only single task, or batch, of a family whose parameters have some values.

    Parameters
    ----------
    connection : Connection
        To the database.
    family : str
        Name of the task class.
    wanted : mapping of str to str
        Values as they are written on the command line, by name; files may also be named by a whole path.

    Raises
    ------
    MissingDataError
        If there is none, or more than one; the message lists some.
    """
    query = select(task_table.c.task_id, task_table.c.parameters, constants_of(task_table))
    query = query.where(task_table.c.family == family).order_by(task_table.c.pk)
    found = []
    for row in connection.execute(query.execution_options(yield_per=1000)).mappings():
        own = {name: str(value) for name, value in all_parameters(row).items()}
        if all(own.get(name) in (value, os.path.abspath(value)) for name, value in wanted.items()):
            found.append(row["task_id"])
    if len(found) == 1:
        return str(found[0])
    said = ", ".join(f"{name}={value}" for name, value in wanted.items()) or "no parameter"
    if not found:
        message = f"no task of family {family} has {said}; see astra status --family {family}"
    else:
        message = f"{len(found)} tasks of family {family} have {said}: {', '.join(found[:5])}"
        message += ", ...; name more of their parameters" if len(found) > 5 else "; name more of them"
    raise MissingDataError(message, family=family, parameters=dict(wanted))


def _readers(connection: Connection, paths: Sequence[str], limit: int = 20) -> list[str]:
    """Return the tasks that have read a file, at most ``limit``."""
    query = (
        select(task_table.c.task_id)
        .join(input_table, input_table.c.task_pk == task_table.c.pk)
        .join(file_table, file_table.c.pk == input_table.c.file_pk)
        .where(file_table.c.path.in_(paths))
        .order_by(task_table.c.pk)
    )
    return list(connection.execute(query.limit(limit)).scalars())


def _writers(connection: Connection, paths: Sequence[str]) -> dict[str, str | None]:
    """Return the tasks that wrote files, by path; None for one that has been forgotten."""
    query = (
        select(product_table.c.path, task_table.c.task_id)
        .join(task_table, task_table.c.pk == product_table.c.task_pk, isouter=True)
        .where(product_table.c.path.in_(paths))
    )
    return {row.path: row.task_id for row in connection.execute(query)}


def report_task(connection: Connection, task_id: str, limit: int = 100) -> TaskReport:
    """Return all that is known of a task, at most ``limit`` of its inputs, dependents and outputs each."""
    query = select(task_table, state_of_task(), constants_of(task_table))
    query = query.where(task_table.c.task_id == task_id)
    task = read_rows(connection, query)[0]
    task["parameters"] = all_parameters(task)
    del task["constants"], task["constants_pk"]
    key = task["pk"]
    upward = (dependency_table.c.required_task_pk == task_table.c.pk, dependency_table.c.task_pk == key)
    downward = (dependency_table.c.task_pk == task_table.c.pk, dependency_table.c.required_task_pk == key)
    tried = select(attempt_table).where(attempt_table.c.task_pk == key).order_by(attempt_table.c.pk)
    attempts = read_rows(connection, tried)
    run_pk = attempts[-1]["run_pk"] if attempts else task["run_pk"]
    runs = read_rows(connection, select(run_table).where(run_table.c.pk == run_pk))
    figures = select(metadata_table.c.key, metadata_table.c.value).where(metadata_table.c.task_pk == key)
    return TaskReport(
        task=task,
        run=runs[0] if runs else None,
        attempts=attempts,
        batches=_batches(connection, key),
        members=_members(connection, key),
        inputs=_with_products(connection, _relatives(connection, upward, limit)),
        dependents=_relatives(connection, downward, limit),
        read=read_rows(connection, _read_files(key).limit(limit)),
        outputs=read_rows(connection, _products().where(product_table.c.task_pk == key).limit(limit)),
        figures={row.key: row.value for row in connection.execute(figures.order_by(metadata_table.c.key))},
        n_inputs=_count(connection, dependency_table.c.task_pk == key),
        n_dependents=_count(connection, dependency_table.c.required_task_pk == key),
        n_read=_count(connection, input_table.c.task_pk == key),
        n_outputs=_count(connection, product_table.c.task_pk == key),
    )


def _count(connection: Connection, condition: ColumnElement[bool]) -> int:
    query = select(func.count()).where(condition)
    return int(connection.execute(query).scalar_one())


def _batches(connection: Connection, key: int) -> list[dict[str, Any]]:
    query = (
        select(task_table.c.task_id, task_table.c.batch_size, batch_table.c.position)
        .join(batch_table, batch_table.c.parent_task_pk == task_table.c.pk)
        .where(batch_table.c.child_task_pk == key)
        .order_by(task_table.c.pk)
    )
    return read_rows(connection, query)


def _members(connection: Connection, key: int) -> dict[str, int]:
    """Count the members of a batch by state; one that stands in it twice counts once."""
    children = select(batch_table.c.child_task_pk).where(batch_table.c.parent_task_pk == key)
    query = (
        select(state_of_task(), func.count().label("number"))
        .where(task_table.c.pk.in_(children))
        .group_by("state")
        .order_by(func.min(task_table.c.status_code))
    )
    return {row.state: row.number for row in connection.execute(query)}


def _relatives(
    connection: Connection, link: tuple[ColumnElement[bool], ColumnElement[bool]], limit: int
) -> list[dict[str, Any]]:
    on, condition = link
    columns = [task_table.c[name] for name in ("pk", "task_id", "family", "status_code")]
    query = select(*columns, state_of_task()).join(dependency_table, on).where(condition)
    return read_rows(connection, query.order_by(task_table.c.pk).limit(limit))


def _products() -> Select[Any]:
    names = ("task_pk", "kind", "path", "size", "checksum", "created")
    return select(*(product_table.c[name] for name in names)).order_by(product_table.c.pk)


def _read_files(key: int) -> Select[Any]:
    return (
        select(*(file_table.c[name] for name in ("path", "size", "checksum")))
        .join(input_table, input_table.c.file_pk == file_table.c.pk)
        .where(input_table.c.task_pk == key)
        .order_by(file_table.c.path)
    )


def _with_products(connection: Connection, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each task the files that it wrote."""
    keys = [task["pk"] for task in tasks]
    found = read_rows(connection, _products().where(product_table.c.task_pk.in_(keys)))
    return [{**task, "products": [row for row in found if row["task_pk"] == task["pk"]]} for task in tasks]
