"""Sending alerts: from the files of visits, through the outbox, to a sink.

A batch is sent, its arrival is waited for, and then it is marked in one transaction. What a crash leaves
unmarked, at most one batch, is sent again; a receiver tells duplicates by their diaSourceId.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from astra.alerts.reading import Packet, read_packets
from astra.alerts.schemas import LATEST_VERSION
from astra.alerts.sinks import AlertSink, Delivery, Message, Sender
from astra.database.engine import reading, transaction
from astra.database.outbox import (
    OutboxEntry,
    Unsent,
    fill,
    record_sent,
    record_unsent,
    unsent_alerts,
)
from astra.errors import AlertError, MissingDataError
from astra.products.atomic import write_bytes

MAX_BATCH_BYTES = 64 << 20
MAX_BATCHES_IN_VAIN = 2


@dataclass(frozen=True)
class SendReport:
    """What a sink has got.

    Parameters
    ----------
    n_sent, n_failed, n_refused : int
        Alerts that have arrived, that are sent again with the next run, and that the sink does not take.
    first_error : str, optional
        Why the first of them has not arrived.
    """

    n_sent: int = 0
    n_failed: int = 0
    n_refused: int = 0
    first_error: str | None = None


class AlertSending:
    """Sends the alerts of visits to one sink.

    Parameters
    ----------
    url : str
        Database of the outbox.
    name : str
        Name of the sink.
    sink : AlertSink
        What puts packets into its form.
    sender : Sender
        The same, open.
    batch_alerts : int
        Most alerts that are in flight at once.
    failed_folder : Path, optional
        Where alerts that have not arrived are kept as files too, until they have.
    """

    def __init__(
        self,
        url: str,
        name: str,
        sink: AlertSink,
        sender: Sender,
        *,
        batch_alerts: int = 500,
        failed_folder: Path | None = None,
    ) -> None:
        self.url = url
        self.name = name
        self.sink = sink
        self.sender = sender
        self.batch_alerts = batch_alerts
        self.failed_folder = failed_folder
        self._read: dict[str, dict[int, Message | str]] = {}

    def fill(self, place: tuple[str, int, int], path: Path, *, again: bool = False) -> float:
        """Note in the outbox what the sink gets of one visit and detector.

        Parameters
        ----------
        place : (str, int, int)
            Camera, visit and detector.
        path : Path
            The file of its alerts.
        again : bool, optional
            Send all of them again.

        Returns
        -------
        last_mjd_tai : float
            Time of the last of them [d, MJD TAI]; minus infinity if there is none.
        """
        packets = list(read_packets(path))
        self._keep_read(str(path), packets)
        entries = [self._entry(packet, str(path)) for packet in packets]
        now = dt.datetime.now(dt.UTC)
        with transaction(self.url) as connection:
            fill(connection, self.name, place, entries, now=now, again=again)
        return max((entry.midpointMjdTai for entry in entries), default=-math.inf)

    def _entry(self, packet: Packet, path: str) -> OutboxEntry:
        message = self._read[path][int(packet.source_id or 0)]
        if isinstance(message, str):  # why it cannot be told; it is refused when its turn comes
            value, key = b"", int(packet.source_id or 0)
        else:
            value, key = message.value, message.key
        time = float(packet.record["diaSource"]["midpointMjdTai"])
        digest = hashlib.sha256(value).hexdigest()
        return OutboxEntry(int(packet.source_id or 0), key, time, path, digest, len(value))

    def _keep_read(self, path: str, packets: Sequence[Packet]) -> None:
        """Keep what was read of a file, and of the one before it."""
        messages = {int(packet.source_id or 0): self._encode(packet) for packet in packets}
        self._read = dict([*self._read.items()][-1:]) | {path: messages}

    def _encode(self, packet: Packet) -> Message | str:
        try:
            return self.sink.encode(packet.record, packet.version or LATEST_VERSION)
        except AlertError as exc:
            return str(exc)

    def send(self, until_mjd_tai: float | None = None) -> SendReport:
        """Send what the sink still lacks, in the order of time.

        An alert whose key has one before it that may still arrive waits for that. If nothing of two batches
        in a row arrives, the rest is not tried.

        Parameters
        ----------
        until_mjd_tai : float, optional
            Leave out alerts of later visits [d, MJD TAI].

        Raises
        ------
        SendError
            If the sink takes nothing at all.
        """
        with reading(self.url) as connection:
            rows = unsent_alerts(connection, self.name, until_mjd_tai=until_mjd_tai)
        waiting: dict[int, int] = {}  # by key, the alert that the next ones wait for
        done: list[tuple[Unsent, Delivery]] = []
        n_in_vain = 0
        for batch in self._batches(rows, waiting, done):
            deliveries = self.sender.send([message for _, message in batch])
            outcomes = [(row, delivery) for (row, _), delivery in zip(batch, deliveries, strict=True)]
            self._mark(outcomes)
            self._keep(batch, deliveries)
            done += outcomes
            waiting |= {
                row.partition_key: row.diaSourceId for row, delivery in outcomes if _may_come(delivery)
            }
            n_in_vain = n_in_vain + 1 if all(_may_come(delivery) for delivery in deliveries) else 0
            if n_in_vain == MAX_BATCHES_IN_VAIN:
                break
        return _report(done)

    def _batches(
        self, rows: Sequence[Unsent], waiting: dict[int, int], done: list[tuple[Unsent, Delivery]]
    ) -> Iterator[list[tuple[Unsent, Message]]]:
        """Yield alerts of different keys, with as many bytes as may be in flight; the others come later."""
        left = deque(rows)
        while left:
            batch: list[tuple[Unsent, Message]] = []
            keys: set[int] = set()
            later: list[Unsent] = []
            size = 0
            while left and len(batch) < self.batch_alerts and size <= MAX_BATCH_BYTES:
                row = left.popleft()
                if row.partition_key in keys:
                    later.append(row)
                    continue
                found = self._next(row, waiting)
                if isinstance(found, Delivery):
                    self._mark([(row, found)])
                    done.append((row, found))
                    continue
                batch.append((row, found))
                keys.add(row.partition_key)
                size += len(found.value)
            left.extendleft(reversed(later))
            if batch:
                yield batch

    def _next(self, row: Unsent, waiting: dict[int, int]) -> Message | Delivery:
        """Return an alert as the sink sends it, or why it is not sent now; the next ones may wait for it."""
        if row.partition_key in waiting:
            return Delivery(f"waits for alert {waiting[row.partition_key]} of the same object")
        found = self._message(row)
        if isinstance(found, Delivery) and _may_come(found):
            waiting[row.partition_key] = row.diaSourceId
        return found

    def _message(self, row: Unsent) -> Message | Delivery:
        """Return an alert as the sink sends it, from the file of its visit, or why there is none."""
        if row.path not in self._read:
            try:
                self._keep_read(row.path, list(read_packets(row.path)))
            except (AlertError, MissingDataError) as exc:
                return Delivery(str(exc))
        message = self._read[row.path].get(row.diaSourceId)
        if message is None:
            return Delivery(f"alert {row.diaSourceId} is not in {row.path} any more", is_final=True)
        return Delivery(message, is_final=True) if isinstance(message, str) else message

    def _mark(self, outcomes: Sequence[tuple[Unsent, Delivery]]) -> None:
        """Mark in one transaction what has become of alerts."""
        from astropy.time import Time

        arrived = [row.diaSourceId for row, delivery in outcomes if delivery.error is None]
        errors = {row.diaSourceId: delivery.error for row, delivery in outcomes if delivery.error is not None}
        final = [row.diaSourceId for row, delivery in outcomes if delivery.is_final]
        with transaction(self.url) as connection:
            record_sent(connection, self.name, arrived, float(Time.now().tai.mjd))
            record_unsent(connection, self.name, errors, refused=final)

    def _keep(self, batch: Sequence[tuple[Unsent, Message]], deliveries: Sequence[Delivery]) -> None:
        """Keep what has not arrived as files, and remove those of what has."""
        if self.failed_folder is None:
            return
        for (_, message), delivery in zip(batch, deliveries, strict=True):
            path = self.failed_folder / f"{message.name}.avro"
            if delivery.error is not None:
                write_bytes(path, message.value)
            else:
                path.unlink(missing_ok=True)


def _may_come(delivery: Delivery) -> bool:
    return delivery.error is not None and not delivery.is_final


def _report(done: Sequence[tuple[Unsent, Delivery]]) -> SendReport:
    errors = [delivery for _, delivery in done if delivery.error is not None]
    n_refused = sum(delivery.is_final for delivery in errors)
    return SendReport(
        len(done) - len(errors), len(errors) - n_refused, n_refused, errors[0].error if errors else None
    )
