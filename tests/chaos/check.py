"""The checker: a history in, anomalies out (testing.md 7 and 8). O(records), apart from sorting.

    check.py HISTORY [--subscribe] [--unfinished]       exit status 1 if there is an anomaly that is never allowed

`--unfinished`: there was no reading from the beginning at the end, so nothing can be said of what was never seen.
"""
import argparse
import bisect
import collections
import json
import sys

import cycles
from history import FAIL, INFO, OK, read

INFORMATIONAL = {"G0", "G1c-ww", "G1c-ww-process", "G1c-ww-realtime", "int-send-skip", "consume-counts", "allowed-duplicate", "allowed-nonmonotonic-send"}
ALLOWED_UNDER_SUBSCRIBE = {"poll-skip", "nonmonotonic-poll"}
SHOWN = 5


def sends(operation):
    """(key, offset or None, value) of each send; an offset below 0 is librdkafka's word for not knowing."""
    for step in operation.steps or ():
        if step[0] == "send":
            value = step[2]
            offset, value = value if isinstance(value, list) else (None, value)
            yield step[1], offset if offset is not None and offset >= 0 else None, value


def polls(operation):
    """(key, records) of each read."""
    for step in operation.steps or ():
        if step[0] == "poll":
            yield from step[1].items()


class Checker:
    def __init__(self, history, is_subscribed=False, is_finished=True):
        self.operations, self.is_subscribed, self.is_finished = history, is_subscribed, is_finished
        self.anomalies, self.counts = {}, {}
        self.writer_of = collections.defaultdict(dict)       # key -> value -> operation
        self.read_ok = collections.defaultdict(set)          # key -> values that an ok operation read
        self.read_any = collections.defaultdict(set)
        self.final = collections.defaultdict(dict)           # key -> value -> offset, of the last reading
        self.log = collections.defaultdict(dict)             # key -> offset -> value, or a set of several
        self.first, self.last, self.offsets, self.values = {}, {}, {}, {}
        self.modes = {}                                      # process -> what `open` said
        self.lag = (0.0, None)

    def add(self, name, example):
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] <= SHOWN:
            self.anomalies.setdefault(name, []).append(example)

    @property
    def errors(self):
        """{name: how many} of what is never allowed."""
        allowed = INFORMATIONAL | (ALLOWED_UNDER_SUBSCRIBE if self.is_subscribed else set())
        return {name: count for name, count in self.counts.items() if name not in allowed}

    def run(self):
        self.index()
        self.committed = {operation.number for operation in self.operations if self.must_have_committed(operation)}
        self.order_versions()
        self.check_offsets()
        self.check_losses()
        self.check_reads()
        self.check_transactions()
        self.walk_processes()
        self.check_cycles()
        self.check_group_offsets()
        self.measure_lag()
        self.check_kinds()
        return self

    # ---- who wrote and read what ----
    def index(self):
        for operation in self.operations:
            if operation.function == "open":
                self.modes[operation.process] = operation.steps
                continue
            if operation.function not in ("send", "poll", "txn"):
                continue
            for key, _offset, value in sends(operation):
                other = self.writer_of[key].setdefault(value, operation)
                if other is not operation:
                    raise ValueError(f"the value {value} of {key} was sent by {other} and by {operation}: the history is of no use")
            for key, records in polls(operation):
                values = [value for _offset, value in records]
                self.read_any[key].update(values)
                if operation.kind == OK:
                    self.read_ok[key].update(values)
                if operation.is_final:
                    self.final[key].update((value, offset) for offset, value in records)

    def mode(self, operation):
        return self.modes.get(operation.process) or {}

    def is_strong(self, operation):
        """An acknowledgement of one replica promises nothing (acks=1)."""
        return self.mode(operation).get("acks", "all") == "all"

    def is_idempotent(self, operation):
        return operation.function == "txn" or self.mode(operation).get("idempotent", True)

    def acknowledged(self, operation):
        """(key, offset, value) of what is there for good, as it was acknowledged. An acknowledgement of one replica (acks=1) says where that one put it: what was
        sent twice may be there at another offset, and this one lost with its leader."""
        if operation.number in self.committed and self.is_strong(operation):
            for key, offset, value in sends(operation):
                if offset is not None:
                    yield key, offset, value

    def must_have_committed(self, operation):
        if operation.kind == OK and self.is_strong(operation):
            return True
        return operation.kind in (OK, INFO) and any(value in self.read_ok.get(key, ()) for key, _offset, value in sends(operation))

    # ---- the order of versions ----
    def _place(self, key, offset, value):
        there = self.log[key].setdefault(offset, value)
        if there != value:
            if isinstance(there, set):
                there.add(value)
            else:
                self.log[key][offset] = {there, value}

    def order_versions(self):
        for operation in self.operations:
            if operation.function not in ("send", "poll", "txn"):
                continue
            for key, records in polls(operation):
                for offset, value in records:
                    self._place(key, offset, value)
            for key, offset, value in self.acknowledged(operation):
                self._place(key, offset, value)
        for key, log in self.log.items():
            self.offsets[key] = sorted(log)
            first, last, order = {}, {}, []
            for index, offset in enumerate(self.offsets[key]):
                there = log[offset]
                for value in there if isinstance(there, set) else (there,):
                    first.setdefault(value, index)
                    last[value] = index
                    order.append(value)
            self.first[key], self.last[key], self.values[key] = first, last, order

    def check_offsets(self):
        for key, log in self.log.items():
            for offset, there in log.items():
                if isinstance(there, set):
                    self.add("inconsistent-offsets", f"{key} at {offset}: {sorted(there, key=str)}")
            for value, last in self.last[key].items():
                if last == self.first[key][value]:
                    continue
                writer = self.writer_of[key].get(value)
                is_promised = writer is None or self.is_idempotent(writer)
                where = [self.offsets[key][index] for index in (self.first[key][value], last)]
                self.add("duplicate" if is_promised else "allowed-duplicate", f"{key}: {value} at {where}")

    # ---- what is gone, and what should not be there ----
    def check_losses(self):
        for key, written in self.writer_of.items():
            first, last, seen = self.first.get(key, {}), self.last.get(key, {}), self.read_ok[key]
            bound = max((first[value] for value in seen if value in first), default=-1)
            for value, writer in written.items():
                if value not in seen and writer.number in self.committed and value in last and last[value] <= bound:
                    self.add("lost-write", f"{key}: {value} at {self.offsets[key][last[value]]}, written by {writer}")
                if self.is_finished and writer.kind == OK and self.is_strong(writer) and value not in self.read_any[key]:
                    self.add("unseen", f"{key}: {value}, acknowledged by {writer}")
        if self.is_finished:
            for key, seen in self.read_any.items():
                for value in seen - self.final[key].keys():
                    self.add("vanished", f"{key}: {value} was read, and is not there in the end")

    def check_reads(self):
        for operation in self.operations:
            if operation.function not in ("poll", "txn"):
                continue
            own = {(key, value) for key, _offset, value in sends(operation)} if operation.function == "txn" else ()
            for key, records in polls(operation):
                writers = self.writer_of[key]
                for offset, value in records:
                    writer = writers.get(value)
                    if writer is None:
                        self.add("phantom", f"{key} at {offset}: {value} was never sent; read by {operation}")
                    elif writer.kind == FAIL and operation.kind == OK:
                        self.add("G1a", f"{key} at {offset}: {value} of the failed {writer}")
                    elif operation.ended is not None and operation.ended < writer.started:
                        self.add("read-before-sent", f"{key} at {offset}: {value} by {operation}")
                    if own and (key, value) in own:
                        self.add("precommitted-read", f"{key} at {offset}: {value} by {operation}")

    def check_transactions(self):
        """All or nothing, decided by what is there in the end."""
        if not self.is_finished:
            return
        for operation in self.operations:
            if operation.function != "txn":
                continue
            values = [(key, value) for key, _offset, value in sends(operation)]
            there = sum(value in self.final[key] for key, value in values)
            wanted = {OK: (len(values),), FAIL: (0,)}.get(operation.kind, (0, len(values)))
            if there not in wanted:
                self.add("torn-transaction", f"{there} of {len(values)} values are there of {operation}")

    # ---- within one operation, and from one to the next ----
    def walk_processes(self):
        position, sent, consumed = {}, {}, collections.Counter()
        for operation in self.operations:
            memory = position.setdefault(operation.process, {})
            if operation.function in ("assign", "subscribe") and operation.kind != FAIL:
                wanted = set(operation.steps or ())
                for key in [key for key in memory if key not in wanted]:
                    del memory[key]
            elif operation.function == "crash":
                memory.clear()
            elif operation.function in ("poll", "txn", "send"):
                for key in operation.rebalanced:
                    memory.pop(key, None)
                if operation.function != "send":
                    self._walk_polls(operation, memory, consumed)
                self._walk_sends(operation, sent.setdefault(operation.process, {}))
        for (process, key, value), count in consumed.items():
            if count > 1:
                self.add("consume-counts", f"{process} consumed {value} of {key} {count} times")

    def _walk_polls(self, operation, memory, consumed):
        within, is_ok = {}, operation.kind == OK
        for key, records in polls(operation):
            first, is_moved = self.first[key] if key in self.first else {}, key in operation.rebalanced
            for offset, value in records:
                # A value that is there twice is found elsewhere; the place that was read is its offset's.
                index = first[value] if self.last[key][value] == first[value] else bisect.bisect_left(self.offsets[key], offset)
                before = within.get(key)
                if before is not None:
                    if not is_moved and index - before != 1:
                        self.add("int-poll-skip" if index - before > 1 else "int-nonmonotonic-poll", f"{key}: {before} to {index} in {operation}")
                elif is_ok and not is_moved and key in memory and index - memory[key] != 1:
                    name = "poll-skip" if index > memory[key] else "nonmonotonic-poll"
                    self.add(name, f"{key}: from {self.offsets[key][memory[key]]} to {offset} by {operation}")
                within[key] = index
                if self.is_subscribed and is_ok:
                    consumed[operation.process, key, value] += 1
        if is_ok:
            memory.update(within)

    def _walk_sends(self, operation, memory):
        """In the order in which they were sent. Info operations count where their value is in the log."""
        if operation.kind == FAIL:
            return
        within = {}
        for key, offset, value in sends(operation):
            first = self.first.get(key, {})
            if value not in first:
                continue
            index = first[value]
            if not self.is_idempotent(operation):
                # Sent twice without a name: its place is the one that was acknowledged.
                if offset is None or operation.kind != OK:
                    continue
                index = bisect.bisect_left(self.offsets[key], offset)
            before = within.get(key)
            if before is not None:
                if index - before > 1:
                    self.add("int-send-skip", f"{key}: {before} to {index} in {operation}")
                elif index - before < 1:
                    self.add("int-nonmonotonic-send", f"{key}: {before} to {index} in {operation}")
            elif key in memory and index - memory[key] < 1:
                # Without sequences a client may send to the new leader what comes next while it still waits for the former one.
                self.add("nonmonotonic-send" if self.is_idempotent(operation) else "allowed-nonmonotonic-send", f"{key}: {self.offsets[key][memory[key]]} before {self.offsets[key][index]} by {operation}")
            within[key] = index
        memory.update(within)

    # ---- cycles ----
    def check_cycles(self):
        transactions = [operation for operation in self.operations
                        if operation.function == "txn" and (operation.kind == OK or operation.number in self.committed)]
        if not transactions:
            return
        read_after = cycles.written_then_read(transactions, self.writer_of)
        written_after = cycles.written_then_overwritten(transactions, self.writer_of, self.values)
        more = {"": {}, "-process": cycles.process_order(transactions), "-realtime": cycles.real_time_order(transactions)}
        for members in cycles.cycles(written_after):
            self.add("G0", members)
        for suffix, order in more.items():
            for members in cycles.cycles(cycles.joined(read_after, order)):
                self.add("G1c" + suffix, members)
            for members in cycles.cycles(cycles.joined(read_after, written_after, order)):
                self.add("G1c-ww" + suffix, members)

    # ---- groups ----
    def check_group_offsets(self):
        """At the end each group's offset is the largest of its committed transactions'; those of unknown end may count or not."""
        known, possible, asked = {}, collections.defaultdict(set), {}
        for operation in self.operations:
            for step in operation.steps or ():
                if operation.function not in ("txn", "offsets") or step[0] != "offsets":
                    continue
                for key, offset in step[2].items():
                    place = (step[1], key)
                    if operation.function == "offsets":
                        asked[place] = offset
                    elif operation.number in self.committed or (operation.kind == OK):
                        known[place] = max(offset, known.get(place, offset))
                    elif operation.kind == INFO:
                        possible[place].add(offset)
        for place, offset in asked.items():
            right = {known.get(place)} | {one for one in possible[place] if one > known.get(place, -1)}
            if offset not in right:
                self.add("wrong-group-offset", f"{place} is at {offset}, right is one of {sorted(right, key=str)}")

    # ---- figures ----
    def measure_lag(self):
        """The longest time for which a reader did not get what somebody knew to be there."""
        tails, times = {}, {}  # key -> offsets known, and since when, both ascending
        born = {}  # a reader that begins late is not late for what was there before it
        for operation in self.operations:
            born.setdefault(operation.process, operation.started)
        ended = sorted((one for one in self.operations if one.ended is not None and one.function in ("send", "poll", "txn") and one.kind == OK),
                       key=lambda one: one.ended)
        position = collections.defaultdict(dict)
        for operation in ended:
            own = position[operation.process]
            for key, records in polls(operation):
                for offset, _value in records:
                    own[key] = max(offset, own.get(key, -1))
            if operation.function == "poll":
                for key, at in own.items():
                    index = bisect.bisect_right(tails.get(key, ()), at)
                    if index < len(tails.get(key, ())):
                        lag = (operation.started - max(times[key][index], born[operation.process])) / 1e9
                        if lag > self.lag[0]:
                            self.lag = (lag, f"{key} after {at} by {operation.process}")
            news = dict(own) if operation.function == "poll" else {key: offset for key, offset, _value in self.acknowledged(operation)}
            for key, offset in news.items():
                if offset > (tails[key][-1] if key in tails else -1):
                    tails.setdefault(key, []).append(offset)
                    times.setdefault(key, []).append(operation.ended)

    def check_kinds(self):
        self.kinds = collections.Counter((operation.function, operation.kind) for operation in self.operations)
        for function in {function for function, _kind in self.kinds}:
            if function in ("send", "poll", "txn") and not self.kinds[function, OK]:
                self.add("never-ok", f"no {function} ever succeeded")

    def report(self):
        lines = [", ".join(f"{function} {kind} {count}" for (function, kind), count in sorted(self.kinds.items()))]
        lines.append(f"{sum(map(len, self.offsets.values()))} offsets of {len(self.offsets)} keys; longest unfetched {self.lag[0]:.2f} s ({self.lag[1]})")
        errors = self.errors
        for name, count in sorted(self.counts.items()):
            lines.append(f"{'ANOMALY' if name in errors else 'allowed'} {name}: {count}")
            if name in errors:
                lines += [f"    {str(example)[:400]}" for example in self.anomalies[name]]
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("history")
    parser.add_argument("--subscribe", action="store_true")
    parser.add_argument("--unfinished", action="store_true")
    options = parser.parse_args()
    checker = Checker(read(options.history), options.subscribe, not options.unfinished).run()
    print(checker.report())
    print(json.dumps({"errors": checker.errors}))
    return 1 if checker.errors else 0


if __name__ == "__main__":
    sys.exit(main())
