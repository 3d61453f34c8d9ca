"""Counts what passed, failed and was skipped, from what the test programs themselves reported.

A program that ended badly counts as failed even if each of its cases said "ok"; a skip that tests/allowed_skips.txt does not
list counts as a failure, so that a test cannot quietly stop running.
"""
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

CHAOS_RESULT = "chaos-result "  # tests/chaos/combinations.py
FUZZ_EXECUTIONS = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
FUZZ_EXECUTIONS_MIN = 100  # the slowest target has some 175 a second
TAP_LINE = re.compile(r"^(ok|not ok)\b\s*\d*\s*-?\s*([^#]*)(#\s*skip\b.*)?", re.IGNORECASE)


@dataclass
class Counts:
    passed: int = 0
    failures: list = field(default_factory=list)  # (name, one line of why)
    skips: list = field(default_factory=list)  # (name, reason)

    def add(self, other):
        self.passed += other.passed
        self.failures += other.failures
        self.skips += other.skips

    @staticmethod
    def one_failure(name, why):
        return Counts(failures=[(name, why)])


def _from_tap(name, text, counts):
    """Counts the TAP lines of `text`; returns whether there were any."""
    found = False
    for line in text.splitlines():
        match = TAP_LINE.match(line)
        if not match:
            continue
        found = True
        case = f"{name}: {match.group(2).strip()}" if match.group(2).strip() else name
        if match.group(3):
            counts.skips.append((case, match.group(3).lstrip("# ").strip()))
        elif match.group(1) == "ok":
            counts.passed += 1
        else:
            counts.failures.append((case, "not ok"))
    return found


def from_meson_log(path):
    """Counts of a Meson testlog.json (one JSON object a line)."""
    counts = Counts()
    with open(path, encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            name, result = test["name"].split(" / ")[-1], test["result"]
            failures_before = len(counts.failures)
            had_cases = _from_tap(name, test.get("stdout") or "", counts)
            if result in ("OK", "EXPECTEDFAIL"):
                counts.passed += 0 if had_cases else 1
            elif result == "SKIP":
                if not had_cases:
                    counts.skips.append((name, "skipped as a whole"))
            elif len(counts.failures) == failures_before:
                counts.failures.append((name, f"{result}, exit status {test.get('returncode')}"))
    return counts


def from_junit(path):
    """Counts of a JUnit XML file as pytest writes it."""
    counts = Counts()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        skipped = case.find("skipped")
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if bad is not None:
            counts.failures.append((name, (bad.get("message") or "").splitlines()[0][:200] if bad.get("message") else "failed"))
        elif skipped is not None:
            counts.skips.append((name, skipped.get("message") or ""))
        else:
            counts.passed += 1
    return counts


def from_unittest(name, text):
    """Counts of what "python -m unittest -v" prints. What ended before it had told of its failures has them in its exit status alone."""
    counts = Counts(passed=len(re.findall(r"(?: \.\.\. |^)ok$", text, re.MULTILINE)))  # what a test prints comes between
    for case, why in re.findall(r"^={70}\n(?:FAIL|ERROR): (\S+).*\n(?:.*\n)?-{70}\n((?:(?![=-]{70}$).*\n)*)", text, re.MULTILINE):
        counts.failures.append((f"{name}: {case}", why))
    for case, _quote, reason in re.findall(r"^(\w+) \([^)\n]*\)(?:\n[^\n]*)? \.\.\. skipped (['\"])(.*)\2$", text, re.MULTILINE):
        counts.skips.append((f"{name}: {case}", reason))
    return counts


def from_chaos(text, status):
    """Counts of what tests/chaos/run printed: a case for each combination. Its exit status may not know of more than they do."""
    counts = Counts()
    for line in text.splitlines():
        if not line.startswith(CHAOS_RESULT):
            continue
        one = json.loads(line.removeprefix(CHAOS_RESULT))
        name, found = f"rows {one['rows']} seed {one['seed']}", "\n".join(one["found"])
        if one["outcome"] == "passed":
            counts.passed += 1
        elif one["outcome"] == "skipped":
            counts.skips.append((name, found))
        else:
            counts.failures.append((name, f"{found}\nkept: {one['folder']}\nagain: {one['again']}"))
    expected = 1 if counts.failures else 0 if counts.passed else 77
    if status != expected:
        counts.failures.append(("tests/chaos/run", f"exit status {status} after {counts.passed} passed, {len(counts.skips)} skipped, {len(counts.failures)} failed"))
    return counts


def from_fuzzer(name, status, text):
    """One case: the target ended well, and it has executed something (a corpus that moved away, or a start-up that hangs, ends well, too)."""
    executions = FUZZ_EXECUTIONS.search(text)
    count = int(executions.group(1)) if executions else 0
    if status != 0:
        return Counts.one_failure(name, f"exit status {status}")
    if count < FUZZ_EXECUTIONS_MIN:
        return Counts.one_failure(name, f"executed {count} inputs; it must be {FUZZ_EXECUTIONS_MIN} at least")
    return Counts(passed=1)


def read_allowed_skips(path):
    """Pairs of (part of suite:name, part of the reason)."""
    with open(path, encoding="utf-8") as lines:
        rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.strip() and not line.startswith("#")]
    return [(name, reason) for name, reason, _why in rows]


def judge_skips(suite, counts, allowed):
    """Turns every skip of `suite` that no row of `allowed` covers into a failure."""
    kept = []
    for name, reason in counts.skips:
        if any(part in f"{suite}:{name}" and why in reason for part, why in allowed):
            kept.append((name, reason))
        else:
            counts.failures.append((name, f"skipped, and tests/allowed_skips.txt does not allow it: {reason or 'no reason given'}"))
    counts.skips = kept
    return counts
