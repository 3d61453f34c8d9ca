"""Apache Kafka 4.3, the reference: started, restarted and stopped on loopback, and its command line tools.

Needs the script ../shared/kafka/kafka (MOLDAU_KAFKA names another place), Java, and once the network for its jars, which stay in
${TMPDIR:-/tmp}/kafka-ref/lib.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from cluster import ROOT, answers_metadata, free_port
from waiting import stretched, wait_until

SCRIPT = Path(os.environ.get("MOLDAU_KAFKA", ROOT.parent / "shared/kafka/kafka"))
CACHE = Path(tempfile.gettempdir()) / "kafka-ref"


def missing():
    """Why Kafka can't be used here; None if it can."""
    if not SCRIPT.exists():
        return f"needs Apache Kafka: {SCRIPT} is not here"
    if shutil.which("java") is None:
        return "needs Apache Kafka: java is not installed"
    return None


def lib_folder():
    """Kafka's jars, downloaded by the script's own way if need be."""
    if not (CACHE / "lib").exists():
        subprocess.run([SCRIPT, "tool", "kafka.Kafka", "--version"], check=True, stdout=subprocess.DEVNULL, timeout=stretched(600))
    return CACHE / "lib"


def kafka_tool(tool_class, *arguments, stdin=None, seconds=60, heap="64m"):
    """Runs one of Kafka's tools, e.g. "org.apache.kafka.tools.TopicCommand"; the CompletedProcess, its output as text."""
    command = ["java", "-Xms32m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
               f"-Dlog4j2.configurationFile={CACHE / 'log4j2.yaml'}", "-cp", f"{lib_folder()}/*", tool_class, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=stretched(seconds))


class Reference:
    """One node of Kafka with data of its own."""

    def __init__(self, folder, *properties):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        (self.folder / "lib").symlink_to(lib_folder())
        shutil.copy(CACHE / "log4j2.yaml", self.folder / "log4j2.yaml")
        self.base_port = free_port()
        self.bootstrap = f"127.0.0.1:{self.base_port + 1}"
        self.environment = {**os.environ, "KAFKA_REF": str(self.folder), "KAFKA_REF_PORT": str(self.base_port)}
        self.properties = properties
        self.pid = self.child = None

    def start(self):
        subprocess.run([SCRIPT, "start", "1", *self.properties], env=self.environment, check=True, stdout=subprocess.DEVNULL,
                       timeout=stretched(120))
        self.pid = int((self.folder / "pids").read_text().split()[0])
        wait_until(lambda: answers_metadata(self.bootstrap), 60, "Kafka to answer")
        return self

    def end(self, kind):
        """Signals the process and waits until it is gone."""
        if self.child is not None:
            self.child.send_signal(kind)
            self.child.wait(stretched(60))
            self.child = None
        elif self.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # gone by itself: what is wanted
                os.kill(self.pid, kind)
            wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), 60, "Kafka to stop")
        self.pid = None

    def restart(self):
        """A clean stop, and the same node with the same data again (the script can only start afresh)."""
        self.end(signal.SIGTERM)
        with open(self.folder / "node1/log", "ab") as log:
            self.child = subprocess.Popen(["java", "-Xmx1g", f"-Dlog4j2.configurationFile={self.folder}/log4j2.yaml", "-cp",
                                           f"{lib_folder()}/*", "kafka.Kafka", self.folder / "node1/server.properties"],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.pid = self.child.pid
        wait_until(lambda: answers_metadata(self.bootstrap), 60, "Kafka to answer again")

    def stop(self):
        """Not the script's stop: that deletes the data while the process may still write."""
        self.end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
