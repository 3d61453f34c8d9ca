"""The layer "chaos" of tests/mutants/run: real processes under the faults of tests/chaos, where rules.txt says which rows can find a fault."""
import json
import os
import shlex
import shutil
import subprocess

from mutant_rules import read_rules

CHAOS_SECONDS = 400  # for one combination


def can_run():
    """Network namespaces and file systems in user space."""
    return os.geteuid() == 0


def options_of(name):
    """What rules.txt has tests/chaos/run asked about this patch, or None."""
    return next((rule.chaos() for rule in read_rules() if rule.patch == name and rule.chaos() is not None), None)


def run(bench, options):
    """(options, what was found) or None; what runs is the copy's program and the copy's tests/chaos."""
    if not bench.build(["moldau"]):
        return None
    environment = {**os.environ, "MOLDAU_BIN": str(bench.objects / "moldau")}
    if "MOLDAU_PYTHON" not in environment:
        environment["MOLDAU_PYTHON"] = str(bench.python)
    process = subprocess.Popen([bench.source / "tests/chaos/run", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", env=environment)
    try:
        output = process.communicate(timeout=CHAOS_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        return shlex.join(options), f"does not end within {CHAOS_SECONDS} s"
    print(output, file=bench.log, flush=True)
    results = [json.loads(line.removeprefix("chaos-result ")) for line in output.splitlines() if line.startswith("chaos-result ")]
    if process.returncode == 0:
        return None
    if process.returncode != 1 or not results:
        raise SystemExit(f"tests/chaos/run {shlex.join(options)} ends with {process.returncode}: {output[-300:]}")
    if bench.has_fault:  # what it leaves was wanted, its output is in the log; what fails without one is kept
        for folder in {result["folder"] for result in results if result["folder"]}:
            shutil.rmtree(folder, ignore_errors=True)
    return shlex.join(options), "; ".join(text.split("\n", 1)[0] for text in results[-1]["found"]) or output[-120:]
