"""The promises of liveness (correctness.md 2), what was measured of them, and the table of both.

    figures.add("kill", "apart", 0.012)      # key of a row, layout, value
    missing(figures, layouts, scenes, runs)  # rows that were not measured often enough: nobody found what he looked for
    table(figures)                           # Markdown
"""
import statistics
from collections import defaultdict
from dataclasses import dataclass

# A target missed in some runs is "not met"; where a run took more than this many times the target, or half of them missed it, it is shouted.
FACTOR = 2.0
APART, COMBINED = "apart", "combined"
BEGIN, END = "<!-- tests/cluster/liveness.py --write writes from here -->", "<!-- to here -->"


@dataclass(frozen=True)
class Row:
    promise: str
    key: str
    scene: str  # of liveness_scenes.SCENES; "": all of them
    layouts: tuple
    what: str
    target: float | None  # the most that is promised; None: told beside, promised by nobody
    unit: str = "s"
    least: int | None = None  # values in a layout; None: one for each run of the scene


BOTH = (APART, COMBINED)
ROWS = (
    Row("L1", "election", "kill-controller", BOTH, "kill -9 of the active controller: another is active, by its own word", 1.0),
    Row("L1", "election_told", "kill-controller", (APART,), "until brokers tell of it (DescribeQuorum)", None),
    Row("L2", "kill", "kill-broker", BOTH, "kill -9 of a broker: others lead, by their own word", 0.5),
    Row("L2", "kill_gap", "kill-broker", BOTH, "until an idempotent producer has an acknowledgement on each partition", None),
    Row("L2", "kill_active", "kill-controller", (COMBINED,), "the same, it was the active controller, too: others lead", 1.5),
    Row("L2", "kill_active_gap", "kill-controller", (COMBINED,), "until acknowledgements", None),
    Row("L2", "freeze", "freeze", BOTH, "SIGSTOP of a broker: others lead", 4.0),
    Row("L2", "freeze_gap", "freeze", BOTH, "until acknowledgements", None),
    Row("L2", "freeze_active", "freeze-controller", (COMBINED,), "SIGSTOP of a broker that is the active controller, too: others lead", 4.0),
    Row("L1", "freeze_election", "freeze-controller", (COMBINED,), "of these: another controller is active; then all brokers have a new session of 3 s", None),
    Row("L2", "freeze_active_gap", "freeze-controller", (COMBINED,), "until acknowledgements", None),
    Row("L2", "part", "part", (APART,), "a broker cut off from everybody (iptables): others lead", 4.0),
    Row("L2", "part_gap", "part", (APART,), "until acknowledgements", None),
    Row("L3", "stall", "restart", BOTH, "a node stopped in order and started again: longest stall of a partition", 2.0),
    Row("L3", "left_behind", "restart", BOTH, "partitions that it still led when its process ended", 0, "partitions"),
    Row("L4", "whole", "", BOTH, "after a fault: ISRs full, all led, voters caught up, everything acknowledged is read", 30.0),
    Row("L5", "gone_changes", "lose-quorum", (APART,), "two of three controllers killed: leaders and ISRs that changed", 0, "changes"),
    Row("L5", "gone_produce", "lose-quorum", (APART,), "longest time without an acknowledgement on a partition (target: L3's)", 2.0),
    Row("L5", "gone_fetch", "lose-quorum", (APART,), "longest time in which nothing of a partition was read (target: L3's)", 2.0),
    Row("L5", "back", "lose-quorum", (APART,), "their processes started: a topic can be changed (target: L4's)", 30.0),
    Row("L7", "warmup_private", "", BOTH, "until each node has played each role (not counted below): private memory of a node, more than after its start", None, "MiB", 1),
    Row("L7", "warmup_mapped", "", BOTH, "pages of its program, the same", None, "MiB", 1),
    Row("L7", "memory", "", BOTH, "after a fault: resident memory of the node that grew most, more than warm", 10.0, "%"),
    Row("L7", "memory_private", "", BOTH, "private memory of the node that grew most", None, "MiB"),
    Row("L7", "memory_mapped", "", BOTH, "pages of its program, the same", None, "MiB"),
    Row("L7", "slope", "", BOTH, "private memory of the process that grew most, for each fault that it lived through", 48.0, "KiB", 0),
    Row("L7", "descriptors", "", BOTH, "open descriptors of all nodes, more than before", 10.0, "%"),
    Row("L7", "threads", "", BOTH, "threads of all nodes, more than before", 10.0, "%"),
    Row("-", "witness", "", BOTH, "the machine meanwhile: what wakes up each 20 ms and syncs 1 KiB beside the nodes was late by", None),
)
KEYS = frozenset(row.key for row in ROWS)


class Figures:
    def __init__(self):
        self.values = defaultdict(list)  # (key, layout) -> values

    def add(self, key, layout, value):
        assert key in KEYS, key
        self.values[key, layout].append(value)
        print(f"  {layout} {key}: {value:.3f}", flush=True)


def percentile(values, share):
    """The smallest value that is not below `share` of them."""
    return sorted(values)[max(0, -(-len(values) * share // 100) - 1)]


def verdict(values, target):
    if target is None:
        return ""
    over = sum(value > target for value in values)
    if not over:
        return "met"
    is_far = max(values) > target * FACTOR or over * 2 >= len(values)
    return f"{'NOT MET' if is_far else 'not met'}: {over} of {len(values)} over"


def written(value, unit):
    return {"s": f"{value:.3f}", "%": f"{value:+.1f}", "MiB": f"{value:+.1f}", "KiB": f"{value:+.1f}"}.get(unit, f"{value:.0f}")


def table(figures):
    lines = ["| | layout | measured | target | runs | median | p95 | max | | |", "|---|---|---|---|---|---|---|---|---|---|"]
    for row in ROWS:
        for layout in row.layouts:
            values = figures.values.get((row.key, layout))
            if values:
                cells = (written(value, row.unit) for value in (statistics.median(values), percentile(values, 95), max(values)))
                target = "" if row.target is None else f"{row.target:g}"
                lines.append(f"| {row.promise} | {layout} | {row.what} | {target} | {len(values)} | {' | '.join(cells)} | {row.unit} | {verdict(values, row.target)} |")
    return "\n".join(lines)


def missing(figures, scenes, runs):
    """`scenes`: (scene, layout) pairs that were asked for."""
    found = []
    for row in ROWS:
        for layout in row.layouts:
            wanted = sum(row.scene in ("", scene) and its == layout for scene, its in scenes)
            wanted = wanted * runs if row.least is None else min(wanted, row.least)
            count = len(figures.values.get((row.key, layout), ()))
            if count < wanted:
                found.append(f"{row.promise} {row.key} ({layout}): {count} of {wanted} runs")
    return found


def missed(figures):
    """Rows whose target was not met."""
    by_key = {row.key: row for row in ROWS}
    return [f"{by_key[key].promise} {key} ({layout}) {verdict(values, by_key[key].target)}" for (key, layout), values in figures.values.items()
            if verdict(values, by_key[key].target) not in ("", "met")]


def hopeless(figures):
    """Rows whose median is beyond all that a busy machine does: the product's, whatever the machine. The lower median: of two runs both must be, not their mean."""
    by_key = {row.key: row for row in ROWS}
    found = []
    for (key, layout), values in figures.values.items():
        row, median = by_key[key], statistics.median_low(values)
        if row.target is not None and median > row.target * FACTOR:
            found.append(f"{row.promise} {key} ({layout}): the median is {written(median, row.unit)} {row.unit}, more than {FACTOR:g} times the target of {row.target:g}")
    return found


def write_into(path, text):
    head, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no place for the figures (the lines {BEGIN} and {END})")
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")
