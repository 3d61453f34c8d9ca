"""Row 29: wall clocks that jump (testing.md 10)."""
import mmap
import struct
import subprocess
import time
from pathlib import Path

from nemesis import Row

MINUTES = (10, 58)  # an hour is what message.timestamp.after.max.ms lets pass


class ClockJumps(Row):
    number, about = 29, "the wall clocks of one to three nodes jump by up to an hour, forward and back"
    must_hold = "no leader changes, nobody is fenced: only what is written into records knows the time of day"

    @classmethod
    def setup(cls, world):
        library = world.folder / "wall_clock.so"
        source = Path(__file__).with_name("wall_clock.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        for node in world.cluster.nodes.values():
            node.clock_path = node.folder / "clock"
            node.clock_path.write_bytes(bytes(16))
            node.environment["CHAOS_CLOCK_FILE"] = str(node.clock_path)
            node.preload(library)

    @staticmethod
    def shift(node, seconds):
        """Sets the shift; returns how often the time of day was asked for since the last time."""
        with open(node.clock_path, "r+b") as file, mmap.mmap(file.fileno(), 16) as memory:
            calls = struct.unpack_from("=q", memory, 8)[0]
            struct.pack_into("=qq", memory, 0, seconds, 0)
        return calls

    def some(self):
        """One broker at least: a controller asks only when it has something to tell."""
        broker = self.world.pick(self.world.cluster.brokers)
        others = [node for node in self.world.free(list(self.world.cluster.nodes.values())) if node is not broker]
        return broker and [broker, *self.random.sample(others, min(len(others), self.random.randint(0, 2)))]

    def steps(self):
        world = self.world
        nodes = yield from self.take(self.some)
        since, acked = time.monotonic(), world.clients.acked()
        calls = 0
        try:
            for _ in range(3):
                jumps = {node.id: self.random.choice((-60, 60)) * self.random.randint(*MINUTES) for node in nodes}
                for node in nodes:
                    calls += self.shift(node, jumps[node.id])
                yield self.random.uniform(1, 3)
        finally:
            asked = [self.shift(node, 0) for node in nodes]
        assert asked[0] and calls, f"nobody asked for the time of day: {asked}"
        self.saw(f"clocks of {[node.id for node in nodes]} jumped, last by {[seconds // 60 for seconds in jumps.values()]} minutes; asked for {sum(asked) + calls} times")
        changes = {partition: count for partition, count in world.monitor.leader_changes(since).items() if count}
        self.demand(not changes, f"leaders changed when clocks jumped: {changes}")
        self.demand(world.clients.acked() > acked + 20, "nothing was acknowledged")
        yield from self.back(*nodes)
