"""Controllers are killed, gone, wiped: brokers go on serving, nothing committed is forgotten (correctness.md 2, L1 and L5)."""
import os
import re
import shlex
import statistics
import subprocess
import time

from cluster import program
from flight_check import assert_clean
from leader_watch import Watch
from load import Load, numbered_rows, show_seconds
from reading import read_by_assign
from replicated import Cluster
from topics import create, try_create
from waiting import stretched, wait_until

RATE, PARTITIONS, ROUNDS = 500, 6, 10
ELECTION_SECONDS_MAX, SPLIT_VOTE_SECONDS_MAX = 1.0, 2.0  # L1; one election in ten may need a second vote
# Of a partition whose broker nobody touched: once, on a busy machine; and at the usual death of a controller, shorter than any election.
STALL_SECONDS_MAX, USUAL_STALL_SECONDS_MAX = 1.5, 0.3
GONE_SECONDS = 20


def wait_caught_up(cluster, node_id):
    """The voter has what is committed."""
    view = cluster.wait_quorum()
    target = view.high_watermark
    cluster.wait_quorum(lambda now: now.voters.get(node_id, (-1,))[0] >= target, 15, f"controller {node_id} to catch up to {target}")


def longest_stall(load, begin, end=float("inf")):
    return max(load.longest_stall(partition, begin, end) for partition in range(PARTITIONS))


def check_untouched(load, watch, since):
    load.check_order()
    assert not watch.changes(since), f"leaders or ISRs changed: {watch.changes(since)[:5]}"
    stall = longest_stall(load, since)
    print(f"longest stall of a partition: {stall * 1000:.0f} ms")
    assert stall <= stretched(STALL_SECONDS_MAX), stall


def test_the_active_controller_is_killed_ten_times(folder):
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "loaded", PARTITIONS)
        with Watch("loaded", cluster.addresses) as watch, Load(cluster.bootstrap, "loaded", numbered_rows(), RATE) as load:
            load.wait_acked(500)
            since, elections, changes, stalls = time.monotonic(), [], [], []
            for number in range(ROUNDS):
                before = cluster.wait_quorum()
                moment = cluster.kill(before.leader)
                after = cluster.wait_quorum(lambda view: view.leader != before.leader and view.term > before.term)  # noqa: B023
                elections.append(time.monotonic() - moment)
                assert try_create(cluster.bootstrap, f"after-{number}") is None
                changes.append(time.monotonic() - moment)
                cluster.launch(before.leader)
                wait_caught_up(cluster, before.leader)
                assert after.term > before.term
                stalls.append(longest_stall(load, moment))
            show_seconds("another active controller after a kill", elections)
            show_seconds("a topic created after a kill", changes)
            show_seconds("longest stall of a partition after a kill", stalls)
            load.stop()
            check_untouched(load, watch, since)
        assert_clean(load.sent, load.acked, read_by_assign(cluster.bootstrap, "loaded", PARTITIONS), "confluent-kafka with assign()")
        assert {f"after-{number}" for number in range(ROUNDS)} <= set(cluster.view().topics)
    late = [seconds for seconds in elections if seconds > stretched(ELECTION_SECONDS_MAX)]
    assert statistics.median(stalls) <= stretched(USUAL_STALL_SECONDS_MAX), stalls
    assert len(late) <= 1 and max(elections) <= stretched(SPLIT_VOTE_SECONDS_MAX), elections


def test_leaders_serve_while_the_quorum_is_gone(folder):
    """L5: no leader steps down, no ISR changes, no topic is made; afterwards all is as it was, without anybody's help."""
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "loaded", PARTITIONS)
        with Watch("loaded", cluster.addresses) as watch, Load(cluster.bootstrap, "loaded", numbered_rows(), RATE) as load:
            load.wait_acked(500)
            active = cluster.active_controller()
            other = next(node.id for node in cluster.controllers if node.id != active)
            since = time.monotonic()
            cluster.kill(active)
            cluster.kill(other)
            acked = len(load.acked)
            refused = try_create(cluster.bootstrap, "unwanted", seconds=5)
            assert refused is not None, "a topic was created without a quorum"
            load.wait_acked(acked + RATE * GONE_SECONDS * 9 // 10, GONE_SECONDS * 2)
            assert time.monotonic() - since >= GONE_SECONDS * 8 / 10
            assert cluster.quorum() is None
            cluster.launch(active)
            cluster.launch(other)
            moment = time.monotonic()
            cluster.wait_quorum()
            assert try_create(cluster.bootstrap, "wanted") is None
            print(f"the quorum is back {time.monotonic() - moment:.2f} s after its voters")
            load.wait_acked(len(load.acked) + RATE * 5)  # longer than a session: nobody is fenced late
            load.stop()
            check_untouched(load, watch, since)
        assert_clean(load.sent, load.acked, read_by_assign(cluster.bootstrap, "loaded", PARTITIONS), "confluent-kafka with assign()")
        assert "wanted" in cluster.view().topics


def run_printed_commands(cluster, text):
    """Runs the commands that a node printed as its way out; what they said."""
    commands = re.findall(r"moldau (cluster [a-z-]*-controller [^\"'`;\n]*)", text)
    assert commands, f"no command in: {text}"
    said = []
    for command in dict.fromkeys(commands):
        done = subprocess.run([str(program()), *shlex.split(command)], capture_output=True, text=True, timeout=stretched(60),
                              env={**os.environ, "MOLDAU_BOOTSTRAP_SERVER": cluster.bootstrap}, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        said.append(done.stdout)
    return said


def test_a_wiped_voter_waits_and_is_admitted_by_the_command_it_prints(folder):
    """Fault matrix, row 14: an empty directory where the quorum knows a voter is never a first boot."""
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "before")
        wiped = next(node for node in cluster.controllers if node.id != cluster.active_controller())
        terms = cluster.wait_quorum().term
        cluster.kill(wiped.id)
        wiped.wipe()
        wiped.log_path.rename(wiped.folder / "log-before")
        wiped.start(wait=False)
        printed = wiped.wait_log(r"moldau cluster add-controller [^\n]*", 5).group(0)  # at once: somebody has to act
        print(f"it printed: {printed}")
        assert cluster.wait_quorum().term == terms, "the wiped voter disturbed the quorum"
        create(cluster, "meanwhile")
        run_printed_commands(cluster, printed)
        wait_caught_up(cluster, wiped.id)
        # It counts now: with the active controller dead, the two others go on, and know everything.
        active = cluster.active_controller()
        if active != wiped.id:
            cluster.kill(active)
            cluster.wait_quorum(lambda view: view.leader != active)
        create(cluster, "after")
        assert {"before", "meanwhile", "after"} <= set(cluster.view().topics)
        if active != wiped.id:
            cluster.launch(active)
            wait_caught_up(cluster, active)
        wait_until(lambda: len(cluster.wait_quorum().voters) == 3, 10, "three voters")
