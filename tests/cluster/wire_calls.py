"""The few calls that tests of a whole cluster make often, by hand: no Kafka jars, no client library that retries or hides anything.

Metadata (v8): leaders, epochs, ISRs as one broker sees them. DescribeQuorum (v1): leader, term, voters. Produce (v7): one answer for
one request. ListOffsets (v1): where a log ends.
"""
import struct
from dataclasses import dataclass, field

PRODUCE, LIST_OFFSETS, METADATA, DESCRIBE_QUORUM = 0, 2, 3, 55
ACKS_ALL = -1
CONSUMER, DEBUGGING = -1, -2  # replica ids of those who are none


class Cursor:
    """Reads what a response holds, in order."""

    def __init__(self, data, at=4):
        self.data, self.at = data, at

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values if len(values) > 1 else values[0]

    def text(self):
        size = self.take("h")
        self.at += max(size, 0)
        return None if size < 0 else self.data[self.at - size:self.at].decode()

    def ids(self):
        count = self.take("i")
        return [self.take("i") for _ in range(count)]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    def compact_text(self):
        size = self.uvarint() - 1
        self.at += max(size, 0)
        return None if size < 0 else self.data[self.at - size:self.at].decode()


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


@dataclass
class PartitionView:
    leader: int  # -1: none
    epoch: int
    replicas: list
    isr: list


@dataclass
class ClusterView:
    brokers: dict  # id -> "host:port"; those that are not fenced
    topics: dict  # name -> {partition: PartitionView}
    errors: dict  # name -> error code of the topic, where it has one


def ask_metadata(connection, topics=None):
    """What the broker at the other end thinks; `topics` None: all of them."""
    wanted = struct.pack(">i", -1) if topics is None else struct.pack(">i", len(topics)) + b"".join(map(text, topics))
    connection.send_frame(connection.header(METADATA, 8, False) + wanted + b"\0\0\0")
    answer = Cursor(connection.receive_frame())
    answer.take("i")  # throttle
    brokers = {}
    for _ in range(answer.take("i")):
        broker, host, port = answer.take("i"), answer.text(), answer.take("i")
        answer.text()  # rack
        brokers[broker] = f"{host}:{port}"
    answer.text()  # cluster id
    answer.take("i")  # controller: any broker, by KIP-590
    view = ClusterView(brokers, {}, {})
    for _ in range(answer.take("i")):
        error, name, _internal = answer.take("h"), answer.text(), answer.take("b")
        partitions = {}
        for _ in range(answer.take("i")):
            _error, index, leader, epoch = answer.take("hiii")
            replicas, isr, _offline = answer.ids(), answer.ids(), answer.ids()
            partitions[index] = PartitionView(leader, epoch, replicas, isr)
        answer.take("i")  # authorised operations
        view.topics[name] = partitions
        if error:
            view.errors[name] = error
    return view


@dataclass
class QuorumView:
    leader: int
    term: int
    high_watermark: int
    voters: dict = field(default_factory=dict)  # id -> (log end offset, ms since it was caught up or -1)
    observers: dict = field(default_factory=dict)


def ask_quorum(connection):
    """The quorum as the active controller tells it through this broker; RuntimeError with the code when it can't be had."""
    topic = b"\x13__cluster_metadata" + b"\2" + struct.pack(">i", 0) + b"\0" + b"\0"
    connection.send_frame(connection.header(DESCRIBE_QUORUM, 1, True) + b"\2" + topic + b"\0")
    answer = Cursor(connection.receive_frame(), at=5)  # behind the header's tags
    error = answer.take("h")
    if error or answer.uvarint() != 2:
        raise RuntimeError(f"DescribeQuorum: error {error}")
    answer.compact_text()
    answer.uvarint()
    _index, error, leader, term, high_watermark = answer.take("ihiiq")
    if error:
        raise RuntimeError(f"DescribeQuorum: error {error} of the partition")
    view = QuorumView(leader, term, high_watermark)
    for states in (view.voters, view.observers):
        for _ in range(answer.uvarint() - 1):
            replica, end, _fetched, caught_up = answer.take("iqqq")
            answer.uvarint()
            states[replica] = (end, caught_up)
    return view


def send_produce(connection, topic, partition, batch, acks=ACKS_ALL, timeout_ms=30000):
    """Sends one batch (bytes); receive_produce reads the answer."""
    body = struct.pack(">hhii", -1, acks, timeout_ms, 1) + text(topic) + struct.pack(">iii", 1, partition, len(batch)) + batch
    connection.send_frame(connection.header(PRODUCE, 7, False) + body)


def receive_produce(connection):
    """(error code, base offset)"""
    answer = Cursor(connection.receive_frame())
    assert answer.take("i") == 1
    answer.text()
    assert answer.take("i") == 1
    _index, error, base_offset = answer.take("ihq")
    return error, base_offset


def ask_end(connection, topic, partition, replica_id=CONSUMER):
    """(error code, offset) of ListOffsets (v1) for the latest offset."""
    body = struct.pack(">ii", replica_id, 1) + text(topic) + struct.pack(">iiq", 1, partition, -1)
    connection.send_frame(connection.header(LIST_OFFSETS, 1, False) + body)
    answer = Cursor(connection.receive_frame())
    assert answer.take("i") == 1
    answer.text()
    assert answer.take("i") == 1
    _index, error, _timestamp, offset = answer.take("ihqq")
    return error, offset
