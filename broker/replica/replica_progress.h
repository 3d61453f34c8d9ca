/* replica_progress: a leader's view of the replicas of one partition in one leader epoch: what each holds, since when it has been caught
 * up, which ISR to propose, and how far the high watermark may go. It decides; partition.c acts.
 *
 * Shape:     maximal ISR     = committed ISR + members of the proposal under way. What a proposal removes still counts: it is committed.
 *            high watermark  = min(own counted end, counted ends of the maximal ISR and of whoever is about to join), and only
 *                              while the committed ISR has the effective minimum.
 *            joins           = alive, of the incarnation that the metadata knows, counted end >= high watermark and >= the start of this
 *                              leader epoch (a new leader's high watermark may lag behind what is committed).
 *            leaves          = not caught up for the lag time. Caught up as of T: it holds what the log held at T.
 *            proposal        NONE -> WANTED -> IN_FLIGHT -> ANSWERED -> WANTED (again, the same one) ...; -> NONE when the metadata
 *                              shows a later partition epoch, or when a proposal that was refused for a member that is not eligible names
 *                              one that the metadata does not show alive either. One at a time; nothing is believed before the metadata says so.
 * Units:     ends are exclusive offsets; times in microseconds of the loop's clock, passed in.
 * Ownership: owns its array of followers.
 * Threads:   pure, no I/O, no clock.
 * Source:    correctness.md 4, traps 3-5; Kafka's Partition.scala; KIP-497, KIP-841, KIP-903, KIP-966; tests/model.
 */
#ifndef BROKER_REPLICA_REPLICA_PROGRESS_H
#define BROKER_REPLICA_REPLICA_PROGRESS_H

#include "controller/image.h"

/* A proposal without a usable answer is made again after so long. */
#define REPLICA_PROGRESS_RETRY_US 500000u
/* The controller's answers that mean something here. */
#define REPLICA_PROGRESS_OK 0
#define REPLICA_PROGRESS_INELIGIBLE 107 /* INELIGIBLE_REPLICA */

enum replica_proposal { PROPOSAL_NONE, PROPOSAL_WANTED, PROPOSAL_IN_FLIGHT, PROPOSAL_ANSWERED };

/* One replica as the metadata has it. */
struct replica_member {
    int32_t broker_id;
    int64_t broker_epoch; /* of the registered incarnation; -1: none */
    bool is_alive;        /* registered, not fenced, not leaving */
    bool is_in_isr;
};

struct replica_follower {
    struct replica_member member;
    bool is_proposed;    /* in the ISR of the proposal under way */
    int64_t counted_end; /* -1: not known in this leader epoch, of this incarnation */
    bool was_caught_up;  /* caught_up_us means something: it held everything then, or was in the ISR when this began */
    uint64_t caught_up_us;
    int64_t mark_end; /* the log's end at mark_us; -1: no mark */
    uint64_t mark_us;
};

struct replica_progress {
    struct replica_follower *followers; /* every replica but the leader, in the order of the metadata */
    uint32_t follower_count;
    int32_t isr_count; /* committed, the leader included */
    int32_t partition_epoch;
    int64_t epoch_start_offset;
    int64_t log_end;
    enum replica_proposal proposal;
    bool is_recovering; /* KIP-704: the metadata says that the leader was elected uncleanly */
    bool was_ineligible;
    uint64_t retry_us;
};

/* Zeroed memory is an idle one. */
void replica_progress_done(struct replica_progress *progress);

/* A new leader epoch begins with the log's end as it is: nothing is known of anybody. */
void replica_progress_begin(struct replica_progress *progress, int64_t epoch_start_offset, int64_t log_end);
/* The partition as the metadata has it, from replica_progress_begin on: all replicas but the leader. Settles the proposal when
 * partition_epoch has moved. What another incarnation acknowledged is forgotten. */
void replica_progress_set_members(struct replica_progress *progress, const struct replica_member *members,
                                  uint32_t member_count, int32_t partition_epoch, bool is_recovering, uint64_t now_us);

/* The log's end has moved, now. */
void replica_progress_log_end(struct replica_progress *progress, int64_t log_end, uint64_t now_us);
/* False: not a replica, or not the incarnation that the metadata knows; nothing has changed. */
bool replica_progress_acknowledge(struct replica_progress *progress, int32_t broker_id, int64_t broker_epoch,
                                  int64_t counted_end, uint64_t now_us);

/* Where the high watermark may stand; at most `counted_end`, the leader's own. -1: nowhere yet, the ISR is below min_isr
 * or not known. */
int64_t replica_progress_high_watermark(const struct replica_progress *progress, int64_t counted_end, int32_t min_isr,
                                        uint64_t now_us, uint64_t lag_us);

/* Whether a proposal is to be sent now: a new one, or the one under way once more. */
bool replica_progress_decide(struct replica_progress *progress, int64_t high_watermark, uint64_t now_us,
                             uint64_t lag_us);
/* The members of the proposal that is to be sent, without the leader, ascending by id. It is IN_FLIGHT after this. */
uint32_t replica_progress_take(struct replica_progress *progress, struct replica_member *ret_members);
/* The answer to the proposal made at this partition epoch; `code` is a Kafka error code, or anything else when there was no answer. */
void replica_progress_answered(struct replica_progress *progress, int32_t partition_epoch, int code, uint64_t now_us);

/* Time matters: a member of the ISR lags, or a proposal is under way. */
bool replica_progress_is_watched(const struct replica_progress *progress);

#endif
