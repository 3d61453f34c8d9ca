"""Chaos on real processes (testing.md 4, 10): nodes in network namespaces, clients whose history is checked, faults by a seed.

    tests/chaos/run --seed 7 --rows 1,4,7 [--seconds 60] [--durability synced|cached] [--target moldau|kafka] [--rate 80]
    tests/chaos/run --ci                  six combinations, two at a time
    tests/chaos/run --all                 every row alone, then as many pairs, drawn by the seed
    tests/chaos/run --list                the rows

Rows that are given together overlap, two at a time (so does a row that is given twice). A run that fails (or one with --keep) keeps its history and the nodes' directories and prints where, and how to repeat it.
The last line is for programs (combinations.py). Exit status: 0, all held; 1, something did not; 77, this machine can't have these rows; 130, interrupted.
MOLDAU_BIN names the program (default build/moldau).
"""
import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cluster")]

import combinations
import history
import nemesis
import net
import oracles
import reference
import world as worlds
from check import Checker
from cluster import program
from waiting import wait_until

WARM_ACKS = 300
HEAL_SECONDS = 30  # correctness.md 2, L4


def all_rows():
    return nemesis.rows_of(*[importlib.import_module(path.stem) for path in sorted(HERE.glob("rows_*.py"))])


class Run:
    def __init__(self, options, rows):
        self.options, self.rows = options, rows
        self.folder = Path(tempfile.mkdtemp(prefix=f"moldau-chaos-{options.seed}-"))
        self.cluster = self.clients = self.monitor = self.world = None
        self.operations, self.stuck = 0, {}

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
        # One row is asked for all that it demands when nothing else goes on.
        self.world.rows_at_once = min(self.world.rows_at_once, len(self.rows))
        for row in self.rows:
            row.setup(self.world)
        self.cluster.start()
        worlds.make_topic(self.cluster.bootstrap)
        self.cluster.wait_topic(worlds.TOPIC)
        self.monitor = self.world.monitor = oracles.Monitor(self.cluster)
        self.quiet = oracles.Quiet(self.cluster)
        self.clients = self.world.clients = worlds.Clients(clients_host.prefix if clients_host else [], self.cluster.bootstrap, self.history, options.seed, options.rate)
        self.clients.wait_until(lambda: self.clients.acked() >= WARM_ACKS, 60, f"{WARM_ACKS} acknowledgements before the first fault")
        self.quiet.warm()

    def alive(self, is_over=False):
        assert is_over or self.clients.process.poll() is None, "the clients ended"
        assert not self.clients.told["problems"], f"clients: {self.clients.told['problems']}"
        assert not self.world.problems, f"beside the rows: {self.world.problems}"
        self.monitor.alive()

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
        self.stuck = self.clients.told["stuck"]
        for who, at in self.stuck.items():
            self.world.note(f"STUCK {who} {at}: of no weight, as others read everything; where its threads are: {self.folder}")
        self.world.join()
        self.alive(is_over=True)
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
        self.operations = len(operations)
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
        look("the watch of leaders and offsets", self.monitor.stop)
        look("samples of the high watermark", lambda: self.monitor.check(operations))
        look("orderly end", self.cluster.stop_all)
        look("offsets compared in replicas", lambda: self.cluster.compare_replicas(worlds.TOPIC, until=oracles.final_ends(operations), replicas=3))
        look("logs", lambda: dict(oracles.check_logs(self.cluster)))
        return wrong

    def end(self, is_good):
        """Nothing that was started is left; what could not be ended, as texts."""
        wrong, disks = [], self.world.disks if self.world is not None else []
        steps = [one.end for one in (self.clients, self.monitor) if one is not None]
        steps += [lambda one=one: self.let_go(one) for one in disks]
        steps += [node.kill for node in (self.cluster.nodes.values() if self.cluster is not None else ()) if node.process is not None]
        steps += [lambda one=one: one.end(None if is_good else one.folder.with_name("disk-at-the-end")) for one in disks]
        steps += [self.world.join] if self.world is not None else []
        for step in steps:
            try:
                step()
            except Exception as error:
                wrong.append(f"at the end: {error!r}")
        if is_good and not wrong:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            (self.folder / "events").write_text("\n".join(self.world.events) + "\n" if self.world is not None else "")
            print(f"kept: {self.folder}")
        return wrong

    @staticmethod
    def let_go(disk):
        disk.heal()
        if disk.count("waiting") > 0:
            disk.tell("lose")  # a process that waits for its disk can't die


def run_one(options):
    """The exit status."""
    known = all_rows()
    rows = [known[number] for number in map(int, options.rows.split(","))]
    unable = [row.number for row in rows if options.target not in row.targets]
    if unable:
        sys.exit(f"rows {unable} are not for {options.target}")
    again = combinations.command_of(options, options.seed, options.rows)[1]
    lacking = missing(rows) or (reference.missing() if options.target == "kafka" else None)
    if lacking:
        print(f"chaos: skipped rows {options.rows}: {lacking}")
        combinations.tell(combinations.result("skipped", options.rows, options.seed, found=[lacking], again=again))
        return combinations.SKIPPED
    print(f"chaos: {again}", flush=True)
    started, wrong, run = time.monotonic(), ["nothing was judged"], Run(options, rows)
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
        wrong += run.end(not wrong and not options.keep and not run.stuck)
    for text in wrong:
        print(f"WRONG {text}")
    took = time.monotonic() - started
    print(f"chaos: {'FAILED' if wrong else 'ok'} rows {options.rows} seed {options.seed} in {took:.0f} s" + (f"; again: {again}" if wrong else ""))
    combinations.tell(combinations.result("failed" if wrong else "passed", options.rows, options.seed, seconds=round(took), operations=run.operations, stuck=len(run.stuck), found=wrong,
                                          folder=str(run.folder) if run.folder.exists() else None, again=again))
    return combinations.FAILED if wrong else combinations.PASSED


def missing(rows):
    """Why this machine can't have them; "": it can."""
    reasons = {"": net.missing(), **{f"row {row.number} ": row.missing() for row in rows}}
    return "; ".join(f"{who}{why}" for who, why in reasons.items() if why is not None)


def interrupted(_number, _frame):
    raise KeyboardInterrupt


def positive(text):
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text}: 1 or more")
    return number


def row_numbers(text):
    unknown = [number for number in text.split(",") if not number.isdigit() or int(number) not in all_rows()]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no row {', '.join(unknown)}: --list tells which there are")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rows", type=row_numbers, help="such as 1,6,11")
    parser.add_argument("--seconds", type=positive, default=None)
    parser.add_argument("--durability", choices=("synced", "cached"), default="synced")
    parser.add_argument("--target", choices=("moldau", "kafka"), default="moldau")
    parser.add_argument("--rate", type=positive, default=80, help="records a second of each of three producers")
    parser.add_argument("--at-once", type=positive, default=2, help="how many combinations side by side")
    for flag in ("--all", "--ci", "--list", "--keep"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    known = {number: row for number, row in all_rows().items() if options.target in row.targets}
    if options.list:
        print("\n".join(f"{number:2} {row.about}; must hold: {row.must_hold}" for number, row in known.items()))
        return 0
    try:
        program()
    except FileNotFoundError as error:
        sys.exit(f"chaos: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):  # also where whoever started us had them ignored
        signal.signal(number, interrupted)
    is_given = options.seed is not None
    options.seed = options.seed if is_given else random.SystemRandom().randrange(1 << 31)
    options.seconds = options.seconds or (combinations.CI_SECONDS if options.ci else 60)
    if options.ci or options.all:
        drawn = random.Random(options.seed)
        pairs = [",".join(map(str, drawn.sample(sorted(known), 2))) for _ in known]
        wanted = combinations.CI if options.ci else [(options.seed + number, rows) for number, rows in enumerate([*map(str, known), *pairs])]
        return combinations.run_many([(seed, rows, *combinations.command_of(options, seed, rows)) for seed, rows in wanted], options.at_once)
    if not options.rows:
        parser.error("--rows, --ci, --all or --list")
    return run_one(options)


if __name__ == "__main__":
    sys.exit(main())
