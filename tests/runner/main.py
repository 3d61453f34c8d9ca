"""tests/run and tests/full: runs the suites one after the other and prints what each took of its budget."""
import argparse
import shutil
import sys
import time

import shell
from counts import Counts, judge_skips, read_allowed_skips
from suites import ROOT, SUITES, Context

RUN_SECONDS_MAX = 29 * 60


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="tests/run", description="Runs the tests.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="only these (default: all)")
    parser.add_argument("--full", action="store_true", help="more seeds, longer fuzzing, slow tests, no time limit")
    parser.add_argument("--list", action="store_true", help="name the suites and end")
    arguments = parser.parse_args(argv)
    known = {suite.name for suite in SUITES}
    for name in arguments.suites:
        if name not in known:
            parser.error(f"no suite '{name}'; there are: {', '.join(suite.name for suite in SUITES)}")
    return arguments


def run_suite(suite, full, log_dir, run_deadline):
    deadline = None if full else min(run_deadline, time.monotonic() + 2 * suite.budget_s)
    if deadline is not None and deadline - time.monotonic() < 5:
        return Counts.one_failure(suite.name, "not run: the time of the whole run is used up")
    try:
        counts = suite.run(Context(full=full, log_dir=log_dir, deadline=deadline))
        empty = not (counts.passed or counts.failures or counts.skips)
        return Counts.one_failure(suite.name, "not a single test ran") if empty else counts
    except shell.Deadline:
        return Counts.one_failure(suite.name, f"did not end in time; its log is in {log_dir.relative_to(ROOT)}")
    except Exception as error:  # a broken suite must not hide the results of the others
        return Counts.one_failure(suite.name, f"{type(error).__name__}: {error}")


def print_result(suite, counts, took_s):
    over = " OVER BUDGET" if took_s > suite.budget_s else ""
    print(f"suite {suite.name}: {counts.passed} passed, {len(counts.failures)} failed, {len(counts.skips)} skipped, "
          f"took {took_s:.0f} s of {suite.budget_s} s{over}", flush=True)
    for name, reason in counts.skips:
        print(f"  skipped {name}: {reason}")
    for name, why in counts.failures:
        print(f"  FAILED {name}: " + why.strip().replace("\n", "\n    "), flush=True)


def main(argv):
    arguments = parse_arguments(argv)
    if arguments.list:
        for suite in SUITES:
            print(f"{suite.name:10} {suite.budget_s:4} s  {suite.about}")
        return 0
    log_dir = ROOT / "build-logs"
    shutil.rmtree(log_dir, ignore_errors=True)
    log_dir.mkdir()
    allowed = read_allowed_skips(ROOT / "tests/allowed_skips.txt")
    total, run_deadline = Counts(), time.monotonic() + RUN_SECONDS_MAX
    for suite in SUITES:
        if arguments.suites and suite.name not in arguments.suites:
            continue
        started = time.monotonic()
        counts = judge_skips(suite.name, run_suite(suite, arguments.full, log_dir, run_deadline), allowed)
        print_result(suite, counts, time.monotonic() - started)
        total.add(counts)
    print(f"{total.passed} passed, {len(total.failures)} failed, {len(total.skips)} skipped", flush=True)
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
