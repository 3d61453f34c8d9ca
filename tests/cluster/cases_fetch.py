"""Cases: Fetch: positions, limits, long polls, epochs, sessions."""
import threading
import time

from cases_metadata import UNKNOWN_ID
from comparison import case
from kafka_wire import Connection
from record_batch import Batch
from waiting import wait_until

VERSIONS = (4, 6, 7, 9, 11, 12, 13, 15, 18)


def fetcher(side, version, topic):
    """ask(label, (partition, offset, {more of the partition}), ..., more of the request)"""
    def part(partition, offset, more=None):
        return {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20, **(more or {})}

    def ask(label, *parts, name=topic, keep=None, **more):
        topics = [{**side.topic_field("Topic", name, version >= 13), "Partitions": [part(*one) for one in parts]}] if parts else []
        return side.call("Fetch", version, {"MaxWaitMs": 0, "MinBytes": 0, "Topics": topics, **more}, label=label, keep=keep)
    return ask


@case("Fetch", versions=VERSIONS)
def fetch(side, version):
    topic = side.topic("t", partitions=2)
    side.fill(topic, Batch([b"a", b"b", b"c"]), Batch([b"d"], codec="gzip"))
    ask = fetcher(side, version, topic)
    for offset in (0, 1, 3, 4):
        ask(f"from {offset}", (0, offset))
    for offset in (5, 1 << 40, -1, -2):
        ask(f"out of range {offset}", (0, offset))
    ask("empty partition", (1, 0))
    ask("no such partition", (7, 0))
    ask("negative partition", (-1, 0))
    ask("both", (0, 0), (1, 0))
    ask("good and bad", (0, 0), (9, 0))
    ask("twice", (0, 0), (0, 3))
    ask("unknown topic", (0, 0), name=UNKNOWN_ID if version >= 13 else side.name("unknown"))
    ask("nothing")
    ask("read committed", (0, 0), IsolationLevel=1)
    ask("negative wait and bytes", (0, 0), MaxWaitMs=-1, MinBytes=-1)
    if version >= 11:
        ask("rack", (0, 0), RackId="somewhere")


@case("Fetch", versions=VERSIONS)
def fetch_limits(side, version):
    topic = side.topic("t", partitions=2)
    for partition in (0, 1):
        side.fill(topic, *(Batch([b"x" * 1000]) for _ in range(3)), partition=partition)
    ask = fetcher(side, version, topic)
    for limit in (0, 1, 1200, 2500, -1):
        ask(f"partition limit {limit}", (0, 0, {"PartitionMaxBytes": limit}))
    for limit in (0, 1, 1200, 4500, -1):
        ask(f"request limit {limit}", (0, 0), (1, 0), MaxBytes=limit)
    ask("both limits", (0, 0, {"PartitionMaxBytes": 1200}), (1, 0, {"PartitionMaxBytes": 1200}), MaxBytes=1200)


@case("Fetch", versions=VERSIONS)
def fetch_epochs(side, version):
    topic = side.topic("t")
    side.fill(topic, Batch([b"a", b"b", b"c"]))
    ask = fetcher(side, version, topic)
    if version >= 9:
        for epoch in (0, 5, -2):
            ask(f"current epoch {epoch}", (0, 0, {"CurrentLeaderEpoch": epoch}))
        ask("unknown epoch and out of range", (0, 99, {"CurrentLeaderEpoch": 5}))
    if version >= 12:
        for epoch, offset in ((0, 1), (0, 3), (0, 9), (1, 1), (3, 9), (-2, 1)):
            ask(f"last epoch {epoch} at {offset}", (0, offset, {"LastFetchedEpoch": epoch}))


@case("Fetch", versions=(4, 12, 13))
def fetch_waits(side, version):
    """A long poll ends when its time is over or when enough bytes are there; times are compared roughly."""
    topic = side.topic("t")
    ask = fetcher(side, version, topic)

    def timed(label, *arguments, at_least=0.0, below=60.0, **more):
        started = time.monotonic()
        ask(label, *arguments, **more)
        side.note(at_least <= time.monotonic() - started < below, f"{label}: took the right time")
    timed("nothing there", (0, 0), MaxWaitMs=300, MinBytes=1, at_least=0.29)
    timed("no minimum", (0, 0), MaxWaitMs=30000, MinBytes=0, below=10)
    side.fill(topic, Batch([b"x" * 100]))
    timed("enough", (0, 0), MaxWaitMs=30000, MinBytes=50, below=10)
    timed("not enough", (0, 0), MaxWaitMs=300, MinBytes=100000, at_least=0.29)
    timed("an error does not wait", (0, 99), MaxWaitMs=30000, MinBytes=1, below=10)
    ask("an error beside a good one", (0, 1), (5, 0), MaxWaitMs=300, MinBytes=1)
    timed("no partitions", MaxWaitMs=30000, MinBytes=1, below=10)
    writer = threading.Thread(target=_produce_when_asked, args=(side, topic))
    writer.start()
    timed("woken by a produce", (0, 1), MaxWaitMs=30000, MinBytes=1, below=10, keep=_without_marks)
    writer.join()


def _without_marks(answer):
    """Kafka may wake the fetch by the append itself and then names the high watermark from before it: sometimes 1, sometimes 2."""
    for topic in answer["Responses"]:
        for partition in topic["Partitions"]:
            del partition["HighWatermark"], partition["LastStableOffset"]
    return answer


def _produce_when_asked(side, topic):
    """From a connection of its own; whether the fetch is already waiting then does not matter for what it returns."""
    with Connection(side.address, side.protocol) as other:
        other.call("Produce", 9, side.produce_fields(9, topic, (0, Batch([b"wake up"]))))


@case("Fetch", versions=(7, 11, 12, 13, 18))
def fetch_sessions(side, version):
    topic = side.topic("t", partitions=3)
    side.fill(topic, Batch([b"a"]))
    ask = fetcher(side, version, topic)
    answer = ask("a new session", (0, 0), (1, 0), SessionId=0, SessionEpoch=0)
    session = answer["SessionId"]
    ask("nothing new below the high watermark read", (0, 1), SessionId=session, SessionEpoch=1)
    ask("no news", SessionId=session, SessionEpoch=2)
    side.fill(topic, Batch([b"b"]), partition=1)
    ask("news of one", SessionId=session, SessionEpoch=3)
    ask("the same again, not read yet", SessionId=session, SessionEpoch=4)
    ask("read on", (1, 1), SessionId=session, SessionEpoch=5)
    ask("one more partition", (2, 0), SessionId=session, SessionEpoch=6)
    side.fill(topic, Batch([b"c"]), partition=2)
    side.fill(topic, Batch([b"c"]), partition=1)
    gone = [{**side.topic_field("Topic", topic, version >= 13), "Partitions": [1]}]
    ask("one forgotten", SessionId=session, SessionEpoch=7, ForgottenTopicsData=gone)
    ask("an error in a session", (9, 0), SessionId=session, SessionEpoch=8)
    ask("the error again", SessionId=session, SessionEpoch=9)
    ask("out of range in a session", (2, 99), SessionId=session, SessionEpoch=10)
    ask("wrong epoch", SessionId=session, SessionEpoch=55)
    ask("old epoch", SessionId=session, SessionEpoch=3)
    ask("right epoch after wrong ones", SessionId=session, SessionEpoch=11)
    ask("closed", (0, 0), SessionId=session, SessionEpoch=-1)
    ask("gone", SessionId=session, SessionEpoch=12)


@case("Fetch", versions=(7, 12, 13))
def fetch_session_errors(side, version):
    topic = side.topic("t")
    side.fill(topic, Batch([b"a"]))
    ask = fetcher(side, version, topic)
    ask("unknown session", (0, 0), SessionId=123456, SessionEpoch=1)
    ask("unknown session, epoch 0", (0, 0), SessionId=123456, SessionEpoch=0)
    ask("unknown session, closed", (0, 0), SessionId=123456, SessionEpoch=-1)
    ask("no session, epoch 5", (0, 0), SessionId=0, SessionEpoch=5)
    ask("no session", (0, 0), SessionId=0, SessionEpoch=-1)
    ask("no session, negative epoch", (0, 0), SessionId=0, SessionEpoch=-2)
    ask("a session of nothing", SessionId=0, SessionEpoch=0)
    answer = ask("a session with an error in it", (7, 0), SessionId=0, SessionEpoch=0)
    if isinstance(answer, dict) and answer["SessionId"]:
        ask("it stays", SessionId=answer["SessionId"], SessionEpoch=1)
    answer = ask("replaced: first", (0, 0), SessionId=0, SessionEpoch=0)
    ask("replaced: second", (0, 0), SessionId=answer["SessionId"], SessionEpoch=0)
    ask("replaced: the first is gone", SessionId=answer["SessionId"], SessionEpoch=1)


@case("Fetch", versions=(12, 13))
def fetch_session_of_deleted_topic(side, version):
    topic = side.topic("t")
    side.fill(topic, Batch([b"a"]))
    ask = fetcher(side, version, topic)
    session = ask("a session", (0, 0), SessionId=0, SessionEpoch=0)["SessionId"]
    side.ask("DeleteTopics", 6, {"Topics": [{"Name": topic}], "TimeoutMs": 10000})
    wait_until(lambda: side.ask("Metadata", 8, {"Topics": [{"Name": topic}], "AllowAutoTopicCreation": False})["Topics"][0]["ErrorCode"] == 3,
               20, "the topic to be gone")
    ask("its topic is gone", SessionId=session, SessionEpoch=1)
