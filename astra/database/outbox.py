"""The outbox: which alerts a sink is still to get.

A row is written before its alert is sent and marked once it has arrived, so that a crash in between sends the
alert again and never loses it. One process at a time sends to a sink.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    make_url,
    select,
    text,
    update,
)

from astra.database.bulk import is_among
from astra.database.engine import get_engine
from astra.database.models.outbox import FAILED, PENDING, REFUSED, SENT, AlertOutbox
from astra.errors import SendError

outbox_table: Table = AlertOutbox.__table__  # type: ignore[assignment]

MAX_ERROR_CHARACTERS = 1024
LOCK_WAIT_S = 600.0
LOCK_INTERVAL_S = 0.2


@dataclass(frozen=True)
class OutboxEntry:
    """An alert that a sink is to get; see `astra.database.models.outbox.AlertOutbox`."""

    diaSourceId: int  # noqa: N815
    partition_key: int
    midpointMjdTai: float  # noqa: N815
    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class Unsent:
    """An alert that has not arrived yet: its number, its key and the visit whose file holds it."""

    diaSourceId: int  # noqa: N815
    partition_key: int
    instrument: str
    visit: int
    detector: int
    midpointMjdTai: float  # noqa: N815
    path: str
    status_code: int


def fill(
    connection: Connection,
    sink: str,
    place: tuple[str, int, int],
    entries: Iterable[OutboxEntry],
    *,
    now: dt.datetime,
    again: bool = False,
) -> None:
    """Note what a sink gets of one visit and detector.

    Alerts that it has got already, unchanged, stay as they are. What was noted of the visit before, is not in
    the list any more and has not been sent is forgotten.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    sink : str
        Name of the sink.
    place : (str, int, int)
        Camera, visit and detector.
    entries : iterable of OutboxEntry
        All alerts of the visit and detector.
    now : datetime
        When this is, UTC.
    again : bool, optional
        Send all of them again.
    """
    rows = {entry.diaSourceId: entry for entry in entries}
    columns = outbox_table.c
    found = connection.execute(select(columns.diaSourceId, columns.digest).where(_at(sink, place)))
    known: dict[int, str] = {row.diaSourceId: row.digest for row in found}
    _forget_unsent(connection, sink, place, [number for number in known if number not in rows])
    instrument, visit, detector = place
    fixed = {"sink": sink, "instrument": instrument, "visit": visit, "detector": detector}
    new = {"status_code": PENDING, "n_attempts": 0, "error": None, "created": now, "sentMjdTai": None}
    added = [fixed | asdict(row) | new for number, row in rows.items() if number not in known]
    if added:
        connection.execute(insert(outbox_table), added)
    changed = [
        row for number, row in rows.items() if number in known and (again or known[number] != row.digest)
    ]
    _replace(connection, sink, changed)


def _at(sink: str, place: tuple[str, int, int]) -> Any:
    columns = outbox_table.c
    instrument, visit, detector = place
    return and_(
        columns.sink == sink,
        columns.instrument == instrument,
        columns.visit == visit,
        columns.detector == detector,
    )


def _forget_unsent(
    connection: Connection, sink: str, place: tuple[str, int, int], numbers: Sequence[int]
) -> None:
    gone = and_(
        _at(sink, place),
        outbox_table.c.status_code != SENT,
        outbox_table.c.diaSourceId == bindparam("number"),
    )
    if numbers:
        connection.execute(delete(outbox_table).where(gone), [{"number": number} for number in numbers])


def _replace(connection: Connection, sink: str, entries: Sequence[OutboxEntry]) -> None:
    """Send other packets in place of those that were noted."""
    if not entries:
        return
    same = and_(outbox_table.c.sink == sink, outbox_table.c.diaSourceId == bindparam("number"))
    names = [name for name in asdict(entries[0]) if name != "diaSourceId"]
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    fresh: dict[str, Any] = {"status_code": PENDING, "error": None, "sentMjdTai": None}
    rows = [
        {"number": entry.diaSourceId, **{f"new_{name}": getattr(entry, name) for name in names}}
        for entry in entries
    ]
    connection.execute(update(outbox_table).where(same).values(**values, **fresh), rows)


def unsent_alerts(connection: Connection, sink: str, *, until_mjd_tai: float | None = None) -> list[Unsent]:
    """Return what a sink is still to get, in the order of time.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    sink : str
        Name of the sink.
    until_mjd_tai : float, optional
        Leave out later alerts [d, MJD TAI].
    """
    columns = outbox_table.c
    wanted = and_(columns.sink == sink, columns.status_code != SENT)
    if until_mjd_tai is not None:
        wanted = and_(wanted, columns.midpointMjdTai <= until_mjd_tai)
    names = Unsent.__dataclass_fields__
    statement = select(*(columns[name] for name in names)).where(wanted)
    rows = connection.execute(statement.order_by(columns.midpointMjdTai, columns.diaSourceId))
    return [Unsent(**row) for row in rows.mappings()]


def unsent_at(connection: Connection, sink: str, place: tuple[str, int, int]) -> list[str | None]:
    """Return why alerts of a visit and detector have not arrived, one entry for each; None: not tried."""
    unsent = and_(_at(sink, place), outbox_table.c.status_code != SENT)
    statement = select(outbox_table.c.error).where(unsent).order_by(outbox_table.c.diaSourceId)
    return list(connection.execute(statement).scalars())


def record_sent(connection: Connection, sink: str, numbers: Sequence[int], sent_mjd_tai: float) -> None:
    """Mark alerts as arrived.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    sink : str
        Name of the sink.
    numbers : sequence of int
        Their ``diaSourceId``.
    sent_mjd_tai : float
        When it was known [d, MJD TAI].
    """
    values = {"status_code": SENT, "error": None, "sentMjdTai": sent_mjd_tai}
    _mark(connection, sink, [{"number": number, **values} for number in numbers])


def record_unsent(
    connection: Connection, sink: str, errors: Mapping[int, str], *, refused: Iterable[int] = ()
) -> None:
    """Note why alerts have not arrived.

    Parameters
    ----------
    connection : Connection
        The caller's transaction.
    sink : str
        Name of the sink.
    errors : mapping of int to str
        Reason by ``diaSourceId``.
    refused : iterable of int, optional
        Those of them for which the next alerts of their key need not wait.
    """
    final = set(refused)
    rows = [
        {
            "number": number,
            "status_code": REFUSED if number in final else FAILED,
            "error": error[:MAX_ERROR_CHARACTERS],
            "sentMjdTai": None,
        }
        for number, error in errors.items()
    ]
    _mark(connection, sink, rows)


def _mark(connection: Connection, sink: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    columns = outbox_table.c
    same = and_(columns.sink == sink, columns.diaSourceId == bindparam("number"))
    changed = ("status_code", "error", "sentMjdTai")
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in changed}
    given = [
        {name if name == "number" else f"new_{name}": value for name, value in row.items()} for row in rows
    ]
    connection.execute(
        update(outbox_table).where(same).values(n_attempts=columns.n_attempts + 1, **values), given
    )


def outbox_counts(
    connection: Connection, *, instrument: str | None = None, visits: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Count the alerts of each sink by status, of one camera and some visits or of all."""
    columns = outbox_table.c
    statement = select(columns.sink, columns.status_code, func.count().label("alerts"))
    if instrument is not None:
        statement = statement.where(columns.instrument == instrument)
    if visits is not None:
        statement = statement.where(is_among(connection, columns.visit, list(visits)))
    grouped = statement.group_by(columns.sink, columns.status_code)
    rows = connection.execute(grouped.order_by(columns.sink, columns.status_code))
    return [dict(row) for row in rows.mappings()]


@contextmanager
def sending(url: str, sink: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Be the only process that sends to a sink; another one that does is waited for.

    The lock is the system's or the server's own: it ends with the process, however that ends.

    Parameters
    ----------
    url : str
        Database of the outbox.
    sink : str
        Name of the sink.
    wait_s : float, optional
        How long to wait [s].

    Raises
    ------
    SendError
        If another process is still sending then.
    """
    server = make_url(url).get_backend_name() == "postgresql"
    with _server_lock(url, sink) if server else _file_lock(url, sink) as take:
        deadline = time.monotonic() + wait_s
        while not take():
            if time.monotonic() > deadline:
                message = (
                    f"another process has been sending alerts to {sink} for {wait_s:g} s; run again later"
                )
                raise SendError(message, sink=sink, wait_s=wait_s)
            time.sleep(LOCK_INTERVAL_S)
        yield


@contextmanager
def _file_lock(url: str, sink: str) -> Iterator[Any]:
    """Yield what tries to lock a file beside a SQLite database."""
    number = hashlib.sha256(sink.encode()).hexdigest()[:16]
    descriptor = os.open(f"{make_url(url).database}.outbox-{number}", os.O_RDWR | os.O_CREAT, 0o644)

    def take() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield take
    finally:
        os.close(descriptor)


@contextmanager
def _server_lock(url: str, sink: str) -> Iterator[Any]:
    """Yield what tries to take an advisory lock of a connection of its own."""
    key = int.from_bytes(hashlib.sha256(f"outbox {sink}".encode()).digest()[:8], "big", signed=True)
    with get_engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

        def take() -> bool:
            return bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())

        try:
            yield take
        finally:
            connection.execute(text("SELECT pg_advisory_unlock_all()"))
