"""Rows sent at a limited rate by an idempotent librdkafka producer with acks=all, in a thread of its own, and when each was acknowledged.

    with Load(bootstrap, topic, rows, rate) as load:      # rows: (key, value) pairs, the value begins {"row":N
        ...                                               # kill and restart what you like
        load.finish()                                     # all sent and acknowledged, or AssertionError
    load.acked, load.failed, load.gap_after(moment, partitions)
"""
import bisect
import functools
import itertools
import json
import logging
import re
import statistics
import threading
import time
from pathlib import Path

from confluent_kafka import Producer

from waiting import stretched, wait_until

# Answers that were on their way when a broker died are read by the client, and their reports by us, within this.
LATE_ANSWER_SECONDS = 0.025
STATISTICS_MS = 10
CLIENT = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "message.timeout.ms": 200_000, "queue.buffering.max.messages": 100_000,
          "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "retry.backoff.max.ms": 200,
          # By itself librdkafka looks for the leaders of brokers that are down once a second: a client's share that hides the servers'.
          "topic.metadata.refresh.interval.ms": 100, "partitioner": "murmur2_random", "log_level": 7, "debug": "eos"}
# The two cases in which librdkafka reports rows as acknowledged without knowing their offsets; it says so under debug=eos. IMPLICITACK: the next
# leader refused the retry of a batch (it did not lead yet) and took the retry of the batch after it, so the first was there already.
# DUPSEQ: the broker had the batch, and no longer among the producer's last five.
WITHOUT_OFFSET = {"IMPLICITACK": re.compile(r"(\d+) message\(s\) implicitly acked"),
                  "DUPSEQ": re.compile(r"with (\d+) message\(s\) failed due to duplicate sequence number")}
# What it makes of OUT_OF_ORDER_SEQUENCE_NUMBER: the batch is ahead of the next that is due, is that one, lies behind it.
OUT_OF_ORDER = ("failed due to skipped sequence numbers", "failed due to sequence desynchronization", "failed with rewound sequence number")


@functools.cache
def check_words():
    """The client at hand uses the words that we listen for: of one that says it otherwise nothing would ever be heard."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    files = {line.split(maxsplit=5)[5] for line in lines if "rdkafka" in line or "confluent_kafka" in line}
    text = b"".join(Path(file).read_bytes() for file in sorted(files))
    for words in (*OUT_OF_ORDER, "message(s) implicitly acked", "message(s) failed due to duplicate sequence number"):
        assert words.encode() in text, f"this librdkafka does not say {words!r}"


def numbered_rows(keys=100):
    """As many rows as anybody wants, in the form of the flights."""
    for number in itertools.count():
        yield b"key%d" % (number % keys), b'{"row":%d,"padding":"%s"}' % (number, b"x" * 100)


class Words(logging.Handler):
    """What the client says: rows that it acknowledges without an offset ({why: rows}), and batches that a broker called out of order: then it begins a
    new producer epoch and may write twice what it has no answer for (docs/adr/0013)."""

    def __init__(self):
        super().__init__()
        check_words()
        self.rows, self.out_of_order = dict.fromkeys(WITHOUT_OFFSET, 0), []

    def emit(self, record):
        message = record.getMessage()
        if any(words in message for words in OUT_OF_ORDER):
            self.out_of_order.append(message)
        for why, pattern in WITHOUT_OFFSET.items():
            found = pattern.search(message)
            if found:
                self.rows[why] += int(found.group(1))

    def logger(self):
        logger = logging.Logger("client of the load", logging.DEBUG)
        logger.addHandler(self)
        return logger


class Load:
    def __init__(self, bootstrap, topic, rows, rate, client=None):
        self.topic, self.rate = topic, rate
        self.sent, self.acked, self.failed = [], {}, []
        self.ack_times = {}  # partition -> moments, ascending
        self.unacked = {}  # partition -> rows handed over and not acknowledged; -1: not known yet
        self._rows = iter(rows)
        self._wish = None  # what to do as soon as requests are in flight
        self._is_ending, self._is_done, self.problem = threading.Event(), threading.Event(), None
        settings = {**CLIENT, "bootstrap.servers": bootstrap, "statistics.interval.ms": STATISTICS_MS, "stats_cb": self._on_statistics,
                    **(client or {})}
        self.words = Words()
        self.producer = Producer(settings, logger=self.words.logger())
        self.thread = threading.Thread(target=self._run, daemon=True)

    # ---- the thread ----
    def _run(self):
        try:
            self._send_rows()
            while self.producer.flush(0.1) > 0 and not self._gives_up():
                pass
        except BaseException as error:  # the test's thread reports it
            self.problem = error
        finally:
            self._is_done.set()

    def _gives_up(self):
        return self._is_ending.is_set() and time.monotonic() > self._end_deadline

    def _send_rows(self):
        allowed, before = 0.0, time.monotonic()
        for number, (key, value) in enumerate(self._rows):
            while allowed < 1:
                if self._is_ending.is_set():
                    return
                self.producer.poll(0.002)
                now = time.monotonic()
                # What could not be sent at its time is not made up for in one burst.
                allowed, before = min(allowed + (now - before) * self.rate, self.rate / 20 + 1), now
            allowed -= 1
            self.sent.append((key, value))
            while True:
                try:
                    self.producer.produce(self.topic, value, key, on_delivery=self._reporter(number))
                    break
                except BufferError:
                    if self._is_ending.is_set():
                        self.sent.pop()
                        return
                    self.producer.poll(0.05)

    def _reporter(self, number):
        def report(error, message):
            if error is not None:
                self.failed.append((number, str(error)))
                return
            self.acked[number] = (message.partition(), message.offset())
            self.ack_times.setdefault(message.partition(), []).append(time.monotonic())
        return report

    def _on_statistics(self, text):
        wish = self._wish
        if wish is None:
            return
        partitions = json.loads(text)["topics"].get(self.topic, {}).get("partitions", {})
        wanted, act, done, result = wish
        in_flight = {index: partitions[str(index)]["msgs_inflight"] for index in wanted if str(index) in partitions}
        if any(in_flight.values()):
            self._wish = None
            act()
            result["at"] = time.monotonic()
            result["in_flight"] = {index: count for index, count in in_flight.items() if count}
            done.set()

    # ---- the test's thread ----
    def when_in_flight(self, partitions, act, seconds=20):
        """Calls `act` at a moment when rows of one of the partitions are in flight to their leader, by the client's own count.
        Returns (moment after it, {partition: rows in flight})."""
        done, result = threading.Event(), {}
        self._wish = (list(partitions), act, done, result)
        wait_until(lambda: done.is_set() or self._is_done.is_set(), seconds, f"a request in flight to partitions {list(partitions)}")
        assert done.is_set(), f"the load has ended: {self.problem!r}"
        return result["at"], result["in_flight"]

    def wait_acked(self, count, seconds=60):
        wait_until(lambda: len(self.acked) >= count or self.problem, seconds, f"{count} acknowledged rows")
        assert self.problem is None, self.problem

    def wait_ack_on(self, partitions, after, seconds=30):
        """Until each partition has acknowledged something after the moment."""
        for partition in partitions:
            wait_until(lambda: self.first_ack(partition, after) is not None, seconds, f"an acknowledgement on partition {partition}")  # noqa: B023

    def finish(self, seconds=120):
        """Every row is sent and acknowledged."""
        assert self._is_done.wait(stretched(seconds)), f"{len(self.acked)} of {len(self.sent)} rows acknowledged in {stretched(seconds):.0f} s"
        assert self.problem is None, self.problem
        assert not self.failed, f"{len(self.failed)} rows were refused, such as {self.failed[:3]}"
        assert len(self.acked) == len(self.sent)
        without_offset = sum(offset is None for _partition, offset in self.acked.values())
        assert without_offset == sum(self.words.rows.values()), f"{without_offset} rows acknowledged without an offset, the client says why of {self.words.rows}"

    def check_order(self):
        """No batch was called out of order: then the client may write rows twice, in other partitions as well (docs/adr/0013)."""
        assert not self.words.out_of_order, f"batches called out of order: {self.words.out_of_order[:3]}"

    def stop(self, seconds=30):
        """Sends no more; what was sent is acknowledged."""
        self._end_deadline = time.monotonic() + stretched(seconds)
        self._is_ending.set()
        self.finish(seconds + 5)

    def first_ack(self, partition, after):
        times = self.ack_times.get(partition, [])
        at = bisect.bisect_right(times, after + LATE_ANSWER_SECONDS)
        return times[at] if at < len(times) else None

    def gap_after(self, moment, partitions):
        """Seconds from the moment to the first acknowledgement, of the partition that waited longest; and which."""
        waited = {partition: (self.first_ack(partition, moment) or float("inf")) - moment for partition in partitions}
        slowest = max(waited, key=waited.get)
        return waited[slowest], slowest

    def longest_stall(self, partition, begin=0.0, end=float("inf")):
        """The longest time between two acknowledgements of a partition."""
        times = [moment for moment in self.ack_times.get(partition, []) if begin <= moment <= end]
        return max((later - sooner for sooner, later in zip(times, times[1:])), default=0.0)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        if not self._is_done.is_set():
            self._end_deadline = time.monotonic() + (stretched(20) if kind is None else 0)
            self._is_ending.set()
        self.thread.join(stretched(30))  # who says that it is done has not returned yet
        assert kind is not None or (self.problem is None and not self.thread.is_alive()), f"the load does not end, or with {self.problem!r}"


def show_seconds(name, values):
    """One line with the median and the largest."""
    print(f"{name}: median {statistics.median(values) * 1000:.0f} ms, maximum {max(values) * 1000:.0f} ms of {len(values)}")
