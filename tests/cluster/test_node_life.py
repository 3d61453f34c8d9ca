"""The life of a node: its records survive stops and kills, it starts at once, it is small; waiting consumers are woken."""
import time

from confluent_kafka import Consumer, Producer, TopicPartition

from cluster import Node
from waiting import stretched, wait_until

READY_SECONDS_MAX, MEMORY_BYTES_MAX = 0.1, 16 << 20  # design.md 12


def read(node, topic, count, partition=0, offset=0):
    """`count` messages from `offset`."""
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "not-used", "enable.auto.commit": False, "check.crcs": True})
    consumer.assign([TopicPartition(topic, partition, offset)])
    found = []

    def enough():
        found.extend(message for message in consumer.consume(1000, 0.1) if message.error() is None)
        return len(found) >= count
    wait_until(enough, 20, f"{count} messages of {topic}")
    consumer.close()
    return found


def test_a_waiting_consumer_gets_what_comes(node):
    topic = "waiting"
    list_first = Producer({"bootstrap.servers": node.bootstrap})
    list_first.list_topics(topic, timeout=stretched(10))  # creates it
    consumer = Consumer({"bootstrap.servers": node.bootstrap, "group.id": "not-used", "enable.auto.commit": False, "fetch.wait.max.ms": 10_000})
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert consumer.poll(0.3) is None
    producer = Producer({"bootstrap.servers": node.bootstrap, "linger.ms": 0})
    producer.produce(topic, "now")
    producer.flush(stretched(10))
    started = time.monotonic()
    message = consumer.poll(stretched(9))
    assert message is not None and message.value() == b"now"
    assert time.monotonic() - started < stretched(5), "the long poll was not woken"
    consumer.close()


def test_records_survive_a_clean_restart_and_a_kill(folder):
    with Node(folder / "node") as node:
        node.start()
        for round_number, end in enumerate((node.stop, node.kill, node.stop)):
            producer = Producer({"bootstrap.servers": node.bootstrap, "enable.idempotence": True})
            for number in range(1000):
                producer.produce("kept", f"{round_number}-{number}")
            assert producer.flush(stretched(20)) == 0
            end()
            node.start()
            found = read(node, "kept", 1000 * (round_number + 1))
            assert [message.value().decode() for message in found] == [f"{one}-{two}" for one in range(round_number + 1) for two in range(1000)]


def test_a_new_node_is_ready_at_once_and_small(folder):
    """design.md 12: first metadata answer under 0.1 s after the start, under 16 MiB; the best of five, as the machine is shared."""
    taken, memory = [], []
    for number in range(5):
        with Node(folder / f"node{number}") as node:
            started = time.monotonic()
            node.start()
            taken.append(time.monotonic() - started)
            memory.append(node.memory_bytes())
    print(f"ready after {[round(seconds * 1000) for seconds in taken]} ms, {[one >> 10 for one in memory]} KiB")
    assert min(taken) < stretched(READY_SECONDS_MAX)
    assert max(memory) < stretched(MEMORY_BYTES_MAX)
