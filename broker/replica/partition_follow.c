/* The follower's side of a partition: what its leader sends is checked and appended, cut where the histories part, and counted. */
#include "broker/replica/partition_open.h"
#include "broker/replica/replica_link.h"
#include "broker/worker.h"
#include "common/logger.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "proto/record/batch.h"

#include <inttypes.h>

/* ---- the role ---- */

void partition_follow_begin(struct partition *partition)
{
    const struct partition_follow_events *events = &partition->set->options.follow;
    partition->told_counted_end = partition_log_counted_end(partition->log);
    partition->told_start_offset = 0;
    partition->leader_high_watermark = 0;
    if (partition->leader_id < 0) {
        partition_follow_end(partition);
        return;
    }
    partition->is_following = true;
    if (events->on_follow != NULL) {
        events->on_follow(events->ctx, partition);
    }
}

void partition_follow_end(struct partition *partition)
{
    const struct partition_follow_events *events = &partition->set->options.follow;
    if (!partition->is_following) {
        return;
    }
    partition->is_following = false;
    if (events->on_unfollow != NULL) {
        events->on_unfollow(events->ctx, partition);
    }
}

/* The leader's, as far as this replica counts what it has: recovery takes a checkpointed high watermark of a synced topic for a promise
 * that everything below is on disk (storage/log_marks.h). */
static void follow_high_watermark(struct partition *partition, int64_t counted_end)
{
    int64_t high_watermark =
        partition->leader_high_watermark < counted_end ? partition->leader_high_watermark : counted_end;
    if (high_watermark > partition->high_watermark) {
        partition_set_high_watermark(partition, high_watermark);
    }
}

void partition_follow_tell(struct partition *partition)
{
    const struct partition_follow_events *events = &partition->set->options.follow;
    if (!partition->is_following || partition->is_busy) {
        return;
    }
    int64_t counted_end = partition_log_counted_end(partition->log);
    follow_high_watermark(partition, counted_end);
    if (counted_end != partition->told_counted_end && events->on_counted != NULL) {
        partition->told_counted_end = counted_end;
        events->on_counted(events->ctx, partition);
    }
}

/* ---- what the leader sends ---- */

/* It follows somebody in this very epoch, and no later one is known. */
static enum err follow_check(const struct partition *partition, int32_t leader_epoch)
{
    if (partition->state != PARTITION_FOLLOWER || !partition->is_following || leader_epoch != partition->leader_epoch ||
        leader_epoch != partition->wanted_leader_epoch) {
        return ERR_STALE;
    }
    return partition->is_busy ? ERR_BUSY : ERR_OK;
}

/* Nothing damaged, nothing of a later epoch than the leader's, no hole: a compacted log alone may skip offsets. */
static enum err follow_check_batches(const struct partition *partition, struct span batches, int32_t leader_epoch)
{
    int64_t expected = partition_log_end_offset(partition->log);
    struct batch batch;
    enum err err = ERR_OK;
    while ((err = batch_next(&batches, &batch)) == ERR_OK) {
        if (batch_check_crc(&batch) != ERR_OK) {
            return ERR_CORRUPT;
        }
        if (batch.header.partition_leader_epoch > leader_epoch ||
            batch.header.base_offset > INT64_MAX - INT32_MAX - 1) { /* its last offset is an offset */
            return ERR_MALFORMED;
        }
        if (batch.header.base_offset != expected && !partition->settings.policy.is_key_required) {
            return ERR_OUT_OF_RANGE;
        }
        expected = batch_next_offset(&batch.header);
    }
    return err == ERR_END ? ERR_OK : ERR_MALFORMED;
}

static void follow_on_start_moved(void *ctx, enum err err)
{
    (void)ctx;
    (void)err; /* a failed directory has told of itself; anything else is asked for again with the next move */
}

/* Readers and deletions at the leader go before: what it does not give any more is no use here (trap 18). */
static void follow_log_start(struct partition *partition, int64_t log_start_offset)
{
    if (log_start_offset > partition->high_watermark) {
        log_start_offset = partition->high_watermark;
    }
    if (log_start_offset > partition->told_start_offset &&
        log_start_offset > partition_log_start_offset(partition->log)) {
        partition->told_start_offset = log_start_offset;
        partition_log_delete_records(partition->log, log_start_offset, follow_on_start_moved, NULL);
    }
}

static void follow_marks(struct partition *partition, int64_t high_watermark, int64_t log_start_offset)
{
    if (high_watermark > partition->leader_high_watermark) {
        partition->leader_high_watermark = high_watermark;
        partition_set_mark_dirty(partition->set, partition);
    }
    follow_high_watermark(partition, partition_log_counted_end(partition->log));
    follow_log_start(partition, log_start_offset);
}

enum err partition_append_replicated(struct partition *partition, int32_t leader_epoch, struct span batches,
                                     int64_t high_watermark, int64_t log_start_offset)
{
    enum err err = follow_check(partition, leader_epoch);
    if (err == ERR_OK && batches.bytes > 0) {
        err = follow_check_batches(partition, batches, leader_epoch);
        if (err == ERR_OK) {
            err = partition_log_append_as_follower(partition->log, batches);
            err = err == ERR_STALE ? ERR_MALFORMED
                                   : err; /* epochs that fall: not the partition's epoch, which is checked */
            partition_set_mark_dirty(partition->set, partition);
        }
        if (err != ERR_OK) {
            partition_set_write_failed(partition->set, partition_log_dir(partition->log));
        }
    }
    if (err == ERR_OK) {
        follow_marks(partition, high_watermark, log_start_offset);
    }
    return err;
}

/* ---- truncation ---- */

struct follow_cut {
    struct loop_task task;
    struct partition *partition;
    int32_t leader_epoch;
    log_done_fn done;
    void *ctx;
    enum err err;
};

static void follow_cut_refused(struct loop_task *task)
{
    struct follow_cut *change = CONTAINER_OF(task, struct follow_cut, task);
    change->done(change->ctx, change->err);
    mem_free(change);
}

static void follow_on_cut(void *ctx, enum err err)
{
    struct follow_cut *change = ctx;
    struct partition *partition = change->partition;
    bool is_stale = partition->state != PARTITION_FOLLOWER || !partition->is_following ||
                    partition->wanted_leader_epoch != change->leader_epoch;
    if (err == ERR_OK) {
        partition->high_watermark = partition_log_high_watermark(partition->log);
        partition->told_counted_end = partition_log_counted_end(partition->log);
    }
    log_done_fn done = change->done;
    void *done_ctx = change->ctx;
    mem_free(change);
    /* First the stream: it may be told of a later epoch by what comes behind. */
    done(done_ctx, err == ERR_OK && is_stale ? ERR_STALE : err);
    partition_role_job_done(partition, err);
}

void partition_truncate(struct partition *partition, int32_t leader_epoch, int64_t offset, bool is_full,
                        log_done_fn done, void *ctx)
{
    struct follow_cut *change = MEM_NEW(struct follow_cut);
    change->partition = partition;
    change->leader_epoch = leader_epoch;
    change->done = done;
    change->ctx = ctx;
    change->err = follow_check(partition, leader_epoch);
    if (change->err != ERR_OK) {
        change->task.run = follow_cut_refused;
        loop_defer(partition->set->worker->loop, &change->task);
        return;
    }
    log_info(partition->set->env->logger, "replica", "truncated",
             "topic=%s partition=%" PRId32 " leader_epoch=%" PRId32 " to=%" PRId64 " end=%" PRId64 " all=%d",
             partition->topic_name, partition->key.partition_index, leader_epoch, offset,
             partition_log_end_offset(partition->log), is_full);
    partition->is_busy = true;
    if (is_full) {
        partition_log_truncate_fully(partition->log, offset, follow_on_cut, change);
    } else {
        int64_t start_offset = partition_log_start_offset(partition->log);
        partition_log_truncate_to(partition->log, offset < start_offset ? start_offset : offset, follow_on_cut, change);
    }
}

void partition_epoch_end(const struct partition *partition, int32_t leader_epoch, int32_t *ret_epoch,
                         int64_t *ret_end_offset)
{
    int32_t last_epoch = partition_log_last_epoch(partition->log);
    if (last_epoch <= leader_epoch) {
        *ret_epoch = last_epoch;
        *ret_end_offset = partition_log_end_offset(partition->log);
        return;
    }
    partition_log_end_offset_for_epoch(partition->log, leader_epoch, ret_epoch, ret_end_offset);
}
