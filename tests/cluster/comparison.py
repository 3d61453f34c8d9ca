"""The differential test's machinery: a case is a script of requests that runs against Kafka and against us; what it records is
normalised (ids, ports, times and wordings must differ) and compared field by field.

A case is a function (side, version), marked @case("Fetch"): it runs once for each version worth testing of that API; with @case()
once, version None. Names of topics carry the case and the version, so that cases don't meet.
"""
import time
from dataclasses import dataclass

from kafka_spec import NO_UUID
from kafka_wire import Closed, Connection
from record_batch import Batch, describe
from waiting import wait_until

CASES = []  # (function, api, highest version or None)
NOW_WITHIN_MS = 600_000
CLOSED, NO_ANSWER = "<connection closed>", "<no answer>"
# What tells the items of an array apart; the order of answers is not part of the protocol.
IDENTITIES = ("ApiKey", "Name", "Topic", "TopicName", "TopicId", "PartitionIndex", "Partition", "Index", "ResourceName", "LogDir", "NodeId",
              "BrokerId", "BatchIndex", "BaseOffset")


def case(api=None, versions=None):
    def add(function):
        CASES.append((function, api, versions))
        return function
    return add


def case_list(protocol):
    """Pairs of (function, version) of every case."""
    pairs = []
    for function, api, versions in CASES:
        chosen = [None] if api is None else versions or protocol.spread(api)
        pairs += [(function, version) for version in chosen]
    return pairs


class Side:
    """One broker as a case sees it, and the record of what it answered."""

    def __init__(self, address, protocol, prefix, broker=None):
        self.address, self.protocol, self.prefix, self.broker = address, protocol, prefix, broker
        self.connection = None
        self.steps = []  # (label, normalised)
        self.tokens = {}  # kind of id -> {real: symbolic}
        self.topic_ids = {}  # name -> id

    # ---- requests that are compared ----
    def call(self, api, version, fields, keep=None, label=""):
        """Sends, records the answer (what `keep` makes of it), returns it as it was."""
        answer = self.ask(api, version, fields)
        kept = keep(answer) if keep and isinstance(answer, dict) else answer
        self.note(kept, f"{api}{' ' if label else ''}{label}")
        return answer

    def note(self, value, label):
        self.steps.append((f"{len(self.steps) + 1} {label}", self.normal(value)))

    # ---- requests that are not ----
    def ask(self, api, version, fields):
        """The decoded answer, CLOSED or NO_ANSWER."""
        try:
            return self.connected().call(api, version, fields)
        except Closed:
            self.drop()
            return CLOSED
        except TimeoutError:
            self.drop()
            return NO_ANSWER

    def connected(self):
        if self.connection is None:
            self.connection = Connection(self.address, self.protocol)
        return self.connection

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def name(self, stem):
        return f"{self.prefix}{stem}"

    def topic(self, stem="t", partitions=1, **configs):
        """Creates a topic and waits until it can be used; its name."""
        name = self.name(stem)
        pairs = [{"Name": key.replace("_", "."), "Value": str(value)} for key, value in configs.items()]
        answer = self.ask("CreateTopics", 7, {"Topics": [{"Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
                                                          "Configs": pairs}], "timeoutMs": 10000})
        assert answer["Topics"][0]["ErrorCode"] == 0, answer
        self.learn_id(name, answer["Topics"][0]["TopicId"])
        self.wait_usable(name, partitions)
        return name

    def learn_id(self, name, topic_id):
        self.topic_ids[name] = topic_id
        self.tokens.setdefault("TopicId", {})[topic_id] = f"<id of {name.removeprefix(self.prefix)}>"

    def wait_usable(self, name, partitions):
        """Metadata shows the topic before its log is there: wait for an offset of each partition."""
        asked = [{"PartitionIndex": index, "Timestamp": -1} for index in range(partitions)]

        def usable():
            answer = self.ask("ListOffsets", 7, {"ReplicaId": -1, "Topics": [{"Name": name, "Partitions": asked}]})
            return isinstance(answer, dict) and all(part["ErrorCode"] == 0 for part in answer["Topics"][0]["Partitions"])
        wait_until(usable, 20, f"topic {name} on {self.address}")

    def produce_fields(self, version, topic, *parts, acks=-1, **more):
        """`parts`: (partition, bytes of records or a Batch)."""
        data = [{"Index": index, "Records": records.encode() if isinstance(records, Batch) else records} for index, records in parts]
        return {"Acks": acks, "TimeoutMs": 5000, "TopicData": [{**self.topic_field("Name", topic, version >= 13), "PartitionData": data}], **more}

    def produce(self, version, topic, *parts, label="", **more):
        return self.call("Produce", version, self.produce_fields(version, topic, *parts, **more), label=label)

    def fill(self, topic, *batches, partition=0):
        """Produces without recording; every batch must be taken."""
        for batch in batches:
            answer = self.ask("Produce", 9, self.produce_fields(9, topic, (partition, batch)))
            assert answer["Responses"][0]["PartitionResponses"][0]["ErrorCode"] == 0, answer

    def topic_field(self, field, topic, by_id):
        return {"TopicId": self.topic_ids.get(topic, topic)} if by_id else {field: topic}

    # ---- normalising ----
    def token(self, kind, value):
        known = self.tokens.setdefault(kind, {})
        return known.setdefault(value, f"<{kind} {len(known) + 1}>")

    def normal(self, value, field=""):
        if isinstance(value, dict):
            return {self.bare(key): self.normal(item, key) for key, item in value.items()}
        if isinstance(value, list):
            if value and all(isinstance(item, dict) for item in value):
                return self.by_identity(value)
            return [self.normal(item) for item in value]
        if isinstance(value, str):
            value = self.bare(value)
        rule = RULES.get(field)
        return rule(self, value) if rule else value

    def bare(self, text):
        return text.replace(self.prefix, "") if isinstance(text, str) else text

    def by_identity(self, items):
        found = {}
        for item in items:
            identity = next((item[name] for name in IDENTITIES if item.get(name) not in (None, NO_UUID)), "none")
            if identity in self.tokens.get("TopicId", {}):
                identity = self.tokens["TopicId"][identity]
            base = key = self.bare(str(identity))
            if "LogDir" in item:
                base = key = "<dir>"
            while key in found:
                key = f"{base} again"
            found[key] = self.normal(item)
        return found


def _text(_side, value):
    return value if value in (None, "") else "<text>"


def _topic_id(side, value):
    return side.tokens.get("TopicId", {}).get(value, value)


def _time(_side, value):
    return "<now>" if abs(value - time.time() * 1000) < NOW_WITHIN_MS else value


RULES = {
    "ErrorMessage": _text, "BatchIndexErrorMessage": _text, "Documentation": _text,
    "TopicId": _topic_id,
    "ClusterId": lambda side, value: value and "<cluster>",
    "Port": lambda side, value: "<port>",
    "LogDir": lambda side, value: "<dir>",
    "SessionId": lambda side, value: side.token("session", value) if value > 0 else value,
    "ProducerId": lambda side, value: side.token("producer", value) if value >= 0 else value,
    "LogAppendTimeMs": _time, "BaseTimestamp": _time, "MaxTimestamp": _time, "Timestamp": _time,
    "FinalizedFeaturesEpoch": lambda side, value: value if value < 0 else "<epoch>",
    "TotalBytes": lambda side, value: value if value <= 0 else "<bytes>",
    "UsableBytes": lambda side, value: value if value <= 0 else "<bytes>",
    "Records": lambda side, value: value if value is None else side.normal(describe(value)),
}


@dataclass(frozen=True)
class Difference:
    place: str  # "case-v3: 2 Fetch/ErrorCode"
    kafka: object
    ours: object

    def __str__(self):
        return f"{self.place}: Kafka {shortened(self.kafka)}, we {shortened(self.ours)}"


def shortened(value, most=160):
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _walk(place, kafka, ours):
    if isinstance(kafka, dict) and isinstance(ours, dict):
        for key in [*kafka, *(key for key in ours if key not in kafka)]:
            yield from _walk(f"{place}/{key}", kafka.get(key, "<absent>"), ours.get(key, "<absent>"))
    elif isinstance(kafka, list) and isinstance(ours, list) and len(kafka) == len(ours):
        for index, (theirs, mine) in enumerate(zip(kafka, ours)):
            yield from _walk(f"{place}/{index}", theirs, mine)
    elif kafka != ours:
        yield Difference(place, kafka, ours)


def compare(case_id, kafka_steps, our_steps):
    """Every difference between the two records."""
    found = []
    for (label, theirs), (our_label, mine) in zip(kafka_steps, our_steps):
        if label != our_label:
            return found + [Difference(f"{case_id}: {label}", label, our_label)]
        found += _walk(f"{case_id}: {label}", theirs, mine)
    if len(kafka_steps) != len(our_steps):
        found.append(Difference(f"{case_id}: number of steps", len(kafka_steps), len(our_steps)))
    return found
