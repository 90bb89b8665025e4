"""Where alerts go: a sink puts a packet into the form that it wants, and sends it.

A sink knows neither the database nor which alerts it has had: `astra.tasks.sending` keeps that. It tells of
every message whether it has arrived, and why not.
"""

from __future__ import annotations

import abc
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import fastavro

from astra.alerts.packets import Alert
from astra.alerts.reading import Packet
from astra.alerts.schemas import LATEST_VERSION, available_versions, load_schema
from astra.errors import AlertError
from astra.products.atomic import write_bytes

# What fastavro raises on a packet that does not follow its schema.
PACKET_ERRORS = (EOFError, ValueError, TypeError, LookupError, OverflowError)


@dataclass(frozen=True)
class SinkSettings:
    """What a sink needs to know besides the alerts.

    Parameters
    ----------
    folder : Path
        Where a sink that writes files writes them.
    options : mapping, optional
        Its section of the configuration. Credentials are no part of it: they come from the environment.
    """

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One alert as a sink sends it.

    Parameters
    ----------
    dia_source_id : int
        Its detection; a receiver removes duplicates by it.
    key : int
        Alerts with one key arrive in order: ``diaObjectId``, or ``diaSourceId`` where there is no object.
    name : str
        ``<visit>_<detector>_<diaSourceId>``, for a file of its own.
    value : bytes
        What is sent.
    """

    dia_source_id: int
    key: int
    name: str
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class Delivery:
    """What became of a message.

    Parameters
    ----------
    error : str, optional
        Why it has not arrived; None if it has.
    is_final : bool, optional
        Whether the same message would be refused again: then the next ones need not wait for it.
    """

    error: str | None = None
    is_final: bool = False


ARRIVED = Delivery()


class Sender(abc.ABC):
    """A sink that is open."""

    @abc.abstractmethod
    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """Send messages of different keys; return once each has arrived, or cannot.

        Returns
        -------
        deliveries : list of Delivery
            One for each message, in their order.

        Raises
        ------
        SendError
            If none can be sent at all.
        """


class AlertSink(abc.ABC):
    """A place that takes alerts; a plug-in of the entry-point group ``astra.alert_sinks`` is a subclass.

    ``section`` is the section of the configuration that its options stand in; ``suffix`` that of the files
    that it writes.
    """

    section: ClassVar[str] = ""
    suffix: ClassVar[str] = ".avro"

    @abc.abstractmethod
    def encode(self, alert: Alert, version: str = LATEST_VERSION) -> Message:
        """Put a packet into the form that is sent.

        Raises
        ------
        AlertError
            If the packet does not follow its schema, or cannot be told in this form.
        """

    def forward(self, packet: Packet) -> Message:
        """Put an alert that was read from a file into the form that is sent, to send it once more.

        Raises
        ------
        AlertError
            If it is of a kind that this sink does not take.
        """
        if packet.survey != "lsst" or packet.version not in available_versions():
            message = (
                f"alert {packet.source_id} of {packet.path} is written with {packet.schema_name}; this sink "
                f"takes Rubin's of version {', '.join(available_versions())}"
            )
            raise AlertError(message, path=str(packet.path))
        return self.encode(packet.record, packet.version)

    @abc.abstractmethod
    @contextmanager
    def open(self, settings: SinkSettings) -> Iterator[Sender]:
        """Yield a sender; what it still holds has been sent or given up at the end.

        Raises
        ------
        ConfigError
            If a setting is missing or wrong, or what the sink needs is not installed.
        """


def make_message(alert: Alert, value: bytes) -> Message:
    """Address a packet: its key, and a name for a file of its own.

    Parameters
    ----------
    alert : dict
        Packet of `astra.alerts.packets.make_alert`.
    value : bytes
        Its form.

    Raises
    ------
    AlertError
        If it has no visit, detector or id, or one that is not a number: of a foreign packet anything can be.
    """
    source_id = alert.get("diaSourceId")
    try:
        source = alert["diaSource"]
        number = int(alert["diaSourceId"])
        key = int(source.get("diaObjectId") or number)
        name = f"{int(source['visit'])}_{int(source['detector'])}_{number}"
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as exc:
        message = (
            f"alert {source_id!r:.40} cannot be addressed: diaSourceId, visit, detector and, if there is "
            f"one, diaObjectId of its diaSource must be integers ({type(exc).__name__}: {exc!s:.80})"
        )
        raise AlertError(message, diaSourceId=source_id) from exc
    return Message(number, key, name, bytes(value))


def forwarded(packet: Packet, value: bytes) -> Message:
    """Address an alert of any kind: by its own id alone where it is not Rubin's."""
    if packet.survey == "lsst":
        return make_message({"diaSourceId": packet.source_id, **packet.record}, value)
    number = int(packet.source_id or 0)
    return Message(number, number, str(number), value)


def container(record: Mapping[str, Any], schema: Any, *, codec: str = "null") -> bytes:
    """Write one record as an Avro object container, which carries its schema.

    Raises
    ------
    AlertError
        If it does not follow the schema.
    """
    stream = io.BytesIO()
    try:
        fastavro.writer(stream, schema, [record], codec=codec, strict=True, sync_marker=_SYNC_MARKER)
    except PACKET_ERRORS as exc:
        number = record.get("diaSourceId", record.get("candid"))
        message = f"alert {number} does not fit its schema: {exc}"
        raise AlertError(message, diaSourceId=number) from exc
    return stream.getvalue()


# fastavro would draw one: the same alert must give the same bytes, by which what is sent already is known.
_SYNC_MARKER = b"astra alert sync"


class FileSender(Sender):
    """Write each message into a file of its own, which appears whole or not at all.

    Parameters
    ----------
    folder : Path
        Where.
    suffix : str
        End of the names.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """Write the files; an older one of the same alert is replaced."""
        return [self._write(message) for message in messages]

    def _write(self, message: Message) -> Delivery:
        path = self.folder / f"{message.name}{self.suffix}"
        try:
            write_bytes(path, message.value)
        except OSError as exc:
            return Delivery(f"alert {message.dia_source_id} cannot be written to {path}: {exc.strerror}")
        return ARRIVED


class FilesSink(AlertSink):
    """Files of one alert each, ``<visit>_<detector>_<diaSourceId>.avro``, with their schema."""

    section = "astra_files"

    def encode(self, alert: Alert, version: str = LATEST_VERSION) -> Message:
        """Make the content of a file."""
        return make_message(alert, container(alert, load_schema(version)))

    def forward(self, packet: Packet) -> Message:
        """Make a file of an alert of any kind, with the schema of its writer."""
        return forwarded(packet, container(packet.record, packet.schema))

    @contextmanager
    def open(self, settings: SinkSettings) -> Iterator[Sender]:
        """Yield a writer of files."""
        yield FileSender(settings.folder, self.suffix)
