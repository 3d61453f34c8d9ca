/* How a log ends: closed, with everything on disk and marked, or deleted. */
#include "broker/storage/log_open.h"
#include "broker/storage/remove_tree.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"
#include "common/seam/rng.h"

struct log_close {
    log_done_fn done;
    void *ctx;
    enum err err;
};

static void close_finished(struct partition_log *log)
{
    struct log_close *change = log->change;
    log_done_fn done = change->done;
    void *ctx = change->ctx;
    enum err err = change->err;
    mem_free(change);
    log_state_free(log);
    done(ctx, err);
}

static void note_close_result(void *ctx, enum err err)
{
    struct log_close *change = ctx;
    change->err = err;
}

/* Nothing to write when the marks on disk tell the state already: an idle log closes without touching the disk. */
static bool are_marks_current(const struct partition_log *log)
{
    struct log_marks now;
    log_sync_marks_now(log, &now);
    return now.recovery_offset == log->marks.recovery_offset && now.recovery_segment == log->marks.recovery_segment &&
           now.recovery_pos == log->marks.recovery_pos && now.log_start_offset == log->marks.log_start_offset &&
           now.producers == log->marks.producers && now.counts_high_watermark == log->marks.counts_high_watermark;
}

/* At once, or when the truncation under way has ended. */
static void begin(struct partition_log *log, void *change, void (*begin_change)(struct partition_log *log))
{
    CHECK(log->phase != LOG_CLOSING && log->when_open == NULL);
    log->later_change = change;
    if (log->phase == LOG_CHANGING) {
        log->when_open = begin_change;
    } else {
        begin_change(log);
    }
}

static void close_begin(struct partition_log *log)
{
    struct log_close *change = log->later_change;
    log->phase = LOG_CLOSING;
    log->change = change;
    log->are_marks_wanted = log->are_marks_wanted || !are_marks_current(log);
    log_sync_wait(log, LOG_NO_EPOCH, note_close_result, change);
    log_state_when_quiet(log, close_finished);
}

void partition_log_close(struct partition_log *log, log_done_fn done, void *ctx)
{
    struct log_close *change = MEM_NEW(struct log_close);
    change->done = done;
    change->ctx = ctx;
    begin(log, change, close_begin);
}

struct log_delete {
    struct loop_job job;
    struct partition_log *log;
    struct fs *fs;
    log_done_fn done;
    void *ctx;
    enum err err;
    char *gone_path;
    char *path;
    const char *dir_path;
};

static void delete_work(struct loop_job *job)
{
    struct log_delete *change = CONTAINER_OF(job, struct log_delete, job);
    enum err err = fs_rename(change->fs, change->path, change->gone_path);
    if (err == ERR_OK) {
        err = fs_sync_dir(change->fs, change->dir_path);
    }
    if (err == ERR_OK) {
        err = remove_tree(change->fs, change->gone_path);
    }
    change->err = err;
}

static void delete_done(struct loop_job *job)
{
    struct log_delete *change = CONTAINER_OF(job, struct log_delete, job);
    struct partition_log *log = change->log;
    log_done_fn done = change->done;
    void *ctx = change->ctx;
    enum err err = change->err;
    if (err != ERR_OK) {
        (void)log_state_fail(log, "delete", err);
    }
    mem_free(change->path);
    mem_free(change->gone_path);
    mem_free(change);
    log_state_free(log);
    done(ctx, err);
}

/* No descriptor is given to new readers any more; those who have one keep it. */
static void delete_start(struct partition_log *log)
{
    struct log_delete *change = log->change;
    for (size_t i = 0; i < log->segment_count; i++) {
        log_segment_close_files(log->segments[i], log->files);
    }
    change->job.work = delete_work;
    change->job.done = delete_done;
    loop_submit(log->loop, &change->job);
}

static void delete_begin(struct partition_log *log)
{
    log->phase = LOG_CLOSING;
    log->is_deleting = true;
    log->change = log->later_change;
    log_state_when_quiet(log, delete_start);
}

void partition_log_delete(struct partition_log *log, log_done_fn done, void *ctx)
{
    struct log_delete *change = MEM_NEW(struct log_delete);
    struct uuid unique = uuid_random(log->env->rng);
    char text[UUID_TEXT_BYTES];
    uuid_format(unique, text);
    change->log = log;
    change->fs = log->env->fs;
    change->done = done;
    change->ctx = ctx;
    change->dir_path = log_dir_path(log->dir);
    change->path = mem_strdup(log->path);
    change->gone_path = store_path_marked_dir(log->path, text, LOG_DIR_SUFFIX_DELETE);
    begin(log, change, delete_begin);
}
