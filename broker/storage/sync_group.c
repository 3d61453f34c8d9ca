/* Group sync. While one group is on its way to the disk the next one gathers, so under load a group is as large as the disk is
 * slow, and every log pays for one sync per group. How a group is carried out was measured (ADR-0004): few files are synced one
 * by one, spread over a few pool threads, because the journal commits once for all who wait at the same time; many files are
 * cheaper with one syncfs, whose cost does not depend on their number. */
#include "broker/storage/sync_group.h"

#include "broker/storage/log_dir.h"
#include "broker/storage/log_state.h"
#include "broker/storage/sync_item.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

struct sync_share {
    struct loop_job job;
    struct sync_group *group;
    struct sync_item *items;
    size_t item_count;
    bool is_whole;     /* one syncfs for all items */
    bool is_cancelled; /* an item could not be captured */
    enum err err;
};

struct sync_group {
    struct loop *loop;
    struct log_dir *dir;
    struct sync_group_events events;
    struct partition_log *queue;
    struct partition_log **queue_end;
    size_t queue_count;
    struct sync_item *items; /* in flight */
    size_t item_count;
    struct sync_share shares[SYNC_GROUP_JOBS_MAX];
    unsigned shares_in_flight;
    enum err err;
    bool is_failed;
};

struct sync_group *sync_group_new(struct loop *loop, struct log_dir *dir, const struct sync_group_events *events)
{
    struct sync_group *group = MEM_NEW(struct sync_group);
    group->loop = loop;
    group->dir = dir;
    group->events = *events;
    group->queue_end = &group->queue;
    return group;
}

void sync_group_free(struct sync_group *group)
{
    CHECK(sync_group_is_idle(group));
    mem_free(group);
}

bool sync_group_is_idle(const struct sync_group *group)
{
    return group->queue == NULL && group->shares_in_flight == 0;
}

void sync_group_add(struct sync_group *group, struct partition_log *log)
{
    if (log->is_queued_for_sync) {
        return;
    }
    log->is_queued_for_sync = true;
    log->next_for_sync = NULL;
    *group->queue_end = log;
    group->queue_end = &log->next_for_sync;
    group->queue_count++;
}

/* Any thread: one log after the other, each with what depends on it in order. */
static enum err sync_each(struct fs *fs, const struct sync_item *items, size_t count)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = sync_item_write(fs, &items[i]);
        if (err == ERR_OK) {
            err = sync_item_sync(fs, &items[i]);
        }
        if (err == ERR_OK) {
            err = sync_item_commit(fs, &items[i]);
        }
        if (err == ERR_OK) {
            err = sync_item_finish(fs, &items[i], false);
        }
    }
    return err;
}

/* The same for all of them in step: whatever vouches for something is renamed after the syncfs that brought it to the disk. */
static enum err sync_whole(struct fs *fs, struct log_dir *dir, const struct sync_item *items, size_t count)
{
    size_t dir_count = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = sync_item_write(fs, &items[i]);
        dir_count += items[i].wants_dir_sync ? 1 : 0;
    }
    if (err == ERR_OK) {
        err = file_sync_fs(log_dir_lock(dir));
    }
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = sync_item_commit(fs, &items[i]);
    }
    bool are_dirs_synced = dir_count > SYNC_GROUP_FILES_MAX;
    if (err == ERR_OK && are_dirs_synced) {
        err = file_sync_fs(log_dir_lock(dir));
    }
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = sync_item_finish(fs, &items[i], are_dirs_synced);
    }
    return err;
}

static void share_work(struct loop_job *job)
{
    struct sync_share *share = CONTAINER_OF(job, struct sync_share, job);
    struct fs *fs = log_dir_env(share->group->dir)->fs;
    if (log_dir_is_failed(share->group->dir) || share->is_cancelled) {
        share->err = ERR_IO; /* what was captured can't be trusted, and is not tried */
        return;
    }
    share->err = share->is_whole ? sync_whole(fs, share->group->dir, share->items, share->item_count)
                                 : sync_each(fs, share->items, share->item_count);
}

static void fail(struct sync_group *group, enum err err)
{
    log_dir_fail(group->dir, "sync", err);
    if (!group->is_failed) {
        group->is_failed = true;
        if (group->events.on_failed != NULL) {
            group->events.on_failed(group->events.ctx, group->dir, err);
        }
    }
}

/* Which log of a failed group was hurt is not known, and after a failed sync nothing in the directory can be trusted to get to
 * the disk any more: all fail (correctness.md 7). */
static void finish_group(struct sync_group *group)
{
    struct sync_item *items = group->items;
    size_t count = group->item_count;
    group->items = NULL;
    group->item_count = 0;
    if (group->err != ERR_OK) {
        fail(group, group->err);
    }
    for (size_t i = 0; i < count; i++) {
        struct partition_log *log = items[i].log;
        bool has_moved = log_sync_apply(&items[i], group->err);
        if (has_moved && group->events.on_synced != NULL) {
            group->events.on_synced(group->events.ctx, log, log->owner);
        }
        sync_item_done(&items[i]);
        log_state_job_done(log); /* may free the log */
    }
    mem_free(items);
}

static void share_done(struct loop_job *job)
{
    struct sync_share *share = CONTAINER_OF(job, struct sync_share, job);
    struct sync_group *group = share->group;
    if (share->err != ERR_OK && group->err == ERR_OK) {
        group->err = share->err;
    }
    if (--group->shares_in_flight == 0) {
        finish_group(group);
    }
}

static void submit_share(struct sync_group *group, size_t first, size_t count, bool is_whole)
{
    struct sync_share *share = &group->shares[group->shares_in_flight++];
    *share = (struct sync_share){.group = group,
                                 .items = group->items + first,
                                 .item_count = count,
                                 .is_whole = is_whole,
                                 .is_cancelled = group->err != ERR_OK};
    share->job.work = share_work;
    share->job.done = share_done;
    loop_submit(group->loop, &share->job);
}

static void submit(struct sync_group *group, size_t file_count)
{
    if (file_count > SYNC_GROUP_FILES_MAX) {
        submit_share(group, 0, group->item_count, true);
        return;
    }
    size_t jobs = group->item_count < SYNC_GROUP_JOBS_MAX ? group->item_count : SYNC_GROUP_JOBS_MAX;
    size_t first = 0;
    for (size_t i = 0; i < jobs; i++) {
        size_t end = group->item_count * (i + 1) / jobs;
        submit_share(group, first, end - first, false);
        first = end;
    }
}

void sync_group_step(struct sync_group *group)
{
    if (group->queue == NULL || group->shares_in_flight > 0) {
        return;
    }
    size_t file_count = 0;
    struct partition_log *log = group->queue;
    group->items = mem_array(group->queue_count, sizeof(*group->items));
    group->queue = NULL;
    group->queue_end = &group->queue;
    group->queue_count = 0;
    while (log != NULL) {
        struct partition_log *next = log->next_for_sync;
        log->is_queued_for_sync = false;
        log->next_for_sync = NULL;
        enum err err = log_sync_capture(log, &group->items[group->item_count]);
        if (err != ERR_OK && group->err == ERR_OK) {
            group->err = err;
        }
        file_count += sync_item_file_count(&group->items[group->item_count]);
        group->item_count++;
        log = next;
    }
    /* After an error nothing is synced any more; the waiters hear it from the loop, as from a job. */
    submit(group, file_count);
}
