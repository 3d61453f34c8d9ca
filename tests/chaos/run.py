"""Chaos on real processes (testing.md 4, 10): nodes in network namespaces, clients whose history is checked, faults by a seed.

    tests/chaos/run --seed 7 --rows 1,4,7 [--seconds 60] [--durability synced|cached] [--target moldau|kafka] [--rate 80]
    tests/chaos/run --ci                  six combinations in ten minutes
    tests/chaos/run --all                 every row alone, then as many pairs, drawn by the seed
    tests/chaos/run --list                the rows

Rows that are given together overlap. A run that fails (or one with --keep) keeps its history and the nodes' directories and prints where, and how to repeat it.
MOLDAU_BIN names the program (default build/moldau).
"""
import argparse
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

import history
import nemesis
import net
import oracles
import world as worlds
from check import Checker
from waiting import wait_until

CI = ((101, "1,11"), (102, "2,3"), (103, "4,7"), (104, "6,12"), (105, "8,5"), (106, "13,10"))
CI_SECONDS = 35
WARM_ACKS = 300
HEAL_SECONDS = 30  # correctness.md 2, L4
SKIPPED = 77  # the exit status of a run whose rows this machine can't have; it says why


def all_rows():
    return nemesis.rows_of(*[importlib.import_module(path.stem) for path in sorted(HERE.glob("rows_*.py"))])


class Run:
    def __init__(self, options, rows):
        self.options, self.rows = options, rows
        self.folder = Path(tempfile.mkdtemp(prefix=f"moldau-chaos-{options.seed}-"))
        self.cluster = self.clients = self.monitor = None

    def start(self):
        options = self.options
        network = net.Network()
        clients_host = network.host("clients", "10.99.0.200") if options.target == "moldau" else None
        self.history = self.folder / "history.jsonl"
        if options.target == "kafka":
            import kafka_target
            self.cluster = kafka_target.Cluster(self.folder / "nodes", network)
        else:
            settings = {"replica.lag.time.max.ms": worlds.LAG_SECONDS * 1000, "connections.max.idle.ms": 20000, "log.durability": options.durability}
            self.cluster = worlds.Cluster(self.folder / "nodes", network, settings)
        self.world = worlds.World(self.cluster, network, clients_host, None, self.folder, options.seed, options.target)
        for row in self.rows:
            row.setup(self.world)
        self.cluster.start()
        worlds.make_topic(self.cluster.bootstrap)
        self.cluster.wait_topic(worlds.TOPIC)
        self.monitor = self.world.monitor = oracles.Monitor(self.cluster)
        self.quiet = oracles.Quiet(self.cluster)
        self.clients = self.world.clients = worlds.Clients(clients_host.prefix if clients_host else [], self.cluster.bootstrap, self.history, options.seed, options.rate)
        wait_until(lambda: self.clients.acked() >= WARM_ACKS, 60, f"{WARM_ACKS} acknowledgements before the first fault")
        self.quiet.warm()

    def alive(self):
        assert self.clients.process.poll() is None, "the clients ended"
        assert not self.clients.told["problems"], f"clients: {self.clients.told['problems']}"

    def faults(self):
        started = time.monotonic()
        self.done = nemesis.Nemesis(self.world, self.rows, self.options.seconds, self.alive).run()
        self.world.note(f"{len(self.done)} faults in {time.monotonic() - started:.0f} s: rows {[row.number for row in self.done]}")

    def heal(self):
        started = time.monotonic()
        wait_until(self.world.isr_is_full, HEAL_SECONDS, "all ISRs to be full after the last fault (L4)")
        self.world.note(f"healed within {time.monotonic() - started:.1f} s")
        acked = self.clients.acked("idempotent")
        wait_until(lambda: self.clients.acked("idempotent") > acked + 50, HEAL_SECONDS, "acknowledgements after the last fault")
        self.clients.say("stop")
        self.clients.wait("stopped", 90)
        self.clients.finish()
        self.world.note(f"clients: acknowledged {self.clients.told['acked']}, unknown {self.clients.told['unknown']}, failed {self.clients.told['failed']}, "
                        f"read {self.clients.told['polled']}")

    def judge(self):
        """All oracles; what they found wrong, as texts."""
        wrong = []

        def look(name, what):
            try:
                told = what()
                if told is not None:
                    self.world.note(f"{name}: {told}")
            except AssertionError as error:
                wrong.append(f"{name}: {error}")
        operations = history.read(self.history)
        started = time.monotonic()
        checker = Checker(operations).run()
        print(checker.report())
        wrong += [f"fatal error of a producer: {text}" for text in self.clients.told["fatal"]]
        if checker.errors:
            wrong.append(f"history: {checker.errors}")
        self.world.note(f"history of {len(operations)} operations checked in {time.monotonic() - started:.1f} s")
        if self.options.target == "moldau":
            look("invariants", lambda: oracles.check_invariants(self.cluster))
            look("quiet state", self.quiet.check)
        self.monitor.stop()
        look("samples of the high watermark", lambda: self.monitor.check(operations))
        look("orderly end", self.cluster.stop_all)
        look("offsets compared in replicas", lambda: self.cluster.compare_replicas(worlds.TOPIC, until=oracles.final_ends(operations)))
        look("logs", lambda: dict(oracles.check_logs(self.cluster)))
        return wrong

    def end(self, is_good):
        if self.clients is not None:
            self.clients.end()
        if self.monitor is not None and self.monitor.watch.process.poll() is None:
            self.monitor.is_over.set()
            self.monitor.watch.process.kill()
            self.monitor.watch.process.wait()
        disks = self.world.disks if hasattr(self, "world") else []
        for one in disks:
            one.heal()
            if one.count("waiting") > 0:
                one.tell("lose")  # a process that waits for its disk can't die
        for node in self.cluster.nodes.values() if self.cluster is not None else ():
            if node.process is not None:
                node.kill()
        for one in disks:
            one.end(None if is_good else one.folder.with_name("disk-at-the-end"))
        if is_good:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            (self.folder / "events").write_text("\n".join(self.world.events) + "\n" if hasattr(self, "world") else "")
            print(f"kept: {self.folder}")


def repeat(options):
    return (f"tests/chaos/run --seed {options.seed} --rows {options.rows} --seconds {options.seconds} --durability {options.durability} "
            f"--target {options.target} --rate {options.rate}")


def run_one(options):
    """0 if all held."""
    known = all_rows()
    rows = [known[number] for number in map(int, options.rows.split(","))]
    unable = [row.number for row in rows if options.target not in row.targets]
    if unable:
        sys.exit(f"rows {unable} are not for {options.target}")
    missing = {row.number: row.missing() for row in rows if row.missing() is not None}
    if missing:
        print(f"chaos: skipped rows {options.rows}: {'; '.join(f'row {number} {why}' for number, why in missing.items())}", flush=True)
        return SKIPPED
    print(f"chaos: {repeat(options)}", flush=True)
    started, wrong, run = time.monotonic(), [], Run(options, rows)
    try:
        run.start()
        run.faults()
        run.heal()
        wrong = run.judge()
    except KeyboardInterrupt:
        print("chaos: interrupted", flush=True)
        return 130
    except Exception as error:
        wrong = ["".join(traceback.format_exception(error)) if not isinstance(error, AssertionError) else str(error)]
    finally:
        run.end(not wrong and not options.keep)
    for text in wrong:
        print(f"WRONG {text}")
    print(f"chaos: {'FAILED' if wrong else 'ok'} rows {options.rows} seed {options.seed} in {time.monotonic() - started:.0f} s"
          + (f"; again: {repeat(options)}" if wrong else ""), flush=True)
    return 1 if wrong else 0


def run_many(options, combinations):
    """Each in a process of its own, and so in namespaces of its own."""
    failed, skipped = [], []
    for number, (seed, rows) in enumerate(combinations, 1):
        command = [sys.executable, "-B", __file__, "--seed", seed, "--rows", rows, "--seconds", options.seconds, "--durability", options.durability,
                   "--target", options.target, "--rate", options.rate]
        print(f"---- {number} of {len(combinations)}", flush=True)
        status = subprocess.run(list(map(str, command)), check=False).returncode
        if status != 0:
            (skipped if status == SKIPPED else failed).append(f"seed {seed} rows {rows}")
    print(f"chaos: {len(combinations) - len(failed) - len(skipped)} passed, {len(skipped)} skipped, {len(failed)} failed{': ' if failed else ''}{'; '.join(failed)}")
    return 1 if failed else 0


def interrupted(_number, _frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rows")
    parser.add_argument("--seconds", type=int, default=None)
    parser.add_argument("--durability", choices=("synced", "cached"), default="synced")
    parser.add_argument("--target", choices=("moldau", "kafka"), default="moldau")
    parser.add_argument("--rate", type=int, default=80, help="records a second of each of three producers")
    for flag in ("--all", "--ci", "--list", "--keep"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    known = {number: row for number, row in all_rows().items() if options.target in row.targets}
    if options.list:
        print("\n".join(f"{number:2} {row.about}; must hold: {row.must_hold}" for number, row in known.items()))
        return 0
    if os.geteuid() != 0:
        sys.exit("chaos makes network namespaces: it needs root")
    for number in (signal.SIGTERM, signal.SIGINT):  # also where whoever started us had them ignored
        signal.signal(number, interrupted)
    is_given = options.seed is not None
    options.seed = options.seed if is_given else random.SystemRandom().randrange(1 << 31)
    options.seconds = options.seconds or (CI_SECONDS if options.ci else 60)
    if options.ci:
        return run_many(options, CI)
    if options.all:
        drawn = random.Random(options.seed)
        pairs = [",".join(map(str, drawn.sample(sorted(known), 2))) for _ in known]
        return run_many(options, [(options.seed + number, rows) for number, rows in enumerate([*map(str, known), *pairs])])
    if not options.rows:
        parser.error("--rows, --ci, --all or --list")
    return run_one(options)


if __name__ == "__main__":
    sys.exit(main())
