"""Kafka's own command line tools, unchanged, against our node and our files."""
import re
import uuid

import pytest

from reference import kafka_tool

pytestmark = pytest.mark.needs_reference
RECORDS = 20_000


def run(node, tool_class, *arguments, option="--bootstrap-server", status=0, **more):
    done = kafka_tool(tool_class, option, node.bootstrap, *arguments, **more)
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def topics(node, *arguments, **more):
    return run(node, "org.apache.kafka.tools.TopicCommand", *arguments, **more)


@pytest.fixture
def topic(node):
    name = f"tools-{uuid.uuid4().hex[:8]}"
    topics(node, "--create", "--topic", name, "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=86400000")
    return name


def test_topics(node, topic):
    assert topic in topics(node, "--list").split()
    described = topics(node, "--describe", "--topic", topic)
    assert "PartitionCount: 2" in described and "ReplicationFactor: 1" in described and "retention.ms=86400000" in described
    assert len(re.findall(r"Leader: 1\s+Replicas: 1\s+Isr: 1", described)) == 2
    topics(node, "--alter", "--topic", topic, "--partitions", "5")
    assert "PartitionCount: 5" in topics(node, "--describe", "--topic", topic)
    again = topics(node, "--create", "--topic", topic, status=1)
    assert "already exists" in again
    topics(node, "--delete", "--topic", topic)
    assert topic not in topics(node, "--list").split()


def test_console_producer_and_consumer_and_get_offsets(node, topic):
    lines = [f"k{number}:value {number}" for number in range(100)]
    run(node, "org.apache.kafka.tools.ConsoleProducer", "--topic", topic, "--reader-property", "parse.key=true", "--reader-property",
        "key.separator=:", stdin="\n".join(lines) + "\n")
    ends = run(node, "org.apache.kafka.tools.GetOffsetShell", "--topic", topic)
    counts = {int(partition): int(offset) for partition, offset in re.findall(rf"^{topic}:(\d+):(\d+)$", ends, re.M)}
    assert sum(counts.values()) == 100 and len(counts) == 2
    assert re.findall(rf"^{topic}:(\d+):0$", run(node, "org.apache.kafka.tools.GetOffsetShell", "--topic", topic, "--time", "earliest"), re.M) == ["0", "1"]
    read = []
    for partition, count in counts.items():
        out = run(node, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", topic, "--partition", partition, "--offset", "earliest",
                  "--max-messages", count, "--timeout-ms", 20000, "--formatter-property", "print.key=true", "--formatter-property", "key.separator=:")
        read += [line for line in out.splitlines() if line.startswith("k")]
    assert sorted(read) == sorted(lines)


def test_configs(node, topic):
    configs = "kafka.admin.ConfigCommand"
    run(node, configs, "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=5000,segment.bytes=2000000")
    shown = run(node, configs, "--describe", "--entity-type", "topics", "--entity-name", topic)
    assert "retention.ms=5000" in shown and "segment.bytes=2000000" in shown
    run(node, configs, "--alter", "--entity-type", "topics", "--entity-name", topic, "--delete-config", "retention.ms")
    assert "retention.ms" not in run(node, configs, "--describe", "--entity-type", "topics", "--entity-name", topic)
    assert "durability=synced" in run(node, configs, "--describe", "--all", "--entity-type", "topics", "--entity-name", topic)
    assert "num.partitions=1" in run(node, configs, "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")


def test_broker_api_versions(node):
    shown = run(node, "org.apache.kafka.tools.BrokerApiVersionsCommand")
    assert re.search(r"Produce\(0\): 0 to 13 \[usable: 13\]", shown)
    assert re.search(r"Fetch\(1\): 4 to 18 \[usable: 18\]", shown)
    assert re.search(r"Metadata\(3\): 0 to 13 \[usable: 13\]", shown)


def test_producer_performance_log_dirs_and_dump_log(node, topic):
    """The performance tool produces; the log dirs tool sees the bytes; the dump tool reads our segment as its own."""
    out = kafka_tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", RECORDS, "--record-size", 200, "--throughput", -1,
                     "--producer-props", f"bootstrap.servers={node.bootstrap}", "compression.type=lz4")
    assert out.returncode == 0, out.stderr
    assert f"{RECORDS} records sent" in out.stdout
    shown = run(node, "org.apache.kafka.tools.LogDirsCommand", "--describe", "--topic-list", topic)
    sizes = [int(size) for size in re.findall(r'"size":(\d+)', shown)]
    assert len(sizes) == 2 and sum(sizes) > 0 and '"error":null' in shown
    if not hasattr(node, "data"):
        return  # somebody else's broker: its files are not here
    count = 0
    for partition in (0, 1):
        segment = node.data / f"{topic}-{partition}" / ("0" * 20 + ".log")
        dump = kafka_tool("org.apache.kafka.tools.DumpLogSegments", "--files", segment, "--deep-iteration")
        assert dump.returncode == 0, dump.stderr
        assert "isvalid: false" not in dump.stdout and "found errors" not in (dump.stdout + dump.stderr).lower()
        offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", dump.stdout, re.M)]
        assert offsets == list(range(len(offsets)))
        assert "compresscodec: lz4" in dump.stdout or not offsets
        count += len(offsets)
    assert count == RECORDS
