"""Cases: ApiVersions, Metadata, DescribeTopicPartitions, DescribeCluster, and requests that nobody serves."""
import struct

from comparison import CLOSED, case
from kafka_wire import Closed
from waiting import wait_until

UNKNOWN_ID = "11111111-2222-3333-4444-555555555555"
BAD_NAMES = ("", ".", "..", "white space", "slash/slash", "x" * 250, "umlaut-\u00e4")


@case("ApiVersions")
def api_versions(side, version):
    client = {"ClientSoftwareName": "moldau-test", "ClientSoftwareVersion": "1.0"} if version >= 3 else {}
    side.call("ApiVersions", version, client)


@case()
def api_versions_errors(side, _):
    for name, software in (("", "1"), ("bad name!", "1"), ("good", ""), ("-x", "1")):
        side.call("ApiVersions", 3, {"ClientSoftwareName": name, "ClientSoftwareVersion": software}, label=f"name {name!r} version {software!r}",
                  keep=lambda answer: {key: value for key, value in answer.items() if key != "ApiKeys"})


@case()
def api_versions_too_high(side, _):
    """Answered in version 0, with the list."""
    connection = side.connected()
    connection.send_frame(connection.header(18, 99, True) + b"\0\0\0")
    body = connection.receive_frame()
    answer = side.protocol.response("ApiVersions").decode(body[4:], 0)
    side.note({"ErrorCode": answer["ErrorCode"], "lists itself": any(row["ApiKey"] == 18 for row in answer["ApiKeys"])}, "ApiVersions 99")
    side.call("ApiVersions", 0, {}, keep=lambda answer: answer["ErrorCode"], label="the connection is still good")


@case()
def not_served(side, _):
    """Unknown keys and versions that are no longer or not yet served close the connection."""
    for key, version in ((999, 0), (-1, 0), (4, 0), (7, 0), (0, 2), (0, 14), (1, 3), (1, 19), (2, 0), (3, 14), (3, -1), (19, 1), (60, 3)):
        connection = side.connected()
        connection.send_frame(connection.header(key, version, False) + b"\0" * 64)
        try:
            connection.socket.settimeout(5)
            answer = connection.receive_frame()[4:].hex()
        except Closed:
            answer = CLOSED
        side.drop()
        side.note(answer, f"key {key} version {version}")


@case()
def malformed(side, _):
    """Bodies that end early, lie about counts, or go on after their end."""
    request = side.protocol.request("Metadata")
    good = request.encode({"Topics": [{"Name": side.name("t")}], "AllowAutoTopicCreation": False}, 8)
    lying_count = struct.pack(">i", 0x7FFFFFFF) + good[4:]
    lying_string = good[:4] + struct.pack(">h", 30000) + good[6:]
    for label, body in (("cut", good[:-1]), ("empty", b""), ("count", lying_count), ("string", lying_string), ("longer", good + b"\0\0")):
        connection = side.connected()
        connection.send_frame(connection.header(3, 8, False) + body)
        try:
            answer = "answered" if connection.receive_frame() else ""
        except Closed:
            answer = CLOSED
            side.drop()
        side.note(answer, label)


def own_topics(side):
    """Only the topics of this case: both brokers also have those of other cases."""
    def keep(answer):
        return {**answer, "Topics": [topic for topic in answer["Topics"] if (topic["Name"] or side.prefix).startswith(side.prefix)]}
    return keep


@case("Metadata", versions=range(14))
def metadata(side, version):
    topic = side.topic("t", partitions=3)
    quiet = {"AllowAutoTopicCreation": False} if version >= 4 else {}
    by_name = [{"Name": topic}]
    side.call("Metadata", version, {"Topics": by_name, **quiet}, label="one")
    side.call("Metadata", version, {"Topics": None if version >= 1 else [], **quiet}, keep=own_topics(side), label="all")
    if version >= 1:
        side.call("Metadata", version, {"Topics": [], **quiet}, label="none")
    side.call("Metadata", version, {"Topics": by_name * 2, **quiet}, label="twice")
    if version >= 4:
        side.call("Metadata", version, {"Topics": [{"Name": side.name("unknown")}, {"Name": topic}], **quiet}, label="unknown")
        for name in BAD_NAMES:
            side.call("Metadata", version, {"Topics": [{"Name": name}], **quiet}, label=f"name {name[:20]!r}")
    if version >= 8:
        side.call("Metadata", version, {"Topics": by_name, "IncludeTopicAuthorizedOperations": True, **quiet}, label="operations")
    if 8 <= version <= 10:
        side.call("Metadata", version, {"Topics": by_name, "IncludeClusterAuthorizedOperations": True, **quiet}, label="cluster operations")


@case("Metadata", versions=(10, 11, 12, 13))
def metadata_by_id(side, version):
    topic = side.topic("t")
    known = side.topic_ids[topic]
    for label, asked in (("known", {"TopicId": known, "Name": None}), ("unknown", {"TopicId": UNKNOWN_ID, "Name": None}),
                         ("both", {"TopicId": known, "Name": topic}), ("neither", {"Name": None})):
        side.call("Metadata", version, {"Topics": [asked], "AllowAutoTopicCreation": False}, label=label)


@case("Metadata", versions=(0, 4, 8, 13))
def metadata_creates(side, version):
    """auto.create.topics.enable: the first answer is an error, a later one has the topic."""
    name = side.name("new")
    asked = {"Topics": [{"Name": name}]}
    side.call("Metadata", version, asked, label="first")

    def created():
        topic = side.ask("Metadata", 13, asked)["Topics"][0]
        return topic if topic["ErrorCode"] == 0 and topic["Partitions"] else None
    found = wait_until(created, 20, f"{name} to be created")
    side.learn_id(name, found["TopicId"])
    side.wait_usable(name, 1)
    side.call("Metadata", version, asked, label="later")
    side.call("Metadata", version, {"Topics": [{"Name": "bad name"}]}, label="bad name")


@case("DescribeTopicPartitions")
def describe_topic_partitions(side, version):
    first, second = side.topic("a", partitions=3), side.topic("b", partitions=2)
    names = [{"Name": second}, {"Name": first}]

    def ask(label, **fields):
        answer = side.call("DescribeTopicPartitions", version, {"Topics": names, **fields}, label=label)
        if isinstance(answer, dict):
            side.note([side.bare(topic["Name"]) for topic in answer["Topics"]], "order")
    ask("all")
    for limit in (1, 3, 4, 5, 0, -1):
        ask(f"limit {limit}", ResponsePartitionLimit=limit)
    ask("cursor", Cursor={"TopicName": first, "PartitionIndex": 2})
    ask("cursor and limit", Cursor={"TopicName": first, "PartitionIndex": 1}, ResponsePartitionLimit=2)
    ask("cursor past the end", Cursor={"TopicName": first, "PartitionIndex": 7})
    ask("cursor at an unknown topic", Cursor={"TopicName": side.name("aa"), "PartitionIndex": 0})
    ask("negative cursor", Cursor={"TopicName": first, "PartitionIndex": -1})
    names = [{"Name": side.name("unknown")}, {"Name": "bad name"}, {"Name": first}, {"Name": first}]
    ask("unknown, bad and twice")


@case("DescribeCluster")
def describe_cluster(side, version):
    side.call("DescribeCluster", version, {}, label="plain")
    side.call("DescribeCluster", version, {"IncludeClusterAuthorizedOperations": True}, label="operations")
    if version >= 1:
        side.call("DescribeCluster", version, {"EndpointType": 2}, label="controllers")
        side.call("DescribeCluster", version, {"EndpointType": 7}, label="endpoint type 7")
    if version >= 2:
        side.call("DescribeCluster", version, {"IncludeFencedBrokers": True}, label="fenced too")
