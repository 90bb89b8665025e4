"""What a sink is still to get."""

import datetime as dt
import multiprocessing

import pytest

from astra.database.engine import reading, transaction
from astra.database.outbox import (
    OutboxEntry,
    fill,
    outbox_counts,
    record_sent,
    record_unsent,
    sending,
    unsent_alerts,
    unsent_at,
)
from astra.errors import SendError

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
PLACE = ("cam", 12, 3)


def entry(number, key=None, time=60000.0, digest="a"):
    return OutboxEntry(number, key or number, time, "/alerts/12_3.avro", digest * 64, 100)


def filled(url, entries, place=PLACE, sink="kafka", **how):
    with transaction(url) as connection:
        fill(connection, sink, place, entries, now=NOW, **how)


def unsent(url, sink="kafka", **how):
    with reading(url) as connection:
        return [row.diaSourceId for row in unsent_alerts(connection, sink, **how)]


def test_what_arrived_unchanged_is_not_sent_again(any_database_url):
    url = any_database_url
    filled(url, [entry(2**62), entry(2), entry(3)])
    with transaction(url) as connection:
        record_sent(connection, "kafka", [2**62, 2], 60000.5)
        record_unsent(connection, "kafka", {3: "no broker"})
    filled(url, [entry(2**62), entry(2, digest="b"), entry(3)])
    assert unsent(url) == [2, 3]
    with reading(url) as connection:
        assert unsent_at(connection, "kafka", PLACE) == [None, "no broker"]
        assert [(row["status_code"], row["alerts"]) for row in outbox_counts(connection)] == [
            (0, 1),
            (1, 1),
            (30, 1),
        ]
    filled(url, [entry(2**62), entry(2, digest="b"), entry(3)], again=True)
    assert unsent(url) == [2, 3, 2**62]


def test_alerts_of_an_association_that_was_replaced_are_not_sent(any_database_url):
    url = any_database_url
    filled(url, [entry(1), entry(2), entry(3)])
    with transaction(url) as connection:
        record_sent(connection, "kafka", [1], 60000.5)
    filled(url, [entry(3)])
    assert unsent(url) == [3]
    filled(url, [])
    assert unsent(url) == []


def test_alerts_come_in_the_order_of_time(any_database_url):
    url = any_database_url
    filled(url, [entry(5, time=60002.0), entry(4, time=60002.0)], ("cam", 14, 3))
    filled(url, [entry(9, time=60001.0)])
    assert unsent(url) == [9, 4, 5]
    assert unsent(url, until_mjd_tai=60001.5) == [9]


def test_sinks_do_not_know_of_each_other(any_database_url):
    url = any_database_url
    filled(url, [entry(1)])
    filled(url, [entry(1)], sink="files")
    with transaction(url) as connection:
        record_sent(connection, "kafka", [1], 60000.5)
    assert unsent(url) == []
    assert unsent(url, "files") == [1]


def _hold(url, ready, stop):
    with sending(url, "kafka"):
        ready.set()
        stop.wait(60)


def test_one_process_at_a_time_sends_to_a_sink(any_database_url):
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(any_database_url, ready, stop))
    other.start()
    assert ready.wait(60)
    with sending(any_database_url, "files", 0.0):
        pass
    with (
        pytest.raises(SendError, match="another process has been sending alerts to kafka"),
        sending(any_database_url, "kafka", 0.0),
    ):
        pass
    other.kill()
    other.join()
    with sending(any_database_url, "kafka", 30.0):
        pass
