"""The suites: one row each. Every function takes the run's Context and returns Counts; what it prints goes to a log file.

A build folder is build-<flavour> in the root of the tree; deploy/flavours/<flavour>.ini says what it is.
"""
import hashlib
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import shell
from counts import Counts, from_chaos, from_fuzzer, from_junit, from_meson_log, from_unittest

ROOT = Path(__file__).resolve().parents[2]
FUZZ_SECONDS = 25  # of each target: fourteen, two at a time, in the suite's budget
FUZZ_SECONDS_FULL = 3600
FUZZ_PARALLEL = 2

# A sanitizer's finding must end the program, with its own exit status.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99",
}


@dataclass
class Context:
    full: bool
    log_dir: Path
    deadline: float | None  # monotonic; None in tests/full

    def log(self, name):
        return self.log_dir / f"{name}.log"


@dataclass(frozen=True)
class Suite:
    name: str
    budget_s: int  # on 2 cores, building included; ends after twice that in tests/run
    about: str
    run: Callable[[Context], Counts]


def build(context, flavour):
    """Configures and builds; returns None, or Counts with the one failure."""
    folder, log = ROOT / f"build-{flavour}", context.log(f"build-{flavour}")
    if not (folder / "build.ninja").exists():
        setup = ["meson", "setup", folder, "--native-file", ROOT / "deploy/flavours" / f"{flavour}.ini"]
        if shell.run(setup, log, context.deadline, cwd=ROOT) != 0:
            return Counts.one_failure(f"meson setup {flavour}", shell.tail(log, 12))
    if shell.run(["ninja", "-C", folder], log, context.deadline) != 0:
        said = [line for line in shell.tail(log, 200).splitlines() if re.search(r"error:|ERROR:|^FAILED|undefined reference|multiple definition", line)]
        return Counts.one_failure(f"build of {flavour}", "\n".join(line[:300] for line in said[:20]) or shell.tail(log))
    return None


def meson_tests(context, flavour, suites, name, time_factor=1, processes=2):
    failure = build(context, flavour)
    if failure:
        return failure
    folder, log_base = ROOT / f"build-{flavour}", f"testlog-{name}"
    json_log = folder / "meson-logs" / f"{log_base}.json"
    json_log.unlink(missing_ok=True)
    env = {**SANITIZER_ENV, "MOLDAU_TIME_FACTOR": str(time_factor)}
    if context.full:
        env.update({"MOLDAU_SEED": os.environ.get("MOLDAU_SEED", "random"), "MOLDAU_RUNS": os.environ.get("MOLDAU_RUNS", "50")})
        time_factor *= 50
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--logbase", log_base,
               "--num-processes", str(processes), "--timeout-multiplier", str(time_factor)]
    status = shell.run(command + [part for suite in suites for part in ("--suite", suite)], context.log(name), context.deadline, env)
    if not json_log.exists():
        return Counts() if status == 0 else Counts.one_failure(f"meson test {name}", shell.tail(context.log(name)))
    counts = from_meson_log(json_log)
    if status != 0 and not counts.failures:
        counts.failures.append((f"meson test {name}", f"exit status {status}"))
    return counts


def tidy(context):
    failure = build(context, "ci")
    if failure:
        return failure
    report = context.log_dir / "tidy.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-B", ROOT / "tests/tidy/check.py", "--build", ROOT / "build-ci", "--junit", report]
    status = shell.run(command, context.log("tidy"), context.deadline, cwd=ROOT)
    if not report.exists():
        return Counts.one_failure("tidy", shell.tail(context.log("tidy")))
    counts = from_junit(report)
    if status != 0 and not counts.failures:
        counts.failures.append(("tidy", f"exit status {status}"))
    return counts


def fuzz(context):
    """Every target named fuzz_* for FUZZ_SECONDS, two at a time, from a copy of its corpus. The rest is built as well: clang warns differently."""
    failure = build(context, "fuzz")
    if failure:
        return failure
    folder = ROOT / "build-fuzz"
    targets = sorted(path for path in folder.rglob("fuzz_*") if path.is_file() and os.access(path, os.X_OK) and not path.suffix)
    counts = Counts(failures=[(target.name, f"has no corpus in {corpus_of(target)}") for target in targets if not corpus_of(target).is_dir()])
    waiting = [target for target in targets if corpus_of(target).is_dir()]
    seconds = int(os.environ.get("FUZZ_SECONDS", FUZZ_SECONDS_FULL if context.full else FUZZ_SECONDS))
    if context.deadline is not None and targets:
        # Many targets share what is left of the run rather than overrun it.
        rounds = -(-len(targets) // FUZZ_PARALLEL)
        seconds = max(5, min(seconds, int((context.deadline - time.monotonic()) / rounds) - 5))
    while waiting:
        group, waiting = waiting[:FUZZ_PARALLEL], waiting[FUZZ_PARALLEL:]
        started = [(target, start_fuzzer(context, target, seconds)) for target in group]
        for target, process in started:
            try:
                status = shell.finish(process, time.monotonic() + seconds + 60)
            except shell.Deadline:
                status = "none: it did not end by itself"
            log = context.log(f"fuzz-{target.name}")
            one = from_fuzzer(target.name, status, log.read_text(errors="replace"))
            one.failures = [(name, f"{why}\n{shell.tail(log, 60)}") for name, why in one.failures]
            counts.add(one)
    return counts


def corpus_of(target):
    return ROOT / "tests/fuzz/corpus" / target.name.removeprefix("fuzz_")


def start_fuzzer(context, target, seconds):
    stem = target.name.removeprefix("fuzz_")
    work = ROOT / "build-fuzz" / "fuzz-work" / stem
    shutil.rmtree(work / "seeds", ignore_errors=True)
    (work / "found").mkdir(parents=True, exist_ok=True)
    (work / "crashes").mkdir(exist_ok=True)
    shutil.copytree(corpus_of(target), work / "seeds")
    command = [target, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
               f"-artifact_prefix={work}/crashes/"]
    dictionary = ROOT / "tests/fuzz" / f"{stem}.dict"
    if dictionary.exists():
        command.append(f"-dict={dictionary}")
    return shell.start(command + [work / "found", work / "seeds"], context.log(f"fuzz-{target.name}"), SANITIZER_ENV)


def python_environment(context):
    """The virtual environment of tests/cluster; returns its python and None, or None and the failure."""
    wanted, folder = ROOT / "tests/cluster/requirements.txt", ROOT / ".venv"
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    stamp, python, log = folder / "moldau-stamp", folder / "bin/python", context.log("venv")
    if stamp.exists() and stamp.read_text() == digest:
        return python, None
    shutil.rmtree(folder, ignore_errors=True)
    for command in ([sys.executable, "-m", "venv", folder], [python, "-m", "pip", "install", "-q", "-r", wanted]):
        if shell.run(command, log, context.deadline) != 0:
            return None, Counts.one_failure("python environment of tests/cluster", shell.tail(log))
    stamp.write_text(digest)
    return python, None


def cluster(context):
    if not (ROOT / "tests/cluster/requirements.txt").exists():
        return Counts.one_failure("cluster", "tests/cluster/requirements.txt is missing")
    failure = build(context, "ci")
    if failure:
        return failure
    python, failure = python_environment(context)
    if failure:
        return failure
    report = context.log_dir / "cluster.xml"
    report.unlink(missing_ok=True)
    env = {"MOLDAU_BIN": str(ROOT / "build-ci/moldau"), "MOLDAU_BUILD": str(ROOT / "build-ci"), "PYTHONDONTWRITEBYTECODE": "1"}
    kafka = ROOT.parent / "shared/kafka/kafka"
    if kafka.exists():
        env["MOLDAU_KAFKA"] = str(kafka)
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", "--durations=10", f"--junitxml={report}", ROOT / "tests/cluster"]
    if not context.full:
        command += ["-m", "not full"]
    try:
        status = shell.run(command, context.log("cluster"), context.deadline, env, cwd=ROOT)
    except shell.Deadline:
        return Counts.one_failure("cluster", "did not end in time:\n" + shell.tail(context.log("cluster")))
    if not report.exists():
        return Counts.one_failure("cluster", shell.tail(context.log("cluster")))
    counts = from_junit(report)
    if status != 0 and not counts.failures:
        counts.failures.append(("pytest", f"exit status {status}:\n" + shell.tail(context.log("cluster"))))
    return counts


def unittests(context, folder, python=sys.executable, env=None):
    """All of a folder."""
    log = context.log(folder.replace("/", "-"))
    status = shell.run([python, "-B", "-m", "unittest", "discover", "-v", "-s", ROOT / folder], log, context.deadline, env)
    counts = from_unittest(folder, log.read_text(encoding="utf-8"))
    if not counts.failures and (status != 0 or counts.passed == 0):
        counts.failures.append((folder, shell.tail(log)))
    return counts


def chaos(context):
    """The tests of the campaign, then six combinations of faults on real processes (tests/full: every row, and pairs of them)."""
    failure = build(context, "ci")
    python, failure = python_environment(context) if failure is None else (None, failure)
    if failure:
        return failure
    counts, folder, log = unittests(context, "tests/chaos", python), ROOT / "tests/chaos", context.log("chaos")
    env = {"MOLDAU_BIN": str(ROOT / "build-ci/moldau"), "MOLDAU_PYTHON": str(python), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        status = shell.run([folder / "run", *(["--all", "--seconds", "60"] if context.full else ["--ci"])], log, context.deadline, env)
    except shell.Deadline:
        status = "none: it did not end in time"
    counts.add(from_chaos(log.read_text(encoding="utf-8", errors="replace"), status))
    return counts


def runner(context):
    """The runner's and the gates' own tests: each gate is shown able to fail."""
    counts = Counts()
    for folder in ("tests/runner", "tests/tidy"):
        counts.add(unittests(context, folder))
    return counts


def model(context):
    """The model of replication: nothing is found in it, every planted flaw is."""
    return unittests(context, "tests/model", env={"MOLDAU_MODEL_FULL": "1"} if context.full else None)


FUNCTIONAL = ("unit", "prop", "golden", "spec", "fault")

SUITES = (
    Suite("runner", 15, "the test runner counts right", runner),
    Suite("unit", 110, "build with warnings as errors; unit, property, golden and fault tests",
          lambda context: meson_tests(context, "ci", FUNCTIONAL, "unit")),
    Suite("model", 50, "a model of replication, state by state; planted flaws are found", model),
    Suite("sim", 45, "whole nodes in one process, from a seed", lambda context: meson_tests(context, "ci", ("sim",), "sim")),
    Suite("crash", 40, "every disk that a crash, a power loss or a flipped bit can leave",
          lambda context: meson_tests(context, "ci", ("crash",), "crash")),
    Suite("cluster_sim", 130, "whole clusters in one process, from seeds: more than 1,000 minutes of them",
          lambda context: meson_tests(context, "ci", ("cluster_sim",), "cluster_sim")),
    Suite("tidy", 60, "layout, layers, the seam, no mutable globals, format, clang-tidy on changed files", tidy),
    Suite("cluster", 400, "real processes, real clients, Kafka's tools", cluster),
    Suite("chaos", 180, "real processes under faults, in networks and on disks of their own; what clients saw is judged", chaos),
    Suite("asan", 250, "the same tests under AddressSanitizer and UBSan; planted bugs are seen",
          lambda context: meson_tests(context, "asan", FUNCTIONAL + ("sim", "gate"), "asan", time_factor=4)),
    Suite("tsan", 210, "the same tests under ThreadSanitizer; a planted race is seen",
          # The simulator has one thread: nothing to race with.
          lambda context: meson_tests(context, "tsan", FUNCTIONAL + ("gate",), "tsan", time_factor=10)),
    Suite("fuzz", 250, "libFuzzer targets, 25 s each", fuzz),
)
