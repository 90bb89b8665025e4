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

SERVER_ROWS = 500  # of one statement: their values travel as one array a column

_VALUES = re.compile(r" VALUES (?P<row>\(.*?\))(?= ON CONFLICT|$)", re.DOTALL)
_SLOT = re.compile(r"%\((\w+)\)s(?:::[A-Z]+(?: [A-Z]+)*(?:\(\d+\))?)?")


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
    if isinstance(statement, Insert):
        statement = statement.inline()  # else it would ask for the keys that the server made
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    columns: list[Iterable[Any]] = []
    moments: dict[dt.datetime, Any] = {}
    names = (
        compiled.positiontup if compiled.positional else list(dict.fromkeys(_SLOT.findall(compiled.string)))
    )
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
    types = {name: compiled.binds[name].type.compile(dialect=connection.dialect) for name in names}
    together = _set_based(compiled.string, types, isinstance(statement, Insert))
    while some := list(islice(values, SERVER_ROWS)):
        parameters = {name: list(column) for name, column in zip(names, zip(*some, strict=True), strict=True)}
        connection.exec_driver_sql(together, parameters)


def _set_based(sql: str, types: Mapping[str, str], is_insert: bool) -> str:
    """Rewrite a statement for one row into one for all: a server answers each statement on its own.

    Every slot ``%(name)s::TYPE`` becomes a column of a table that is made of one array for each slot.
    """
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in types.items())
    columns = ", ".join(f'"{name}"' for name in types)
    table = f"unnest({arrays}) AS given({columns})"
    if not is_insert:
        head, where, tail = sql.partition(" WHERE ")
        return _SLOT.sub(r'given."\1"', head) + f" FROM {table}" + where + _SLOT.sub(r'given."\1"', tail)
    found = _VALUES.search(sql)
    begin, end = found.span() if found else (len(sql), len(sql))
    chosen = _SLOT.sub(r'given."\1"', sql[begin:end]).removeprefix(" VALUES (").removesuffix(")")
    # What a condition compares with is one value, which stands in its slot's array many times.
    condition = _SLOT.sub(lambda slot: f"(%({slot[1]})s::{types[slot[1]]}[])[1]", sql[end:])
    return "".join((sql[:begin], " SELECT ", chosen, " FROM ", table, condition))


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
