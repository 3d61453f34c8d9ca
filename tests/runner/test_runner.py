"""The runner's own tests: what must fail, fails."""
import json
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import main
import shell
from counts import CHAOS_RESULT, Counts, from_chaos, from_fuzzer, from_junit, from_meson_log, from_unittest, judge_skips
from suites import FUZZ_PARALLEL, FUZZ_SECONDS, ROOT, SUITES, Suite


def meson_log(folder, *tests):
    path = Path(folder) / "testlog.json"
    path.write_text("\n".join(json.dumps(test) for test in tests))
    return path


class CountsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_tap_cases_are_counted_one_by_one(self):
        text = "1..3\nok 1 - first\nnot ok 2 - second\nok 3 - third # SKIP no disk\n"
        counts = from_meson_log(meson_log(self.folder.name, {"name": "unit / x", "result": "FAIL", "returncode": 1, "stdout": text}))
        self.assertEqual((counts.passed, counts.failures, counts.skips), (1, [("x: second", "not ok")], [("x: third", "SKIP no disk")]))

    def test_a_crash_after_the_last_ok_is_a_failure(self):
        test = {"name": "x", "result": "ERROR", "returncode": -11, "stdout": "1..1\nok 1 - first\n"}
        counts = from_meson_log(meson_log(self.folder.name, test))
        self.assertEqual((counts.passed, len(counts.failures)), (1, 1))

    def test_a_timeout_without_output_is_a_failure(self):
        counts = from_meson_log(meson_log(self.folder.name, {"name": "x", "result": "TIMEOUT", "returncode": -15}))
        self.assertEqual((counts.passed, len(counts.failures)), (0, 1))

    def test_a_program_without_tap_counts_once(self):
        counts = from_meson_log(meson_log(self.folder.name, {"name": "x", "result": "OK", "returncode": 0, "stdout": "hello"}))
        self.assertEqual((counts.passed, counts.failures), (1, []))

    def test_junit_errors_failures_and_skips(self):
        path = Path(self.folder.name) / "report.xml"
        path.write_text("<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure message='m'/></testcase>"
                        "<testcase name='c'><error/></testcase><testcase name='d'><skipped message='r'/></testcase></testsuite></testsuites>")
        counts = from_junit(path)
        self.assertEqual((counts.passed, [name for name, _ in counts.failures], counts.skips), (1, ["b", "c"], [("d", "r")]))

    def test_unittest_skips_have_their_reason(self):
        text = "test_a (m.T.test_a) ... ok\ntest_b (m.T.test_b)\nWhat it does. ... skipped 'no tool'\ntest_d (m.T.test_d) ... skipped \"can't\"\ntest_c (m.T.test_c)\nWhat. ... ok\n"
        counts = from_unittest("tests/tidy", text)
        self.assertEqual((counts.passed, counts.skips), (2, [("tests/tidy: test_b", "no tool"), ("tests/tidy: test_d", "can't")]))

    def test_unittest_failures_are_named_one_by_one_with_their_traces(self):
        cases = ("import unittest\nclass T(unittest.TestCase):\n    def test_fails(self):\n        \"What for.\"\n        self.assertEqual([1], [2])\n"
                 "    def test_errs(self):\n        try:\n            1 / 0\n        except OSError:\n            pass\n    def test_prints(self):\n        print('word', flush=True)\n")
        (Path(self.folder.name) / "test_cases.py").write_text(cases)
        (Path(self.folder.name) / "test_missing.py").write_text("import nowhere_to_be_found\n")
        done = subprocess.run([sys.executable, "-B", "-m", "unittest", "discover", "-v", "-s", self.folder.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        counts = from_unittest("tests/x", done.stdout)
        self.assertEqual((counts.passed, sorted(name for name, _ in counts.failures)), (1, ["tests/x: test_errs", "tests/x: test_fails", "tests/x: test_missing"]))
        for (_, why), end in zip(sorted(counts.failures), ("ZeroDivisionError: division by zero", "- [1]\n+ [2]", "No module named 'nowhere_to_be_found'"), strict=True):
            self.assertTrue(why.strip().endswith(end), why)

    def test_combinations_of_chaos_are_counted_one_by_one(self):
        def said(outcome, rows):
            return CHAOS_RESULT + json.dumps({"outcome": outcome, "rows": rows, "seed": 7, "found": ["why"], "folder": "/tmp/x", "again": "tests/chaos/run --seed 7"})
        text = "\n".join(("chaos: ok", said("passed", "1"), said("skipped", "2"), said("failed", "3"), "chaos: 1 passed, 1 skipped, 1 failed"))
        counts = from_chaos(text, 1)
        self.assertEqual((counts.passed, counts.skips), (1, [("rows 2 seed 7", "why")]))
        self.assertEqual(counts.failures, [("rows 3 seed 7", "why\nkept: /tmp/x\nagain: tests/chaos/run --seed 7")])
        self.assertEqual(from_chaos(said("skipped", "2"), 77).failures, [])
        # Success without a combination, one that ended before its time, an exit status that knows of more.
        for text, status in (("", 0), (said("passed", "1"), "none"), (said("passed", "1"), 1), (said("skipped", "2"), 0)):
            self.assertEqual(len(from_chaos(text, status).failures), 1)

    def test_chaos_says_its_results_with_the_word_that_is_looked_for(self):
        self.assertIn(f'RESULT = "{CHAOS_RESULT}"', (ROOT / "tests/chaos/combinations.py").read_text())

    def test_a_fuzzer_has_executed_something(self):
        said = "stat::number_of_executed_units: {}\nstat::average_exec_per_sec:     5\n".format
        self.assertEqual(from_fuzzer("a", 0, said(100)), Counts(passed=1))
        for status, text in ((77, said(100)), ("none", said(100)), (0, said(99)), (0, "")):
            self.assertEqual(len(from_fuzzer("a", status, text).failures), 1)

    def test_a_skip_that_is_not_allowed_is_a_failure(self):
        counts = judge_skips("unit", Counts(skips=[("a", "why"), ("b", "why"), ("a", "")]), [("unit:a", "why")])
        self.assertEqual((len(counts.failures), counts.skips), (2, [("a", "why")]))


class RunTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.log = Path(self.folder.name) / "log"

    def test_a_command_past_its_deadline_ends_with_its_children(self):
        started = time.monotonic()
        command = ["sh", "-c", "sleep 1000 & echo $!; wait"]
        with self.assertRaises(shell.Deadline):
            shell.run(command, self.log, deadline=time.monotonic() + 0.1)
        self.assertLess(time.monotonic() - started, 30)
        child = int(self.log.read_text().splitlines()[1])
        stat = Path(f"/proc/{child}/stat")
        self.assertTrue(not stat.exists() or stat.read_text().split()[2] == "Z")

    def run_suite(self, function):
        return main.run_suite(Suite("planted", 60, "", function), False, Path(self.folder.name), time.monotonic() + 100)

    def test_a_suite_that_raises_is_a_failure(self):
        def broken(context):
            raise ValueError("planted")

        self.assertEqual(self.run_suite(broken).failures, [("planted", "ValueError: planted")])

    def test_a_suite_without_tests_is_a_failure(self):
        self.assertEqual(self.run_suite(lambda context: Counts()).failures, [("planted", "not a single test ran")])

    def test_the_budgets_fit_into_half_an_hour(self):
        self.assertLessEqual(sum(suite.budget_s for suite in SUITES), main.RUN_SECONDS_MAX)

    def test_the_fuzz_targets_fit_into_their_suite(self):
        targets = len(list((ROOT / "tests/fuzz").glob("fuzz_*.c")))
        budget_s = next(suite.budget_s for suite in SUITES if suite.name == "fuzz")
        self.assertGreater(targets, 0)
        self.assertLessEqual(-(-targets // FUZZ_PARALLEL) * (FUZZ_SECONDS + 3), budget_s - 30)  # loading corpora; the build


if __name__ == "__main__":
    unittest.main()
