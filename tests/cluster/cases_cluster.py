"""Cases: ElectLeaders, UnregisterBroker, DescribeQuorum, UpdateFeatures, AddRaftVoter and RemoveRaftVoter on one node."""
from comparison import case
from kafka_spec import NO_UUID

METADATA = "__cluster_metadata"
PREFERRED, UNCLEAN = 0, 1


@case("ElectLeaders")
def elect_leaders(side, version):
    topic = side.topic("t", partitions=2)

    def elect(label, *wanted, kind=PREFERRED):
        body = {"TopicPartitions": [{"Topic": name, "Partitions": list(partitions)} for name, *partitions in wanted], "TimeoutMs": 10000}
        if version >= 1:
            body["ElectionType"] = kind
        side.call("ElectLeaders", version, body, label=label)
    elect("led by the preferred one", (topic, 0, 1))
    elect("no such partition", (topic, 1, 7))
    elect("no such topic", (side.name("unknown"), 0))
    elect("nothing")
    if version >= 1:
        elect("unclean, but it has a leader", (topic, 0), kind=UNCLEAN)
    side.call("ElectLeaders", version, {"TopicPartitions": None, "TimeoutMs": 10000, **({"ElectionType": PREFERRED} if version else {})},
              label="all", keep=_own_results(side))


def _own_results(side):
    """Only the topics of this case: both brokers also have those of other cases."""
    def keep(answer):
        return {**answer, "ReplicaElectionResults": [result for result in answer["ReplicaElectionResults"] if result["Topic"].startswith(side.prefix)]}
    return keep


@case("UnregisterBroker")
def unregister_broker(side, version):
    for broker in (77, -1):
        side.call("UnregisterBroker", version, {"BrokerId": broker}, label=str(broker))


@case("DescribeQuorum")
def describe_quorum(side, version):
    def describe(label, *wanted):
        side.call("DescribeQuorum", version, {"Topics": [{"TopicName": name, "Partitions": [{"PartitionIndex": index} for index in indexes]}
                                                         for name, *indexes in wanted]}, label=label)
    describe("another topic", ("other", 0))
    describe("another partition", (METADATA, 1))


@case("UpdateFeatures")
def update_features(side, version):
    def update(label, feature, level, kind=1):
        key = {"Feature": feature, "MaxVersionLevel": level}
        side.call("UpdateFeatures", version, {"timeoutMs": 10000, "FeatureUpdates": [{**key, "UpgradeType": kind} if version else key]}, label=label)
    update("unknown feature", "no.such.feature", 1)
    update("far above", "metadata.version", 1000)


@case("RemoveRaftVoter")
def remove_raft_voter(side, version):
    side.call("RemoveRaftVoter", version, {"ClusterId": "another", "VoterId": 77, "VoterDirectoryId": NO_UUID}, label="another cluster")
