"""What a run acts upon: a cluster in namespaces, its clients, and who of the nodes is under a fault at the moment."""
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

import motion
import replicated
import topics
from kafka_wire import Closed, Connection
from waiting import stretched, wait_until
from wire_calls import ask_quorum

TOPIC, PARTITIONS = "chaos", 4
CLIENT_PORT, INTERNAL_PORT, HTTP_PORT = 9092, 9093, 8080
LARGE_BYTES, MESSAGE_BYTES_MAX = 30000, 20000
SESSION_SECONDS = 3
KAFKA_SESSION_SECONDS = 9
LAG_SECONDS = 5
ASIDE_SECONDS = 60


class Member(replicated.Member):
    """A node in a namespace of its own. `data` may be any path: set it, or `wrap` (words before the command), before the start."""

    def __init__(self, folder, node_id, roles, settings, host):
        super().__init__(folder, node_id, roles, (CLIENT_PORT, INTERNAL_PORT, HTTP_PORT), settings, None)
        self.host, self.wrap, self.started_at, self.disk = host, [], None, None
        self.address = host.address
        self.bootstrap, self.internal, self.http = (f"{host.address}:{port}" for port in (CLIENT_PORT, INTERNAL_PORT, HTTP_PORT))
        listeners = f"INTERNAL://{self.internal}"
        if self.is_broker:
            listeners = f"PLAINTEXT://{self.bootstrap},{listeners}"
        self.settings.update({"listeners": listeners, "http.listener": self.http})

    def use_data(self, path):
        """Another directory, before the first start: a file system with faults, a small one, ..."""
        self.data = Path(path)
        self.settings["log.dirs"] = self.data

    def preload(self, library):
        self.environment["LD_PRELOAD"] = ":".join(filter(None, (self.environment.get("LD_PRELOAD"), str(library))))

    def wipe(self):
        super().wipe()
        if self.disk is not None:
            self.disk.tell("sync")  # an empty disk, not one whose power could bring back what was on it

    def command(self):
        return [*self.host.prefix, "setpriv", "--pdeathsig", "KILL", *self.wrap, *super().command()]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Cluster(replicated.Cluster):
    def __init__(self, folder, network, settings, brokers=3, controllers=3):
        self.folder, self.network = Path(folder), network
        roles = {number: ("broker",) for number in range(1, brokers + 1)}
        roles |= {replicated.FIRST_CONTROLLER + number: ("controller",) for number in range(controllers)}
        shared = {"default.replication.factor": 3, "auto.create.topics.enable": "false", "log.level": "info", **settings}
        self.nodes = {}
        for node_id, its in roles.items():
            host = network.host(f"n{node_id}", f"10.99.0.{node_id}")
            self.nodes[node_id] = Member(self.folder / str(node_id), node_id, its, shared, host)
        voters = ",".join(f"{node.id}@{node.internal}" for node in self.controllers)
        for node in self.nodes.values():
            node.settings["controller.quorum.voters"] = voters


class Clients:
    """client.py, and what it told last."""

    def __init__(self, prefix, bootstrap, history, seed, rate):
        options = {"bootstrap": bootstrap, "topic": TOPIC, "partitions": PARTITIONS, "history": str(history), "seed": seed, "rate": rate, "large": LARGE_BYTES}
        command = [*prefix, "setpriv", "--pdeathsig", "KILL", sys.executable, "-B", str(Path(__file__).with_name("client.py")), json.dumps(options)]
        self.errors = open(f"{history}.errors", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.told, self.history = {"acked": {}, "polled": 0, "unknown": {}, "problems": [], "doing": {}, "stuck": {}}, Path(history)
        self.listening_error, self.told_at, self.is_recorded = None, time.monotonic(), False
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        for line in self.process.stdout:
            if not line.endswith("\n"):
                return  # it was killed within a line
            try:
                self.told, self.told_at = json.loads(line), time.monotonic()
            except ValueError as error:
                self.listening_error = f"{error}: {line[:200]}"

    def acked(self, kind=None):
        return sum(self.told["acked"].values()) if kind is None else self.told["acked"].get(kind, 0)

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def wait(self, what, seconds):
        self.wait_until(lambda: what in self.told, seconds, f"the clients to have {what}")

    def wait_until(self, condition, seconds, what):
        """A condition that the clients must be there for."""
        def told():
            assert "finished" in self.told or self.process.poll() is None, f"the clients ended: {Path(self.errors.name).read_text()[-2000:]}"
            return condition()
        try:
            wait_until(told, seconds, what)
        except AssertionError as error:
            said = "; ".join(f"{who} {at}" for who, at in self.told["doing"].items()) or "nothing"
            text = f"{error}; they said {time.monotonic() - self.told_at:.0f} s ago: {said}"
            self.record()
            raise AssertionError(text) from None

    def finish(self):
        self.say("finish")
        self.wait("finished", 240)
        if self.told["stuck"] or self.told["finished"] is not None:
            self.record()
        assert self.told["finished"] is None, f"clients: {self.told['finished']}"
        self.say("leave")
        self.process.wait(stretched(30))

    def record(self):
        """Everything that can be known of where its threads are, beside the history."""
        if self.process.poll() is not None or self.is_recorded:
            return
        self.is_recorded = True
        self.process.send_signal(signal.SIGUSR1)
        self.process.send_signal(signal.SIGUSR2)
        words = Path(f"{self.history}.words")
        try:
            wait_until(lambda: words.exists() and words.read_text().endswith(motion.END_OF_WORDS), 20, "what librdkafka said last")
        except AssertionError as error:
            print(error, flush=True)  # no reason to hide what the run is about
        motion.stacks_of(self.process.pid, f"{self.history}.native")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.thread.join(stretched(10))
        self.errors.close()
        assert self.listening_error is None, f"what the clients told can't be read: {self.listening_error}"


class World:
    def __init__(self, cluster, network, clients_host, clients, folder, seed, target):
        self.cluster, self.network, self.clients_host, self.clients = cluster, network, clients_host, clients
        self.folder, self.target, self.seed = Path(folder), target, seed
        self.random = random.Random(f"{seed}/faults")
        self.busy, self.active, self.events, self.began = set(), [], [], time.monotonic()
        self.disks = []  # disk.give
        self.threads, self.problems = [], []  # of what goes on beside the rows
        is_ours = target == "moldau"
        self.monitor, self.session_seconds = None, SESSION_SECONDS if is_ours else KAFKA_SESSION_SECONDS
        # Kafka's nodes are slow to start, and each is a controller as well: with two of three down nothing would be left.
        self.ready_seconds, self.rows_at_once = (30, 2) if is_ours else (150, 1)

    # ---- beside the rows ----
    def aside(self, what, *words):
        """On a thread of its own; what it raises ends the run."""
        def work():
            try:
                what(*words)
            except BaseException:
                self.problems.append(traceback.format_exc())
        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def join(self):
        for thread in self.threads:
            thread.join(stretched(ASIDE_SECONDS))
            assert not thread.is_alive(), "what goes on beside the rows does not end"
        self.threads = []

    # ---- who ----
    def free(self, nodes):
        return [node for node in nodes if node.id not in self.busy and node.is_running]

    def pick(self, nodes):
        """One of them that is under no fault, or None."""
        able = self.free(nodes)
        return self.random.choice(able) if able else None

    def bootstrap(self):
        """The brokers that are under no fault, for what must be answered; "": there is none now."""
        return ",".join(node.bootstrap for node in self.free(self.cluster.brokers))

    def others(self, node, nodes=None):
        return [one for one in (self.cluster.brokers if nodes is None else nodes) if one is not node]

    def describe(self):
        """{partition: PartitionView} as those brokers see it that are free of faults; None if nobody answers."""
        for node in self.free(self.cluster.brokers) or self.cluster.brokers:
            if node.is_running:
                view = self.cluster.view_of(node.id, [TOPIC])
                if view is not None and TOPIC in view.topics:
                    return view.topics[TOPIC]
        return None

    def leader(self):
        """A free broker that leads a partition; a free one, if none does."""
        view, able = self.describe(), self.free(self.cluster.brokers)
        leading = [node for node in able if view and any(one.leader == node.id for one in view.values())]
        return self.random.choice(leading or able) if able else None

    def leads(self, node):
        """False as well while nobody says."""
        view = self.describe()
        return view is not None and any(one.leader == node.id for one in view.values())

    def is_led_by_others(self, node):
        view = self.describe()
        return view is not None and all(one.leader not in (-1, node.id) for one in view.values())

    def quorum(self):
        """The quorum as brokers tell it that are free of faults; None: there is none, or nobody can tell."""
        for node in self.free(self.cluster.brokers) or self.cluster.brokers:
            if node.is_running:
                with contextlib.suppress(OSError, Closed, RuntimeError), Connection(node.bootstrap, timeout_s=3) as connection:
                    view = ask_quorum(connection)
                    if view.leader >= 0:
                        return view
        return None

    def active_controller(self):
        quorum = self.quorum()
        return None if quorum is None else quorum.leader

    def isr_is_full(self):
        view = self.describe()
        return bool(view) and len(view) == PARTITIONS and all(one.leader >= 0 and set(one.isr) == set(one.replicas) for one in view.values())

    def note(self, text):
        line = f"{time.monotonic() - self.began:7.2f} {text}"
        self.events.append(line)
        print(line, flush=True)


def make_topic(bootstrap):
    error = topics.try_create(bootstrap, TOPIC, PARTITIONS, 3, min_insync_replicas=2, max_message_bytes=MESSAGE_BYTES_MAX)
    assert error is None, error
