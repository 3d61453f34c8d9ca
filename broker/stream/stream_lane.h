/* stream_lane: which link carries which partition: the lane number of a REPLICA link's hello names one worker of the leader and one of
 * two streams to it, so that partitions that are far behind don't stand in the way of those that are near.
 *
 * Shape:     lane = 2 * worker index + (1: catch-up). A follower that does not know how many workers the leader has takes its own count;
 *            the server takes the index modulo its count and says the count in its answer: the follower then sorts its partitions anew.
 * Threads:   values.
 * Source:    design.md 6 ("a separate lane for catching up"); worker_of_partition (broker/worker.h) for the hash.
 */
#ifndef BROKER_STREAM_STREAM_LANE_H
#define BROKER_STREAM_STREAM_LANE_H

#include "common/big_endian.h"
#include "common/uuid.h"

static inline uint32_t stream_lane_make(uint32_t worker_index, bool is_catch_up)
{
    return worker_index * 2 + (is_catch_up ? 1 : 0);
}

static inline bool stream_lane_is_catch_up(uint32_t lane)
{
    return (lane & 1) != 0;
}

/* The worker that serves the lane, of a broker with worker_count > 0 of them. */
static inline uint32_t stream_lane_worker(uint32_t lane, uint32_t worker_count)
{
    return (lane / 2) % worker_count;
}

/* Index of the partition's worker in a broker with worker_count > 0: the same on every broker. */
static inline uint32_t stream_lane_hash(struct uuid topic_id, int32_t partition_index, uint32_t worker_count)
{
    uint64_t hash = be64_get(topic_id.bytes) ^ be64_get(topic_id.bytes + 8);
    return (uint32_t)((hash + (uint64_t)partition_index) % worker_count);
}

#endif
