import io

import fastavro
import pytest

from astra.alerts.files import read_alerts
from astra.alerts.sinks import FilesSink, SinkSettings, make_message
from astra.errors import AlertError
from astra.plugins import ALERT_SINKS
from tests.alerts.simple import packet


def test_a_file_holds_one_alert_with_its_schema(tmp_path):
    sink = ALERT_SINKS.get("files")
    alert = packet(2**62 + 1, 77)
    with sink.open(SinkSettings(tmp_path / "sent")) as sender:
        (delivery,) = sender.send([sink.encode(alert)])
    assert delivery.error is None
    (found,) = (tmp_path / "sent").iterdir()
    assert found.name == f"12_3_{2**62 + 1}.avro"
    assert read_alerts(found) == [alert]


def test_the_key_is_the_object_or_without_one_the_source():
    sink = FilesSink()
    assert sink.encode(packet(5, 77)).key == 77
    assert sink.encode(packet(5)).key == 5
    assert sink.encode(packet(5, 0)).key == 5


@pytest.mark.parametrize(
    "change",
    [{"visit": None}, {"visit": "north"}, {"visit": float("inf")}, {"detector": []}, {"diaObjectId": "M31"}],
)
def test_an_alert_that_cannot_be_addressed_is_refused_in_a_sentence(change):
    alert = packet(5)
    alert["diaSource"].update(change)
    with pytest.raises(AlertError, match=r"alert 5 cannot be addressed: .* must be integers"):
        make_message(alert, b"")
    with pytest.raises(AlertError, match=r"alert None cannot be addressed"):
        make_message({"diaSource": {}}, b"")


def test_the_same_alert_gives_the_same_bytes():
    sink = FilesSink()
    value = sink.encode(packet(5)).value
    assert sink.encode(packet(5)).value == value
    assert sink.encode(packet(5, flux=1001.0)).value != value
    assert len(list(fastavro.reader(io.BytesIO(value)))) == 1


def test_what_is_no_alert_is_refused():
    with pytest.raises(AlertError, match="alert 5 does not fit its schema"):
        FilesSink().encode(packet(5) | {"target_name": 7})


def test_a_folder_that_cannot_be_written_is_told_for_each_alert(tmp_path):
    (tmp_path / "sent").write_text("a file")
    sink = FilesSink()
    with sink.open(SinkSettings(tmp_path / "sent")) as sender:
        deliveries = sender.send([sink.encode(packet(5)), sink.encode(packet(6))])
    assert all("cannot be written" in delivery.error for delivery in deliveries)
    assert not any(delivery.is_final for delivery in deliveries)
