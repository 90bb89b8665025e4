"""One statement for many rows, at the speed of the driver.

SQLAlchemy prepares the parameters of every row on its own, which costs more than the database takes to write
them. Here a statement is compiled once and values are prepared column by column.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from sqlalchemy import Connection, Insert

SERVER_ROWS = 500  # of one statement: below 65,535 parameters

_VALUES = re.compile(r" VALUES (?P<row>\(.*?\))(?= ON CONFLICT|$)", re.DOTALL)
_SLOT = re.compile(r"%\((\w+)\)s")


def execute_rows(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute an insert, upsert or update for each of many rows.

    Parameters
    ----------
    connection : Connection
        In a transaction; SQLite or PostgreSQL.
    statement : Insert or Update
        Without clauses that depend on the values.
    rows : sequence of mapping
        Parameters, all with the same keys.
    """
    if not rows:
        return
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    columns: list[Iterable[Any]] = []
    moments: dict[dt.datetime, Any] = {}
    names = compiled.positiontup if compiled.positional else list(compiled.binds)
    for name in names:
        bind = compiled.binds[name]
        process = bind.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        if name in rows[0]:
            columns.append(_prepared(process, [row[name] for row in rows], moments))
        else:
            value = bind.effective_value
            columns.append(repeat(value if process is None else process(value), len(rows)))
    values = zip(*columns, strict=True)
    if compiled.positional:
        connection.exec_driver_sql(compiled.string, list(values))
        return
    slots = _VALUES.search(compiled.string) if isinstance(statement, Insert) else None
    if slots is None:
        connection.exec_driver_sql(compiled.string, [dict(zip(names, row, strict=True)) for row in values])
        return
    while some := list(islice(values, SERVER_ROWS)):
        _insert_together(connection, compiled.string, slots, names, some)


def _insert_together(
    connection: Connection, sql: str, slots: re.Match[str], names: list[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert many rows with one statement: a server answers each statement on its own."""
    row_slots = slots["row"]
    repeated = ", ".join(_SLOT.sub(rf"%(\g<1>__{number})s", row_slots) for number in range(len(rows)))
    parameters = {
        f"{name}__{number}": value
        for number, row in enumerate(rows)
        for name, value in zip(names, row, strict=True)
    }
    # What stands outside the row, as in a condition, is the same for all rows.
    parameters.update(zip(names, rows[0], strict=True))
    begin, end = slots.span("row")
    connection.exec_driver_sql(sql[:begin] + repeated + sql[end:], parameters)


def _prepared(
    process: Callable[[Any], Any] | None, values: list[Any], moments: dict[dt.datetime, Any]
) -> Iterable[Any]:
    """Prepare the values of one column for the driver; one moment stands in many rows and columns."""
    if process is None:
        return values
    if not isinstance(next(filter(None, values), None), dt.datetime):
        return map(process, values)
    for value in values:
        if value not in moments:
            moments[value] = process(value)
    return map(moments.__getitem__, values)
