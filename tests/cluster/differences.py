"""Where our answers differ from Apache Kafka 4.3's on purpose: patterns of the place (fnmatch) and a sentence of why.

A place is what test_differential.py prints, "produce-v9: 2 Produce acks 1/Responses/t/...". The numbers of steps are left out of the
patterns by "*". A row that no answer needs any more makes the test fail, as does a difference without a row.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    place: str
    why: str


def rows(why, *places):
    return [Row(place, why) for place in places]


# Groups, transactions, security, share groups and what only tools use; each goes when its API is served.
NOT_SERVED = (8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 24, 25, 26, 27, 28, 29, 30, 31, 34, 36, 38, 39, 40, 41, 42, 45, 46, 47, 48, 49, 50,
              51, 61, 65, 66, 68, 69, 74, 76, 77, 78, 79, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92)
FEATURES_NOT_SERVED = ("group.version", "kraft.version", "share.version", "streams.version", "transaction.version",
                       "eligible.leader.replicas.version")
# Produced batches that Kafka takes and we refuse: no client makes them, and a reader would stumble over them.
REFUSED_BATCHES = ("garbage behind", "deltas not from 0", "deltas out of order", "log append time", "producer without epoch")
# Configs that only one of the two has.
OURS_ONLY = ("durability", "compression.validation")

LISTED = [
    # ---- ApiVersions ----
    *rows("not served yet", *(f"api-versions-v*/ApiKeys/{key}" for key in NOT_SERVED)),
    *rows("a feature's level is advertised only when it works", *(f"api-versions-v4*/SupportedFeatures/{name}" for name in FEATURES_NOT_SERVED),
          *(f"api-versions-v*/FinalizedFeatures/{name}" for name in FEATURES_NOT_SERVED if name != "kraft.version")),
    *rows("our metadata has levels of its own",
          "api-versions-v*/SupportedFeatures/metadata.version/M*", "api-versions-v*/FinalizedFeatures/metadata.version/M*"),

    # ---- Metadata and descriptions ----
    *rows("asked by id before version 12 Kafka answers without brokers; the brokers help the client to go on",
          "metadata-by-id-v1[01]: * Metadata */Brokers",
          "metadata-by-id-v1[01]: * Metadata */ClusterId", "metadata-by-id-v1[01]: * Metadata */ControllerId"),
    *rows("a topic without name and id is INVALID_REQUEST to us; Kafka fails with UNKNOWN_SERVER_ERROR",
          "metadata-by-id-v*: * Metadata neither/*"),
    *rows("our first answer waits for the creation and has the topic, so that the client need not ask again",
          "metadata-creates-v*: 1 Metadata first/Topics/new/*"),
    *rows("Kafka refuses a cursor at a topic that is gone; we go on behind it, as a reader of pages wants",
          "describe-topic-partitions-v0: * cursor at an unknown topic/*", "describe-topic-partitions-v0: 22 order"),
    *rows("Kafka says operations of topics that do not exist",
          "describe-topic-partitions-v0: * unknown, bad and twice/*/TopicAuthorizedOperations"),

    # ---- topics ----
    *rows("timeout 0 still creates the topic in Kafka and says REQUEST_TIMED_OUT; we say what happened", "create-topics-v*: * timeout 0/*"),
    *rows("names that collide in metrics are refused within one request too",
          "create-topics-v*: * names that collide in metrics/Topics/h_i/*", "create-topics-v*: * a later name that collides/Topics/h_i/*"),
    *rows("Kafka 4.3 makes min.insync.replicas a dynamic default of the cluster (for its ELR)",
          "create-topics*/Configs/min.insync.replicas/ConfigSource",
          "describe-*configs-v*/Configs/min.insync.replicas/*"),
    *rows("settings that only we have", *(f"*/Configs/{name}" for name in OURS_ONLY)),
    *rows("one setting twice is a mistake worth an error; Kafka takes the last", "create-topics-configured-v*: * twice/*"),
    *rows("Kafka says nothing to an unknown topic here; our errors have a sentence",
          "create-partitions-v*: * unknown topic/Results/unknown/ErrorMessage"),

    *rows("a topic named twice, by id and by name, is deleted once and then gone; Kafka refuses both",
          "delete-topics-by-id-v6: * by id and name/*"),

    # ---- configs ----
    *rows("a name that no topic can have is an unknown topic", "incremental-alter-configs-v*: * bad topic name/*"),
    *rows("what was set at the start is not told from a default yet", "describe-configs-v*: * this broker/*/node.id/ConfigSource"),
    *rows("null and empty mean the same: no error",
          "describe-*configs-v*/ErrorMessage", "incremental-alter-configs-v*: * DescribeConfigs */ErrorMessage",
          "after-a-restart: * DescribeConfigs/*/ErrorMessage"),
    *rows("an unknown operation is INVALID_REQUEST; Kafka fails with UNKNOWN_SERVER_ERROR",
          "incremental-alter-configs-v*: * unknown operation/*"),
    *rows("an unknown setting of a broker is refused; Kafka stores it", "incremental-alter-configs-v*: * unknown broker setting/*"),
    *rows("the option row has the value in ms; Kafka's default lies in log.retention.hours",
          "describe-configs-v*: * this broker/*/log.retention.ms/Value",
          "describe-configs-v*: * synonyms/*/Synonyms/log.retention.ms"),

    # ---- Produce ----
    *rows("our refusals say why; Kafka often sends a code alone", "*Produce */ErrorMessage"),
    *rows("our refusals say which record: the first that is wrong; Kafka says it for timestamps only, and then for all",
          "produce-damaged-v*/RecordErrors",
          "produce-append-time-v9: * older than the topic takes/*/RecordErrors/1"),
    *rows("a refused batch was not looked up in a log; Kafka's LogStartOffset then depends on where the error arose",
          "*Produce */LogStartOffset"),
    *rows("one partition twice in a request: both are appended and answered in order; Kafka keeps the last and says nothing of the first",
          "produce-refused-v*: * one partition twice/*", "produce-refused-v*: * empty transactional id/*/BaseOffset",
          "produce-refused-v*: * what is in the log/*"),
    *rows("a batch that breaks the format is refused", *(f"produce-damaged-v*: * {name}/*" for name in REFUSED_BATCHES)),
    *rows("transactions are not served yet: a transactional batch is refused as such",
          "produce-damaged-v*: * control and transactional/*/ErrorCode",
          "produce-damaged-v*: * transactional without a transaction/*/ErrorCode"),
    *rows("damaged or unknown compression is INVALID_RECORD or UNSUPPORTED_COMPRESSION_TYPE; Kafka fails with UNKNOWN_SERVER_ERROR",
          "produce-damaged-v*: * codec [57]/*/ErrorCode", "produce-damaged-v*: * garbage as */ErrorCode",
          "produce-damaged-v*: * gzip, deltas not from 0/*/ErrorCode"),
    *rows("the client's newest timestamp stays as it is; Kafka raises one below -1 to -1",
          "produce-damaged-v*: * after negative timestamp/*/MaxTimestamp"),
    *rows("Kafka never answers a produce without records", "produce-null-records-v9: 1 Produce"),
    *rows("for a duplicate Kafka says the batch's newest timestamp although the topic has CreateTime",
          "idempotent-*: * Produce */LogAppendTimeMs",
          "after-a-restart: * the last again/*/LogAppendTimeMs"),

    # ---- Fetch and offsets ----
    *rows("only whole batches are sent: the part of one that Kafka adds is thrown away by every client", "*: * Fetch */Records/none"),
    *rows("the partitions of a fetch are read side by side, each within the whole limit; one that no longer fits into the rest comes next time",
          "fetch-limits-v*: * request limit 4500/*/Partitions/1/Records"),
    *rows("a partition that is not there has no list of transactions, not an empty one: null", "fetch-*/AbortedTransactions"),
    *rows("negative limits count as 0; Kafka fails with UNKNOWN_SERVER_ERROR", "fetch-limits-v*: * limit -1/*"),
    *rows("one partition twice in a request is answered twice; Kafka keeps the last", "fetch-v*: * twice/*"),
    *rows("an empty session is of no use and is not kept", "fetch-session-errors-v*/SessionId"),
    *rows("a deleted topic's id is unknown: Kafka says so by name's error code",
          "fetch-session-of-deleted-topic-v13: * its topic is gone/*/ErrorCode"),
    *rows("negative epochs other than -1 never exist: Kafka answers them with offset 0", "offset-for-leader-epoch-v*: * epoch -2/*"),
]
