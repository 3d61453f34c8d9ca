/* What time does to a log: retention, DeleteRecords, expiry of producers, and giving back what an idle log holds. */
#include "broker/storage/batch_scan.h"
#include "broker/storage/log_state.h"
#include "broker/storage/retain.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"

static void want_start(struct partition_log *log, int64_t offset)
{
    if (offset > log->wanted_start_offset) {
        log->wanted_start_offset = offset;
        log->are_marks_wanted = true;
    }
}

void partition_log_delete_records(struct partition_log *log, int64_t offset, log_done_fn done, void *ctx)
{
    if (log->phase != LOG_OPEN) {
        log_state_refuse(log, log->phase == LOG_CHANGING ? ERR_BUSY : ERR_CLOSED, done, ctx);
        return;
    }
    if (offset > log->high_watermark) {
        log_state_refuse(log, ERR_OUT_OF_RANGE, done, ctx);
        return;
    }
    want_start(log, offset);
    log_sync_wait(log, LOG_NO_EPOCH, done, ctx);
}

/* The active segment stays: it is where the next record goes. So does the one that the marks on disk name: recovery begins there. */
void log_retain_drop_old(struct partition_log *log)
{
    size_t count = 0;
    while (count + 1 < log->segment_count && log->segments[count + 1]->base_offset <= log->log_start_offset &&
           log->segments[count]->base_offset < log->marks.recovery_segment) {
        count++;
    }
    if (count == 0) {
        return;
    }
    int64_t *base_offsets = mem_array(count, sizeof(*base_offsets));
    for (size_t i = 0; i < count; i++) {
        base_offsets[i] = log->segments[i]->base_offset;
    }
    log_state_drop_first(log, count);
    log_remove_segments(log, base_offsets, count);
    mem_free(base_offsets);
}

void log_retain_start_moved(struct partition_log *log, int64_t log_start_offset)
{
    log->log_start_offset = log_start_offset;
    if (log->high_watermark < log_start_offset) {
        partition_log_set_high_watermark(log, log_start_offset);
    }
    if (epoch_cache_truncate_start(&log->epochs, log_start_offset)) {
        log->are_epochs_unsaved = true; /* a removal: saved with the next job */
    }
    producer_state_truncate_start(&log->producers, log_start_offset);
}

/* Reads the largest timestamp of a sealed segment: its time index's last entry, if that is true, else its batches say. */
struct timestamp_load {
    struct loop_job job;
    struct partition_log *log;
    struct read_source source;
    int64_t max_timestamp_ms;
    int64_t max_timestamp_offset;
    enum err err;
};

static enum err scan_times(struct timestamp_load *load)
{
    struct batch_scan scan;
    struct batch_header header;
    uint64_t pos = 0;
    enum err err = ERR_OK;
    load->max_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    batch_scan_init(&scan, load->source.log, 0, load->source.bytes, true);
    while ((err = batch_scan_next(&scan, &header, &pos)) == ERR_OK) {
        if (header.max_timestamp_ms > load->max_timestamp_ms) {
            load->max_timestamp_ms = header.max_timestamp_ms;
            load->max_timestamp_offset = batch_last_offset(&header);
        }
    }
    return err == ERR_END ? ERR_OK : err;
}

static void timestamp_work(struct loop_job *job)
{
    struct timestamp_load *load = CONTAINER_OF(job, struct timestamp_load, job);
    struct time_entry entry;
    uint64_t pos = 0;
    enum err err = ERR_CORRUPT;
    if (load->source.time_index != NULL) {
        err = time_index_read(load->source.time_index, load->source.time_entry_count - 1, &entry);
        err = err == ERR_OK ? log_locate_time_entry(&load->source, entry, &pos) : err;
    }
    if (err == ERR_OK) {
        load->max_timestamp_ms = entry.timestamp_ms;
        load->max_timestamp_offset = load->source.base_offset + entry.relative_offset;
    }
    load->err = err == ERR_CORRUPT ? scan_times(load) : err;
}

static void timestamp_done(struct loop_job *job)
{
    struct timestamp_load *load = CONTAINER_OF(job, struct timestamp_load, job);
    struct partition_log *log = load->log;
    struct log_segment *segment = log->segments[log_state_find_segment(log, load->source.base_offset)];
    if (segment->base_offset == load->source.base_offset && segment->max_timestamp_ms == SEGMENT_TIMESTAMP_UNKNOWN) {
        /* Damage costs a segment its age, not its records. */
        bool is_known = load->err == ERR_OK && load->max_timestamp_ms != LOG_NO_TIMESTAMP_MS;
        segment->max_timestamp_ms = is_known ? load->max_timestamp_ms : segment->modified_ms;
        segment->max_timestamp_offset = is_known ? load->max_timestamp_offset : segment->base_offset;
    }
    read_source_done(&load->source);
    mem_free(load);
    log_state_job_done(log);
}

static void load_timestamp(struct partition_log *log, struct log_segment *segment)
{
    struct timestamp_load *load = MEM_NEW(struct timestamp_load);
    /* Without a descriptor now the next round asks again. */
    if (log_time_source(log, segment, INT64_MAX, &load->source) != ERR_OK) {
        read_source_done(&load->source);
        mem_free(load);
        return;
    }
    load->log = log;
    load->job.work = timestamp_work;
    load->job.done = timestamp_done;
    log->job_count++;
    loop_submit(log->loop, &load->job);
}

static int64_t choose_start(const struct partition_log *log, int64_t now_ms)
{
    struct retain_segment *segments = mem_array(log->segment_count, sizeof(*segments));
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct log_segment *segment = log->segments[i];
        segments[i] = (struct retain_segment){
            .base_offset = segment->base_offset,
            .next_base_offset = log_state_segment_end(log, i),
            .bytes = segment->bytes,
            /* Not loaded yet: as if it were from today. */
            .max_timestamp_ms =
                segment->max_timestamp_ms == SEGMENT_TIMESTAMP_UNKNOWN ? now_ms : segment->max_timestamp_ms,
            .modified_ms = segment->modified_ms,
        };
    }
    struct retain_input input = {
        .segments = segments,
        .segment_count = log->segment_count,
        .log_start_offset = log->log_start_offset,
        .high_watermark = log->high_watermark,
        .now_ms = now_ms,
        .retention_ms = log->settings.retention_ms,
        .retention_bytes = log->settings.retention_bytes,
        .has_delete_policy = log->settings.has_delete_policy,
    };
    int64_t start_offset = retain_choose(&input);
    mem_free(segments);
    return start_offset;
}

/* An active segment of old records is closed, so that it can go: else a quiet topic would keep its last records for ever. */
static bool is_active_expired(const struct partition_log *log, int64_t now_ms)
{
    const struct log_segment *active = log_active(log);
    return log->settings.has_delete_policy && log->settings.retention_ms >= 0 && active->bytes > 0 &&
           active->max_timestamp_ms >= 0 && log->high_watermark == log->log_end_offset &&
           now_ms - active->max_timestamp_ms > log->settings.retention_ms;
}

static void go_idle(struct partition_log *log)
{
    if (log->segment_count == 0 || log_dir_is_failed(log->dir)) {
        return;
    }
    if (log->marks.recovery_offset != log->log_end_offset) {
        log->are_marks_wanted = true; /* then recovery has nothing to scan here */
        log_sync_want(log);
        return;
    }
    for (size_t i = 0; i < log->segment_count; i++) {
        log_segment_close_files(log->segments[i], log->files);
    }
    if (log->tail != NULL && log->tail->offset_count == 0 && log->tail->time_count == 0) {
        log_state_free_tail(log);
    }
    log_state_forget_places(log);
}

void partition_log_maintain(struct partition_log *log)
{
    int64_t now_ms = clock_wall_ms(log->env->clock);
    if (log->phase != LOG_OPEN || log_dir_is_failed(log->dir)) {
        return;
    }
    producer_state_expire(&log->producers, now_ms, log->settings.producer_expiration_ms);
    if (is_active_expired(log, now_ms)) {
        enum err err = log_append_roll(log);
        if (err != ERR_OK && err != ERR_TOO_MANY_FILES) {
            (void)log_state_fail(log, "roll", err);
            return;
        }
    }
    bool has_sealed = log->segment_count > 1;
    if (has_sealed && log->settings.retention_ms >= 0 &&
        log->segments[0]->max_timestamp_ms == SEGMENT_TIMESTAMP_UNKNOWN) {
        load_timestamp(log, log->segments[0]);
    }
    if (has_sealed) {
        want_start(log, choose_start(log, now_ms));
    }
    if (log->are_marks_wanted) {
        log_sync_want(log);
    } else if (now_ms - log->appended_ms >= LOG_IDLE_MS || now_ms < log->appended_ms) {
        go_idle(log);
    }
}
