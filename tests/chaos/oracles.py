"""What is looked at beside the history (testing.md 6): leaders and offsets while the run goes on, replicas, invariants and the quiet state after it."""
import bisect
import collections
import contextlib
import json
import os
import re
import subprocess
import threading
import time
import traceback

import history
from check import polls
from cluster import memory_bytes, program
from kafka_wire import Closed, Connection
from leader_watch import Watch
from waiting import stretched, wait_until
from wire_calls import Cursor, ask_end, ask_metadata
from world import PARTITIONS, TOPIC

SAMPLE_SECONDS = 0.1
HEARD_SHARE = 0.05  # of the questions to a broker whose process runs, at least: it may be stopped, cut off, or busy for long
# A leader of before is not told apart at once: what it says counts if nobody knew of a later epoch for this long after it.
KNOWN_LATE_SECONDS = 1.0
# Beside ten percent. An index has a descriptor from its first entry on.
SLACK = {"memory": 8 << 20, "sockets": 4, "files": 2 * PARTITIONS + 2, "threads": 1}


DESCRIBE_TOPIC_PARTITIONS = 75


def ask_partitions(connection):
    """DescribeTopicPartitions (v0): [(partition, leader, replicas, ISR, ELR)]"""
    name = TOPIC.encode()
    body = b"\2" + bytes([len(name) + 1]) + name + b"\0" + (1000).to_bytes(4, "big") + b"\xff\0"
    connection.send_frame(connection.header(DESCRIBE_TOPIC_PARTITIONS, 0, True) + body)
    answer = Cursor(connection.receive_frame(), at=5)  # behind the header's tags

    def ids():
        return [answer.take("i") for _ in range(answer.uvarint() - 1)]
    answer.take("i")  # throttle
    found = []
    for _ in range(answer.uvarint() - 1):
        error = answer.take("h")
        answer.compact_text()
        answer.take("16sb")
        for _ in range(answer.uvarint() - 1):
            _error, index, leader, _epoch = answer.take("hiii")
            replicas, isr, elr, _last, _offline = ids(), ids(), ids(), ids(), ids()
            answer.uvarint()
            found.append((index, leader, replicas, isr, elr))
        answer.take("i")
        answer.uvarint()
        assert error == 0 or not found, f"error {error} beside partitions"
    return found


def broken_rules(partitions):
    """What no committed metadata may say (testing.md 6, oracle 5)."""
    for index, leader, replicas, isr, elr in partitions:
        rules = {"the leader is not in the ISR": leader >= 0 and leader not in isr, "the ISR has others than replicas": not set(isr) <= set(replicas),
                 "the ELR has others than replicas": not set(elr) <= set(replicas), "the ELR has members of the ISR": bool(set(elr) & set(isr))}
        for text, is_broken in rules.items():
            if is_broken:
                yield f"partition {index}: {text}: leader {leader}, replicas {replicas}, ISR {isr}, ELR {elr}"


class Monitor:
    """Asks the leader of each partition for its high watermark, ten times a second, and every broker for what must hold in any metadata; leaders and ISRs are
    written down by leader_watch."""

    def __init__(self, cluster):
        self.cluster, self.samples, self.is_over = cluster, collections.defaultdict(list), threading.Event()
        self.broken, self.looks, self.rules_asked, self.elr_seen, self.error = [], collections.Counter(), collections.Counter(), 0, None
        self.watch = Watch(TOPIC, cluster.addresses, 50)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        """What ends it before its time is kept: nobody would look any more, and nothing would be found."""
        try:
            while not self.is_over.wait(SAMPLE_SECONDS):
                for node in self.cluster.brokers:
                    self._look(node)
        except BaseException:
            self.error = traceback.format_exc()

    def _look(self, node):
        """The partitions that the broker itself leads, in its own eyes. One that is gone says nothing; an answer that can't be read ends the run."""
        self.looks[node.id] += node.is_running
        try:
            with Connection(node.bootstrap, timeout_s=0.5) as connection:
                before = ask_metadata(connection, [TOPIC]).topics.get(TOPIC, {})
                answers = []
                for index, one in before.items():
                    if one.leader == node.id:
                        began = time.monotonic()
                        error, end = ask_end(connection, TOPIC, index)
                        if error == 0:
                            answers.append((index, one.epoch, began, time.monotonic(), end))
                after = ask_metadata(connection, [TOPIC]).topics.get(TOPIC, {})
                partitions = ask_partitions(connection)
        except (OSError, Closed):
            return
        self.broken += list(broken_rules(partitions))
        self.rules_asked[node.id] += bool(partitions)  # an answer without partitions has nothing that could be wrong
        self.elr_seen += sum(bool(elr) for *_, elr in partitions)
        for index, epoch, began, ended, end in answers:
            if index in after and (after[index].leader, after[index].epoch) == (node.id, epoch):
                self.samples[index].append((epoch, began, ended, end))

    def leader_changes(self, since):
        """{partition: how many epochs with a leader began after the moment}"""
        first, changes = {}, collections.Counter()
        for seen in list(self.watch.lines):
            for partition, (leader, epoch, _isr) in seen["partitions"].items():
                if leader >= 0:
                    first[partition, epoch] = min(first.get((partition, epoch), seen["t"]), seen["t"])
        for (partition, _epoch), moment in first.items():
            changes[partition] += moment > since
        return changes

    def isr_changes(self):
        """How many different ISRs there were, one after the other."""
        last, count = {}, 0
        for seen in sorted(self.watch.lines, key=lambda line: line["t"]):
            for partition, (_leader, _epoch, isr) in seen["partitions"].items():
                key = (seen["at"], partition)
                count += key in last and last[key] != isr
                last[key] = isr
        return count // max(1, len(self.watch.addresses))

    def alive(self):
        assert self.error is None, f"nobody looks at the high watermarks any more: {self.error}"

    def end(self):
        """However the run ends: the thread is over, and so is the process that watches."""
        self.is_over.set()
        self.thread.join(stretched(10))
        assert not self.thread.is_alive(), "the thread that asks for high watermarks does not end"
        if self.watch.process.poll() is None:
            self.watch.process.kill()
        self.watch.process.wait()
        self.watch.thread.join(stretched(10))

    def stop(self):
        self.is_over.set()
        self.thread.join(stretched(10))
        self.watch.stop()

    def check(self, operations):
        """R7, and no high watermark that goes back, or lies below what somebody has read. Returns how many samples there were."""
        self.alive()
        self.watch.check_epochs()
        assert not self.broken, f"{len(self.broken)} times metadata that must not be: {self.broken[:3]}"
        known = collections.defaultdict(list)  # partition -> (moment, epoch) at which an epoch was first seen
        for (partition, epoch), moment in self._first_seen().items():
            known[partition].append((moment, epoch))
        read = self._read_ends(operations)
        for partition, samples in self.samples.items():
            highest = {}
            times, ends = read.get(f"{TOPIC}/{partition}", ([], []))
            for epoch, began, ended, end in sorted(samples, key=lambda sample: sample[1]):
                before = highest.get(epoch, (0, None))[0]
                assert end >= before, f"partition {partition}, epoch {epoch}: the high watermark went from {before} back to {end}"
                highest[epoch] = (end, began)
                if any(later > epoch and moment < ended + KNOWN_LATE_SECONDS for moment, later in known[partition]):
                    continue
                index = bisect.bisect_left(times, began) - 1
                assert index < 0 or ends[index] <= end, f"partition {partition}, epoch {epoch}: the high watermark is {end}, but {ends[index]} records were read before"
        silent = {node.id: f"{self.rules_asked[node.id]} of {self.looks[node.id]}" for node in self.cluster.brokers
                  if self.rules_asked[node.id] <= self.looks[node.id] * HEARD_SHARE}
        assert not silent, f"brokers answered too few of the questions that they were asked while they ran: {silent}"
        unseen = [partition for partition in range(PARTITIONS) if not self.samples[partition]]
        assert not unseen, f"no high watermark was ever heard of partitions {unseen}"
        return f"{sum(map(len, self.samples.values()))} ({sum(self.rules_asked.values())} times metadata of {sum(self.looks.values())} asked, {self.elr_seen} times a partition with an ELR)"

    def _first_seen(self):
        first = {}
        for seen in self.watch.lines:
            for partition, (leader, epoch, _isr) in seen["partitions"].items():
                if leader >= 0:
                    first[partition, epoch] = min(first.get((partition, epoch), seen["t"]), seen["t"])
        return first

    @staticmethod
    def _read_ends(operations):
        """{key: (moments, the largest offset read until then + 1)}; monotonic clocks are one for the machine."""
        found = {}
        for operation in sorted((one for one in operations if one.function == "poll" and one.ended is not None), key=lambda one: one.ended):
            for key, records in polls(operation):
                times, ends = found.setdefault(key, ([], []))
                end = max((offset for offset, _value in records), default=-1) + 1
                if end > (ends[-1] if ends else 0):
                    times.append(operation.ended / 1e9)
                    ends.append(end)
        return found


def check_invariants(cluster):
    """After healing: leaders in ISRs, ISRs of replicas, all in sync, nobody fenced, all voters near the end (the product's own words)."""
    environment = {**os.environ, "MOLDAU_BOOTSTRAP_SERVER": cluster.bootstrap}

    def rows(*words):
        done = subprocess.run([str(program()), *words, "--output", "json"], capture_output=True, text=True, timeout=60, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
    status = {row["kind"]: row for row in rows("cluster", "status")}
    assert (status["cluster"]["leaderless"], status["cluster"]["under_replicated"], status["cluster"]["brokers"]) == (0, 0, len(cluster.brokers)), status
    assert status["quorum"]["voters"] == len(cluster.controllers), status
    partitions = [row for row in rows("topic", "describe", TOPIC) if row["kind"] == "partitions"]
    assert len(partitions) == PARTITIONS
    for row in partitions:
        assert row["leader"] in row["isr"] and set(row["isr"]) == set(row["replicas"]), row


class Quiet:
    """Memory, descriptors and threads of each node: before the faults, and when all is over (L7). Made without clients, `warm` with them: partitions have
    their files, memory is in use, but connections are compared with those that nodes have among themselves."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.before = self.measure()

    def warm(self):
        self.before = {node_id: {**now, "sockets": self.before[node_id]["sockets"]} for node_id, now in self.measure().items()}

    def measure(self):
        found = {}
        for node in self.cluster.nodes.values():
            kinds = self.kinds(node)
            sockets = kinds.pop("socket", 0)
            found[node.id] = {"memory": memory_bytes(node.process.pid), "sockets": sockets, "files": sum(kinds.values()), "threads": len(os.listdir(f"/proc/{node.process.pid}/task"))}
        return found

    @staticmethod
    def kinds(node):
        """What its descriptors are, counted."""
        folder, found = f"/proc/{node.process.pid}/fd", collections.Counter()
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                target = os.readlink(f"{folder}/{name}")
                found[target.partition(":")[0] if ":" in target else "files"] += 1
        return found

    def worse(self):
        found, measured = [], self.measure()
        # Whoever is the active controller, or leads more, has more of the links: they are counted of all together.
        was, now = (sum(one["sockets"] for one in side.values()) for side in (self.before, measured))
        if now > was * 1.1 + SLACK["sockets"]:
            found.append(f"{was} sockets became {now}")
        for node_id, now in measured.items():
            was = self.before[node_id]
            more = [name for name in ("memory", "files", "threads") if now[name] > was[name] * 1.1 + SLACK[name]]
            if more:
                found.append(f"node {node_id}, {' and '.join(more)}: {told(was)} became {told(now)}, with {dict(self.kinds(self.cluster[node_id]))}")
        return found

    def check(self):
        try:
            wait_until(lambda: not self.worse(), 20, "memory, descriptors and threads to be as before")
        except AssertionError as error:
            raise AssertionError(f"{error}: {'; '.join(self.worse())}") from None
        return {node_id: f"{told(self.before[node_id])} -> {told(now)}" for node_id, now in self.measure().items()}


def told(measured):
    return f"{measured['memory'] / (1 << 20):.1f} MiB/{measured['sockets']} sockets/{measured['files']} files/{measured['threads']} threads"


def final_ends(operations):
    """{(topic, partition): offset} up to which the last reading went."""
    ends = {}
    for operation in operations:
        if operation.is_final and operation.kind == history.OK:
            for key, records in polls(operation):
                topic, _, partition = key.rpartition("/")
                place = (topic, int(partition))
                ends[place] = max([ends.get(place, 0)] + [offset + 1 for offset, _value in records])
    return ends


def check_logs(cluster):
    """Nobody's last words but those that a row asked for; and what warns, counted."""
    counts = collections.Counter()
    for node in cluster.nodes.values():
        node.check_log()
        counts.update(re.findall(r"level=(?:warn|error) subsystem=\S+ event=\S+", node.log_text()))
    return counts
