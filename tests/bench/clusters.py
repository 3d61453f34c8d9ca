"""The two clusters of three nodes that are compared, behind one face. Every node is broker and controller, as ../shared/kafka/kafka makes them."""
import os
import shutil
import signal
import subprocess
import time

from brokers import JAVA, running
from cluster import cpu_seconds, free_port, memory_bytes
from figures import KAFKA, MOLDAU
from kafka_wire import Closed, Connection
from reference import CACHE, SCRIPT, lib_folder
from replicated import Cluster
from waiting import wait_until
from wire_calls import ask_metadata, ask_quorum

NODES = (1, 2, 3)


class Nodes:
    """What both have in common. A subclass gives `addresses` (by id), `pid_of`, `launch`."""

    @property
    def bootstrap(self):
        return ",".join(self.addresses.values())

    def cpu_seconds(self):
        return sum(cpu_seconds(self.pid_of(node)) for node in NODES)

    def memory_bytes(self):
        """Of one node, on average."""
        return sum(memory_bytes(self.pid_of(node)) for node in NODES) / len(NODES)

    def view(self, topics=None):
        for node in NODES:
            try:
                with Connection(self.addresses[node], timeout_s=3) as connection:
                    return ask_metadata(connection, topics)
            except (OSError, Closed):
                continue
        return None

    def is_full(self, topic):
        view = self.view([topic])
        partitions = view.topics.get(topic) if view else None
        return bool(partitions) and len(view.brokers) == len(NODES) and all(
            one.leader >= 0 and len(one.isr) == len(one.replicas) for one in partitions.values())

    def wait_full(self, topic, seconds=120):
        wait_until(lambda: self.is_full(topic), seconds, f"all replicas of {topic} at {self.name}")

    def active_controller(self):
        for node in NODES:
            try:
                with Connection(self.addresses[node], timeout_s=3) as connection:
                    return ask_quorum(connection).leader
            except (OSError, Closed, RuntimeError):
                continue
        return None

    def pause(self, node):
        os.kill(self.pid_of(node), signal.SIGSTOP)

    def resume(self, node):
        os.kill(self.pid_of(node), signal.SIGCONT)


class MoldauNodes(Nodes):
    name = MOLDAU

    def __init__(self, folder):
        self.cluster = Cluster(folder, combined=3)
        self.addresses = self.cluster.addresses

    def pid_of(self, node):
        return self.cluster[node].process.pid

    def start(self):
        self.cluster.start(60)

    def kill(self, node):
        return self.cluster.kill(node)

    def launch(self, node):
        self.cluster.launch(node, wait=False)

    def stop(self):
        self.cluster.stop_all()

    def close(self):
        for node in self.cluster.nodes.values():
            if node.process is not None:
                node.kill()


class KafkaNodes(Nodes):
    name = KAFKA

    def __init__(self, folder):
        """Has the directories formatted by a first start, which is not measured."""
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "lib").symlink_to(lib_folder())
        shutil.copy(CACHE / "log4j2.yaml", folder / "log4j2.yaml")
        base = free_port()
        self.addresses = {node: f"127.0.0.1:{base + node}" for node in NODES}
        self.processes = {}
        environment = {**os.environ, "KAFKA_REF": str(folder), "KAFKA_REF_PORT": str(base)}
        subprocess.run([SCRIPT, "start", "3"], env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
        pids = [int(pid) for pid in (folder / "pids").read_text().split()]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(map(running, pids)), 120, "Kafka to stop")
        (folder / "pids").write_text("")

    def pid_of(self, node):
        return self.processes[node].pid

    def launch(self, node):
        with open(self.folder / f"node{node}/log", "ab") as log:
            self.processes[node] = subprocess.Popen([*JAVA, "-cp", f"{lib_folder()}/*", "kafka.Kafka", self.folder / f"node{node}/server.properties"],
                                                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def start(self):
        for node in NODES:
            self.launch(node)
        wait_until(lambda: (view := self.view([])) and len(view.brokers) == len(NODES), 120, "Kafka's brokers")

    def kill(self, node):
        moment = time.monotonic()
        self.processes[node].kill()
        self.processes.pop(node).wait()
        return moment

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(120)
        self.processes = {}

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
