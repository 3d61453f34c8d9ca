"""A cluster of several nodes as processes on loopback, each with its own ports and directories (design.md 1).

    with Cluster(folder, brokers=3, controllers=3) as cluster:       # or combined=3: nodes that are both
        cluster.start()                                              # returns when all brokers serve
        cluster.kill(2); cluster.launch(2)                           # by node id: brokers are 1, 2, ...; controllers alone 101, 102, ...
        cluster.wait_isr_full("topic")
                                                                     # leaving: SIGTERM for all, exit status 0, logs without alarms
"""
import contextlib
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import replica_files
from cluster import STOP_SECONDS, Node, free_port
from kafka_wire import Closed, Connection
from waiting import stretched, wait_until
from wire_calls import ask_metadata, ask_quorum

FIRST_CONTROLLER = 101
READY_SECONDS = 20
ISR_SECONDS = 30  # correctness.md 2, L4


class Member(Node):
    """A node of a cluster."""

    def __init__(self, folder, node_id, roles, ports, settings, environment):
        super().__init__(folder, settings, environment, node_id)
        self.id, self.roles = node_id, roles
        self.port, internal, http = ports
        self.bootstrap, self.internal, self.http = f"127.0.0.1:{self.port}", f"127.0.0.1:{internal}", f"127.0.0.1:{http}"
        listeners = f"INTERNAL://{self.internal}"
        if self.is_broker:
            listeners = f"PLAINTEXT://{self.bootstrap},{listeners}"
        self.settings.update({"process.roles": ",".join(roles), "listeners": listeners, "http.listener": self.http})

    @property
    def is_broker(self):
        return "broker" in self.roles

    @property
    def is_controller(self):
        return "controller" in self.roles

    def http_status(self, page):
        """None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{page}", timeout=stretched(2)) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def metrics(self):
        """{name with labels: value}"""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=stretched(5)) as answer:
            rows = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in rows}

    def wait_ready(self, seconds=READY_SECONDS):
        """A broker: it serves. A controller alone: its process is up."""
        def ready():
            status = self.process.poll()
            assert status is None, f"node {self.id} ended with status {status} instead of starting:\n{self.log_tail()}"
            return self.http_status("/health/ready" if self.is_broker else "/health/live") == 200
        wait_until(ready, seconds, f"node {self.id} to be ready")

    def pause(self):
        """SIGSTOP, and waits until every thread stands still: on a busy machine that is later than the signal."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        wait_until(lambda: {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()} == {"T"}, 5, "all threads to stop")

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def wipe(self):
        """All data of a node that does not run."""
        assert self.process is None, "wiping a node that runs"
        shutil.rmtree(self.data)


class Cluster:
    def __init__(self, folder, brokers=3, controllers=3, combined=None, settings=None, environment=None):
        self.folder, self._used = Path(folder), set()
        if combined is not None:
            roles = {node_id: ("broker", "controller") for node_id in range(1, combined + 1)}
        else:
            roles = {node_id: ("broker",) for node_id in range(1, brokers + 1)}
            roles |= {FIRST_CONTROLLER + number: ("controller",) for number in range(controllers)}
        shared = {"default.replication.factor": min(3, self._count(roles, "broker")), "auto.create.topics.enable": "false", **(settings or {})}
        self.nodes = {node_id: Member(self.folder / str(node_id), node_id, its, (self._port(), self._port(), self._port()), shared, environment)
                      for node_id, its in roles.items()}
        voters = ",".join(f"{node.id}@{node.internal}" for node in self.nodes.values() if node.is_controller)
        for node in self.nodes.values():
            node.settings["controller.quorum.voters"] = voters

    @staticmethod
    def _count(roles, role):
        return sum(role in its for its in roles.values())

    def _port(self):
        port = free_port()
        while port in self._used:
            port = free_port()
        self._used.add(port)
        return port

    # ---- who ----
    def __getitem__(self, node_id):
        return self.nodes[node_id]

    @property
    def brokers(self):
        return [node for node in self.nodes.values() if node.is_broker]

    @property
    def controllers(self):
        return [node for node in self.nodes.values() if node.is_controller]

    @property
    def bootstrap(self):
        return ",".join(node.bootstrap for node in self.brokers)

    @property
    def addresses(self):
        """Of the brokers, by id."""
        return {node.id: node.bootstrap for node in self.brokers}

    # ---- life ----
    def start(self, seconds=READY_SECONDS):
        for node in self.nodes.values():
            node.start(wait=False)
        self.wait_serving(seconds)
        return self

    def launch(self, node_id, wait=True):
        """Starts a node that is down; `wait` until it serves."""
        self.nodes[node_id].start(wait)

    def kill(self, node_id):
        """SIGKILL; returns the moment before the signal."""
        moment = time.monotonic()
        self.nodes[node_id].kill()
        return moment

    def kill_at_once(self, node_ids):
        """SIGKILL for all of them, then waits; returns the moments before the first and after the last signal."""
        first = time.monotonic()
        for node_id in node_ids:
            self.nodes[node_id].process.kill()
        last = time.monotonic()
        for node_id in node_ids:
            self.nodes[node_id].kill()
        return first, last

    def stop(self, node_id):
        self.nodes[node_id].stop()

    def restart(self, node_id):
        self.stop(node_id)
        self.launch(node_id)

    def wait_serving(self, seconds=READY_SECONDS):
        """All brokers that run are unfenced in the eyes of each of them, and no partition is without leader."""
        def serving():
            for node in self.nodes.values():
                status = node.process.poll() if node.process is not None else None
                assert status is None, f"node {node.id} ended with status {status}:\n{node.log_tail()}"
            running = {node.id for node in self.brokers if node.is_running}
            for node_id in sorted(running):
                view = self.view_of(node_id)
                if view is None or set(view.brokers) != running or self._leaderless(view):
                    return False
            return True
        wait_until(serving, seconds, "all brokers to serve all partitions")

    @staticmethod
    def _leaderless(view):
        return [(name, index) for name, partitions in view.topics.items() for index, one in partitions.items() if one.leader < 0]

    # ---- what they say ----
    def view_of(self, node_id, topics=None):
        """The cluster as one broker sees it; None when it does not answer."""
        try:
            with Connection(self.nodes[node_id].bootstrap, timeout_s=2) as connection:
                return ask_metadata(connection, topics)
        except (OSError, Closed):
            return None

    def view(self, topics=None):
        """As the first broker that answers sees it."""
        for node in self.brokers:
            if node.is_running:
                found = self.view_of(node.id, topics)
                if found is not None:
                    return found
        raise AssertionError("no broker answers")

    def describe(self, topic):
        """{partition: PartitionView}"""
        return self.view([topic]).topics[topic]

    def led_by(self, topic, node_id):
        return [index for index, one in self.describe(topic).items() if one.leader == node_id]

    def wait_topic(self, topic, seconds=10):
        """Every broker that runs knows all partitions of the topic, led and with a full ISR."""
        def known():
            views = [self.view_of(node.id, [topic]) for node in self.brokers if node.is_running]
            return all(view is not None and self._is_full(view.topics.get(topic)) for view in views)
        wait_until(known, seconds, f"topic {topic} at every broker")

    @staticmethod
    def _is_full(partitions):
        return bool(partitions) and all(one.leader >= 0 and set(one.isr) == set(one.replicas) for one in partitions.values())

    def is_isr_full(self, *topics):
        view = self.view(list(topics))
        return all(self._is_full(view.topics.get(topic)) for topic in topics)

    def wait_isr_full(self, *topics, seconds=ISR_SECONDS):
        started = time.monotonic()

        def full():
            return self.is_isr_full(*topics)
        try:
            wait_until(full, seconds, "all ISRs to be full")
        except AssertionError as error:
            raise AssertionError(f"{error}: {[(topic, self.describe(topic)) for topic in topics]}") from None
        return time.monotonic() - started

    def quorum(self):
        """The quorum as the first broker that can tell tells it; None when there is none."""
        for node in self.brokers:
            if node.is_running:
                with contextlib.suppress(OSError, Closed, RuntimeError), Connection(node.bootstrap, timeout_s=3) as connection:
                    view = ask_quorum(connection)
                    if view.leader >= 0:
                        return view
        return None

    def wait_quorum(self, is_right=lambda view: True, seconds=10, what="an active controller"):
        def right():
            view = self.quorum()
            return view if view is not None and is_right(view) else None
        return wait_until(right, seconds, what)

    def active_controller(self):
        return self.wait_quorum().leader

    # ---- the end ----
    def stop_all(self):
        """SIGTERM for all brokers at once, then for the controllers; exit status 0 each."""
        for nodes in ([node for node in self.brokers if not node.is_controller], self.controllers):
            running = [node for node in nodes if node.is_running]
            for node in running:
                node.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + stretched(STOP_SECONDS)
            for node in running:
                with contextlib.suppress(Exception):
                    node.process.wait(max(0.1, deadline - time.monotonic()))
                status = node.process.poll()
                assert status == 0, f"node {node.id}: exit status {status} after SIGTERM:\n{node.log_tail()}"
                node.process = None

    def compare_replicas(self, *topics, until=None, replicas=None):
        """After stop_all: byte for byte; `until`: {(topic, partition): offset} that must be reached; `replicas`: how many each partition must have, for one whose
        directory is gone differs from nobody. Returns the records compared."""
        total = 0
        for topic in topics:
            found = self._replicas_of(topic)
            lost = [place for place in until or () if place[0] == topic and place[1] not in found]
            assert found and not lost, f"{topic}: no replica of {lost or 'any partition'}"
            for partition, nodes in sorted(found.items()):
                assert replicas in (None, len(nodes)), f"{topic}-{partition}: only nodes {[node.id for node in nodes]} have it"
                wanted = None if until is None else until[topic, partition]
                total += replica_files.compare({node.id: node.data for node in nodes}, topic, partition, wanted)
        return total

    def _replicas_of(self, topic):
        found = {}
        for node in self.brokers:
            for folder in node.data.glob(f"{topic}-*"):
                if folder.name[len(topic) + 1:].isdigit():
                    found.setdefault(int(folder.name[len(topic) + 1:]), []).append(node)
        return found

    def logs(self, lines=40):
        return "\n".join(f"---- log of node {node.id}\n{node.log_tail(lines)}" for node in self.nodes.values())

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                for node in self.nodes.values():
                    assert node.process is None or node.process.poll() is None, f"node {node.id} ended by itself:\n{node.log_tail()}"
                self.stop_all()
                for node in self.nodes.values():
                    node.check_log()
        except AssertionError:
            kind = AssertionError
            raise
        finally:
            for node in self.nodes.values():
                if node.process is not None:
                    node.kill()
            if kind is not None:
                print(self.logs())
            if not os.environ.get("MOLDAU_KEEP"):
                shutil.rmtree(self.folder, ignore_errors=True)
