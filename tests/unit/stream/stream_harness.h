/* stream_harness: brokers that are nothing but streams and logs: real links, real streams, real logs, and between them a small
 * stand-in for broker/replica/partition.c that does what replica_link.h says. Who leads in which epoch is the test's word.
 *
 * Shape:     a node: one loop, one worker, one log directory, an INTERNAL listener. Every partition is on every node. The high watermark is
 *            the least counted end of all nodes, so that whatever is below it must survive every election.
 * Ownership: node_boot makes everything of a node; node_end (orderly) or the death of its simulated process ends it.
 * Threads:   one: all nodes of a test run on the test's thread.
 */
#ifndef TESTS_UNIT_STREAM_STREAM_HARNESS_H
#define TESTS_UNIT_STREAM_STREAM_HARNESS_H

#include "broker/broker.h"
#include "broker/replica/partition.h"
#include "broker/replica/replica_link.h"
#include "broker/storage/file_cache.h"
#include "broker/stream/stream_client.h"
#include "broker/stream/stream_server.h"
#include "broker/worker.h"
#include "common/metric.h"
#include "common/rpc/rpc_server.h"

#define NODES_MAX 3u
#define PARTITIONS_MAX 200u
#define NODE_PORT 9093

struct stream_node;

/* What a leader knows of one other node. */
struct fake_follower {
    struct replica_cursor *cursor; /* NULL: not subscribed */
    int64_t counted_end;
    int64_t sent_end;
    int64_t told_high_watermark;
    int64_t told_log_start;
};

struct fake_partition {
    struct partition base; /* leader_epoch, leader_id: as acted upon */
    struct stream_node *node;
    bool is_open;
    bool leads;
    bool is_following; /* the streams have it */
    bool is_busy;      /* the log begins an epoch or is cut */
    int32_t wanted_leader_id;
    int32_t wanted_epoch;
    int64_t told_counted_end;
    struct fake_follower followers[NODES_MAX];
    log_done_fn cut_done;
    void *cut_ctx;
    /* faults */
    enum err append_err; /* what partition_append_replicated says instead */
    unsigned append_err_count;
    unsigned ack_count; /* acknowledgements taken */
    unsigned stale_ack_count;
    unsigned cut_count;
    int64_t cut_offset; /* of the last */
    unsigned append_count;
};

struct stream_node {
    int32_t id; /* index in the test + 1 */
    unsigned partition_count;
    uint32_t worker_count; /* as it says; all of them are the one worker */
    struct env *env;
    struct loop *loop;
    enum log_durability durability;
    struct broker broker;
    struct worker worker;
    struct memory_budget budget;
    struct partition_follow_events follow;
    struct log_dir *dir;
    struct file_cache files;
    struct sync_group *group;
    struct rpc_server *rpc;
    struct stream_client *client;
    struct stream_server *server;
    struct fake_partition *partitions;
    void (*on_raw_link)(struct stream_node *node, struct rpc_link *link); /* not NULL: takes the links of followers */
    void *raw_ctx;
    unsigned stops_left;
    void (*on_stopped)(struct stream_node *node);
    unsigned node_count;
};

struct node_config {
    int32_t id;
    unsigned partition_count;
    uint32_t worker_count;
    enum log_durability durability;
    size_t memory_bytes; /* of the budget; 0: 64 MiB */
    struct env *env;
    struct loop *loop;
    const char *dir_path;
    const char *host;
    uint16_t port;
};

/* Opens or makes the logs. The step is the caller's: node_step. */
void node_boot(struct stream_node *node, const struct node_config *config);
void node_step(struct stream_node *node);
/* Lets the streams go: an image with these addresses, and an identity. */
void node_join(struct stream_node *node, unsigned node_count, const struct net_address *addresses,
               const int64_t *broker_epochs);
void node_elect(struct stream_node *node, unsigned index, int32_t leader_id, int32_t epoch);
/* Streams stop, logs close; then on_stopped. */
void node_stop(struct stream_node *node, void (*on_stopped)(struct stream_node *node));
/* After on_stopped. */
void node_done(struct stream_node *node);

/* Appends a batch to a partition that leads. */
void node_append(struct stream_node *node, unsigned index, int32_t record_count, size_t value_bytes, uint64_t content);
struct partition_log *node_log(struct stream_node *node, unsigned index);
/* True when both logs hold the same bytes between the larger log start and the end, which is the same. */
bool nodes_agree(struct stream_node *one, struct stream_node *other, unsigned index);
/* A digest of everything in [log start, end). */
uint64_t node_digest(struct stream_node *node, unsigned index, int64_t from, int64_t end);
int64_t node_metric(struct stream_node *node, size_t row);

/* stream_fake.c, for stream_harness.c */
struct uuid fake_topic_id(unsigned index);
void fake_follower_clear(struct fake_follower *follower);
/* High watermark and news. */
void fake_lead(struct fake_partition *fake, int64_t counted_end);

#endif
