"""Send alerts: how many a second to each sink, through the outbox; and Kafka's kill test as a long series.

    python benchmarks/alert_sending.py [--alerts 2000] [--kills 100]

The broker is librdkafka's mock cluster in a process of its own. CPU seconds of this process; the clock tells
what waits for the broker and the disk.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from astra.alerts.sinks import SinkSettings
from astra.alerts.wire import decode
from astra.config import section_options
from astra.database.engine import get_engine
from astra.database.outbox import sending
from astra.plugins import ALERT_SINKS
from astra.tasks.sending import AlertSending
from tests.alerts.kafka_cluster import mock_cluster, read_topic
from tests.alerts.simple import packet, write
from tests.alerts.stamped import stamped

PROJECT = Path(__file__).resolve().parents[1]
SINKS = ("files", "ztf", "kafka", "ztf-kafka")


def measure(sink_name, folder, path, servers, n_alerts):
    """Send the alerts of one file to a sink; print a line."""
    url = f"sqlite:///{folder / f'{sink_name}.db'}"
    get_engine(url)
    sink = ALERT_SINKS.get(sink_name)
    options = section_options(sink.section) | {"servers": servers, "topic": sink_name, "ztf_topic": sink_name}
    with sending(url, sink_name), sink.open(SinkSettings(folder / sink_name, options)) as sender:
        alerts = AlertSending(url, sink_name, sink, sender)
        clock, cpu = time.monotonic(), time.process_time()
        alerts.fill(("cam", 12, 3), path)
        filled = time.process_time() - cpu
        report = alerts.send()
    assert report.n_sent == n_alerts
    clock, cpu = time.monotonic() - clock, time.process_time() - cpu
    print(
        f"{sink_name:10} {n_alerts / clock:9.0f} {1e3 * filled / n_alerts:14.3f} {1e3 * cpu / n_alerts:14.3f}"
    )


def speed(n_alerts):
    """Print the speed of each sink."""
    with tempfile.TemporaryDirectory() as name, mock_cluster() as servers:
        folder = Path(name)
        alert = stamped(1, side=40)
        path = write(folder, [alert | _numbered(alert, number) for number in range(1, n_alerts + 1)])
        print(f"{n_alerts} alerts, {path.stat().st_size / n_alerts / 1e3:.0f} kB each")
        print("sink        alerts/s  encoded, noted  in all, CPU ms each")
        for sink in SINKS:
            measure(sink, folder, path, servers, n_alerts)


def _numbered(alert, number):
    return {
        "diaSourceId": number,
        "diaSource": alert["diaSource"] | {"diaSourceId": number, "diaObjectId": number},
    }


def kills(n_kills):
    """Kill senders at random moments, and count what has arrived."""
    with tempfile.TemporaryDirectory() as name, mock_cluster() as servers:
        folder = Path(name)
        url = f"sqlite:///{folder / 'astra.db'}"
        get_engine(url)
        wanted = set()
        for visit in range(1, n_kills + 1):
            numbers = [100 * visit + n for n in range(20)]
            wanted |= set(numbers)
            packets = [packet(one, 50 + one % 12, visit=visit, mjd=6e4 + visit) for one in numbers]
            write(folder, packets, visit)
        program = subprocess.Popen(
            [sys.executable, PROJECT / "tests" / "tasks" / "sending_process.py"],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        ends = Counter()
        for number in range(n_kills + 1):
            print(url, folder / "alerts", servers, "alerts", file=program.stdin)
            child = int(program.stdout.readline())
            if number < n_kills:
                time.sleep(random.uniform(0.3, 0.9))  # noqa: S311
                with suppress(ProcessLookupError):  # it has done all there was
                    os.kill(child, signal.SIGKILL)
            ends[int(program.stdout.readline())] += 1
        program.communicate()
        arrived = [decode(message.value())["diaSourceId"] for message in read_topic(servers, "alerts")]
    print(f"{ends[-signal.SIGKILL]} of {n_kills} senders killed while they sent {len(wanted)} alerts")
    print(f"lost {len(wanted - set(arrived))}, arrived twice {len(arrived) - len(set(arrived))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=100)
    given = parser.parse_args()
    if given.alerts:
        speed(given.alerts)
    if given.kills:
        kills(given.kills)
