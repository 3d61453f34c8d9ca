"""Rows 18 to 24 and 26: disks that are slow, hang, are full, fail, tear, forget or lie (testing.md 10). The disks are disk.py's; row 26 needs none."""
import contextlib
import time

import disk
import topics
from cluster import memory_bytes
from nemesis import Row, Until
from world import LAG_SECONDS

FLIP_TRIES = 200
GROWTH_BYTES_MAX = 32 << 20  # of a node whose disk is slow
HANG_SECONDS = 45  # a watchdog of half a minute, and an election


def told(losses):
    return ", ".join(f"node {node_id} {lost['lost_bytes']} bytes of {lost['lost_files']} files, {lost['lost_names']} names and {lost['cut_syncs']} syncs under way" for node_id, lost in losses.items())


class NodeRow(Row):
    """A row at a broker that leads, or at the active controller."""

    def some_node(self, controllers=0.3):
        world = self.world
        if self.random.random() >= controllers:
            return world.leader()
        active = world.active_controller()
        return world.pick([one for one in world.cluster.controllers if one.id == active]) or world.pick(world.cluster.controllers)

    def leaves(self, node):
        """A generator: others lead what it led; of a controller: another is active."""
        if node.is_broker:
            yield from self.led_by_others(node, if_alone=15)
        else:
            yield Until(lambda: self.world.active_controller() not in (None, node.id), 40, "another active controller", if_alone=10)


class DiskRow(NodeRow):
    """On disk_fuse."""

    @classmethod
    def missing(cls):
        return disk.missing()

    @classmethod
    def setup(cls, world):
        disk.give(world, world.cluster.nodes.values())

    # ---- generators ----
    def fails(self, node, count, *words, seconds=30):
        """Until the disk has counted more of that than before it was told these words."""
        before = node.disk.count(count)
        node.disk.tell(*words)
        if not node.is_broker:
            self.change_metadata()
        yield Until(lambda: node.disk.count(count) > before or not node.is_running, seconds, f"node {node.id}'s disk to count {count}")

    def change_metadata(self):
        """A controller writes when something changes."""
        self.world.aside(topics.try_create, self.world.cluster.bootstrap, f"made-{self.random.randrange(1 << 30)}", 1, 3)

    def ends(self, node, seconds=20):
        """Until it has ended by itself, with a sentence."""
        yield Until(lambda: node.process.poll() is not None, seconds, f"node {node.id} to end")
        status, node.process = node.process.returncode, None
        assert status > 0, f"node {node.id}: exit status {status} after its disk failed:\n{node.log_tail()}"
        return status


class PowerLoss(DiskRow):
    number, about = 24, "the power goes: SIGKILL, and what was not synced is gone; synced: of one broker, of all, or of all nodes; cached: of the last one in sync"
    must_hold = "nothing acknowledged is lost; a cached replica that forgot leads nothing, though nobody else is there"

    def steps(self):
        if self.world.cluster.brokers[0].settings["log.durability"] == "cached":
            yield from self.cached()
            return
        world = self.world
        many = self.random.choice(("one", "brokers", "all", "all"))
        kinds = {"one": world.leader, "brokers": lambda: self.all_free(world.cluster.brokers), "all": lambda: self.all_free(list(world.cluster.nodes.values()))}
        nodes = yield from self.take(kinds[many])
        nodes = nodes if isinstance(nodes, list) else [nodes]
        for node in nodes:  # a sync takes its time, so that there is something that waits for it
            node.disk.tell("slow", self.random.choice((20, 60, 200)), 0)
        yield self.random.uniform(0.5, 2)
        self.saw(f"lost: {told(disk.power_off(nodes))}")
        yield self.random.uniform(0, 1)
        yield from self.start_again(*self.random.sample(nodes, len(nodes)))

    def cached(self):
        """Two brokers are killed, so the third is the only one in sync; then its power goes, and it comes back alone. The two others have lost nothing."""
        world = self.world
        nodes = yield from self.take(lambda: self.all_free(world.cluster.brokers))
        last, *killed = self.random.sample(nodes, len(nodes))
        world.cluster.kill_at_once([node.id for node in killed])
        yield Until(lambda: self.is_last(last), 40, f"broker {last.id} to be the last in sync")
        # A new leader epoch is synced, with all before it: what comes now is in memory only.
        yield from self.acknowledged(world.clients.acked("weak"), 30, "with acks=1", kind="weak")
        losses = disk.power_off([last])
        self.saw(f"lost: {told(losses)}, as the last in sync")
        assert losses[last.id]["lost_files"] > 0, "a cached broker lost nothing"
        last.start(wait=False)
        yield Until(lambda: self.is_unfenced(last), 30, f"broker {last.id} to be unfenced")
        ends_at = time.monotonic() + 3
        while time.monotonic() < ends_at:
            view = world.describe()
            leaders = {} if view is None else {partition: one.leader for partition, one in view.items() if one.leader >= 0}
            assert not leaders, f"what forgot leads: {leaders}"
            yield 0.1
        self.saw(f"broker {last.id} came back alone and leads nothing")
        yield from self.start_again(*killed)
        yield from self.back(last)

    def is_unfenced(self, node):
        view = self.world.cluster.view_of(node.id)
        return view is not None and node.id in view.brokers

    def is_last(self, node):
        view = self.world.describe()
        return bool(view) and all(set(one.isr) == {node.id} for one in view.values())


class SyncFailsOnce(DiskRow):
    number, about = 22, "one sync fails with EIO, those after it go well; when the node serves again its power goes"
    must_hold = "the node ends at once, with others leading; what it takes from its cache at its next start is written again, so the power takes nothing of it"

    def steps(self):
        node = yield from self.take(self.some_node)
        # A slow disk first: then there is more than a page that the sync is about, and what comes later does not write the same page again.
        node.disk.tell("slow", 300, 0)
        yield 1.0
        yield from self.fails(node, "failed_syncs", "fail", "sync", 1, "*")
        yield from self.ends(node)
        after = node.disk.tell("slow", 0, 0)
        self.saw(f"node {node.id} ended after a failed sync; {after['synced_after_failure']} went well before it was gone")
        yield from self.leaves(node)
        yield from self.start_again(node)
        yield self.random.uniform(0, 2)
        rebuilt = node.log_text().count("rebuilt_from_nothing")
        self.saw(f"lost then: {told(disk.power_off([node]))}")
        yield from self.start_again(node)
        assert node.log_text().count("rebuilt_from_nothing") == rebuilt, f"node {node.id} served what was not on its disk:\n{node.log_tail()}"


class WriteFails(DiskRow):
    number, about = 21, "EIO on a write, once or always"
    must_hold = "the node ends at once, with others leading, and comes back when the disk is mended"

    def steps(self):
        node = yield from self.take(self.some_node)
        is_once = self.random.random() < 0.5
        yield from self.fails(node, "failed", "fail", "write", 1 if is_once else -1, "*")
        yield from self.ends(node)
        self.saw(f"node {node.id} ended after {node.disk.count('failed')} failed writes")
        yield from self.leaves(node)
        if not is_once:
            node.start(wait=False)
            yield from self.ends(node, 30)
            self.saw("and again, as the disk is still broken")
        node.disk.heal()
        yield from self.start_again(node)


class SlowDisk(DiskRow):
    number, about = 18, "syncs take 50 to 500 ms, or write 128 KiB or 1 MiB a second, or take longer than a follower may lag: of a broker; of the active controller, or more than a second of all"
    must_hold = "the broker leads on and is not fenced; where it follows too slowly it leaves the ISR, and comes back; its memory is bounded; no controller is elected for it"

    def steps(self):
        kind = self.random.choice(("crawling", "broker", "controllers"))
        self.since, self.slept = time.monotonic(), 0
        yield from {"crawling": self.crawling, "broker": self.broker, "controllers": self.controllers}[kind]()

    def crawling(self):
        """Longer than replica.lag.time.max.ms: what it follows goes on without it."""
        node = yield from self.take(self.world.leader)
        followed = [partition for partition, one in (self.world.describe() or {}).items() if one.leader not in (-1, node.id)]
        with self.slow([node], (LAG_SECONDS + self.random.randint(2, 3)) * 1000, 0):
            yield Until(lambda: self.is_outside(node, followed), 3 * LAG_SECONDS + 15, f"ISRs of partitions {followed} without broker {node.id}, whose disk crawls", if_alone=20)
            self.saw(f"broker {node.id} left the ISRs of {followed} after {time.monotonic() - self.since:.1f} s")
            yield from self.acknowledged(self.world.clients.acked("idempotent"), LAG_SECONDS + 20, "without the disk that crawls", if_alone=20)
            yield from self.stays(node, self.random.uniform(2, 5))
        yield from self.back(node)
        self.nothing_changed(node)

    def is_outside(self, node, partitions):
        view = self.world.describe()
        return view is not None and all(node.id not in view[partition].isr or view[partition].leader == node.id for partition in partitions)

    def broker(self):
        node, world = (yield from self.take(self.world.leader)), self.world
        acked = world.clients.acked("idempotent")
        with self.slow([node], *self.random.choice(((self.random.randint(50, 500), 0), (self.random.randint(50, 500), 0), (0, 128 << 10), (0, 1 << 20)))):
            yield from self.stays(node, self.random.uniform(8, 14))
            yield from self.acknowledged(acked, 30, "on a slow disk", if_alone=30)
        yield from self.back(node)
        self.nothing_changed(node)

    def controllers(self):
        world = self.world
        active = yield Until(world.active_controller, 30, "an active controller")
        everyone = self.random.random() < 0.6
        nodes = yield from self.take(lambda: self.all_free(world.cluster.controllers if everyone else [one for one in world.cluster.controllers if one.id == active]))
        before = yield Until(world.quorum, 30, "a quorum")
        with self.slow(nodes, self.random.randint(1000, 1500) if everyone else self.random.randint(50, 500), 0):
            for _ in range(self.random.randint(4, 7)):
                self.change_metadata()
                yield 2.0
        after = yield Until(world.quorum, 30, "a quorum")
        self.saw(f"{after.term - before.term} terms with slow disks")
        self.demand(after.term == before.term, f"{after.term - before.term} elections of controllers on slow disks")
        yield from self.back(*nodes)

    # ---- parts ----
    @contextlib.contextmanager
    def slow(self, nodes, sync_ms, bytes_per_second):
        memory = {node: memory_bytes(node.process.pid) for node in nodes}
        before = {node: node.disk.tell("slow", sync_ms, bytes_per_second)["slow_ms"] for node in nodes}
        try:
            yield
            grown = {node.id: memory_bytes(node.process.pid) - memory[node] for node in nodes if node.is_running}
        finally:
            slept = {node.id: node.disk.tell("slow", 0, 0)["slow_ms"] - before[node] for node in nodes}
        assert all(slept.values()), f"not all disks were slow: {slept}"
        self.saw(f"nodes waited {slept} ms for their disks ({sync_ms} ms, {bytes_per_second} bytes/s), memory grew by {({one: count >> 10 for one, count in grown.items()})} KiB")
        self.demand(len(grown) == len(nodes), f"ended on a slow disk: {set(node.id for node in nodes) - set(grown)}")
        self.demand(all(count < GROWTH_BYTES_MAX for count in grown.values()), f"memory grew on a slow disk: {grown}")

    def stays(self, node, seconds):
        """A generator: for so long it is a member of the cluster."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            views = [self.world.cluster.view_of(one.id) for one in self.world.free(self.world.cluster.brokers)]
            self.demand(all(node.id in view.brokers for view in views if view is not None), f"broker {node.id} was fenced for its slow disk")
            yield 0.3

    def nothing_changed(self, node):
        changes = {partition: count for partition, count in self.world.monitor.leader_changes(self.since).items() if count}
        self.demand(not changes, f"leaders changed because of broker {node.id}'s slow disk: {changes}")


class DiskFull(DiskRow):
    number, about = 20, "the disk is full in the middle of a write; then there is room again"
    must_hold = "no file that was replaced is empty; the node comes back"

    def steps(self):
        node = yield from self.take(self.some_node)
        # A controller writes little.
        yield from self.fails(node, "full", "space", node.disk.count("used") + self.random.randint(0, 20000 if node.is_broker else 100))
        yield Until(lambda: node.process.poll() is not None or not node.is_broker or self.world.is_led_by_others(node), 60, f"node {node.id} to resign", if_alone=30)
        # One directory is all that it has: it may end, or refuse writes until there is room.
        yield self.random.uniform(0, 2)
        has_ended = node.process.poll() is not None
        if has_ended:
            yield from self.ends(node)
            yield from self.leaves(node)
        empty = [path for path in node.data.rglob("*") if path.is_file() and path.stat().st_size == 0 and not path.name.startswith(".")
                 and path.suffix in ("", ".properties", ".metadata")]
        assert not empty, f"empty after a full disk: {empty}"
        self.saw(f"node {node.id} met a full disk {node.disk.count('full')} times and {'ended' if has_ended else 'lives'}")
        node.disk.heal()
        if has_ended:
            node.start(wait=False)
        yield from self.back(node)


class HungDisk(DiskRow):
    number, about = 19, "the disk of a broker that leads, or of the active controller, does not answer: no sync, or no write, sync and change of names either"
    must_hold = "it ends by itself after log.dir.stall.timeout.ms; others lead, and acknowledgements go on; metadata can be changed"

    def steps(self):
        world = self.world
        # Alone: two disks that hang leave too few in sync.
        yield from self.take(lambda: self.all_free(list(world.cluster.nodes.values())))
        active = world.active_controller()
        able = [one for one in world.cluster.brokers if world.leads(one)] if self.random.random() < 0.7 else [one for one in world.cluster.controllers if one.id == active]
        node = self.random.choice(able)
        what, acked, moment = self.random.choice(("all", "sync")), world.clients.acked("idempotent"), time.monotonic()
        stalls = self.stalls(node)
        try:
            if node.is_broker:
                yield from self.fails(node, "hung", "hang", what)
                yield Until(lambda: world.is_led_by_others(node), HANG_SECONDS, f"other leaders than broker {node.id}, whose disk hangs ({what})")
            else:
                node.disk.tell("hang", what)
                name = f"made-{self.random.randrange(1 << 30)}"
                yield Until(lambda: topics.try_create(world.cluster.bootstrap, name, 1, 3, seconds=2) is None, HANG_SECONDS, "a topic to be made")
                assert node.disk.count("hung") > 0, "the controller asked nothing of its disk"
            self.saw(f"node {node.id}'s disk hung ({what}) and others did its work after {time.monotonic() - moment:.1f} s")
            yield Until(lambda: self.stalls(node) > stalls, HANG_SECONDS, f"node {node.id} to say that its disk hangs")
            self.saw(f"it said so after {time.monotonic() - moment:.1f} s")
            yield from self.acknowledged(acked, LAG_SECONDS + 20, "without that disk")
        finally:
            node.disk.heal()  # a call that hangs keeps a process that has ended
        yield from self.ends(node)
        yield from self.start_again(node)

    @staticmethod
    def stalls(node):
        return node.log_text().count("subsystem=disk event=stalled")


class TornWrite(DiskRow):
    number, about = 23, "a part of a write to a log, an index, marks, a checkpoint, epochs, metadata reaches the disk, then the power goes"
    must_hold = "the log ends before what is torn, side files are the old ones; the node comes back"
    brokers = ("*-?/*.log", "*-?/*.log", "*.index", "*.timeindex", "*moldau-marks*", "*checkpoint*", "*/leader-epoch-checkpoint*")
    controllers = ("*__cluster_metadata*/*", "*")

    def steps(self):
        node = yield from self.take(self.some_node)
        patterns = self.brokers if node.is_broker else self.controllers
        torn = node.disk.count("torn")
        # What is written seldom may not be written at all before the row is over: then it is a log's turn.
        for pattern in (self.random.choice(patterns), patterns[0], "*"):
            node.disk.tell("tear", pattern, self.random.randint(1, 999))
            if not node.is_broker:
                self.change_metadata()
            ends_at = time.monotonic() + 6
            while node.disk.count("torn") == torn and time.monotonic() < ends_at:
                yield 0.05
            if node.disk.count("torn") > torn:
                break
        assert node.disk.count("torn") > torn, "nothing was written that could be torn"
        self.saw(f"node {node.id}: a write like {pattern} was torn; lost: {told(disk.power_off([node]))}")
        yield from self.leaves(node)
        rebuilt = node.log_text().count("rebuilt_from_nothing")
        yield from self.start_again(node)
        assert node.log_text().count("rebuilt_from_nothing") == rebuilt, f"node {node.id} took a torn tail for damage:\n{node.log_tail()}"


class FlippedBit(NodeRow):
    number, about = 26, "a bit of a file of a stopped node is wrong: what its log holds behind the recovery point, an index, a checkpoint, its identity, metadata"
    must_hold = "it is found: made again from others, or refused with a sentence and good again with the bit"

    brokers = ("*-?/*.log", "*-?/*.log", "*-?/*.index", "*-?/*.timeindex", "*-?/leader-epoch-checkpoint", "*-?/moldau-marks", "*-checkpoint", "meta.properties")
    controllers = ("__cluster_metadata/*", "__cluster_metadata/*/*", "__cluster_metadata/*/log-*")

    def steps(self):
        node = yield from self.take(self.some_node)
        yield self.random.uniform(0, 2)
        node.kill()
        path, at, bit = self.flip(node)
        yield from self.leaves(node)
        rebuilt = node.log_text().count("rebuilt_from_nothing")
        node.start(wait=False)
        yield Until(lambda: node.process.poll() is not None or self.is_healthy(node), 30, f"node {node.id} to start or to refuse")
        status = node.process.poll()
        if status is not None:
            node.process = None
            assert status > 0, f"node {node.id}: status {status} for a flipped bit:\n{node.log_tail()}"
            self.toggle(path, at, bit)
            node.start(wait=False)
        yield from self.back(node)
        again = node.log_text().count("rebuilt_from_nothing") - rebuilt
        self.saw(f"node {node.id}: bit {bit} of byte {at} of {path.relative_to(node.data)}: {'refused' if status is not None else f'{again} replicas rebuilt' if again else 'came back'}")

    @staticmethod
    def toggle(path, at, bit):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes((byte ^ 1 << bit,)))

    def flip(self, node):
        """Where: (file, byte, bit). Logs: behind what recovery takes as certain, which is what it reads."""
        for _ in range(FLIP_TRIES):
            found = sorted(path for path in node.data.glob(self.random.choice(self.brokers if node.is_broker else self.controllers)) if path.is_file() and path.stat().st_size > 0)
            if found:
                path = self.random.choice(found)
                first = self.certain(path) if node.is_broker and path.suffix == ".log" else 0
                if first < path.stat().st_size:
                    at, bit = self.random.randrange(first, path.stat().st_size), self.random.randrange(8)
                    self.toggle(path, at, bit)
                    return path, at, bit
        raise AssertionError(f"node {node.id} has nothing to flip")

    @staticmethod
    def certain(path):
        marks = dict(line.split("=", 1) for line in (path.parent / "moldau-marks").read_text().splitlines() if "=" in line)
        return int(marks["recovery_pos"]) if int(marks["recovery_segment"]) == int(path.stem) else path.stat().st_size
