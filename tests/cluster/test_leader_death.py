"""Leaders are killed while they take the flights: nothing acknowledged is lost, and service is back at once (correctness.md 2, L2)."""
import os
import random
import time

import pytest

import flights
from flight_check import assert_clean
from leader_watch import Watch
from load import Load, numbered_rows, show_seconds
from reading import read_by_assign
from replicated import Cluster
from topics import create
from waiting import stretched, wait_until

PARTITIONS, KILLS = 6, 10
SENDING_SECONDS = 38
SERVICE_SECONDS_MAX, WITH_CONTROLLER_SECONDS_MAX = 0.5, 1.5


def seeded():
    wanted = os.environ.get("MOLDAU_SEED", "")
    seed = int(wanted) if wanted.isdigit() else random.randrange(1 << 32)
    print(f"seed {seed} (MOLDAU_SEED repeats it)")
    return random.Random(seed)


class Death:
    """One kill: what was in flight, and how long until service was back."""

    def __init__(self, cluster, load, watch, topic, victim):
        self.victim, self.had_controller = victim, cluster.active_controller() == victim
        self.partitions = cluster.led_by(topic, victim)
        self.acked_before = len(load.acked)
        moments = []

        def strike():
            """In the client's thread, which must not wait until the process has ended: that can take the kernel seconds."""
            moments.append(time.monotonic())
            cluster[victim].process.kill()
        _, self.in_flight = load.when_in_flight(self.partitions, strike)
        self.moment = moments[0]
        load.wait_ack_on(self.partitions, self.moment)
        self.gap, self.slowest = load.gap_after(self.moment, self.partitions)
        led = [wait_until(lambda: watch.led_again(partition, self.moment, victim), 10, f"a leader of {partition}")  # noqa: B023
               for partition in self.partitions]
        self.server = max(led) - self.moment
        self.client = max(0.0, self.gap - self.server)
        cluster.kill(victim)
        print(f"after {self.acked_before} rows: broker {victim}{' with the active controller' if self.had_controller else ''} led {self.partitions}, in flight "
              f"{self.in_flight}: no service for {self.gap * 1000:.0f} ms, led again after {self.server * 1000:.0f} ms")

    @property
    def limit(self):
        return stretched(WITH_CONTROLLER_SECONDS_MAX if self.had_controller else SERVICE_SECONDS_MAX)


def kill_leaders(cluster, load, watch, topic, rng, rows):
    """Ten deaths between 20 % and 80 % of the rows, each of a leader with requests in flight, each when all replicas are in sync."""
    points = sorted(rng.sample(range(len(rows) * 21 // 100, len(rows) * 75 // 100), KILLS))
    deaths, rate = [], load.rate
    for point in points:
        load.wait_acked(point)
        load.rate = rate if cluster.is_isr_full(topic) else rate / 10  # the rows shall not run away
        cluster.wait_isr_full(topic)
        leaders = {one.leader for one in cluster.describe(topic).values()}
        deaths.append(Death(cluster, load, watch, topic, rng.choice(sorted(leaders))))
        load.rate = rate
        cluster.launch(deaths[-1].victim, wait=False)
    assert len(rows) * 2 // 10 <= deaths[0].acked_before and deaths[-1].acked_before <= len(rows) * 8 // 10
    assert all(death.in_flight for death in deaths)
    return deaths


def judge_deaths(deaths):
    show_seconds("no service after a kill", [death.gap for death in deaths])
    show_seconds("  the servers' share (the new leader says so)", [death.server for death in deaths])
    show_seconds("  the client's share (until the first acknowledgement)", [death.client for death in deaths])
    late = [death for death in deaths if death.server > death.limit]
    assert not late, f"led again too late: {[(death.victim, round(death.server, 3)) for death in late]}"
    # The client runs beside six nodes and this test on two cores: one slow turn of its own is not the servers' fault.
    slow = [death for death in deaths if death.gap > death.limit]
    assert len(slow) <= 1, f"no service for too long: {[(death.victim, round(death.gap, 3)) for death in slow]}"


def ends_of(topic, read):
    return {(topic, partition): messages[-1][0] + 1 if messages else 0 for partition, messages in read.items()}


@pytest.mark.parametrize("durability, layout", [
    ("synced", {}), pytest.param("cached", {}, marks=pytest.mark.full), pytest.param("synced", {"combined": 3}, marks=pytest.mark.full),
    pytest.param("cached", {"combined": 3}, marks=pytest.mark.full)], ids=lambda value: value if isinstance(value, str) else "-".join(value) or "apart")
def test_flights_survive_the_death_of_leaders(folder, durability, layout):
    rng, rows, topic = seeded(), flights.rows(), "flights"
    with Cluster(folder / "cluster", **layout) as cluster:
        cluster.start()
        create(cluster, topic, PARTITIONS, durability=durability)
        with Watch(topic, cluster.addresses) as watch, Load(cluster.bootstrap, topic, rows, len(rows) / SENDING_SECONDS) as load:
            deaths = kill_leaders(cluster, load, watch, topic, rng, rows)
            load.finish()
            print(f"all ISRs full {cluster.wait_isr_full(topic):.1f} s after the last acknowledgement")
            watch.check_epochs()
        read = read_by_assign(cluster.bootstrap, topic, PARTITIONS)
        assert_clean(rows, load.acked, read, "confluent-kafka with assign()")
        assert sum(map(len, read.values())) == len(rows)
        cluster.stop_all()
        load.check_order()
        print(f"rows whose offset the client never heard: {load.words.rows}; {cluster.compare_replicas(topic, until=ends_of(topic, read))} records of each replica are the same")
    judge_deaths(deaths)


def test_all_brokers_killed_at_once_come_back_by_themselves(folder):
    """Fault matrix, row 2: SIGKILL for all within 50 ms, both durability modes, under load."""
    topics = ("synced", "cached")
    with Cluster(folder / "cluster") as cluster:
        cluster.start()
        for topic in topics:
            create(cluster, topic, 3, durability=topic)
        loads = [Load(cluster.bootstrap, topic, numbered_rows(), 2000) for topic in topics]
        with loads[0], loads[1]:
            for load in loads:
                load.wait_acked(2000)
            first, last = cluster.kill_at_once([1, 2, 3])
            assert last - first < stretched(0.05), "not at once"
            for node_id in (1, 2, 3):
                cluster.launch(node_id, wait=False)
            cluster.wait_serving()
            back = time.monotonic()
            for load in loads:
                load.wait_ack_on(range(3), back)
                load.wait_acked(len(load.acked) + 1000)
                load.stop()
            print(f"partitions back {back - first:.2f} s after the kill, acknowledgements again after "
                  f"{max(load.gap_after(last, range(3))[0] for load in loads):.2f} s")
        cluster.wait_isr_full(*topics)
        ends = {}
        for topic, load in zip(topics, loads):
            read = read_by_assign(cluster.bootstrap, topic, 3)
            assert_clean(load.sent, load.acked, read, "confluent-kafka with assign()")
            ends |= ends_of(topic, read)
        cluster.stop_all()
        cluster.compare_replicas(*topics, until=ends)
