"""The clients of a run, in a process of their own in the clients' namespace: producers and consumers of librdkafka, each a thread, one history.

    client.py '{"bootstrap":...,"topic":...,"partitions":4,"history":PATH,"seed":1,"rate":80,"large":30000}'

On standard input: `stop` (nothing more is sent; what was sent is waited for), then `finish` (all is read to its end, once more from the beginning), then `leave`.
Each half second a line of JSON on standard output says how far they are; the last one has "finished": null, or what went wrong, and "stuck": the readers whose
library stands still (motion.py). They are nobody's fault here as long as another that went through the same faults, and the one at the end, read everything.

An outcome is unknown (info) unless it is known (testing.md 8): NEVER_WRITTEN is all that a producer may call failed. _PURGE_QUEUE is not among it:
librdkafka puts what it tries again back into that queue. Nor is MSG_SIZE_TOO_LARGE of a record that would have been accepted alone: an earlier attempt,
in a smaller batch, may have been written.
"""
import json
import os
import random
import sys
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

import gen
import history
import motion

NEVER_WRITTEN = {KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD, KafkaError.TOPIC_AUTHORIZATION_FAILED,
                 KafkaError.INVALID_REQUIRED_ACKS}
QUICK = {"socket.timeout.ms": 5000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500, "retry.backoff.ms": 50, "retry.backoff.max.ms": 500,
         "topic.metadata.refresh.interval.ms": 1000, "socket.connection.setup.timeout.ms": 2000, "log_level": 0}
# A record that librdkafka gives up makes it begin a new session (another producer epoch) in which it sends again what may be there already: its duplicates, not
# the broker's (seen: sequence 55 of epoch 0 again as sequence 0 of epoch 15). So the one whose records may be there only once never gives up.
PRODUCERS = {"idempotent": {"acks": "all", "enable.idempotence": True, "message.timeout.ms": 600_000},
             # One request at a time: what is sent again can't overtake.
             "plain": {"acks": "all", "enable.idempotence": False, "max.in.flight": 1, "message.timeout.ms": 15_000},
             "weak": {"acks": 1, "enable.idempotence": False, "max.in.flight": 1, "message.timeout.ms": 15_000}}
FLUSH_SECONDS = 60
BATCH_BYTES = 16000  # below the topic's max.message.bytes, which only the large ones exceed
LARGE_ONE_IN = 400
FINISH_SECONDS = 90
# What a reader's library logs: where its partitions lead, and what it thinks of offsets and epochs. The rest is in its statistics.
SPEAKING = {"log_level": 7, "debug": "topic", "statistics.interval.ms": 5000}


class Shared:
    def __init__(self, options):
        self.options = options
        self.values = gen.Values(options["topic"], options["partitions"])
        self.recorder, self.recording, self.stuck = history.Recorder(options["history"]), motion.Recording(options["history"]), {}
        self.stopping, self.ends, self.names, self.lock = threading.Event(), None, {}, threading.Lock()
        self.marks = {}  # what has come to pass, told from then on: whoever listens may miss a line
        self.acked, self.failed, self.unknown, self.polled, self.problems, self.fatal = {}, {}, {}, 0, [], []

    def name(self, kind):
        """Of a new process."""
        with self.lock:
            self.names[kind] = self.names.get(kind, 0) + 1
            return f"{kind}-{self.names[kind]}"


class Thread(threading.Thread):
    """What goes wrong in it is told."""

    def __init__(self, shared, seed):
        super().__init__(daemon=True)
        self.shared, self.random, self.client = shared, random.Random(seed), None

    def run(self):
        try:
            self.work()
        except BaseException as error:
            self.shared.problems.append(f"{type(self).__name__}: {error!r}")
            raise


class Producing(Thread):
    def __init__(self, shared, seed, kind):
        super().__init__(shared, seed)
        self.kind = kind

    def work(self):
        while not self.shared.stopping.is_set():
            self.live()

    def live(self):
        """One process, until it is told to stop or its producer is of no more use."""
        process, mode, shared = self.shared.name(self.kind), PRODUCERS[self.kind], self.shared
        shared.recorder.write(process, "ok", "open", {"acks": str(mode["acks"]), "idempotent": mode["enable.idempotence"]})
        self.is_fatal = False
        self.client = motion.Client(shared.recording, process, lambda _client: Producer(
            {**QUICK, **mode, "bootstrap.servers": shared.options["bootstrap"], "linger.ms": 5, "message.max.bytes": 1_000_000, "batch.size": BATCH_BYTES}))
        producer = self.client.library
        self.client.does("produce")
        try:
            self.produce(producer, process)
        except KafkaException as error:
            self.end_of(process, error.args[0])
        if self.is_fatal:
            shared.recorder.write(process, "info", "crash", None)
            self.client.ended()
            return  # what it had not heard of stays unknown
        self.client.does("flush")
        deadline = time.monotonic() + FLUSH_SECONDS
        while producer.flush(0.2) > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{process}: {len(producer)} records were neither acknowledged nor given up")
        self.client.ended()

    def produce(self, producer, process):
        shared = self.shared
        allowed, before = 0.0, time.monotonic()
        while not shared.stopping.is_set() and not self.is_fatal:
            producer.poll(0.005)
            now = time.monotonic()
            allowed, before = min(allowed + (now - before) * shared.options["rate"], 20), now
            while allowed >= 1 and not self.is_fatal:
                allowed -= 1
                self.send(producer, process)

    def end_of(self, process, error):
        """A producer that refuses to go on: no fault may bring it there."""
        if not self.is_fatal:
            self.is_fatal = True
            self.shared.fatal.append(f"{process}: {error}")

    def send(self, producer, process):
        shared, options = self.shared, self.shared.options
        key = self.random.choice(shared.values.keys)
        value, size = shared.values.next(key), self.random.choice((20, 60, 200, 1000))
        if self.kind == "plain" and self.random.randrange(LARGE_ONE_IN) == 0:
            size = options["large"]
        number = shared.recorder.write(process, "invoke", "send", [["send", key, value]])

        def report(error, message):
            self.record(process, number, key, value, size, error, message)
        try:
            producer.produce(options["topic"], gen.payload(value, size), partition=int(key.rpartition("/")[2]), on_delivery=report)
        except BufferError:
            shared.recorder.write(process, "fail", "send", None, of=number, err="the queue is full")
        except KafkaException as error:
            self.end_of(process, error.args[0])
            shared.recorder.write(process, "info", "send", None, of=number, err=str(error))

    def record(self, process, number, key, value, size, error, message):
        shared = self.shared
        if error is None:
            offset = message.offset()
            shared.acked[self.kind] = shared.acked.get(self.kind, 0) + 1
            shared.recorder.write(process, "ok", "send", [["send", key, [offset if offset is not None and offset >= 0 else None, value]]], of=number)
            return
        if error.fatal():
            self.end_of(process, error)
        is_known = error.code() in NEVER_WRITTEN or (error.code() == KafkaError.MSG_SIZE_TOO_LARGE and size == shared.options["large"])
        counts = shared.failed if is_known else shared.unknown
        counts[error.name()] = counts.get(error.name(), 0) + 1
        shared.recorder.write(process, "fail" if is_known else "info", "send", None, of=number, err=error.name())


class Consuming(Thread):
    """Assigned to all partitions for good. With a lifetime: another one, from the beginning, each time that it is over."""

    def __init__(self, shared, seed, lifetime=None, is_final=False):
        super().__init__(shared, seed)
        self.lifetime, self.is_final = lifetime, is_final

    def work(self):
        while True:
            if self.live():
                return

    def live(self):
        """Whether all that there is was read."""
        shared = self.shared
        process, keys = shared.name("final" if self.is_final else "reader"), shared.values.keys
        self.client = motion.Client(shared.recording, process, lambda client: Consumer(
            {**QUICK, **SPEAKING, "bootstrap.servers": shared.options["bootstrap"], "group.id": "not-used", "enable.auto.commit": False, "check.crcs": True,
             "enable.partition.eof": True, "fetch.wait.max.ms": 100, "auto.offset.reset": "earliest", "fetch.error.backoff.ms": 100, "stats_cb": client.said},
            logger=client.words.logger))
        consumer = self.client.library
        self.client.does("read")
        consumer.assign([TopicPartition(shared.options["topic"], int(key.rpartition("/")[2]), 0) for key in keys])
        shared.recorder.write(process, "ok", "assign", keys)
        read, ends_at = {}, None if self.lifetime is None else time.monotonic() + self.lifetime
        finish_by = None
        try:
            while True:
                self.poll(consumer, process, read)
                ends = shared.ends
                if ends is not None:
                    if all(read.get(key, 0) >= end for key, end in ends.items()):
                        return True
                    finish_by = finish_by or time.monotonic() + FINISH_SECONDS
                    if time.monotonic() > finish_by:
                        raise TimeoutError(f"{process} is at {read} after {FINISH_SECONDS} s, the ends are {ends}")
                elif ends_at is not None and time.monotonic() > ends_at:
                    return False
        finally:
            self.client.does("close")
            consumer.close()
            self.client.ended()

    def poll(self, consumer, process, read):
        number = self.shared.recorder.write(process, "invoke", "poll", None)
        records, errors = {}, []
        for message in consumer.consume(500, 0.1):
            error = message.error()
            if error is None:
                key = f"{message.topic()}/{message.partition()}"
                records.setdefault(key, []).append([message.offset(), gen.value_of(message.value())])
                read[key] = message.offset() + 1
            elif error.code() != KafkaError._PARTITION_EOF:
                errors.append(error.name())
        more = {"err": errors} if errors else {}
        if self.is_final:
            more["fin"] = 1
        self.shared.polled += sum(map(len, records.values()))
        self.shared.recorder.write(process, "ok" if records or not errors else "info", "poll", [["poll", records]], of=number, **more)


def ends_of(options):
    """{key: end} as the leaders tell, after all was sent."""
    consumer = Consumer({**QUICK, "bootstrap.servers": options["bootstrap"], "group.id": "not-used"})
    deadline, ends = time.monotonic() + FINISH_SECONDS, {}
    try:
        for partition in range(options["partitions"]):
            while True:
                try:
                    ends[f"{options['topic']}/{partition}"] = consumer.get_watermark_offsets(TopicPartition(options["topic"], partition), timeout=5)[1]
                    break
                except KafkaException:
                    if time.monotonic() > deadline:
                        raise
    finally:
        consumer.close()
    return ends


def tell(shared, **more):
    shared.marks.update(more)
    line = {"acked": shared.acked, "failed": shared.failed, "unknown": shared.unknown, "polled": shared.polled, "problems": shared.problems, "fatal": shared.fatal,
            "doing": shared.recording.told(), "stuck": shared.stuck, **shared.marks}
    print(json.dumps(line), flush=True)


class Telling(Thread):
    def __init__(self, shared, is_over):
        super().__init__(shared, "telling")
        self.is_over = is_over

    def work(self):
        while not self.is_over.wait(0.5):
            tell(self.shared)


def read_to_the_end(shared, readers):
    """All that there is is read by those who saw the faults, and once more from the beginning."""
    shared.ends = ends_of(shared.options)
    final = Consuming(shared, "final", is_final=True)
    final.start()
    motion.wait_for((final, *readers), shared.stuck)
    if final.is_alive():
        shared.problems.append(f"the reading from the beginning did not come to its end: {shared.stuck}")
    # One that begins anew from time to time may have begun behind the last fault.
    if all(reader.is_alive() for reader in readers if reader.lifetime is None):
        shared.problems.append(f"no reader that saw the faults read to the end: {shared.stuck}")


def main():
    options = json.loads(sys.argv[1])
    shared, is_over = Shared(options), threading.Event()
    shared.recording.listen()
    producers = [Producing(shared, f"{options['seed']}/{kind}", kind) for kind in PRODUCERS]
    readers = [Consuming(shared, f"{options['seed']}/r{number}", lifetime) for number, lifetime in enumerate((None, None, 12))]
    telling = Telling(shared, is_over)
    for thread in (*producers, *readers, telling):
        thread.start()
    for line in sys.stdin:
        if line.strip() == "stop":
            shared.stopping.set()
            for thread in producers:
                thread.join()
            tell(shared, stopped=True)
        elif line.strip() == "finish":
            break
    try:
        read_to_the_end(shared, readers)
    except Exception as error:
        shared.problems.append(repr(error))
    is_over.set()
    telling.join()
    shared.recorder.close()
    tell(shared, finished="; ".join(shared.problems) or None)
    sys.stdin.readline()  # whoever asked may want to look at us as we are
    sys.stdout.flush()
    os._exit(0)  # a library that stands still lets no other end come


if __name__ == "__main__":
    main()
