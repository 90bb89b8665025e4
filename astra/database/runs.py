"""Whether a run that is told of elsewhere has its row in this database."""

from __future__ import annotations

import datetime as dt
import hashlib

from sqlalchemy import Connection, select

from astra.database.state import run_table

DIGITS = 16


def run_mark(connection: Connection, run_pk: int) -> str | None:
    """Return what tells a run from all others, in this database and any other; None if there is no such run.

    It holds nothing of where the database is, nor of who may read it.
    """
    columns = run_table.c
    query = select(columns.host, columns.pid, columns.started).where(columns.pk == run_pk)
    row = connection.execute(query).first()
    if row is None:
        return None
    started = row.started if row.started.tzinfo else row.started.replace(tzinfo=dt.UTC)
    text = f"{row.host} {row.pid} {started.timestamp():.3f}"
    return f"{run_pk}-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}"


def has_run(connection: Connection, mark: str) -> bool:
    """Say whether the run of a mark is in this database."""
    number = mark.partition("-")[0]
    return number.isdecimal() and run_mark(connection, int(number)) == mark
