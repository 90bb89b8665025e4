"""Files that tasks have read: what they were then, and which tasks, at any distance, depend on them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    Connection,
    Delete,
    Select,
    Subquery,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from astra.database.bulk import execute_rows, is_among, list_value, listed
from astra.database.models.state import FileVersion, Status, TaskInput
from astra.database.state import (
    ID_ROWS,
    batch_table,
    chunks,
    dependency_table,
    order_writers,
    product_table,
    refresh_statistics,
    task_table,
    upsert,
)

BEHIND_ROWS = 100_000  # tasks of one statement, which looks at whole tables where there are many

file_table: Table = FileVersion.__table__  # type: ignore[assignment]
input_table: Table = TaskInput.__table__  # type: ignore[assignment]


@dataclass(frozen=True)
class RecordedFile:
    """A file as a task has read it.

    Parameters
    ----------
    pk : int
        Key.
    path : str
        Where it was.
    checksum : str
        SHA-256 of it, hexadecimal.
    size : int
        [byte]
    modified_ns : int
        Time of its last change [ns since 1970].
    """

    pk: int
    path: str
    checksum: str
    size: int
    modified_ns: int


def store_inputs(connection: Connection, inputs: Mapping[int, Sequence[Mapping[str, Any]]]) -> None:
    """Write what tasks have read, in the place of what they had read before.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    inputs : mapping
        For the key of each task the files: path, checksum, size and modified_ns.
    """
    if not inputs:
        return
    dialect = connection.dialect.name
    connection.execute(_forget_inputs(dialect), {"listed": list_value(dialect, list(inputs))})
    files = {(file["path"], file["checksum"]): file for some in inputs.values() for file in some}
    if not files:
        return
    upsert(connection, file_table, list(files.values()), ["path", "checksum"])
    keys: dict[tuple[str, str], int] = {}
    for paths in chunks({path for path, _ in files}, ID_ROWS):
        query = select(file_table.c.path, file_table.c.checksum, file_table.c.pk)
        for row in connection.execute(query.where(is_among(connection, file_table.c.path, paths))):
            keys[row.path, row.checksum] = row.pk
    rows = {
        (task_pk, keys[file["path"], file["checksum"]]) for task_pk, some in inputs.items() for file in some
    }
    execute_rows(
        connection,
        insert(input_table),
        [{"task_pk": task_pk, "file_pk": file_pk} for task_pk, file_pk in sorted(rows)],
    )


@functools.cache
def _forget_inputs(dialect: str) -> Delete:
    return delete(input_table).where(listed(dialect, input_table.c.task_pk))


def refresh_all_statistics(connection: Connection, n_rows: int) -> None:
    """Let PostgreSQL look at the tables of state after the run of a large batch."""
    for table in (task_table, batch_table, dependency_table, product_table, file_table, input_table):
        refresh_statistics(connection, table, n_rows)


def known_checksums(connection: Connection, paths: Iterable[str]) -> dict[tuple[str, int, int], str]:
    """Return the checksums of products, by path, size [byte] and time of change [ns]."""
    columns = [product_table.c[name] for name in ("path", "size", "modified_ns", "checksum")]
    known = {}
    for chunk in chunks(paths, ID_ROWS):
        for row in connection.execute(
            select(*columns).where(is_among(connection, product_table.c.path, chunk))
        ):
            known[row.path, row.size, row.modified_ns] = row.checksum
    return known


def files_behind(connection: Connection, task_ids: Iterable[str]) -> list[RecordedFile]:
    """Return the files that tasks have read, and those that all that they required had read."""
    found: dict[int, RecordedFile] = {}
    dialect = connection.dialect.name
    for chunk in chunks(task_ids, BEHIND_ROWS):
        rows = connection.execute(_files_behind(dialect), {"listed": list_value(dialect, chunk)})
        found.update((row["pk"], RecordedFile(**row)) for row in rows.mappings())
    return list(found.values())


@functools.cache
def _files_behind(dialect: str) -> Select[Any]:
    """Return the query of `files_behind`, made once: that takes longer than its answer for one task."""
    behind = _upstream(dialect, with_origin=False)
    return (
        select(*(file_table.c[name] for name in ("pk", "path", "checksum", "size", "modified_ns")))
        .join(input_table, input_table.c.file_pk == file_table.c.pk)
        .where(input_table.c.task_pk.in_(select(behind.c.pk)))
        .distinct()
    )


def tasks_behind(connection: Connection, task_ids: Iterable[str], file_pks: Sequence[int]) -> dict[str, str]:
    """Return the tasks among some that depend on files at any distance, each with the path of one."""
    found: dict[str, str] = {}
    dialect = connection.dialect.name
    for chunk in chunks(task_ids, BEHIND_ROWS):
        behind = _upstream(dialect, with_origin=True)
        query = (
            select(behind.c.origin, func.min(file_table.c.path).label("path"))
            .join(input_table, input_table.c.task_pk == behind.c.pk)
            .join(file_table, file_table.c.pk == input_table.c.file_pk)
            .where(is_among(connection, file_table.c.pk, list(file_pks)))
            .group_by(behind.c.origin)
        )
        rows = connection.execute(query, {"listed": list_value(dialect, chunk)})
        found.update((row.origin, row.path) for row in rows)
    return found


def refresh_files(connection: Connection, stamps: Mapping[int, tuple[int, int]]) -> None:
    """Note the new size [byte] and time of change [ns] of files whose content is as it was."""
    order_writers(connection)
    statement = update(file_table).where(file_table.c.pk == bindparam("key"))
    rows = [{"key": pk, "size": size, "modified_ns": moment} for pk, (size, moment) in sorted(stamps.items())]
    execute_rows(connection, statement, rows)


def _upstream(dialect: str, *, with_origin: bool) -> CTE:
    """Follow the tasks with the ids ``listed`` to what they required, and batches to their members.

    A task that has failed since counts; one that had failed before the other was done does not, as the other
    did without it. With ``origin`` each task that is reached says from which of the listed ones.
    """
    origin = [task_table.c.task_id.label("origin")] if with_origin else []
    start = select(task_table.c.pk, task_table.c.completed, *origin)
    reached = start.where(listed(dialect, task_table.c.task_id)).cte("reached", recursive=True)
    required = select(
        dependency_table.c.task_pk.label("source"), dependency_table.c.required_task_pk.label("target")
    )
    members = select(
        batch_table.c.parent_task_pk.label("source"), batch_table.c.child_task_pk.label("target")
    )
    # Of a union, SQLite makes a table with all links of the database first; PostgreSQL takes one step alone.
    ways = [required, members] if dialect == "sqlite" else [union_all(required, members)]
    # UNION, not UNION ALL: each task is followed once, whatever the number of paths to it.
    return reached.union(*(_step(reached, way.subquery("links")) for way in ways))


def _step(reached: CTE, links: Subquery) -> Select[Any]:
    """Go one step on from the tasks that are reached, along links from a source to a target."""
    counts = or_(
        task_table.c.status_code == int(Status.DONE),
        reached.c.completed.is_(None),
        task_table.c.modified > reached.c.completed,
    )
    origin = [reached.c.origin] if "origin" in reached.c else []
    return (
        select(task_table.c.pk, task_table.c.completed, *origin)
        .join(links, links.c.target == task_table.c.pk)
        .join(reached, links.c.source == reached.c.pk)
        .where(counts)
    )
