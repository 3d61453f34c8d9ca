"""Rows 6 to 12: what happens to packets and connections (testing.md 10)."""
import contextlib
import socket
import time

from kafka_wire import Closed, Connection
from nemesis import Row, Until
from wire_calls import ask_end, ask_metadata
from world import CLIENT_PORT, INTERNAL_PORT, LAG_SECONDS, TOPIC

PORTS = (CLIENT_PORT, INTERNAL_PORT)
IDLE_SECONDS = 20
SEEN_SECONDS = 20
# After how many bytes a relay cuts or stalls, on the average. Who is a controller and not active hears hardly a thousand bytes a second.
BROKER_BYTES, CONTROLLER_BYTES = 30_000, 500
PASSING_SHARES = 40  # of these: where as much went by, in connections of any size, twenty were to be met on the average


def dropped(rules):
    return sum(rule.count() for rule in rules)


def relay_bytes(node):
    return BROKER_BYTES if node.is_broker else CONTROLLER_BYTES


class SeenRow(Row):
    """A row whose fault takes traffic to be there."""

    def seen(self, count, what, passed, most):
        """A generator: until `count` gives more than nothing; the last that it gave. Demanded where no other fault is at work, which may have silenced everybody,
        and wherever more than `most` has passed, by which it must have been met."""
        yield Until(lambda: count() > 0, SEEN_SECONDS, what, if_alone=SEEN_SECONDS)
        much = passed()
        found = count()
        assert found > 0 or much <= most, f"row {self.number}: {much} went by in vain for {what}"
        return found


class CutRow(Row):
    """A row that drops packets."""

    @contextlib.contextmanager
    def cut(self, wanted, text):
        """`wanted`: what Network gives; within the block the rules are there. Packets must have met them, or nothing was cut."""
        with wanted as rules:
            yield
            assert dropped(rules) > 0, "no packet was dropped"
            self.saw(f"{text}, {dropped(rules)} packets dropped")


class Symmetric(CutRow):
    number, about = 6, "a leading broker cut off from all other nodes, sometimes from the clients as well"
    must_hold = "fenced after its session, led by others"

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        rest = [other.host for other in world.cluster.nodes.values() if other is not node]
        if self.random.random() < 0.5:
            rest.append(world.clients_host)
        with self.cut(world.network.parted([node.host], rest), f"broker {node.id} alone"):
            took = yield from self.led_by_others(node)
            self.saw(f"led by others after {took:.2f} s")
            self.demand(took < world.session_seconds + 5, f"others led only after {took:.1f} s")
            yield self.random.uniform(1, 8)
        yield from self.back(node)


class Asymmetric(CutRow):
    number, about = 7, "a leading broker is not heard by the controllers, but hears them, and has its followers"
    must_hold = "it is fenced; each partition changes its leader once at most"

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        since = time.monotonic()
        unheard = world.network.rules(*[(controller.host, "INPUT", "-s", node.address, "-j", "DROP") for controller in world.cluster.controllers])
        with self.cut(unheard, f"the controllers did not hear broker {node.id}"):
            took = yield from self.led_by_others(node)
            self.saw(f"led by others after {took:.2f} s")
            yield self.random.uniform(1, 6)
        changes = world.monitor.leader_changes(since)
        self.demand(max(changes.values(), default=0) <= 1, f"leaders changed more than once: {changes}")
        yield from self.back(node)


class FollowersGone(CutRow):
    number, about = 8, "a leading broker cut off from the other brokers, not from the controllers"
    must_hold = "its ISR shrinks to itself; nothing more is committed with fewer than min.insync.replicas"

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        others = [other.host for other in world.others(node)]
        with self.cut(world.network.parted([node.host], others), f"broker {node.id} without its followers"):
            found = yield Until(lambda: self.settled(node), LAG_SECONDS + 40, f"ISRs without broker {node.id}, or with it alone", if_alone=25)
            if found == "alone":
                yield from self.nothing_is_committed(node)
            else:
                yield self.random.uniform(1, 4)
            self.saw(f"then: {found}")
        yield from self.back(node)

    def settled(self, node):
        view = self.world.describe()
        if view is None:
            return None
        if any(one.leader == node.id and one.isr == [node.id] for one in view.values()):
            return "alone"
        # Another fault may have made others the leaders of all.
        return "led by others" if all(one.leader != node.id and node.id not in one.isr for one in view.values()) else None

    def nothing_is_committed(self, node):
        marks = {}
        for _ in range(4):
            view = self.world.describe() or {}
            alone = [index for index, one in view.items() if one.leader == node.id and one.isr == [node.id]]
            try:
                with Connection(node.bootstrap, timeout_s=3) as connection:
                    for index in alone:
                        error, end = ask_end(connection, TOPIC, index)
                        epoch = ask_metadata(connection, [TOPIC]).topics[TOPIC][index].epoch
                        if error == 0:
                            before = marks.setdefault((index, epoch), end)
                            assert end == before, f"partition {index}: the high watermark went from {before} to {end} with an ISR of {node.id} alone"
            except (OSError, Closed):
                pass
            yield 0.7
        assert marks or not self.was_alone, "no high watermark could be asked for"
        self.saw(f"high watermarks stood still: {marks}")


class Ring(CutRow):
    number, about = 9, "a ring: one pair of brokers, one pair of controllers, and each broker from another controller"
    must_hold = "partitions whose leader sees a majority of controllers go on"

    def steps(self):
        world = self.world
        brokers, controllers = world.cluster.brokers, world.cluster.controllers
        kind = self.random.choice(("bridge", "ring"))
        one, two = self.random.sample(brokers, 2)
        left, right = self.random.sample(controllers, 2)
        pairs = [(one, two), (left, right)]
        if kind == "ring":
            pairs += list(zip(brokers, self.random.sample(controllers, len(controllers))))
        nodes = yield from self.take(lambda: self.all_free(list({node.id: node for pair in pairs for node in pair}.values())))
        rules = [(at.host, "INPUT", "-s", sender.address, "-j", "DROP") for pair in pairs for at, sender in (pair, pair[::-1])]
        with self.cut(world.network.rules(*rules), f"{kind}: cut {[(at.id, other.id) for at, other in pairs]}"):
            acked = world.clients.acked()
            yield self.random.uniform(4, 12)
            yield from self.acknowledged(acked, 30, "in the ring", kind=None)
        yield from self.back(*nodes)


class ClientsCut(CutRow):
    number, about = 10, "clients cut off from a leading broker"
    must_hold = "no leader changes for it; what is sent again is there once"

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        before, since = world.describe(), time.monotonic()
        with self.cut(world.network.parted([world.clients_host], [node.host]), f"clients cut off from broker {node.id}"):
            yield self.random.uniform(3, 12)
            self.demand(world.describe() == before or not world.monitor.leader_changes(since), "leaders changed although only clients were cut off")
        yield from self.acknowledged(world.clients.acked(), 30, "after the cut", kind=None)


class BadLines(SeenRow):
    number, about = 11, "packet loss, little bandwidth, delay and jitter, or connections that stall, at one node"
    must_hold = "ISRs change a bounded number of times, no queue grows without end (quiet state)"

    def steps(self):
        world = self.world
        nodes = list(world.cluster.nodes.values())
        node = yield from self.take(lambda: world.pick(nodes))
        kind, seconds = self.random.choice(("loss", "narrow", "delay", "stall")), self.random.uniform(6, 15)
        shrinks = world.monitor.isr_changes()
        if kind == "loss":
            share = self.random.uniform(0.01, 0.3)
            with world.network.lossy(node.host, share) as rules:
                yield seconds
                assert dropped(rules) > 0, "no packet was lost"
                self.saw(f"node {node.id}: {share:.0%} of its packets lost, {dropped(rules)} of them")
        elif kind == "narrow":
            with world.network.narrow(node.host) as delayed:
                yield seconds
                count = delayed()
                assert count > 0 or not node.is_broker, "no packet had to wait"
                self.saw(f"node {node.id} with 1 Mbit/s: {count} times packets had to wait")
        else:
            how = {"delay_ms": self.random.randint(50, 500), "jitter_ms": self.random.randint(0, 100)} if kind == "delay" else {"stall_bytes": 2 * relay_bytes(node)}
            with world.network.relayed(node.host, PORTS, world.folder, seed=self.random.randrange(1 << 30), **how) as figures:
                yield seconds
                name = "delayed_pieces" if kind == "delay" else "stalls"
                most = PASSING_SHARES * how.get("stall_bytes", BROKER_BYTES)
                yield from self.seen(lambda: figures()[name], f"the relay before node {node.id} to have {name}", lambda: figures()["bytes"], most)
                self.saw(f"node {node.id} behind a relay, {how}: {figures()}")
        yield from self.back(node)
        changes = world.monitor.isr_changes() - shrinks
        # A follower leaves once in a lag time at most, and each partition has two.
        most = (seconds / LAG_SECONDS + 2) * 4 * 2 * 2
        self.demand(changes <= most, f"{changes} changes of ISRs in {seconds:.0f} s")


class Resets(SeenRow):
    number, about = 12, "connections reset within frames, and half open ones, at one node"
    must_hold = "parsers begin anew, no descriptor is lost (quiet state), connections without a peer are closed after connections.max.idle.ms"

    def steps(self):
        world = self.world
        node = yield from self.take(lambda: world.pick(list(world.cluster.nodes.values())))
        if self.random.random() < 0.5:
            every = self.random.randint(20, 80)
            with world.network.resets(node.host, every, PORTS) as rules, world.network.passing(node.host, PORTS) as passing:
                yield self.random.uniform(4, 10)
                count = yield from self.seen(lambda: dropped(rules), f"something for node {node.id} to be reset", lambda: dropped(passing), 2 * every)
                self.saw(f"node {node.id}: {count} packets answered by resets")
        else:
            with world.network.relayed(node.host, PORTS, world.folder, seed=self.random.randrange(1 << 30), cut_bytes=relay_bytes(node)) as figures:
                yield self.random.uniform(4, 10)
                most = PASSING_SHARES * relay_bytes(node)
                yield from self.seen(lambda: figures()["cuts"], f"a connection with node {node.id} to be cut", lambda: figures()["bytes"], most)
                self.saw(f"node {node.id} behind a relay that cuts: {figures()}")
        yield from self.back(node)
        if node.is_broker:
            yield from self.half_open(node)

    def half_open(self, node):
        """A client that is gone without a word."""
        with socket.create_connection((node.address, CLIENT_PORT), timeout=5) as client:
            port = client.getsockname()[1]
            # Both ways, so that neither our end nor its answer is heard.
            rules = [(node.host, "INPUT", "-p", "tcp", "--sport", port, "-j", "DROP"), (node.host, "OUTPUT", "-p", "tcp", "--dport", port, "-j", "DROP")]
            with self.world.network.rules(*rules) as made:
                client.close()
                began = time.monotonic()
                assert self.is_open(node, port), "the broker knew at once"
                yield Until(lambda: not node.is_running or not self.is_open(node, port), IDLE_SECONDS * 2, "a half open connection to be closed")
                self.saw(f"a half open connection closed after {time.monotonic() - began:.1f} s, {dropped(made)} packets dropped")

    @staticmethod
    def is_open(node, port):
        return bool(node.host.run("ss", "-Htn", "state", "established", f"( dport = :{port} )").strip())
