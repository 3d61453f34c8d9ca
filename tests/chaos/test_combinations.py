"""Runs side by side: what each says is counted, and nothing that was not shown passes."""
import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import threading
import types
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

import combinations
import run as campaign
import world as worlds

SAYS = """import json, sys
print("said")
for outcome in {outcomes}:
    print("chaos-result " + json.dumps(dict(outcome=outcome, rows="1", seed=1, seconds=2, operations=3, found=["what"], folder=None, again="again")))
sys.exit({status})"""


def saying(*outcomes, status):
    return (1, "1", [sys.executable, "-c", SAYS.format(outcomes=outcomes, status=status)], "again")


class Combinations(unittest.TestCase):
    def run_many(self, *commands, at_once=2):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = combinations.run_many(commands, at_once)
        self.results = combinations.results_of(output.getvalue())
        self.assertEqual(len(self.results), len(commands))
        return status, output.getvalue().splitlines()[-1]

    def test_each_is_counted_once(self):
        found = self.run_many(saying("passed", status=0), saying("skipped", status=77), saying("failed", status=1))
        self.assertEqual(found, (1, "chaos: 1 passed, 1 skipped, 1 failed: seed 1 rows 1"))
        self.assertEqual(self.run_many(saying("passed", status=0), saying("skipped", status=77)), (0, "chaos: 1 passed, 1 skipped, 0 failed"))

    def test_nothing_but_skips_is_no_success(self):
        self.assertEqual(self.run_many(saying("skipped", status=77), saying("skipped", status=77))[0], 77)

    def test_who_says_nothing_or_another_thing_has_failed(self):
        for command in (saying(status=0), saying("passed", status=1), saying("passed", "passed", status=0), saying("failed", status=0), saying("passed", status=-9)):
            self.assertEqual(self.run_many(command)[0], 1)
            self.assertIn("exit status", self.results[0]["found"][0])

    def test_two_at_a_time_and_not_more(self):
        with tempfile.TemporaryDirectory() as folder:
            # Each waits for a partner: one alone would never end.
            meet = ("import os, sys, time; from pathlib import Path; at = Path(sys.argv[1]); mine = at / sys.argv[2]; mine.touch(); ends = time.monotonic() + 20\n"
                    "while len(list(at.iterdir())) < 2 and time.monotonic() < ends: time.sleep(0.01)\n"
                    "assert len(list(at.iterdir())) == 2; " + SAYS.format(outcomes=("passed",), status=0))
            commands = [(1, "1", [sys.executable, "-c", meet, folder, str(number)], "") for number in range(2)]
            self.assertEqual(self.run_many(*commands)[0], 0)
        with tempfile.TemporaryDirectory() as folder:
            alone = ("import os, sys; os.mkdir(sys.argv[1] + '/one'); os.rmdir(sys.argv[1] + '/one'); " + SAYS.format(outcomes=("passed",), status=0))
            self.assertEqual(self.run_many(*[(1, "1", [sys.executable, "-c", alone, folder], "") for _ in range(4)], at_once=1)[0], 0)

    def test_what_is_interrupted_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "told"
            wait = "import os, sys; from pathlib import Path; Path(sys.argv[1]).write_text(str(os.getpid())); os.kill(os.getppid(), 15); sys.stdin.read(); import signal; signal.pause()"
            code = ("import signal, sys; sys.path.insert(0, sys.argv[1]); import combinations\n"
                    "def stop(*_): raise KeyboardInterrupt\n"
                    "signal.signal(signal.SIGTERM, stop)\n"
                    "combinations.run_many([(1, '1', [sys.executable, '-c', sys.argv[2], sys.argv[3]], '')], 2)")
            done = subprocess.run([sys.executable, "-B", "-c", code, HERE, wait, told], capture_output=True, timeout=30, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertFalse(Path(f"/proc/{told.read_text()}").exists())

    def test_the_combinations_of_ci_are_of_all_kinds(self):
        known = campaign.all_rows()
        files = {known[int(number)].__module__ for _seed, rows in combinations.CI for number in rows.split(",")}
        self.assertEqual(files, {path.stem for path in HERE.glob("rows_*.py")})
        self.assertEqual((len(combinations.CI), len({seed for seed, _rows in combinations.CI})), (6, 6))


class Words(unittest.TestCase):
    def test_rows_and_numbers_that_are_none_are_refused(self):
        self.assertEqual((campaign.row_numbers("1,24"), campaign.positive("3")), ("1,24", 3))
        for read, text in ((campaign.row_numbers, "1,99"), (campaign.row_numbers, ""), (campaign.row_numbers, "-1"), (campaign.positive, "0"), (campaign.positive, "-5")):
            with self.assertRaises(argparse.ArgumentTypeError):
                read(text)


class TheEnd(unittest.TestCase):
    """Run.end, with whatever went wrong before."""

    def ended(self, **parts):
        one = object.__new__(campaign.Run)
        folder = self.enterContext(tempfile.TemporaryDirectory())
        one.folder, one.clients, one.monitor, one.cluster, one.world = Path(folder) / "run", None, None, None, None
        one.folder.mkdir()
        for name, part in parts.items():
            setattr(one, name, part)
        with contextlib.redirect_stdout(io.StringIO()):
            return one.end(True), one.folder.exists()

    def test_a_run_that_did_not_begin(self):
        self.assertEqual(self.ended(), ([], False))

    def test_what_can_not_be_ended_is_wrong_and_the_rest_is_ended(self):
        killed, parts = [], {}
        for name in ("clients", "monitor"):
            parts[name] = types.SimpleNamespace(end=lambda: 1 / 0)
        parts["cluster"] = types.SimpleNamespace(nodes={1: types.SimpleNamespace(process=1, kill=lambda: killed.append(1))})
        wrong, is_kept = self.ended(**parts)
        self.assertEqual((len(wrong), is_kept, killed), (2, True, [1]))
        self.assertIn("ZeroDivisionError", wrong[0])

    def test_a_thread_beside_the_rows_is_waited_for_and_its_error_kept(self):
        world = worlds.World(None, None, None, None, ".", 1, "moldau")
        release, ended = threading.Event(), []

        def work(word):
            release.wait(20)
            ended.append(word)
            raise ValueError("planted")
        world.aside(work, "word")
        release.set()
        world.join()
        self.assertEqual((ended, world.threads), (["word"], []))
        self.assertIn("planted", world.problems[0])

    def test_a_thread_that_never_ends_is_wrong(self):
        before, worlds.ASIDE_SECONDS = worlds.ASIDE_SECONDS, 0.05
        release = threading.Event()
        self.addCleanup(setattr, worlds, "ASIDE_SECONDS", before)
        self.addCleanup(release.set)
        world = worlds.World(None, None, None, None, ".", 1, "moldau")
        world.aside(release.wait)
        wrong, is_kept = self.ended(world=world)
        self.assertEqual((len(wrong), is_kept), (1, True))
        self.assertIn("does not end", wrong[0])

    def test_clients_whose_words_can_not_be_read(self):
        clients = object.__new__(worlds.Clients)
        clients.told, clients.listening_error = {}, None
        clients.process = types.SimpleNamespace(stdout=iter([json.dumps({"acked": {}}) + "\n", "no words\n", "half a li"]))
        clients._listen()
        self.assertEqual(clients.told, {"acked": {}})
        self.assertIn("no words", clients.listening_error)


if __name__ == "__main__":
    unittest.main()
