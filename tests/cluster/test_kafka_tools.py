"""Kafka's own command line tools work against a Moldau node: topics, producer, consumer, offsets, logs, versions, configs, dump.

Each call starts a Java machine (2 to 4 s), so the tests share one node and one filled topic, and look at one run's whole output.
"""
import json
import re

import pytest

from cluster import External
from reference import kafka_tool

pytestmark = pytest.mark.needs_reference

TOOLS = "org.apache.kafka.tools"
WORDS, PARTITIONS = 200, 2
KEYS = [f"key{number}" for number in range(WORDS)]


def run(node, tool, *arguments, stdin=None, status=0):
    """The output of one tool run; its exit status must be `status`. On a failure the complaint is in the output as well."""
    done = kafka_tool(tool if tool.startswith("kafka.") else f"{TOOLS}.{tool}", "--bootstrap-server", node.bootstrap, *arguments,
                      stdin=stdin, heap="128m")
    text = done.stdout + done.stderr
    assert done.returncode == status, f"{tool} {' '.join(map(str, arguments))}: exit status {done.returncode}\n{text}"
    return done.stdout if status == 0 else text


def dump(*files):
    """DumpLogSegments with the records, and its summary of every file; it ends with status 0 even when it finds mismatches."""
    done = kafka_tool(f"{TOOLS}.DumpLogSegments", "--print-data-log", "--files", ",".join(map(str, files)), heap="128m")
    assert done.returncode == 0, done.stderr
    assert not re.search(r"Mismatch|isvalid: false|Non-consecutive|out of order|Found timestamp", done.stdout), done.stdout[:2000]
    return done.stdout


def data_of(node):
    if isinstance(node, External):
        pytest.skip("needs the data directory of the node")
    return node.data


@pytest.fixture(scope="module")
def words(node):
    """A topic with WORDS keyed and compressed records from the console producer; its name."""
    run(node, "TopicCommand", "--create", "--topic", "words", "--partitions", PARTITIONS, "--config", "retention.ms=3600000")
    lines = "".join(f"{key}|value of {key}\n" for key in KEYS)
    run(node, "ConsoleProducer", "--topic", "words", "--compression-codec", "zstd", "--reader-property", "parse.key=true",
        "--reader-property", "key.separator=|", stdin=lines)
    return "words"


@pytest.fixture(scope="module")
def counts(node, words):
    """Records per partition, as get-offsets says."""
    text = run(node, "GetOffsetShell", "--topic", words)
    return {int(partition): int(offset) for partition, offset in re.findall(r"^words:(\d+):(\d+)$", text, re.MULTILINE)}


def test_topics(node):
    assert "Created topic life." in run(node, "TopicCommand", "--create", "--topic", "life", "--partitions", 3, "--config",
                                        "max.message.bytes=50000")
    assert "Topic 'life' already exists." in run(node, "TopicCommand", "--create", "--topic", "life", status=1)
    run(node, "TopicCommand", "--alter", "--topic", "life", "--partitions", 5)
    text = run(node, "TopicCommand", "--describe", "--topic", "life")
    assert re.search(r"Topic: life\s+TopicId: \S{22}\s+PartitionCount: 5\s+ReplicationFactor: 1\s+Configs: max.message.bytes=50000\s", text)
    for partition in range(5):
        assert re.search(rf"Partition: {partition}\s+Leader: 1\s+Replicas: 1\s+Isr: 1\s", text), text
    assert "life" in run(node, "TopicCommand", "--list").splitlines()
    run(node, "TopicCommand", "--delete", "--topic", "life")
    assert "life" not in run(node, "TopicCommand", "--list").splitlines()


def test_get_offsets_counts_every_record(counts):
    assert sorted(counts) == list(range(PARTITIONS))
    assert sum(counts.values()) == WORDS and all(counts.values())


def test_console_consumer_reads_what_the_console_producer_sent(node, words, counts):
    read = []
    for partition, count in counts.items():
        text = run(node, "consumer.ConsoleConsumer", "--topic", words, "--partition", partition, "--offset", "earliest",
                   "--max-messages", count, "--timeout-ms", 30000, "--formatter-property", "print.key=true",
                   "--formatter-property", "print.offset=true", "--formatter-property", "key.separator=|")
        rows = [line.split("|") for line in text.splitlines()]
        assert [row[0] for row in rows] == [f"Offset:{offset}" for offset in range(count)]
        read += [(key, value) for _, key, value in rows]
    assert sorted(read) == sorted((key, f"value of {key}") for key in KEYS)


def test_log_dirs_tells_the_size_of_the_log(node, words, counts):
    text = run(node, "LogDirsCommand", "--describe", "--topic-list", words)
    answer = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    (directory,) = answer["brokers"][0]["logDirs"]
    assert directory["error"] is None
    sizes = {entry["partition"]: entry["size"] for entry in directory["partitions"]}
    data = data_of(node)
    assert directory["logDir"] == str(data)
    assert sizes == {f"words-{partition}": sum(path.stat().st_size for path in (data / f"words-{partition}").glob("*.log"))
                     for partition in counts}


def test_dump_log_reads_our_segments(node, words, counts):
    data = data_of(node)
    text = dump(*(data / f"{words}-{partition}" / f"{0:020}.log" for partition in counts))
    assert sum(map(int, re.findall(r"^baseOffset: .* count: (\d+) ", text, re.MULTILINE))) == WORDS
    assert set(re.findall(r"compresscodec: (\w+)", text)) == {"zstd"}
    assert sorted(re.findall(r"^\| offset: .* key: (\S+) payload: value of \1$", text, re.MULTILINE)) == sorted(KEYS)


def test_broker_api_versions(node):
    """What we announce, Kafka's client can use; what it must have is there."""
    text = run(node, "BrokerApiVersionsCommand")
    assert re.search(rf"^{re.escape(node.bootstrap)} \(id: 1 rack: null isFenced: false\) -> \($", text, re.MULTILINE), text
    usable = dict(re.findall(r"^\t(\w+)\(\d+\): .*\[usable: (\d+)\]", text, re.MULTILINE))
    wanted = {"Produce", "Fetch", "ListOffsets", "Metadata", "OffsetForLeaderEpoch", "ApiVersions", "CreateTopics", "DeleteTopics",
              "InitProducerId", "DescribeConfigs", "IncrementalAlterConfigs", "DescribeLogDirs", "CreatePartitions", "DescribeCluster",
              "DescribeTopicPartitions"}
    assert not wanted - set(usable), text
    assert (usable["Produce"], usable["Fetch"], usable["Metadata"]) == ("13", "18", "13")


def test_configs(node, words):
    topic = ("--entity-type", "topics", "--entity-name", words)
    tool = "kafka.admin.ConfigCommand"
    assert f"Completed updating config for topic {words}." in run(
        node, tool, *topic, "--alter", "--add-config", "durability=cached,segment.bytes=2000000", "--delete-config", "retention.ms")
    text = run(node, tool, *topic, "--describe")
    assert re.search(r"^  durability=cached .*DYNAMIC_TOPIC_CONFIG:durability=cached, DEFAULT_CONFIG:log.durability=synced", text, re.MULTILINE)
    assert re.search(r"^  segment.bytes=2000000 ", text, re.MULTILINE) and "retention.ms" not in text
    assert "InvalidConfigurationException: Unknown topic config name: no.such" in run(
        node, tool, *topic, "--alter", "--add-config", "no.such=1", status=1)
    text = run(node, tool, "--entity-type", "brokers", "--entity-name", 1, "--describe", "--all")
    assert re.search(r"^  message.max.bytes=1048588 ", text, re.MULTILINE) and "log.segment.bytes=" in text


def test_producer_performance_and_its_index(node):
    records = 20_000
    run(node, "TopicCommand", "--create", "--topic", "load")
    text = run(node, "ProducerPerformance", "--topic", "load", "--num-records", records, "--record-size", 1024, "--throughput", -1)
    assert re.search(rf"^{records} records sent, [\d.]+ records/sec .* max latency", text, re.MULTILINE), text
    folder = data_of(node) / "load-0"
    stem = f"{0:020}"
    done = kafka_tool(f"{TOOLS}.DumpLogSegments", "--deep-iteration", "--files",
                      ",".join(str(folder / f"{stem}{kind}") for kind in (".log", ".index", ".timeindex")), heap="192m", seconds=120)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"Mismatch|isvalid: false|out of order|sanity", done.stdout), done.stdout[-2000:]
    assert sum(map(int, re.findall(r"^baseOffset: .* count: (\d+) ", done.stdout, re.MULTILINE))) == records
    assert len(re.findall(r"^offset: \d+ position: \d+$", done.stdout, re.MULTILINE)) > 100, "an index with an entry every 4 KiB at most"
    assert re.search(r"^timestamp: \d+ offset: \d+$", done.stdout, re.MULTILINE)
