"""Cases: ListOffsets, OffsetForLeaderEpoch, InitProducerId, DescribeLogDirs."""
from comparison import case
from record_batch import HOURS_AGO_MS, Batch
from waiting import wait_until

TIME = HOURS_AGO_MS


@case("ListOffsets", versions=range(1, 12))
def list_offsets(side, version):
    topic = side.topic("t", partitions=2)
    # The newest timestamp is not in the last batch, and the last batch holds older ones.
    side.fill(topic, Batch([b"a", b"b", b"c"], TIME), Batch([b"d", b"e"], TIME + 1000), Batch([b"f"], TIME + 500))

    def ask(label, timestamp, partition=0, **more):
        fields = {"PartitionIndex": partition, "Timestamp": timestamp, **more}
        side.call("ListOffsets", version, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [fields]}]}, label=label)
    for label, timestamp in (("latest", -1), ("earliest", -2), ("newest timestamp", -3), ("earliest local", -4), ("latest tiered", -5),
                             ("earliest pending", -6), ("unknown special", -7), ("before all", 0), ("first", TIME), ("between", TIME + 15),
                             ("second batch", TIME + 21), ("older in the last batch", TIME + 400), ("last", TIME + 1010),
                             ("after all", TIME + 1011)):
        ask(label, timestamp)
    for label, timestamp in (("latest", -1), ("earliest", -2), ("newest timestamp", -3), ("time", TIME)):
        ask(f"empty partition, {label}", timestamp, partition=1)
    ask("partition that is not there", -1, partition=2)
    ask("negative partition", -1, partition=-1)
    if version >= 4:
        for epoch in (0, 5, -2):
            ask(f"current leader epoch {epoch}", -1, CurrentLeaderEpoch=epoch)
    if version >= 2:
        side.call("ListOffsets", version, {"ReplicaId": -1, "IsolationLevel": 1, "Topics": [
            {"Name": topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}, {"PartitionIndex": 1, "Timestamp": -1}]}]}, label="read committed")
    twice = [{"PartitionIndex": 0, "Timestamp": -1}, {"PartitionIndex": 0, "Timestamp": -2}]
    side.call("ListOffsets", version, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": twice}]}, label="twice")
    for label, name in (("unknown topic", side.name("unknown")), ("bad name", "bad name")):
        asked = [{"Name": name, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}]
        side.call("ListOffsets", version, {"ReplicaId": -1, "Topics": asked}, label=label)
    side.call("ListOffsets", version, {"ReplicaId": -1, "Topics": []}, label="nothing")


@case("ListOffsets", versions=(7,))
def list_offsets_compressed(side, version):
    """Times and the newest timestamp inside a compressed batch, and with LogAppendTime."""
    topic, append_time = side.topic("gzip"), side.topic("append", message_timestamp_type="LogAppendTime")
    for name in (topic, append_time):
        side.fill(name, Batch([b"a", b"b", b"c"], TIME, codec="gzip"))
        for timestamp in (-3, TIME + 5, TIME + 20, TIME + 21):
            side.call("ListOffsets", version, {"ReplicaId": -1, "Topics": [{"Name": name, "Partitions": [
                {"PartitionIndex": 0, "Timestamp": timestamp}]}]}, label=f"{side.bare(name)} {timestamp - TIME if timestamp > 0 else timestamp}")


@case("OffsetForLeaderEpoch")
def offset_for_leader_epoch(side, version):
    topic = side.topic("t")
    side.fill(topic, Batch([b"a", b"b"]))

    def ask(label, epoch, partition=0, name=topic, **more):
        side.call("OffsetForLeaderEpoch", version, {"Topics": [{"Topic": name, "Partitions": [
            {"Partition": partition, "LeaderEpoch": epoch, **more}]}], **({"ReplicaId": -1} if version >= 3 else {})}, label=label)
    for epoch in (0, 1, 99, -1, -2):
        ask(f"epoch {epoch}", epoch)
    for current in (0, 5, -2):
        ask(f"current epoch {current}", 0, CurrentLeaderEpoch=current)
    ask("wrong partition", 0, partition=4)
    ask("unknown topic", 0, name=side.name("unknown"))


@case("InitProducerId", versions=range(6))
def init_producer_id(side, version):
    # Kafka answers COORDINATOR_LOAD_IN_PROGRESS until it has its first block of ids.
    wait_until(lambda: side.ask("InitProducerId", 0, {"TransactionalId": None, "TransactionTimeoutMs": 60000})["ErrorCode"] == 0, 20, "a producer id")
    side.call("InitProducerId", version, {"TransactionalId": None, "TransactionTimeoutMs": 60000}, label="first")
    side.call("InitProducerId", version, {"TransactionalId": None, "TransactionTimeoutMs": 60000}, label="second is another")
    side.call("InitProducerId", version, {"TransactionalId": None, "TransactionTimeoutMs": 0}, label="timeout 0")
    side.call("InitProducerId", version, {"TransactionalId": "", "TransactionTimeoutMs": 60000}, label="empty transactional id")
    if version >= 3:
        for label, pid, epoch in (("id without epoch", 5, -1), ("epoch without id", -1, 5), ("both", 5, 5)):
            side.call("InitProducerId", version, {"TransactionalId": None, "TransactionTimeoutMs": 1, "ProducerId": pid, "ProducerEpoch": epoch},
                      label=label)


@case("DescribeLogDirs")
def describe_log_dirs(side, version):
    topic = side.topic("t", partitions=2)
    side.fill(topic, Batch([b"a", b"b"]), Batch([b"c"]))

    def own(answer):
        results = [{**result, "Topics": [row for row in result["Topics"] if row["Name"].startswith(side.prefix)]} for result in answer["Results"]]
        return {**answer, "Results": results}
    side.call("DescribeLogDirs", version, {"Topics": None}, keep=own, label="all")
    for label, name, partitions in (("both", topic, [0, 1]), ("one", topic, [1]), ("no such partition", topic, [0, 9]), ("none", topic, []),
                                    ("unknown topic", side.name("unknown"), [0])):
        side.call("DescribeLogDirs", version, {"Topics": [{"Topic": name, "Partitions": partitions}]}, label=label)
    side.call("DescribeLogDirs", version, {"Topics": []}, label="nothing")
