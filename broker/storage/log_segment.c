#include "broker/storage/log_segment.h"

#include "broker/storage/store_path.h"
#include "broker/storage/txn_index.h"
#include "common/mem.h"
#include "common/seam/fs.h"

static const char *const suffixes[SEGMENT_FILE_COUNT] = {
    [SEGMENT_LOG] = STORE_SUFFIX_LOG,
    [SEGMENT_OFFSET_INDEX] = STORE_SUFFIX_OFFSET_INDEX,
    [SEGMENT_TIME_INDEX] = STORE_SUFFIX_TIME_INDEX,
    [SEGMENT_TXN_INDEX] = STORE_SUFFIX_TXN_INDEX,
};

const char *log_segment_suffix(enum segment_file which)
{
    return suffixes[which];
}

struct log_segment *log_segment_new(int64_t base_offset)
{
    struct log_segment *segment = MEM_NEW(struct log_segment);
    segment->base_offset = base_offset;
    segment->max_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    segment->max_timestamp_offset = LOG_NO_OFFSET;
    segment->first_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    segment->indexed_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    return segment;
}

void log_segment_close_files(struct log_segment *segment, struct file_cache *files)
{
    for (size_t i = 0; i < SEGMENT_FILE_COUNT; i++) {
        file_cache_drop(files, &segment->files[i]);
    }
}

void log_segment_free(struct log_segment *segment, struct file_cache *files)
{
    log_segment_close_files(segment, files);
    file_unref(segment->unsynced_log);
    mem_free(segment);
}

enum err log_segment_file(struct log_segment *segment, struct file_cache *files, const char *log_path,
                          enum segment_file which, struct file **ret_file)
{
    struct file_cache_entry *entry = &segment->files[which];
    if (entry->file != NULL) {
        return file_cache_get(files, entry, "", 0, ret_file);
    }
    if (which == SEGMENT_LOG && segment->unsynced_log != NULL) {
        file_cache_put(files, entry, file_ref(segment->unsynced_log));
        *ret_file = segment->unsynced_log;
        return ERR_OK;
    }
    struct store_path path = store_path_segment(log_path, segment->base_offset, suffixes[which]);
    /* A segment's log is made by the roll; its absence is an error here, not a new file. */
    unsigned flags = FS_OPEN_WRITE | (which == SEGMENT_LOG ? 0u : (unsigned)FS_OPEN_CREATE);
    return file_cache_get(files, entry, path.text, flags, ret_file);
}

bool log_segment_tail_is_full(const struct index_tail *tail)
{
    return tail->offset_count == INDEX_TAIL_ENTRIES_MAX || tail->time_count == INDEX_TAIL_ENTRIES_MAX;
}

static void add_time_entry(struct log_segment *segment, struct index_tail *tail)
{
    if (segment->max_timestamp_ms <= segment->indexed_timestamp_ms) {
        return;
    }
    CHECK(tail->time_count < INDEX_TAIL_ENTRIES_MAX);
    tail->times[tail->time_count++] =
        (struct time_entry){segment->max_timestamp_ms, (int32_t)(segment->max_timestamp_offset - segment->base_offset)};
    segment->indexed_timestamp_ms = segment->max_timestamp_ms;
}

void log_segment_note_batch(struct log_segment *segment, struct index_tail *tail, const struct batch_header *header,
                            uint64_t pos, int32_t index_interval_bytes)
{
    CHECK(segment->max_timestamp_ms != SEGMENT_TIMESTAMP_UNKNOWN);
    if (pos == 0) {
        segment->first_timestamp_ms = header->max_timestamp_ms;
    }
    if (header->max_timestamp_ms > segment->max_timestamp_ms) {
        segment->max_timestamp_ms = header->max_timestamp_ms;
        segment->max_timestamp_offset = batch_last_offset(header);
    }
    if (tail->bytes_since_entry > (uint64_t)index_interval_bytes) {
        CHECK(tail->offset_count < INDEX_TAIL_ENTRIES_MAX);
        tail->offsets[tail->offset_count++] =
            (struct offset_entry){(int32_t)(batch_last_offset(header) - segment->base_offset), (uint32_t)pos};
        add_time_entry(segment, tail);
        tail->bytes_since_entry = 0;
    }
    tail->bytes_since_entry += header->batch_bytes;
}

static enum err flush_offsets(struct log_segment *segment, struct index_tail *tail, struct file_cache *files,
                              const char *log_path)
{
    uint8_t bytes[INDEX_TAIL_ENTRIES_MAX * OFFSET_INDEX_ENTRY_BYTES];
    struct file *file = NULL;
    if (tail->offset_count == 0) {
        return ERR_OK;
    }
    enum err err = log_segment_file(segment, files, log_path, SEGMENT_OFFSET_INDEX, &file);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; i < tail->offset_count; i++) {
        offset_entry_encode(tail->offsets[i], bytes + i * OFFSET_INDEX_ENTRY_BYTES);
    }
    struct span span = span_make(bytes, tail->offset_count * OFFSET_INDEX_ENTRY_BYTES);
    err = file_pwritev(file, &span, 1, (uint64_t)segment->offset_entry_count * OFFSET_INDEX_ENTRY_BYTES);
    if (err == ERR_OK) {
        segment->offset_entry_count += tail->offset_count;
        tail->offset_count = 0;
        segment->is_index_unsynced = true;
    }
    return err;
}

static enum err flush_times(struct log_segment *segment, struct index_tail *tail, struct file_cache *files,
                            const char *log_path)
{
    uint8_t bytes[INDEX_TAIL_ENTRIES_MAX * TIME_INDEX_ENTRY_BYTES];
    struct file *file = NULL;
    if (tail->time_count == 0) {
        return ERR_OK;
    }
    enum err err = log_segment_file(segment, files, log_path, SEGMENT_TIME_INDEX, &file);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; i < tail->time_count; i++) {
        time_entry_encode(tail->times[i], bytes + i * TIME_INDEX_ENTRY_BYTES);
    }
    struct span span = span_make(bytes, tail->time_count * TIME_INDEX_ENTRY_BYTES);
    err = file_pwritev(file, &span, 1, (uint64_t)segment->time_entry_count * TIME_INDEX_ENTRY_BYTES);
    if (err == ERR_OK) {
        segment->time_entry_count += tail->time_count;
        tail->time_count = 0;
        segment->is_index_unsynced = true;
    }
    return err;
}

enum err log_segment_flush(struct log_segment *segment, struct index_tail *tail, struct file_cache *files,
                           const char *log_path, bool is_last)
{
    enum err err = ERR_OK;
    if (is_last && tail->time_count == INDEX_TAIL_ENTRIES_MAX) {
        err = flush_times(segment, tail, files, log_path);
    }
    if (err == ERR_OK && is_last && segment->max_timestamp_offset != LOG_NO_OFFSET) {
        add_time_entry(segment, tail);
    }
    if (err == ERR_OK) {
        err = flush_offsets(segment, tail, files, log_path);
    }
    return err == ERR_OK ? flush_times(segment, tail, files, log_path) : err;
}

enum err log_segment_add_aborted(struct log_segment *segment, struct file_cache *files, const char *log_path,
                                 const struct aborted_txn *txn)
{
    uint8_t bytes[TXN_INDEX_ENTRY_BYTES];
    struct file *file = NULL;
    struct span span = span_make(bytes, sizeof(bytes));
    enum err err = log_segment_file(segment, files, log_path, SEGMENT_TXN_INDEX, &file);
    if (err != ERR_OK) {
        return err;
    }
    txn_entry_encode(txn, bytes);
    err = file_pwritev(file, &span, 1, segment->txn_index_bytes);
    if (err == ERR_OK) {
        segment->txn_index_bytes += sizeof(bytes);
        segment->is_index_unsynced = true;
    }
    return err;
}

uint32_t log_segment_offset_entries(const struct log_segment *segment, const struct index_tail *tail)
{
    return segment->offset_entry_count + (tail == NULL ? 0 : tail->offset_count);
}
