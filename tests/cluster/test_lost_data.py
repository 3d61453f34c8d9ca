"""A replica whose disk lost or changed something that was acknowledged: nobody is given it, and it is learnt again from the leader
(correctness.md 1, R10; testing.md 10, rows 26 and 28)."""
import pytest

from flight_check import assert_clean
from load import Load, numbered_rows
from reading import read_by_assign
from replica_files import high_watermark
from replicated import Cluster
from topics import create
from waiting import wait_until


FLIPPED_BYTE = 3000


def flip_a_bit(node, topic):
    """Near the beginning of the log, far below the checkpointed high watermark: no torn tail."""
    path = node.data / f"{topic}-0" / f"{0:020}.log"
    data = bytearray(path.read_bytes())
    data[FLIPPED_BYTE] ^= 0x10
    path.write_bytes(data)


def lose_everything(node, _topic):
    node.wipe()


@pytest.mark.parametrize("damage", [flip_a_bit, lose_everything])
def test_a_replica_that_lost_data_is_learnt_again(folder, damage):
    topic = "precious"
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, topic)
        with Load(cluster.bootstrap, topic, numbered_rows(), 5000) as load:
            load.wait_acked(5000)
            victim = cluster.describe(topic)[0].leader
            wait_until(lambda: high_watermark(cluster[victim].data, topic, 0) > 1000, 30, "a checkpoint of the high watermark")
            cluster.kill(victim)
            damage(cluster[victim], topic)
            cluster.launch(victim)
            seconds = cluster.wait_isr_full(topic)
            print(f"in sync again after {seconds:.2f} s")
            load.stop()
            if damage is flip_a_bit:
                assert "rebuilt_from_nothing" in cluster[victim].log_text()
        # It may lead again: what it gives out is what was sent.
        others = [node.id for node in cluster.brokers if node.id != victim]
        cluster.wait_isr_full(topic)
        cluster.stop(others[0])
        assert_clean(load.sent, load.acked, read_by_assign(cluster.bootstrap, topic, 1), "confluent-kafka with assign()")
        cluster.launch(others[0])
        cluster.wait_isr_full(topic)
        cluster.stop_all()
        assert cluster.compare_replicas(topic) == len(load.sent)
