"""Every anomaly of the checker, planted and found; a clean history, accepted (testing.md 7)."""
import json
import os
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import history
from check import Checker

SECOND = 1_000_000_000
RECORDS = int(os.environ.get("MOLDAU_CHECK_RECORDS", "100000"))
RECORDS_PER_SECOND_MIN = 1_000_000 / 30


class Story:
    """Lines of a history, one operation after the other unless `begin` and `end` are used."""

    def __init__(self):
        self.lines, self.clock = [], 0

    def line(self, process, kind, function, value, **more):
        self.clock += SECOND
        self.lines.append({"i": len(self.lines), "t": self.clock, "p": process, "ty": kind, "f": function, "v": value, **more})
        return len(self.lines) - 1

    def begin(self, process, function, steps):
        return self.line(process, "invoke", function, steps)

    def end(self, number, kind, steps=None, **more):
        line = self.lines[number]
        self.line(line["p"], kind, line["f"], line["v"] if steps is None else steps, of=number, **more)

    def send(self, process, value, offset=None, kind="ok", key="t/0"):
        number = self.begin(process, "send", [["send", key, value]])
        self.end(number, kind, [["send", key, [offset, value]]] if offset is not None else None)

    def poll(self, process, *records, kind="ok", key="t/0", **more):
        self.end(self.begin(process, "poll", None), kind, [["poll", {key: [list(record) for record in records]}]], **more)

    def transaction(self, process, steps, kind="ok"):
        self.end(self.begin(process, "txn", steps), kind, steps)

    def final(self, *records, key="t/0"):
        self.poll("final", *records, key=key, fin=1)

    def check(self, **options):
        return Checker(history.operations(json.dumps(line) for line in self.lines), **options).run()


def clean():
    """A history with everything that is allowed."""
    story = Story()
    story.line("p1", "ok", "open", {"acks": "all", "idempotent": True})
    story.line("p2", "ok", "open", {"acks": "1", "idempotent": False})
    story.line("c1", "ok", "assign", ["t/0"])
    for value in range(1, 6):
        story.send("p1", value, value)
    story.send("p2", 100, 6)                      # of one replica only, and lost: promised to nobody
    story.send("p1", 6, None, kind="info")        # it landed
    story.send("p1", 7, None, kind="info")        # it did not
    story.send("p1", 8, None, kind="fail")
    story.poll("c1", (1, 1), (2, 2), (3, 3))
    story.poll("c1")
    story.poll("c1", (4, 4), (5, 5), (6, 6))
    story.transaction("t1", [["send", "t/0", [8, 20]], ["send", "t/1", [1, 21]], ["poll", {"t/0": [[1, 1]]}]])  # a marker lies at 7
    story.transaction("t2", [["send", "t/0", 22], ["send", "t/1", 23]], kind="fail")
    story.poll("c1", (8, 20))
    story.final(*[(value, value) for value in range(1, 7)], (8, 20))
    story.final((1, 21), key="t/1")
    return story


class Planted(unittest.TestCase):
    def found(self, story, *names, **options):
        checker = story.check(**options)
        self.assertEqual(set(checker.errors), set(names), checker.report())
        return checker

    def test_a_clean_history_is_accepted(self):
        checker = self.found(clean())
        self.assertEqual(checker.counts, {})
        self.assertIn("send ok 6", checker.report())

    def test_inconsistent_offsets(self):
        story = clean()
        story.send("p1", 30, 3)
        story.final((9, 30))
        self.assertIn("inconsistent-offsets", story.check().errors)

    def test_two_readers_that_saw_other_values_at_one_offset(self):
        story = Story()
        story.send("p1", 1, 1, kind="ok")
        story.send("p3", 2, kind="info")
        story.poll("c1", (1, 1))
        story.poll("c2", (1, 2))
        story.final((1, 1))
        self.assertIn("inconsistent-offsets", story.check().errors)

    def test_what_one_replica_acknowledged_may_be_somebody_elses_place(self):
        """Sent twice with acks=1; one copy is read, the other one was acknowledged by a leader whose end was cut off: seed 56, rows 8 and 24."""
        def lost_and_read(acks):
            story = Story()
            story.line("p1", "ok", "open", {"acks": "all", "idempotent": True})
            story.line("p2", "ok", "open", {"acks": acks, "idempotent": False})
            story.send("p2", 100, 9)
            for value in (1, 2):
                story.send("p1", value, value)
            story.send("p1", 3, 9)
            story.final((1, 1), (2, 2), (5, 100), (9, 3))
            return story
        self.assertEqual(self.found(lost_and_read("1")).counts, {})
        # One of all replicas is there.
        found = self.found(lost_and_read("all"), "inconsistent-offsets")
        self.assertEqual(found.anomalies["inconsistent-offsets"], ["t/0 at 9: [100, 3]"])

    def test_duplicate(self):
        story = clean()
        story.final((9, 5))
        self.found(story, "duplicate")

    def test_a_duplicate_of_a_producer_without_sequences_is_allowed(self):
        story = Story()
        story.line("p2", "ok", "open", {"acks": "all", "idempotent": False})
        story.send("p2", 1, 2)
        story.final((1, 1), (2, 1))
        self.assertEqual(self.found(story).counts, {"allowed-duplicate": 1})

    def test_lost_write(self):
        story = Story()
        for value in (1, 2, 3):
            story.send("p1", value, value)
        story.poll("c1", (1, 1))
        story.poll("c2", (3, 3))
        story.final((1, 1), (3, 3))
        self.found(story, "lost-write", "unseen", "int-poll-skip")
        self.assertIn("lost-write", story.check(is_finished=False).errors)

    def test_a_lost_write_of_unknown_end_that_was_read_once(self):
        story = Story()
        story.send("p1", 1, kind="info")
        story.poll("c1", (1, 1))
        story.send("p1", 2, 2)
        story.final((2, 2))
        self.found(story, "vanished")

    def test_unseen(self):
        story = clean()
        story.send("p1", 40, 9)
        self.found(story, "unseen")
        self.assertEqual(story.check(is_finished=False).errors, {})

    def test_aborted_read(self):
        story = clean()
        story.poll("c2", (9, 8))
        story.final((9, 8))
        self.found(story, "G1a")

    def test_precommitted_read(self):
        story = clean()
        story.transaction("t3", [["send", "t/0", [9, 50]], ["poll", {"t/0": [[9, 50]]}]])
        story.final((9, 50))
        self.found(story, "precommitted-read")

    def test_torn_transaction(self):
        for kind in ("ok", "info"):
            story = clean()
            story.transaction("t3", [["send", "t/0", 50], ["send", "t/1", 51]], kind=kind)
            story.final((9, 50))
            self.assertIn("torn-transaction", story.check().errors)

    def test_a_failed_transaction_that_is_there(self):
        story = clean()
        story.final((9, 22))
        self.found(story, "torn-transaction", "G1a")

    def test_a_cycle_of_writes_alone_is_told_and_allowed(self):
        story = Story()
        story.transaction("t1", [["send", "t/0", [1, 1]], ["send", "t/1", [2, 4]]])
        story.transaction("t2", [["send", "t/0", [2, 2]], ["send", "t/1", [1, 3]]])
        story.final((1, 1), (2, 2))
        story.final((1, 3), (2, 4), key="t/1")
        self.assertIn("G0", self.found(story).counts)

    def crossed(self, first_reads, second_reads):
        story = Story()
        one = story.begin("t1", "txn", None)
        two = story.begin("t2", "txn", None)
        story.end(one, "ok", [["send", "t/0", [1, 1]], ["poll", {"t/1": first_reads}]])
        story.end(two, "ok", [["send", "t/1", [1, 2]], ["poll", {"t/0": second_reads}]])
        story.final((1, 1))
        story.final((1, 2), key="t/1")
        return story

    def test_a_cycle_of_reads(self):
        self.found(self.crossed([[1, 2]], [[1, 1]]), "G1c", "G1c-process", "G1c-realtime")
        self.found(self.crossed([], [[1, 1]]))

    def test_a_cycle_with_the_order_of_a_process(self):
        story = Story()
        story.transaction("t1", [["poll", {"t/0": [[1, 1]]}]])
        story.transaction("t1", [["send", "t/1", [1, 2]]])
        story.transaction("t2", [["poll", {"t/1": [[1, 2]]}], ["send", "t/0", [1, 1]]])
        story.final((1, 1))
        story.final((1, 2), key="t/1")
        self.found(story, "G1c-process", "G1c-realtime", "read-before-sent")

    def test_a_cycle_with_real_time(self):
        story = Story()
        story.transaction("t1", [["poll", {"t/0": [[1, 1]]}]])
        story.transaction("t3", [["send", "t/0", [1, 1]]])
        story.final((1, 1))
        self.found(story, "G1c-realtime", "read-before-sent")

    def test_a_cycle_that_needs_inferred_writes_is_allowed(self):
        story = Story()
        one = story.begin("t1", "txn", None)
        two = story.begin("t2", "txn", None)
        story.end(one, "ok", [["send", "t/0", [2, 1]], ["send", "t/1", [1, 3]]])
        story.end(two, "ok", [["send", "t/0", [1, 2]], ["poll", {"t/1": [[1, 3]]}]])
        story.final((1, 2), (2, 1))
        story.final((1, 3), key="t/1")
        self.assertIn("G1c-ww", self.found(story).counts)

    def test_skips_and_steps_back_within_a_poll(self):
        for name, records in (("int-poll-skip", [(1, 1), (3, 3)]), ("int-nonmonotonic-poll", [(2, 2), (1, 1)]), ("int-nonmonotonic-poll", [(2, 2), (2, 2)])):
            story = clean()
            story.poll("c9", *records)
            self.found(story, name)
            story = clean()
            story.poll("c9", *records, reb=["t/0"])
            self.found(story)

    def test_skips_and_steps_back_between_polls(self):
        for name, record in (("poll-skip", (4, 4)), ("nonmonotonic-poll", (1, 1))):
            story = clean()
            story.poll("c9", (2, 2))
            story.poll("c9", record)
            self.found(story, name)
            self.assertIn(name, self.found(story, is_subscribed=True).counts)

    def test_what_was_assigned_anew_may_begin_anywhere(self):
        story = clean()
        story.poll("c9", (2, 2))
        story.line("c9", "ok", "assign", [])
        story.line("c9", "ok", "assign", ["t/0"])
        story.poll("c9", (1, 1))
        self.found(story)

    def test_order_within_a_sending_operation(self):
        story = clean()
        story.transaction("t3", [["send", "t/0", [11, 60]], ["send", "t/0", [10, 61]]])
        story.final((10, 61), (11, 60))
        self.found(story, "int-nonmonotonic-send")
        story = clean()
        story.transaction("t3", [["send", "t/0", [9, 60]], ["send", "t/0", [11, 61]]])
        story.send("p1", 62, 10)
        story.final((9, 60), (10, 62), (11, 61))
        self.assertIn("int-send-skip", self.found(story).counts)

    def test_order_between_sending_operations(self):
        story = clean()
        story.send("p7", 60, 10)
        story.send("p7", 61, 9)
        story.final((9, 61), (10, 60))
        self.found(story, "nonmonotonic-send")

    def test_the_order_of_a_producer_without_sequences_is_told(self):
        story = Story()
        story.line("p2", "ok", "open", {"acks": "all", "idempotent": False})
        story.send("p2", 1, 2)
        story.send("p2", 2, 1)
        story.final((1, 2), (2, 1))
        self.assertEqual(self.found(story).counts, {"allowed-nonmonotonic-send": 1})

    def test_pipelined_sends_are_ordered_by_their_beginning(self):
        story = clean()
        one, two = story.begin("p7", "send", [["send", "t/0", 60]]), story.begin("p7", "send", [["send", "t/0", 61]])
        story.end(two, "ok", [["send", "t/0", [10, 61]]])
        story.end(one, "ok", [["send", "t/0", [9, 60]]])
        story.final((9, 60), (10, 61))
        self.found(story)

    def test_consumed_twice_is_told(self):
        story = clean()
        story.poll("c9", (2, 2))
        story.poll("c9", (2, 2))
        self.assertIn("consume-counts", story.check(is_subscribed=True).counts)

    def test_a_value_that_nobody_sent(self):
        story = clean()
        story.final((9, "broken: 7:xxxy"))
        self.found(story, "phantom")

    def test_group_offsets(self):
        for asked, names in ((5, ()), (7, ()), (3, ("wrong-group-offset",)), (4, ("wrong-group-offset",))):
            story = Story()
            story.transaction("t1", [["offsets", "g", {"t/0": 3}]])
            story.transaction("t1", [["offsets", "g", {"t/0": 5}]])
            story.transaction("t1", [["offsets", "g", {"t/0": 4}]], kind="fail")
            story.transaction("t1", [["offsets", "g", {"t/0": 7}]], kind="info")
            story.line("c1", "ok", "offsets", [["offsets", "g", {"t/0": asked}]])
            self.found(story, *names)

    def test_a_reader_that_is_stuck_is_told(self):
        story = Story()
        story.send("p1", 1, 1)
        story.poll("c1", (1, 1))
        story.send("p1", 2, 2)
        story.clock += 50 * SECOND
        story.poll("c1")
        story.final((1, 1), (2, 2))
        self.assertGreater(self.found(story).lag[0], 50)

    def test_what_never_works_is_an_error(self):
        story = Story()
        story.send("p1", 1, kind="info")
        self.found(story, "never-ok")

    def test_a_value_sent_twice_makes_the_history_useless(self):
        story = clean()
        story.send("p9", 1, 70)
        with self.assertRaises(ValueError):
            story.check()

    def test_it_is_fast_enough(self):
        lines, number = [], 0
        for value in range(RECORDS):
            key = f"t/{value % 4}"
            lines.append(f'{{"i":{number},"t":{number},"p":"p1","ty":"invoke","f":"send","v":[["send","{key}",{value}]]}}')
            lines.append(f'{{"i":{number + 1},"t":{number + 1},"p":"p1","ty":"ok","f":"send","of":{number},"v":[["send","{key}",[{value // 4},{value}]]]}}')
            number += 2
        for begin in range(0, RECORDS, 400):
            read = {f"t/{index}": [[value // 4, value] for value in range(begin + index, min(begin + 400, RECORDS), 4)] for index in range(4)}
            for kind in ("invoke", "ok"):
                lines.append(json.dumps({"i": number, "t": number, "p": "c1", "ty": kind, "f": "poll", "v": [["poll", read]] if kind == "ok" else None, "fin": 1}))
                number += 1
        started = time.process_time()
        checker = Checker(history.operations(lines)).run()
        seconds = time.process_time() - started
        print(f"{RECORDS} records sent and read, checked in {seconds:.1f} s of one processor")
        self.assertEqual(checker.counts, {})
        self.assertGreater(RECORDS / seconds, RECORDS_PER_SECOND_MIN / float(os.environ.get("MOLDAU_TIME_FACTOR", "1")))


if __name__ == "__main__":
    unittest.main()
