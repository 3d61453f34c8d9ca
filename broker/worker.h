/* worker: one of the broker's N threads: a loop, the connections accepted for it, and the partitions that hash to it.
 *
 * Shape:     end-of-iteration step, in this order and only here (design.md 5):
 *              1. partitions take completions (syncs, reads), advance counted ends and high watermarks
 *              2. waiting produces and fetches complete
 *              3. new dirty logs are handed to the sync groups (one job in flight per group)
 *              4. streams send what partitions have for other brokers: records, marks, acknowledgements
 *              5. connections write their sockets
 * Ownership: owned by the broker; lives from broker_start to broker_stop.
 * Threads:   everything in it belongs to its own loop's thread, except what other threads hand over with loop_post.
 * Source:    design.md 5, ADR-0005, docs/threads.md.
 */
#ifndef BROKER_WORKER_H
#define BROKER_WORKER_H

#include "broker/meta/lost_brokers.h"
#include "broker/net/memory_budget.h"
#include "common/seam/loop.h"
#include "common/uuid.h"

struct broker;
struct connection_limits;
struct connection_set;
struct fetch_session_cache;
struct image;
struct metric_set;
struct partition_set;
struct partition_set_options;
struct producer_ids;
struct stream_client;
struct stream_server;

struct worker {
    struct broker *broker;
    unsigned index;
    struct loop *loop;
    const struct image *image;                  /* a reference of its own: the metadata as this worker last heard */
    struct connection_set *connections;         /* broker/net/connection_set.h */
    struct partition_set *partitions;           /* broker/replica/partition_set.h */
    struct stream_server *stream_server;        /* broker/stream/stream_server.h: streams to followers */
    struct stream_client *stream_client;        /* broker/stream/stream_client.h: streams from leaders */
    struct fetch_session_cache *fetch_sessions; /* broker/api/fetch_session.h: those whose home this worker is */
    struct producer_ids *producer_ids;          /* broker/api/producer_ids.h */
    struct lost_broker_waits lost_broker_waits; /* answers on metadata that wait for new leaders */
    struct metric_set *metrics;                 /* rows of broker/broker_metrics.h */
    struct memory_queue memory;                 /* its place in the broker's memory budget */
    struct loop_task stop_task; /* the maker's, for loop_stop behind everything that was posted before */
    bool is_started;
};

struct worker_config {
    struct broker *broker; /* env, options, metrics and log_dirs are there */
    unsigned index;
    unsigned worker_count;
    struct memory_budget *budget;
    const struct connection_limits *limits;
    const struct partition_set_options *partition_options;
};

/* Makes the loop and all that lives on it; nothing runs yet. */
enum err worker_new(const struct worker_config *config, struct worker **ret_worker) MUST_USE;
void worker_start(struct worker *worker);
/* Behind everything that was posted to the worker before. */
void worker_stop(struct worker *worker);
/* Waits for its thread and frees everything; connections and partitions are gone. Not from a loop. */
void worker_free(struct worker *worker);

/* The worker that owns a partition: a fixed hash of topic id and index over the workers (docs/threads.md). */
struct worker *worker_of_partition(struct broker *broker, struct uuid topic_id, int32_t partition_index);

#endif
