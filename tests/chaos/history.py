"""The history of a run: what clients asked and what became of it, one JSON object a line (testing.md 8).

    {"i":7,"t":NANOSECONDS,"p":PROCESS,"ty":"invoke","f":"send","v":[["send","t/0",12]]}
    {"i":9,"t":NANOSECONDS,"p":PROCESS,"ty":"ok","f":"send","of":7,"v":[["send","t/0",[1041,12]]]}

`f` is send, poll, txn, assign, subscribe, crash, open or offsets; `ty` is invoke, ok, fail or info; `of` names the line that invoked. A send is
["send", key, value], once its offset is known ["send", key, [offset, value]]; a poll is ["poll", {key: [[offset, value], ...]}]; group offsets are
["offsets", group, {key: offset}]. A key is TOPIC/PARTITION, a value is unique within its key. `reb`: keys that a rebalance took or gave
during the operation; `fin`: 1 in polls of the reading from the beginning at the end. `open` names what a process is: {"acks":"all","idempotent":true}.
"""
import itertools
import json
import threading
import time

OK, FAIL, INFO = "ok", "fail", "info"


class Recorder:
    """Writes a history; any thread may."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8", buffering=1 << 16)  # noqa: SIM115
        self._lock, self._numbers = threading.Lock(), itertools.count()

    def write(self, process, kind, function, value, **more):
        """Returns the number of the line."""
        with self._lock:
            number = next(self._numbers)
            line = {"i": number, "t": time.monotonic_ns(), "p": process, "ty": kind, "f": function, "v": value, **more}
            if not self._file.closed:  # what comes later, of one that was not waited for any more, is no part of it
                self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        return number

    def flush(self):
        with self._lock:
            self._file.flush()

    def close(self):
        with self._lock:
            self._file.close()


class Operation:
    """An operation as a whole. `kind` is info when nobody ever heard of it again."""
    __slots__ = ("ended", "error", "function", "is_final", "kind", "number", "process", "rebalanced", "started", "steps")

    def __init__(self, line):
        self.number, self.started, self.ended = line["i"], line["t"], None
        self.process, self.function, self.steps = line["p"], line["f"], line["v"]
        self.kind, self.error, self.rebalanced, self.is_final = INFO, None, (), False

    def complete(self, line):
        self.ended, self.kind, self.error = line["t"], line["ty"], line.get("err")
        self.steps = line["v"] if line["v"] is not None else self.steps
        self.rebalanced, self.is_final = line.get("reb", ()), bool(line.get("fin"))

    def __repr__(self):
        return f"operation {self.number} of {self.process}, {self.kind} {self.function} {str(self.steps)[:200]}"


def operations(lines):
    """From lines (text or parsed) to operations, in the order in which they were invoked. A line without `of` completes the last of its process."""
    found, open_by_number, last_of = [], {}, {}
    for line in lines:
        if isinstance(line, (str, bytes)):
            line = json.loads(line)
        if line["ty"] == "invoke":
            operation = Operation(line)
            found.append(operation)
            open_by_number[line["i"]] = operation
            last_of[line["p"]] = line["i"]
            continue
        invoked = line.get("of")
        operation = open_by_number.pop(last_of.get(line["p"]) if invoked is None else invoked, None)
        if operation is None:  # told without a question: crash, open
            operation = Operation(line)
            found.append(operation)
        operation.complete(line)
    return found


def read(path):
    with open(path, encoding="utf-8") as file:
        return operations(file)
