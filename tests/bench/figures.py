"""What was measured, as a table with the machine beside it, and where it goes in the documentation."""
import os
import statistics
from datetime import datetime, timezone

KAFKA, MOLDAU, SYNCED, CACHED = "Kafka 4.3", "Moldau", "Moldau, synced", "Moldau, cached"


class Figures:
    """Measured values: by row, by column, in the order of measuring."""

    def __init__(self):
        self.values = {}

    def add(self, row, column, value):
        self.values.setdefault(row, {}).setdefault(column, []).append(value)
        print(f"  {row}: {column}: {value:.4g}", flush=True)


def written(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table(figures):
    """Rows as Markdown: the medians, the smallest and largest behind them, and Kafka's median divided by ours."""
    lines = ["| measure | Kafka 4.3 | Moldau, synced | Moldau, cached | Kafka / synced | Kafka / cached |", "|---|---|---|---|---|---|"]
    for row, by_column in figures.values.items():
        def cell(column):
            values = by_column.get(column, by_column.get(MOLDAU) if column != KAFKA else None)
            if not values:
                return None, "-"
            spread = f" ({written(min(values))} to {written(max(values))})" if len(values) > 1 else ""
            return statistics.median(values), written(statistics.median(values)) + spread
        (kafka, kafka_text), (synced, synced_text), (cached, cached_text) = map(cell, (KAFKA, SYNCED, CACHED))

        def ratio(ours):
            return "-" if kafka is None or ours is None else "over 100" if ours < kafka / 100 else f"{kafka / ours:.2f}"
        if MOLDAU in by_column:
            cached_text = "the same"
        lines.append(f"| {row} | {kafka_text} | {synced_text} | {cached_text} | {ratio(synced)} | {'' if cached_text == 'the same' else ratio(cached)} |")
    return "\n".join(lines)


def report(machine, figures, how):
    """`how`: rounds, sizes, times; in one line."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    rows = [*machine, ("load average after the run", " ".join(f"{value:.1f}" for value in os.getloadavg()))]
    busy = max(os.cpu_count() * 0.5, 1)
    first_load = float(dict(machine)["load average before the run (1, 5, 15 min)"].split()[0])
    honest = ("The machine was busy with other work before the run: read the clock's figures (MiB/s, start, latency) as pessimistic for both."
              if first_load > busy else "The machine had little else to do.")
    return "\n".join([f"Measured {now}: {how}. {honest}", "", table(figures), "", "The machine:", "", "| limit | value |", "|---|---|",
                      *(f"| {what} | {value} |" for what, value in rows)])


def marks(nodes):
    name = "tests/bench/run" if nodes == 1 else f"tests/bench/run --nodes {nodes}"
    return f"<!-- {name} writes from here -->", "<!-- to here -->"


def write_into(path, nodes, text):
    """Replaces what lies between the two marks."""
    page = path.read_text(encoding="utf-8")
    first, last = marks(nodes)
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{path} has no place for the figures (the lines {first} and {last})")
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")
