"""A follower that was away while much was written comes back into the ISR (correctness.md 2, L4), and does not slow the others down meanwhile."""
import time

import pytest

from flight_check import assert_clean
from load import Load, numbered_rows
from reading import read_by_assign
from replicated import Cluster
from topics import create

ROWS = 400_000  # of some 150 bytes


@pytest.mark.full
def test_a_follower_catches_up_while_the_load_goes_on(folder):
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "loaded", 6)
        cluster.kill(3)
        with Load(cluster.bootstrap, "loaded", numbered_rows(), 15_000) as load:
            load.wait_acked(ROWS, 120)
            moment = time.monotonic()
            cluster.launch(3)
            full = cluster.wait_isr_full("loaded")
            stall = max(load.longest_stall(partition, moment) for partition in range(6))
            print(f"{ROWS} rows behind: in sync after {full:.1f} s, longest stall meanwhile {stall * 1000:.0f} ms")
            load.stop()
        cluster.wait_isr_full("loaded")
        assert_clean(load.sent, load.acked, read_by_assign(cluster.bootstrap, "loaded", 6), "confluent-kafka with assign()")
        cluster.stop_all()
        cluster.compare_replicas("loaded")
