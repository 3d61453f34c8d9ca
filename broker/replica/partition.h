/* partition: one replica of a partition on this broker: its role, its log, its high watermark, and who waits for it.
 * The only writer of the high watermark.
 *
 * Shape:     OPENING -> LEADER <-> LEADER (a later epoch); any -> OFFLINE (log or directory failed); any -> CLOSING.
 *            counted end  = synced end (durability=synced) or log end (cached)
 *            high watermark = minimum counted end over the maximal ISR, ours included; never moves back, never moves while
 *            the ISR is smaller than the effective minimum, min(min.insync.replicas, replicas).
 * Units:     *_end_offset and high_watermark are exclusive: the next offset.
 * Errors:    appends end with Kafka's error codes, for they go to clients as they are.
 * Ownership: owned by the worker's partition_set. Waiting appends and fetches are borrowed from their requests until their
 *            callback.
 * Threads:   the owner worker only.
 * Source:    correctness.md 4 traps 3, 5, 6, 10; KIP-101, KIP-966; design.md 6.
 */
#ifndef BROKER_REPLICA_PARTITION_H
#define BROKER_REPLICA_PARTITION_H

#include "broker/replica/place_claims.h"
#include "broker/replica/topic_settings.h"
#include "broker/storage/partition_log.h"
#include "common/seam/loop.h"
#include "common/uuid.h"
#include "proto/wire/error_code.h"

#include <uthash.h>

struct partition_opening;
struct partition_set;

enum partition_state {
    PARTITION_OPENING,
    PARTITION_LEADER,
    PARTITION_OFFLINE,
    PARTITION_CLOSING,
};

/* Kafka's acks: how much must hold a batch before its append is answered. */
enum append_acks {
    APPEND_ACKS_NONE = 0,
    APPEND_ACKS_LEADER = 1,
    APPEND_ACKS_ALL = -1,
};

/* How long an append waits for this broker's own sync at least. */
#define PARTITION_DISK_WAIT_US 30000000u
#define PARTITION_MESSAGE_BYTES 224

/* One append under way: the internal call that serves produce, coordinators and controllers alike. Zero it, fill the first
 * part, call partition_append. Bound to the leader epoch at the append (trap 6). */
struct partition_append {
    uint8_t *batch; /* one record batch; stamped in place; lives until `done` */
    size_t batch_bytes;
    enum append_acks acks;
    uint64_t timeout_us;
    bool is_zstd_allowed;
    bool is_internal; /* by a coordinator: may hold control batches, goes to internal topics */
    void (*done)(
        struct partition_append *append); /* exactly once, on the owner worker, maybe before partition_append returns */

    /* result */
    enum error_code error;
    int64_t base_offset;    /* -1 when nothing was appended */
    int64_t append_time_ms; /* -1 unless the topic stamps append time */
    int64_t log_start_offset;
    int32_t bad_record_index;              /* -1: none */
    char message[PARTITION_MESSAGE_BYTES]; /* "" when there is nothing to say */

    /* the partition's own, while it waits */
    struct partition *partition;
    struct partition_append *prev;
    struct partition_append *next;
    int64_t required_offset; /* exclusive */
    struct loop_timer timer;
    bool is_waiting;
};

/* Somebody who wants to know when the high watermark moves or the role ends. One shot. */
struct partition_waiter {
    struct partition_waiter *prev;
    struct partition_waiter *next;
    void (*wake)(struct partition_waiter *waiter);
    bool is_waiting;
};

struct partition_key {
    struct uuid topic_id;
    int32_t partition_index;
};

struct partition {
    struct partition_key key;
    struct partition_set *set;
    char *topic_name;
    enum partition_state state;
    int32_t leader_epoch;        /* in which this replica leads; appends are stamped with it */
    int32_t wanted_leader_epoch; /* as the metadata says; begun in the log first (trap 1) */
    int32_t partition_epoch;
    int32_t replica_count;
    int32_t isr_count;
    struct partition_log *log; /* NULL while OPENING or when it could not be opened */
    struct topic_settings settings;
    bool is_leader_wanted; /* the metadata names this broker as the leader */
    bool is_dirty;         /* in the set's list for the next step */
    bool is_busy;          /* being opened, or beginning an epoch: a job holds it */
    bool must_delete;      /* asked while busy */
    bool has_place;        /* `place` is claimed: from the opening until nothing of it is left but this struct */
    struct place_claim place;
    struct partition_opening *opening; /* while the place is waited for */
    int64_t opening_offset;            /* metadata offset that made it open; in the set's list while it opens */
    struct partition *prev;            /* list of those that open */
    struct partition *next;
    int64_t high_watermark;
    struct partition_append *counted_waiters;   /* acks=1, by required_offset */
    struct partition_append *committed_waiters; /* acks=all, by required_offset */
    struct partition_waiter *read_waiters;
    struct partition *next_dirty;
    int32_t leader_id; /* whom it follows (replica_link.h) */
    void *follow_slot; /* the streams' */
    UT_hash_handle hh;
};

/* Validates, applies the rules of idempotence, appends and answers through append->done when `acks` is fulfilled. */
void partition_append(struct partition *partition, struct partition_append *append);

/* The exclusive end of what a reader at this isolation may see. */
int64_t partition_read_end(const struct partition *partition, bool is_read_committed);

void partition_wait(struct partition *partition, struct partition_waiter *waiter);
/* Harmless when it does not wait. */
void partition_wait_cancel(struct partition *partition, struct partition_waiter *waiter);

/* Fencing of a request that carries the client's idea of the epoch (-1: none): FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH,
 * NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR or NONE. KIP-320. */
enum error_code partition_check_leader(const struct partition *partition, int32_t current_leader_epoch);

/* The only setter of `state`: checks the move, ends waiting appends and wakes readers when leadership ends. */
void partition_set_state(struct partition *partition, enum partition_state state);

/* A later epoch of the same leader: what waits belongs to the earlier one and ends. */
void partition_set_leader_epoch(struct partition *partition, int32_t leader_epoch);

/* The step's part: counted end, high watermark, answers, wake-ups. Called by the set for dirty partitions. */
void partition_advance(struct partition *partition);

#endif
