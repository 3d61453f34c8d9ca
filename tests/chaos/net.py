"""Networks of a run: a namespace for each node and one for the clients, joined by a bridge in the namespace of the run itself.

    network = Network()                        # from here on this process, and what it starts, is in a namespace of its own
    host = network.host("b1", "10.99.0.1")
    host.run("ip", "addr")                     # a program in that namespace; host.prefix before a command does the same
    with network.dropped(host, other): ...     # packets from `other` do not reach `host`

No namespace has a name: the kernel takes each away with the last process in it, and the veth pairs and the bridge with the namespace, so
nothing stays behind a run, however it ends. The machine's own network is never touched. Needs root, iptables, tc and nsenter.
"""
import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000
HUB_ADDRESS = "10.99.0.254"
PROXY_PORT = 15000
LIBC = ctypes.CDLL(None, use_errno=True)


PROGRAMS = ("ip", "iptables", "tc", "ss", "nsenter", "setpriv", "prlimit", "unshare")
# All of it in a namespace that is gone with its shell.
PROBE = """set -e
ip link add bridge type bridge
ip link add one type veth peer name two
iptables -w -I INPUT -m statistic --mode random --probability 0.5 -m comment --comment x -j DROP
iptables -w -t nat -I PREROUTING -p tcp -m multiport --dports 1,2 -j REDIRECT --to-ports 3
tc qdisc add dev one root tbf rate 1mbit burst 16kb latency 1s
"""


def missing():
    """Why this machine can't have a run's networks; None: it can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"no {', '.join(lacking)} here (deploy/install-deps --tests)"
    done = subprocess.run(["unshare", "--net", "sh", "-c", PROBE], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"needs network namespaces: {done.stderr.strip()[:200]}"


def unshare():
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace can't be made: chaos needs root")


def call(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def namespace():
    """A new one; the descriptor that keeps it."""
    kept = {}

    def make():
        try:
            unshare()
            kept["it"] = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        except OSError as error:
            kept["error"] = error
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if "error" in kept:
        raise kept["error"]
    return kept["it"]


class Rule:
    """A rule of iptables in a host's namespace, and how many packets it met."""

    def __init__(self, host, table, chain, number, match):
        self.host, self.table, self.chain = host, table, chain
        self.words = [*match, "-m", "comment", "--comment", f"chaos-{number}"]
        self.mark = f"chaos-{number} "
        self.packets = None
        host.run("iptables", "-w", "-t", table, "-I", chain, *self.words)

    def count(self):
        if self.packets is not None:
            return self.packets
        for line in self.host.run("iptables", "-w", "-t", self.table, "-vnxL", self.chain).splitlines():
            if self.mark in line + " ":
                return int(line.split()[0])
        raise AssertionError(f"the rule {self.words} is gone")

    def remove(self):
        if self.packets is None:
            self.packets = self.count()
            self.host.run("iptables", "-w", "-t", self.table, "-D", self.chain, *self.words)


class Host:
    """One namespace, with one address."""

    def __init__(self, name, address):
        self.name, self.address, self.kept = name, address, namespace()
        self.path = f"/proc/{os.getpid()}/fd/{self.kept}"
        self.prefix = ["nsenter", f"--net={self.path}"]

    def run(self, *command):
        return call(*self.prefix, *command)

    def reset_connections(self, *ports):
        """Connections that clients of these ports have with us end with a reset. Returns how many there were."""
        wanted = "( " + " or ".join(f"sport = :{port}" for port in ports) + " )"
        # Its status tells of the listener too, which can't be ended this way.
        found = subprocess.run([*self.prefix, "ss", "-HtnK", "state", "established", wanted], capture_output=True, text=True, check=False)
        return len(found.stdout.splitlines())

    def __repr__(self):
        return self.name


class Network:
    def __init__(self):
        unshare()
        self.hosts, self._rules = {}, 0
        call("ip", "link", "set", "lo", "up")
        call("ip", "link", "add", "bridge", "type", "bridge")
        call("ip", "addr", "add", f"{HUB_ADDRESS}/24", "dev", "bridge")
        call("ip", "link", "set", "bridge", "up")

    def host(self, name, address):
        host = Host(name, address)
        call("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", host.path)
        call("ip", "link", "set", f"v-{name}", "master", "bridge", "up")
        host.run("ip", "link", "set", "lo", "up")
        host.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        self.hosts[name] = host
        return host

    # ---- faults ----
    def rule(self, host, chain, *match, table="filter"):
        self._rules += 1
        return Rule(host, table, chain, self._rules, list(map(str, match)))

    @contextlib.contextmanager
    def rules(self, *wanted):
        """(host, chain, words ...) each; they are there within the block. Yields the Rules, whose count() stays known."""
        made = []
        try:
            for host, chain, *match in wanted:
                made.append(self.rule(host, chain, *match))
            yield made
        finally:
            for rule in reversed(made):
                rule.remove()

    def dropped(self, at, *senders):
        """One direction: what the senders send does not reach `at`."""
        return self.rules(*[(at, "INPUT", "-s", sender.address, "-j", "DROP") for sender in senders])

    def parted(self, left, right):
        """Both directions between each of one side and each of the other."""
        return self.rules(*[(at, "INPUT", "-s", sender.address, "-j", "DROP") for one in left for two in right for at, sender in ((one, two), (two, one))])

    def lossy(self, host, share):
        """A share of what comes in, and as much of what goes out, is lost."""
        words = ("-m", "statistic", "--mode", "random", "--probability", f"{share:.4f}", "-j", "DROP")
        return self.rules((host, "INPUT", *words), (host, "OUTPUT", *words))

    @staticmethod
    def _with_data(ports):
        return "-p", "tcp", "-m", "multiport", "--dports", ",".join(map(str, ports)), "-m", "length", "--length", "100:65535"

    def passing(self, host, ports):
        """Nothing but a count of the packets with data for these ports."""
        return self.rules((host, "INPUT", *self._with_data(ports)))

    def resets(self, host, every, ports):
        """Each n-th packet with data for these ports is answered by a reset instead. The sender's connection ends, most often within a frame; ours
        is half open until we send, and what we send is answered by a reset then."""
        words = (*self._with_data(ports), "-m", "statistic", "--mode", "nth", "--every", every, "--packet", "0", "-j", "REJECT", "--reject-with", "tcp-reset")
        return self.rules((host, "INPUT", *words))

    @contextlib.contextmanager
    def narrow(self, host, rate="1mbit", latency="500ms"):
        """What the host sends goes through a token bucket with a queue. Yields a function: packets that had to wait for their turn."""
        host.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kb", "latency", latency)

        def delayed():
            return int(re.search(r"overlimits (\d+)", host.run("tc", "-s", "qdisc", "show", "dev", "eth0")).group(1))
        try:
            yield delayed
        finally:
            host.run("tc", "qdisc", "del", "dev", "eth0", "root")

    @contextlib.contextmanager
    def relayed(self, host, ports, folder, **how):
        """Whatever connects to these ports goes through relay.py, which delays, stalls or cuts (its options are `how`). What is connected is reset, so
        that it comes again. Yields a function: the relay's figures."""
        figures = Path(folder) / f"relay-{host.name}.json"
        command = [*host.prefix, "setpriv", "--pdeathsig", "KILL", sys.executable, "-B", Path(__file__).with_name("relay.py"), PROXY_PORT, figures, json.dumps(how)]
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "ready\n", f"the relay of {host} did not start"
            rule = self.rule(host, "PREROUTING", "-p", "tcp", "-m", "multiport", "--dports", ",".join(map(str, ports)), "-j", "REDIRECT", "--to-ports", PROXY_PORT,
                             table="nat")
            try:
                host.reset_connections(*ports)
                yield lambda: json.loads(figures.read_text())
            finally:
                rule.remove()
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()
