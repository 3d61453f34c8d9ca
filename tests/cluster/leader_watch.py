"""A process that looks at the leaders of a topic through every broker of a cluster, many times a second, and writes down what changes.

    python leader_watch.py TOPIC MILLISECONDS HOST:PORT ...      one JSON line for each change: {"t","at","partitions":{p:[leader,epoch,isr]}}

`t` is the monotonic clock, which is one for all processes of the machine; `at` is the address that said it. A process of its own: the clock of
a busy Python process would be late. Watch starts it and reads the lines.
"""
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from kafka_wire import Closed, Connection
from waiting import wait_until
from wire_calls import ask_metadata


def look_once(connection, topic, address, last, write):
    view = ask_metadata(connection, [topic])
    now = time.monotonic()
    seen = {index: [one.leader, one.epoch, sorted(one.isr)] for index, one in sorted(view.topics.get(topic, {}).items())}
    if seen != last:
        write(json.dumps({"t": now, "at": address, "partitions": seen}) + "\n")
    return seen


def watch(topic, address, interval_s, write):
    connection, last, pause = None, None, threading.Event()
    while True:
        try:
            connection = connection or Connection(address, timeout_s=1)
            last = look_once(connection, topic, address, last, write)
        except (OSError, Closed):
            if connection is not None:
                connection.close()
            connection, last = None, None
        pause.wait(interval_s)


def watch_or_end(*arguments):
    """A broker that nobody looks at any more would pass for one that says nothing new."""
    try:
        watch(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main():
    topic, interval_ms, *addresses = sys.argv[1:]
    lock = threading.Lock()

    def write(line):
        with lock:
            sys.stdout.write(line)
            sys.stdout.flush()
    for address in addresses:
        threading.Thread(target=watch_or_end, args=(topic, address, int(interval_ms) / 1000, write), daemon=True).start()
    sys.stdin.read()  # until whoever started us is gone
    with lock:  # no half line
        os._exit(0)


class Watch:
    """Runs the process above; `lines` are what it wrote so far."""

    def __init__(self, topic, addresses, interval_ms=10):
        self.addresses = addresses  # broker id -> address
        self.brokers = {address: broker for broker, address in addresses.items()}
        self.process = subprocess.Popen([sys.executable, "-B", Path(__file__), topic, str(interval_ms), *addresses.values()],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        try:
            wait_until(lambda: self.lines, 10, "the first look at the leaders")
        except BaseException:
            self._end()
            raise

    def _read(self):
        for line in self.process.stdout:
            seen = json.loads(line)
            seen["at"] = self.brokers[seen["at"]]
            seen["partitions"] = {int(index): tuple(view[:2]) + (tuple(view[2]),) for index, view in seen["partitions"].items()}
            self.lines.append(seen)

    def led_again(self, partition, after, former):
        """When, after `after`, a broker first said itself that it leads the partition, `former` being gone; None: not yet."""
        for seen in list(self.lines):
            leader = seen["partitions"].get(partition, (-1,))[0]
            if seen["t"] > after and leader == seen["at"] and leader != former:
                return seen["t"]
        return None

    def epochs(self):
        """{partition: {epoch: set of leaders}} over all that was ever seen; -1, no leader, left out."""
        found = {}
        for seen in list(self.lines):
            for partition, (leader, epoch, _isr) in seen["partitions"].items():
                if leader >= 0:
                    found.setdefault(partition, {}).setdefault(epoch, set()).add(leader)
        return found

    def check_epochs(self):
        """R7: one leader for each epoch, whoever was asked."""
        twice = {(partition, epoch): leaders for partition, epochs in self.epochs().items() for epoch, leaders in epochs.items() if len(leaders) > 1}
        assert not twice, f"several leaders in one epoch (correctness.md 1, R7): {twice}"

    def changes(self, after):
        """What was seen after a moment: [(broker asked, partition, view)], for tests in which nothing may change."""
        before, found = {}, []
        for seen in list(self.lines):
            for partition, view in seen["partitions"].items():
                known = before.get((seen["at"], partition))
                if seen["t"] > after and known is not None and known != view:
                    found.append((seen["at"], partition, known, view))
                before[seen["at"], partition] = view
        return found

    def _end(self):
        self.process.stdin.close()
        code = self.process.wait(10)
        self.thread.join(10)
        return code

    def stop(self):
        code = self._end()
        assert code == 0, f"the watch of the leaders ended with {code}: what it would have seen is missing"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self._end()
            return
        self.stop()
        unheard = set(self.addresses) - {seen["at"] for seen in self.lines}
        assert not unheard, f"brokers {unheard} never said who leads"


if __name__ == "__main__":
    main()
