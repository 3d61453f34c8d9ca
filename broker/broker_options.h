/* broker_options: everything that can be set on a node, as one table of rows and one plain struct.
 *
 * Shape:     a member is named like its option, dots as underscores. Values are typed; lists are text.
 * Units:     as the option's name or its row says.
 * Errors:    broker_options_check: one clear sentence about options that contradict each other or this build.
 * Ownership: text members belong to the struct (broker_options_done).
 * Threads:   a value, constant while a node runs.
 * Source:    Kafka 4.3 broker configuration (names and defaults where the idea is Kafka's); docs/options.md is made from the rows.
 */
#ifndef BROKER_BROKER_OPTIONS_H
#define BROKER_BROKER_OPTIONS_H

#include "common/option.h"

struct broker_options {
    /* the node */
    int32_t node_id;
    char *process_roles;
    char *cluster_name;
    char *broker_rack;
    char *log_level;
    /* addresses */
    char *listeners;
    char *advertised_listeners;
    char *listener_security_protocol_map;
    char *http_listener;
    /* directories */
    char *log_dirs;
    char *metadata_log_dir;
    int32_t log_dir_stall_timeout_ms;
    /* controller */
    char *controller_quorum_voters;
    int32_t controller_quorum_election_timeout_ms;
    int32_t controller_quorum_heartbeat_ms;
    int32_t metadata_snapshot_entries;
    int32_t metadata_trailing_entries;
    int32_t metadata_log_segment_bytes;
    int32_t broker_session_timeout_ms;
    int32_t broker_heartbeat_interval_ms;
    bool auto_leader_rebalance_enable;
    int32_t leader_imbalance_check_interval_seconds;
    /* threads and memory */
    int32_t num_worker_threads;
    int64_t memory_limit;
    int64_t queued_max_request_bytes;
    /* connections */
    int32_t socket_request_max_bytes;
    int32_t max_connections;
    int32_t max_connections_per_ip;
    int64_t connections_max_idle_ms;
    /* topics */
    int32_t num_partitions;
    int32_t default_replication_factor;
    int32_t min_insync_replicas;
    bool auto_create_topics_enable;
    bool delete_topic_enable;
    bool unclean_leader_election_enable;
    char *compression_type;
    int32_t message_max_bytes;
    /* logs */
    char *log_durability;
    int32_t log_segment_bytes;
    int64_t log_roll_ms;
    int64_t log_roll_jitter_ms;
    int64_t log_retention_bytes;
    int64_t log_retention_ms;
    int64_t log_retention_check_interval_ms;
    int64_t log_segment_delete_delay_ms;
    int32_t log_index_interval_bytes;
    int32_t log_index_size_max_bytes;
    char *log_cleanup_policy;
    char *log_compression_validation;
    char *log_message_timestamp_type;
    int64_t log_message_timestamp_before_max_ms;
    int64_t log_message_timestamp_after_max_ms;
    int64_t log_flush_interval_messages;
    int64_t log_flush_interval_ms;
    bool log_preallocate;
    int64_t log_cleaner_delete_retention_ms;
    double log_cleaner_min_cleanable_ratio;
    int64_t log_cleaner_min_compaction_lag_ms;
    int64_t log_cleaner_max_compaction_lag_ms;
    /* producing and fetching */
    int32_t producer_id_expiration_ms;
    int32_t fetch_max_bytes;
    int32_t max_incremental_fetch_session_cache_slots;
    int32_t max_request_partition_size_limit;
    int64_t replica_lag_time_max_ms;
    /* groups and transactions */
    int32_t offsets_topic_num_partitions;
    int32_t offsets_topic_replication_factor;
    int32_t offsets_topic_segment_bytes;
    int32_t offsets_retention_minutes;
    int32_t offset_metadata_max_bytes;
    int32_t group_initial_rebalance_delay_ms;
    int32_t group_min_session_timeout_ms;
    int32_t group_max_session_timeout_ms;
    int32_t group_max_size;
    int32_t transaction_state_log_num_partitions;
    int32_t transaction_state_log_replication_factor;
    int32_t transaction_state_log_min_isr;
    int32_t transaction_state_log_segment_bytes;
    int32_t transactional_id_expiration_ms;
    int32_t transaction_max_timeout_ms;
};

const struct option_table *broker_options_table(void);
/* Every member to its default. */
void broker_options_init(struct broker_options *options);
void broker_options_done(struct broker_options *options);
/* What the rows alone can't tell: roles, listeners, limits that depend on each other, what this build does not do yet. */
enum err broker_options_check(const struct broker_options *options, struct option_problem *ret_problem) MUST_USE;

/* process.roles. */
bool broker_options_is_broker(const struct broker_options *options);
bool broker_options_is_controller(const struct broker_options *options);

#endif
