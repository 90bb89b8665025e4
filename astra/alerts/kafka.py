"""Alerts to a Kafka topic: one message each, in order for each key, acknowledged by all replicas.

The message is the packet in Confluent's wire format, with the number of its schema (1101 for Rubin 11.1); its
key is ``diaObjectId``, or ``diaSourceId`` where there is no object; a header tells when it was produced. The
schema itself is registered by whoever runs the registry, Rubin under the subjects ``alert-packet`` and
``lsst-alerts-v<major>.<minor>-value``: nothing here talks to a registry.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from astra.alerts.packets import Alert
from astra.alerts.reading import Packet, wire_bytes
from astra.alerts.schemas import LATEST_VERSION
from astra.alerts.sinks import (
    ARRIVED,
    AlertSink,
    Delivery,
    Message,
    Sender,
    SinkSettings,
    container,
    forwarded,
    make_message,
)
from astra.alerts.wire import encode
from astra.errors import ConfigError, SendError

USERNAME, PASSWORD = "ASTRA_KAFKA_USERNAME", "ASTRA_KAFKA_PASSWORD"  # names of variables
HEADER = "producer_timestamp"
BATCH_BYTES = 2 << 20
LINGER_MS = 5
POLL_S = 0.05
OVERHEAD_BYTES = 512  # of the key, the headers and the framing, as far as brokers count them

logger = logging.getLogger(__name__)
# librdkafka tells all of its connections; what concerns a message is told by its delivery.
_client_logger = logging.getLogger(f"{__name__}.client")


class KafkaSender(Sender):
    """An open connection to the brokers.

    Parameters
    ----------
    settings : mapping
        Properties of librdkafka's producer.
    topic : str
        Where to.
    max_message_bytes : int
        Largest message [byte].
    delivery_timeout_s : float
        How long a message is tried [s].
    """

    def __init__(
        self, settings: Mapping[str, Any], topic: str, *, max_message_bytes: int, delivery_timeout_s: float
    ) -> None:
        self._topic = topic
        self._max_message_bytes = max_message_bytes
        self._delivery_timeout_s = delivery_timeout_s
        self._secret = settings.get("sasl.password")
        self._connection_error = ""
        self._producer = _make_producer({**settings, "error_cb": self._note_error}, self._hidden)

    def send(self, messages: Sequence[Message]) -> list[Delivery]:
        """Produce messages, and wait for what the brokers say of each."""
        found: dict[int, Delivery] = {}
        self._connection_error = ""
        for number, message in enumerate(messages):
            size = len(message.value)
            if size + OVERHEAD_BYTES > self._max_message_bytes:
                found[number] = Delivery(self._too_large(message), is_final=True)
            else:
                self._produce(number, message, found)
        deadline = time.monotonic() + 2 * self._delivery_timeout_s + 1.0
        while len(found) < len(messages) and time.monotonic() < deadline:
            self._producer.poll(POLL_S)
        return [
            found.get(number, Delivery(f"alert {message.dia_source_id}: the brokers have not answered"))
            for number, message in enumerate(messages)
        ]

    def _produce(self, number: int, message: Message, found: dict[int, Delivery]) -> None:
        def arrived(error: Any, _message: Any) -> None:
            found[number] = self._delivery(message, error)

        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value=message.value,
                    key=str(message.key).encode(),
                    headers={HEADER: str(time.time_ns() // 1_000_000).encode()},
                    on_delivery=arrived,
                )
            except BufferError:  # librdkafka's own queue is full
                self._producer.poll(POLL_S)
            except Exception as exc:
                if not type(exc).__module__.startswith(("confluent_kafka", "cimpl")):
                    raise
                found[number] = self._delivery(message, exc.args[0])
                return
            else:
                self._producer.poll(0)
                return

    def _delivery(self, message: Message, error: Any) -> Delivery:
        if error is None:
            return ARRIVED
        if error.name() in {"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"}:
            return Delivery(self._too_large(message), is_final=True)
        reason = self._connection_error or self._hidden(error.str())
        return Delivery(f"alert {message.dia_source_id} has not arrived at topic {self._topic}: {reason}")

    def _too_large(self, message: Message) -> str:
        return (
            f"alert {message.dia_source_id} has {len(message.value)} bytes, more than the "
            f"{self._max_message_bytes} that max_message_bytes and the brokers allow; raise both, or make "
            "its cutouts smaller"
        )

    def _note_error(self, error: Any) -> None:
        """Keep why there is no connection: that of a message says only that it timed out."""
        self._connection_error = self._hidden(error.str())
        logger.debug("Kafka: %s", self._connection_error)
        if error.fatal():
            raise SendError(f"Kafka cannot be used any more: {self._connection_error}")

    def _hidden(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text

    def close(self) -> None:
        """Give up what is still in flight: its alerts are sent again."""
        self._producer.purge()
        self._producer.flush(self._delivery_timeout_s)


def _make_producer(settings: Mapping[str, Any], hidden: Any) -> Any:
    from confluent_kafka import KafkaException, Producer

    try:
        return Producer(dict(settings), logger=_client_logger)
    except KafkaException as exc:
        message = f"section [astra_kafka] cannot be used: {hidden(exc.args[0].str())}"
        raise ConfigError(message) from None  # the cause could hold what must not be told


class KafkaSink(AlertSink):
    """Messages of a Kafka topic, in Confluent's wire format."""

    section = "astra_kafka"
    topic_option = "topic"

    def encode(self, alert: Alert, version: str = LATEST_VERSION) -> Message:
        """Frame and encode a packet."""
        return make_message(alert, encode(alert, version))

    def forward(self, packet: Packet) -> Message:
        """Frame a packet of Rubin's kind as it is; one of another goes as a container, as ZTF's do."""
        if packet.survey == "lsst":
            return forwarded(packet, wire_bytes(packet))
        return forwarded(packet, container(packet.record, packet.schema))

    @contextmanager
    def open(self, settings: SinkSettings) -> Iterator[Sender]:
        """Yield a connection to the brokers."""
        options = settings.options
        topic = self._required(options, self.topic_option)
        sender = KafkaSender(
            producer_settings(options, self._required(options, "servers")),
            topic,
            max_message_bytes=int(options["max_message_bytes"]),
            delivery_timeout_s=float(options["delivery_timeout_s"]),
        )
        try:
            yield sender
        finally:
            sender.close()

    def _required(self, options: Mapping[str, Any], name: str) -> str:
        try:
            import confluent_kafka  # noqa: F401
        except ImportError as exc:
            message = "alerts go to Kafka with the extra 'kafka': pip install 'astra-pipeline[kafka]'"
            raise ConfigError(message) from exc
        value = str(options.get(name) or "")
        if not value:
            message = f"section [{self.section}] must name {name}, which is empty"
            raise ConfigError(message, section=self.section, option=name)
        return value


def producer_settings(options: Mapping[str, Any], servers: str) -> dict[str, Any]:
    """Return the properties of librdkafka's producer.

    Parameters
    ----------
    options : mapping
        The section ``[astra_kafka]``.
    servers : str
        Brokers.

    Raises
    ------
    ConfigError
        If SASL is wanted without credentials in the environment, or a timeout is not positive.
    """
    timeout_s = float(options["delivery_timeout_s"])
    if not timeout_s > 0:
        raise ConfigError(f"delivery_timeout_s must be positive, found {timeout_s:g} s")
    protocol = str(options["security_protocol"])
    settings: dict[str, Any] = {
        "bootstrap.servers": servers,
        "client.id": "astra",
        "security.protocol": protocol,
        "enable.idempotence": True,  # what is repeated within a connection arrives once, and in order
        "acks": "all",
        "compression.type": options["compression"],
        "linger.ms": LINGER_MS,
        "batch.size": BATCH_BYTES,
        "message.max.bytes": int(options["max_message_bytes"]),
        "message.timeout.ms": int(1000 * timeout_s),
        "request.timeout.ms": min(int(1000 * timeout_s), 30_000),
        "socket.connection.setup.timeout.ms": max(1000, min(int(1000 * timeout_s), 30_000)),
    }
    if options.get("ca_file"):
        settings["ssl.ca.location"] = str(options["ca_file"])
    if protocol.startswith("SASL"):
        settings |= {"sasl.mechanism": str(options["sasl_mechanism"]), **_credentials()}
    return settings


def _credentials() -> dict[str, str]:
    found = {"sasl.username": os.environ.get(USERNAME), "sasl.password": os.environ.get(PASSWORD)}
    missing = [name for name in (USERNAME, PASSWORD) if not os.environ.get(name)]
    if missing:
        message = f"SASL needs {' and '.join(missing)} in the environment"
        raise ConfigError(message, missing=missing)
    return {name: str(value) for name, value in found.items()}
