"""Processes that send alerts to Kafka, and die by ``kill -9`` at a place that their arguments name.

Arguments: database, folder of alerts, brokers, topic, place, and how often the place is passed before. They
are forked off one that has imported everything.
"""

import os
import signal
import sys
from pathlib import Path

from astra.alerts.kafka import KafkaSender, KafkaSink
from astra.alerts.sinks import SinkSettings
from astra.config import section_options
from astra.database.outbox import sending
from astra.tasks.sending import AlertSending


def die():
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(place, count):
    """Die at the place when it is passed once more than ``count`` times."""
    owner, name, when = {
        "filled": (AlertSending, "send", "before"),
        "sending": (KafkaSender, "_produce", "after"),
        "arrived": (KafkaSender, "send", "after"),
        "marked": (AlertSending, "_mark", "after"),
    }[place]
    original, passed = getattr(owner, name), [0]

    def armed(*arguments, **keywords):
        passed[0] += 1
        if when == "before" and passed[0] > count:
            die()
        result = original(*arguments, **keywords)
        if passed[0] > count:
            die()
        return result

    setattr(owner, name, armed)


def main(database, folder, servers, topic):
    """Send all that lies in the folder."""
    sink = KafkaSink()
    options = section_options("astra_kafka") | {"servers": servers, "topic": topic}
    with sending(database, "kafka"), sink.open(SinkSettings(Path(folder), options)) as sender:
        alerts = AlertSending(database, "kafka", sink, sender, batch_alerts=8)
        for path in sorted(Path(folder).glob("*.avro")):
            visit, detector = map(int, path.stem.split("_"))
            alerts.send(alerts.fill(("cam", visit, detector), path))


def serve():
    """Fork a sender for each line of arguments on standard input; write its number, then how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            arguments = line.split()
            if arguments[4:]:
                arm(arguments[4], int(arguments[5]))
            main(*arguments[:4])
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
