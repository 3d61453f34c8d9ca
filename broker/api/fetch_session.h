/* fetch_session: incremental fetch sessions: what a consumer fetches is remembered, so that requests and responses carry
 * only what changes.
 *
 * Shape:     a cache per worker; a session's id tells its home worker (id % workers), so that a session is found from every
 *            connection. A session holds its partitions in the order in which they are served next: those that returned data
 *            move to the end, so that a response limit starves nobody.
 * Limits:    `slots_max` sessions per cache; a full cache drops its least recently used session if that was idle for
 *            FETCH_SESSION_IDLE_US, else the new fetch goes without one (session id 0), which clients accept.
 * Errors:    Kafka's codes, for they go to the client.
 * Ownership: the cache owns sessions and their partitions. A session may vanish while a fetch that uses it is under way (the
 *            client began anew): fetch_session_find looks it up again.
 * Threads:   the home worker only.
 * Source:    KIP-227, KIP-516 (topic ids); Kafka 4.3 FetchSession's observable behaviour.
 */
#ifndef BROKER_API_FETCH_SESSION_H
#define BROKER_API_FETCH_SESSION_H

#include "common/seam/rng.h"
#include "common/span.h"
#include "common/uuid.h"
#include "proto/wire/error_code.h"

#include <stdint.h>
#include <uthash.h>

#define FETCH_SESSION_NONE 0
#define FETCH_EPOCH_INITIAL 0
#define FETCH_EPOCH_FINAL (-1)
#define FETCH_SESSION_IDLE_US 120000000u
/* Partitions of one session: bounds its memory (about 150 bytes each). */
#define FETCH_SESSION_PARTITIONS_MAX 100000

/* How a partition is named on the wire: by topic id since version 13, by name before. */
struct fetch_partition_name {
    struct uuid topic_id;   /* zero before version 13 */
    struct span topic_name; /* null since version 13 */
    int32_t partition_index;
};

/* What the client asks of one partition. */
struct fetch_wish {
    struct fetch_partition_name name;
    int32_t current_leader_epoch;
    int32_t last_fetched_epoch;
    int64_t fetch_offset;
    int32_t bytes_max;
};

struct fetch_session_partition {
    struct fetch_wish wish;      /* its topic_name points to `key` */
    int64_t sent_high_watermark; /* as last sent, -1: never */
    int64_t sent_log_start_offset;
    struct fetch_session_partition *prev;
    struct fetch_session_partition *next;
    UT_hash_handle hh;
    size_t key_bytes;
    uint8_t key[]; /* partition index, topic id, topic name */
};

struct fetch_session {
    int32_t id;
    int32_t next_epoch;
    bool uses_topic_ids;
    uint64_t used_us;
    struct fetch_session_partition *by_key;
    struct fetch_session_partition *in_order;
    uint32_t partition_count;
    struct fetch_session *prev; /* least recently used first */
    struct fetch_session *next;
    UT_hash_handle hh;
};

struct fetch_session_cache;

/* Ids of this cache are congruent to `worker_index` modulo `worker_count`. */
struct fetch_session_cache *fetch_session_cache_new(struct rng *rng, unsigned worker_index, unsigned worker_count,
                                                    uint32_t slots_max);
void fetch_session_cache_free(struct fetch_session_cache *cache);
uint32_t fetch_session_count(const struct fetch_session_cache *cache);

struct fetch_session *fetch_session_find(struct fetch_session_cache *cache, int32_t id);
/* A new, empty session whose next epoch is 1; NULL when there is no room. */
struct fetch_session *fetch_session_add(struct fetch_session_cache *cache, bool uses_topic_ids, uint64_t now_us);
void fetch_session_remove(struct fetch_session_cache *cache, struct fetch_session *session);
/* Checks id and epoch of an incremental request and advances the epoch. */
enum error_code fetch_session_resume(struct fetch_session_cache *cache, int32_t id, int32_t epoch, bool uses_topic_ids,
                                     uint64_t now_us, struct fetch_session **ret_session);
/* Adds the partition or renews its wish; false beyond FETCH_SESSION_PARTITIONS_MAX. */
bool fetch_session_put(struct fetch_session *session, const struct fetch_wish *wish);
void fetch_session_forget(struct fetch_session *session, const struct fetch_partition_name *name);
struct fetch_session_partition *fetch_session_partition_find(struct fetch_session *session,
                                                             const struct fetch_partition_name *name);
/* Serve the others first next time. */
void fetch_session_move_last(struct fetch_session *session, struct fetch_session_partition *partition);

#endif
