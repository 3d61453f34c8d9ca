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

#include "broker/replica/partition.h"
#include "broker/storage/file_cache.h"
#include "broker/storage/sync_group.h"
#include "controller/image_delta.h"

struct broker_options;
struct env;
struct log_dirs;
struct worker;

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
    void *ctx;
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

/* Adds the rows of the open logs in `dir`. */
void partition_set_checkpoint_rows(struct partition_set *set, struct log_dir *dir, struct log_checkpoint *checkpoint);

#endif
