#include "broker/storage/batch_scan.h"
#include "broker/storage/index_read.h"
#include "broker/storage/producer_snapshot.h"
#include "broker/storage/recover.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"

/* A control record with everything around it is small; a larger control batch is none of ours. */
#define CONTROL_BATCH_BYTES_MAX 4096u

static enum err load_snapshot(struct partition_log *log, int64_t offset)
{
    struct store_path path = store_path_segment(log->path, offset, STORE_SUFFIX_SNAPSHOT);
    struct bytebuf bytes;
    bytebuf_init(&bytes, SIDE_FILE_BYTES_MAX);
    enum err err = side_file_read(log->env->fs, path.text, &bytes);
    if (err == ERR_OK) {
        err = producer_snapshot_decode(bytebuf_span(&bytes), clock_wall_ms(log->env->clock), &log->producers);
    }
    bytebuf_done(&bytes);
    return err;
}

/* The newest good snapshot at or below `offset`; LOG_NO_OFFSET when there is none. */
static int64_t load_best_snapshot(struct partition_log *log, const int64_t *offsets, size_t count, int64_t offset)
{
    for (size_t i = count; i > 0; i--) {
        if (offsets[i - 1] <= offset && load_snapshot(log, offsets[i - 1]) == ERR_OK) {
            return offsets[i - 1];
        }
    }
    return LOG_NO_OFFSET;
}

static enum err read_marker(struct file *file, uint64_t pos, const struct batch_header *header,
                            struct control_marker *ret_marker)
{
    uint8_t bytes[CONTROL_BATCH_BYTES_MAX];
    struct batch batch;
    if (header->batch_bytes > sizeof(bytes)) {
        return ERR_UNSUPPORTED;
    }
    enum err err = index_read(file, pos, bytes, header->batch_bytes, true);
    if (err == ERR_OK) {
        err = batch_parse(span_make(bytes, header->batch_bytes), &batch);
    }
    return err == ERR_OK ? control_batch_parse(&batch, ret_marker) : err;
}

struct replay {
    int64_t producers_from; /* the producers' state already has what is below */
    int64_t end_offset;
    bool wants_epochs;
};

static enum err replay_segment(struct partition_log *log, struct log_segment *segment, const struct replay *replay)
{
    struct batch_scan scan;
    struct batch_header header;
    struct file *file = NULL;
    uint64_t pos = 0;
    int64_t now_ms = clock_wall_ms(log->env->clock);
    enum err err = log_segment_file(segment, log->files, log->path, SEGMENT_LOG, &file);
    if (err != ERR_OK) {
        return err;
    }
    batch_scan_init(&scan, file, 0, segment->bytes, true);
    while ((err = batch_scan_next(&scan, &header, &pos)) == ERR_OK) {
        struct control_marker marker;
        struct aborted_txn aborted;
        bool is_marker = false;
        if (header.base_offset >= replay->end_offset) {
            return ERR_OK;
        }
        if (replay->wants_epochs && header.partition_leader_epoch >= 0) {
            (void)epoch_cache_assign(&log->epochs, header.partition_leader_epoch, header.base_offset);
        }
        if (header.base_offset < replay->producers_from) {
            continue;
        }
        if (batch_is_control(&header)) {
            err = read_marker(file, pos, &header, &marker);
            is_marker = err == ERR_OK;
            if (err == ERR_IO) {
                return err;
            }
        }
        /* What it aborts is in the .txnindex, which is as old as the segment. */
        (void)producer_state_update(&log->producers, &header, is_marker ? &marker : NULL, now_ms, &aborted);
    }
    return err == ERR_END ? ERR_OK : err;
}

enum err recover_producers(struct partition_log *log, const struct log_marks *marks, const int64_t *snapshot_offsets,
                           size_t snapshot_count, int64_t offset, bool wants_epochs)
{
    struct replay replay = {.producers_from = offset, .end_offset = offset, .wants_epochs = wants_epochs};
    bool is_at_marks = offset == marks->recovery_offset;
    bool are_known =
        (is_at_marks && marks->producers == MARKS_PRODUCERS_NONE) ||
        (is_at_marks && marks->producers == MARKS_PRODUCERS_SNAPSHOT && load_snapshot(log, offset) == ERR_OK);
    if (!are_known) {
        replay.producers_from = load_best_snapshot(log, snapshot_offsets, snapshot_count, offset);
    }
    if (replay.producers_from == offset && !wants_epochs) {
        return ERR_OK;
    }
    enum err err = ERR_OK;
    for (size_t i = 0; i < log->segment_count && err == ERR_OK; i++) {
        int64_t end_offset = i + 1 < log->segment_count ? log->segments[i + 1]->base_offset : INT64_MAX;
        bool is_useful = wants_epochs || end_offset > replay.producers_from;
        if (is_useful && log->segments[i]->base_offset < offset) {
            err = replay_segment(log, log->segments[i], &replay);
        }
    }
    return err;
}

static enum err write_snapshot(struct partition_log *log, int64_t offset)
{
    struct store_path path = store_path_segment(log->path, offset, STORE_SUFFIX_SNAPSHOT);
    struct bytebuf bytes;
    bytebuf_init(&bytes, SIDE_FILE_BYTES_MAX);
    enum err err = producer_snapshot_encode(&log->producers, &bytes);
    if (err == ERR_OK) {
        err = side_file_replace(log->env->fs, log->path, path.text, bytebuf_span(&bytes));
    }
    bytebuf_done(&bytes);
    return err;
}

enum err recover_write_marks(struct partition_log *log)
{
    struct log_marks marks;
    enum err err = log_segment_flush(log_active(log), log_state_tail(log), log->files, log->path, true);
    for (size_t i = 0; i < log->segment_count && err == ERR_OK; i++) {
        err = recover_sync_indexes(log, log->segments[i]);
    }
    log_sync_marks_now(log, &marks);
    if (err == ERR_OK && marks.producers == MARKS_PRODUCERS_SNAPSHOT) {
        err = write_snapshot(log, marks.recovery_offset);
        if (log->marks.producers == MARKS_PRODUCERS_SNAPSHOT && log->marks.recovery_offset != marks.recovery_offset) {
            log->older_snapshot_offset = log->marks.recovery_offset;
        }
    } else if (err == ERR_OK) {
        err = fs_sync_dir(log->env->fs, log->path); /* new index files */
    }
    if (err == ERR_OK) {
        err = log_marks_write(log->env->fs, log->path, &marks);
        log->marks = marks;
    }
    return err;
}
