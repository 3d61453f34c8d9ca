#!/usr/bin/env python3
"""Measures the promises of liveness (correctness.md 2: L1 to L5, L7) on real processes: three brokers with three controllers apart, and three nodes that are both.

    tests/cluster/liveness.py --runs 10                          # prints the table; about a quarter of an hour
    tests/cluster/liveness.py --scenes freeze,restart --layouts apart --runs 3
    tests/cluster/liveness.py --runs 10 --write                  # and puts it into docs/testing.md
    tests/cluster/liveness.py --set controller.quorum.election.timeout.ms=3000 --scenes kill-controller   # a promise that is not met

MOLDAU_BIN names the program (build/moldau): a release build, of the commit that --commit names (the tree's HEAD). Needs confluent-kafka (the .venv that
tests/run makes), and root for scene "part" (network namespaces). Exit status 1: something that had to be found was not found, or something acknowledged was lost.
A target that single runs miss is told in the table and does not change the exit status: machines differ, and are shared. A median beyond twice the target does.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE)]
sys.path += [str(HERE.parent / "chaos"), str(HERE.parent / "bench")]
PAGE = ROOT / "docs/testing.md"


def use_python_with_clients():
    """Goes on in the tests' own environment when this one has no confluent-kafka."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        python = ROOT / ".venv/bin/python"
        if not python.exists() or Path(sys.prefix) == python.parents[1]:
            raise SystemExit("liveness: needs confluent-kafka: run tests/run cluster once, which makes .venv") from None
        os.execv(python, [str(python), *sys.argv])


def arguments(scenes, layouts):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="of each fault")
    parser.add_argument("--scenes", default=",".join(scenes), help=f"some of {', '.join(scenes)}")
    parser.add_argument("--layouts", default=",".join(layouts))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of all nodes")
    parser.add_argument("--commit", help="of which the program was built")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    options.scenes, options.layouts = options.scenes.split(","), options.layouts.split(",")
    options.set = dict(pair.split("=", 1) for pair in options.set)
    strange = (set(options.scenes) - set(scenes)) | (set(options.layouts) - set(layouts))
    if strange or options.runs < 1:
        parser.error(f"what is {', '.join(sorted(strange)) or options.runs}?")
    if options.write and (options.set or set(options.scenes) != set(scenes) or set(options.layouts) != set(layouts)):
        parser.error("--write takes the whole table of the product's own settings")
    return options


def commit():
    """The tree's, and whether the product's sources differ from it."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    changed = git("status", "--porcelain", "--", "broker", "cli", "common", "controller", "proto")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def make_cluster(folder, scene, layout, settings):
    from replicated import Cluster
    if scene != "part":
        return Cluster(folder, settings=settings, **({"combined": 3} if layout == "combined" else {}))
    if os.geteuid() != 0:
        raise SystemExit("liveness: scene part makes network namespaces: it needs root (--scenes leaves it out)")
    import net
    import world
    return world.Cluster(folder, net.Network(), settings)


def play(folder, wanted, options, figures):
    """All scenes; (rows acknowledged, texts of what was not found)."""
    from liveness_scenes import SCENES, Stage
    rows, wrong = 0, []
    for scene, layout in wanted:
        print(f"---- {scene}, {layout}, {options.runs} runs", flush=True)
        stage = Stage(make_cluster(folder / f"{scene}-{layout}", scene, layout, options.set), layout, figures, options.runs)
        try:
            with stage.set():
                SCENES[scene][0](stage)
        except Exception as error:
            traceback.print_exc()
            wrong.append(f"{scene} ({layout}): {error}")
        rows += stage.rows
    return rows, wrong


def head(machine, options, rows, seconds):
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    machine = dict(machine)
    kept = ("processors", "kernel, file system", "1 KiB append + fdatasync, p50 / p99", "load average before the run (1, 5, 15 min)")
    told = "; ".join(f"{name}: {machine[name]}" for name in kept)
    return (f"Measured {now} on {options.commit or commit()}, release build, in {seconds / 60:.0f} minutes. {told}; after it: {' '.join(f'{value:.1f}' for value in os.getloadavg())}. "
            f"{rows:,} rows were acknowledged (`durability=synced`, acks=all); none was refused, each was read once at its offset, and the replicas are the same.")


def main():
    use_python_with_clients()
    import limits
    from cluster import program
    from liveness_scenes import SCENES
    from liveness_table import BOTH, Figures, hopeless, missed, missing, table, write_into
    options = arguments(list(SCENES), BOTH)
    program()
    wanted = [(scene, layout) for layout in options.layouts for scene in options.scenes if layout in SCENES[scene][1]]
    wanted.sort(key=lambda pair: pair[0] == "part")  # it takes this process into another network
    folder, started, figures = Path(tempfile.mkdtemp(prefix="moldau-liveness-")), time.monotonic(), Figures()
    try:
        machine = limits.describe(folder)
        rows, wrong = play(folder, wanted, options, figures)
    finally:
        if not os.environ.get("MOLDAU_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    wrong += missing(figures, wanted, options.runs)
    text = f"{head(machine, options, rows, time.monotonic() - started)}\n\n{table(figures)}"
    print(text)
    for line in missed(figures):
        print(f"liveness: {line}")
    for line in wrong:
        print(f"liveness: WRONG {line}")
    if options.write and not wrong:
        write_into(PAGE, text)
    far = hopeless(figures)
    for line in far:
        print(f"liveness: FAR {line}")
    return 1 if wrong or far else 0


if __name__ == "__main__":
    sys.exit(main())
