/* sync_group: brings the unsynced bytes of many logs to the disk together. One group per worker and log directory.
 *
 * Shape:     append -> sync_group_add (by partition_log) -> sync_group_step at the end of the iteration captures each
 *            log's dirty files and end offset and submits one job set to the pool; at most one is in flight, so what
 *            arrives meanwhile is the next group. Up to SYNC_GROUP_FILES_MAX dirty files are synced one by one
 *            (fdatasync), more by one syncfs; ADR-0004 has the numbers. New files have their directories synced too.
 * Errors:    the first failed sync fails the log directory for good and is never tried again (correctness.md 7): on_failed
 *            is called once, no log of the group is ever reported synced again.
 * Ownership: the group borrows its logs while they are queued or in flight; partition_log_close waits for that.
 * Threads:   the worker's; the jobs work on references captured at submit.
 * Source:    design.md 6 (group sync), ADR-0004.
 */
#ifndef BROKER_STORAGE_SYNC_GROUP_H
#define BROKER_STORAGE_SYNC_GROUP_H

#include "broker/storage/log_types.h"

/* Decided by measurement: ADR-0004. Up to so many files (and directories) one by one, more by syncfs. */
#define SYNC_GROUP_FILES_MAX 8u
#define SYNC_GROUP_JOBS_MAX 4u

struct partition_log;
struct sync_group;

/* The log's synced end (partition_log_synced_end) has moved. `owner` is what partition_log_attach was given. */
typedef void (*sync_group_synced_fn)(void *ctx, struct partition_log *log, void *owner);
typedef void (*sync_group_failed_fn)(void *ctx, struct log_dir *dir, enum err err);

struct sync_group_events {
    sync_group_synced_fn on_synced;
    sync_group_failed_fn on_failed;
    void *ctx;
};

struct sync_group *sync_group_new(struct loop *loop, struct log_dir *dir, const struct sync_group_events *events);
/* Nothing may be queued or in flight (sync_group_is_idle). */
void sync_group_free(struct sync_group *group);
/* Queues the log; does nothing when it is queued already. Called by partition_log. */
void sync_group_add(struct sync_group *group, struct partition_log *log);
/* Submits what is queued unless a job is in flight. Called in the worker's step, cheap when there is nothing. */
void sync_group_step(struct sync_group *group);
bool sync_group_is_idle(const struct sync_group *group);

#endif
