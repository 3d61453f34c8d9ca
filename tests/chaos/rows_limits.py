"""Rows 30, 31, 34 and 35: too little memory, too few descriptors, and bytes that are no requests (testing.md 10)."""
import contextlib
import os
import random
import resource
import signal
import socket
import struct
import time
from pathlib import Path

from cluster import cpu_seconds, memory_bytes
from kafka_wire import Closed, Connection
from nemesis import Row, Until
from world import CLIENT_PORT, TOPIC

MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")
FRAME_BYTES_MAX = 100 << 20


class OutOfMemory(Row):
    number, about = 30, "a broker's memory is limited to what it has: by a cgroup, or by allocations that fail"
    must_hold = "it lives or dies, and comes back; no acknowledged record is lost"

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        node.alarms_expected = True  # its last words are that there is no memory
        if self.random.random() < 0.5 and MEMORY_CGROUP.is_dir():
            yield from self.by_cgroup(node)
        else:
            yield from self.by_address_space(node)
        yield from self.back(node)

    def by_cgroup(self, node):
        group = MEMORY_CGROUP / f"moldau-chaos-{os.getpid()}-{node.id}"
        group.mkdir()
        try:
            (group / "cgroup.procs").write_text(str(node.process.pid))
            # What it has already is charged elsewhere: from here on, 1 MiB for all that is new, page cache included.
            (group / "memory.limit_in_bytes").write_text(str(1 << 20))
            yield Until(lambda: int((group / "memory.failcnt").read_text()) > 0, 20, "the limit to be met")
            yield self.random.uniform(2, 6)
            self.saw(f"broker {node.id} met its limit {(group / 'memory.failcnt').read_text().strip()} times, {self.revive(node)}")
        finally:
            if node.is_running:
                (MEMORY_CGROUP / "cgroup.procs").write_text(str(node.process.pid))
            group.rmdir()

    def by_address_space(self, node):
        before = resource.prlimit(node.process.pid, resource.RLIMIT_AS)
        used = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(node.process.pid, resource.RLIMIT_AS, (used, before[1]))
        fillers = []
        try:
            # Big requests that never end make it ask for memory.
            for _ in range(40):
                with contextlib.suppress(OSError):
                    client = socket.create_connection((node.address, CLIENT_PORT), timeout=2)
                    client.settimeout(1)
                    fillers.append(client)
                    client.sendall(struct.pack(">i", 30 << 20) + struct.pack(">hhi", 0, 7, 1) + bytes(1 << 20))
            yield self.random.uniform(1, 4)
        finally:
            for client in fillers:
                client.close()
        if node.is_running:
            resource.prlimit(node.process.pid, resource.RLIMIT_AS, before)
        self.saw(f"broker {node.id} could have no more than {used >> 20} MiB of addresses, with {len(fillers)} requests of 30 MiB, {self.revive(node)}")

    def revive(self, node):
        if node.is_running:
            return "and lives"
        status = node.process.returncode
        assert status in (-signal.SIGKILL, -signal.SIGABRT), f"without memory it ended with {status}:\n{node.log_tail()}"
        node.process = None
        node.start(wait=False)
        return f"and died of signal {-status}"


class NoDescriptors(Row):
    number, about = 31, "more connections than a broker has descriptors (256 from its start)"
    must_hold = "it does not spin, keeps descriptors for its files, goes on serving those that it has, and takes new ones afterwards"
    limit = 256

    @classmethod
    def setup(cls, world):
        for node in world.cluster.brokers:
            node.wrap = [*node.wrap, "prlimit", f"--nofile={cls.limit}:{cls.limit}", "--"]

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        clients, acked, cpu, began = [], world.clients.acked(), cpu_seconds(node.process.pid), time.monotonic()
        refused = node.log_text().count("event=connection_refused")
        try:
            for _ in range(2 * self.limit):
                client = socket.socket()
                client.setblocking(False)
                clients.append(client)
                with contextlib.suppress(BlockingIOError):
                    client.connect((node.address, CLIENT_PORT))
            yield Until(lambda: node.log_text().count("event=connection_refused") > refused, 20, "connections to be refused")
            yield self.random.uniform(4, 8)
            share = (cpu_seconds(node.process.pid) - cpu) / (time.monotonic() - began)
            assert share < 0.5, f"broker {node.id} used {share:.0%} of a processor without descriptors"
            yield from self.acknowledged(acked, 20, "without descriptors", kind=None)
            self.saw(f"broker {node.id}: {node.descriptors()} descriptors of {self.limit}, {len(clients)} clients, {share:.0%} of a processor")
        finally:
            for client in clients:
                client.close()
        yield Until(lambda: world.cluster.view_of(node.id) is not None, 30, f"broker {node.id} to take connections again")
        yield from self.back(node)


class BadSizes(Row):
    number, about = 34, "frames of 2^31-1 bytes, of negative size, of none, of more than the limit"
    must_hold = "closed when the size was read, without memory for it"
    sizes = (2**31 - 1, -1, -2**31, 0, 1, FRAME_BYTES_MAX + 1)

    def steps(self):
        node = yield from self.take(lambda: self.world.pick(self.world.cluster.brokers))
        pid, before, closed = node.process.pid, memory_bytes(node.process.pid), 0
        for turn in range(20):
            for size in self.sizes:
                closed += self.is_closed(node, struct.pack(">i", size))
            yield 0.05
        assert node.is_running and node.process.pid == pid
        assert closed == 20 * len(self.sizes), f"{20 * len(self.sizes) - closed} connections with a bad size stayed open"
        grown = memory_bytes(pid) - before
        self.demand(grown < 64 << 20, f"{grown >> 20} MiB were taken for frames that never came")
        self.saw(f"broker {node.id} closed all {closed} connections with bad sizes, {grown >> 10} KiB more")
        yield from self.back(node)

    @staticmethod
    def is_closed(node, data):
        with socket.create_connection((node.address, CLIENT_PORT), timeout=5) as client:
            try:
                client.sendall(data + b"\0")
                return client.recv(1) == b""
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False


class BadRequests(Row):
    number, about = 35, "requests with bytes changed, cut off, lengthened; any API, any version"
    must_hold = "an answer or the end of that one connection"
    count = 400

    def steps(self):
        node = yield from self.take(lambda: self.world.pick(self.world.cluster.brokers))
        pid, answered, closed = node.process.pid, 0, 0
        for _ in range(self.count):
            if self.send_broken(node):
                answered += 1
            else:
                closed += 1
            yield 0
        assert node.is_running and node.process.pid == pid, f"a malformed request ended broker {node.id}:\n{node.log_tail()}"
        assert closed > 0, "nothing was refused"
        self.saw(f"broker {node.id}: {self.count} broken requests, {answered} answered, {closed} connections closed")
        yield from self.back(node)

    def send_broken(self, node):
        rng = random.Random(self.random.randrange(1 << 62))
        try:
            with Connection(node.bootstrap, timeout_s=1) as connection:
                connection.send_frame(bytes(self.broken(connection, rng)))
                connection.receive_frame()
                return True
        except (OSError, Closed, AssertionError):
            return False

    @staticmethod
    def broken(connection, rng):
        name = struct.pack(">h", len(TOPIC)) + TOPIC.encode()
        bodies = {3: (8, struct.pack(">i", 1) + name + b"\0\0\0"), 2: (1, struct.pack(">ii", -1, 1) + name + struct.pack(">iiq", 1, 0, -1)),
                  1: (11, struct.pack(">iiiibiii", -1, 100, 1, 1 << 20, 0, 0, -1, 1) + name + struct.pack(">iiiqqi", 1, 0, -1, 0, -1, 1 << 20) + struct.pack(">ih", 0, 0)),
                  0: (7, struct.pack(">hhii", -1, -1, 1000, 1) + name + struct.pack(">iii", 1, 0, 20) + bytes(20)),
                  18: (3, b"\5abcd\2a\0"), 10: (1, struct.pack(">h", 1) + b"g\0"), 22: (1, struct.pack(">hi", -1, 1000))}
        api = rng.choice(list(bodies))
        version, body = bodies[api]
        frame = bytearray(connection.header(api, version, api == 18 and version >= 3) + body)
        for _ in range(rng.randint(1, 4)):
            at, how = rng.randrange(len(frame)), rng.randrange(5)
            if how == 0:
                frame[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                frame[at:at + 4] = struct.pack(">i", rng.choice((-1, -2, 2**31 - 1, 65536, 1 << 20)))
            elif how == 2:
                del frame[max(1, at):]
            elif how == 3:
                frame[at:at] = rng.randbytes(rng.randrange(1, 40))
            else:
                # Any API and version at all, those unknown included; none that changes something by chance.
                frame[0:4] = struct.pack(">hh", rng.choice((1, 2, 3, 8, 9, 10, 11, 15, 16, 18, 23, 32, 35, 55, 60, 75, 99, -1)), rng.choice((-1, 0, 1, 5, 12, 13, 99)))
        return frame

