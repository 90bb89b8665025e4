"""A sender that is killed, at any place, loses no alert and no order."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from astra.alerts.wire import decode
from astra.database.engine import get_engine
from tests.alerts.kafka_cluster import mock_cluster, read_topic
from tests.alerts.simple import packet, write

pytest.importorskip("confluent_kafka")

PROJECT = Path(__file__).resolve().parents[2]
BATCH = 8  # of sending_process
PLACES = ["filled 0", "sending 0", "sending 12", "arrived 0", "marked 0", "arrived 2"]
N_RANDOM = 6


@pytest.fixture
def sender(tmp_path):
    """Run processes that send the alerts of three visits, 20 of each, of 12 objects."""
    url = f"sqlite:///{tmp_path / 'astra.db'}"
    get_engine(url)
    for visit in (1, 2, 3):
        packets = [
            packet(100 * visit + n, 50 + n if n < 12 else None, visit=visit, mjd=60000.0 + visit)
            for n in range(20)
        ]
        write(tmp_path, packets, visit)

    process = subprocess.Popen(
        [sys.executable, PROJECT / "tests" / "tasks" / "sending_process.py"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def send(servers, *place, kill_after_s=None):
        print(url, tmp_path / "alerts", servers, "alerts", *place, file=process.stdin)
        child = int(process.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with suppress(ProcessLookupError):  # it has done all there was
                os.kill(child, signal.SIGKILL)
        return int(process.stdout.readline())

    yield send
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)


def test_every_alert_arrives_though_the_sender_is_killed(sender):
    with mock_cluster() as servers:
        for place in PLACES:
            assert sender(servers, *place.split()) == -9
        for _ in range(N_RANDOM):
            sender(servers, kill_after_s=random.uniform(0.0, 0.15))  # noqa: S311
        assert sender(servers) == 0
        alerts = [decode(message.value()) for message in read_topic(servers, "alerts")]
    numbers = [alert["diaSourceId"] for alert in alerts]
    assert sorted(set(numbers)) == sorted(100 * visit + n for visit in (1, 2, 3) for n in range(20))
    assert len(numbers) - len(set(numbers)) <= BATCH * (len(PLACES) + N_RANDOM)
    by_object = {}
    for alert in alerts:
        source = alert["diaSource"]
        if source["diaObjectId"]:
            by_object.setdefault(source["diaObjectId"], []).append(source["diaSourceId"])
    for found in by_object.values():
        assert list(dict.fromkeys(found)) == sorted(set(found))
