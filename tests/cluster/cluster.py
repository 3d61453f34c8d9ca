"""Real nodes from outside: start, stop, kill -9, restart on the same port and directory, logs collected and scanned.

    with Node(folder) as node:            # folder: a new one, the node's own
        node.start()                      # returns when it answers a metadata request
        node.bootstrap                    # "127.0.0.1:23456"
        node.kill(); node.start()         # the same port and data again
                                          # leaving: SIGTERM, exit status 0, a log without alarms

MOLDAU_BIN names the program (default build/moldau). Several nodes: replicated.Cluster. `External` stands for a broker that somebody else
runs (pytest --external host:port), which can be used but not stopped.
"""
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

from kafka_wire import Closed, Connection
from waiting import stretched, wait_until

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS, STOP_SECONDS = 15, 20
# What no log may hold: our own last words and the sanitizers'.
ALARMS = re.compile(r"level=fatal|: runtime error: |(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|CHECK failed|invariant broken", re.I)
# Below the range from which the kernel takes the ports of outgoing connections: such a port stays free between stop and start.
PORTS = range(20000, 32000)


def program():
    path = Path(os.environ.get("MOLDAU_BIN", ROOT / "build/moldau"))
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: build it, or name the program with MOLDAU_BIN")
    return path


def free_port():
    for _ in range(200):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise OSError("no free port found")


def answers_metadata(address):
    """Whether the broker at `address` names at least one broker in answer to a metadata request (version 1, no topics)."""
    try:
        with Connection(address, timeout_s=2) as connection:
            connection.send_frame(connection.header(3, 1, False) + struct.pack(">i", 0))
            body = connection.receive_frame()
            return struct.unpack_from(">i", body, 4)[0] >= 1
    except (OSError, Closed):
        return False


class External:
    """A broker that is already there."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def log_text(self):
        return ""


class Node:
    """One `moldau server`: `settings` are --set values over a minimum, `environment` is added to ours."""

    def __init__(self, folder, settings=None, environment=None, node_id=1):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.log_path = self.folder / "log"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.settings = {"node.id": node_id, "listeners": f"PLAINTEXT://{self.bootstrap}", "log.dirs": self.data, **(settings or {})}
        # Ours are settings of the tests (MOLDAU_BIN, ...); to the node every MOLDAU_ name is an option.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MOLDAU_")}
        self.environment = {**inherited, **(environment or {})}
        self.process = None
        self.alarms_expected = False

    # ---- life ----
    def command(self):
        pairs = [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        return [str(program()), "server", *pairs]

    def start(self, wait=True):
        assert self.process is None, "already running"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            env=self.environment, cwd=self.folder)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=READY_SECONDS):
        def ready():
            status = self.process.poll()
            assert status is None, f"the node ended with status {status} instead of starting:\n{self.log_tail()}"
            return answers_metadata(self.bootstrap)
        wait_until(ready, seconds, f"the node at {self.bootstrap} to answer")

    def stop(self):
        """SIGTERM; the exit status must be 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(stretched(STOP_SECONDS))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end the node:\n{self.log_tail()}") from None
        self.process = None
        assert status == 0, f"exit status {status} after SIGTERM:\n{self.log_tail()}"

    def kill(self):
        """SIGKILL, and wait until the process is gone."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    # ---- what it says and uses ----
    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=30):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def wait_log(self, pattern, seconds=10):
        return wait_until(lambda: re.search(pattern, self.log_text()), seconds, f"a log line like {pattern!r}")

    def check_log(self):
        if not self.alarms_expected:
            found = [line for line in self.log_text().splitlines() if ALARMS.search(line)]
            assert not found, "alarms in the node's log:\n" + "\n".join(found[:20])

    def cpu_seconds(self):
        """User and system time of the process so far."""
        return cpu_seconds(self.process.pid)

    def memory_bytes(self):
        return memory_bytes(self.process.pid)

    # ---- with ----
    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if self.is_running:
                self.stop() if kind is None else self.kill()
            elif self.process is not None and kind is None:
                raise AssertionError(f"the node ended by itself with status {self.process.returncode}:\n{self.log_tail()}")
            if kind is None:
                self.check_log()
        finally:
            if kind is not None or self.is_running:
                print(f"---- log of the node at {self.bootstrap}\n{self.log_tail(60)}")
            if not os.environ.get("MOLDAU_KEEP"):
                shutil.rmtree(self.folder, ignore_errors=True)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid):
    """Resident memory."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024
