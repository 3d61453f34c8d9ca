"""Every node is stopped in order and started again, twice, under load: no produce fails, no partition stands still for long (L3)."""
import time

from flight_check import assert_clean
from leader_watch import Watch
from load import Load, numbered_rows, show_seconds
from reading import read_by_assign
from replicated import Cluster
from topics import create
from waiting import stretched

PARTITIONS, STALL_SECONDS_MAX = 6, 2.0
ROUNDS = 2


def test_rolling_restart_of_all_nodes_twice_under_load(folder):
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "loaded", PARTITIONS)
        with Watch("loaded", cluster.addresses) as watch, Load(cluster.bootstrap, "loaded", numbered_rows(), 1000) as load:
            load.wait_acked(1000)
            since, stops = time.monotonic(), []
            for _ in range(ROUNDS):
                for node in [*cluster.controllers, *cluster.brokers]:
                    begun = time.monotonic()
                    cluster.stop(node.id)
                    stops.append(time.monotonic() - begun)
                    cluster.launch(node.id)
                    cluster.wait_quorum()
                    cluster.wait_isr_full("loaded")
            load.wait_acked(len(load.acked) + 1000)
            load.stop()
            load.check_order()
            watch.check_epochs()
            show_seconds("an orderly stop", stops)
            stalls = {partition: load.longest_stall(partition, since) for partition in range(PARTITIONS)}
            show_seconds("longest stall of each partition", list(stalls.values()))
        assert_clean(load.sent, load.acked, read_by_assign(cluster.bootstrap, "loaded", PARTITIONS), "confluent-kafka with assign()")
        cluster.stop_all()
        cluster.compare_replicas("loaded")
    assert max(stalls.values()) <= stretched(STALL_SECONDS_MAX), stalls
