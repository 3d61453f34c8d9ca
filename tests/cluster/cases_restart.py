"""Cases that restart the broker: what it remembers, and stale leader epochs."""
from comparison import case
from record_batch import Batch


@case()
def after_a_restart(side, _):
    """Producer state comes back from the log; the leader epoch grew, so that the old one is stale."""
    topic = side.topic("t", retention_ms=999999999999)
    for sequence in range(7):
        side.fill(topic, Batch([b"v"], producer=(6000, 1, sequence)))
    side.drop()
    side.broker.restart()
    side.wait_usable(topic, 1)
    described = side.ask("DescribeTopicPartitions", 0, {"Topics": [{"Name": topic}]})["Topics"][0]
    side.note(described["TopicId"] == side.topic_ids[topic], "the topic keeps its id")
    epoch = described["Partitions"][0]["LeaderEpoch"]
    side.note(epoch > 0, "the leader epoch grew")
    for label, sequence, producer_epoch in (("the last again", 6, 1), ("a gap", 9, 1), ("an old epoch", 7, 0), ("going on", 7, 1)):
        side.produce(9, topic, (0, Batch([b"v"], producer=(6000, producer_epoch, sequence))), label=label)
    for label, asked in (("stale", epoch - 1), ("current", epoch), ("unknown", epoch + 1)):
        side.call("Fetch", 12, {"MaxWaitMs": 0, "MinBytes": 0, "Topics": [{"Topic": topic, "Partitions": [
            {"Partition": 0, "FetchOffset": 7, "PartitionMaxBytes": 1, "CurrentLeaderEpoch": asked}]}]}, label=f"{label} epoch",
            keep=lambda answer: answer["Responses"][0]["Partitions"][0]["ErrorCode"])
        side.call("ListOffsets", 7, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [
            {"PartitionIndex": 0, "Timestamp": -2, "CurrentLeaderEpoch": asked}]}]}, label=f"{label} epoch",
            keep=lambda answer: answer["Topics"][0]["Partitions"][0]["ErrorCode"])
        side.call("OffsetForLeaderEpoch", 4, {"ReplicaId": -1, "Topics": [{"Topic": topic, "Partitions": [
            {"Partition": 0, "LeaderEpoch": 0, "CurrentLeaderEpoch": asked}]}]}, label=f"{label} epoch")
    side.call("DescribeConfigs", 4, {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": ["retention.ms"]}]})
