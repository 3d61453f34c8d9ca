/* controller_options: what a controller is started with. The option table's rows live in the broker (broker/broker_options.c):
 * one node has one table; it fills this struct.
 *
 * Ownership: borrowed by the controller until controller_free.
 * Threads:   a value.
 */
#ifndef CONTROLLER_CONTROLLER_OPTIONS_H
#define CONTROLLER_CONTROLLER_OPTIONS_H

#include "common/uuid.h"

struct metric_registry;
struct option_table;
struct rpc_server;

/* Called on the controller's thread, once: a write or sync of the metadata failed or a rule of the consensus was broken. The
 * controller has stopped acting and answers nothing any more. The process must end (correctness.md 6, 7); the reason was logged. */
typedef void (*controller_fatal_fn)(void *ctx, const char *reason);

struct controller_options {
    int32_t node_id;
    bool is_broker;            /* process.roles has broker: only then is a lone voter's node placed upon */
    const char *metadata_dir;  /* metadata.log.dir, or the first of log.dirs; created when missing */
    const char *quorum_voters; /* controller.quorum.voters: "id@host:port,..." or NULL/"": this node alone */
    const char *cluster_name;  /* cluster.name for a new cluster, or NULL */
    /* What the node's log directories say about themselves (meta.properties), before anything is opened: the cluster id
     * that they belong to, or NULL when all are new. A node with used directories never forms a new cluster. */
    const char *known_cluster_id;
    const char *known_cluster_dir; /* the directory that says so, for messages; NULL when known_cluster_id is */

    /* The INTERNAL listener: links of kinds QUORUM, METADATA and CALL are accepted there. NULL: a lone voter without links, whose broker
     * sessions never end: nobody else could lead. */
    struct rpc_server *server;
    struct uuid incarnation_id; /* of the process, as in its hellos and its registration */
    /* On the controller's loop, once, when the cluster's id is known; not called when controller_start has returned it. May be NULL. */
    void (*on_cluster_id)(void *ctx, const char *cluster_id);
    void *on_cluster_id_ctx;

    uint32_t session_timeout_ms; /* broker.session.timeout.ms, default 3000 */
    bool auto_rebalance;         /* auto.leader.rebalance.enable, default true */
    uint32_t imbalance_check_ms; /* leader.imbalance.check.interval.seconds, default 300 s */

    uint32_t election_timeout_ms;  /* controller.quorum.election.timeout.ms, default 400 */
    uint32_t heartbeat_timeout_ms; /* controller.quorum.heartbeat.ms, default 80 */
    uint32_t snapshot_entries;     /* metadata.snapshot.entries, default 4096: entries applied before a snapshot */
    uint32_t trailing_entries;     /* metadata.trailing.entries, default 8192: entries kept behind a snapshot */
    uint64_t segment_bytes;        /* metadata.log.segment.bytes, default 8 MiB: a new log file begins beyond it */

    /* Defaults for topics; broker-level settings of the same name in Kafka. */
    int32_t num_partitions;             /* num.partitions, 1 */
    int32_t default_replication_factor; /* default.replication.factor, 1 */
    int32_t min_insync_replicas;        /* min.insync.replicas, 1 */
    int32_t partitions_max;             /* of the whole cluster; 0: no bound */
    bool is_cached;                     /* log.durability is cached, false */
    bool allows_unclean;                /* unclean.leader.election.enable, false */

    /* The broker's own settings: those that may change while it runs can be set by (Incremental)AlterConfigs on brokers. NULL: none. */
    const struct option_table *broker_options;

    struct metric_registry *metrics; /* may be NULL */
    controller_fatal_fn on_fatal;    /* NULL: abort */
    void *on_fatal_ctx;
};

/* Fills the defaults named above; every pointer NULL. */
void controller_options_init(struct controller_options *options);

#endif
