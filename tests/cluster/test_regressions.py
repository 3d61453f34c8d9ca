"""What broke once, or was found before it could: each test names the symptom that it keeps away. Raw requests, so that a client library
neither hides nor retries anything."""
import contextlib
import re
import socket
import struct
import time
import urllib.request

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from cluster import Node, answers_metadata, free_port
from kafka_wire import Connection
from record_batch import Batch, describe
from waiting import wait_until

FETCH, PRODUCE, DESCRIBE_LOG_DIRS, INCREMENTAL_ALTER_CONFIGS = 1, 0, 35, 44


def admin(node):
    """Kept with the node: the answers of a client that is dropped are dropped with it."""
    if not hasattr(node, "admin_client"):
        node.admin_client = AdminClient({"bootstrap.servers": node.bootstrap, "log_level": 0})
    return node.admin_client


def done(futures):
    for future in futures.values():
        future.result(timeout=20)


def create(node, name, partitions=1, **config):
    done(admin(node).create_topics([NewTopic(name, partitions, 1, config=config)]))


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def produce_body(topic, batches, acks=-1, timeout_ms=10000):
    """Produce v3: {partition: batch bytes} of one topic."""
    parts = b"".join(struct.pack(">ii", index, len(data)) + data for index, data in batches.items())
    return struct.pack(">hhii", -1, acks, timeout_ms, 1) + text(topic) + struct.pack(">i", len(batches)) + parts


def produce(connection, topic, batches, **more):
    """The error code of each partition."""
    connection.send_frame(connection.header(PRODUCE, 3, False) + produce_body(topic, batches, **more))
    body = connection.receive_frame()
    at, codes = 4 + 4 + 2 + len(topic) + 4, {}
    for _ in batches:
        index, error, _offset, _time = struct.unpack_from(">ihqq", body, at)
        codes[index], at = error, at + 22
    return codes


def send_fetch(connection, topic, offsets, wait_ms, min_bytes, limit=1 << 20):
    """Fetch v4: {partition: offset} of one topic."""
    parts = b"".join(struct.pack(">iqi", index, offset, limit) for index, offset in offsets.items())
    head = struct.pack(">iiiibi", -1, wait_ms, min_bytes, 1 << 26, 0, 1)
    connection.send_frame(connection.header(FETCH, 4, False) + head + text(topic) + struct.pack(">i", len(offsets)) + parts)


def receive_fetch(connection):
    """{partition: (error, high watermark, batches)}"""
    body = connection.receive_frame()
    at, found = 8, {}
    topics = struct.unpack_from(">i", body, at)[0]
    at += 4
    for _ in range(topics):
        at += 2 + struct.unpack_from(">h", body, at)[0]
        count = struct.unpack_from(">i", body, at)[0]
        at += 4
        for _ in range(count):
            index, error, high, _stable, aborted = struct.unpack_from(">ihqqi", body, at)
            at += 26 + 16 * max(aborted, 0)
            size = struct.unpack_from(">i", body, at)[0]
            at += 4
            found[index] = error, high, describe(body[at:at + max(size, 0)])
            at += max(size, 0)
    return found


def test_news_of_many_partitions_in_one_moment(folder):
    """A waiting fetch is answered by the first news; the others' news must not reach it any more (read of freed memory)."""
    with Node(folder / "node") as node:
        node.start()
        create(node, "t", 8)
        offsets = dict.fromkeys(range(8), 0)
        with Connection(node.bootstrap) as reader, Connection(node.bootstrap) as writer:
            for _ in range(50):
                send_fetch(reader, "t", offsets, wait_ms=10000, min_bytes=1)
                assert set(produce(writer, "t", {index: Batch([b"x"]).encode() for index in offsets}).values()) == {0}
                for index, (error, _high, batches) in receive_fetch(reader).items():
                    assert error == 0
                    offsets[index] += len(batches)


def test_topic_goes_while_fetches_and_produces_wait(folder):
    """Who waits for a topic that is deleted hears of it at once; the answer was made from metadata that was gone."""
    with Node(folder / "node") as node:
        node.start()
        with Connection(node.bootstrap) as reader, Connection(node.bootstrap) as writer:
            for turn in range(10):
                name = f"t{turn}"
                create(node, name, 4)
                began = time.monotonic()
                send_fetch(reader, name, dict.fromkeys(range(4), 0), wait_ms=60000, min_bytes=1 << 20)
                for _ in range(20):
                    writer.send_frame(writer.header(PRODUCE, 3, False) + produce_body(name, {index: Batch([b"x"]).encode() for index in range(4)}))
                done(admin(node).delete_topics([name]))
                assert {error for error, _, _ in receive_fetch(reader).values()} & {3, 6}
                for _ in range(20):
                    writer.receive_frame()
                assert time.monotonic() - began < 50


def test_topic_made_again_at_once_and_after_a_restart(folder):
    """A topic of the same name found its predecessor's directory, or its checkpoint row, and stayed offline."""
    with Node(folder / "node") as node:
        node.start()
        for turn in range(15):
            create(node, "again", 4)
            with Connection(node.bootstrap) as connection:
                assert set(produce(connection, "again", {index: Batch([b"x" * 100] * 3).encode() for index in range(4)}).values()) == {0}
                send_fetch(connection, "again", dict.fromkeys(range(4), 0), wait_ms=0, min_bytes=0)
                assert all((error, high) == (0, 3) for error, high, _ in receive_fetch(connection).values()), turn
            if turn == 7:
                node.restart()
            done(admin(node).delete_topics(["again"]))
        assert "partition_offline" not in node.log_text()


def test_list_setting_of_many_bytes(folder):
    """The controller takes settings of up to 32,767 bytes; a partition that read one of more than 1,023 ended the node, for ever."""
    with Node(folder / "node") as node:
        node.start()
        long_list = ",".join(["delete"] * 500)
        try:
            create(node, "t", **{"cleanup.policy": long_list})
        except KafkaException:
            create(node, "t")
            resource = ConfigResource(ResourceType.TOPIC, "t", incremental_configs=[
                ConfigEntry("cleanup.policy", long_list, incremental_operation=AlterConfigOpType.SET)])
            for future in admin(node).incremental_alter_configs([resource]).values():
                assert future.exception(timeout=20) is None or node.is_running
        node.restart()
        assert node.is_running and answers_metadata(node.bootstrap)


def test_request_that_fills_its_memory(folder):
    """Messages whose decoded form leaves no room in the request's memory close the connection; handlers trusted that some was left."""
    with Node(folder / "node") as node:
        node.start()
        for count in range(60000, 6_000_000, 450_000):
            with Connection(node.bootstrap) as connection:
                topics = struct.pack(">i", count) + (struct.pack(">h", 1) + b"t" + struct.pack(">i", 0)) * count
                connection.send_frame(connection.header(DESCRIBE_LOG_DIRS, 1, False) + topics)
                connection.socket.settimeout(60)
                connection.socket.recv(1)  # an answer, or the end
            assert node.is_running and answers_metadata(node.bootstrap)


def test_stop_while_metadata_changes(folder):
    """Creations that were decided while partitions closed were waited for without end."""
    with Node(folder / "node") as node:
        for turn in range(5):
            node.start()
            client = admin(node)
            futures = client.create_topics([NewTopic(f"t{turn}-{index}", 8, 1) for index in range(20)])
            if turn % 2 == 0:
                wait_until(lambda: any(future.done() for future in futures.values()), 10, "one of the topics")
            node.stop()


def test_many_large_requests_for_settings_at_once(folder):
    """What one round of the controller decodes has a bound; sixteen requests of 2.8 MB together went beyond it and ended the node."""
    def uvarint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])
    count = 690_000
    settings = uvarint(count + 1) + b"\1\0\1\0" * count
    body = b"\2" + b"\2" + b"\2t" + settings + b"\0" + b"\0" + b"\0"  # one topic, "t"; every setting: no name, SET, no value
    with Node(folder / "node") as node:
        node.start()
        create(node, "t")
        connections = [Connection(node.bootstrap, timeout_s=60) for _ in range(16)]
        for connection in connections:
            connection.send_frame(connection.header(INCREMENTAL_ALTER_CONFIGS, 1, True) + body)
        for connection in connections:
            assert connection.receive_frame()
            connection.close()
        assert node.is_running and answers_metadata(node.bootstrap)


def test_old_records_share_a_segment(folder):
    """Records that are older than segment.ms got a segment for each batch: a file each, and a fetch that returned one batch at a time."""
    with Node(folder / "node") as node:
        node.start()
        create(node, "t")
        with Connection(node.bootstrap) as connection:
            for index in range(20):
                batch = Batch([b"x"], base_timestamp=1_400_000_000_000 + index)
                assert produce(connection, "t", {0: batch.encode()}) == {0: 0}
            send_fetch(connection, "t", {0: 0}, wait_ms=0, min_bytes=0)
            assert len(receive_fetch(connection)[0][2]) == 20
        assert len(list((node.data / "t-0").glob("*.log"))) == 1


def test_lost_and_foreign_partition_directories(folder):
    """A directory that is gone is told of, never replaced by an empty log; one that no topic owns is set aside (R9)."""
    with Node(folder / "node") as node:
        node.start()
        for name in ("kept", "lost"):
            create(node, name)
            with Connection(node.bootstrap) as connection:
                assert produce(connection, name, {0: Batch([b"x"]).encode()}) == {0: 0}
        node.stop()
        (node.data / "lost-0").rename(node.data / "nobodys-0")
        node.start()
        node.wait_log(r"partition_offline topic=lost .*the directory of lost-0 is missing .*records up to offset 1")
        with Connection(node.bootstrap) as connection:
            assert produce(connection, "kept", {0: Batch([b"x"]).encode()}) == {0: 0}
            assert produce(connection, "lost", {0: Batch([b"x"]).encode()}) == {0: 56}  # KAFKA_STORAGE_ERROR
        strays = [entry.name for entry in node.data.iterdir() if entry.name.startswith("nobodys-0")]
        assert len(strays) == 1 and strays[0].endswith("-stray")
        assert not (node.data / "lost-0").exists()


def test_the_own_disk_gets_its_time(folder):
    """A client's timeout is for other replicas: with timeout 0 a write to the only one is acknowledged, as by Kafka."""
    with Node(folder / "node") as node:
        node.start()
        create(node, "t")
        with Connection(node.bootstrap) as connection:
            for acks in (1, -1):
                assert produce(connection, "t", {0: Batch([b"x"]).encode()}, acks=acks, timeout_ms=0) == {0: 0}


def test_small_requests_pass_announced_large_ones(folder):
    """Connections that announce 100 MiB each and send none of it held up everybody else for a minute."""
    with Node(folder / "node") as node:
        node.start()
        host, port = node.bootstrap.split(":")
        with contextlib.ExitStack() as greedy:
            for _ in range(20):
                plain = greedy.enter_context(socket.create_connection((host, int(port)), timeout=10))
                plain.sendall(struct.pack(">i", 100 << 20) + b"\0" * 100)
            wait_until(lambda: answers_metadata(node.bootstrap), 20, "a metadata request is answered")
            with Connection(node.bootstrap) as connection:
                connection.send_frame(connection.header(DESCRIBE_LOG_DIRS, 1, False) + struct.pack(">i", -1))
                assert connection.receive_frame()


def test_a_fetch_whose_client_has_gone_ends(folder):
    """It waited, and held its memory, for as long as its client had wanted: up to 10 minutes."""
    port = free_port()
    with Node(folder / "node", {"http.listener": f"127.0.0.1:{port}"}) as node:
        node.start()
        create(node, "t")

        def waiting():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                return int(re.search(r"^moldau_requests_in_flight (\d+)$", page.read().decode(), re.M).group(1))

        wait_until(lambda: waiting() == 0, 20, "nothing is under way")
        with Connection(node.bootstrap) as connection:
            send_fetch(connection, "t", {0: 0}, wait_ms=600000, min_bytes=1)
            wait_until(lambda: waiting() == 1, 20, "the fetch waits")
        wait_until(lambda: waiting() == 0, 20, "the fetch has ended with its connection")
