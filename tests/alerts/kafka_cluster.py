"""librdkafka's mock cluster in a process of its own, which outlives those that send to it.

It listens on the loopback interface and keeps what it gets in memory, 5 MiB for each of 4 partitions. Run as
a program it prints its address and ends with its standard input.
"""

import subprocess
import sys
from contextlib import contextmanager

N_PARTITIONS = 4


def main():
    """Serve until standard input ends."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)  # noqa: T201
    sys.stdin.read()


@contextmanager
def mock_cluster():
    """Yield the address of a cluster of one broker."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=30)


def read_topic(servers, topic):
    """All messages of a topic, by partition and in their order there."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "reader", "enable.partition.eof": True, "log_level": 0}
    )
    try:
        partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found = {number: [] for number in partitions}
        at_end = set()
        while len(at_end) < len(partitions):
            message = consumer.poll(10)
            if message is not None and message.error():
                at_end.add(message.partition())
            elif message is not None:
                found[message.partition()].append(message)
    finally:
        consumer.close()
    return [message for number in partitions for message in found[number]]


if __name__ == "__main__":
    main()
