"""Too few replicas in sync (correctness.md 4, trap 2; KIP-966): acks=all is refused, the high watermark stands still, and all goes on with the
second replica."""
from cluster import answers_metadata
from kafka_wire import Connection
from reading import read_by_assign
from record_batch import Batch
from replicated import Cluster
from topics import create
from waiting import wait_until
from wire_calls import receive_produce, send_produce

NOT_ENOUGH_REPLICAS = 19


def produce(connection, value, acks):
    send_produce(connection, "few", 0, Batch([value]).encode(), acks=acks)
    return receive_produce(connection)


def test_one_replica_of_three_takes_nothing_for_granted(folder):
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "few")
        leader = cluster.describe("few")[0].leader
        others = [node.id for node in cluster.brokers if node.id != leader]
        with Connection(cluster[leader].bootstrap) as raw:
            wait_until(lambda: produce(raw, b"safe", -1) == (0, 0), 10, "the leader to lead")
            for node_id in others:
                cluster.kill(node_id)
            wait_until(lambda: cluster.describe("few")[0].isr == [leader], 10, "the ISR to shrink to the leader")
            assert produce(raw, b"refused", -1)[0] == NOT_ENOUGH_REPLICAS
            assert produce(raw, b"one copy", 1) == (0, 1)  # the producer asked for no more
            assert [value for _offset, _key, value in read_by_assign(cluster[leader].bootstrap, "few", 1)[0]] == [b"safe"]
            cluster.launch(others[0])
            wait_until(lambda: produce(raw, b"again", -1)[0] == 0, 15, "acks=all to work with two replicas")
            values = [value for _offset, _key, value in read_by_assign(cluster[leader].bootstrap, "few", 1)[0]]
            assert values == [b"safe", b"one copy", b"again"]
        cluster.launch(others[1])
        cluster.wait_isr_full("few")
        assert all(map(answers_metadata, cluster.addresses.values()))
        cluster.stop_all()
        assert cluster.compare_replicas("few") == 3
