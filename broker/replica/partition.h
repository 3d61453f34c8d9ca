/* partition: one replica of a partition on this broker: its role, its log, its high watermark, and who waits for it.
 * The only writer of the high watermark.
 *
 * Shape:     OPENING -> LEADER <-> FOLLOWER, each also to itself in a later epoch; any -> OFFLINE (log or directory failed); any -> CLOSING.
 *            partition.c appends and waits, partition_lead.c is the leader's side of replica_link.h, partition_follow.c the follower's,
 *            partition_open.c opens, closes, and takes the role that the metadata gives.
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
#include "broker/replica/refused_batches.h"
#include "broker/replica/replica_progress.h"
#include "broker/replica/topic_settings.h"
#include "broker/storage/partition_log.h"
#include "common/seam/loop.h"
#include "common/uuid.h"
#include "proto/wire/error_code.h"

#include <uthash.h>

struct partition_opening;
struct partition_set;
struct replica_cursor;

enum partition_state {
    PARTITION_OPENING,
    PARTITION_LEADER,
    PARTITION_FOLLOWER, /* also while nobody leads, and on its way to lead: `is_following` says whether it follows somebody */
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
/* So long a leader takes a gap in a producer's sequences for an effect of the change of leaders. */
#define PARTITION_NEW_LEADER_US 1000000u
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
    int32_t leader_id;           /* as the metadata says; -1: nobody */
    int32_t leader_epoch;        /* in which this replica leads or follows; appends are stamped with it */
    int32_t wanted_leader_epoch; /* as the metadata says; begun in the log first (trap 1) */
    int32_t partition_epoch;
    int32_t replica_count;
    int32_t isr_count;         /* committed */
    struct partition_log *log; /* NULL while OPENING or when it could not be opened */
    struct log_dir *dir;       /* that holds it or is to hold it; NULL: not one of this node's */
    struct topic_settings settings;
    bool is_leader_wanted; /* the metadata names this broker as the leader */
    bool is_dirty;         /* in the set's list for the next step */
    bool is_busy;          /* being opened, beginning an epoch, or truncated: a job holds it */
    bool
        is_recovering; /* KIP-704: its leader was elected uncleanly, and the metadata does not know yet that it has recovered */
    bool must_delete; /* asked while busy */
    bool is_damaged;  /* OFFLINE because its log is damaged or gone, not because of the disk */
    bool has_place;   /* `place` is claimed: from the opening until nothing of it is left but this struct */
    struct place_claim place;
    struct partition_opening *opening; /* while the place is waited for */
    int64_t opening_offset;            /* metadata offset that made it open; in the set's list while it opens */
    struct partition *prev;            /* list of those that open */
    struct partition *next;
    int64_t high_watermark;
    struct partition_append *counted_waiters;   /* acks=1, by required_offset */
    struct partition_append *committed_waiters; /* acks=all, by required_offset */
    struct partition_waiter *read_waiters;
    struct refused_batches refused; /* what comes behind them has to wait for them */
    struct partition *next_dirty;
    unsigned gauges; /* bits: in which gauges it is counted (partition_gauges.c) */

    /* leader */
    uint64_t took_over_us; /* of the loop's clock: when another broker's leadership became its; 0: never */
    struct replica_progress progress;
    struct replica_cursor *cursors;
    int64_t news_end; /* what the cursors have been told of */
    int64_t news_high_watermark;
    int64_t news_start;
    bool is_watched; /* in the set's list of those for which time matters */
    struct partition *watch_prev;
    struct partition *watch_next;

    /* follower */
    bool is_following;             /* between on_follow and on_unfollow */
    int64_t told_counted_end;      /* by on_counted */
    int64_t leader_high_watermark; /* as the leader said last in this epoch */
    int64_t told_start_offset;     /* of the leader: up to here was asked to be deleted */
    void *follow_slot;             /* the streams' */
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

/* The only setter of `state`: checks the move. When leadership ends it ends what waits, wakes readers and lets go of the followers'
 * cursors; when following ends it tells the streams. */
void partition_set_state(struct partition *partition, enum partition_state state);

/* A later epoch: what waits belongs to the earlier one and ends. */
void partition_set_leader_epoch(struct partition *partition, int32_t leader_epoch);

/* It leads, in the epoch that the metadata has. */
static inline bool partition_is_leading(const struct partition *partition)
{
    return partition->state == PARTITION_LEADER && partition->is_leader_wanted &&
           partition->leader_epoch == partition->wanted_leader_epoch;
}

/* The step's part: counted end, high watermark, answers, wake-ups. Called by the set for dirty partitions. */
void partition_advance(struct partition *partition);

/* min(min.insync.replicas, replicas) */
int32_t partition_effective_min_isr(const struct partition *partition);

/* ---- for the files that together make the partition, and the set ---- */

/* partition.c: what waits ends with `error`; readers look again. */
void partition_end_waiting(struct partition *partition, enum error_code error);
/* partition.c: the high watermark moves, also forward only in what readers see. */
void partition_set_high_watermark(struct partition *partition, int64_t high_watermark);

/* partition_lead.c: the leader epoch has begun. */
void partition_lead_begin(struct partition *partition);
/* The replicas, the ISR and their incarnations as the metadata has them now. Harmless unless it leads. */
void partition_lead_refresh(struct partition *partition);
/* In the step: the high watermark that the replicas allow, or -1. */
int64_t partition_lead_high_watermark(struct partition *partition, int64_t counted_end);
/* In the step, at its end: news for the cursors, proposals. */
void partition_lead_tell(struct partition *partition);
/* Lets go of every cursor. */
void partition_lead_end(struct partition *partition, enum error_code error);
/* The controller's answer to the proposal made in these epochs. */
void partition_lead_answered(struct partition *partition, int32_t leader_epoch, int32_t partition_epoch, int code);

/* partition_gauges.c: the metrics follow its state; called wherever that may have changed. */
void partition_count(struct partition *partition);
/* The committed ISR changes from `before` members. */
void partition_count_isr(struct partition *partition, int32_t before);
/* It is about to be freed. */
void partition_count_nothing(struct partition *partition);

/* partition_follow.c: it follows leader_id from now on, if that is anybody. */
void partition_follow_begin(struct partition *partition);
void partition_follow_end(struct partition *partition);
/* In the step. */
void partition_follow_tell(struct partition *partition);

#endif
