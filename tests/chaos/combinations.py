"""Many runs of the campaign, some side by side: each is a process of its own, and so in namespaces of its own.

The last line of a run, and the line of each of many, is RESULT and an object: {"outcome": "passed"|"failed"|"skipped", "rows", "seed", "seconds",
"operations", "stuck": how many readers' libraries stood still (motion.py), "found": [what was wrong, or why it was skipped], "folder", "again"}. tests/run counts them.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESULT = "chaos-result "
PASSED, FAILED, SKIPPED = 0, 1, 77  # exit statuses; SKIPPED: this machine can't have these rows, and nothing was shown
FOUND_BYTES = 1000
STUCK_SHARE = 1 / 3  # of the runs, if it is more than one: a library's own lock is rare, what brings it about everywhere is ours

# Of each kind: nodes and networks; controllers among them; connections; a quorum that is gone; clocks and limits; disks.
CI = ((101, "1,6,11"), (102, "2,3,7"), (104, "4,12"), (105, "8,13,10"), (107, "29,31,34,35"), (108, "21,22,23,24"))
CI_SECONDS = 20


def result(outcome, rows, seed, **more):
    return {"outcome": outcome, "rows": rows, "seed": seed, "seconds": 0, "operations": 0, "stuck": 0, "found": [], "folder": None, "again": None, **more}


def tell(one):
    print(RESULT + json.dumps({**one, "found": [text[:FOUND_BYTES] for text in one["found"]]}), flush=True)


def results_of(text):
    return [json.loads(line[len(RESULT):]) for line in text.splitlines() if line.startswith(RESULT)]


class Started:
    """One combination, at work; what it prints is kept until it has ended, so that two do not speak at once."""

    def __init__(self, command, seed, rows, again):
        self.seed, self.rows, self.again = seed, rows, again
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)

    def text(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def judged(self, text):
        """What it said itself, if its exit status agrees."""
        status, told = self.process.returncode, results_of(text)
        expected = {"passed": PASSED, "failed": FAILED, "skipped": SKIPPED}
        if len(told) == 1 and expected[told[0]["outcome"]] == status:
            return told[0]
        return result("failed", self.rows, self.seed, found=[f"exit status {status}, and {len(told)} results: {text[-FOUND_BYTES // 2:]}"], again=self.again)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.output.close()


def run_many(commands, at_once):
    """`commands`: (seed, rows, command, how to repeat it). Prints each when it has ended, and all results at the end; the exit status."""
    waiting, running, results, count = list(commands), [], [], len(commands)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                seed, rows, command, again = waiting.pop(0)
                running.append(Started(command, seed, rows, again))
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            for one in [one for one in running if one.process.poll() is not None]:
                text = one.text()
                found = one.judged(text)
                results.append(found)
                print(f"---- {len(results)} of {count}: seed {one.seed} rows {one.rows}")
                print("\n".join(line for line in text.splitlines() if not line.startswith(RESULT)))
                tell(found)
                running.remove(one)
                one.end()
    finally:
        for one in running:
            one.end()
    return summed_up(results)


def summed_up(results):
    """0 if something was shown, and nothing was wrong."""
    names = {outcome: [f"seed {one['seed']} rows {one['rows']}" for one in results if one["outcome"] == outcome] for outcome in ("passed", "failed", "skipped")}
    stuck = [f"seed {one['seed']} rows {one['rows']} ({one['stuck']})" for one in results if one.get("stuck")]
    if stuck:
        print(f"chaos: clients whose library stood still: {'; '.join(stuck)}")
    too_many = len(stuck) > 1 and len(stuck) > len(results) * STUCK_SHARE
    if too_many:
        print(f"chaos: WRONG: in {len(stuck)} of {len(results)} runs")
    print(f"chaos: {len(names['passed'])} passed, {len(names['skipped'])} skipped, {len(names['failed'])} failed{': ' if names['failed'] else ''}{'; '.join(names['failed'])}",
          flush=True)
    return FAILED if names["failed"] or too_many else PASSED if names["passed"] else SKIPPED


def command_of(options, seed, rows):
    """(words, text) of one run."""
    words = ["--seed", seed, "--rows", rows, "--seconds", options.seconds, "--durability", options.durability, "--target", options.target, "--rate", options.rate]
    return [sys.executable, "-B", Path(__file__).with_name("run.py"), *words], " ".join(map(str, ["tests/chaos/run", *words]))
