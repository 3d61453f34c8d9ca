/* partition_set: the partitions of one worker: made, changed and removed as the metadata says; and the worker's step over
 * those that have news.
 *
 * Shape:     a hash table by (topic id, index); a list of dirty partitions; one sync group per log directory; a file cache.
 * Limits:    PARTITION_SET_FILES_MAX descriptors for segments.
 * Ownership: owns its partitions and their logs; logs are opened and closed in the pool.
 * Threads:   the worker's own, except new and free.
 * Source:    design.md 5, 8; correctness.md 4 trap 16 (identity), 5 (metadata applied in order).
 */
#ifndef BROKER_REPLICA_PARTITION_SET_H
#define BROKER_REPLICA_PARTITION_SET_H

#include "broker/replica/isr_proposer.h"
#include "broker/replica/partition.h"
#include "broker/replica/replica_link.h"
#include "broker/storage/file_cache.h"
#include "broker/storage/sync_group.h"
#include "controller/image_delta.h"

struct broker_options;
struct env;
struct log_dirs;
struct worker;

/* replica.lag.time.max.ms of a set without options. */
#define PARTITION_SET_LAG_US_DEFAULT 30000000u
/* How often each log is asked whether retention, a roll by age or expiry is due. */
#define PARTITION_SET_MAINTAIN_US 10000000u

struct partition_set_options {
    int32_t broker_id;
    const struct broker_options *defaults; /* of topics that set nothing themselves */
    size_t files_max;
    struct place_claims *places; /* shared by all sets of the node */
    /* Everything up to this metadata offset is applied and its partitions are open (or have failed). On the worker. */
    void (*on_applied)(void *ctx, struct worker *worker, int64_t metadata_offset);
    /* Every log of the set is closed (partition_set_stop). */
    void (*on_stopped)(void *ctx, struct worker *worker);
    /* A log directory has failed; its partitions here are offline. Every other worker is to be told by
     * partition_set_dir_failed. */
    void (*on_dir_failed)(void *ctx, struct worker *worker, struct log_dir *dir);
    /* The first change since the last checkpoint. */
    void (*on_checkpoint_due)(void *ctx, struct worker *worker);
    /* Proposals of a step, for isr_proposer_offer; NULL: this node proposes nothing. Takes the batch. */
    void (*propose)(void *ctx, struct worker *worker, struct isr_batch *batch);
    void *ctx;
    struct partition_follow_events follow; /* of the worker's streams */
};

struct partition_set {
    struct worker *worker;
    struct env *env;
    struct log_dirs *log_dirs;
    struct partition_set_options options;
    struct partition *by_key;
    struct partition *dirty_first;
    struct partition *dirty_last;
    struct partition *opening; /* in the order of opening_offset */
    struct file_cache files;
    struct sync_group **sync_groups; /* in the order of log_dirs */
    struct decompressor *decompressor;
    int64_t metadata_offset; /* last applied */
    int64_t reported_offset;
    struct loop_timer maintain_timer;
    struct isr_batch *proposals; /* of this step */
    struct partition *watched;   /* leaders with a lagging member of the ISR, or with a proposal under way */
    struct loop_timer watch_timer;
    bool is_watching; /* the timer is armed */
    bool is_stopping;
    bool is_checkpoint_due; /* something was appended since the last checkpoint (replica/checkpointer.h) */
};

struct partition_set *partition_set_new(struct worker *worker, struct env *env, struct log_dirs *log_dirs,
                                        const struct partition_set_options *options);
/* After on_stopped. */
void partition_set_free(struct partition_set *set);

/* NULL when this worker has no such partition. */
struct partition *partition_set_find(struct partition_set *set, struct uuid topic_id, int32_t partition_index);

/* Acts on a change of the metadata, in the order of offsets. */
void partition_set_apply(struct partition_set *set, const struct image *image, const struct image_delta *delta);

/* Puts the partition on the list for this iteration's step. */
void partition_set_mark_dirty(struct partition_set *set, struct partition *partition);
/* Stages 1 to 3 of the worker's step (broker/worker.h). */
void partition_set_step(struct partition_set *set);

/* Arms the maintenance timer; before or while the loop runs. */
void partition_set_start(struct partition_set *set);
/* Ends every partition: syncs, closes; then on_stopped. */
void partition_set_stop(struct partition_set *set);

/* Takes every partition of a failed directory offline. Harmless when that has happened already. */
void partition_set_dir_failed(struct partition_set *set, struct log_dir *dir);

/* For partition.c and partition_open.c: progress of openings, a failed write, the end of a partition. */
void partition_set_report_applied(struct partition_set *set);
void partition_set_write_failed(struct partition_set *set, struct log_dir *dir);
void partition_set_forget(struct partition_set *set, struct partition *partition);

/* partition_set_isr.c, for partition_lead.c and the set itself. */
uint64_t partition_set_lag_us(const struct partition_set *set);
/* Time matters for the partition: its step is run again every now and then. */
void partition_set_watch(struct partition_set *set, struct partition *partition);
/* Harmless when it is not watched. */
void partition_set_unwatch(struct partition_set *set, struct partition *partition);
void partition_set_stop_watching(struct partition_set *set);
bool partition_set_can_propose(const struct partition_set *set);
/* `members`: without this broker, ascending by id. */
void partition_set_propose(struct partition_set *set, const struct partition *partition,
                           const struct replica_member *members, uint32_t member_count);
void partition_set_send_proposals(struct partition_set *set);

/* Adds the rows of the logs in `dir`; of those that are not open, what the files that were loaded say of them. */
void partition_set_checkpoint_rows(struct partition_set *set, struct log_dir *dir, struct log_checkpoint *checkpoint);

#endif
