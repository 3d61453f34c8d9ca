"""A leader that stands still for longer than its session (SIGSTOP): the others go on, and when it wakes up it acknowledges nothing
(correctness.md 1, R7; testing.md 10, row 4)."""
import time

from flight_check import assert_clean
from kafka_wire import Closed, Connection
from leader_watch import Watch
from load import Load, numbered_rows
from reading import read_by_assign
from record_batch import Batch
from replicated import Cluster
from topics import create
from waiting import stretched, wait_until
from wire_calls import receive_produce, send_produce

SERVICE_SECONDS_MAX = 4  # the session's 3 s and one
# A client that waits for a minute for an answer would measure itself.
IMPATIENT = {"socket.timeout.ms": 1000, "topic.metadata.refresh.interval.ms": 250}
LATE_VALUES = [b"late %d" % number for number in range(3)]


def answers(connection, count):
    """Error codes; "closed" for those that never come."""
    codes = []
    for _ in range(count):
        try:
            codes.append(receive_produce(connection)[0])
        except Closed:
            return codes + ["closed"] * (count - len(codes))
    return codes


def produce(connection, value):
    send_produce(connection, "raw", 0, Batch([value]).encode())
    return receive_produce(connection)


def test_a_frozen_leader_acknowledges_nothing_when_it_wakes_up(folder):
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        create(cluster, "raw")
        create(cluster, "loaded", 6)
        frozen = cluster.describe("raw")[0].leader
        led = cluster.led_by("loaded", frozen)
        with Watch("loaded", cluster.addresses) as watch, Load(cluster.bootstrap, "loaded", numbered_rows(), 1000, IMPATIENT) as load, \
                Connection(cluster[frozen].bootstrap, timeout_s=30) as raw:
            wait_until(lambda: produce(raw, b"in time") == (0, 0), 10, "the leader to lead")
            load.wait_acked(1000)
            moment = time.monotonic()
            cluster[frozen].pause()
            for value in LATE_VALUES:  # the kernel takes them; the process does not read
                send_produce(raw, "raw", 0, Batch([value]).encode())
            wait_until(lambda: next((view for view in map(cluster.view_of, cluster.addresses) if view and view.topics["raw"][0].leader not in (-1, frozen)),
                                    None), 10, "another leader of raw")
            load.wait_ack_on(led, moment)
            gap, slowest = load.gap_after(moment, led)
            servers = [wait_until(lambda: watch.led_again(index, moment, frozen), 10, "a leader") - moment for index in led]  # noqa: B023
            print(f"no service for {gap:.2f} s (partition {slowest}); led again after {max(servers, default=0):.2f} s")
            woken = time.monotonic()
            cluster[frozen].resume()
            codes = answers(raw, len(LATE_VALUES))
            print(f"what was sent to the frozen leader was answered with {codes} within {time.monotonic() - woken:.2f} s of its waking")
            assert 0 not in codes, "the zombie acknowledged"
            cluster.wait_isr_full("raw", "loaded")
            load.stop()
            load.check_order()
            watch.check_epochs()
        assert_clean(load.sent, load.acked, read_by_assign(cluster.bootstrap, "loaded", 6), "confluent-kafka with assign()")
        values = [value for _offset, _key, value in read_by_assign(cluster.bootstrap, "raw", 1)[0]]
        assert values == [b"in time"]
        cluster.stop_all()
        cluster.compare_replicas("raw", "loaded")
    if led:
        assert gap <= stretched(SERVICE_SECONDS_MAX)
