"""Alerts to Kafka: what the messages are, and what is said when they cannot arrive."""

import time

import pytest

from astra.alerts.kafka import PASSWORD, USERNAME, KafkaSink, producer_settings
from astra.alerts.sinks import SinkSettings
from astra.alerts.wire import decode, decode_header
from astra.config import section_options
from astra.errors import ConfigError, SendError
from tests.alerts.kafka_cluster import mock_cluster, read_topic
from tests.alerts.simple import packet
from tests.postgresql import free_port

pytest.importorskip("confluent_kafka")

SINK = KafkaSink()


@pytest.fixture(scope="module")
def servers():
    with mock_cluster() as address:
        yield address


@pytest.fixture
def opened(tmp_path):
    """Open the sink with some options of its section."""

    def open_sink(**options):
        return SINK.open(SinkSettings(tmp_path, section_options("astra_kafka") | options))

    return open_sink


def test_a_message_has_frame_key_and_time(servers, opened):
    alerts = [packet(2**62 + 1, 77), packet(2**62 + 2), packet(2**62 + 3, 77)]
    before = time.time_ns() // 1_000_000
    with opened(servers=servers, topic="one") as sender:
        deliveries = sender.send([SINK.encode(alert) for alert in alerts])
    assert [delivery.error for delivery in deliveries] == [None, None, None]
    messages = read_topic(servers, "one")
    found = {decode(message.value())["diaSourceId"]: message for message in messages}
    assert {number: message.key() for number, message in found.items()} == {
        2**62 + 1: b"77",
        2**62 + 2: str(2**62 + 2).encode(),
        2**62 + 3: b"77",
    }
    assert {decode_header(message.value()) for message in messages} == {1101}
    assert decode(found[2**62 + 1].value()) == alerts[0]
    ((name, value),) = messages[0].headers()
    assert name == "producer_timestamp"
    assert before <= int(value) <= time.time_ns() // 1_000_000
    same = [message for message in messages if message.key() == b"77"]
    assert [decode(message.value())["diaSourceId"] for message in same] == [2**62 + 1, 2**62 + 3]


def test_more_than_the_clients_queue_holds_arrives(servers, opened, monkeypatch):
    import astra.alerts.kafka

    original = astra.alerts.kafka.producer_settings
    monkeypatch.setattr(
        astra.alerts.kafka,
        "producer_settings",
        lambda *given: original(*given) | {"queue.buffering.max.messages": 10},
    )
    with opened(servers=servers, topic="many") as sender:
        deliveries = sender.send([SINK.encode(packet(number)) for number in range(1, 101)])
    assert all(delivery.error is None for delivery in deliveries)
    assert len(read_topic(servers, "many")) == 100


def test_a_message_that_is_too_large_is_refused_in_one_sentence(servers, opened):
    small, large = SINK.encode(packet(1)), SINK.encode(packet(2) | {"cutoutScience": b"x" * 60_000})
    with opened(servers=servers, topic="large", max_message_bytes=50_000) as sender:
        fine, refused = sender.send([small, large])
    assert fine.error is None
    assert refused.is_final
    assert refused.error == (
        f"alert 2 has {len(large.value)} bytes, more than the 50000 that max_message_bytes and the brokers "
        "allow; raise both, or make its cutouts smaller"
    )


def test_brokers_that_are_not_there_are_named(opened):
    port = free_port()
    with opened(servers=f"127.0.0.1:{port}", topic="none", delivery_timeout_s=1.0) as sender:
        began = time.monotonic()
        (delivery,) = sender.send([SINK.encode(packet(7))])
    assert not delivery.is_final
    assert delivery.error.startswith("alert 7 has not arrived at topic none: ")
    assert str(port) in delivery.error
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"servers": ""}, r"section \[astra_kafka\] must name servers"),
        ({"topic": ""}, r"section \[astra_kafka\] must name topic"),
        ({"delivery_timeout_s": 0.0}, "must be positive, found 0 s"),
        ({"security_protocol": "SASL_SSL"}, f"SASL needs {USERNAME} and {PASSWORD}"),
        ({"compression": "zip"}, r"section \[astra_kafka\] cannot be used: .*zip"),
    ],
)
def test_what_is_missing_or_wrong_is_named(opened, options, said, monkeypatch):
    monkeypatch.delenv(USERNAME, raising=False)
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(ConfigError, match=said), opened(**{"servers": "a:1", "topic": "a"} | options):
        pass


def test_credentials_come_from_the_environment_and_are_never_told(opened, monkeypatch):
    monkeypatch.setenv(USERNAME, "observer")
    monkeypatch.setenv(PASSWORD, "hush-hush")
    options = section_options("astra_kafka") | {"security_protocol": "SASL_PLAINTEXT"}
    settings = producer_settings(options, "127.0.0.1:1")
    assert settings["sasl.password"] == "hush-hush"
    wrong = {"servers": "a:1", "topic": "t", "security_protocol": "SASL_PLAINTEXT"}
    with pytest.raises(ConfigError) as caught, opened(**wrong, sasl_mechanism="hush-hush"):
        pass
    assert "hush-hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credentials_in_the_configuration_are_refused(monkeypatch):
    import luigi

    config = luigi.configuration.get_config()
    config.set("astra_kafka", "sasl_password", "hush-hush")
    try:
        with pytest.raises(ConfigError, match=r"\[astra_kafka\] must not hold sasl_password") as caught:
            section_options("astra_kafka")
        assert "hush-hush" not in str(caught.value)
    finally:
        config.remove_option("astra_kafka", "sasl_password")


def test_a_fatal_error_of_the_client_ends_the_sending(servers, opened):
    class Fatal:
        def fatal(self):
            return True

        def str(self):
            return "out of order"

    with opened(servers=servers, topic="fatal") as sender, pytest.raises(SendError, match="out of order"):
        sender._note_error(Fatal())


def test_a_message_in_ztfs_format_is_a_whole_container(servers, opened):
    import io

    import fastavro

    from astra.plugins import ALERT_SINKS

    sink = ALERT_SINKS.get("ztf-kafka")
    settings = SinkSettings(
        "unused", section_options("astra_kafka") | {"servers": servers, "ztf_topic": "ztf"}
    )
    with sink.open(settings) as sender:
        (delivery,) = sender.send([sink.encode(packet(7, 50))])
    assert delivery.error is None
    (message,) = read_topic(servers, "ztf")
    (record,) = fastavro.reader(io.BytesIO(message.value()))
    assert (record["candid"], record["objectId"], message.key()) == (7, "50", b"50")
