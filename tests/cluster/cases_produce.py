"""Cases: Produce, with correct and with damaged batches; the rules of idempotent producers."""
from cases_metadata import BAD_NAMES, UNKNOWN_ID
from comparison import CLOSED, case
from kafka_wire import Closed
from record_batch import Batch, message_set, record
from waiting import wait_until

VERSIONS = (3, 5, 7, 8, 9, 12, 13)
CONTROL, TRANSACTIONAL, APPEND_TIME = 0x20, 0x10, 0x08


def show_log(side, topic, partition=0, label="what is in the log"):
    """Everything that the partition holds."""
    side.call("Fetch", 12, {"MaxWaitMs": 0, "MinBytes": 0, "Topics": [{"Topic": topic, "Partitions": [
        {"Partition": partition, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}]}]}, label=label)


@case("Produce", versions=VERSIONS)
def produce(side, version):
    topic = side.topic("t", partitions=2)
    for acks in (1, -1):
        side.produce(version, topic, (0, Batch([b"a", b"b"])), acks=acks, label=f"acks {acks}")
        side.produce(version, topic, (0, Batch([b"in no time"])), acks=acks, TimeoutMs=0, label=f"acks {acks}, timeout 0")
    side.produce(version, topic, (0, Batch([b"c"])), (1, Batch([b"d"])), label="two partitions")
    side.produce(version, topic, (0, Batch([b"e", b"f"], codec="gzip")), label="gzip")
    side.produce(version, topic, (0, Batch([b"g"], base_offset=77, leader_epoch=55)), label="base offset and epoch of its own")
    side.produce(version, topic, (0, Batch([b""])), label="empty value")
    side.produce(version, topic, (0, Batch(payload=record(0, None, None), values=[b""])), label="null key and value")
    side.produce(version, topic, (0, Batch(payload=record(0, b"k", b"v", headers=((b"h", b"x"), (b"h", None))))), label="headers")
    side.produce(version, topic, (0, Batch(base_timestamp=-1, timestamp_step=0, max_timestamp=-1)), label="no timestamp")
    for partition in (0, 1):
        show_log(side, topic, partition)


def wait_for_end(side, topic, end):
    """The latest offset moves when the record is as durable as the topic asks: with acks=0 nobody has waited for that."""
    asked = {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}]}
    wait_until(lambda: side.ask("ListOffsets", 7, asked)["Topics"][0]["Partitions"][0]["Offset"] == end, 10, f"offset {end}")


@case("Produce", versions=VERSIONS)
def produce_without_acks(side, version):
    """No answer; the next request on the connection is answered, and sees the record."""
    topic = side.topic("t")
    connection = side.connected()
    connection.send("Produce", version, side.produce_fields(version, topic, (0, Batch([b"a"])), acks=0))
    wait_for_end(side, topic, 1)
    for label, batch, partition in (("corrupt", Batch(crc=1), 0), ("no such partition", Batch(), 9), ("too large", Batch([b"x" * 1_200_000]), 0)):
        connection = side.connected()
        connection.send("Produce", version, side.produce_fields(version, topic, (partition, batch), acks=0))
        try:
            connection.call("ApiVersions", 0, {})
            side.note("the connection stays", label)
        except Closed:
            side.note(CLOSED, label)
            side.drop()


@case("Produce", versions=VERSIONS)
def produce_refused(side, version):
    topic = side.topic("t", max_message_bytes=10000)
    for acks in (2, -2, 32767):
        side.produce(version, topic, (0, Batch()), acks=acks, label=f"acks {acks}")
    for partition in (1, -1, 1 << 20):
        side.produce(version, topic, (partition, Batch()), label=f"partition {partition}")
    side.produce(version, topic, (0, Batch()), (5, Batch()), label="good and bad partition")
    side.produce(version, topic, (0, Batch([b"x" * 10000])), label="larger than the topic takes")
    if version >= 13:
        side.produce(version, UNKNOWN_ID, (0, Batch()), label="unknown id")
    else:
        side.produce(version, side.name("unknown"), (0, Batch()), label="unknown topic")
        for name in BAD_NAMES[:4]:
            side.produce(version, name, (0, Batch()), label=f"name {name!r}")
    side.produce(version, topic, (0, Batch([b"first"])), (0, Batch([b"second"])), label="one partition twice")
    side.call("Produce", version, {"Acks": -1, "TimeoutMs": 1000, "TopicData": []}, label="nothing")
    side.produce(version, topic, (0, Batch()), TransactionalId="", label="empty transactional id")
    show_log(side, topic)


def damaged():
    """Batches that no correct client sends: (label, bytes)."""
    good = Batch([b"a", b"b"])
    yield "no bytes", b""
    yield "crc", Batch(crc=12345)
    yield "a byte flipped in a record", good.encode()[:-3] + b"\xff" + good.encode()[-2:]
    yield "cut", good.encode()[:-5]
    yield "header only, cut", good.encode()[:30]
    yield "ten bytes", good.encode()[:10]
    yield "garbage behind", good.encode() + b"\0" * 7
    yield "two batches", good.encode() + good.encode()
    yield "length too small", Batch(length=20)
    yield "length negative", Batch(length=-1)
    yield "length too large", Batch(length=1000)
    yield "magic 0", message_set(0, b"old")
    yield "magic 1", message_set(1, b"old")
    yield "magic 3", Batch(magic=3)
    yield "count too large", Batch([b"a", b"b"], count=3)
    yield "count too small", Batch([b"a", b"b"], count=1)
    yield "count 0", Batch([], count=0, payload=b"", last_offset_delta=0)
    yield "count negative", Batch(count=-1)
    yield "last delta too large", Batch([b"a", b"b"], last_offset_delta=5)
    yield "last delta too small", Batch([b"a", b"b"], last_offset_delta=0)
    yield "deltas not from 0", Batch(payload=record(3, b"k", b"v"))
    yield "deltas out of order", Batch([b"", b""], payload=record(1, b"k", b"v") + record(0, b"k", b"v"))
    yield "record longer than it says", Batch(payload=record(0, b"k", b"v", extra=b"zz"))
    yield "record cut", Batch(payload=record(0, b"k", b"v")[:-1])
    yield "bytes behind the records", Batch(payload=record(0, b"k", b"v") + b"\0\0")
    yield "negative header count", Batch(payload=b"\x0e\0\0\0\x02k\x02v\x01")
    yield "control batch", Batch(attributes=CONTROL)
    yield "control and transactional", Batch(attributes=CONTROL | TRANSACTIONAL, producer=(9, 0, 0))
    yield "transactional without a transaction", Batch(attributes=TRANSACTIONAL)
    yield "log append time", Batch(attributes=APPEND_TIME)
    yield "unused attribute bits", Batch(attributes=0x4000)
    yield "wrong newest timestamp", Batch([b"a", b"b"], max_timestamp=5)
    yield "codec 5", Batch(attributes=5)
    yield "codec 7", Batch(attributes=7)
    for codec, bits in (("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)):
        yield f"garbage as {codec}", Batch(attributes=bits, payload=b"not what it says")
    yield "gzip, count too large", Batch([b"a", b"b"], codec="gzip", count=5, last_offset_delta=4)
    yield "gzip, count too small", Batch([b"a", b"b"], codec="gzip", count=1, last_offset_delta=0)
    yield "gzip, deltas not from 0", Batch(payload=record(3, b"k", b"v"), codec="gzip")
    yield "gzip of nothing", Batch(payload=b"", codec="gzip")
    yield "far in the future", Batch(base_timestamp=4_000_000_000_000)
    yield "negative timestamp", Batch(base_timestamp=-5, timestamp_step=0, max_timestamp=-5)
    yield "sequence without producer", Batch(producer=(-1, -1, 5))
    yield "producer without sequence", Batch(producer=(9, 0, -1))
    yield "producer without epoch", Batch(producer=(9, -1, 0))


@case("Produce", versions=(3, 7, 9, 13))
def produce_damaged(side, version):
    """Each damage meets a partition of its own, whose log is shown after."""
    cases = list(damaged())
    topic = side.topic("t", partitions=len(cases))
    for partition, (label, batch) in enumerate(cases):
        side.produce(version, topic, (partition, batch), label=label)
        show_log(side, topic, partition, label=f"after {label}")


@case("Produce", versions=(9,))
def produce_null_records(side, version):
    topic = side.topic("t")
    side.connected().socket.settimeout(3)
    side.produce(version, topic, (0, None))


@case("Produce", versions=(9,))
def produce_append_time(side, version):
    topic = side.topic("t", message_timestamp_type="LogAppendTime")
    for codec in ("none", "gzip"):
        side.produce(version, topic, (0, Batch([b"a", b"b"], codec=codec)), label=codec)
    show_log(side, topic)
    narrow = side.topic("narrow", message_timestamp_before_max_ms=1000)
    side.produce(version, narrow, (0, Batch([b"a", b"b"])), label="older than the topic takes")


@case("Produce", versions=(3, 7, 9, 12, 13))
def idempotent_producer(side, version):
    topic = side.topic("t")

    def send(label, sequence, epoch=0, pid=4000, count=1):
        side.produce(version, topic, (0, Batch([b"v%d" % i for i in range(count)], producer=(pid, epoch, sequence))), label=label)
    for first in range(0, 14, 2):
        send(f"sequence {first}", first, count=2)
    send("the last again", 12, count=2)
    send("the fifth last again", 4, count=2)
    send("the sixth last again", 2, count=2)
    send("a part of the last", 13)
    send("the last and one more", 12, count=3)
    send("a gap", 20)
    send("going on after a gap", 14)
    send("a new epoch not from 0", 15, epoch=1)
    send("a new epoch", 0, epoch=1)
    send("the old epoch", 15)
    send("the old epoch, a duplicate", 12, count=2)
    send("the new epoch goes on", 1, epoch=1)
    send("an unknown producer not from 0", 5, pid=4001)
    send("that producer again, from there", 6, pid=4001)
    send("an unknown producer from 0", 0, pid=4002)
    send("sequence near its end", 2147483646, pid=4003, count=1)
    send("sequence that wraps", 2147483647, pid=4003, count=2)
    send("after the wrap", 1, pid=4003)
    show_log(side, topic)


@case("Produce", versions=(9,))
def idempotent_across_partitions(side, version):
    """Sequences count for each partition; one bad partition does not stop the other."""
    topic = side.topic("t", partitions=2)
    for label, first, second in (("both", 0, 0), ("second ahead", 1, 5), ("second right", 2, 1), ("both again", 2, 1)):
        side.produce(version, topic, (0, Batch(producer=(5000, 0, first))), (1, Batch(producer=(5000, 0, second))), label=label)
    two = Batch(producer=(5001, 0, 0)).encode() + Batch(producer=(5001, 0, 1)).encode()
    side.produce(version, topic, (0, two), label="two batches of a producer at once")


@case()
def answers_in_order(side, _):
    """Requests sent without waiting are answered in their order, long polls included."""
    topic = side.topic("t")
    connection = side.connected()
    sent = [connection.send("Produce", 9, side.produce_fields(9, topic, (0, Batch([b"a"])))),
            connection.send("Fetch", 12, {"MaxWaitMs": 200, "MinBytes": 1 << 20, "Topics": [
                {"Topic": topic, "Partitions": [{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1000}]}]}),
            connection.send("Produce", 9, side.produce_fields(9, topic, (0, Batch([b"b"])))),
            connection.send("ApiVersions", 0, {}),
            connection.send("ListOffsets", 7, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": -2}]}]})]
    for number, one in enumerate(sent):
        answer = connection.receive(one)
        # What the long poll sees of the later produce depends on when requests of one connection are begun: not compared.
        side.note(answer if one[0] in ("Produce", "ListOffsets") else one[0], f"answer {number}")
