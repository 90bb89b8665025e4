"""Engines: one per database, safe across fork, at the right revision.

A connection that crosses a fork is shared with the parent and corrupts both, so that the child drops them
all, unclosed, before it does anything.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from astra.errors import ConfigError, UnavailableError

SQLITE_BUSY_TIMEOUT_S = 60.0

_engines: dict[str, Engine] = {}


def get_engine(url: str) -> Engine:
    """Return this process's engine for a database, with its schema at the revision of the code.

    A new SQLite file is created and migrated; anything else at another revision is refused.

    Parameters
    ----------
    url : str
        SQLAlchemy URL.

    Raises
    ------
    ConfigError
        If the URL cannot be parsed, or its driver is not installed.
    SchemaVersionError
        If the database is at another revision than the code.
    UnavailableError
        If the database cannot be reached.
    """
    if url not in _engines:
        from astra.database.revision import require_head

        with closing_on_error(open_engine(url)) as engine:
            require_head(engine)
        _engines[url] = engine
    return _engines[url]


@contextmanager
def closing_on_error(engine: Engine) -> Iterator[Engine]:
    """Close the connections of an engine if anything goes wrong with it."""
    try:
        yield engine
    except BaseException:
        engine.dispose()
        raise


def open_engine(url: str) -> Engine:
    """Make an engine without looking at the revision; see `get_engine`."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(url)
        # The statements of state are short: to compile them takes longer than to run them.
        plain = parsed.get_backend_name() == "postgresql" and "options" not in parsed.query
        settings = {"options": "-c jit=off"} if plain else {}
        return create_engine(parsed, pool_pre_ping=True, connect_args=settings)
    except (ImportError, DBAPIError) as exc:
        message = (
            f"the driver of database {mask_url(url)} cannot be loaded ({exc}); astra keeps its state in "
            f"SQLite, or in PostgreSQL with the extra 'postgres' installed"
        )
        raise ConfigError(message, url=mask_url(url)) from exc
    except Exception as exc:
        if type(exc).__module__.startswith("sqlalchemy"):
            message = f"database_url {mask_url(url)!r} is not a database URL: {exc}"
            raise ConfigError(message, url=mask_url(url)) from exc
        raise


def _sqlite_engine(url: str) -> Engine:
    """Make an engine on a SQLite file: write-ahead log, foreign keys, patient locks."""
    parsed = make_url(url)
    if parsed.database and parsed.database != ":memory:":
        folder = Path(parsed.database).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            message = f"the folder of database {parsed.database} cannot be made: {exc}"
            raise UnavailableError(message, url=url) from exc
    engine = create_engine(parsed, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S, "isolation_level": None})

    # The driver is kept out of transactions, so that each one can begin as a writer: a reader that turns
    # writer half-way fails at once under a concurrent writer, whatever the timeout.
    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        _use_write_ahead_log(cursor)
        cursor.execute("PRAGMA synchronous=NORMAL")
        # [page] A visit stored in the APDB changes a page of the key for each object that it measures; those
        # that the next visits change again are written back once.
        cursor.execute("PRAGMA wal_autocheckpoint=32768")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-65536")  # [KiB] the index of 100,000 task ids is larger than 2 MB
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("astra_read_only", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _use_write_ahead_log(cursor: Any) -> None:
    """Switch a SQLite file to its write-ahead log, once; the switch does not wait for locks by itself."""
    deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] not in {"wal", "memory"}:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    """Open one transaction for writing; commit at the end, roll back on any error.

    Raises
    ------
    UnavailableError
        If the database cannot be reached or written.
    """
    engine = get_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as exc:
        raise _unavailable(url, exc) from exc


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """Open one transaction for reading; takes no lock.

    Raises
    ------
    UnavailableError
        If the database cannot be reached.
    """
    engine = get_engine(url).execution_options(astra_read_only=True)
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as exc:
        raise _unavailable(url, exc) from exc


def mask_url(url: str) -> str:
    """Render a database URL without its password, for messages and logs."""
    try:
        parsed = make_url(url)
        hidden = {name: "***" for name in parsed.query if "pass" in name.lower()}
        return parsed.update_query_dict(hidden).render_as_string(hide_password=True)
    except Exception as exc:
        if type(exc).__module__.startswith("sqlalchemy"):
            return "<unreadable URL>"
        raise


def _unavailable(url: str, exc: OperationalError) -> UnavailableError:
    """Say in one sentence that the database could not be used."""
    reason = str(exc.orig).strip().splitlines()[0] if exc.orig is not None else str(exc)
    return UnavailableError(f"database {mask_url(url)} cannot be used: {reason}", url=mask_url(url))


def dispose_engines() -> None:
    """Close the connections of this process; the next use opens new ones."""
    for engine in _engines.values():
        engine.dispose()
    _engines.clear()


def _drop_connections_in_child() -> None:
    """Drop the parent's connections in a forked child without closing them.

    The engines stay: they know the revision of their database, and the statements that were compiled.
    """
    for engine in _engines.values():
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_drop_connections_in_child)
