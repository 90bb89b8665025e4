"""The reference of the database as Markdown: tables, columns, types, units and what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from astra.database.meanings import OF_TABLES, column_meaning
from astra.database.models import Base, metadata
from astra.database.revision import head_revision

_HEAD = """\
# Tables of the database

Made by `astra db reference` from the tables at revision {revision}. Types are those of PostgreSQL; SQLite
keeps the same values. K marks what makes the primary key, N what may be null, where nothing is known.
"""
_UNIT = re.compile(r"\s*\[([^\]]+)\]\.?$")


def make_reference(alert_fields: Mapping[tuple[str, str], str]) -> str:
    """Write the reference.

    Parameters
    ----------
    alert_fields : mapping
        What the schema of alerts says of a field, unit in brackets at the end, by table and column.

    Returns
    -------
    text : str
        Markdown, a table for each table of the database in order of their names.

    Raises
    ------
    ValueError
        If a table or a column is described nowhere.
    """
    classes = {mapper.class_.__tablename__: mapper.class_.__doc__ for mapper in Base.registry.mappers}
    parts = [_HEAD.format(revision=head_revision())]
    for table in sorted(metadata.tables.values(), key=lambda one: one.name.lower()):
        said = classes.get(table.name) or OF_TABLES.get(table.name)
        if not said:
            raise ValueError(f"table {table.name} is described nowhere: give its class a docstring")
        parts.append("\n".join(_describe(table, " ".join(said.split("\n\n")[0].split()), alert_fields)))
    return "\n".join(parts)


def _describe(table: Table, said: str, alert_fields: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield the lines of one table."""
    yield f"## `{table.name}`\n\n{said}\n"
    yield "| column | type | | unit | meaning |"
    yield "|---|---|---|---|---|"
    for column in table.columns:
        meaning = column_meaning(column, alert_fields.get((table.name, column.name)))
        if meaning is None:
            raise ValueError(
                f"column {column.name} of {table.name} is described nowhere: astra.database.meanings"
            )
        marks = ("K" if column.primary_key else "") + ("N" if column.nullable else "")
        unit, text = _take_apart(meaning)
        yield f"| `{column.name}` | {_type_of(column)} | {marks} | {unit} | {text} |"
    yield ""


def _take_apart(meaning: str) -> tuple[str, str]:
    """Return the unit, and the words without it; of ``[d, MJD TAI]`` the unit is d alone."""
    found = _UNIT.search(meaning)
    unit, _, beside = found[1].partition(", ") if found else ("", "", "")
    words = _UNIT.sub("", meaning).rstrip(".").strip() + (f", {beside}" if beside else "")
    return unit, f"{words[:1].upper()}{words[1:]}".replace("|", "\\|")


def _type_of(column: Column[Any]) -> str:
    """Name of the type in PostgreSQL."""
    return column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
