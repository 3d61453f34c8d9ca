#include "broker/storage/batch_scan.h"
#include "broker/storage/index_read.h"
#include "broker/storage/recover.h"
#include "broker/storage/txn_index.h"

/* A segment so much larger than the interval has index entries, or lost them. */
#define MISSING_INDEX_INTERVALS 16u

static enum err keep_offsets_below(struct partition_log *log, uint64_t pos)
{
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    if (active->offset_entry_count == 0) {
        return ERR_OK;
    }
    uint32_t count = active->offset_entry_count;
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_OFFSET_INDEX, &file);
    while (err == ERR_OK && active->offset_entry_count > 0) {
        uint8_t bytes[OFFSET_INDEX_ENTRY_BYTES];
        err = index_read(file, (uint64_t)(active->offset_entry_count - 1) * sizeof(bytes), bytes, sizeof(bytes), true);
        if (err == ERR_OK && offset_entry_decode(bytes).position < pos) {
            break;
        }
        active->offset_entry_count--;
    }
    if (err != ERR_OK || count == active->offset_entry_count) {
        return err;
    }
    active->is_index_unsynced = true;
    return file_truncate(file, (uint64_t)active->offset_entry_count * OFFSET_INDEX_ENTRY_BYTES);
}

static enum err keep_times_below(struct partition_log *log, int64_t offset)
{
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    if (active->time_entry_count == 0) {
        return ERR_OK;
    }
    uint32_t count = active->time_entry_count;
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_TIME_INDEX, &file);
    while (err == ERR_OK && active->time_entry_count > 0) {
        struct time_entry entry = {0, 0};
        err = time_index_read(file, active->time_entry_count - 1, &entry);
        if (err == ERR_OK && active->base_offset + entry.relative_offset < offset) {
            active->max_timestamp_ms = entry.timestamp_ms;
            active->max_timestamp_offset = active->base_offset + entry.relative_offset;
            active->indexed_timestamp_ms = entry.timestamp_ms;
            break;
        }
        active->time_entry_count--;
    }
    if (err != ERR_OK || count == active->time_entry_count) {
        return err;
    }
    active->is_index_unsynced = true;
    return file_truncate(file, (uint64_t)active->time_entry_count * TIME_INDEX_ENTRY_BYTES);
}

static enum err keep_aborted_below(struct partition_log *log, int64_t offset)
{
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    uint64_t count = active->txn_index_bytes / TXN_INDEX_ENTRY_BYTES;
    if (active->txn_index_bytes == 0) {
        return ERR_OK;
    }
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_TXN_INDEX, &file);
    while (err == ERR_OK && count > 0) {
        uint8_t bytes[TXN_INDEX_ENTRY_BYTES];
        struct aborted_txn txn;
        err = index_read(file, (count - 1) * sizeof(bytes), bytes, sizeof(bytes), true);
        if (err == ERR_OK && txn_entry_decode(bytes, &txn) == ERR_OK && txn.last_offset < offset) {
            break;
        }
        count--;
    }
    if (err != ERR_OK || active->txn_index_bytes == count * TXN_INDEX_ENTRY_BYTES) {
        return err;
    }
    active->is_index_unsynced = true;
    active->txn_index_bytes = count * TXN_INDEX_ENTRY_BYTES;
    return file_truncate(file, active->txn_index_bytes);
}

/* Offset and time entries again, from the headers of the batches below `pos`. */
static enum err rebuild_below(struct partition_log *log, struct log_segment *segment, uint64_t pos)
{
    struct index_tail tail = {.offset_count = 0, .time_count = 0};
    struct batch_scan scan;
    struct batch_header header;
    struct file *file = NULL;
    uint64_t batch_pos = 0;
    segment->offset_entry_count = 0;
    segment->time_entry_count = 0;
    segment->max_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    segment->max_timestamp_offset = LOG_NO_OFFSET;
    segment->indexed_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    enum err err = log_segment_file(segment, log->files, log->path, SEGMENT_LOG, &file);
    if (err != ERR_OK) {
        return err;
    }
    batch_scan_init(&scan, file_ref(file), 0, pos, true);
    while (err == ERR_OK && (err = batch_scan_next(&scan, &header, &batch_pos)) == ERR_OK) {
        if (log_segment_tail_is_full(&tail)) {
            err = log_segment_flush(segment, &tail, log->files, log->path, false);
        }
        if (err == ERR_OK) {
            log_segment_note_batch(segment, &tail, &header, batch_pos, log->settings.index_interval_bytes);
        }
    }
    file_unref(scan.file);
    if (err != ERR_END) {
        return err;
    }
    segment->is_index_unsynced = true;
    return log_segment_flush(segment, &tail, log->files, log->path, true);
}

static bool is_index_missing(const struct partition_log *log, const struct log_segment *segment, uint64_t pos)
{
    uint64_t surely_bytes = (uint64_t)log->settings.index_interval_bytes * MISSING_INDEX_INTERVALS;
    return pos > surely_bytes + BATCH_SCAN_WINDOW_BYTES &&
           (segment->offset_entry_count == 0 || segment->time_entry_count == 0);
}

/* The first batch's timestamp tells when the segment rolls by age. */
static enum err load_first_timestamp(struct partition_log *log, uint64_t pos)
{
    struct log_segment *active = log_active(log);
    struct batch_scan scan;
    struct batch_header header;
    struct file *file = NULL;
    uint64_t batch_pos = 0;
    if (pos == 0) {
        return ERR_OK;
    }
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_LOG, &file);
    if (err != ERR_OK) {
        return err;
    }
    batch_scan_init(&scan, file, 0, pos < BATCH_SCAN_WINDOW_BYTES ? pos : active->bytes, true);
    err = batch_scan_next(&scan, &header, &batch_pos);
    if (err == ERR_OK) {
        active->first_timestamp_ms = header.max_timestamp_ms;
    }
    return err;
}

enum err recover_reset_indexes(struct partition_log *log, uint64_t pos, int64_t offset)
{
    struct log_segment *active = log_active(log);
    active->max_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    active->max_timestamp_offset = LOG_NO_OFFSET;
    active->indexed_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    enum err err = keep_offsets_below(log, pos);
    if (err == ERR_OK) {
        err = keep_times_below(log, offset);
    }
    if (err == ERR_OK) {
        err = keep_aborted_below(log, offset);
    }
    if (err == ERR_OK) {
        err = load_first_timestamp(log, pos);
    }
    bool is_missing = is_index_missing(log, active, pos) || (pos > 0 && active->time_entry_count == 0);
    if (err == ERR_OK && is_missing) {
        err = rebuild_below(log, active, pos);
    }
    return err;
}

enum err recover_missing_indexes(struct partition_log *log, struct log_segment *segment)
{
    bool is_missing =
        segment->bytes > 0 && (is_index_missing(log, segment, segment->bytes) || segment->time_entry_count == 0);
    return is_missing ? rebuild_below(log, segment, segment->bytes) : ERR_OK;
}

enum err recover_sync_indexes(struct partition_log *log, struct log_segment *segment)
{
    const bool exists[SEGMENT_FILE_COUNT] = {
        [SEGMENT_OFFSET_INDEX] = segment->offset_entry_count > 0,
        [SEGMENT_TIME_INDEX] = segment->time_entry_count > 0,
        [SEGMENT_TXN_INDEX] = segment->txn_index_bytes > 0,
    };
    enum err err = ERR_OK;
    if (!segment->is_index_unsynced) {
        return ERR_OK;
    }
    for (unsigned which = SEGMENT_OFFSET_INDEX; which < SEGMENT_FILE_COUNT && err == ERR_OK; which++) {
        struct file *file = NULL;
        if (exists[which]) {
            err = log_segment_file(segment, log->files, log->path, (enum segment_file)which, &file);
            err = err == ERR_OK ? file_sync(file) : err;
        }
    }
    segment->is_index_unsynced = false;
    return err;
}
