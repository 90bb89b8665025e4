"""Reading without being able to write: for pages, whose readers are many and unknown.

SQLite is opened as read-only and told to refuse writing; PostgreSQL begins each transaction as a read-only
one. A statement that takes too long is ended by the database itself.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from astra.database.engine import closing_on_error, get_engine, mask_url, open_engine
from astra.database.revision import require_head
from astra.errors import UnavailableError

STATEMENT_LIMIT_S = 5.0
PROGRESS_STEPS = 20_000  # of SQLite's machine between two looks at the clock: some milliseconds
CACHE_KIB = 8192  # of each connection


class SlowQueryError(UnavailableError):
    """A question took longer than a page may."""


class ReadOnlyDatabase:
    """A database that can be read alone, by several threads.

    Parameters
    ----------
    url : str
        SQLAlchemy URL.
    n_connections : int, optional
        How many threads may read at a time.
    limit_s : float, optional
        Longest time of a transaction (SQLite) or a statement (PostgreSQL) [s].

    Raises
    ------
    SchemaVersionError
        If the database is at another revision than the code.
    UnavailableError
        If it cannot be reached.
    """

    def __init__(self, url: str, *, n_connections: int = 8, limit_s: float = STATEMENT_LIMIT_S) -> None:
        self.name = mask_url(url)
        self._limit_s = limit_s
        self._is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self._is_sqlite:
            get_engine(url)  # an older file in the write-ahead log has to be opened by a writer once
            self._engine = _sqlite(url, n_connections)
        else:
            self._engine = _server(url, n_connections, limit_s)
        with closing_on_error(self._engine):
            require_head(self._engine)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open one transaction for reading.

        Raises
        ------
        SlowQueryError
            If it takes too long.
        UnavailableError
            If the database cannot be reached.
        """
        try:
            with self._engine.connect() as connection:
                if self._is_sqlite:
                    _set_deadline(connection, time.monotonic() + self._limit_s)
                yield connection
        except OperationalError as exc:
            raise self._said(exc) from exc

    def _said(self, exc: OperationalError) -> UnavailableError:
        reason = str(exc.orig).strip().splitlines()[0] if exc.orig is not None else str(exc)
        if "interrupted" in reason or "statement timeout" in reason:
            message = f"the database did not answer within {self._limit_s:g} s; ask for less"
            return SlowQueryError(message, limit_s=self._limit_s)
        return UnavailableError(f"database {self.name} cannot be read: {reason}", url=self.name)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _sqlite(url: str, n_connections: int) -> Engine:
    path = Path(str(make_url(url).database)).absolute()
    address = f"file:{quote(str(path))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, timeout=2.0, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only=ON")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection

    engine = create_engine("sqlite://", creator=connect, **_pool(n_connections))

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _pool(n_connections: int) -> dict[str, Any]:
    from sqlalchemy.pool import QueuePool

    return {"poolclass": QueuePool, "pool_size": n_connections, "max_overflow": 2, "pool_timeout": 5.0}


def _server(url: str, n_connections: int, limit_s: float) -> Engine:
    """Make an engine whose sessions are read-only, checked first with one that says what is wrong."""
    open_engine(url).dispose()
    settings = (
        f"-c jit=off -c default_transaction_read_only=on -c statement_timeout={int(limit_s * 1000)} "
        "-c lock_timeout=1000 -c idle_in_transaction_session_timeout=30000"
    )
    parsed = make_url(url)
    return create_engine(
        parsed.difference_update_query(["options"]),
        pool_pre_ping=True,
        connect_args={"options": settings} if parsed.get_backend_name() == "postgresql" else {},
        **_pool(n_connections),
    )


def _set_deadline(connection: Connection, deadline: float) -> None:
    """Let SQLite end what goes on after a time of the monotonic clock."""
    try:
        driver: Any = connection.connection.driver_connection
    except DBAPIError:
        return
    driver.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEPS)
