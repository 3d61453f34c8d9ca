"""What nodes keep after faults (correctness.md 2, L7): a leak check that a leak fails, and warmth does not.

A node that plays a role for the first time has more of its program paged in, and each of its threads keeps the memory that its largest work took: the C library gives
nothing back below 32 MiB (common/posix/posix_env.c). That comes once. So every node plays every role before the first fault that counts (Stage.rehearse); what it grew by
then is told apart, and what counts comes on top: after each fault, and as a slope over the faults that one process lived through.

    leaks = Leaks(cluster)     # cold
    leaks.warmed()             # {key: [MiB of each node]}; from now on faults count
    leaks.growth()             # {key: more than warm}
    leaks.note()               # after a fault
    leaks.slope()              # KiB a fault, of the process that grows most; None: none lived through SLOPE_FAULTS
"""
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

ROUND = 3  # faults after which each broker was the victim once
SLOPE_FAULTS = 8
MIB = 1024  # KiB


@dataclass(frozen=True)
class Use:
    """Of one process; memory in KiB."""
    pid: int
    private: int  # RssAnon: heap, stacks
    mapped: int  # RssFile: its program and libraries, as far as they were needed
    descriptors: int
    threads: Counter  # by name

    @property
    def memory(self):
        return self.private + self.mapped


def use_of(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    private, mapped, shared = (int(re.search(rf"^Rss{kind}:\s+(\d+) kB", status, re.MULTILINE)[1]) for kind in ("Anon", "File", "Shmem"))
    names = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            names[(task / "comm").read_text().strip()] += 1
        except OSError:
            continue  # it ended meanwhile
    return Use(pid, private + shared, mapped, len(os.listdir(f"/proc/{pid}/fd")), names)


def measure(cluster):
    return {node.id: use_of(node.process.pid) for node in cluster.nodes.values()}


def slope_of(values):
    """A step, in the last half: three quarters of the rounds grew by more. One or two large steps (a thread's first large work) are none."""
    last = values[-max(SLOPE_FAULTS, len(values) // 2) - 1:]
    rounds = sorted((later - sooner) / ROUND for sooner, later in zip(last, last[ROUND:]))
    return rounds[len(rounds) // 4]


def percent_more(now, was):
    return (now - was) * 100 / was


class Leaks:
    def __init__(self, cluster, measure_all=measure):
        self.cluster, self._measure = cluster, measure_all
        self.cold, self.warm, self.lives = measure_all(cluster), None, defaultdict(list)

    def warmed(self):
        self.warm = self._measure(self.cluster)
        self.lives.clear()
        self.note(self.warm)
        return {key: [(getattr(now, part) - getattr(self.cold[node_id], part)) / MIB for node_id, now in self.warm.items()]
                for key, part in (("warmup_private", "private"), ("warmup_mapped", "mapped"))}

    def growth(self):
        """Since it was warm. Descriptors and threads of all nodes together, because whoever is the active controller, or leads more, has more at work;
        memory of the node that grew most, whether its process is still the same or not."""
        now = self._measure(self.cluster)
        was = self.warm
        pairs = [(use, was[node_id]) for node_id, use in now.items()]
        return {"memory": max(percent_more(use.memory, before.memory) for use, before in pairs),
                "memory_private": max(use.private - before.private for use, before in pairs) / MIB,
                "memory_mapped": max(use.mapped - before.mapped for use, before in pairs) / MIB,
                "descriptors": percent_more(*(sum(use.descriptors for use in side.values()) for side in (now, was))),
                "threads": percent_more(*(sum(sum(use.threads.values()) for use in side.values()) for side in (now, was)))}

    def more_threads(self):
        """{name: how many more}, of all nodes: for the one who asks which."""
        now = self._measure(self.cluster)
        total, before = (sum((use.threads for use in side.values()), Counter()) for side in (now, self.warm))
        return dict(total - before)

    def note(self, now=None):
        for node_id, use in (now or self._measure(self.cluster)).items():
            self.lives[node_id, use.pid].append(use.private)

    def slope(self):
        """Private memory only: what is mapped ends with the program's size."""
        return max((slope_of(values) for values in self.lives.values() if len(values) > SLOPE_FAULTS), default=None)
