"""confluent-kafka and kcat against a Moldau node: codecs, headers, timestamps, seeks by time, the admin client."""
import json
import shutil
import subprocess
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec,
                                   ResourceType)

from waiting import stretched

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FIRST_TIME_MS, STEP_MS = 1_760_000_000_000, 1000


@pytest.fixture(scope="module")
def admin(node):
    return AdminClient({"bootstrap.servers": node.bootstrap})


def results(futures):
    return {name: future.result(stretched(20)) for name, future in futures.items()}


@pytest.fixture
def topic(request, admin):
    """A topic of one partition named after the test."""
    name = request.node.name.replace("[", ".").replace("]", "")
    results(admin.create_topics([NewTopic(name, 1, 1)]))
    return name


def send(node, topic, messages, **settings):
    """Sends dicts of produce()'s arguments; the offsets by delivery report, in order."""
    offsets, errors = [], []

    def report(error, message):
        if error is None:
            offsets.append(message.offset())
        else:
            errors.append(str(error))
    producer = Producer({"bootstrap.servers": node.bootstrap, "linger.ms": 5, "message.timeout.ms": 30_000, **settings})
    for message in messages:
        producer.produce(topic, on_delivery=report, **message)
    assert producer.flush(stretched(30)) == 0 and not errors, errors
    return offsets


def consumer(node, **settings):
    return Consumer({"bootstrap.servers": node.bootstrap, "group.id": "not-used", "enable.auto.commit": False, "enable.partition.eof": True,
                     "check.crcs": True, **settings})


def read_from(node, topic, offset, **settings):
    """All messages of partition 0 from `offset` to the end."""
    reader, read = consumer(node, **settings), []
    reader.assign([TopicPartition(topic, 0, offset)])
    deadline = time.monotonic() + stretched(20)
    try:
        while time.monotonic() < deadline:
            for message in reader.consume(1000, 0.2):
                if message.error() is None:
                    read.append(message)
                    continue
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                return read
        raise AssertionError(f"no end after {len(read)} messages")
    finally:
        reader.close()


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_there_and_back(node, topic, codec):
    values = [b"%d %s" % (number, b"moldau " * (number % 50)) for number in range(500)]
    assert send(node, topic, [{"value": value} for value in values], **{"compression.type": codec}) == list(range(500))
    read = read_from(node, topic, 0)
    assert [(message.offset(), message.value()) for message in read] == list(enumerate(values))


def test_keys_headers_nulls_and_timestamps(node, topic):
    sent = [
        {"key": b"k", "value": b"v", "headers": [("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None)], "timestamp": FIRST_TIME_MS},
        {"key": None, "value": b"", "timestamp": FIRST_TIME_MS + 1},
        {"key": b"", "value": None, "timestamp": FIRST_TIME_MS + 2},
        {"key": b"\x00\xff" * 1000, "value": bytes(range(256)) * 400, "timestamp": FIRST_TIME_MS + 3},
    ]
    send(node, topic, sent)
    read = read_from(node, topic, 0)
    got = [{"key": message.key(), "value": message.value(), "headers": message.headers(), "timestamp": message.timestamp()[1]} for message in read]
    assert got == [{"headers": None, **message} for message in sent]


def test_log_append_time(node, admin):
    results(admin.create_topics([NewTopic("append-time", 1, 1, config={"message.timestamp.type": "LogAppendTime"})]))
    before = time.time() * 1000
    send(node, "append-time", [{"value": b"v", "timestamp": FIRST_TIME_MS}] * 10)
    kinds, times = zip(*(message.timestamp() for message in read_from(node, "append-time", 0)))
    assert set(kinds) == {2} and all(before - 1000 <= when <= time.time() * 1000 + 1000 for when in times), (kinds, times)


def test_seek_by_time_and_to_special_offsets(node, topic, admin):
    send(node, topic, [{"value": b"%d" % number, "timestamp": FIRST_TIME_MS + number * STEP_MS} for number in range(1000)],
         **{"batch.num.messages": 50})
    reader = consumer(node)
    try:
        for wanted_ms, offset in ((FIRST_TIME_MS - 1, 0), (FIRST_TIME_MS, 0), (FIRST_TIME_MS + 1, 1), (FIRST_TIME_MS + 500 * STEP_MS, 500),
                                  (FIRST_TIME_MS + 999 * STEP_MS, 999), (FIRST_TIME_MS + 10**7, -1)):
            (found,) = reader.offsets_for_times([TopicPartition(topic, 0, wanted_ms)], stretched(10))
            assert (found.offset, found.error) == (offset, None), wanted_ms
        assert reader.get_watermark_offsets(TopicPartition(topic, 0), stretched(10)) == (0, 1000)
    finally:
        reader.close()
    place = TopicPartition(topic, 0)
    newest = results(admin.list_offsets({place: OffsetSpec.max_timestamp()}))[place]
    assert (newest.offset, newest.timestamp) == (999, FIRST_TIME_MS + 999 * STEP_MS)
    assert [message.offset() for message in read_from(node, topic, 990)] == list(range(990, 1000))
    assert read_from(node, topic, 1000) == []


def test_offset_out_of_range(node, topic):
    """The client's auto.offset.reset decides, as with Kafka."""
    send(node, topic, [{"value": b"v"}] * 5)
    assert len(read_from(node, topic, 77, **{"auto.offset.reset": "earliest"})) == 5
    assert read_from(node, topic, 77, **{"auto.offset.reset": "latest"}) == []


def test_fetch_waits_for_new_messages(node, topic):
    """A consumer at the end gets a message as soon as it is there, not when its poll of 60 s ends."""
    reader = consumer(node, **{"fetch.wait.max.ms": 60_000, "socket.timeout.ms": 90_000, "enable.partition.eof": False})
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        for number in range(3):
            assert reader.poll(0.2) is None  # time for the fetch to be under way; the test holds without it too
            send(node, topic, [{"value": b"%d" % number}])
            message = reader.poll(stretched(10))
            assert message is not None and message.value() == b"%d" % number
    finally:
        reader.close()


@pytest.mark.parametrize("settings", [{"acks": 0}, {"acks": 1}, {"acks": "all"}, {"enable.idempotence": True}], ids=str)
def test_acknowledgements(node, admin, settings):
    name = "acks-" + "-".join(str(value) for value in settings.values())
    results(admin.create_topics([NewTopic(name, 1, 1, config={"durability": "cached" if settings.get("acks") == 1 else "synced"})]))
    send(node, name, [{"value": b"%d" % number} for number in range(2000)], **settings)
    wanted = [b"%d" % number for number in range(2000)]
    deadline = time.monotonic() + stretched(10)
    while (read := [message.value() for message in read_from(node, name, 0)]) != wanted:
        # acks=0 says nothing about when: the client has let go of the bytes, the broker may still be at it
        assert settings.get("acks") == 0 and time.monotonic() < deadline, f"{len(read)} of {len(wanted)} read"


def test_message_that_is_too_large(node, topic):
    with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):
        send(node, topic, [{"value": b"x" * 2_000_000}], **{"message.max.bytes": 10_000_000})
    assert send(node, topic, [{"value": b"x" * 900_000}]) == [0]


def test_admin_client(node, admin):
    name = "admin.topic_1"
    results(admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "60000"})]))
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        results(admin.create_topics([NewTopic(name, 2, 1)]))
    with pytest.raises(KafkaException, match="INVALID_REPLICATION_FACTOR"):
        results(admin.create_topics([NewTopic("too-many-replicas", 1, 3)]))
    with pytest.raises(KafkaException, match="TOPIC_EXCEPTION|INVALID_TOPIC"):
        results(admin.create_topics([NewTopic("not/a/name", 1, 1)]))
    with pytest.raises(KafkaException, match="INVALID_CONFIG"):
        results(admin.create_topics([NewTopic("bad-config", 1, 1, config={"retention.ms": "soon"})]))
    results(admin.create_topics([NewTopic("only-checked", 1, 1)], validate_only=True))
    results(admin.create_partitions([NewPartitions(name, 5)]))
    metadata = admin.list_topics(timeout=stretched(10))
    assert len(metadata.topics[name].partitions) == 5 and "only-checked" not in metadata.topics
    assert {partition.leader for partition in metadata.topics[name].partitions.values()} == {1}
    cluster = admin.describe_cluster().result(stretched(10))
    assert [broker.id for broker in cluster.nodes] == [1] and cluster.controller.id == 1 and cluster.cluster_id == metadata.cluster_id
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[
        ConfigEntry("durability", "cached", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)])
    results(admin.incremental_alter_configs([resource]))
    (configs,) = results(admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)])).values()
    assert configs["durability"].value == "cached" and not configs["durability"].is_default
    assert configs["retention.ms"].value == "604800000" and configs["retention.ms"].is_default
    results(admin.delete_topics([name]))
    assert name not in admin.list_topics(timeout=stretched(10)).topics
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        results(admin.delete_topics([name]))


def test_topic_made_again_is_empty(node, admin):
    """The same name is another topic: its old records don't come back."""
    for round_number in range(3):
        results(admin.create_topics([NewTopic("again", 1, 1)]))
        assert send(node, "again", [{"value": b"round %d" % round_number}]) == [0]
        assert [message.value() for message in read_from(node, "again", 0)] == [b"round %d" % round_number]
        results(admin.delete_topics(["again"]))


# ---- kcat ----
def kcat(node, *arguments, stdin=None):
    assert shutil.which("kcat"), "kcat is missing: deploy/install-deps --tests"
    done = subprocess.run(["kcat", "-q", "-b", node.bootstrap, *arguments], input=stdin, capture_output=True, timeout=stretched(30))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("codec", CODECS)
def test_kcat_sends_and_reads(node, topic, codec):
    lines = b"".join(b"key%d\tvalue %d\n" % (number, number) for number in range(300))
    kcat(node, "-P", "-t", topic, "-K", "\t", "-z", codec, "-H", "from=kcat", stdin=lines)
    assert kcat(node, "-C", "-e", "-t", topic, "-o", "beginning", "-K", "\t") == lines
    last = kcat(node, "-C", "-e", "-t", topic, "-p", "0", "-o", "-1", "-f", "%o %k %s %h\n")
    assert last == b"299 key299 value 299 from=kcat\n"


def test_kcat_metadata_and_query(node, topic):
    send(node, topic, [{"value": b"v", "timestamp": FIRST_TIME_MS + number} for number in range(10)])
    metadata = json.loads(kcat(node, "-L", "-J"))
    assert [broker["id"] for broker in metadata["brokers"]] == [1]
    (entry,) = [found for found in metadata["topics"] if found["topic"] == topic]
    assert entry["partitions"] == [{"partition": 0, "leader": 1, "replicas": [{"id": 1}], "isrs": [{"id": 1}]}]
    assert f"{topic} [0] offset 4".encode() in kcat(node, "-Q", "-t", f"{topic}:0:{FIRST_TIME_MS + 4}")
