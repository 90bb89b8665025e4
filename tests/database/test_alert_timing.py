"""How long alerts took."""

import datetime as dt

import numpy as np
import pytest

from astra.database.alert_timing import alert_latencies, record_written
from astra.database.engine import reading, transaction
from astra.database.outbox import OutboxEntry, fill, record_sent

SECOND = 1 / 86400


def sources(numbers, time=60000.0):
    """Detections of a 30 s exposure that were associated 40 s, 41 s ... after its middle."""
    return [
        {
            "diaSourceId": number,
            "midpointMjdTai": time,
            "exposureTime": 30.0,
            "timeProcessedMjdTai": time + (40 + index) * SECOND,
        }
        for index, number in enumerate(numbers)
    ]


def test_times_count_from_the_close_of_the_shutter(any_database_url):
    numbers = list(range(2**62, 2**62 + 101))
    with transaction(any_database_url) as connection:
        record_written(connection, ("cam", 12, 3), sources(numbers), 60000.0 + 200 * SECOND)
        entries = [OutboxEntry(number, number, 60000.0, "/a", "d" * 64, 9) for number in numbers]
        now = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
        fill(connection, "kafka", ("cam", 12, 3), entries, now=now)
        record_sent(connection, "kafka", numbers[:60], 60000.0 + 300 * SECOND)
        record_sent(connection, "kafka", numbers[60:-1], 60000.0 + 400 * SECOND)
    with reading(any_database_url) as connection:
        associated, written, sent = alert_latencies(connection)
    assert (associated.step, written.step, sent.step) == ("associated", "written", "sent to kafka")
    assert (associated.n_alerts, written.n_alerts, sent.n_alerts) == (101, 101, 100)
    expected = np.percentile(np.arange(101) + 25.0, [50, 95, 100])
    found = (associated.median_s, associated.percentile95_s, associated.max_s)
    assert found == pytest.approx(tuple(expected), abs=1e-5)
    assert (written.median_s, written.max_s) == pytest.approx((185, 185), abs=1e-5)
    assert (sent.median_s, sent.percentile95_s, sent.max_s) == pytest.approx((285, 385, 385), abs=1e-5)


def test_a_visit_that_is_packaged_again_counts_once(any_database_url):
    with transaction(any_database_url) as connection:
        record_written(connection, ("cam", 12, 3), sources([1, 2, 3]), 60000.1)
        record_written(connection, ("cam", 14, 3), sources([4]), 60000.1)
        record_written(connection, ("cam", 12, 3), sources([2]), 60000.2)
        record_written(connection, ("cam", 12, 4), sources([]), 60000.2)
    with reading(any_database_url) as connection:
        assert [one.n_alerts for one in alert_latencies(connection)] == [2, 2]
        assert [one.n_alerts for one in alert_latencies(connection, visits=[12])] == [1, 1]
        assert alert_latencies(connection, instrument="other") == []


def test_without_an_exposure_time_the_middle_counts(any_database_url):
    (row,) = sources([1])
    with transaction(any_database_url) as connection:
        record_written(connection, ("cam", 12, 3), [row | {"exposureTime": None}], 60000.1)
    with reading(any_database_url) as connection:
        assert alert_latencies(connection)[0].median_s == pytest.approx(40, abs=1e-5)
