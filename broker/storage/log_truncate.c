/* Truncation. Readers may still send bytes of the files that there are (trap 20), so none is shortened or overwritten: the segment
 * that holds the new end is copied up to it and the copy renamed over it; segments above are unlinked. Then the log is opened
 * again from its directory: indexes, epochs and producers follow by the same code that runs after a crash, and a crash in the
 * middle leaves a state which that code takes for an ordinary one.
 * The marks are lowered first: they must never vouch for more than is there (trap 17). */
#include "broker/storage/batch_scan.h"
#include "broker/storage/log_open.h"
#include "broker/storage/remove_tree.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

#include <stdlib.h>

#define COPY_BUFFER_BYTES (128u << 10) /* each thread of the pool keeps as much (posix_env.c) */

struct log_truncation {
    struct loop_job job;
    struct partition_log *log;
    struct fs *fs;
    int64_t offset;
    bool drops_all;
    log_done_fn done;
    void *ctx;
    /* for the job: values of the log, which waits */
    struct log_settings settings;
    struct log_marks marks;
    int64_t *base_offsets;
    size_t base_count;
    int64_t kept_base_offset; /* of the segment that holds the new end */
    /* found by the job */
    int64_t end_offset;
    uint64_t kept_bytes;
    struct partition_log *fresh;
    struct option_problem problem;
    enum err err;
};

static enum err unlink_segment(const struct log_truncation *change, int64_t base_offset)
{
    enum err err = ERR_OK;
    for (unsigned which = 0; which < SEGMENT_FILE_COUNT && err == ERR_OK; which++) {
        struct store_path path =
            store_path_segment(change->log->path, base_offset, log_segment_suffix((enum segment_file)which));
        err = fs_unlink(change->fs, path.text);
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    return err;
}

/* The last place at or below change->offset where a batch begins: a batch is kept whole or dropped whole. */
static enum err find_end(struct log_truncation *change)
{
    struct store_path path = store_path_segment(change->log->path, change->kept_base_offset, STORE_SUFFIX_LOG);
    struct batch_scan scan;
    struct batch_header header;
    struct file *file = NULL;
    uint64_t bytes = 0;
    uint64_t pos = 0;
    enum err err = fs_open(change->fs, path.text, FS_OPEN_READ, &file);
    if (err != ERR_OK) {
        return err;
    }
    err = file_size(file, &bytes);
    batch_scan_init(&scan, file, 0, bytes, true);
    change->end_offset = change->kept_base_offset;
    change->kept_bytes = 0;
    while (err == ERR_OK && (err = batch_scan_next(&scan, &header, &pos)) == ERR_OK &&
           batch_next_offset(&header) <= change->offset) {
        change->end_offset = batch_next_offset(&header);
        change->kept_bytes = scan.pos;
    }
    file_unref(file);
    return err == ERR_END ? ERR_OK : err;
}

static enum err copy_bytes(struct file *from, struct file *to, uint64_t bytes)
{
    uint8_t *buffer = mem_alloc(COPY_BUFFER_BYTES);
    enum err err = ERR_OK;
    for (uint64_t pos = 0; pos < bytes && err == ERR_OK;) {
        size_t part_bytes = bytes - pos < COPY_BUFFER_BYTES ? (size_t)(bytes - pos) : COPY_BUFFER_BYTES;
        size_t read_bytes = 0;
        err = file_pread(from, buffer, part_bytes, pos, &read_bytes);
        if (err == ERR_OK && read_bytes != part_bytes) {
            err = ERR_CORRUPT;
        }
        if (err == ERR_OK) {
            struct span span = span_make(buffer, part_bytes);
            err = file_pwritev(to, &span, 1, pos);
        }
        pos += part_bytes;
    }
    mem_free(buffer);
    return err == ERR_OK ? file_sync(to) : err;
}

/* Replaces the segment by its beginning. Its indexes are cut when the log is opened again. */
static enum err shorten_segment(const struct log_truncation *change)
{
    struct store_path path = store_path_segment(change->log->path, change->kept_base_offset, STORE_SUFFIX_LOG);
    struct store_path cleaned = store_path_add(&path, STORE_SUFFIX_CLEANED);
    struct file *from = NULL;
    struct file *to = NULL;
    enum err err = fs_open(change->fs, path.text, FS_OPEN_READ, &from);
    if (err == ERR_OK) {
        err = fs_open(change->fs, cleaned.text, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &to);
    }
    if (err == ERR_OK) {
        err = copy_bytes(from, to, change->kept_bytes);
    }
    if (err == ERR_OK) {
        err = fs_rename(change->fs, cleaned.text, path.text);
    }
    file_unref(from);
    file_unref(to);
    return err;
}

static enum err remove_snapshots_above(const struct log_truncation *change)
{
    struct name_list names;
    enum err err = name_list_read(change->fs, change->log->path, &names);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < names.count && err == ERR_OK; i++) {
        int64_t offset = 0;
        if (store_path_parse_segment(names.names[i], STORE_SUFFIX_SNAPSHOT, &offset) && offset > change->offset) {
            struct store_path path = store_path_join(change->log->path, names.names[i]);
            err = fs_unlink(change->fs, path.text);
        }
    }
    name_list_done(&names);
    return err;
}

/* The marks from which recovery leads to the truncated log, whenever it runs. */
static void lower_marks(struct log_truncation *change)
{
    struct log_marks *marks = &change->marks;
    if (change->drops_all) {
        marks->is_discarded = true;
        marks->log_start_offset = change->offset;
        marks->producers = MARKS_PRODUCERS_NONE;
        marks->cap_offset = change->offset;
        return;
    }
    if (change->end_offset < marks->recovery_offset) {
        marks->recovery_segment = change->kept_base_offset;
        marks->recovery_offset = change->kept_base_offset;
        marks->recovery_pos = 0;
        marks->producers = MARKS_PRODUCERS_UNKNOWN;
    }
    /* The log start may lie inside the batch that goes. */
    if (change->end_offset < marks->log_start_offset) {
        marks->log_start_offset = change->end_offset;
    }
    if (change->end_offset < marks->cap_offset) {
        marks->cap_offset = change->end_offset;
    }
}

static enum err change_files(struct log_truncation *change)
{
    size_t index = change->base_count;
    enum err err = change->drops_all ? ERR_OK : find_end(change);
    if (err != ERR_OK) {
        return err;
    }
    lower_marks(change);
    err = log_marks_write(change->fs, change->log->path, &change->marks);
    if (err != ERR_OK || change->drops_all) {
        return err; /* the discard is in the marks: opening carries it out */
    }
    err = remove_snapshots_above(change);
    while (err == ERR_OK && change->base_offsets[index - 1] > change->kept_base_offset) {
        err = unlink_segment(change, change->base_offsets[--index]);
    }
    if (err == ERR_OK) {
        err = shorten_segment(change);
    }
    return err == ERR_OK ? fs_sync_dir(change->fs, change->log->path) : err;
}

static void truncation_work(struct loop_job *job)
{
    struct log_truncation *change = CONTAINER_OF(job, struct log_truncation, job);
    struct partition_log *log = change->log;
    struct partition_log_id id = {log->topic, log->partition_index, log->topic_id};
    change->err = change_files(change);
    if (change->err == ERR_OK) {
        change->err = log_open_state(log->dir, &id, &change->settings, &change->fresh, &change->problem);
    }
}

/* Moves the contents of `fresh` into the log, which keeps its identity and its place. */
static void take_state(struct partition_log *log, struct partition_log *fresh)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        log_segment_free(log->segments[i], log->files);
    }
    mem_free(log->segments);
    mem_free(log->tail);
    epoch_cache_done(&log->epochs);
    producer_state_done(&log->producers);
    log->segments = fresh->segments;
    log->segment_count = fresh->segment_count;
    log->segment_capacity = fresh->segment_capacity;
    log->tail = fresh->tail;
    log->bytes_since_entry = fresh->bytes_since_entry;
    log->epochs = fresh->epochs;
    log->producers = fresh->producers;
    log->marks = fresh->marks;
    log->log_start_offset = fresh->log_start_offset;
    log->wanted_start_offset = fresh->wanted_start_offset;
    log->log_end_offset = fresh->log_end_offset;
    log->synced_end_offset = fresh->synced_end_offset;
    log->older_snapshot_offset = fresh->older_snapshot_offset;
    log->bytes_since_marks = 0;
    log->appendable_epoch = LOG_NO_EPOCH;
    log->are_epochs_unsaved = false;
    log->unsaved_epoch_offset = LOG_NO_OFFSET;
    log->are_marks_wanted = fresh->are_marks_wanted;
    log_state_forget_places(log);
    fresh->segments = NULL;
    fresh->segment_count = 0;
    fresh->tail = NULL;
    epoch_cache_init(&fresh->epochs);
    producer_state_init(&fresh->producers);
    log_state_free(fresh);
    int64_t high_watermark = log->high_watermark;
    if (high_watermark > log->log_end_offset) {
        high_watermark = log->log_end_offset;
    }
    if (high_watermark < log->log_start_offset) {
        high_watermark = log->log_start_offset;
    }
    partition_log_set_high_watermark(log, high_watermark);
}

static void truncation_done(struct loop_job *job)
{
    struct log_truncation *change = CONTAINER_OF(job, struct log_truncation, job);
    struct partition_log *log = change->log;
    log_done_fn done = change->done;
    void *ctx = change->ctx;
    enum err err = change->err;
    if (err == ERR_OK) {
        take_state(log, change->fresh);
    } else {
        (void)log_state_fail(log, change->problem.text[0] == '\0' ? "truncation" : change->problem.text, err);
    }
    log->change = NULL;
    log->phase = LOG_OPEN;
    log->is_change_running = false;
    mem_free(change->base_offsets);
    mem_free(change);
    if (log->waiters != NULL || log->are_marks_wanted) {
        log_sync_want(log);
    }
    if (log->when_open != NULL) {
        log->when_open(log);
    }
    done(ctx, err);
}

static void truncation_start(struct partition_log *log)
{
    struct log_truncation *change = log->change;
    log->is_change_running = true;
    change->marks = log->marks;
    if (log_dir_written_generation(log->dir) > change->marks.cap_generation) {
        change->marks.cap_offset = LOG_MARKS_CAP_NONE; /* the sets that it was about are gone */
    }
    change->marks.cap_generation = log_dir_generation(log->dir);
    change->kept_base_offset = log->segments[log_state_find_segment(log, change->offset)]->base_offset;
    change->settings = log->settings;
    change->base_offsets = mem_array(log->segment_count, sizeof(int64_t));
    change->base_count = log->segment_count;
    for (size_t i = 0; i < log->segment_count; i++) {
        change->base_offsets[i] = log->segments[i]->base_offset;
    }
    change->job.work = truncation_work;
    change->job.done = truncation_done;
    loop_submit(log->loop, &change->job);
}

/* Until the job has ended the log has the state of before, and the directory may have the one after. A checkpoint set that is begun now is younger
 * than the cap in the marks, so its row must be true of both. */
int64_t log_truncation_floor(const struct partition_log *log)
{
    const struct log_truncation *change = log->change;
    if (!log->is_change_running) {
        return INT64_MAX;
    }
    return change->kept_base_offset < change->offset ? change->kept_base_offset : change->offset;
}

static void begin(struct partition_log *log, int64_t offset, bool drops_all, log_done_fn done, void *ctx)
{
    CHECK(offset >= 0);
    if (log->phase != LOG_OPEN) {
        log_state_refuse(log, log->phase == LOG_CHANGING ? ERR_BUSY : ERR_CLOSED, done, ctx);
        return;
    }
    struct log_truncation *change = MEM_NEW(struct log_truncation);
    change->log = log;
    change->fs = log->env->fs;
    change->offset = offset;
    change->drops_all = drops_all;
    change->done = done;
    change->ctx = ctx;
    log->phase = LOG_CHANGING;
    log->change = change;
    log_state_when_quiet(log, truncation_start);
}

void partition_log_truncate_to(struct partition_log *log, int64_t offset, log_done_fn done, void *ctx)
{
    if (offset >= log->log_end_offset && log->phase == LOG_OPEN) {
        /* No record goes. But an epoch that was begun here and wrote nothing does: else whoever led in it, and follows an older epoch's
         * records now, would diverge from them for ever (trap 1; Kafka's UnifiedLog.truncateTo). */
        if (offset == log->log_end_offset && epoch_cache_truncate_end(&log->epochs, offset)) {
            log->are_epochs_unsaved = true;
            log->appendable_epoch = LOG_NO_EPOCH;
        }
        log_sync_wait(log, LOG_NO_EPOCH, done, ctx); /* the answer comes from the loop */
        return;
    }
    begin(log, offset, offset < log->segments[0]->base_offset, done, ctx);
}

void partition_log_truncate_fully(struct partition_log *log, int64_t offset, log_done_fn done, void *ctx)
{
    begin(log, offset, true, done, ctx);
}
