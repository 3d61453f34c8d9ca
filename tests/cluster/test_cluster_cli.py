"""`moldau cluster ...` against a whole cluster: who is there, who is behind and by how much, leaders elected, brokers forgotten."""
import json
import os
import subprocess

import pytest

from cluster import program
from kafka_wire import Connection
from replicated import Cluster
from topics import create
from waiting import stretched, wait_until
from wire_calls import DEBUGGING, ask_end

NOT_LEADER_OR_FOLLOWER = 6


class Cli:
    def __init__(self, cluster):
        self.cluster = cluster

    def run(self, *words, stdin=b"", status=0):
        done = subprocess.run([str(program()), *map(str, words)], env={**os.environ, "MOLDAU_BOOTSTRAP_SERVER": self.cluster.bootstrap}, input=stdin,
                              capture_output=True, timeout=stretched(60), check=False)
        assert done.returncode == status, f"exit status {done.returncode} of {words}: {done.stderr.decode()}"
        return done

    def rows(self, *words):
        return [json.loads(line) for line in self.run(*words, "--output", "json").stdout.splitlines()]

    def status(self):
        """{kind: rows}"""
        found = {}
        for row in self.rows("cluster", "status"):
            found.setdefault(row["kind"], []).append(row)
        return found


@pytest.fixture(scope="module")
def cluster(module_folder):
    with Cluster(module_folder / "cluster", settings={"broker.rack": "r1"}) as started:
        yield started.start()


@pytest.fixture
def cli(cluster):
    return Cli(cluster)


def test_a_healthy_cluster_is_described(cluster, cli):
    create(cluster, "healthy", 6)
    status = cli.status()
    (whole,) = status["cluster"]
    assert (whole["brokers"], whole["leaderless"], whole["under_replicated"]) == (3, 0, 0) and whole["partitions"] >= 6
    assert [(row["id"], row["state"], row["rack"], row["out_of_sync"]) for row in status["brokers"]] == [(n, "active", "r1", 0) for n in (1, 2, 3)]
    assert sum(row["leads"] for row in status["brokers"]) == whole["partitions"]
    assert "behind" not in status
    (quorum,) = status["quorum"]
    voters = {row["id"]: row for row in status["controllers"] if row["role"] != "observer"}
    assert sorted(voters) == [101, 102, 103] and quorum["voters"] == 3
    assert voters[quorum["leader"]]["role"] == "leader" and sum(row["role"] == "leader" for row in voters.values()) == 1
    assert len({row["directory"] for row in voters.values()}) == 3 and all(len(row["directory"]) == 22 for row in voters.values())
    assert {f"{row['host']}:{row['port']}" for row in voters.values()} == {node.internal for node in cluster.controllers}
    text = cli.run("cluster", "status").stdout.decode()  # for people
    assert text.startswith("cluster_id ") and "caught_up_ms_ago" in text


def test_a_dead_broker_is_told_with_all_that_it_misses(cluster, cli):
    create(cluster, "missed", 3, min_insync_replicas=1)
    cluster.kill(3)
    try:
        wait_until(lambda: cli.status()["brokers"][2]["state"] == "fenced", 10, "broker 3 to be fenced")
        cli.run("produce", "missed", stdin=b"one\ntwo\n")
        status = cli.status()
        dead = status["brokers"][2]
        assert dead["leads"] == 0 and dead["out_of_sync"] == dead["replicas"] == status["cluster"][0]["under_replicated"]
        behind = {(row["topic"], row["partition"]): row for row in status["behind"]}
        assert len(behind) == dead["replicas"]
        for partition in range(3):
            row = behind["missed", partition]
            assert row["broker"] == 3 and row["isr"] and 3 not in row["isr"] and 3 in row["replicas"] and row["leader"] in row["isr"]
        complaint = cli.run("cluster", "remove-broker", 3, status=1).stderr.decode()
        assert "broker 3" in complaint, complaint  # it holds replicas
    finally:
        cluster.launch(3)
    cluster.wait_isr_full("missed", "healthy")
    assert "behind" not in cli.status()


def test_every_replica_tells_how_far_it_is(cluster, cli):
    """What the lag is made of: with Kafka's debugging replica id any replica answers, for its own log; consumers get the leader's only."""
    create(cluster, "far", 1)
    cli.run("produce", "far", stdin=b"one\ntwo\nthree\n")
    leader = cluster.describe("far")[0].leader
    for node in cluster.brokers:
        with Connection(node.bootstrap) as raw:
            wait_until(lambda: ask_end(raw, "far", 0, DEBUGGING) == (0, 3), 10, f"three records at broker {node.id}")  # noqa: B023
            assert ask_end(raw, "far", 0) == ((0, 3) if node.id == leader else (NOT_LEADER_OR_FOLLOWER, -1))


def test_preferred_leaders_are_elected(cluster, cli):
    create(cluster, "preferred", 3)
    wanted = {index: one.replicas[0] for index, one in cluster.describe("preferred").items()}
    moved = next(index for index, leader in wanted.items() if leader == 2)
    cluster.restart(2)
    cluster.wait_isr_full("preferred")
    elected = cli.rows("cluster", "elect-leaders", "preferred")
    assert {"kind": "elected", "topic": "preferred", "partition": moved} in elected or cluster.describe("preferred")[moved].leader == 2
    wait_until(lambda: {index: one.leader for index, one in cluster.describe("preferred").items()} == wanted, 10, "the preferred leaders")
    assert cli.rows("cluster", "elect-leaders", f"preferred:{moved}") == []
    assert "led by the replica that should" in cli.run("cluster", "elect-leaders", "preferred").stdout.decode()


def test_a_voter_leaves_and_comes_back(cluster, cli):
    leader = cli.status()["quorum"][0]["leader"]
    row = next(row for row in cli.status()["controllers"] if row["role"] == "voter")
    word = f"{row['id']}@{row['host']}:{row['port']}/{row['directory']}"
    complaint = cli.run("cluster", "add-controller", word, status=1).stderr.decode()
    assert "DUPLICATE_VOTER" in complaint, complaint
    assert cli.rows("cluster", "remove-controller", row["id"]) == [{"kind": "controller_removed", "id": row["id"], "directory": row["directory"]}]
    wait_until(lambda: cli.status()["quorum"][0]["voters"] == 2, 10, "two voters")
    create(cluster, "with-two-voters")
    assert cli.rows("cluster", "add-controller", word) == [{"kind": "controller_added", "id": row["id"], "directory": row["directory"]}]
    wait_until(lambda: cli.status()["quorum"][0]["voters"] == 3, 10, "three voters")
    assert cli.status()["quorum"][0]["leader"] == leader


def test_the_active_controller_can_be_taken_out(cluster, cli):
    row = next(row for row in cli.status()["controllers"] if row["role"] == "leader")
    assert cli.rows("cluster", "remove-controller", row["id"]) == [{"kind": "controller_removed", "id": row["id"], "directory": row["directory"]}]
    wait_until(lambda: cli.status()["quorum"][0]["voters"] == 2, 10, "two voters")
    assert cli.status()["quorum"][0]["leader"] != row["id"]
    cli.rows("cluster", "add-controller", f"{row['id']}@{row['host']}:{row['port']}/{row['directory']}")
    wait_until(lambda: cli.status()["quorum"][0]["voters"] == 3, 10, "three voters")


def test_a_broker_that_is_gone_for_good_is_forgotten(cluster, cli):
    complaint = cli.run("cluster", "remove-broker", 77, status=1).stderr.decode()
    assert "broker 77" in complaint, complaint
    complaint = cli.run("cluster", "remove-broker", 1, status=1).stderr.decode()
    assert "broker 1" in complaint, complaint  # it lives
    assert sorted(row["id"] for row in cli.status()["brokers"]) == [1, 2, 3]
