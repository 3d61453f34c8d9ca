/* worker: one of the broker's N threads: a loop, the connections accepted for it, and the partitions that hash to it.
 *
 * Shape:     end-of-iteration step, in this order and only here (design.md 5):
 *              1. partitions take completions (syncs, reads), advance counted ends and high watermarks
 *              2. waiting produces and fetches complete
 *              3. new dirty logs are handed to the sync groups (one job in flight per group)
 *              4. connections write their sockets
 * Ownership: owned by the broker; lives from broker_start to broker_stop.
 * Threads:   everything in it belongs to its own loop's thread, except what other threads hand over with loop_post.
 * Source:    design.md 5, ADR-0005, docs/threads.md.
 */
#ifndef BROKER_WORKER_H
#define BROKER_WORKER_H

#include "common/seam/loop.h"
#include "common/uuid.h"

struct broker;
struct connection;
struct connection_set;
struct fetch_session_cache;
struct image;
struct metric_set;
struct partition_set;
struct producer_ids;

struct worker {
    struct broker *broker;
    unsigned index;
    struct loop *loop;
    const struct image *image;                  /* a reference of its own: the metadata as this worker last heard */
    struct connection_set *connections;         /* broker/net/connection.h */
    struct partition_set *partitions;           /* broker/replica/partition_set.h */
    struct fetch_session_cache *fetch_sessions; /* broker/api/fetch_session.h: those whose home this worker is */
    struct producer_ids *producer_ids;          /* broker/api/producer_ids.h */
    struct metric_set *metrics;                 /* rows of broker/broker_metrics.h */
};

/* The worker that owns a partition: a fixed hash of topic id and index over the workers (docs/threads.md). */
struct worker *worker_of_partition(struct broker *broker, struct uuid topic_id, int32_t partition_index);

#endif
