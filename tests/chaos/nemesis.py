"""Faults by a seed, one over the other (testing.md 4, 10).

A row of the matrix is a class in some rows_*.py, found by its base class:

    class Example(Row):
        number, about = 99, "what it does to whom"
        must_hold = "what holds beside the safety that all runs check"
        def steps(self):
            node = yield from self.take(lambda: self.world.pick(self.world.cluster.brokers))   # a node without other faults, ours until we end
            ...inject...; self.saw("how it is known that the fault was really there")           # a row that saw nothing has failed
            yield 3.0                                                                             # seconds of fault, others go on
            yield Until(condition, seconds, "what")                                               # within which it must come true
            ...heal, in a `finally` or by leaving a `with`...
            yield from self.back(node)                                                            # it serves again

Everything runs on one thread: steps() gives control back by `yield`, and must not block for longer than a question to a node. `self.world` is
world.World; a node's data directory may be any path (Member.use_data, Member.wrap before the start). `setup(world)` is called before the cluster starts.
"""
import contextlib
import inspect
import time

from waiting import stretched

GAP_SECONDS = (0.5, 3.0)
TAKE_SECONDS = 120
PAUSE_SECONDS = 0.02
MORE_ACKS = 20


class Until:
    """A condition and how long it may take; the `yield` gives what the condition gave. `if_alone`: demanded only where no other fault was at work, and given
    up after `if_alone` seconds otherwise (the yield gives None): two faults together may well leave nobody to lead until one of them is over."""

    def __init__(self, condition, seconds, what, if_alone=None):
        self.condition, self.seconds, self.what, self.if_alone, self.began = condition, seconds, what, if_alone, time.monotonic()


class Row:
    number, about, must_hold, targets = None, "", "", ("moldau",)

    def __init__(self, world):
        self.world, self.random, self.evidence, self.taken, self.was_alone = world, world.random, [], [], True

    @classmethod
    def missing(cls):
        """Why the row can't be had on this machine; None: it can."""

    @classmethod
    def setup(cls, world):
        """Before the nodes start."""

    def steps(self):
        raise NotImplementedError

    # ---- for steps() ----
    def take(self, choose):
        """A generator: waits until `choose` gives a node or a list of nodes, and keeps other rows away from them."""
        found = yield Until(choose, TAKE_SECONDS, "nodes that are under no other fault")
        self.keep(*(found if isinstance(found, list) else [found]))
        return found

    def keep(self, *nodes):
        for node in nodes:
            assert node.id not in self.world.busy
            self.world.busy.add(node.id)
            self.taken.append(node.id)

    def all_free(self, nodes):
        """All of them, once none is under a fault."""
        return nodes if len(self.world.free(nodes)) == len(nodes) else None

    def saw(self, text):
        self.evidence.append(text)
        self.world.note(f"row {self.number}: {text}")

    def demand(self, is_right, text):
        """What must hold, if no other fault was there meanwhile."""
        if not is_right and self.was_alone:
            raise AssertionError(f"row {self.number}: {text}")

    # ---- the steps that many rows have, generators all: others do its work, acknowledgements go on, back again ----
    def led_by_others(self, node, if_alone=10):
        """Until no partition is led by the node; how long that took. A second fault may have taken the other replicas' way: then it takes until that is over."""
        began = time.monotonic()
        yield Until(lambda: self.world.is_led_by_others(node), 60, f"other leaders than broker {node.id}", if_alone=if_alone)
        return time.monotonic() - began

    def acknowledged(self, before, seconds, when, kind="idempotent", if_alone=None):
        """Until there are more acknowledgements than `before`."""
        yield Until(lambda: self.world.clients.acked(kind) > before + MORE_ACKS, seconds, f"acknowledgements {when}", if_alone=if_alone)

    def start_again(self, *nodes):
        for node in nodes:
            node.start(wait=False)
        yield from self.back(*nodes)

    def back(self, *nodes):
        """They serve again and are in sync."""
        for node in nodes:
            yield Until(lambda: self._is_ready(node), self.world.ready_seconds, f"node {node.id} to be ready")  # noqa: B023
            if node.is_broker:
                yield Until(lambda: self._is_in_sync(node), 60, f"broker {node.id} to be in all ISRs")  # noqa: B023

    def _is_ready(self, node):
        status = node.process.poll()
        assert status is None, f"node {node.id} ended with status {status} instead of starting:\n{node.log_tail()}"
        return self.is_healthy(node)

    @staticmethod
    def is_healthy(node):
        return node.http_status("/health/ready" if node.is_broker else "/health/live") == 200

    def _is_in_sync(self, node):
        view = self.world.describe()
        return view is not None and all(node.id in one.isr for one in view.values() if node.id in one.replicas)


class Running:
    """A row at work."""

    def __init__(self, row):
        self.row, self.generator, self.began = row, row.steps(), time.monotonic()
        self.wait, self.until, self.value = None, None, None

    def advance(self):
        """Whether it goes on."""
        now = time.monotonic()
        if isinstance(self.wait, Until):
            value = self.wait.condition()
            if not value and self.wait.if_alone is not None and not self.row.was_alone:
                if now < self.wait.began + stretched(self.wait.if_alone):
                    return True
            elif not value:
                assert now < self.until, f"row {self.row.number}: waited {stretched(self.wait.seconds):.0f} s in vain for {self.wait.what}"
                return True
            self.value = value or None
        elif self.wait is not None and now < self.until:
            return True
        try:
            self.wait = self.generator.send(self.value)
        except StopIteration:
            return False
        self.value = None
        now = time.monotonic()
        self.until = now + (stretched(self.wait.seconds) if isinstance(self.wait, Until) else self.wait)
        return True


class Nemesis:
    def __init__(self, world, rows, seconds, check=lambda: None):
        self.world, self.rows, self.seconds, self.check = world, list(rows), seconds, check
        self.random, self.running, self.begun, self.done = world.random, [], 0, []

    def run(self):
        """All rows at least once, and again from the first until the time is over; then whatever runs comes to its end."""
        ends_at = time.monotonic() + self.seconds
        begins_at = time.monotonic() + self.random.uniform(*GAP_SECONDS)
        try:
            while self.running or self.begun < len(self.rows) or time.monotonic() < ends_at:
                self.check()
                now = time.monotonic()
                is_due = self.begun < len(self.rows) or now < ends_at
                if is_due and now >= begins_at and len(self.running) < self.world.rows_at_once:
                    self.begin(self.rows[self.begun % len(self.rows)])
                    begins_at = now + self.random.uniform(*GAP_SECONDS)
                for one in list(self.running):
                    if not one.advance():
                        self.end(one)
                time.sleep(PAUSE_SECONDS)  # between two looks at everybody
        finally:
            for one in self.running:
                with contextlib.suppress(Exception):
                    one.generator.close()
        return self.done

    def begin(self, kind):
        self.begun += 1
        row = kind(self.world)
        self.world.note(f"row {row.number} begins: {row.about}")
        self.running.append(Running(row))
        self.world.active.append(row)
        if len(self.world.active) > 1:
            for other in self.world.active:
                other.was_alone = False

    def end(self, one):
        row = one.row
        self.running.remove(one)
        self.world.active.remove(row)
        self.world.busy -= set(row.taken)
        assert row.evidence, f"row {row.number} saw nothing of its own fault"
        self.world.note(f"row {row.number} has ended after {time.monotonic() - one.began:.1f} s")
        self.done.append(row)


def rows_of(*modules):
    """{number: class} of all rows in these modules."""
    found = {}
    for module in modules:
        for _name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Row) and kind.number is not None and kind.__module__ == module.__name__:
                assert kind.number not in found, f"two rows {kind.number}"
                found[kind.number] = kind
    return dict(sorted(found.items()))
