"""The scheduler, the oracles and the networks: each is seen to find what it is there for."""
import collections
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import unittest
import unittest.mock
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

import history
import nemesis
import net
import oracles
import replicated
from leader_watch import Watch
from nemesis import Nemesis, Row, Until
from waiting import wait_until


def node(number):
    return types.SimpleNamespace(id=number, is_running=True)


class World:
    """As much of world.World as the scheduler touches."""

    def __init__(self, seed=1, rows_at_once=2):
        self.random, self.busy, self.active, self.notes, self.rows_at_once = random.Random(seed), set(), [], [], rows_at_once
        self.nodes, self.healed = [node(1), node(2)], []

    def free(self, nodes):
        return [one for one in nodes if one.id not in self.busy]

    def pick(self, nodes):
        able = self.free(nodes)
        return self.random.choice(able) if able else None

    def note(self, text):
        self.notes.append(text)


class Good(Row):
    number, about = 1, "takes a node for a moment"

    def steps(self):
        one = yield from self.take(lambda: self.world.pick(self.world.nodes))
        assert self.taken == [one.id]
        try:
            self.saw(f"node {one.id}")
            yield 0.05
        finally:
            self.world.healed.append(one.id)


class Blind(Row):
    number, about = 2, "injects nothing"

    def steps(self):
        yield 0.01


class Stuck(Row):
    number, about = 3, "waits in vain"

    def steps(self):
        self.saw("something")
        yield Until(lambda: False, 0.05, "what never comes")


class Greedy(Row):
    number, about = 4, "takes all nodes"

    def steps(self):
        nodes = yield from self.take(lambda: self.all_free(self.world.nodes))
        assert len(self.world.busy) == len(nodes) == 2
        self.saw("all")
        yield 0.05


class Lenient(Row):
    number, about = 5, "demands only when it is alone"

    def steps(self):
        self.saw("something")
        value = yield Until(lambda: False, 5, "what need not come", if_alone=0.05)
        assert value is None
        self.demand(False, "not demanded beside others")


class Scheduler(unittest.TestCase):
    def setUp(self):
        self.gap, nemesis.GAP_SECONDS = nemesis.GAP_SECONDS, (0.0, 0.02)

    def tearDown(self):
        nemesis.GAP_SECONDS = self.gap

    def run_rows(self, *rows, seconds=0.3, world=None):
        self.world = world or World()
        return Nemesis(self.world, rows, seconds).run()

    def test_rows_overlap_and_come_again_until_the_time_is_over(self):
        done = self.run_rows(Good)
        self.assertGreater(len(done), 2)
        self.assertEqual(len(self.world.healed), len(done))
        self.assertFalse(self.world.busy or self.world.active)
        self.assertTrue(any(not row.was_alone for row in done))

    def test_a_row_that_saw_nothing_has_failed(self):
        with self.assertRaisesRegex(AssertionError, "row 2 saw nothing"):
            self.run_rows(Blind)

    def test_what_does_not_come_true_in_time_has_failed_and_others_are_healed(self):
        with self.assertRaisesRegex(AssertionError, "waited 0 s in vain for what never comes"):
            self.run_rows(Good, Stuck)
        self.assertTrue(self.world.healed)

    def test_no_two_rows_have_the_same_node(self):
        done = self.run_rows(Good, Greedy, seconds=0.5)
        self.assertEqual({row.number for row in done}, {1, 4})

    def test_what_is_demanded_of_one_fault_is_not_demanded_of_two(self):
        with self.assertRaisesRegex(AssertionError, "what need not come"):
            self.run_rows(Lenient, world=World(rows_at_once=1))
        self.run_rows(Lenient, Lenient, seconds=0.01, world=World())

    def test_the_run_ends_when_the_clients_do(self):
        def check():
            raise AssertionError("the clients ended")
        with self.assertRaisesRegex(AssertionError, "the clients ended"):
            Nemesis(World(), [Good], 5, check).run()


class Nodes:
    def __init__(self, nodes):
        self.nodes = nodes

    def __getitem__(self, number):
        return self.nodes[number]


class Answering:
    """A broker that answers each request with the same bytes."""

    def __init__(self, answer):
        self.answer, self.listener = answer, socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, contextlib.suppress(OSError):
                    while client.recv(4096):
                        client.sendall(self.answer)

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


class Oracles(unittest.TestCase):
    def monitor(self, samples, first_seen):
        monitor = object.__new__(oracles.Monitor)
        lines = [{"t": moment, "at": 1, "partitions": {0: (leader, epoch, (1, 2, 3))}} for moment, epoch, leader in first_seen]
        watch = object.__new__(Watch)
        watch.lines = lines
        monitor.broken, monitor.elr_seen, monitor.error = [], 0, None
        monitor.looks, monitor.rules_asked = collections.Counter({1: 1}), collections.Counter({1: 1})
        monitor.cluster = types.SimpleNamespace(addresses={1: "127.0.0.1:1"}, brokers=[types.SimpleNamespace(id=1, is_running=True, bootstrap="127.0.0.1:1")])
        others = {partition: [(0, 1.0, 1.1, 5)] for partition in range(1, oracles.PARTITIONS)}
        monitor.watch, monitor.samples = watch, collections.defaultdict(list, {0: samples, **others})
        return monitor

    def polled(self, end, moment):
        steps = [["poll", {"chaos/0": [[end - 1, 7]]}]]
        lines = [{"i": 0, "t": 0, "p": "c", "ty": "invoke", "f": "poll", "v": None}, {"i": 1, "t": moment * 10**9, "p": "c", "ty": "ok", "f": "poll", "v": steps, "of": 0}]
        return history.operations(lines)

    def test_samples_that_only_grow_are_right(self):
        self.assertTrue(self.monitor([(0, 1.0, 1.1, 5), (0, 2.0, 2.1, 9)], [(0.5, 0, 1)]).check(self.polled(9, 2)).startswith("5 "))

    def test_a_high_watermark_that_goes_back(self):
        with self.assertRaisesRegex(AssertionError, "from 9 back to 5"):
            self.monitor([(0, 1.0, 1.1, 9), (0, 2.0, 2.1, 5)], [(0.5, 0, 1)]).check([])

    def test_a_high_watermark_below_what_was_read(self):
        monitor = self.monitor([(0, 3.0, 3.1, 5)], [(0.5, 0, 1)])
        with self.assertRaisesRegex(AssertionError, "is 5, but 9 records were read"):
            monitor.check(self.polled(9, 2))
        # One that does not know yet that another leads may lag.
        self.monitor([(0, 3.0, 3.1, 5)], [(0.5, 0, 1), (3.5, 1, 2)]).check(self.polled(9, 2))

    def test_metadata_that_must_not_be(self):
        self.assertEqual(list(oracles.broken_rules([(0, 1, [1, 2, 3], [1, 2], [3]), (1, -1, [1, 2, 3], [], [3])])), [])
        for wrong, text in (((0, 3, [1, 2, 3], [1, 2], []), "leader is not"), ((0, 1, [1, 2], [1, 3], []), "ISR has others"),
                            ((0, 1, [1, 2], [1], [3]), "ELR has others"), ((0, 1, [1, 2], [1, 2], [2]), "ELR has members")):
            found = list(oracles.broken_rules([wrong]))
            self.assertEqual(len(found), 1, found)
            self.assertIn(text, found[0])
        monitor = self.monitor([], [])
        monitor.broken.append("something")
        with self.assertRaisesRegex(AssertionError, "must not be"):
            monitor.check([])

    def test_nothing_seen_is_nothing_shown(self):
        good = [(0, 1.0, 1.1, 5)]
        with self.assertRaisesRegex(AssertionError, "no high watermark was ever heard of partitions .0.$"):
            self.monitor([], []).check([])
        monitor = self.monitor(good, [])
        monitor.cluster.brokers.append(types.SimpleNamespace(id=2))
        with self.assertRaisesRegex(AssertionError, "too few of the questions.*{2: '0 of 0'}"):
            monitor.check([])

    def test_a_broker_that_hardly_ever_answers_fails_the_run(self):
        for asked, is_enough in ((5, False), (6, True)):
            monitor = self.monitor([(0, 1.0, 1.1, 5)], [])
            monitor.looks[1], monitor.rules_asked[1] = 100, asked
            if is_enough:
                self.assertIn("6 times metadata of 100 asked", monitor.check([]))
                continue
            with self.assertRaisesRegex(AssertionError, "too few of the questions.*{1: '5 of 100'}"):
                monitor.check([])

    def test_metadata_without_partitions_is_not_heard(self):
        monitor, whole = self.monitor([], []), [(0, 1, [1, 2, 3], [1, 2, 3], [])]
        told = {"Connection": lambda *_, **__: contextlib.nullcontext(), "ask_metadata": lambda *_: types.SimpleNamespace(topics={})}
        for partitions, heard in (([], 1), (whole, 2)):
            for name, value in {**told, "ask_partitions": lambda _connection: partitions}.items():  # noqa: B023
                self.enterContext(unittest.mock.patch.object(oracles, name, value))
            monitor._look(monitor.cluster.brokers[0])
            self.assertEqual(monitor.rules_asked[1], heard)

    def test_a_monitor_that_ends_before_its_time_fails_the_run(self):
        server = Answering(b"\0\0\0\5abcde")  # shorter than any answer
        self.addCleanup(server.end)
        monitor = self.monitor([(0, 1.0, 1.1, 5)], [])
        monitor.is_over, monitor.cluster.brokers[0].bootstrap = threading.Event(), server.address
        monitor.alive()
        thread = threading.Thread(target=monitor._run)
        thread.start()
        thread.join(20)
        self.assertFalse(thread.is_alive())
        for look in (monitor.alive, lambda: monitor.check([])):
            with self.assertRaisesRegex(AssertionError, "nobody looks at the high watermarks any more: (?s:.*)struct.error"):
                look()

    def test_an_answer_of_a_wrong_size_is_no_silence(self):
        server = Answering(b"\0\0\0\1a")
        self.addCleanup(server.end)
        monitor = self.monitor([], [])
        with self.assertRaisesRegex(AssertionError, "a frame of 1 bytes"):
            monitor._look(types.SimpleNamespace(id=1, is_running=True, bootstrap=server.address))
        monitor._look(types.SimpleNamespace(id=1, is_running=True, bootstrap="127.0.0.1:1"))  # nobody there: no more than silence
        self.assertEqual(monitor.rules_asked[1], 1)

    def test_a_watch_of_the_leaders_that_can_read_no_answer_fails_the_run(self):
        server = Answering(b"\0\0\0\5abcde")
        self.addCleanup(server.end)
        watch = object.__new__(Watch)
        watch.lines, watch.brokers = [], {}
        watch.process = subprocess.Popen([sys.executable, "-B", HERE.parent / "cluster/leader_watch.py", "chaos", "10", server.address], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        watch.thread = threading.Thread(target=watch._read)
        watch.thread.start()
        watch.process.wait(20)
        with self.assertRaisesRegex(AssertionError, "the watch of the leaders ended with 1"):
            watch.stop()
        watch.process.stdout.close()

    def test_a_replica_that_is_not_there_is_not_the_same(self):
        cluster = object.__new__(replicated.Cluster)
        root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        cluster.nodes = {number: types.SimpleNamespace(id=number, is_broker=True, data=root / str(number)) for number in (1, 2, 3)}
        folders = [root / str(number) / "chaos-0" for number in cluster.nodes]
        for folder in folders:
            folder.mkdir(parents=True)
        ends = {("chaos", 0): 0}
        self.assertEqual(cluster.compare_replicas("chaos", until=ends, replicas=3), 0)
        with self.assertRaisesRegex(AssertionError, "no replica of .*'chaos', 1"):
            cluster.compare_replicas("chaos", until={**ends, ("chaos", 1): 0}, replicas=3)
        folders[1].rmdir()
        with self.assertRaisesRegex(AssertionError, "chaos-0: only nodes .1, 3. have it"):
            cluster.compare_replicas("chaos", until=ends, replicas=3)

    def test_two_leaders_of_one_epoch(self):
        with self.assertRaisesRegex(AssertionError, "several leaders in one epoch"):
            self.monitor([], [(0.5, 1, 1), (0.6, 1, 2)]).check([])

    def test_descriptors_that_are_lost(self):
        process = subprocess.Popen([sys.executable, "-c", "import os,sys\nfor _ in sys.stdin: [os.dup(0) for _ in range(40)]; print('more', flush=True)"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            one = types.SimpleNamespace(id=1, process=process)
            quiet = oracles.Quiet(Nodes({1: one}))
            quiet.before[1]["memory"] *= 10
            self.assertEqual(quiet.worse(), [])
            process.stdin.write("\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "more\n")
            self.assertIn("files", quiet.worse()[0])
            quiet.before[1].update(files=100, sockets=-100)
            self.assertIn("sockets", quiet.worse()[0])
        finally:
            process.kill()
            process.communicate()


NETWORK = """
import sys; sys.path.insert(0, %r)
import socket, subprocess, net
network = net.Network()
one, two = network.host("one", "10.99.0.1"), network.host("two", "10.99.0.2")
server = subprocess.Popen([*one.prefix, "setpriv", "--pdeathsig", "KILL", sys.executable, "-c",
    "import socket\\ns = socket.create_server(('0.0.0.0', 9092)); print('up', flush=True)\\nwhile True:\\n c = s.accept()[0]; c.sendall(c.recv(9)); c.close()"],
    stdout=subprocess.PIPE, text=True)
server.stdout.readline()
def hears(host):
    code = "import socket\\nc = socket.create_connection(('10.99.0.1', 9092), 1); c.sendall(b'x'); c.settimeout(3); print(c.recv(1))"
    done = subprocess.run([*host.prefix, sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout == "b'x'\\n"
assert hears(two)
with network.dropped(one, two) as rules:
    assert not hears(two)
    assert rules[0].count() > 0
assert rules[0].count() > 0 and hears(two)
with network.dropped(two, one) as rules:
    assert not hears(two) and rules[0].count() > 0
with network.relayed(one, [9092], %r, delay_ms=300) as figures:
    assert hears(two)
with network.relayed(one, [9092], %r, cut_bytes=1):
    assert not hears(two)
assert hears(two)
print("whole", flush=True)
sys.stdin.read()
"""


@unittest.skipIf(net.missing() is not None, str(net.missing()))
class Networks(unittest.TestCase):
    def test_drops_delays_and_cuts_and_nothing_stays_behind_a_kill(self):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.Popen([sys.executable, "-B", "-c", NETWORK % (str(HERE), folder, folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            line = run.stdout.readline()
            inside = os.readlink(f"/proc/{run.pid}/ns/net") if line else ""
            run.send_signal(signal.SIGKILL)
            run.communicate()
            self.assertEqual(line, "whole\n")

        def gone():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if os.readlink(process / "ns/net") == inside:
                        return False
                except OSError:
                    continue
            return True
        wait_until(gone, 10, "the namespace to be gone")
        self.assertNotEqual(inside, os.readlink("/proc/self/ns/net"))


if __name__ == "__main__":
    unittest.main()
