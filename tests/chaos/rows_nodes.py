"""Rows 1 to 5 and 13 to 15: nodes that die, stand still, are started again (testing.md 10)."""
import os
import re
import shlex
import signal
import subprocess
import time

import topics
from cluster import program
from nemesis import TAKE_SECONDS, Row, Until
from world import SESSION_SECONDS

OUTCOME_UNKNOWN = ("connection reset by the peer", "end of the data", "the deadline has passed")  # a command's words
ELECTION_SECONDS = 10  # an upper bound for every election here; correctness.md 2 has the targets, tests/cluster measures them


class KillLeader(Row):
    number, about, targets = 1, "kill -9 of a broker that leads", ("moldau", "kafka")
    must_hold = "another leads; the one that died comes back into all ISRs"

    def steps(self):
        node = yield from self.take(self.world.leader)
        yield self.random.uniform(0, 1)
        node.kill()
        self.saw(f"broker {node.id} killed")
        took = yield from self.led_by_others(node)
        self.saw(f"led by others after {took:.2f} s")
        yield self.random.uniform(0.5, 5)
        yield from self.start_again(node)


class KillAllBrokers(Row):
    number, about, targets = 2, "kill -9 of all brokers within 50 ms", ("moldau", "kafka")
    must_hold = "all partitions are led again without anybody's help"

    def steps(self):
        world = self.world
        nodes = yield from self.take(lambda: self.all_free(world.cluster.brokers))
        first, last = world.cluster.kill_at_once([node.id for node in nodes])
        assert last - first < 0.05, f"the signals took {last - first:.3f} s"
        self.saw(f"all brokers killed within {(last - first) * 1000:.1f} ms")
        yield self.random.uniform(0, 2)
        yield from self.start_again(*self.random.sample(nodes, len(nodes)))


class KillController(Row):
    number, about = 3, "kill -9 of a controller, the active one or another"
    must_hold = "an active controller; no broker is fenced for it"

    def steps(self):
        world = self.world
        active = world.active_controller()
        is_active = self.random.random() < 0.7
        node = yield from self.take(lambda: world.pick([one for one in world.cluster.controllers if (one.id == active) == is_active])
                                    or world.pick(world.cluster.controllers))
        brokers = {one.id for one in world.free(world.cluster.brokers)}
        moment = time.monotonic()
        node.kill()
        self.saw(f"controller {node.id} killed, {'active' if node.id == active else 'not active'}")
        yield Until(lambda: world.active_controller() not in (None, node.id), ELECTION_SECONDS + 30, "another active controller")
        self.saw(f"an active controller was heard of after {time.monotonic() - moment:.2f} s")
        yield self.random.uniform(0.5, SESSION_SECONDS + 2)
        if self.was_alone:
            fenced = brokers - set(world.cluster.view().brokers)
            self.demand(not fenced, f"brokers {fenced} were fenced for a controller's death")
        yield from self.start_again(node)


class PauseLeader(Row):
    number, about, targets = 4, "SIGSTOP of a broker that leads, shorter or longer than its session", ("moldau", "kafka")
    must_hold = "fenced after its session, and then led by others; it comes back into all ISRs"

    def steps(self):
        world = self.world
        node = yield from self.take(world.leader)
        is_long = self.random.random() < 0.7
        node.pause()
        try:
            self.saw(f"broker {node.id} stands still, for {'longer' if is_long else 'less'} than its session")
            if is_long:
                took = yield from self.led_by_others(node)
                self.saw(f"its session was over and others led after {took:.2f} s")
                self.demand(took < world.session_seconds + ELECTION_SECONDS, f"{took:.1f} s until others led")
                yield self.random.uniform(0, 3)
            else:
                yield self.random.uniform(0.2, 0.6) * world.session_seconds
        finally:
            if node.is_running:
                node.resume()
        yield from self.back(node)


class PauseController(Row):
    number, about = 5, "SIGSTOP of the active controller"
    must_hold = "another is active; the one that stood still follows it"

    def steps(self):
        world = self.world
        active = yield Until(world.active_controller, 30, "an active controller")
        node = yield from self.take(lambda: world.pick([one for one in world.cluster.controllers if one.id == active]) or world.pick(world.cluster.controllers))
        node.pause()
        try:
            self.saw(f"controller {node.id} stands still, {'active' if node.id == active else 'not active any more'}")
            yield Until(lambda: world.active_controller() not in (None, node.id), ELECTION_SECONDS + 30, "another active controller")
            yield self.random.uniform(0, SESSION_SECONDS + 2)
        finally:
            node.resume()
        yield from self.back(node)
        yield Until(world.active_controller, ELECTION_SECONDS + 30, "an active controller")


class QuorumGone(Row):
    number, about = 13, "two of three controllers are gone, by kill -9 or behind a partition"
    must_hold = "nothing changes in the metadata, leaders go on serving"

    def steps(self):
        world = self.world
        nodes = yield from self.take(lambda: self.all_free(world.cluster.controllers))
        gone = self.random.sample(nodes, 2)
        acked = world.clients.acked("idempotent")
        before = world.describe()
        if self.random.random() < 0.5:
            for node in gone:
                node.kill()
            self.saw(f"controllers {[node.id for node in gone]} killed")
            yield from self.without_quorum(acked, before)
            yield from self.start_again(*gone)
        else:
            everybody = [node.host for node in world.cluster.nodes.values()]
            with world.network.parted([gone[0].host], [host for host in everybody if host is not gone[0].host]) as one, \
                    world.network.parted([gone[1].host], [host for host in everybody if host not in (gone[0].host, gone[1].host)]) as two:
                yield from self.without_quorum(acked, before)
                self.saw(f"controllers {[node.id for node in gone]} cut off, {sum(rule.count() for rule in one + two)} packets dropped")
            yield from self.back(*gone)
        yield Until(world.active_controller, 30, "an active controller")

    def without_quorum(self, acked, before):
        world = self.world
        # A former active controller may hold on to its office until it has missed an election timeout.
        yield Until(lambda: world.active_controller() is None, 15, "the quorum to be gone")
        name = f"unwanted-{world.random.randrange(1 << 30)}"
        error = topics.try_create(world.bootstrap() or world.cluster.bootstrap, name, 1, 3, seconds=2)
        assert error is not None, "a topic was made without a quorum"
        self.saw(f"no topic could be made: {str(error)[:80]}")
        yield self.random.uniform(2, 8)
        after = world.describe()
        if self.was_alone:
            self.demand(before == after, f"leaders or ISRs changed without a quorum: {before} became {after}")
            yield from self.acknowledged(acked, 20, "without a quorum")


class WipedController(Row):
    number, about = 14, "all controllers restart, one of them with an empty disk"
    must_hold = "two go on; the empty one is no voter until the command that it prints was run"

    def steps(self):
        world = self.world
        nodes = yield from self.take(lambda: self.all_free(world.cluster.controllers))
        world.cluster.kill_at_once([node.id for node in nodes])
        wiped = self.random.choice(nodes)
        wiped.wipe()
        wiped.log_path.rename(wiped.folder / f"log-{time.monotonic_ns()}")
        for node in nodes:
            node.start(wait=False)
        yield Until(lambda: re.search(r"moldau cluster add-controller [^\n]*", wiped.log_text()), 30, f"controller {wiped.id} to be refused")
        printed = re.search(r"moldau cluster add-controller [^\n]*", wiped.log_text()).group(0)
        active = yield Until(world.active_controller, 30, "an active controller of the two others")
        assert active != wiped.id, "a controller without memory is active"
        self.saw(f"controller {wiped.id} without its disk was refused; {active} is active")
        yield self.random.uniform(0, 3)
        # The command goes by way of a broker. One that another row cut off from the controllers can't help: it says so when its time is over, and is not asked.
        servers = yield Until(world.bootstrap, TAKE_SECONDS, "a broker that is under no fault")
        environment = {**os.environ, "MOLDAU_BOOTSTRAP_SERVER": servers}
        for command in dict.fromkeys(re.findall(r"moldau (cluster [a-z-]*-controller [^\"'`;\n]*)", printed)):
            yield Until(lambda: self.does(command, environment, wiped.id), 60, f"{command} to be done")  # noqa: B023
        yield Until(lambda: self.is_voter(wiped.id), 30, f"controller {wiped.id} to be a voter that has caught up")
        self.saw("the command that it printed made it a voter again")

    def does(self, command, environment, node_id):
        """Whether the command was carried out. A broker that loses the active controller meanwhile knows no outcome and ends the connection: whoever runs the
        command runs it again."""
        done = subprocess.run([str(program()), *shlex.split(command)], capture_output=True, text=True, timeout=60, env=environment, check=False)
        if done.returncode == 0 or self.is_voter(node_id):
            return True
        assert any(text in done.stderr for text in OUTCOME_UNKNOWN), f"{command}: {done.stderr}"
        self.saw(f"to be run again: {done.stderr.strip()[:200]}")
        return False

    def is_voter(self, node_id):
        quorum = self.world.quorum()
        return quorum is not None and node_id in quorum.voters and quorum.voters[node_id][0] >= quorum.high_watermark - 10


class RollingRestart(Row):
    number, about = 15, "all nodes restarted in turn by SIGTERM, twice"
    must_hold = "each ends with status 0 and is in all ISRs before the next one goes"

    def steps(self):
        world = self.world
        nodes = yield from self.take(lambda: self.all_free(list(world.cluster.nodes.values())))
        for turn in range(2):
            for node in self.random.sample(nodes, len(nodes)):
                yield Until(world.isr_is_full, 60, "all ISRs to be full")
                node.process.send_signal(signal.SIGTERM)
                yield Until(lambda: node.process.poll() is not None, 30, f"node {node.id} to end")  # noqa: B023
                assert node.process.returncode == 0, f"node {node.id}: exit status {node.process.returncode} after SIGTERM:\n{node.log_tail()}"
                node.process = None
                yield from self.start_again(node)
            self.saw(f"all {len(nodes)} nodes restarted, turn {turn + 1}")
