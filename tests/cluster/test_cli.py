"""`moldau topic|produce|consume|cluster` as people and scripts use them: against our node, and against Apache Kafka itself."""
import base64
import json
import os
import signal
import socketserver
import subprocess
import threading

import pytest

from cluster import Node, free_port, program
from waiting import stretched, wait_until

SECONDS = 60


class Cli:
    """The command line with one broker's address."""

    def __init__(self, bootstrap):
        self.environment = {**os.environ, "MOLDAU_BOOTSTRAP_SERVER": bootstrap}

    def start(self, *words, **options):
        return subprocess.Popen([str(program()), *map(str, words)], env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def run(self, *words, stdin=b"", status=0):
        """The finished process; its exit status must be `status`."""
        done = subprocess.run([str(program()), *map(str, words)], env=self.environment, input=stdin, capture_output=True,
                              timeout=stretched(SECONDS), check=False)
        assert done.returncode == status, f"exit status {done.returncode} of {words}: {done.stderr.decode()}"
        return done

    def rows(self, *words, **options):
        """What --output json printed, a dict a line."""
        return [json.loads(line) for line in self.run(*words, "--output", "json", **options).stdout.splitlines()]

    def complaint(self, *words, status=1, stdin=b""):
        """The sentence on standard error of a run that fails; nothing may be on standard output."""
        done = self.run(*words, status=status, stdin=stdin)
        assert done.stdout == b""
        return done.stderr.decode()

    def values(self, topic, *flags):
        return self.run("consume", topic, *flags).stdout.decode().splitlines()


@pytest.fixture(scope="module", params=["node", pytest.param("reference", marks=pytest.mark.needs_reference)])
def cli(request):
    return Cli(request.getfixturevalue(request.param).bootstrap)


@pytest.fixture
def topic(cli, request):
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    cli.run("topic", "create", name, "--partitions", 3)
    yield name
    cli.run("topic", "delete", name, "--yes")


def lines(count, first=0):
    return "".join(f"line {i}\n" for i in range(first, first + count)).encode()


# ---- topics ----

def test_topics_are_made_shown_changed_and_deleted(cli):
    created = cli.rows("topic", "create", "orders", "payments", "--partitions", 2, "--config", "retention.ms=1d")
    assert sorted((row["kind"], row["topic"], row["partitions"], row["replication_factor"]) for row in created) == [
        ("created", "orders", 2, 1), ("created", "payments", 2, 1)]
    listed = {row["name"]: row for row in cli.rows("topic", "list")}
    assert listed["orders"]["partitions"] == 2
    assert listed["orders"]["topic_id"] == next(row["topic_id"] for row in created if row["topic"] == "orders")
    assert "no settings of its own" not in cli.run("topic", "describe", "orders").stdout.decode()
    described = cli.rows("topic", "describe", "orders")
    assert [(row["partition"], row["start"], row["end"]) for row in described if row["kind"] == "partitions"] == [(0, 0, 0), (1, 0, 0)]
    assert {"kind": "settings", "topic": "orders", "setting": "retention.ms", "value": "86400000"} in described
    cli.run("topic", "alter", "orders", "--partitions", 4, "--config", "retention.ms=2h", "--config", "max.message.bytes=2MiB")
    described = cli.rows("topic", "describe", "orders")
    assert sum(row["kind"] == "partitions" for row in described) == 4
    assert {row["setting"]: row["value"] for row in described if row["kind"] == "settings"} == {
        "retention.ms": "7200000", "max.message.bytes": "2097152"}
    cli.run("topic", "alter", "orders", "--delete-config", "retention.ms")
    assert [row["setting"] for row in cli.rows("topic", "describe", "orders") if row["kind"] == "settings"] == ["max.message.bytes"]
    cli.run("topic", "alter", "orders", "--delete-config", "max.message.bytes")
    assert "no settings of its own" in cli.run("topic", "describe", "orders").stdout.decode()
    assert b"gone for good" in cli.run("topic", "delete", "orders", status=1).stderr
    deleted = cli.rows("topic", "delete", "orders", "payments", "--yes")
    assert sorted(row["topic"] for row in deleted) == ["orders", "payments"]
    assert not {"orders", "payments"} & {row["name"] for row in cli.rows("topic", "list")}


def test_a_topic_that_exists_is_told(cli, topic):
    assert "TOPIC_ALREADY_EXISTS" in cli.complaint("topic", "create", topic)
    assert cli.rows("topic", "create", topic, "--if-not-exists") == [{"kind": "exists", "topic": topic}]


def test_a_check_creates_nothing(cli):
    assert cli.rows("topic", "create", "only-checked", "--check") == [{"kind": "can_be_created", "topic": "only-checked"}]
    assert "only-checked" not in {row["name"] for row in cli.rows("topic", "list")}


# ---- records ----

def test_lines_come_back_with_keys_headers_and_offsets(cli, topic):
    produced = cli.rows("produce", topic, "--key-separator", ":", "--header", "from=test", "--header", "empty=",
                        stdin=b"a:1\nb:2:3\nno key\n\na:4")
    assert sum(row["records"] for row in produced) == 5
    records = cli.rows("consume", topic)
    assert {(record["key"], record["value"]) for record in records} == {("a", "1"), ("b", "2:3"), (None, "no key"), (None, ""), ("a", "4")}
    assert all(record["headers"] == [{"name": "from", "value": "test"}, {"name": "empty", "value": ""}] for record in records)
    of_a = [record for record in records if record["key"] == "a"]
    assert [record["value"] for record in of_a] == ["1", "4"] and len({record["partition"] for record in of_a}) == 1
    for row in produced:
        offsets = [record["offset"] for record in records if record["partition"] == row["partition"]]
        assert offsets == list(range(row["first_offset"], row["last_offset"] + 1))


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_carries_every_record_once(cli, topic, codec):
    sent = lines(30_000)
    cli.run("produce", topic, "--compression", codec, stdin=sent)
    assert sorted(cli.values(topic)) == sorted(sent.decode().splitlines())
    end = sum(row["end"] for row in cli.rows("topic", "describe", topic) if row["kind"] == "partitions")
    assert end == 30_000


@pytest.mark.parametrize("acks", ["all", "1", "0"])
def test_acks_are_as_asked_for(cli, topic, acks):
    # A broker drops what nobody waits for as long as it does not lead the new partition (seen with Kafka).
    cli.run("produce", topic, "--partition", 0, stdin=lines(1))
    cli.run("produce", topic, "--partition", 0, "--acks", acks, stdin=lines(100))
    wait_until(lambda: len(cli.values(topic)) == 101, 10, "101 records")


def test_bytes_are_never_hidden(cli, topic):
    value = b"\xff\xfe text \x00 \xc3\xbc"
    cli.run("produce", topic, "--partition", 1, stdin=value + b"\n")
    assert cli.run("consume", topic).stdout == b"\\xff\\xfe text \x00 \xc3\xbc\n"
    record, = cli.rows("consume", topic)
    assert base64.b64decode(record["value_base64"]) == value and "value" not in record


def test_a_large_record_is_taken_or_refused_by_the_broker(cli, topic):
    cli.run("produce", topic, stdin=b"x" * 1_000_000)
    assert [len(value) for value in cli.values(topic)] == [1_000_000]
    complaint = cli.complaint("produce", topic, stdin=b"x" * 1_200_000)
    assert "1 of 1 records not acknowledged" in complaint and "MESSAGE_TOO_LARGE" in complaint
    cli.run("topic", "alter", topic, "--config", "max.message.bytes=4MiB")
    cli.run("produce", topic, stdin=b"x" * 3_000_000)
    assert sorted(len(value) for value in cli.values(topic)) == [1_000_000, 3_000_000]


def test_reading_begins_and_ends_where_asked(cli, topic):
    cli.run("produce", topic, "--partition", 0, stdin=lines(10))
    last, = cli.rows("consume", topic, "--partition", 0, "--from", 9)
    assert cli.values(topic, "--partition", 0, "--from", 7) == ["line 7", "line 8", "line 9"]
    assert cli.values(topic, "--from", "-2") == ["line 8", "line 9"]
    assert cli.values(topic, "--from", "-100", "--max-messages", 1) == ["line 0"]
    assert cli.values(topic, "--from", "latest") == []
    assert cli.values(topic, "--partition", 1) == []
    assert len(cli.values(topic, "--from", "2020-01-01T00:00:00")) == 10
    assert cli.values(topic, "--from", "2999-01-01") == []
    assert cli.values(topic, "--partition", 0, "--from", 9, "--format", r"%t|%p|%o|%k|%v|%V|%T\x21\n") == [
        f"{topic}|0|9||line 9|6|{last['timestamp']}!"]
    complaint = cli.complaint("consume", topic, "--partition", 0, "--from", 11)
    assert complaint == "moldau consume: partition 0 has no offset 11: it begins at 0, the next record gets 10\n"


def test_lines_are_written_when_they_come_and_followed(cli, topic):
    reader = cli.start("consume", topic, "--follow")
    writer = cli.start("produce", topic)
    for number in range(3):
        writer.stdin.write(f"live {number}\n".encode())
        writer.stdin.flush()
        assert reader.stdout.readline() == f"live {number}\n".encode()  # while the writer goes on
    writer.stdin.close()
    assert writer.wait(stretched(SECONDS)) == 0 and writer.stderr.read().startswith(b"wrote 3 records")
    reader.send_signal(signal.SIGINT)
    assert reader.wait(stretched(SECONDS)) == 0 and reader.stderr.read() == b""


def test_an_interrupt_ends_the_input_and_writes_what_came(cli, topic):
    writer = cli.start("produce", topic)
    writer.stdin.write(b"one\ntwo\n")
    writer.stdin.flush()
    wait_until(lambda: len(cli.values(topic)) == 2, 20, "two records")
    writer.send_signal(signal.SIGINT)
    assert writer.wait(stretched(SECONDS)) == 0 and writer.stderr.read().startswith(b"wrote 2 records")


def test_a_reader_that_has_enough_is_no_error(cli, topic):
    cli.run("produce", topic, stdin=lines(50_000))
    reader = cli.start("consume", topic)
    assert reader.stdout.readline().startswith(b"line ")
    reader.stdout.close()
    assert reader.wait(stretched(SECONDS)) == 0


@pytest.mark.needs_reference
def test_what_was_aborted_is_seen_only_by_those_who_want_it(reference):
    confluent_kafka = pytest.importorskip("confluent_kafka")
    kafka = Cli(reference.bootstrap)
    kafka.run("topic", "create", "in-transactions", "--partitions", 1)
    producer = confluent_kafka.Producer({"bootstrap.servers": reference.bootstrap, "transactional.id": "test-cli"})
    producer.init_transactions(stretched(60))
    for number, ends_well in enumerate([True, False, True, False]):
        producer.begin_transaction()
        producer.produce("in-transactions", f"transaction {number}")
        producer.flush(stretched(30))
        (producer.commit_transaction if ends_well else producer.abort_transaction)(stretched(30))
    assert kafka.values("in-transactions", "--isolation", "read_committed") == ["transaction 0", "transaction 2"]
    assert kafka.values("in-transactions") == [f"transaction {number}" for number in range(4)]


# ---- the cluster ----

def test_the_cluster_is_described(cli, topic):
    wait_until(lambda: cli.rows("cluster", "status")[1]["leads"] >= 3, 10, "the new topic's leaders")
    cluster, broker, *others = cli.rows("cluster", "status")
    assert cluster["kind"] == "cluster" and cluster["brokers"] == 1 and cluster["leaderless"] == 0 and cluster["under_replicated"] == 0
    assert cluster["partitions"] >= 3 and broker["kind"] == "brokers" and broker["state"] == "active"
    assert broker["replicas"] == broker["leads"] == cluster["partitions"] and broker["out_of_sync"] == 0
    assert [row["kind"] for row in others] == ["quorum", "controllers"] and others[0]["leader"] == others[1]["id"] == broker["id"]
    assert others[1]["role"] == "leader" and others[1]["lag"] == 0
    assert f"{broker['host']}:{broker['port']}" == cli.environment["MOLDAU_BOOTSTRAP_SERVER"]


# ---- what goes wrong ----

@pytest.mark.parametrize("words", [("consume", "{}x"), ("topic", "describe", "{}x")])
def test_an_unknown_topic_is_told_with_the_nearest_name(cli, topic, words):
    assert f"there is no topic {topic}x; did you mean {topic}?" in cli.complaint(*(word.format(topic) for word in words))


@pytest.mark.parametrize("words, said", [
    (("consume", "x", "--form", "1"), "there is no flag --form; did you mean --from?"),
    (("consume", "x", "--from", "yesterday"), "--from is earliest, latest, an offset, -N, or a time"),
    (("consume", "x", "--format", "%v%q"), "'%q' at character 3"),
    (("consume",), "something is missing; usage: moldau consume TOPIC"),
    (("produce", "x", "--acks", "2"), "--acks is all, 1 or 0, not '2'"),
    (("produce", "x", "--compression", "rar"), "--compression is none, gzip, snappy, lz4 or zstd, not 'rar'"),
    (("topic", "create", "x", "--config", "retention.ms=soon"), "'soon' is no value for retention.ms"),
    (("topic", "create", "x", "--output", "yaml"), "--output is table or json, not 'yaml'"),
    (("topic", "burn", "x"), "there is no command burn"),
    (("cluster", "add-controller", "3@host:9"), "'3@host:9' is not ID@HOST:PORT/DIRECTORY, as the waiting controller prints it"),
    (("cluster", "remove-controller", "x"), "'x' is not ID or ID/DIRECTORY"),
    (("cluster", "remove-broker", "1x"), "'1x' is no broker's id"),
])
def test_wrong_words_end_with_status_2(words, said):
    assert said in Cli("127.0.0.1:1").complaint(*words, status=2)


@pytest.mark.parametrize("words", [("topic", "list"), ("consume", "x"), ("produce", "x"), ("cluster", "status")])
def test_a_broker_that_is_down_is_told_at_once(words):
    address = f"127.0.0.1:{free_port()}"
    assert f"{address}: connection refused; is the broker running?" in Cli(address).complaint(*words)


class Http(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def test_a_port_that_does_not_speak_kafka_is_told():
    with socketserver.TCPServer(("127.0.0.1", 0), Http) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = f"127.0.0.1:{server.server_address[1]}"
        assert f"{address}: what answers there does not speak Kafka's protocol" in Cli(address).complaint("topic", "list")
        thread.join()


def test_records_survive_the_death_of_the_broker_while_they_are_written(folder):
    """kill -9 between and during batches: every line is there once, in the order of its partition."""
    with Node(folder / "node") as node:
        node.start()
        cli = Cli(node.bootstrap)
        cli.run("topic", "create", "t", "--partitions", 2)
        writer = cli.start("produce", "t")
        for number in range(4):
            writer.stdin.write(lines(2000, first=number * 2000))
            writer.stdin.flush()
            if number == 0:  # a broker that is down at the very start is told at once
                wait_until(lambda: len(cli.values("t")) >= 1, 20, "records")
            node.kill()
            node.start()
        writer.stdin.close()
        assert writer.wait(stretched(SECONDS)) == 0, writer.stderr.read().decode()
        assert b"wrote 8000 records" in writer.stderr.read()
        assert sorted(cli.values("t")) == sorted(lines(8000).decode().splitlines())
        for partition in (0, 1):
            numbers = [int(value.split()[1]) for value in cli.values("t", "--partition", partition)]
            assert numbers == sorted(numbers)


def test_what_was_not_acknowledged_is_no_success(folder):
    with Node(folder / "node") as node:
        node.start()
        cli = Cli(node.bootstrap)
        cli.run("topic", "create", "t", "--partitions", 1)
        writer = cli.start("produce", "t", "--timeout-ms", 1500)
        writer.stdin.write(b"one\n")
        writer.stdin.flush()
        wait_until(lambda: cli.values("t") == ["one"], 20, "the first record")
        node.kill()
        writer.stdin.write(b"two\nthree\n")
        writer.stdin.close()
        assert writer.wait(stretched(SECONDS)) == 1
        complaint = writer.stderr.read().decode()
        assert "moldau produce: 2 of 3 records not acknowledged: not within 1500 ms: " in complaint and "connection refused" in complaint
        node.start()
        assert cli.values("t") == ["one"]


def test_a_reader_that_follows_survives_a_restart(folder):
    with Node(folder / "node") as node:
        node.start()
        cli = Cli(node.bootstrap)
        cli.run("topic", "create", "t", "--partitions", 1)
        cli.run("produce", "t", stdin=b"before\n")
        reader = cli.start("consume", "t", "--follow")
        assert reader.stdout.readline() == b"before\n"
        node.kill()
        node.start()
        cli.run("produce", "t", stdin=b"after\n")
        assert reader.stdout.readline() == b"after\n"
        reader.send_signal(signal.SIGINT)
        assert reader.wait(stretched(SECONDS)) == 0
