"""One statement for many rows, at the speed of the driver.

SQLAlchemy prepares the parameters of every row on its own, which costs more than the database takes to write
them. Here a statement is compiled once and values are prepared column by column.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    LargeBinary,
    any_,
    bindparam,
    text,
)
from sqlalchemy.dialects import postgresql

SERVER_ROWS = 5000  # of one statement: their values travel as one array a column


class JsonText(str):
    """A value of a JSON column that is text already."""

    __slots__ = ()


_LISTED = text("SELECT value FROM json_each(:listed)")
_VALUES = re.compile(r" VALUES (?P<row>\(.*?\))(?= ON CONFLICT|$)", re.DOTALL)
_SLOT = re.compile(r"%\((\w+)\)s(?:::[A-Z]+(?: (?!(?:AND|OR|WHERE|FROM)\b)[A-Z]+)*(?:\(\d+\))?)?")


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
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        execute_columns(connection, statement, columns)


def execute_columns(connection: Connection, statement: Any, given: Mapping[str, list[Any]]) -> None:
    """Execute an insert, upsert or update for each of many rows, given column by column.

    Parameters
    ----------
    connection : Connection
        In a transaction; SQLite or PostgreSQL.
    statement : Insert or Update
        Without clauses that depend on the values.
    given : mapping of list
        Parameters, all of the same length.
    """
    n_rows = len(next(iter(given.values())))
    if not n_rows:
        return
    compiled = _compiled(statement, connection.dialect, tuple(given))
    columns: list[Iterable[Any]] = []
    moments: dict[dt.datetime, Any] = {}
    names = (
        compiled.positiontup if compiled.positional else list(dict.fromkeys(_SLOT.findall(compiled.string)))
    )
    for name in names:
        bind = compiled.binds[name]
        process = _processor(bind.type, connection)
        if name in given:
            columns.append(_prepared(process, given[name], moments))
        else:
            value = bind.effective_value
            columns.append(repeat(value if process is None else process(value), n_rows))
    if compiled.positional:
        connection.exec_driver_sql(compiled.string, list(zip(*columns, strict=True)))
        return
    types = {name: compiled.binds[name].type.compile(dialect=connection.dialect) for name in names}
    prepared = dict(zip(names, map(list, columns), strict=True))
    _execute_sets(connection, compiled.string, prepared, types, is_insert=isinstance(statement, Insert))


@lru_cache(maxsize=256)
def _compiled(statement: Any, dialect: Dialect, names: tuple[str, ...]) -> Any:
    """Compile a statement for parameters; one that is executed again is not compiled again."""
    if isinstance(statement, Insert):
        statement = statement.inline()  # else it would ask for the keys that the server made
    return statement.compile(dialect=dialect, column_keys=list(names))


def _processor(kind: Any, connection: Connection) -> Callable[[Any], Any] | None:
    """Return what prepares a value for the driver; JSON as text, which needs no object of the driver's.

    Truth values and bytes are the same for SQLAlchemy and the drivers.
    """
    if isinstance(kind, Boolean | LargeBinary):
        return None
    if isinstance(kind, JSON):
        return _json_processor(None if kind.none_as_null else "null")
    dialect = connection.dialect
    return kind.dialect_impl(dialect).bind_processor(dialect)  # type: ignore[no-any-return]


def _json_processor(null: str | None) -> Callable[[Any], Any]:
    def process(value: Any) -> Any:
        if type(value) is JsonText:
            return str(value)
        return null if value is None else json.dumps(value)

    return process


def _execute_sets(
    connection: Connection,
    sql: str,
    columns: dict[str, list[Any]],
    types: Mapping[str, str],
    *,
    is_insert: bool,
) -> None:
    """Execute a statement for one row on all: a server answers each statement on its own.

    What is the same in all rows travels once, the rest as one array a column.
    """
    common = {name: values[0] for name, values in columns.items() if _is_constant(values)}
    varying = {name: types[name] for name in columns if name not in common}
    if not varying:  # rows that are all alike: the first column counts them
        first = next(iter(columns))
        varying[first] = types[first]
        del common[first]
    together = _set_based(sql, varying, is_insert)
    size = len(next(iter(columns.values())))
    for start in range(0, size, SERVER_ROWS):
        some = {name: _array(columns[name][start : start + SERVER_ROWS]) for name in varying}
        connection.exec_driver_sql(together, {**common, **some})


def _is_constant(values: list[Any]) -> bool:
    first = values[0]
    return all(value is first or value == first for value in values)


def _array(values: list[Any]) -> Any:
    """Write numbers and texts as the text of an array, which the driver does ten times as slowly."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {int, float, bool}:
        return "{" + ",".join("NULL" if value is None else repr(value) for value in values) + "}"
    if kinds == {str}:
        return "{" + ",".join("NULL" if value is None else _quoted(value) for value in values) + "}"
    if kinds == {bytes}:
        return "{" + ",".join("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values) + "}"
    if kinds == {dt.datetime}:
        return "{" + ",".join("NULL" if value is None else f'"{value}"' for value in values) + "}"
    return values


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _set_based(sql: str, types: Mapping[str, str], is_insert: bool) -> str:
    """Rewrite a statement for one row into one for many.

    Every slot ``%(name)s::TYPE`` that is named in ``types`` becomes a column of a table that is made of one
    array for each of them; the other slots stay.
    """
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in types.items())
    columns = ", ".join(f'"{name}"' for name in types)
    table = f"unnest({arrays}) AS given({columns})"
    if not is_insert:
        head, where, tail = sql.partition(" WHERE ")
        return _from_table(head, types) + f" FROM {table}" + where + _from_table(tail, types)
    found = _VALUES.search(sql)
    begin, end = found.span() if found else (len(sql), len(sql))
    chosen = _from_table(sql[begin:end], types).removeprefix(" VALUES (").removesuffix(")")
    # What a condition compares with is one value, which stands in its slot's array many times.
    condition = _SLOT.sub(
        lambda slot: f"(%({slot[1]})s::{types[slot[1]]}[])[1]" if slot[1] in types else slot[0], sql[end:]
    )
    return "".join((sql[:begin], " SELECT ", chosen, " FROM ", table, condition))


def _from_table(sql: str, types: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: f'given."{slot[1]}"' if slot[1] in types else slot[0], sql)


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


def is_among(connection: Connection, column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a column holds one of some values, which are bound as one.

    No limit of variables counts them, and the text of a statement does not depend on their number.
    """
    dialect = connection.dialect.name
    return _listed(dialect, column, {"value": list_value(dialect, values), "unique": True})


def listed(dialect: str, column: Any) -> ColumnElement[bool]:
    """Return the condition that a column holds one of the values of the parameter ``listed``.

    A statement that is made once is executed with `list_value` for it.
    """
    return _listed(dialect, column, {})


def _listed(dialect: str, column: Any, bound: dict[str, Any]) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return column.in_(_LISTED.bindparams(bindparam("listed", **bound)))  # type: ignore[no-any-return]
    parameter: Any = bindparam("listed", type_=postgresql.ARRAY(column.type), **bound)
    return column == any_(parameter)  # type: ignore[no-any-return]


def list_value(dialect: str, values: Sequence[Any]) -> Any:
    """Return the value of the parameter ``listed``."""
    return json.dumps(list(values)) if dialect == "sqlite" else list(values)
