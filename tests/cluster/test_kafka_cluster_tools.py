"""Kafka's own tools against a cluster of six nodes: topics with replicas, the metadata quorum, leader elections, settings, verifiable producer."""
import json
import re

import pytest

from load import numbered_rows
from reading import read_by_assign
from reference import kafka_tool
from replicated import Cluster
from waiting import wait_until

pytestmark = pytest.mark.needs_reference

TOOLS = "org.apache.kafka.tools"
MESSAGES = 500


@pytest.fixture(scope="module")
def cluster(module_folder):
    with Cluster(module_folder / "cluster") as started:
        yield started.start()


def run(cluster, tool, *arguments, stdin=None, status=0):
    done = kafka_tool(tool if tool.startswith("kafka.") else f"{TOOLS}.{tool}", "--bootstrap-server", cluster.bootstrap, *arguments,
                      stdin=stdin, heap="128m")
    text = done.stdout + done.stderr
    assert done.returncode == status, f"{tool} {' '.join(map(str, arguments))}: exit status {done.returncode}\n{text}"
    return done.stdout


def test_topics_with_replicas(cluster):
    run(cluster, "TopicCommand", "--create", "--topic", "orders", "--partitions", 3, "--replication-factor", 3, "--config", "min.insync.replicas=2")
    cluster.wait_topic("orders")
    text = run(cluster, "TopicCommand", "--describe", "--topic", "orders")
    rows = re.findall(r"Partition: (\d)\s+Leader: (\d)\s+Replicas: (\S+)\s+Isr: (\S+)", text)
    assert len(rows) == 3 and len({leader for _, leader, _, _ in rows}) == 3, text  # spread over the brokers
    assert all(sorted(replicas.split(",")) == sorted(isr.split(",")) == ["1", "2", "3"] for _, _, replicas, isr in rows), text
    assert run(cluster, "TopicCommand", "--describe", "--under-replicated-partitions").strip() == ""


def test_the_quorum_is_described(cluster):
    text = run(cluster, "MetadataQuorumCommand", "describe", "--status")
    leader = int(re.search(r"^LeaderId:\s+(\d+)$", text, re.MULTILINE).group(1))
    assert leader == cluster.active_controller()
    assert re.search(r"^ClusterId:\s+\S{22}$", text, re.MULTILINE), text
    voters = re.search(r"^CurrentVoters:\s+(\[.*\])$", text, re.MULTILINE).group(1)
    assert sorted(map(int, re.findall(r'"id": (\d+)', voters))) == [101, 102, 103], text
    text = run(cluster, "MetadataQuorumCommand", "describe", "--replication")
    roles = {int(words[0]): words[-1] for words in (line.split() for line in text.splitlines()[1:]) if words}
    assert roles[leader] == "Leader" and sorted(roles.values()).count("Follower") == 2, text


def test_preferred_leaders_are_elected(cluster):
    run(cluster, "TopicCommand", "--create", "--topic", "moved", "--partitions", 6, "--replication-factor", 3)
    cluster.wait_topic("moved")
    preferred = {index: one.replicas[0] for index, one in cluster.describe("moved").items()}
    cluster.restart(1)
    cluster.wait_isr_full("moved")
    run(cluster, "LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions")
    wait_until(lambda: {index: one.leader for index, one in cluster.describe("moved").items()} == preferred, 10, "the preferred leaders")


def test_configs(cluster):
    run(cluster, "TopicCommand", "--create", "--topic", "settings")
    assert "Completed updating config for topic settings." in run(
        cluster, "kafka.admin.ConfigCommand", "--entity-type", "topics", "--entity-name", "settings", "--alter", "--add-config", "durability=cached")
    for node in cluster.brokers:  # every broker says so
        done = kafka_tool("kafka.admin.ConfigCommand", "--bootstrap-server", node.bootstrap, "--entity-type", "topics", "--entity-name", "settings",
                          "--describe", heap="128m")
        assert "durability=cached" in done.stdout, done.stdout + done.stderr


def test_producers_and_consumers(cluster):
    run(cluster, "TopicCommand", "--create", "--topic", "words", "--partitions", 2, "--replication-factor", 3)
    rows = [next_row for next_row, _ in zip(numbered_rows(), range(MESSAGES))]
    run(cluster, "ConsoleProducer", "--topic", "words", "--reader-property", "parse.key=true", "--reader-property", "key.separator=|",
        stdin="".join(f"{key.decode()}|{value.decode()}\n" for key, value in rows))
    text = run(cluster, "VerifiableProducer", "--topic", "words", "--max-messages", MESSAGES, "--acks", -1)
    summary = [json.loads(line) for line in text.splitlines() if '"tool_data"' in line]
    assert summary and summary[-1]["acked"] == summary[-1]["sent"] == MESSAGES, text[-500:]
    read = read_by_assign(cluster.bootstrap, "words", 2)
    assert sum(map(len, read.values())) == 2 * MESSAGES
    for partition, messages in read.items():
        lines = run(cluster, "consumer.ConsoleConsumer", "--topic", "words", "--partition", partition, "--offset", "earliest", "--max-messages",
                    len(messages), "--timeout-ms", 30000).splitlines()
        assert [line.encode() for line in lines] == [value for _offset, _key, value in messages]
