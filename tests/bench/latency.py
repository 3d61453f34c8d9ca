"""From the producer's send to the consumer's hand: two processes, one clock (monotonic), records of 1 KiB that carry when they were sent.

    python latency.py BOOTSTRAP TOPIC PARTITIONS COUNT SECONDS     the reader: says "ready", then reads, then prints its figures as JSON
"""
import json
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from limits import percentile

RECORD_BYTES, TICK_SECONDS = 1024, 0.001
DRAIN_SECONDS = 20  # how long what was sent may take to come out
UNBATCHED = {"batch.num.messages": 1}


def read(bootstrap, topic, partitions, count, seconds):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "not-used", "enable.auto.commit": False, "log_level": 0})
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place, timeout=30)[1]
    consumer.assign(places)
    consumer.poll(0.5)  # connections are made
    print("ready", flush=True)
    delays, deadline = [], time.monotonic() + seconds
    while len(delays) < count and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            delays.append(time.monotonic_ns() - struct.unpack_from(">q", message.value())[0])
    delays = delays[count // 20:]  # the first of the producer's connections
    consumer.close()
    print(json.dumps({"count": len(delays) + count // 20, "p50_ms": percentile(delays, 0.5) / 1e6 if delays else None,
                      "p99_ms": percentile(delays, 0.99) / 1e6 if delays else None}))


def send(bootstrap, topic, partitions, rate, count, settings):
    """`rate` records a second, spread over the partitions, in ticks of a millisecond."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0, "queue.buffering.max.messages": 1_000_000,
                         "queue.buffering.max.kbytes": 2_000_000, "log_level": 0, **settings})
    padding, number, started = b"x" * (RECORD_BYTES - 8), 0, time.monotonic()
    pause = threading.Event()
    while number < count:
        due = min(count, int((time.monotonic() - started) * rate) + 1)
        while number < due:
            producer.produce(topic, struct.pack(">q", time.monotonic_ns()) + padding, partition=number % partitions)
            number += 1
        producer.poll(0)
        pause.wait(TICK_SECONDS)
    producer.flush(DRAIN_SECONDS)


def measure(bootstrap, topic, partitions, rate, seconds, settings=None):
    """(p50, p99 in ms, share of the records that came out in time)."""
    count = int(rate * seconds)
    reader = subprocess.Popen([sys.executable, "-B", Path(__file__), bootstrap, topic, str(partitions), str(count), str(seconds + DRAIN_SECONDS)],
                              stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "ready\n"
    send(bootstrap, topic, partitions, rate, count, settings or {})
    found = json.loads(reader.stdout.readline())
    reader.wait()
    return found["p50_ms"], found["p99_ms"], found["count"] / count


if __name__ == "__main__":
    read(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
