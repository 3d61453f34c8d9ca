/* The rows: one per option, in the order of docs/options.md. Kafka's names and defaults where the idea is Kafka's; where ours
 * differs (max.connections, broker.session.timeout.ms, group.max.size) correctness.md 9 or design.md 12 says why. */
#include "broker/broker_options.h"

#include "broker/broker_listeners.h"
#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

/* Acted on; or accepted, and said to be without effect where it is set. */
#define ACTED_ON true
#define NOT_YET false

/* min == max == 0: no bound. `accepted`: words of an ENUM or LIST, NULL: any. */
#define ROW(name_, member, type_, unit_, min_, max_, default_, accepted_, change_, acted_on, doc_)                     \
    {                                                                                                                  \
        .name = (name_), .type = OPTION_##type_, .unit = (unit_), .min = (min_), .max = (max_),                        \
        .default_text = (default_), .accepted = (accepted_), .change = OPTION_##change_, .is_acted_on = (acted_on),    \
        .doc = (doc_), .offset = offsetof(struct broker_options, member)                                               \
    }

static const struct option_row rows[] = {
    /* ---- the node ---- */
    ROW("node.id", node_id, INT, "", 0, INT32_MAX, "1", NULL, AT_START, ACTED_ON,
        "Number of this node, unique in its cluster."),
    ROW("process.roles", process_roles, LIST, "", 0, 0, "broker,controller", "broker,controller", AT_START, ACTED_ON,
        "What this node does."),
    ROW("cluster.name", cluster_name, TEXT, "", 0, 0, NULL, NULL, AT_START, ACTED_ON,
        "Name that people give the cluster; written when the cluster is formed."),
    ROW("broker.rack", broker_rack, TEXT, "", 0, 0, NULL, NULL, AT_START, ACTED_ON,
        "Rack or zone of this node, told to clients."),
    ROW("log.level", log_level, ENUM, "", 0, 0, "info", "error,warn,info,debug", AT_START, ACTED_ON,
        "Log lines above this level are not written."),

    /* ---- addresses ---- */
    ROW("listeners", listeners, LIST, "", 0, 0, "PLAINTEXT://127.0.0.1:9092", NULL, AT_START, ACTED_ON,
        "Addresses to listen on, NAME://host:port. An empty host means every address of the machine. INTERNAL is the "
        "listener for traffic between nodes: loopback or an address given explicitly; clients never use it."),
    ROW("advertised.listeners", advertised_listeners, LIST, "", 0, 0, NULL, NULL, AT_START, ACTED_ON,
        "Addresses that clients are told to connect to; the listeners themselves when not set."),
    ROW("listener.security.protocol.map", listener_security_protocol_map, LIST, "", 0, 0,
        "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT", NULL, AT_START, ACTED_ON,
        "Security protocol of each listener name, NAME:PROTOCOL. Only PLAINTEXT exists yet."),
    ROW("http.listener", http_listener, TEXT, "", 0, 0, NULL, NULL, AT_START, ACTED_ON,
        "host:port of /metrics, /health/live and /health/ready. Off when not set; a node without any configuration "
        "uses 127.0.0.1:8080."),

    /* ---- directories ---- */
    ROW("log.dirs", log_dirs, LIST, "", 0, 0, "./moldau-data", NULL, AT_START, ACTED_ON,
        "Directories of the partitions, one per disk."),
    ROW("metadata.log.dir", metadata_log_dir, TEXT, "", 0, 0, NULL, NULL, AT_START, ACTED_ON,
        "Directory of the cluster metadata; below the first of log.dirs when not set."),

    /* ---- controller ---- */
    ROW("log.dir.stall.timeout.ms", log_dir_stall_timeout_ms, INT, "ms", 0, 3600000, "30000", NULL, AT_START, ACTED_ON,
        "A call to a file that does not come back for so long ends the node, so that others lead; ten times as long "
        "while the "
        "disk below still completes other calls. 0: never."),
    ROW("controller.quorum.voters", controller_quorum_voters, LIST, "", 0, 0, "", NULL, AT_START, ACTED_ON,
        "Controllers that vote, id@host:port of their INTERNAL listeners; the same on every node of the cluster, "
        "brokers too. "
        "Empty: this node alone."),
    ROW("controller.quorum.election.timeout.ms", controller_quorum_election_timeout_ms, INT, "ms", 50, 60000, "400",
        NULL, AT_START, ACTED_ON, "Silence of the active controller after which an election begins."),
    ROW("controller.quorum.heartbeat.ms", controller_quorum_heartbeat_ms, INT, "ms", 10, 10000, "80", NULL, AT_START,
        ACTED_ON, "How often the active controller is heard at least."),
    ROW("metadata.snapshot.entries", metadata_snapshot_entries, INT, "", 16, 10000000, "4096", NULL, AT_START, ACTED_ON,
        "Metadata entries between snapshots."),
    ROW("metadata.trailing.entries", metadata_trailing_entries, INT, "", 16, 10000000, "8192", NULL, AT_START, ACTED_ON,
        "Metadata entries kept behind a snapshot."),
    ROW("metadata.log.segment.bytes", metadata_log_segment_bytes, INT, "bytes", 1048576, 1073741824, "8388608", NULL,
        AT_START, ACTED_ON, "Size at which the metadata log begins a new file."),
    ROW("broker.session.timeout.ms", broker_session_timeout_ms, INT, "ms", 100, 3600000, "3000", NULL, AT_START,
        ACTED_ON, "Silence of a broker after which the controller fences it."),
    ROW("broker.heartbeat.interval.ms", broker_heartbeat_interval_ms, INT, "ms", 10, 3600000, "500", NULL, AT_START,
        ACTED_ON, "How often a broker reports to the controller."),
    ROW("auto.leader.rebalance.enable", auto_leader_rebalance_enable, BOOL, "", 0, 0, "true", NULL, AT_START, ACTED_ON,
        "Whether partitions go back to their preferred leaders when these are in sync again."),
    ROW("leader.imbalance.check.interval.seconds", leader_imbalance_check_interval_seconds, INT, "s", 1, 1000000, "300",
        NULL, AT_START, ACTED_ON,
        "How often the active controller looks for partitions that their preferred leader could lead."),

    /* ---- threads and memory ---- */
    ROW("num.worker.threads", num_worker_threads, INT, "", 0, 256, "0", NULL, AT_START, ACTED_ON,
        "Worker threads, each with its connections and partitions; 0: one per processor."),
    ROW("memory.limit", memory_limit, LONG, "bytes", 1048576, INT64_MAX, "268435456", NULL, AT_START, ACTED_ON,
        "Bytes of requests and replies held at a time; over it the broker stops reading from clients."),
    ROW("queued.max.request.bytes", queued_max_request_bytes, LONG, "bytes", -1, INT64_MAX, "-1", NULL, AT_START,
        ACTED_ON, "A lower bound for the same, by Kafka's name; -1: memory.limit alone."),

    /* ---- connections ---- */
    ROW("socket.request.max.bytes", socket_request_max_bytes, INT, "bytes", 1024, 1073741824, "104857600", NULL,
        AT_START, ACTED_ON, "Largest request."),
    ROW("max.connections", max_connections, INT, "", 1, INT32_MAX, "10000", NULL, AT_START, ACTED_ON,
        "Client connections at a time."),
    ROW("max.connections.per.ip", max_connections_per_ip, INT, "", 0, INT32_MAX, "2147483647", NULL, AT_START, ACTED_ON,
        "Client connections from one address at a time."),
    ROW("connections.max.idle.ms", connections_max_idle_ms, LONG, "ms", 1000, 9223372036854775, "600000", NULL,
        AT_START, ACTED_ON, "A connection without a request for this long is closed."),

    /* ---- topics ---- */
    ROW("num.partitions", num_partitions, INT, "", 1, 100000, "1", NULL, AT_START, ACTED_ON,
        "Partitions of a topic whose creator does not say."),
    ROW("default.replication.factor", default_replication_factor, INT, "", 1, 64, "1", NULL, AT_START, ACTED_ON,
        "Replicas of a topic whose creator does not say."),
    ROW("min.insync.replicas", min_insync_replicas, INT, "", 1, 64, "1", NULL, CLUSTER_WIDE, ACTED_ON,
        "In-sync replicas without which acks=all is refused."),
    ROW("auto.create.topics.enable", auto_create_topics_enable, BOOL, "", 0, 0, "true", NULL, AT_START, ACTED_ON,
        "Whether asking for a topic that does not exist creates it."),
    ROW("delete.topic.enable", delete_topic_enable, BOOL, "", 0, 0, "true", NULL, AT_START, NOT_YET,
        "Whether topics can be deleted."),
    ROW("unclean.leader.election.enable", unclean_leader_election_enable, BOOL, "", 0, 0, "false", NULL, CLUSTER_WIDE,
        ACTED_ON, "Whether a replica that is not in sync may become leader when no other is left."),
    ROW("compression.type", compression_type, ENUM, "", 0, 0, "producer", "producer,uncompressed,gzip,snappy,lz4,zstd",
        CLUSTER_WIDE, NOT_YET, "Codec of stored batches; producer keeps what the producer chose."),
    ROW("message.max.bytes", message_max_bytes, INT, "bytes", 0, INT32_MAX, "1048588", NULL, CLUSTER_WIDE, ACTED_ON,
        "Largest record batch."),

    /* ---- logs ---- */
    ROW("log.durability", log_durability, ENUM, "", 0, 0, "synced", "synced,cached", CLUSTER_WIDE, ACTED_ON,
        "What an acknowledgement means: synced, the record is on the disk; cached, it is in the page cache, as in "
        "Kafka."),
    ROW("log.compression.validation", log_compression_validation, ENUM, "", 0, 0, "records", "records,header",
        CLUSTER_WIDE, ACTED_ON,
        "How compressed batches are checked: records, every record; header, the batch header and checksum only."),
    ROW("log.segment.bytes", log_segment_bytes, INT, "bytes", 1048576, INT32_MAX, "1073741824", NULL, CLUSTER_WIDE,
        ACTED_ON, "Size at which a partition begins a new segment file."),
    ROW("log.roll.ms", log_roll_ms, LONG, "ms", 1, INT64_MAX, "604800000", NULL, CLUSTER_WIDE, ACTED_ON,
        "Age at which a partition begins a new segment file."),
    ROW("log.roll.jitter.ms", log_roll_jitter_ms, LONG, "ms", 0, INT64_MAX, "0", NULL, CLUSTER_WIDE, ACTED_ON,
        "Random part taken off log.roll.ms, so that not all partitions roll at once."),
    ROW("log.retention.bytes", log_retention_bytes, LONG, "bytes", -1, INT64_MAX, "-1", NULL, CLUSTER_WIDE, ACTED_ON,
        "Size above which the oldest segments of a partition are deleted; -1: no limit."),
    ROW("log.retention.ms", log_retention_ms, LONG, "ms", -1, INT64_MAX, "604800000", NULL, CLUSTER_WIDE, ACTED_ON,
        "Age above which segments are deleted; -1: never."),
    ROW("log.retention.check.interval.ms", log_retention_check_interval_ms, LONG, "ms", 1, INT64_MAX, "300000", NULL,
        AT_START, NOT_YET, "How often retention is looked at; every 10 seconds at present."),
    ROW("log.segment.delete.delay.ms", log_segment_delete_delay_ms, LONG, "ms", 0, INT64_MAX, "60000", NULL,
        CLUSTER_WIDE, ACTED_ON, "How long a deleted segment's files stay for readers that are under way."),
    ROW("log.index.interval.bytes", log_index_interval_bytes, INT, "bytes", 0, INT32_MAX, "4096", NULL, CLUSTER_WIDE,
        ACTED_ON, "Bytes of records between two entries of the offset index."),
    ROW("log.index.size.max.bytes", log_index_size_max_bytes, INT, "bytes", 4, INT32_MAX, "10485760", NULL,
        CLUSTER_WIDE, ACTED_ON, "Largest index file."),
    ROW("log.cleanup.policy", log_cleanup_policy, LIST, "", 0, 0, "delete", "delete,compact", CLUSTER_WIDE, ACTED_ON,
        "What happens to old records. compact is accepted; the compaction itself is not acted on yet."),
    ROW("log.message.timestamp.type", log_message_timestamp_type, ENUM, "", 0, 0, "CreateTime",
        "CreateTime,LogAppendTime", CLUSTER_WIDE, ACTED_ON,
        "Whose clock stamps records: the producer's or the broker's."),
    ROW("log.message.timestamp.before.max.ms", log_message_timestamp_before_max_ms, LONG, "ms", 0, INT64_MAX,
        "9223372036854775807", NULL, CLUSTER_WIDE, ACTED_ON,
        "How far a record's timestamp may lie before the broker's clock."),
    ROW("log.message.timestamp.after.max.ms", log_message_timestamp_after_max_ms, LONG, "ms", 0, INT64_MAX, "3600000",
        NULL, CLUSTER_WIDE, ACTED_ON, "How far a record's timestamp may lie after the broker's clock."),
    ROW("log.flush.interval.messages", log_flush_interval_messages, LONG, "", 1, INT64_MAX, "9223372036854775807", NULL,
        CLUSTER_WIDE, NOT_YET, "Records between two syncs of a cached log; use log.durability."),
    ROW("log.flush.interval.ms", log_flush_interval_ms, LONG, "ms", 0, INT64_MAX, "9223372036854775807", NULL,
        CLUSTER_WIDE, NOT_YET, "Time between two syncs of a cached log; use log.durability."),
    ROW("log.preallocate", log_preallocate, BOOL, "", 0, 0, "false", NULL, CLUSTER_WIDE, NOT_YET,
        "Whether segment files are allocated in full when they are made."),
    ROW("log.cleaner.delete.retention.ms", log_cleaner_delete_retention_ms, LONG, "ms", 0, INT64_MAX, "86400000", NULL,
        CLUSTER_WIDE, NOT_YET, "How long compaction keeps tombstones."),
    ROW("log.cleaner.min.cleanable.ratio", log_cleaner_min_cleanable_ratio, DOUBLE, "", 0, 0, "0.5", NULL, CLUSTER_WIDE,
        NOT_YET, "Share of a log that must be dirty before it is compacted."),
    ROW("log.cleaner.min.compaction.lag.ms", log_cleaner_min_compaction_lag_ms, LONG, "ms", 0, INT64_MAX, "0", NULL,
        CLUSTER_WIDE, NOT_YET, "Age below which records are not compacted."),
    ROW("log.cleaner.max.compaction.lag.ms", log_cleaner_max_compaction_lag_ms, LONG, "ms", 1, INT64_MAX,
        "9223372036854775807", NULL, CLUSTER_WIDE, NOT_YET, "Age at which records are compacted at the latest."),

    /* ---- producing and fetching ---- */
    ROW("producer.id.expiration.ms", producer_id_expiration_ms, INT, "ms", 1, INT32_MAX, "86400000", NULL, CLUSTER_WIDE,
        ACTED_ON, "How long a partition remembers an idempotent producer that is silent."),
    ROW("fetch.max.bytes", fetch_max_bytes, INT, "bytes", 1024, INT32_MAX, "57671680", NULL, AT_START, ACTED_ON,
        "Largest fetch response, whatever the client asks for."),
    ROW("max.incremental.fetch.session.cache.slots", max_incremental_fetch_session_cache_slots, INT, "", 0, 1000000,
        "1000", NULL, AT_START, ACTED_ON, "Fetch sessions that the broker remembers."),
    ROW("max.request.partition.size.limit", max_request_partition_size_limit, INT, "", 1, 1000000, "2000", NULL,
        AT_START, ACTED_ON, "Partitions in one answer to DescribeTopicPartitions."),
    ROW("replica.lag.time.max.ms", replica_lag_time_max_ms, LONG, "ms", 1, INT64_MAX, "30000", NULL, AT_START, ACTED_ON,
        "How long a follower may lag before it leaves the in-sync replicas."),

    /* ---- groups and transactions ---- */
    ROW("offsets.topic.num.partitions", offsets_topic_num_partitions, INT, "", 1, 100000, "50", NULL, AT_START, NOT_YET,
        "Partitions of the topic of group offsets."),
    ROW("offsets.topic.replication.factor", offsets_topic_replication_factor, INT, "", 1, 64, "3", NULL, AT_START,
        NOT_YET, "Replicas of the topic of group offsets."),
    ROW("offsets.topic.segment.bytes", offsets_topic_segment_bytes, INT, "bytes", 1, INT32_MAX, "104857600", NULL,
        AT_START, NOT_YET, "Segment size of the topic of group offsets."),
    ROW("offsets.retention.minutes", offsets_retention_minutes, INT, "minutes", 1, INT32_MAX, "10080", NULL, AT_START,
        NOT_YET, "How long the offsets of an empty group are kept."),
    ROW("offset.metadata.max.bytes", offset_metadata_max_bytes, INT, "bytes", 0, INT32_MAX, "4096", NULL, AT_START,
        NOT_YET, "Largest metadata of a committed offset."),
    ROW("group.initial.rebalance.delay.ms", group_initial_rebalance_delay_ms, INT, "ms", 0, INT32_MAX, "3000", NULL,
        AT_START, NOT_YET, "How long a new group waits for more members."),
    ROW("group.min.session.timeout.ms", group_min_session_timeout_ms, INT, "ms", 0, INT32_MAX, "6000", NULL, AT_START,
        NOT_YET, "Shortest session timeout that a group member may ask for."),
    ROW("group.max.session.timeout.ms", group_max_session_timeout_ms, INT, "ms", 0, INT32_MAX, "1800000", NULL,
        AT_START, NOT_YET, "Longest session timeout that a group member may ask for."),
    ROW("group.max.size", group_max_size, INT, "", 1, INT32_MAX, "1000", NULL, AT_START, NOT_YET,
        "Members of one group."),
    ROW("transaction.state.log.num.partitions", transaction_state_log_num_partitions, INT, "", 1, 100000, "50", NULL,
        AT_START, NOT_YET, "Partitions of the topic of transaction states."),
    ROW("transaction.state.log.replication.factor", transaction_state_log_replication_factor, INT, "", 1, 64, "3", NULL,
        AT_START, NOT_YET, "Replicas of the topic of transaction states."),
    ROW("transaction.state.log.min.isr", transaction_state_log_min_isr, INT, "", 1, 64, "2", NULL, AT_START, NOT_YET,
        "In-sync replicas that the topic of transaction states needs."),
    ROW("transaction.state.log.segment.bytes", transaction_state_log_segment_bytes, INT, "bytes", 1, INT32_MAX,
        "104857600", NULL, AT_START, NOT_YET, "Segment size of the topic of transaction states."),
    ROW("transactional.id.expiration.ms", transactional_id_expiration_ms, INT, "ms", 1, INT32_MAX, "604800000", NULL,
        AT_START, NOT_YET, "How long an unused transactional id is remembered."),
    ROW("transaction.max.timeout.ms", transaction_max_timeout_ms, INT, "ms", 1, INT32_MAX, "900000", NULL, AT_START,
        NOT_YET, "Longest transaction that a client may ask for."),
};

static const struct option_table table = {.rows = rows, .row_count = ARRAY_COUNT(rows)};

const struct option_table *broker_options_table(void)
{
    return &table;
}

void broker_options_init(struct broker_options *options)
{
    *options = (struct broker_options){0};
    option_set_defaults(&table, options);
}

void broker_options_done(struct broker_options *options)
{
    option_values_done(&table, options);
}

static enum err refuse(struct option_problem *ret_problem, const char *text)
{
    (void)snprintf(ret_problem->text, sizeof(ret_problem->text), "%s", text);
    return ERR_INVALID;
}

static bool has_role(const struct broker_options *options, const char *role)
{
    return strstr(options->process_roles, role) != NULL;
}

bool broker_options_is_broker(const struct broker_options *options)
{
    return has_role(options, "broker");
}

bool broker_options_is_controller(const struct broker_options *options)
{
    return has_role(options, "controller");
}

/* Whether the list names this node, and how many it names. Its exact form is the controller's matter. */
static bool names_node(const char *voters, int32_t node_id, unsigned *ret_count)
{
    bool is_named = false;
    *ret_count = 0;
    for (const char *at = voters; *at != '\0';) {
        char *end = NULL;
        long id = strtol(at, &end, 10);
        is_named = is_named || (end != at && *end == '@' && id == node_id);
        (*ret_count)++;
        at = strchr(at, ',');
        if (at == NULL) {
            break;
        }
        at += 1;
    }
    return is_named;
}

/* What would only show later, or never, when the roles, the voters and the listeners do not fit together. */
static enum err check_roles(const struct broker_options *options, const struct broker_listeners *listeners,
                            struct option_problem *ret_problem)
{
    unsigned voter_count = 0;
    bool is_voter = names_node(options->controller_quorum_voters, options->node_id, &voter_count);
    bool is_controller = broker_options_is_controller(options);
    bool is_broker = broker_options_is_broker(options);
    if (!is_broker && !is_controller) {
        return refuse(ret_problem, "process.roles is empty; set broker, controller or both");
    }
    if (!is_controller && voter_count == 0) {
        return refuse(ret_problem,
                      "controller.quorum.voters is empty, but this node is no controller: name the controllers of its "
                      "cluster, as in controller.quorum.voters=1@host:9093");
    }
    if (is_controller && voter_count > 0 && !is_voter) {
        (void)snprintf(
            ret_problem->text, sizeof(ret_problem->text),
            "controller.quorum.voters is %s, but this is node %d and its process.roles has controller: name it as "
            "%d@host:port too",
            options->controller_quorum_voters, options->node_id, options->node_id);
        return ERR_INVALID;
    }
    if (!is_controller && is_voter) {
        (void)snprintf(
            ret_problem->text, sizeof(ret_problem->text),
            "controller.quorum.voters names node %d, but process.roles of this node has no controller; add it, or "
            "take the node off the list",
            options->node_id);
        return ERR_INVALID;
    }
    bool needs_internal = voter_count > 1 || !is_controller || !is_broker;
    if (needs_internal && broker_listeners_internal(listeners) == NULL) {
        return refuse(
            ret_problem,
            "listeners has no INTERNAL address, on which the nodes of a cluster talk to each other; add one, as "
            "in listeners=PLAINTEXT://127.0.0.1:9092,INTERNAL://127.0.0.1:9093");
    }
    return ERR_OK;
}

enum err broker_options_check(const struct broker_options *options, struct option_problem *ret_problem)
{
    struct broker_listeners listeners;
    enum err err = broker_listeners_parse(options, &listeners, ret_problem);
    if (err == ERR_OK) {
        err = check_roles(options, &listeners, ret_problem);
    }
    if (err != ERR_OK) {
        return err;
    }
    char host[BROKER_LISTENER_HOST_BYTES];
    uint16_t port = 0;
    if (options->http_listener != NULL && options->http_listener[0] != '\0' &&
        broker_listeners_parse_address(span_text(options->http_listener), host, &port) != ERR_OK) {
        return refuse(ret_problem, "http.listener must be host:port, as in 127.0.0.1:8080");
    }
    if (options->log_dirs[0] == '\0') {
        return refuse(ret_problem, "log.dirs is empty; name at least one directory, as in log.dirs=./moldau-data");
    }
    if ((int64_t)options->socket_request_max_bytes > options->memory_limit) {
        return refuse(ret_problem,
                      "memory.limit is smaller than socket.request.max.bytes: a request of the largest size "
                      "could never be read; raise the first or lower the second");
    }
    return ERR_OK;
}
