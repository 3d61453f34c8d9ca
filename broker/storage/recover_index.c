#include "broker/storage/batch_scan.h"
#include "broker/storage/index_read.h"
#include "broker/storage/log_locate.h"
#include "broker/storage/recover.h"
#include "broker/storage/store_path.h"
#include "broker/storage/txn_index.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

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

/* Takes the largest time below `pos` from the last entry that is left, and from the batches behind it. ERR_CORRUPT when the entry is
 * not true: no checksum covers an index, and after a power loss it may hold pages that were never written. */
static enum err trust_times(struct partition_log *log, struct time_entry last, uint64_t pos)
{
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    struct batch_scan scan;
    struct batch_header header;
    uint64_t batch_pos = 0;
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_LOG, &file);
    if (err != ERR_OK) {
        return err;
    }
    struct read_source source = {.log = file_ref(file),
                                 .base_offset = active->base_offset,
                                 .bytes = pos,
                                 .offset_entry_count = active->offset_entry_count,
                                 .start = {LOG_NO_OFFSET, 0},
                                 .end = {LOG_NO_OFFSET, 0}};
    if (active->offset_entry_count > 0) {
        err = log_segment_file(active, log->files, log->path, SEGMENT_OFFSET_INDEX, &file);
        source.offset_index = err == ERR_OK ? file_ref(file) : NULL;
    }
    if (err == ERR_OK) {
        err = log_locate_time_entry(&source, last, &batch_pos);
    }
    if (err == ERR_OK) {
        active->max_timestamp_ms = last.timestamp_ms;
        active->max_timestamp_offset = active->base_offset + last.relative_offset;
        active->indexed_timestamp_ms = last.timestamp_ms;
        batch_scan_init(&scan, source.log, batch_pos, pos, true);
        while ((err = batch_scan_next(&scan, &header, &batch_pos)) == ERR_OK) {
            if (header.max_timestamp_ms > active->max_timestamp_ms) {
                active->max_timestamp_ms = header.max_timestamp_ms;
                active->max_timestamp_offset = batch_last_offset(&header);
            }
        }
    }
    read_source_done(&source);
    return err == ERR_END ? ERR_OK : err;
}

/* Keeps the entries below `offset`, which is at `pos`; none when the last of them can't be believed. */
static enum err keep_times_below(struct partition_log *log, uint64_t pos, int64_t offset)
{
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    struct time_entry last = {0, 0};
    if (active->time_entry_count == 0) {
        return ERR_OK;
    }
    uint32_t count = active->time_entry_count;
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_TIME_INDEX, &file);
    file = err == ERR_OK ? file_ref(file) : NULL;
    while (err == ERR_OK && active->time_entry_count > 0) {
        err = time_index_read(file, active->time_entry_count - 1, &last);
        if (err == ERR_OK && active->base_offset + last.relative_offset < offset) {
            break;
        }
        active->time_entry_count--;
    }
    if (err == ERR_OK && active->time_entry_count > 0) {
        err = trust_times(log, last, pos);
        if (err == ERR_CORRUPT) {
            active->time_entry_count = 0;
            err = ERR_OK;
        }
    }
    if (err == ERR_OK && count != active->time_entry_count) {
        active->is_index_unsynced = true;
        err = file_truncate(file, (uint64_t)active->time_entry_count * TIME_INDEX_ENTRY_BYTES);
    }
    file_unref(file);
    return err;
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

static struct store_path index_path(const struct partition_log *log, int64_t base_offset, enum segment_file which)
{
    return store_path_segment(log->path, base_offset, log_segment_suffix(which));
}

static struct store_path index_path_aside(const struct partition_log *log, int64_t base_offset, enum segment_file which)
{
    struct store_path path = index_path(log, base_offset, which);
    return store_path_add(&path, STORE_SUFFIX_ASIDE);
}

/* Opened before the first entry is written: the cache finds it open from then on, and does not look for the name of an index. */
static enum err make_aside(struct partition_log *log, struct log_segment *fresh, enum segment_file which)
{
    struct store_path aside = index_path_aside(log, fresh->base_offset, which);
    struct file *file = NULL;
    enum err err = fs_open(log->env->fs, aside.text, FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_TRUNCATE, &file);
    if (err == ERR_OK) {
        file_cache_put(log->files, &fresh->files[which], file);
    }
    return err;
}

static enum err put_in_place(struct partition_log *log, struct log_segment *segment, struct log_segment *fresh,
                             enum segment_file which)
{
    struct store_path path = index_path(log, segment->base_offset, which);
    struct store_path aside = index_path_aside(log, segment->base_offset, which);
    struct file *file = NULL;
    enum err err = log_segment_file(fresh, log->files, log->path, which, &file);
    if (err == ERR_OK) {
        err = file_sync(file);
    }
    file_cache_drop(log->files, &segment->files[which]);
    return err == ERR_OK ? fs_rename(log->env->fs, aside.text, path.text) : err;
}

/* Takes the batches below `pos` of the segment's log down in `fresh`. */
static enum err index_batches(struct partition_log *log, struct log_segment *segment, struct log_segment *fresh,
                              uint64_t pos)
{
    struct index_tail tail = {.offset_count = 0, .time_count = 0};
    struct batch_scan scan;
    struct batch_header header;
    struct file *file = NULL;
    uint64_t batch_pos = 0;
    enum err err = log_segment_file(segment, log->files, log->path, SEGMENT_LOG, &file);
    if (err != ERR_OK) {
        return err;
    }
    batch_scan_init(&scan, file_ref(file), 0, pos, true);
    while (err == ERR_OK && (err = batch_scan_next(&scan, &header, &batch_pos)) == ERR_OK) {
        if (log_segment_tail_is_full(&tail)) {
            err = log_segment_flush(fresh, &tail, log->files, log->path, false);
        }
        if (err == ERR_OK) {
            log_segment_note_batch(fresh, &tail, &header, batch_pos, log->settings.index_interval_bytes);
        }
    }
    file_unref(scan.file);
    return err == ERR_END ? log_segment_flush(fresh, &tail, log->files, log->path, true) : err;
}

/* Offset and time entries again, from the headers of the batches below `pos`. They are made beside the files that they replace: half of
 * a time index would be believed, as its last entry is true, and count as the largest time of the segment. Both files exist then,
 * though there may be nothing to put into them. The caller syncs the directory. */
static enum err rebuild_below(struct partition_log *log, struct log_segment *segment, uint64_t pos)
{
    struct log_segment *fresh = log_segment_new(segment->base_offset);
    enum err err = ERR_OK;
    for (enum segment_file which = SEGMENT_OFFSET_INDEX; which <= SEGMENT_TIME_INDEX && err == ERR_OK; which++) {
        err = make_aside(log, fresh, which);
    }
    if (err == ERR_OK) {
        err = index_batches(log, segment, fresh, pos);
    }
    for (enum segment_file which = SEGMENT_OFFSET_INDEX; which <= SEGMENT_TIME_INDEX && err == ERR_OK; which++) {
        err = put_in_place(log, segment, fresh, which);
    }
    if (err == ERR_OK) {
        segment->offset_entry_count = fresh->offset_entry_count;
        segment->time_entry_count = fresh->time_entry_count;
        segment->first_timestamp_ms = fresh->first_timestamp_ms;
        segment->max_timestamp_ms = fresh->max_timestamp_ms;
        segment->max_timestamp_offset = fresh->max_timestamp_offset;
        segment->indexed_timestamp_ms = fresh->indexed_timestamp_ms;
    }
    log_segment_free(fresh, log->files); /* what is left beside them goes at the next start */
    return err;
}

static bool has_offset_entries(const struct partition_log *log, uint64_t pos)
{
    uint64_t surely_bytes = (uint64_t)log->settings.index_interval_bytes * MISSING_INDEX_INTERVALS;
    return pos > surely_bytes + BATCH_SCAN_WINDOW_BYTES;
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
        err = keep_times_below(log, pos, offset);
    }
    if (err == ERR_OK) {
        err = keep_aborted_below(log, offset);
    }
    if (err == ERR_OK) {
        err = load_first_timestamp(log, pos);
    }
    bool is_missing =
        (has_offset_entries(log, pos) && active->offset_entry_count == 0) || (pos > 0 && active->time_entry_count == 0);
    if (err == ERR_OK && is_missing) {
        err = rebuild_below(log, active, pos);
        active->is_index_unsynced = true; /* the next marks sync the names */
    }
    return err;
}

static enum err is_file_missing(const struct partition_log *log, const struct log_segment *segment,
                                enum segment_file which, bool *ret_is_missing)
{
    struct store_path path = index_path(log, segment->base_offset, which);
    struct fs_stat stat;
    enum err err = fs_stat(log->env->fs, path.text, &stat);
    *ret_is_missing = *ret_is_missing || err == ERR_NOT_FOUND;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err recover_missing_indexes(struct partition_log *log, struct log_segment *segment, bool *ret_are_made)
{
    bool is_missing = false;
    enum err err = ERR_OK;
    /* An empty one is true where no record has a time, or where there is one batch. */
    if (segment->bytes > 0 && segment->time_entry_count == 0) {
        err = is_file_missing(log, segment, SEGMENT_TIME_INDEX, &is_missing);
    }
    if (err == ERR_OK && has_offset_entries(log, segment->bytes) && segment->offset_entry_count == 0) {
        err = is_file_missing(log, segment, SEGMENT_OFFSET_INDEX, &is_missing);
    }
    if (err == ERR_OK && is_missing) {
        err = rebuild_below(log, segment, segment->bytes);
        *ret_are_made = err == ERR_OK;
    }
    return err;
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
