"""Clients that do not come back: what is told of them, when that is of no weight, and when it fails the run."""
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

import client
import combinations
import motion
import world as worlds
from waiting import wait_until


class Library:
    """A consumer with a thread of that name, which moves or waits for ever; it has the records 0 to `end` - 1."""

    def __init__(self, end=5, moves=True, closes=True):
        self.end, self.at, self.moves, self.closes = end, 0, moves, closes
        self.over, named = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.work, args=(named,), daemon=True)
        self.thread.start()
        named.wait()

    def work(self, named):
        Path("/proc/thread-self/comm").write_text(motion.LIBRARY_THREAD)
        named.set()
        while not self.over.wait(0.02 if self.moves else None):
            pass

    def assign(self, _partitions):
        pass

    def consume(self, _count, seconds):
        self.over.wait(seconds / 10)
        if self.at >= self.end:
            return []
        self.at += 1
        return [types.SimpleNamespace(error=lambda: None, topic=lambda: "t", partition=lambda: 0, offset=lambda: self.at - 1, value=lambda: client.gen.payload(self.at, 20))]

    def close(self):
        if not self.closes:
            self.over.wait()
        self.over.set()
        self.thread.join()


class Reading(unittest.TestCase):
    """read_to_the_end, with libraries of our own."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.shared = client.Shared({"topic": "t", "partitions": 1, "history": f"{self.folder}/history", "seed": 1, "bootstrap": ""})
        self.addCleanup(self.shared.recorder.close)
        for module, name, value in ((client, "FINISH_SECONDS", 4), (motion, "STILL_SECONDS", 1.5), (client, "ends_of", lambda _options: {"t/0": 5}),
                                    (threading, "excepthook", lambda *_: None)):
            self.addCleanup(setattr, module, name, getattr(module, name))
            setattr(module, name, value)

    def read(self, *libraries, lifetimes=None):
        """What each is made with; the last one is that of the reading from the beginning."""
        wanted, made = list(libraries), []
        self.addCleanup(setattr, client, "Consumer", client.Consumer)

        def make(*_, **__):
            made.append(Library(**wanted.pop(0)))
            return made[-1]
        client.Consumer = make
        readers = [client.Consuming(self.shared, number, lifetime) for number, lifetime in enumerate(lifetimes or [None] * (len(libraries) - 1))]
        for reader in readers:
            reader.start()
            wait_until(lambda: reader.client is not None, 10, "a reader to begin")  # noqa: B023
        client.read_to_the_end(self.shared, readers)
        shared = self.shared
        found = types.SimpleNamespace(problems=list(shared.problems), stuck=dict(shared.stuck), doing=shared.recording.told())
        for library in made:
            library.over.set()
        for reader in readers:
            reader.join(10)
        return found

    def test_all_read_everything(self):
        shared = self.read(dict(), dict(), dict())
        self.assertEqual((shared.problems, shared.stuck, shared.doing), ([], {}, {}))

    def test_one_whose_library_stands_still_is_told_and_of_no_weight(self):
        shared = self.read(dict(end=3, moves=False, closes=False), dict(), dict())
        self.assertEqual((shared.problems, list(shared.stuck)), ([], ["reader-1"]))
        self.assertRegex(shared.stuck["reader-1"], "^in read for .*librdkafka stands still, its rdk:main has not run for")

    def test_one_that_stands_still_in_its_close(self):
        shared = self.read(dict(moves=False, closes=False), dict(), dict())
        self.assertEqual((shared.problems, list(shared.stuck)), ([], ["reader-1"]))
        self.assertRegex(shared.stuck["reader-1"], "^in close for ")

    def test_one_that_moves_and_does_not_get_there_fails_the_run(self):
        shared = self.read(dict(end=3), dict(), dict())
        self.assertEqual((len(shared.problems), shared.stuck), (1, {}))
        self.assertIn("reader-1 is at {'t/0': 3}", shared.problems[0])

    def test_what_has_come_to_pass_is_told_from_then_on(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            client.tell(self.shared)
            client.tell(self.shared, stopped=True)
            client.tell(self.shared)
            client.tell(self.shared, finished=None)
        told = [json.loads(line) for line in output.getvalue().splitlines()]
        self.assertEqual(["stopped" in line for line in told], [False, True, True, True])
        self.assertIn("finished", told[-1])

    def test_readers_that_all_stand_still_fail_the_run(self):
        shared = self.read(dict(end=3, moves=False, closes=False), dict(end=3, moves=False, closes=False), dict())
        self.assertEqual(len(shared.stuck), 2)
        self.assertRegex("; ".join(shared.problems), "^no reader that saw the faults read to the end: .*reader-2")

    def test_one_that_began_anew_did_not_see_all_faults(self):
        shared = self.read(dict(end=3, moves=False, closes=False), dict(), dict(), lifetimes=(None, 60))
        self.assertEqual(list(shared.stuck), ["reader-1"])
        self.assertRegex("; ".join(shared.problems), "^no reader that saw the faults read to the end: .*reader-1")

    def test_a_last_reading_that_stands_still_fails_the_run(self):
        shared = self.read(dict(), dict(end=3, moves=False, closes=False))
        self.assertRegex("; ".join(shared.problems), "^the reading from the beginning did not come to its end: .*final-1")


TELLS = """
import sys; sys.path[:0] = %r
import threading, types
import client, motion, test_motion
shared = types.SimpleNamespace(recording=motion.Recording(sys.argv[1]), acked={}, failed={}, unknown={}, polled=0, problems=[], fatal=[], stuck={}, marks={})
shared.recording.listen()
def make(client):
    client.words.logger.info("its last words")
    return test_motion.Library(moves=False, closes=False)  # one that wakes up may be running when it is looked at
one = motion.Client(shared.recording, "reader-1", make)
one.said('{"a": 1}')
one.does("close")
threading.Thread(target=one.library.close, daemon=True).start()
while True:
    client.tell(shared)
    if sys.stdin.readline() == "":
        break
"""


class Parent(unittest.TestCase):
    def test_who_is_stuck_in_what_is_told_and_where_its_threads_are(self):
        with tempfile.TemporaryDirectory() as folder:
            history = Path(folder) / "history"
            one = object.__new__(worlds.Clients)
            one.history, one.told, one.listening_error, one.is_recorded, one.told_at = history, {"doing": {}}, None, False, time.monotonic()
            one.errors = open(f"{history}.errors", "wb")  # noqa: SIM115
            one.process = subprocess.Popen([sys.executable, "-B", "-c", TELLS % [str(HERE), str(HERE.parent / "cluster")], history], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=one.errors, text=True)
            one.thread = threading.Thread(target=one._listen)
            one.thread.start()
            try:
                one.wait("doing", 20)  # it has begun
                wait_until(lambda: one.told["doing"], 20, "its first words")
                with self.assertRaisesRegex(AssertionError, "in vain for the clients to have finished.*; they said . s ago: reader-1 in close for . s$"):
                    one.wait("finished", 0.2)
            finally:
                one.end()
                one.process.stdin.close()
                one.process.stdout.close()
            stacks, words, native = ((Path(f"{history}.{kind}")).read_text() for kind in ("stacks", "words", "native"))
            self.assertIn("in close", stacks)
            self.assertRegex(words, "(?s)==== reader-1, its rdk:main is [0-9]+: in close for .*its last words\n---- 1 lines in all; statistics: {\"a\": 1}\nthat was all\n$")
            self.assertRegex(native, f"(?m)^[0-9]+ {motion.LIBRARY_THREAD}: S .*system call [0-9]+ ")
            self.assertIn("#0 " if shutil.which("gdb") else "no native stacks", native)

    def test_clients_that_do_not_begin_fail_the_run_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            one = worlds.Clients([], "127.0.0.1:1", f"{folder}/history", 1, 1)
            try:
                one.process.kill()
                with self.assertRaisesRegex(AssertionError, "^the clients ended: "):
                    one.wait_until(lambda: False, 60, "what never comes")
            finally:
                one.end()
                one.process.stdin.close()
                one.process.stdout.close()

    def test_the_program_itself_begins(self):
        """In a process of its own: it finds what it needs, and tells."""
        with tempfile.TemporaryDirectory() as folder:
            one = worlds.Clients([], "127.0.0.1:1", f"{folder}/history", 1, 1)
            try:
                one.wait_until(lambda: len(one.told["doing"]) == 6, 60, "six clients to begin")
                self.assertRegex(one.told["doing"]["reader-1"], "^in read for")
            finally:
                one.end()
                one.process.stdin.close()
                one.process.stdout.close()

    def test_a_debugger_that_is_not_there_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            motion.stacks_of("self", f"{folder}/native", program="/nowhere/gdb")
            self.assertIn("no native stacks: ", Path(f"{folder}/native").read_text())

    def test_they_are_counted(self):
        says = "print('chaos-result ' + " + repr(json.dumps(combinations.result("passed", "1", 7, stuck=1))) + ")"
        done = subprocess.run([sys.executable, "-B", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import combinations; "
                               "sys.exit(combinations.run_many([(7, '1', [sys.executable, '-c', sys.argv[2]], '')], 1))", HERE, says], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("chaos: clients whose library stood still: seed 7 rows 1 (1)\nchaos: 1 passed", done.stdout)
        self.assertEqual(combinations.results_of(done.stdout)[0]["stuck"], 1)

    def test_many_of_them_are_no_chance(self):
        for stuck, runs, status in ((1, 1, combinations.PASSED), (2, 6, combinations.PASSED), (3, 6, combinations.FAILED)):
            results = [combinations.result("passed", "1", number, stuck=int(number < stuck)) for number in range(runs)]
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(combinations.summed_up(results), status)


if __name__ == "__main__":
    unittest.main()
