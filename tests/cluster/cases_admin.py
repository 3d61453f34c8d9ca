"""Cases: CreateTopics, DeleteTopics, CreatePartitions, DescribeConfigs, IncrementalAlterConfigs."""
from cases_metadata import BAD_NAMES, UNKNOWN_ID
from comparison import case
from kafka_spec import NO_UUID
from record_batch import Batch
from waiting import wait_until

NAME_BYTES_MAX = 249
TOPIC, BROKER, BROKER_LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)
# What both have; DescribeConfigs without keys also lists what only one has.
SHARED_KEYS = ("cleanup.policy", "compression.type", "delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms",
               "index.interval.bytes", "max.compaction.lag.ms", "max.message.bytes", "message.timestamp.after.max.ms",
               "message.timestamp.before.max.ms", "message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms",
               "min.insync.replicas", "preallocate", "retention.bytes", "retention.ms", "segment.bytes", "segment.index.bytes",
               "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable")


def creator(side, version):
    def create(label, *topics, **more):
        wanted = [{"NumPartitions": 1, "ReplicationFactor": 1, **topic} for topic in topics]
        answer = side.ask("CreateTopics", version, {"Topics": wanted, "timeoutMs": 10000, **more})
        for topic in answer["Topics"] if isinstance(answer, dict) else []:
            if topic["ErrorCode"] == 0 and topic.get("TopicId", NO_UUID) != NO_UUID:
                side.learn_id(topic["Name"], topic["TopicId"])
        side.note(answer, f"CreateTopics {label}")
    return create


@case("CreateTopics")
def create_topics(side, version):
    create = creator(side, version)
    create("one", {"Name": side.name("a"), "NumPartitions": 3})
    create("again", {"Name": side.name("a")})
    create("two", {"Name": side.name("b")}, {"Name": side.name("c")})
    create("validate only", {"Name": side.name("d"), "NumPartitions": 2}, validateOnly=True)
    create("validate only left nothing", {"Name": side.name("d")})
    create("the same twice", {"Name": side.name("e")}, {"Name": side.name("e")}, {"Name": side.name("f")})
    create("nothing")
    create("timeout 0", {"Name": side.name("g")}, timeoutMs=0)
    create("names that collide in metrics", {"Name": side.name("h.i")}, {"Name": side.name("h_i")})
    create("a later name that collides", {"Name": side.name("h_i")})
    create("defaults", {"Name": side.name("j"), "NumPartitions": -1, "ReplicationFactor": -1})
    create("good and bad", {"Name": side.name("k")}, {"Name": "bad name"})


@case("CreateTopics")
def create_topics_refused(side, version):
    create = creator(side, version)
    for count in (0, -2):
        create(f"{count} partitions", {"Name": side.name("p"), "NumPartitions": count})
    for factor in (3, 0, -2):
        create(f"replication factor {factor}", {"Name": side.name("r"), "ReplicationFactor": factor})
    create("replication factor 3 validated", {"Name": side.name("r"), "ReplicationFactor": 3}, validateOnly=True)
    for name in BAD_NAMES:
        create(f"name {name[:20]!r}", {"Name": name})
    create("longest name", {"Name": side.name("y" * (NAME_BYTES_MAX - len(side.prefix)))})


@case("CreateTopics", versions=(2, 5, 7))
def create_topics_assigned(side, version):
    create = creator(side, version)

    def assigned(label, stem, *replicas, partitions=-1, factor=-1, indexes=None):
        pairs = [{"PartitionIndex": index, "BrokerIds": list(ids)} for index, ids in zip(indexes or range(len(replicas)), replicas)]
        create(label, {"Name": side.name(stem), "NumPartitions": partitions, "ReplicationFactor": factor, "Assignments": pairs})
    assigned("two partitions", "a", [1], [1])
    assigned("unknown broker", "b", [7])
    assigned("a broker twice", "c", [1, 1])
    assigned("no brokers", "d", [])
    assigned("a gap", "e", [1], [1], indexes=[0, 2])
    assigned("an index twice", "f", [1], [1], indexes=[0, 0])
    assigned("unequal", "g", [1], [1, 2])
    assigned("a count beside it", "h", [1], partitions=1)
    assigned("a factor beside it", "i", [1], factor=1)


@case("CreateTopics", versions=(2, 5, 7))
def create_topics_configured(side, version):
    create = creator(side, version)

    def configured(label, *pairs):
        create(label, {"Name": side.name(label.replace(" ", "-")), "Configs": [{"Name": name, "Value": value} for name, value in pairs]})
    configured("good", ("retention.ms", "86400000"), ("cleanup.policy", "compact,delete"), ("max.message.bytes", "2000"))
    configured("unknown", ("no.such.setting", "1"))
    configured("not a number", ("retention.ms", "soon"))
    configured("too small", ("segment.bytes", "1"))
    configured("negative", ("max.message.bytes", "-1"))
    configured("bad word", ("cleanup.policy", "keep"))
    configured("bad bool", ("preallocate", "maybe"))
    configured("null", ("retention.ms", None))
    configured("twice", ("retention.ms", "1000"), ("retention.ms", "2000"))
    configured("blank around", ("retention.ms", " 1000 "))
    configured("empty list", ("cleanup.policy", ""))
    configured("good then bad", ("retention.ms", "1000"), ("retention.bytes", "x"))


@case("DeleteTopics")
def delete_topics(side, version):
    names = [side.topic(stem) for stem in ("a", "b", "c")]

    def delete(label, *topics):
        fields = {"Topics": [{"Name": name} for name in topics]} if version >= 6 else {"TopicNames": list(topics)}
        side.call("DeleteTopics", version, {**fields, "TimeoutMs": 10000}, label=label)
    delete("one", names[0])
    side.call("DeleteTopics", version, {**({"Topics": []} if version >= 6 else {"TopicNames": []}), "TimeoutMs": 1000}, label="nothing")
    delete("unknown", side.name("unknown"))
    delete("known and unknown", names[1], side.name("unknown"))
    delete("bad name", "bad name")
    delete("twice", names[2], names[2])

    def gone():
        answer = side.ask("Metadata", 8, {"Topics": [{"Name": names[0]}], "AllowAutoTopicCreation": False})
        return answer["Topics"][0]["ErrorCode"] == 3
    wait_until(gone, 20, "the deleted topic to be gone")
    side.call("Produce", 9, side.produce_fields(9, names[0], (0, b"")), label="to a deleted topic")
    delete("gone", names[0])
    side.topic("a")  # the name is free again


@case("DeleteTopics", versions=(6,))
def delete_topics_by_id(side, version):
    first, second = side.topic("a"), side.topic("b")
    for label, asked in (("unknown id", {"Name": None, "TopicId": UNKNOWN_ID}), ("neither", {"Name": None}),
                         ("both", {"Name": first, "TopicId": side.topic_ids[first]}), ("by id", {"Name": None, "TopicId": side.topic_ids[first]})):
        side.call("DeleteTopics", version, {"Topics": [asked], "TimeoutMs": 10000}, label=label)
    both = [{"Name": None, "TopicId": side.topic_ids[second]}, {"Name": second}]
    side.call("DeleteTopics", version, {"Topics": both, "TimeoutMs": 10000}, label="by id and name")


@case("CreatePartitions")
def create_partitions(side, version):
    topic = side.topic("t", partitions=2)

    def grow(label, *topics, **more):
        wanted = [{"Assignments": None, **row} for row in topics]
        side.call("CreatePartitions", version, {"Topics": wanted, "TimeoutMs": 10000, **more}, label=label)
    grow("to 4", {"Name": topic, "Count": 4})
    side.wait_usable(topic, 4)
    for count in (4, 3, 0, -1):
        grow(f"to {count}", {"Name": topic, "Count": count})
    grow("validate only", {"Name": topic, "Count": 5}, ValidateOnly=True)
    grow("assigned", {"Name": topic, "Count": 5, "Assignments": [{"BrokerIds": [1]}]})
    side.wait_usable(topic, 5)
    grow("too few assignments", {"Name": topic, "Count": 7, "Assignments": [{"BrokerIds": [1]}]})
    grow("too many assignments", {"Name": topic, "Count": 6, "Assignments": [{"BrokerIds": [1]}, {"BrokerIds": [1]}]})
    grow("unknown broker", {"Name": topic, "Count": 6, "Assignments": [{"BrokerIds": [9]}]})
    grow("no brokers", {"Name": topic, "Count": 6, "Assignments": [{"BrokerIds": []}]})
    grow("other factor", {"Name": topic, "Count": 6, "Assignments": [{"BrokerIds": [1, 2]}]})
    grow("unknown topic", {"Name": side.name("unknown"), "Count": 6})
    grow("twice", {"Name": topic, "Count": 8}, {"Name": topic, "Count": 9})
    grow("nothing")
    side.fill(topic, Batch(), partition=4)


@case("DescribeConfigs")
def describe_configs(side, version):
    topic = side.topic("t", retention_ms=86400000, cleanup_policy="compact")

    def describe(label, kind, name, keys, **more):
        side.call("DescribeConfigs", version, {"Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys}], **more},
                  label=label)
    describe("shared keys", TOPIC, topic, list(SHARED_KEYS))
    describe("synonyms", TOPIC, topic, ["retention.ms", "cleanup.policy", "max.message.bytes"], IncludeSynonyms=True)
    if version >= 3:
        describe("documentation", TOPIC, topic, ["retention.ms"], IncludeDocumentation=True)
    describe("unknown key", TOPIC, topic, ["no.such.setting", "retention.ms"])
    describe("no keys", TOPIC, topic, [])
    describe("unknown topic", TOPIC, side.name("unknown"), None)
    describe("bad topic name", TOPIC, "bad name", None)
    describe("empty topic name", TOPIC, "", None)
    describe("this broker", BROKER, "1", ["num.partitions", "log.retention.ms", "node.id", "auto.create.topics.enable"])
    describe("another broker", BROKER, "9", None)
    describe("a broker by a word", BROKER, "one", None)
    describe("cluster default", BROKER, "", ["num.partitions"])
    describe("unknown type", 77, "x", None)
    describe("type 0", 0, "x", None)
    pair = [{"ResourceType": TOPIC, "ResourceName": topic, "ConfigurationKeys": ["retention.ms"]}] * 2
    side.call("DescribeConfigs", version, {"Resources": pair}, label="twice")


@case("DescribeConfigs", versions=(4,))
def describe_all_configs(side, version):
    """Every setting of a topic: what only one side has is listed."""
    topic = side.topic("t")
    side.call("DescribeConfigs", version, {"Resources": [{"ResourceType": TOPIC, "ResourceName": topic, "ConfigurationKeys": None}]})


@case("IncrementalAlterConfigs")
def incremental_alter_configs(side, version):
    topic = side.topic("t", retention_ms=1000)

    def alter(label, *changes, name=topic, kind=TOPIC, **more):
        configs = [{"Name": key, "ConfigOperation": operation, "Value": value} for key, operation, value in changes]
        side.call("IncrementalAlterConfigs", version, {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": configs}], **more},
                  label=label)

    def shown(label, key, expected):
        asked = {"Resources": [{"ResourceType": TOPIC, "ResourceName": topic, "ConfigurationKeys": [key]}]}
        wait_until(lambda: side.ask("DescribeConfigs", 4, asked)["Results"][0]["Configs"][0]["Value"] == expected, 20, f"{key}={expected}")
        side.call("DescribeConfigs", 4, asked, label=label)
    alter("set", ("retention.ms", SET, "5000"))
    shown("after set", "retention.ms", "5000")
    alter("delete", ("retention.ms", DELETE, None))
    shown("after delete", "retention.ms", "604800000")
    alter("append", ("cleanup.policy", APPEND, "compact"))
    shown("after append", "cleanup.policy", "delete,compact")
    alter("append again", ("cleanup.policy", APPEND, "compact"))
    shown("after append again", "cleanup.policy", "delete,compact")
    alter("subtract", ("cleanup.policy", SUBTRACT, "delete"))
    shown("after subtract", "cleanup.policy", "compact")
    alter("subtract what is not there", ("cleanup.policy", SUBTRACT, "delete"))
    alter("subtract the last", ("cleanup.policy", SUBTRACT, "compact"))
    alter("validate only", ("retention.bytes", SET, "7"), ValidateOnly=True)
    alter("two at once", ("retention.bytes", SET, "1000"), ("segment.ms", SET, "2000"))
    shown("after two", "retention.bytes", "1000")
    for label, change in (("unknown name", ("no.such.setting", SET, "1")), ("not a number", ("retention.ms", SET, "x")),
                          ("too small", ("segment.bytes", SET, "1")), ("null", ("retention.ms", SET, None)),
                          ("append to a number", ("retention.ms", APPEND, "1")), ("subtract from a number", ("retention.ms", SUBTRACT, "1")),
                          ("unknown operation", ("retention.ms", 7, "1")), ("delete what is not set", ("flush.ms", DELETE, None)),
                          ("delete an unknown name", ("no.such.setting", DELETE, None)), ("bad word", ("cleanup.policy", APPEND, "keep"))):
        alter(label, change)
    alter("one name twice", ("retention.ms", SET, "1"), ("retention.ms", SET, "2"))
    alter("no changes")
    alter("good and bad", ("segment.ms", SET, "3000"), ("retention.ms", SET, "x"))
    shown("good and bad changed nothing", "segment.ms", "2000")
    alter("unknown topic", ("retention.ms", SET, "1"), name=side.name("unknown"))
    alter("bad topic name", ("retention.ms", SET, "1"), name="bad name")
    alter("unknown type", ("retention.ms", SET, "1"), kind=77)
    alter("another broker", ("log.retention.ms", SET, "1"), kind=BROKER, name="9")
    alter("unknown broker setting", ("no.such.setting", SET, "1"), kind=BROKER, name="1", ValidateOnly=True)
    alter("read-only broker setting", ("node.id", SET, "3"), kind=BROKER, name="1", ValidateOnly=True)
    twice = [{"ResourceType": TOPIC, "ResourceName": topic, "Configs": [{"Name": "retention.ms", "ConfigOperation": SET, "Value": "1"}]}] * 2
    side.call("IncrementalAlterConfigs", version, {"Resources": twice}, label="one resource twice")
