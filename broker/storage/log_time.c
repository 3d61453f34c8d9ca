/* Offsets by time. The time index says where to begin, batch headers which batch it is, and the records of that one batch
 * which record. Always in the pool: nothing here is in a hurry. */
#include "broker/storage/batch_scan.h"
#include "broker/storage/index_read.h"
#include "broker/storage/log_locate.h"
#include "broker/storage/log_read.h"
#include "broker/storage/log_state.h"
#include "broker/storage/time_index.h"
#include "common/mem.h"
#include "proto/record/decompress.h"
#include "proto/record/iter.h"

enum err log_time_source(struct partition_log *log, struct log_segment *segment, int64_t end_offset,
                         struct read_source *ret_source)
{
    struct read_source *source = ret_source;
    struct file *file = NULL;
    *source = (struct read_source){
        .base_offset = segment->base_offset,
        .end_offset = end_offset,
        .bytes = segment->bytes,
        .offset_entry_count = segment->offset_entry_count,
        .time_entry_count = segment->time_entry_count,
        .start = {LOG_NO_OFFSET, 0},
        .end = {LOG_NO_OFFSET, 0},
    };
    enum err err = log_segment_file(segment, log->files, log->path, SEGMENT_LOG, &file);
    if (err == ERR_OK) {
        source->log = file_ref(file);
    }
    if (err == ERR_OK && segment->offset_entry_count > 0) {
        err = log_segment_file(segment, log->files, log->path, SEGMENT_OFFSET_INDEX, &file);
        source->offset_index = err == ERR_OK ? file_ref(file) : NULL;
    }
    if (err == ERR_OK && segment->time_entry_count > 0) {
        err = log_segment_file(segment, log->files, log->path, SEGMENT_TIME_INDEX, &file);
        source->time_index = err == ERR_OK ? file_ref(file) : NULL;
    }
    return err;
}

/* Segments that are known to hold only older records are left out; that spares their descriptors. */
static bool is_needed(const struct log_segment *segment, const struct log_time_query *query)
{
    if (segment->bytes == 0 || segment->base_offset >= query->end_offset) {
        return false;
    }
    return query->kind == LOG_TIME_MAX || segment->max_timestamp_ms == SEGMENT_TIMESTAMP_UNKNOWN ||
           segment->max_timestamp_ms >= query->timestamp_ms;
}

enum err log_time_plan(struct partition_log *log, enum log_time_kind kind, int64_t timestamp_ms, int64_t end_offset,
                       struct log_time_query *ret_query)
{
    struct log_time_query query = {.kind = kind,
                                   .timestamp_ms = timestamp_ms,
                                   .end_offset = end_offset,
                                   .start_offset = log->log_start_offset,
                                   .offset = LOG_NO_OFFSET,
                                   .found_timestamp_ms = LOG_NO_TIMESTAMP_MS,
                                   .leader_epoch = LOG_NO_EPOCH};
    enum err err = log->phase == LOG_CLOSING ? ERR_CLOSED : ERR_OK;
    query.sources = mem_array(log->segment_count, sizeof(*query.sources));
    for (size_t i = 0; i < log->segment_count && err == ERR_OK; i++) {
        if (is_needed(log->segments[i], &query)) {
            err = log_time_source(log, log->segments[i], log_state_segment_end(log, i),
                                  &query.sources[query.source_count++]);
        }
    }
    if (err != ERR_OK) {
        log_time_done(&query);
        return err;
    }
    *ret_query = query;
    return ERR_OK;
}

void log_time_done(struct log_time_query *query)
{
    for (size_t i = 0; i < query->source_count; i++) {
        read_source_done(&query->sources[i]);
    }
    mem_free(query->sources);
    query->sources = NULL;
    query->source_count = 0;
}

static void found(struct log_time_query *query, int64_t offset, int64_t timestamp_ms, const struct batch_header *header)
{
    query->offset = offset;
    query->found_timestamp_ms = timestamp_ms;
    query->leader_epoch = header->partition_leader_epoch;
}

/* The first record of the batch with a timestamp at or above `timestamp_ms`, inside the query's offsets. */
static enum err search_records(struct log_time_query *query, const struct batch *batch, int64_t timestamp_ms)
{
    struct decompressor *decompressor = decompressor_new();
    struct bytebuf plain;
    struct span records;
    struct record_iter iter;
    struct record record;
    bytebuf_init(&plain, DECOMPRESS_BYTES_MAX);
    enum err err = batch_records_plain(batch, decompressor, &plain, &records);
    if (err == ERR_OK) {
        record_iter_init(&iter, &batch->header, records);
        while ((err = record_iter_next(&iter, &record)) == ERR_OK) {
            int64_t record_ms =
                batch_has_append_time(&batch->header) ? batch->header.max_timestamp_ms : record.timestamp_ms;
            if (record_ms >= timestamp_ms && record.offset >= query->start_offset &&
                record.offset < query->end_offset) {
                found(query, record.offset, record_ms, &batch->header);
                break;
            }
        }
    }
    bytebuf_done(&plain);
    decompressor_free(decompressor);
    return err == ERR_END ? ERR_OK : err;
}

static enum err search_batch(struct log_time_query *query, const struct read_source *source, uint64_t pos,
                             const struct batch_header *header, int64_t timestamp_ms)
{
    uint8_t *bytes = mem_alloc(header->batch_bytes);
    struct batch batch;
    enum err err = index_read(source->log, pos, bytes, header->batch_bytes, true);
    if (err == ERR_OK) {
        err = batch_parse(span_make(bytes, header->batch_bytes), &batch);
    }
    if (err == ERR_OK) {
        err = search_records(query, &batch, timestamp_ms);
    }
    mem_free(bytes);
    return err;
}

/* The position from which no earlier batch can have the time. */
static uint64_t start_of_search(const struct read_source *source, int64_t timestamp_ms)
{
    struct time_entry entry;
    uint64_t pos = 0;
    if (source->time_index == NULL ||
        time_index_below(source->time_index, source->time_entry_count, timestamp_ms, &entry) != ERR_OK) {
        return 0;
    }
    /* Everything up to the entry's offset is older, if the entry is true. */
    return log_locate_time_entry(source, entry, &pos) == ERR_OK ? pos : 0;
}

static enum err search_at_or_after(struct log_time_query *query, const struct read_source *source)
{
    struct batch_scan scan;
    struct batch_header header;
    uint64_t pos = 0;
    enum err err = ERR_OK;
    batch_scan_init(&scan, source->log, start_of_search(source, query->timestamp_ms), source->bytes, true);
    while (query->offset == LOG_NO_OFFSET && (err = batch_scan_next(&scan, &header, &pos)) == ERR_OK) {
        if (header.base_offset >= query->end_offset) {
            return ERR_OK;
        }
        if (header.max_timestamp_ms >= query->timestamp_ms && batch_last_offset(&header) >= query->start_offset) {
            err = search_batch(query, source, pos, &header, query->timestamp_ms);
            if (err != ERR_OK) {
                return err;
            }
        }
    }
    return err == ERR_END ? ERR_OK : err;
}

/* The largest timestamp below the end; the first record that has it (KIP-734). */
static enum err search_max(struct log_time_query *query)
{
    const struct read_source *best_source = NULL;
    struct batch_header best = {.max_timestamp_ms = LOG_NO_TIMESTAMP_MS};
    uint64_t best_pos = 0;
    for (size_t i = 0; i < query->source_count; i++) {
        struct batch_scan scan;
        struct batch_header header;
        uint64_t pos = 0;
        enum err err = ERR_OK;
        batch_scan_init(&scan, query->sources[i].log, 0, query->sources[i].bytes, true);
        while ((err = batch_scan_next(&scan, &header, &pos)) == ERR_OK && header.base_offset < query->end_offset) {
            if (header.max_timestamp_ms > best.max_timestamp_ms && batch_last_offset(&header) >= query->start_offset) {
                best = header;
                best_pos = pos;
                best_source = &query->sources[i];
            }
        }
        if (err != ERR_OK && err != ERR_END) {
            return err;
        }
    }
    if (best_source == NULL) {
        return ERR_OK;
    }
    return search_batch(query, best_source, best_pos, &best, best.max_timestamp_ms);
}

enum err log_time_run(struct log_time_query *query)
{
    enum err err = ERR_OK;
    if (query->kind == LOG_TIME_MAX) {
        return search_max(query);
    }
    for (size_t i = 0; i < query->source_count && err == ERR_OK && query->offset == LOG_NO_OFFSET; i++) {
        err = search_at_or_after(query, &query->sources[i]);
    }
    return err;
}
