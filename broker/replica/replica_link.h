/* replica_link: the seam between a partition and the streams to other brokers: what a leader's partition tells the streams to its
 * followers, and what a follower's stream may do to its partition. The partition decides; streams carry (broker/stream/).
 *
 * Shape:     leader:   partition_subscribe -> cursor -> on_news (in the step) -> the stream reads the log and sends -> partition_cursor_sent;
 *                      partition_acknowledge moves what the follower counts. on_ended when the leader epoch is over.
 *            follower: on_follow -> subscribe at the leader -> partition_truncate as long as histories diverge ->
 *                      partition_append_replicated -> on_counted (in the step) -> the stream acknowledges. on_unfollow ends it.
 * Units:     *_end and high_watermark are exclusive offsets.
 * Errors:    Kafka's codes where they go to the other side; enum err for the log's own.
 * Ownership: a cursor is a member of the stream's struct; the partition borrows it from partition_subscribe to on_ended or
 *            partition_unsubscribe. `follow_slot` of a partition belongs to the streams.
 * Threads:   the owner worker of the partition only: a stream lives on the worker of its partitions, on both sides.
 * Source:    design.md 6; correctness.md 4, traps 1, 3, 4, 5, 6; KIP-101, KIP-279, KIP-320, KIP-966.
 */
#ifndef BROKER_REPLICA_REPLICA_LINK_H
#define BROKER_REPLICA_REPLICA_LINK_H

#include "broker/storage/log_types.h"
#include "common/span.h"
#include "common/uuid.h"
#include "proto/wire/error_code.h"

struct partition;

/* ---- leader ---- */

struct replica_cursor {
    /* the stream's */
    int32_t broker_id;
    int64_t broker_epoch; /* as its hello said */
    /* There is something to send: appended bytes, a moved high watermark or log start. Called in the step, after the partition has
     * advanced; not again before partition_cursor_sent. */
    void (*on_news)(struct replica_cursor *cursor);
    /* The leader epoch is over, or the replica is no longer one: the partition has let go of the cursor. */
    void (*on_ended)(struct replica_cursor *cursor, enum error_code error);

    /* the partition's */
    struct partition *partition; /* NULL: not subscribed */
    struct replica_cursor *prev, *next;
    int32_t leader_epoch;
    int64_t counted_end; /* as the follower said last; -1: nothing yet */
    bool is_told;
    bool is_new; /* on_news is owed to it, whether or not something has moved */
};

struct replica_subscription {
    int32_t leader_epoch;
    int64_t end_offset;
    int32_t last_epoch; /* LOG_NO_EPOCH: the log is empty */
    struct uuid directory_id;
};

struct replica_position {
    enum error_code
        error;         /* NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, STALE_BROKER_EPOCH, ... */
    bool is_diverging; /* then the cursor was not taken */
    int32_t leader_epoch;
    int32_t diverging_epoch;
    int64_t diverging_end_offset;
    int64_t high_watermark;
    int64_t log_start_offset;
};

/* Takes the cursor when there is neither an error nor a divergence, and tells on_news in the next step. An end_offset below the log
 * start is no divergence: the follower begins anew at log_start_offset (and subscribes again). An older cursor of the same broker is
 * let go of (its on_ended comes inside of this). A broker epoch that the metadata here does not know yet is taken: what it acknowledges
 * counts when the metadata has told of it. A follower whose log is empty and begins above the leader's end diverges at LOG_NO_EPOCH. */
void partition_subscribe(struct partition *partition, const struct replica_subscription *subscription,
                         struct replica_cursor *cursor, struct replica_position *ret_position);
/* Harmless when the partition has let go of it already. */
void partition_unsubscribe(struct replica_cursor *cursor);
/* Everything below end_offset has been handed to the socket: on_news may come again. A stream that leaves bytes behind goes on by
 * itself, no on_news comes for them. */
void partition_cursor_sent(struct replica_cursor *cursor, int64_t end_offset);
/* The follower holds everything below counted_end. Ignored (false) when the epoch is not the present one (trap 5). */
bool partition_acknowledge(struct replica_cursor *cursor, int32_t leader_epoch, int64_t counted_end);

/* ---- follower ---- */

/* What the streams of a worker want to know; given to the partition_set. */
struct partition_follow_events {
    void *ctx;
    /* The partition's log is open and it follows partition->leader_id in partition->leader_epoch. Called again for each later epoch,
     * without an on_unfollow in between. */
    void (*on_follow)(void *ctx, struct partition *partition);
    /* It does not follow any more (leads, offline, closing). The stream drops it before it returns. */
    void (*on_unfollow)(void *ctx, struct partition *partition);
    /* Its counted end has moved. In the step. */
    void (*on_counted)(void *ctx, struct partition *partition);
};

/* Appends what the leader of this epoch sent: whole batches, the first at the log end, or nothing: then only the marks move. Checks offsets, epochs and CRCs; then moves
 * high watermark (min of the leader's and the own counted end) and log start. ERR_STALE: another epoch by now (drop it). ERR_OUT_OF_RANGE,
 * ERR_MALFORMED, ERR_CORRUPT: the stream must subscribe anew. ERR_BUSY: a truncation is under way. I/O errors: the partition is offline
 * when its directory has failed (on_unfollow comes inside of this). */
enum err partition_append_replicated(struct partition *partition, int32_t leader_epoch, struct span batches,
                                     int64_t high_watermark, int64_t log_start_offset) MUST_USE;
/* Cuts the log to `offset` (never below its own log start; is_full: drops everything and begins at `offset`), then done, on the worker, not before
 * this returns, exactly once, also when the partition follows no more by then: ERR_STALE if the epoch is another one. While it runs
 * nothing is appended and the counted end stands still, and a later epoch's on_follow waits. */
void partition_truncate(struct partition *partition, int32_t leader_epoch, int64_t offset, bool is_full,
                        log_done_fn done, void *ctx);
/* Own end of the largest own epoch that is <= leader_epoch: what the follower's truncation point is computed from (trap 1). */
void partition_epoch_end(const struct partition *partition, int32_t leader_epoch, int32_t *ret_epoch,
                         int64_t *ret_end_offset);

#endif
