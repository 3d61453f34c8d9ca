"""Scenes in which the promises of liveness are measured: a cluster under load, one kind of fault, as often as asked (correctness.md 2).

What is promised of servers is measured at servers: a controller's log says when it is active, and leader_watch, a process of its own, when a broker says
itself that it leads. What a client saw is told beside. Every scene ends with the reading of all that was acknowledged, and a comparison of the replicas.
"""
import contextlib
import datetime
import itertools
import math
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition

sys.path.append(str(Path(__file__).resolve().parents[1] / "chaos"))

from cluster import program
from flight_check import assert_clean
from leader_watch import Watch
from liveness_leaks import Leaks
from liveness_table import APART, COMBINED
from load import Load
from reading import read_by_assign
from test_leader_death import Death, ends_of
from topics import create
from waiting import wait_until

TOPIC, PARTITIONS, RATE = "loaded", 6, 600
WARM_RATE, WARM_BYTES = 4000, 6 << 20
REHEARSALS = 3
PATIENCE = 90  # seconds until it is said that something does not come at all
RETENTION_MS = 7 * 24 * 3600 * 1000
GONE_SECONDS = 5  # without a quorum: longer than a session
# What is waited for after a fault: links are closed, threads end. Memory that the allocator keeps for the next time does not go.
RESTS, REST_SECONDS, REST_PERCENT = ("descriptors", "threads"), 10, 10
WITNESS_SECONDS = 0.02
WATCH_SECONDS = 0.03  # what is seen is this late at most: the watch asks each 10 ms
# A client that waits for a minute for an answer of a node that stands still would measure itself.
IMPATIENT = {"socket.timeout.ms": 1000}
ACTIVE = re.compile(r"^time=(\S+)Z \S+ subsystem=controller event=active ", re.MULTILINE)


def rows():
    """Large ones, until the logs have what they need (Stage.warm), then as many as anybody wants."""
    for number in itertools.count():
        padding = 1000 if number * 1000 < WARM_BYTES else 100
        yield b"key%d" % (number % 100), b'{"row":%d,"padding":"%s"}' % (number, b"x" * padding)


def longest_gap(times, begin, end):
    """The longest time between two of the moments in [begin, end], and between these two and the nearest."""
    inside = [begin, *(moment for moment in times if begin < moment < end), end]
    return max(later - sooner for sooner, later in zip(inside, inside[1:]))


class Beside:
    """A thread beside a scene; what ends it before its time fails the scene."""

    def __init__(self):
        self._is_ending, self.problem = threading.Event(), None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self._work()
        except BaseException as error:  # the scene's thread reports it
            self.problem = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self._is_ending.set()
        self.thread.join(20)
        assert kind is not None or (self.problem is None and not self.thread.is_alive()), f"the {type(self).__name__.lower()} does not end, or with {self.problem!r}"


class Reader(Beside):
    """Reads all partitions from their beginning for as long as it is there: how far it is, and when something came."""

    def __init__(self, bootstrap):
        super().__init__()
        self.ends, self.times = dict.fromkeys(range(PARTITIONS), 0), {partition: [] for partition in range(PARTITIONS)}
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "not-used", "enable.auto.commit": False, "auto.offset.reset": "error", "check.crcs": True,
                                  "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "topic.metadata.refresh.interval.ms": 100, "log_level": 0, **IMPATIENT})
        self.consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])

    def _work(self):
        while not self._is_ending.is_set():
            for message in self.consumer.consume(500, 0.05):
                self._take(message)

    def _take(self, message):
        if message.error() is not None:
            # Others are about connections, and pass.
            assert message.error().code() not in (KafkaError._AUTO_OFFSET_RESET, KafkaError._BAD_MSG), message.error()
            return
        partition, offset = message.partition(), message.offset()
        assert offset == self.ends[partition], f"partition {partition}: offset {offset} was read where {self.ends[partition]} comes next"
        self.ends[partition] = offset + 1
        self.times[partition].append(time.monotonic())

    def wait_ends(self, due):
        wait_until(lambda: self.problem or all(self.ends[partition] >= end for partition, end in due.items()), PATIENCE, f"the reader to come to {due}")
        assert self.problem is None, self.problem

    def __exit__(self, *told):
        super().__exit__(*told)
        self.consumer.close()


class Witness(Beside):
    """Wakes up, writes 1 KiB and waits until it is on the disk, again and again: how long the machine alone made anybody wait."""

    def __init__(self, folder):
        super().__init__()
        self.path, self._longest = folder / "witness", 0.0

    def _work(self):
        with open(self.path, "wb", buffering=0) as file:
            due = time.monotonic() + WITNESS_SECONDS
            while not self._is_ending.wait(max(0, due - time.monotonic())):
                file.write(b"x" * 1024)
                os.fdatasync(file.fileno())
                now = time.monotonic()
                self._longest, due = max(self._longest, now - due), now + WITNESS_SECONDS
                if file.tell() > 1 << 20:
                    file.seek(0)

    def longest(self):
        """In seconds, since it was asked before."""
        longest, self._longest = self._longest, 0.0
        return longest


class Stage:
    """A cluster under load, with whoever looks at it."""

    def __init__(self, cluster, layout, figures, runs):
        self.cluster, self.layout, self.figures, self.runs, self.rows = cluster, layout, figures, runs, 0

    def add(self, key, value):
        self.figures.add(key, self.layout, value)

    @contextlib.contextmanager
    def set(self):
        cluster = self.cluster
        with cluster:
            cluster.start(PATIENCE)
            create(cluster, TOPIC, PARTITIONS)
            with ExitStack() as stack:
                self.witness = stack.enter_context(Witness(cluster.folder))
                self.reader = stack.enter_context(Reader(cluster.bootstrap))
                self.watch = stack.enter_context(Watch(TOPIC, cluster.addresses))
                self.load = stack.enter_context(Load(cluster.bootstrap, TOPIC, rows(), WARM_RATE, IMPATIENT))
                self.warm()
                self.leaks = Leaks(cluster)
                self.rehearse()
                yield
                slope = self.leaks.slope()
                if slope is not None:
                    self.add("slope", slope)
                self.load.stop()
                self.load.check_order()
                self.reader.wait_ends(self.acked_ends())
                self.watch.check_epochs()
            read = read_by_assign(cluster.bootstrap, TOPIC, PARTITIONS)
            assert_clean(self.load.sent, self.load.acked, read, "confluent-kafka with assign()")
            cluster.stop_all()
            cluster.compare_replicas(TOPIC, until=ends_of(TOPIC, read), replicas=3)
            self.rows = len(self.load.acked)

    # ---- before a fault ----
    def warm(self):
        """Every replica has an index file: they are not opened before 64 entries, and would be taken for a leak."""
        self.load.wait_acked(WARM_BYTES // 1000)
        self.load.rate = RATE

        def indexes(node):
            found = 0
            for link in Path(f"/proc/{node.process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # closed meanwhile
                    found += os.readlink(link).endswith("index")
            return found
        wait_until(lambda: all(indexes(node) == 2 * PARTITIONS for node in self.cluster.brokers), PATIENCE, "all indexes to be open")

    def rehearse(self):
        """Every node stands still, under load, until others do its work, and comes back; until each has played every role."""
        cluster = self.cluster
        for node in cluster.brokers * REHEARSALS:
            self.prepare()
            partitions = cluster.led_by(TOPIC, node.id)
            with frozen(node):
                self.led_after(partitions, time.monotonic(), node.id)
            self.wait_whole()
        while any(not ACTIVE.search(node.log_text()) for node in cluster.controllers):
            active = cluster[cluster.active_controller()]
            with frozen(active):
                self.active_after(time.monotonic())
            self.wait_whole()
        for key, values in self.leaks.warmed().items():
            for value in values:
                self.add(key, value)
        self.witness.longest()

    def prepare(self):
        """Every broker leads, and every partition serves."""
        done = self.run("cluster", "elect-leaders", TOPIC)
        assert done.returncode == 0, done.stderr

        def is_spread():
            views = [self.cluster.view_of(node.id, [TOPIC]) for node in self.cluster.brokers]
            return all(view is not None and all(one.leader == one.replicas[0] for one in view.topics[TOPIC].values()) for view in views)
        wait_until(is_spread, PATIENCE, "the preferred leaders to lead")
        self.load.wait_ack_on(range(PARTITIONS), time.monotonic(), PATIENCE)

    def alter(self, number, seconds):
        """Changes the topic; whether that was done in time. No topic is made for it: it would have descriptors."""
        return self.run("topic", "alter", TOPIC, "--config", f"retention.ms={RETENTION_MS + number}", "--timeout-ms", str(seconds * 1000)).returncode == 0

    def run(self, *words):
        return subprocess.run([program(), *words, "--bootstrap-server", self.cluster.bootstrap], capture_output=True, text=True, timeout=PATIENCE, check=False)

    def acked_ends(self):
        """{partition: what lies behind the last acknowledged record}"""
        ends = {}
        for partition, offset in list(self.load.acked.values()):
            if offset is not None:
                ends[partition] = max(ends.get(partition, 0), offset + 1)
        return ends

    # ---- after it ----
    def led_after(self, partitions, moment, victim):
        """When the last of them was led by another than the victim, in the new leader's own words."""
        assert partitions, f"broker {victim} led nothing"
        return max(wait_until(lambda: self.watch.led_again(partition, moment, victim), PATIENCE, f"another leader of partition {partition}")  # noqa: B023
                   for partition in partitions)

    def acked_after(self, partitions, moment):
        self.load.wait_ack_on(partitions, moment, PATIENCE)
        return max(self.load.first_ack(partition, moment) for partition in partitions)

    def active_after(self, moment):
        """When a controller first said in its log that it is active."""
        clock = time.time() - time.monotonic()

        def said():
            times = [datetime.datetime.fromisoformat(text + "+00:00").timestamp() - clock for node in self.cluster.controllers for text in ACTIVE.findall(node.log_text())]
            return min((one for one in times if one > moment), default=None)
        return wait_until(said, PATIENCE, "a controller to be active")

    def wait_whole(self):
        cluster = self.cluster
        cluster.wait_topic(TOPIC, PATIENCE)
        mark = cluster.wait_quorum().high_watermark
        cluster.wait_quorum(lambda view: all(view.voters.get(node.id, (-1,))[0] >= mark for node in cluster.controllers), PATIENCE, f"all voters to have {mark} entries")
        self.reader.wait_ends(self.acked_ends())

    def heal(self, moment):
        """L4 and L7; the moment is that in which the fault was over."""
        self.wait_whole()
        self.add("whole", time.monotonic() - moment)
        deadline = time.monotonic() + REST_SECONDS
        growth = self.leaks.growth()
        while any(growth[kind] > REST_PERCENT for kind in RESTS) and time.monotonic() < deadline:
            threading.Event().wait(0.1)  # between two looks
            growth = self.leaks.growth()
        for kind, much in growth.items():
            self.add(kind, much)
        if growth["threads"] > 0:
            print(f"  threads that came: {self.leaks.more_threads()}", flush=True)
        self.leaks.note()
        self.add("witness", self.witness.longest())


# ---- scenes ----

def victims(stage, is_active, is_one_spared=False):
    """Brokers in turn: the one that is the active controller, or those that are not; one lives through all of it, if that is asked."""
    brokers = stage.cluster.brokers
    for turn in range(stage.runs):
        active = stage.cluster.active_controller()
        able = [node for node in brokers if (node.id == active) == is_active]
        if is_one_spared and len(able) == len(brokers):
            able.pop()
        yield able[turn % len(able)]


def kill_controller(stage):
    """Apart: nobody leads anything at its end. Combined: a broker dies as well."""
    if stage.layout == COMBINED:
        kill(stage, True, "kill_active")
        return
    cluster = stage.cluster
    for _ in range(stage.runs):
        before = cluster.wait_quorum()
        moment = time.monotonic()
        cluster[before.leader].process.kill()  # the kernel may take seconds until it has ended
        cluster.wait_quorum(lambda view: view.leader not in (-1, before.leader) and view.term > before.term, PATIENCE)  # noqa: B023
        stage.add("election_told", time.monotonic() - moment)
        stage.add("election", stage.active_after(moment) - moment)
        cluster.kill(before.leader)
        back = time.monotonic()
        cluster.launch(before.leader, wait=False)
        stage.heal(back)


def kill_broker(stage):
    kill(stage, False, "kill")


def kill(stage, is_active, key):
    for victim in victims(stage, is_active, is_one_spared=True):
        stage.prepare()
        death = Death(stage.cluster, stage.load, stage.watch, TOPIC, victim.id)
        assert death.had_controller == is_active, f"broker {victim.id} is not what it was"
        stage.add(key, death.server)
        stage.add(f"{key}_gap", death.gap)
        if is_active:
            stage.add("election", stage.active_after(death.moment) - death.moment)
        back = time.monotonic()
        stage.cluster.launch(victim.id, wait=False)
        stage.heal(back)


def silence(stage, is_active, key, silent):
    """`silent(victim)`: a context in which it is not heard; yields, and then returns, nothing."""
    for victim in victims(stage, is_active):
        stage.prepare()
        partitions = stage.cluster.led_by(TOPIC, victim.id)
        moment = time.monotonic()
        with silent(victim):
            begun = time.monotonic()
            stage.add(key, stage.led_after(partitions, begun, victim.id) - moment)
            if is_active:
                stage.add("freeze_election", stage.active_after(begun) - moment)
            stage.add(f"{key}_gap", stage.acked_after(partitions, begun) - moment)
            back = time.monotonic()
        stage.heal(back)


@contextlib.contextmanager
def frozen(victim):
    victim.pause()
    try:
        yield
    finally:
        victim.resume()


def freeze(stage):
    silence(stage, False, "freeze", frozen)


def freeze_controller(stage):
    silence(stage, True, "freeze_active", frozen)


def part(stage):
    @contextlib.contextmanager
    def cut_off(victim):
        both = [(victim.host, "INPUT", "-i", "eth0", "-j", "DROP"), (victim.host, "OUTPUT", "-o", "eth0", "-j", "DROP")]
        with stage.cluster.network.rules(*both) as rules:
            yield
            assert all(rule.count() > 0 for rule in rules), "no packet was dropped"
    silence(stage, False, "part", cut_off)


def stop(node):
    """In order; returns the moment in which the process had ended. Popen.wait with a time limit would know it 50 ms late."""
    with open(os.pidfd_open(node.process.pid), "rb") as process:
        node.process.send_signal(signal.SIGTERM)
        select.select([process], [], [], PATIENCE)
        ended = time.monotonic()
    node.stop()
    return ended


def restart(stage):
    """Controllers that are apart, then the brokers in turn, as many turns as it takes."""
    cluster, load = stage.cluster, stage.load
    turns = math.ceil(stage.runs / len(cluster.brokers))
    for node in [*(node for node in cluster.controllers if not node.is_broker), *cluster.brokers * turns]:
        stage.prepare()
        led = cluster.led_by(TOPIC, node.id)
        begun = time.monotonic()
        ended = stop(node)
        cluster.launch(node.id, wait=False)
        stage.heal(ended)
        load.wait_ack_on(range(PARTITIONS), time.monotonic(), PATIENCE)
        stage.add("stall", max(longest_gap(load.ack_times[partition], begun, time.monotonic()) for partition in range(PARTITIONS)))
        if node.is_broker:
            assert led, f"broker {node.id} led nothing"
            stage.add("left_behind", sum((stage.watch.led_again(partition, begun, node.id) or math.inf) > ended + WATCH_SECONDS for partition in led))


def lose_quorum(stage):
    cluster, watch = stage.cluster, stage.watch
    stage.prepare()  # or the controllers may send leaders home meanwhile
    for number in range(stage.runs):
        active = cluster.active_controller()
        gone = (active, *(node.id for node in cluster.controllers if node.id != active))[:2]
        rest = next(node for node in cluster.controllers if node.id not in gone)
        since = time.monotonic()
        cluster.kill_at_once(gone)
        # What a client gave up may still be done later, when there is a quorum again: its outcome is unknown.
        assert not stage.alter(number, 2), "a topic was changed without a quorum"
        threading.Event().wait(max(0, since + GONE_SECONDS - time.monotonic()))  # what is measured is this time
        back = time.monotonic()
        assert rest.metrics()["moldau_controller_active"] == 0, f"controller {rest.id} is active without a quorum"
        for key, times in (("gone_produce", stage.load.ack_times), ("gone_fetch", stage.reader.times)):
            stage.add(key, max(longest_gap(list(times[partition]), since, back) for partition in range(PARTITIONS)))
        back = time.monotonic()
        for node_id in gone:
            cluster.launch(node_id, wait=False)
        wait_until(lambda: stage.alter(number, 5), PATIENCE, "a topic to be changed")  # noqa: B023
        stage.add("back", time.monotonic() - back)
        stage.heal(back)
        stage.add("gone_changes", len(watch.changes(since)))
    stage.load.wait_acked(len(stage.load.acked) + RATE * 4)  # whoever is fenced for it is fenced within a session
    assert not (late := watch.changes(since)), f"leaders or ISRs changed after the last run: {late[:3]}"


# {name: (function, layouts)}; the last needs network namespaces.
SCENES = {"kill-controller": (kill_controller, (APART, COMBINED)), "kill-broker": (kill_broker, (APART, COMBINED)), "freeze": (freeze, (APART, COMBINED)),
          "freeze-controller": (freeze_controller, (COMBINED,)), "restart": (restart, (APART, COMBINED)), "lose-quorum": (lose_quorum, (APART,)),
          "part": (part, (APART,))}
