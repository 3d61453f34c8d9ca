"""No acknowledged record is lost, moved, doubled or out of order, however often the node is killed while it takes them."""
import os
import random
import shutil
import subprocess
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import flights
import reference as kafka
from cluster import Node
from flight_check import assert_clean
from reading import read_by_assign
from waiting import stretched

PARTITIONS, KILLS = 6, 5
SECONDS_MAX = 240  # of one producer run, with its kills; the consoles come after


class Acknowledgements:
    """What the delivery reports said."""

    def __init__(self):
        self.places, self.failed = {}, []

    def reporter(self, number):
        def report(error, message):
            if error is None:
                self.places[number] = (message.partition(), message.offset())
            else:
                self.failed.append((number, str(error)))
        return report


def create_topic(bootstrap, name, durability):
    topic = NewTopic(name, PARTITIONS, 1, config={"durability": durability})
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept: its end would cancel the request
    for future in admin.create_topics([topic]).values():
        future.result(30)


def produce_with_kills(node, topic, rows, kill_points):
    """Sends all rows; kills and restarts the node whenever the next of `kill_points` (counts of acknowledged rows) is reached."""
    producer = Producer({"bootstrap.servers": node.bootstrap, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 200_000,
                         "queue.buffering.max.messages": 50_000, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200,
                         "retry.backoff.ms": 20, "retry.backoff.max.ms": 200, "partitioner": "murmur2_random"})
    done, points = Acknowledgements(), list(kill_points)
    deadline = time.monotonic() + stretched(SECONDS_MAX)

    def serve(seconds):
        producer.poll(seconds)
        assert time.monotonic() < deadline, f"{len(done.places)} rows acknowledged in {stretched(SECONDS_MAX):.0f} s\n{node.log_tail()}"
        if points and len(done.places) >= points[0]:
            points.pop(0)
            node.kill()
            node.start(wait=False)  # the producer goes on meanwhile
    for number, (key, value) in enumerate(rows):
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=done.reporter(number))
                break
            except BufferError:
                serve(0.05)
        if number % 100 == 0:
            serve(0)
    while len(done.places) + len(done.failed) < len(rows):
        serve(0.05)
    assert not points, f"not killed at {points}"
    return done


def read_by_kcat(bootstrap, topic):
    done = subprocess.run(["kcat", "-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning", "-f", "%p\t%o\t%k\t%s\n"],
                          capture_output=True, timeout=stretched(60))
    assert done.returncode == 0, done.stderr.decode()
    read = {partition: [] for partition in range(PARTITIONS)}
    for line in done.stdout.splitlines():
        partition, offset, key, value = line.split(b"\t")
        read[int(partition)].append((int(offset), key, value))
    return read


def read_by_console_consumer(bootstrap, topic, counts):
    """Kafka's own, one partition at a time; it ends when it has read as many as the partition should hold."""
    read = {}
    for partition, count in sorted(counts.items()):
        done = kafka.kafka_tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic, "--partition", partition,
            "--offset", "earliest", "--max-messages", count, "--timeout-ms", 30000, "--formatter-property", "print.offset=true",
            "--formatter-property", "print.key=true", "--formatter-property", "key.separator=|", seconds=90, heap="192m")
        assert done.returncode == 0, done.stderr
        read[partition] = []
        for line in done.stdout.splitlines():
            offset, key, value = line.split("|", 2)
            read[partition].append((int(offset.removeprefix("Offset:")), key.encode(), value.encode()))
    return read


@pytest.mark.parametrize("durability", ["synced", "cached"])
def test_flights_survive_kills(folder, durability):
    wanted = os.environ.get("MOLDAU_SEED", "")
    seed = int(wanted) if wanted.isdigit() else random.randrange(1 << 32)
    rows = flights.rows()
    kill_points = sorted(random.Random(seed).sample(range(len(rows) * 2 // 10, len(rows) * 8 // 10), KILLS))
    print(f"seed {seed} (MOLDAU_SEED repeats it): killed after {kill_points} acknowledged rows")
    topic = f"flights-{durability}"
    with Node(folder / "node") as node:
        node.start()
        create_topic(node.bootstrap, topic, durability)
        started = time.monotonic()
        done = produce_with_kills(node, topic, rows, kill_points)
        print(f"{len(rows)} rows, {KILLS} kills: {time.monotonic() - started:.1f} s")
        assert not done.failed, f"{len(done.failed)} rows were refused, such as {done.failed[:3]}"
        assert shutil.which("kcat"), "kcat is missing: deploy/install-deps --tests"
        assert_clean(rows, done.places, read_by_assign(node.bootstrap, topic, PARTITIONS), "confluent-kafka with assign()")
        by_kcat = read_by_kcat(node.bootstrap, topic)
        assert_clean(rows, done.places, by_kcat, "kcat")
        if kafka.missing() is None:
            counts = {partition: len(messages) for partition, messages in by_kcat.items()}
            assert_clean(rows, done.places, read_by_console_consumer(node.bootstrap, topic, counts), "Kafka's console consumer")
