"""Alerts through the outbox: order, failures, crashes; with a sink that fails as it is told."""

import sqlite3
from contextlib import contextmanager

import pytest

from astra.alerts.reading import read_packets
from astra.alerts.sinks import ARRIVED, AlertSink, Delivery, Sender, make_message
from astra.alerts.wire import decode, encode
from astra.database.engine import get_engine
from astra.errors import AlertError, SendError
from astra.tasks.sending import AlertSending
from tests.alerts.simple import packet, write


class Broker(Sender):
    """Takes what it is not told to lose."""

    def __init__(self):
        self.got = []
        self.batches = []
        self.lost = set()
        self.refused = set()
        self.is_down = False

    def send(self, messages):
        if self.is_down:
            raise SendError("down")
        self.batches.append([message.dia_source_id for message in messages])
        return [self.take(message) for message in messages]

    def take(self, message):
        if message.dia_source_id in self.lost:
            return Delivery(f"lost {message.dia_source_id}")
        if message.dia_source_id in self.refused:
            return Delivery(f"refused {message.dia_source_id}", is_final=True)
        self.got.append(decode(message.value)["diaSourceId"])
        return ARRIVED


class BrokerSink(AlertSink):
    def encode(self, alert, version="11.1"):
        if alert["diaSource"]["band"] is None:
            raise AlertError("no band")
        return make_message(alert, encode(alert, version))

    @contextmanager
    def open(self, settings):
        raise AssertionError("no test sends with it")


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path / 'outbox.db'}"
    get_engine(url)
    return url


@pytest.fixture
def sending(url, broker):
    return AlertSending(url, "broker", BrokerSink(), broker, batch_alerts=3)


def fill(sending, folder, packets, visit=12):
    return sending.fill(("cam", visit, 3), write(folder, packets, visit))


def rows(url):
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        query = "SELECT diaSourceId, status_code, n_attempts, error FROM alert_outbox ORDER BY diaSourceId"
        return connection.execute(query).fetchall()


def test_batches_have_a_bounded_size_and_different_keys(sending, broker, tmp_path):
    fill(sending, tmp_path, [packet(n, 50 if n in {2, 3} else None) for n in range(1, 7)])
    assert sending.send().n_sent == 6
    assert broker.batches == [[1, 2, 4], [3, 5, 6]]
    assert sending.send().n_sent == 0


def test_alerts_of_one_object_wait_for_those_before_them(sending, broker, url, tmp_path):
    fill(sending, tmp_path, [packet(1, 50, mjd=60000.0), packet(2, 51, mjd=60000.0)])
    fill(sending, tmp_path, [packet(3, 50, mjd=60001.0), packet(4, 51, mjd=60001.0)], visit=14)
    broker.lost = {1}
    report = sending.send()
    assert (report.n_sent, report.n_failed, report.first_error) == (2, 2, "lost 1")
    assert broker.got == [2, 4]
    assert rows(url)[2] == (3, 30, 1, "waits for alert 1 of the same object")
    broker.lost = set()
    assert sending.send().n_sent == 2
    assert broker.got == [2, 4, 1, 3]


def test_what_is_refused_keeps_nobody_waiting(sending, broker, url, tmp_path):
    fill(sending, tmp_path, [packet(1, 50, mjd=60000.0), packet(5, band=None)])
    fill(sending, tmp_path, [packet(3, 50, mjd=60001.0)], visit=14)
    broker.refused = {1}
    report = sending.send()
    assert (report.n_sent, report.n_refused) == (1, 2)
    assert broker.got == [3]
    assert rows(url)[0] == (1, 50, 1, "refused 1")
    assert rows(url)[2] == (5, 50, 1, "no band")


def test_nothing_more_is_tried_once_two_whole_batches_have_failed(sending, broker, url, tmp_path):
    fill(sending, tmp_path, [packet(n) for n in range(1, 8)])
    broker.lost = set(range(1, 8))
    assert sending.send().n_failed == 6
    assert len(broker.batches) == 2
    broker.is_down = True
    with pytest.raises(SendError, match="down"):
        sending.send()
    assert [row[1] for row in rows(url)] == [30, 30, 30, 30, 30, 30, 0]


def test_what_is_not_marked_is_sent_again_and_nothing_else(sending, broker, tmp_path, monkeypatch):
    fill(sending, tmp_path, [packet(n) for n in range(1, 8)])
    monkeypatch.setattr(AlertSending, "_keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # after the first batch is marked
        sending.send()
    monkeypatch.undo()
    monkeypatch.setattr(AlertSending, "_mark", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # the second batch has arrived, and nobody knows
        sending.send()
    monkeypatch.undo()
    assert sending.send().n_sent == 4
    assert broker.got == [1, 2, 3, 4, 5, 6, 4, 5, 6, 7]


def test_an_alert_that_was_packaged_again_is_sent_again_if_it_changed(sending, broker, tmp_path):
    fill(sending, tmp_path, [packet(1), packet(2)])
    sending.send()
    fill(sending, tmp_path, [packet(1), packet(2, flux=1001.0)])
    sending.send()
    assert broker.got == [1, 2, 2]


def test_failed_alerts_are_kept_as_files_until_they_arrive(url, broker, tmp_path):
    folder = tmp_path / "failed"
    sending = AlertSending(url, "broker", BrokerSink(), broker, failed_folder=folder)
    fill(sending, tmp_path, [packet(1), packet(2)])
    broker.lost = {2}
    sending.send()
    assert [path.name for path in folder.iterdir()] == ["12_3_2.avro"]
    (kept,) = read_packets(folder / "12_3_2.avro")
    assert kept.source_id == 2
    broker.lost = set()
    sending.send()
    assert list(folder.iterdir()) == []


def test_a_file_that_is_gone_is_told_and_comes_back(sending, broker, url, tmp_path):
    fill(sending, tmp_path, [packet(1)])
    path = write(tmp_path, [packet(7, 50)], visit=14)
    sending.fill(("cam", 14, 3), path)
    path.unlink()
    fill(sending, tmp_path, [packet(8, 50, mjd=60001.0)], visit=15)
    assert sending.send().n_failed == 2
    assert broker.got == [1]
    assert "cannot be read" in rows(url)[1][3]
    assert rows(url)[2][3] == "waits for alert 7 of the same object"
    write(tmp_path, [packet(7, 50)], visit=14)
    sending.send()
    assert broker.got == [1, 7, 8]


def test_no_alert_is_nothing_to_send(sending, tmp_path):
    assert fill(sending, tmp_path, []) == float("-inf")
    assert sending.send(float("-inf")).n_sent == 0


def test_alerts_go_through_the_outbox_of_any_database(any_database_url, broker, tmp_path):
    sending = AlertSending(any_database_url, "broker", BrokerSink(), broker, batch_alerts=3)
    numbers = [2**62 + n for n in range(8)]
    fill(sending, tmp_path, [packet(number, 50) for number in numbers[:2]] + [packet(n) for n in numbers[2:]])
    broker.lost = {numbers[0]}
    assert sending.send().n_sent == 6
    broker.lost = set()
    fill(sending, tmp_path, [packet(number, 50) for number in numbers[:2]] + [packet(n) for n in numbers[2:]])
    assert sending.send().n_sent == 2
    assert sorted(broker.got) == numbers
    assert broker.got[-2:] == numbers[:2]
