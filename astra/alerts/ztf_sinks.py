"""Alerts in ZTF's format, to files or to Kafka; a message is a whole container, as ZTF's are."""

from __future__ import annotations

from astra.alerts.kafka import KafkaSink
from astra.alerts.packets import Alert
from astra.alerts.reading import Packet
from astra.alerts.schemas import LATEST_VERSION
from astra.alerts.sinks import FilesSink, Message, container, forwarded, make_message
from astra.alerts.ztf import to_ztf, ztf_schema
from astra.errors import AlertError, FormatError


def ztf_container(alert: Alert) -> bytes:
    """Make an alert of Rubin's kind into a file of ZTF's.

    Raises
    ------
    AlertError
        If it lacks what ZTF's alerts have.
    """
    try:
        return container(to_ztf(alert), ztf_schema())
    except (FormatError, KeyError, TypeError) as exc:
        number = alert.get("diaSourceId")
        message = f"alert {number} cannot be told as ZTF would: {exc}"
        raise AlertError(message, diaSourceId=number) from exc


def _forward(packet: Packet) -> Message:
    if packet.survey == "lsst":
        return forwarded(packet, ztf_container(packet.record))
    return forwarded(packet, container(packet.record, packet.schema))


class ZtfFilesSink(FilesSink):
    """Files of one alert each in ZTF's format, ``<visit>_<detector>_<diaSourceId>.avro``."""

    section = "astra_ztf"

    def encode(self, alert: Alert, version: str = LATEST_VERSION) -> Message:
        """Make the content of a file."""
        del version  # all have the fields by the same names
        return make_message(alert, ztf_container(alert))

    def forward(self, packet: Packet) -> Message:
        """Make a file of an alert of any kind: Rubin's in ZTF's format, ZTF's as it is."""
        return _forward(packet)


class ZtfKafkaSink(KafkaSink):
    """Messages of a Kafka topic, each a container in ZTF's format."""

    topic_option = "ztf_topic"

    def encode(self, alert: Alert, version: str = LATEST_VERSION) -> Message:
        """Make the content of a message."""
        del version
        return make_message(alert, ztf_container(alert))

    def forward(self, packet: Packet) -> Message:
        """Make a message of an alert of any kind: Rubin's in ZTF's format, ZTF's as it is."""
        return _forward(packet)
