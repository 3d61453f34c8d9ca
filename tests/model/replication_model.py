"""A model of one replicated partition, explored state by state: three replicas, the controller's view of them, and everything that
may happen in between in any order. It is what broker/replica and controller/isr_control are written after, and what is changed first
when the protocol is to change.

State:   the controller (leader, leader epoch, partition epoch, ISR, ELR, incarnations, who is unfenced); per broker its log (the leader
         epoch of each record), synced end, high watermark, the metadata that it has heard (maybe old), its leadership (start offset of
         the epoch, acknowledged ends, pending ISR), its subscription; proposals and one acknowledgement under way; what was promised.
Steps:   append, replicate, sync, acknowledge (now or late), propose, decide (compare-and-set), fence, unfence, hear of metadata (late,
         commits merged), crash (killed, or without what was not synced), register again.
Promise: a record is promised when a leader's high watermark passes it. It may be lost only when min.insync.replicas replicas that
         had acknowledged it have lost their copies (correctness.md 1, R1 and its note). Checked in every state: see violation().
Flaws:   FLAWS plants one; the exploration must find it (tests/model/test_model.py). A record is named by its leader epoch and offset:
         two records of one pair would need two leaders of one epoch, which is checked by itself (R7).

  python3 tests/model/replication_model.py [--flaw NAME] [--scope NAME] [--list]

Source: correctness.md 4, traps 1-6; KIP-101, KIP-279, KIP-903, KIP-966; Kafka's TLA+ models of replication by Jason Gustafson.
"""
import argparse
import itertools
import sys
import time
from collections import namedtuple

REPLICAS = 3
MIN_ISR = 2
NOBODY = -1

FLAWS = {
    "truncate-by-hw": "a follower cuts its log to its high watermark instead of where the histories part (trap 1)",
    "expand-locally": "the leader counts a new ISR member towards min ISR before the controller has confirmed it (trap 3)",
    "shrink-locally": "the leader stops waiting for a member before the controller has confirmed that it is out (trap 3)",
    "expand-unwaited": "the high watermark does not wait for a member that is proposed but not confirmed yet (trap 3)",
    "advance-below-min": "the high watermark advances while the ISR is below min ISR (trap 2)",
    "join-below-epoch-start": "a follower joins by the high watermark alone, which a new leader does not know yet (trap 3)",
    "old-epoch-ack": "the leader counts an acknowledgement that was given in an older epoch (trap 5)",
    "stale-leader-ack": "an append that waits is answered by a high watermark of a later epoch (trap 6)",
    "zombie-leader": "a follower that follows a later leader goes on acknowledging the old one's records (trap 4)",
    "old-incarnation": "the controller does not compare the incarnations of proposed members (trap 4)",
    "no-compare-and-set": "the controller does not compare partition epochs (trap 4)",
    "count-unknown-incarnation": "the leader counts the new process of an ISR member before its metadata tells of it (trap 4)",
    "keep-after-power-loss": "a replica that lost its page cache keeps its place in ISR and ELR (trap 2)",
    "forget-elr": "with an empty ISR any replica may lead, not only those of the ELR (trap 2)",
    "count-unsynced": "with durability=synced the log end is acknowledged, not the synced end (trap 5)",
}

Controller = namedtuple("Controller", "leader epoch partition_epoch isr elr incarnations")
# epoch: in which it leads, or follows (subscribed), or the oldest in which it may (it has registered since).
# waiting: (offset, epoch) of appends that wait; only with the flaw that needs it. gone: (offset, epoch) of what crashes have taken.
Broker = namedtuple("Broker", "incarnation log synced hw epoch subscribed lead waiting gone")
# The metadata as the leader has heard it, and its own: pending is the ISR that it has proposed, 0 when none.
Lead = namedtuple("Lead", "partition_epoch isr incarnations start acked pending")
Proposal = namedtuple("Proposal", "incarnation epoch partition_epoch isr incarnations")
Ack = namedtuple("Ack", "leader follower epoch end incarnation")
# promised: by offset, (epoch, mask of the replicas that held it in sync and lost it). left: what may still happen.
State = namedtuple("State", "controller brokers proposals late promised left")
Left = namedtuple("Left", "records crashes fences proposals late")


class Violation(Exception):
    pass


def bits(mask):
    return BITS[mask]


def count(mask):
    return len(BITS[mask])


def with_item(items, index, item):
    return items[:index] + (item,) + items[index + 1:]


BITS = [tuple(b for b in range(REPLICAS) if mask >> b & 1) for mask in range(1 << REPLICAS)]
# By mask: what is left of it when some of its members go.
SUBSETS = [[part for part in range(mask) if part & mask == part] for mask in range(1 << REPLICAS)]


class Model:
    def __init__(self, left, epochs, durability, flaw=None):
        self.left, self.epochs, self.synced, self.flaw = Left(**left), epochs, durability == "synced", flaw

    def initial(self):
        everybody, born = (1 << REPLICAS) - 1, (0,) * REPLICAS
        lead = Lead(0, everybody, born, 0, (0,) * REPLICAS, 0)
        brokers = tuple(Broker(0, (), 0, 0, 1, b != 0, lead if b == 0 else None, (), ()) for b in range(REPLICAS))
        return State(Controller(0, 1, 0, everybody, 0, born), brokers, (None,) * REPLICAS, None, (), self.left)

    # ---- the leader ----

    def put(self, state, b, broker):
        """Takes the broker's new state; a leader's high watermark follows, over the maximal ISR: the committed one with what is being
        added; what is being removed still counts."""
        lead, promised = broker.lead, state.promised
        if lead:
            isr = waited = lead.isr
            if self.flaw != "expand-unwaited":
                waited |= lead.pending
            if self.flaw == "expand-locally":
                isr = waited
            if self.flaw == "shrink-locally" and lead.pending:
                waited = lead.pending
            end = broker.synced if self.synced and self.flaw != "count-unsynced" else len(broker.log)
            for m in bits(waited):
                if m != b and lead.acked[m] < end:
                    end = lead.acked[m]
            if end > broker.hw and (count(isr) >= MIN_ISR or self.flaw == "advance-below-min"):
                for offset in range(broker.hw, end):
                    promised = promise(promised, offset, broker.log[offset], lost_already(state, waited, lead, offset, broker.log[offset]))
                waiting = broker.waiting
                while waiting and waiting[0][0] < end:
                    promised = promise(promised, *waiting[0], 0)
                    waiting = waiting[1:]
                broker = broker._replace(hw=end, waiting=waiting)
        return State(state.controller, with_item(state.brokers, b, broker), state.proposals, state.late, promised, state.left)

    def leader_steps(self, state, b, broker):
        lead, left = broker.lead, state.left
        if left.records:
            after = broker._replace(log=broker.log + (broker.epoch,))
            if self.flaw == "stale-leader-ack":
                after = after._replace(waiting=broker.waiting + ((len(broker.log), broker.epoch),))
            yield f"{b} appends", self.put(state._replace(left=left._replace(records=left.records - 1)), b, after)
        if self.synced and broker.synced < len(broker.log):
            yield f"{b} syncs", self.put(state, b, broker._replace(synced=len(broker.log)))
        if lead.pending or state.proposals[b] or not left.proposals or self.is_in_vain(state.controller, broker.epoch, lead.partition_epoch):
            return
        joins_at = broker.hw if self.flaw == "join-below-epoch-start" else max(broker.hw, lead.start)
        proposed = [isr for isr in SUBSETS[lead.isr] if isr >> b & 1]
        proposed += [lead.isr | 1 << m for m in range(REPLICAS) if not lead.isr >> m & 1 and lead.acked[m] >= joins_at]
        left = left._replace(proposals=left.proposals - 1)
        for isr in proposed:
            proposal = Proposal(broker.incarnation, broker.epoch, lead.partition_epoch, isr, lead.incarnations)
            after = state._replace(proposals=with_item(state.proposals, b, proposal), left=left)
            yield f"{b} proposes ISR {bits(isr)}", self.put(after, b, broker._replace(lead=lead._replace(pending=isr)))

    def is_in_vain(self, now, epoch, partition_epoch):
        """The controller will refuse it, now and for ever; not worth a state of its own."""
        return epoch != now.epoch or (partition_epoch != now.partition_epoch and self.flaw != "no-compare-and-set")

    # ---- the follower ----

    def follower_steps(self, state, f, follower):
        """A broker hears of a later leader and subscribes there in one step, also one that has led until then: what it could do
        between the two is nothing."""
        for b, leader in enumerate(state.brokers):
            if b == f or not leader.lead:
                continue
            if leader.epoch > follower.epoch or (leader.epoch == follower.epoch and not follower.subscribed):
                keep = follower.hw if self.flaw == "truncate-by-hw" else lineage_end(follower.log, leader.log)
                waiting = follower.waiting if self.flaw == "stale-leader-ack" else ()
                after = cut(follower, keep)._replace(epoch=leader.epoch, subscribed=True, lead=None, waiting=waiting)
                yield f"{f} subscribes at {b}", self.put(state, f, after)
            elif leader.epoch == follower.epoch:
                end = len(follower.log)
                if end < len(leader.log) or follower.hw < min(leader.hw, end):
                    log = leader.log[:end + 1]
                    after = follower._replace(log=log, hw=max(follower.hw, min(leader.hw, len(log))))
                    yield f"{f} receives", self.put(state, f, after)
                yield from self.acknowledge(state, b, leader, f, follower, end)
            elif self.flaw == "zombie-leader":
                yield from self.acknowledge(state, b, leader, f, follower, min(len(follower.log), len(leader.log)))

    def acknowledge(self, state, b, leader, f, follower, end):
        if leader.lead.acked[f] >= end:
            return
        if follower.synced < end and self.flaw != "count-unsynced":
            state = self.put(state, f, follower._replace(synced=end))
        ack = Ack(b, f, leader.epoch, end, follower.incarnation)
        if state.left.late and state.late is None:
            yield f"{f} acknowledges late", state._replace(late=ack, left=state.left._replace(late=state.left.late - 1))
        yield from self.take_ack(state, ack)

    def take_ack(self, state, ack):
        leader = state.brokers[ack.leader]
        if not leader.lead or (leader.epoch != ack.epoch and self.flaw != "old-epoch-ack"):
            return
        lead = leader.lead
        if lead.incarnations[ack.follower] != ack.incarnation and self.flaw != "count-unknown-incarnation":
            return
        if lead.acked[ack.follower] < ack.end <= len(leader.log):
            lead = lead._replace(acked=with_item(lead.acked, ack.follower, ack.end))
            yield f"{ack.leader} takes {ack.follower}'s {ack.end}", self.put(state, ack.leader, leader._replace(lead=lead))

    # ---- the controller and its metadata ----

    def hear(self, state, b, broker):
        """Commits that a leader has not heard of yet come merged, as late as they like. Only leaders act upon the ISR."""
        now, lead = state.controller, broker.lead
        if now.leader != b:
            return
        if now.epoch > broker.epoch or not lead:
            # the epoch's start is on disk before anything else happens
            lead = Lead(now.partition_epoch, now.isr, now.incarnations, len(broker.log), (-1,) * REPLICAS, 0)
            waiting = broker.waiting if self.flaw == "stale-leader-ack" else ()
            yield f"{b} leads epoch {now.epoch}", self.put(state, b, broker._replace(epoch=now.epoch, subscribed=False, lead=lead, waiting=waiting))
        elif (now.partition_epoch, now.incarnations) != (lead.partition_epoch, lead.incarnations):
            known = self.flaw == "count-unknown-incarnation"
            acked = tuple(end if known or now.incarnations[m] == lead.incarnations[m] else -1 for m, end in enumerate(lead.acked))
            pending = lead.pending if now.partition_epoch == lead.partition_epoch else 0
            lead = Lead(now.partition_epoch, now.isr, now.incarnations, lead.start, acked, pending)
            yield f"{b} hears of ISR {bits(now.isr)}", self.put(state, b, broker._replace(lead=lead))

    def without(self, now, b, is_lost):
        """Every state of the controller after b has left the ISR, into the ELR when that falls below min ISR and b lost nothing; and
        after the election, if b led: any of the ISR, or of the ELR if that is empty (KIP-966). Who is fenced is not modelled: whoever
        may be elected, may be so at any time."""
        isr, elr = now.isr & ~(1 << b), now.elr
        if is_lost:
            elr &= ~(1 << b)
        elif now.isr >> b & 1 and count(isr) < MIN_ISR:
            elr |= 1 << b
        elr = settle(isr, elr)
        if now.leader not in (b, NOBODY):
            return [now._replace(isr=isr, elr=elr, partition_epoch=now.partition_epoch + ((isr, elr) != (now.isr, now.elr)))]
        candidates = isr or ((1 << REPLICAS) - 1 if self.flaw == "forget-elr" else elr)
        return [Controller(m, now.epoch + 1, now.partition_epoch + 1, isr | 1 << m, settle(isr | 1 << m, elr), now.incarnations)
                for m in bits(candidates)] or [Controller(NOBODY, now.epoch + 1, now.partition_epoch + 1, isr, elr, now.incarnations)]

    def controller_steps(self, state):
        now = state.controller
        for b, proposal in enumerate(state.proposals):
            if proposal:
                yield f"the controller decides on {b}'s {bits(proposal.isr)}", self.decide(state, b, proposal)
        if state.left.fences:
            left = state.left._replace(fences=state.left.fences - 1)
            for b in bits(now.isr):
                for after in self.without(now, b, False):
                    yield f"{b} is fenced, {after.leader} leads", state._replace(controller=after, left=left)

    def decide(self, state, b, proposal):
        now, broker = state.controller, state.brokers[b]
        after = state._replace(proposals=with_item(state.proposals, b, None))
        is_current = now.leader == b and now.epoch == proposal.epoch and now.incarnations[b] == proposal.incarnation
        is_newest = now.partition_epoch == proposal.partition_epoch or self.flaw == "no-compare-and-set"
        if not is_current or not is_newest:
            return after  # the leader waits for the metadata that says why
        if any(now.incarnations[m] != proposal.incarnations[m] for m in bits(proposal.isr)) and self.flaw != "old-incarnation":
            lead = broker.lead
            if lead and lead.partition_epoch == proposal.partition_epoch and broker.epoch == proposal.epoch:
                return self.put(after, b, broker._replace(lead=lead._replace(pending=0)))
            return after
        elr = now.elr | now.isr & ~proposal.isr if count(proposal.isr) < MIN_ISR else now.elr
        return after._replace(controller=now._replace(isr=proposal.isr, elr=settle(proposal.isr, elr), partition_epoch=now.partition_epoch + 1))

    # ---- crashes ----

    def crash(self, state, b, broker):
        """A process ends and registers again. Between the two it does nothing, and nobody knows: one step."""
        end, now = len(broker.log), state.controller
        incarnation = now.incarnations[b] + 1
        left = state.left._replace(crashes=state.left.crashes - 1)
        proposals = state.proposals
        for kept in range(broker.synced if self.synced else 0, end + 1):
            promised = state.promised
            is_lost = kept < end
            if is_lost and not self.synced:
                promised = tuple((epoch, lost | 1 << b if kept <= o < end and broker.log[o] == epoch else lost)
                                 for o, (epoch, lost) in enumerate(promised))
            gone = broker.gone
            if is_lost and not self.synced:
                gone += tuple((o, broker.log[o]) for o in range(kept, end))
            is_out = is_lost and not self.synced and self.flaw != "keep-after-power-loss"
            for after in self.without(now._replace(incarnations=with_item(now.incarnations, b, incarnation)), b, is_out):
                again = cut(broker, kept)
                # recovery syncs what it keeps
                again = Broker(incarnation, again.log, kept if self.synced else again.synced, again.hw, after.epoch, False, None, (), gone)
                yield (f"{b} crashes and keeps {kept} of {end}, {after.leader} leads",
                       State(after, with_item(state.brokers, b, again), proposals, state.late, promised, left))

    # ---- exploration ----

    def steps(self, state):
        yield from self.controller_steps(state)
        if state.late:
            for name, after in self.take_ack(state._replace(late=None), state.late):
                yield f"late: {name}", after
        for b, broker in enumerate(state.brokers):
            yield from self.hear(state, b, broker)
            if broker.lead:
                yield from self.leader_steps(state, b, broker)
            yield from self.follower_steps(state, b, broker)
            if state.left.crashes:
                yield from self.crash(state, b, broker)

    def violation(self, state):
        leading = [broker.epoch for broker in state.brokers if broker.lead]
        if len(leading) != len(set(leading)):
            return "R7: two leaders of one epoch"
        now = state.controller
        promised = tuple(epoch for epoch, _ in state.promised)
        for b, broker in enumerate(state.brokers):
            if broker.log[:broker.hw] != promised[:broker.hw]:
                return f"R2: {b} shows records below its high watermark that were not promised"
            if broker.log[:len(promised)] == promised:
                continue
            if now.leader == b and broker.lead and broker.epoch == now.epoch:
                return f"R1: {b} leads and does not hold what was promised"
            if (now.isr | now.elr) >> b & 1:
                return f"{b} is in ISR or ELR and does not hold what was promised"
        return None

    def is_beyond(self, state):
        """More was lost than any promise covers, or more epochs than are explored."""
        return state.controller.epoch > self.epochs or any(count(lost) >= MIN_ISR for _, lost in state.promised)

    def explore(self, deadline=None):
        """Breadth first. Returns (states, None) or (states, [steps to the violation])."""
        first = self.initial()
        seen, level, states = {hash(canonical(self, first))}, [(first, None)], 1
        while level:
            following = []
            for state, trace in level:
                try:
                    for name, after in self.steps(state):
                        key = hash(canonical(self, after))
                        if key in seen:
                            continue
                        seen.add(key)
                        if self.is_beyond(after):
                            continue
                        states += 1
                        problem = self.violation(after)
                        if problem:
                            return states, unroll((problem, (name, trace)))
                        following.append((after, (name, trace)))
                except Violation as violation:
                    return states, unroll((str(violation), trace))
            level = following
            if deadline and time.monotonic() > deadline:
                raise TimeoutError(f"{states} states and no end")
        return states, None


def lost_already(state, members, lead, offset, epoch):
    """Who acknowledged the record, and lost it in a crash of which the leader has not heard."""
    lost = 0
    for m in bits(members):
        other = state.brokers[m]
        if other.incarnation != lead.incarnations[m] and (offset, epoch) in other.gone:
            lost |= 1 << m
    return lost


def promise(promised, offset, epoch, lost):
    if offset >= len(promised):
        return promised + ((epoch, lost),)
    if promised[offset][0] != epoch:
        raise Violation(f"R2: two records were promised at offset {offset}")
    return promised


def settle(isr, elr):
    return 0 if count(isr) >= MIN_ISR else elr & ~isr


def unroll(trace):
    names = []
    while trace:
        names.append(trace[0])
        trace = trace[1]
    return names[::-1]


def lineage_end(own, leaders):
    """Where the follower's history parts from the leader's: asked epoch by epoch, as KIP-101 and KIP-279 do it. Logs hold epochs in
    rising order, so the end of an epoch is how many records have that one or an older one."""
    end = len(own)
    while end > 0:
        last = own[end - 1]
        known = [epoch for epoch in leaders if epoch <= last]
        if known and known[-1] == last:
            return min(end, len(known))
        # the leader answers with its largest epoch below; cut to the end of the own largest one that is not above it, ask again
        answered = known[-1] if known else 0
        end = min(sum(1 for epoch in own[:end] if epoch <= answered), len(known))
    return 0


def cut(broker, end):
    return broker._replace(log=broker.log[:end], synced=min(broker.synced, end), hw=min(broker.hw, end))


def ranks(values):
    return {value: rank for rank, value in enumerate(sorted(set(values)))}


def canonical(model, state):
    """The same for states that differ only in the names of brokers and in how partition epochs are counted (an incomplete normal form:
    what it misses costs time, never states)."""
    now, brokers = state.controller, state.brokers
    proposals = [None if p and model.is_in_vain(now, p.epoch, p.partition_epoch) else p for p in state.proposals]
    keys = [(now.leader == b, broker.epoch, broker.lead is not None, broker.log, broker.hw, broker.synced, broker.subscribed,
             now.isr >> b & 1, now.elr >> b & 1, broker.incarnation,
             tuple(other.lead.acked[b] for other in brokers if other.lead and other is not broker)) for b, broker in enumerate(brokers)]
    order = tuple(sorted(range(REPLICAS), key=keys.__getitem__))
    masks, place = MASKS[order]
    epochs = [now.partition_epoch]
    for broker, proposal in zip(brokers, proposals):
        if broker.lead:
            epochs.append(broker.lead.partition_epoch)
        if proposal:
            epochs.append(proposal.partition_epoch)
    steps = ranks(epochs)
    x, y, z = order
    items = []
    for b in order:
        broker, proposal = brokers[b], proposals[b]
        lead = broker.lead
        if lead:
            incarnations, acked = lead.incarnations, lead.acked
            lead = (steps[lead.partition_epoch], masks[lead.isr], incarnations[x], incarnations[y], incarnations[z], lead.start,
                    acked[x], acked[y], acked[z], masks[lead.pending])
        if proposal:
            incarnations = proposal.incarnations
            proposal = (proposal.incarnation, proposal.epoch, steps[proposal.partition_epoch], masks[proposal.isr],
                        incarnations[x], incarnations[y], incarnations[z])
        items.append((broker.incarnation, broker.log, broker.synced, broker.hw, broker.epoch, broker.subscribed, broker.waiting, broker.gone, lead, proposal))
    late = state.late and (place[state.late.leader], place[state.late.follower], state.late[2:])
    return (place[now.leader] if now.leader >= 0 else NOBODY, now.epoch, steps[now.partition_epoch], masks[now.isr], masks[now.elr],
            items[0], items[1], items[2], late, tuple([(epoch, masks[lost]) for epoch, lost in state.promised]), state.left)


# By the brokers' new order: every mask in it, every broker's place.
MASKS = {order: ([sum(1 << at for at, b in enumerate(order) if mask >> b & 1) for mask in range(1 << REPLICAS)],
                 [order.index(b) for b in range(REPLICAS)]) for order in itertools.permutations(range(REPLICAS))}

# What may happen at most in one exploration; each scope is explored to its end. `full`: only in tests/full.
SCOPES = {
    "elections": dict(durability="cached", epochs=3, left=dict(records=2, crashes=0, fences=2, proposals=1, late=0)),
    "records": dict(durability="cached", epochs=3, left=dict(records=3, crashes=0, fences=2, proposals=0, late=0)),
    "changes": dict(durability="cached", epochs=3, left=dict(records=1, crashes=0, fences=2, proposals=2, late=0)),
    "crash": dict(durability="cached", epochs=3, left=dict(records=1, crashes=1, fences=1, proposals=2, late=0)),
    "crashes": dict(durability="cached", epochs=3, left=dict(records=1, crashes=2, fences=0, proposals=2, late=0)),
    "synced": dict(durability="synced", epochs=3, left=dict(records=1, crashes=2, fences=0, proposals=2, late=0)),
    "full-late": dict(durability="cached", epochs=3, left=dict(records=2, crashes=0, fences=2, proposals=1, late=1)),
    "full-records": dict(durability="cached", epochs=3, left=dict(records=3, crashes=0, fences=2, proposals=1, late=0)),
    "full-crash": dict(durability="cached", epochs=3, left=dict(records=3, crashes=1, fences=1, proposals=0, late=0)),
    "full-crashes": dict(durability="cached", epochs=3, left=dict(records=1, crashes=2, fences=1, proposals=1, late=0)),
}
# Where a flaw is looked for, if not in "crash".
FLAW_SCOPES = {"zombie-leader": "elections", "stale-leader-ack": "elections", "old-epoch-ack": "full-late", "count-unsynced": "synced"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flaw", choices=sorted(FLAWS))
    parser.add_argument("--scope", choices=sorted(SCOPES), action="append")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, what in FLAWS.items():
            print(f"{name}: {what}")
        return 0
    found = False
    for name in options.scope or ([FLAW_SCOPES.get(options.flaw, "crash")] if options.flaw else SCOPES):
        start = time.monotonic()
        states, trace = Model(flaw=options.flaw, **SCOPES[name]).explore()
        print(f"{name}: {states} states in {time.monotonic() - start:.1f} s: " + ("found" if trace else "holds"), flush=True)
        if trace:
            print("\n".join(f"  {at}. {step}" for at, step in enumerate(trace)))
            found = True
            break
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
