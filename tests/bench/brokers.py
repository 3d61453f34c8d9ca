"""The two brokers that are compared, behind one small face: start (timed), stop, processor time, memory."""
import os
import signal
import subprocess
import time

from cluster import Node, answers_metadata, cpu_seconds, memory_bytes
from reference import CACHE, Reference, lib_folder
from waiting import wait_until

# As ../shared/kafka/kafka starts it, which is how Kafka's own scripts do.
JAVA = ["java", "-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
        "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={CACHE / 'log4j2.yaml'}"]


class Moldau:
    name = "Moldau"

    def __init__(self, folder):
        self.node = Node(folder)
        self.bootstrap = self.node.bootstrap

    def start(self):
        """Seconds from the start of the process to the first answer to a metadata request."""
        started = time.monotonic()
        self.node.start()
        return time.monotonic() - started

    def stop(self):
        self.node.stop()

    def cpu_seconds(self):
        return self.node.cpu_seconds()

    def memory_bytes(self):
        return self.node.memory_bytes()

    def close(self):
        if self.node.is_running:
            self.node.kill()


class Kafka:
    name = "Kafka 4.3"

    def __init__(self, folder):
        """Has the directory formatted by a first start, which is not measured."""
        self.reference = Reference(folder)
        self.bootstrap = self.reference.bootstrap
        self.process = None
        self.reference.start()
        os.kill(self.reference.pid, signal.SIGTERM)
        pid = self.reference.pid
        wait_until(lambda: not running(pid), 60, "Kafka to stop")

    def start(self):
        started = time.monotonic()
        with open(self.reference.folder / "node1/log", "ab") as log:
            self.process = subprocess.Popen([*JAVA, "-cp", f"{lib_folder()}/*", "kafka.Kafka", self.reference.folder / "node1/server.properties"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: answers_metadata(self.bootstrap), 120, "Kafka to answer")
        return time.monotonic() - started

    def stop(self):
        self.process.terminate()
        self.process.wait(120)
        self.process = None

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def memory_bytes(self):
        return memory_bytes(self.process.pid)

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        (self.reference.folder / "pids").write_text("")  # its processes are gone: the script has nobody to end
        self.reference.stop()


def running(pid):
    """Whether the process lives; one that ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
