#include "broker/storage/log_read.h"

#include "broker/storage/log_locate.h"
#include "broker/storage/log_state.h"
#include "broker/storage/txn_index.h"
#include "common/mem.h"
#include "common/seam/fs.h"

/* A known place at or just before `offset` in the segment. A reader that stopped elsewhere is of no use: the walk from there could
 * be long, and the index is better. */
static struct read_place known_place(const struct partition_log *log, const struct log_segment *segment, int64_t offset)
{
    struct read_place best = {LOG_NO_OFFSET, 0};
    for (size_t i = 0; i < LOG_CURSORS; i++) {
        const struct log_cursor *cursor = &log->cursors[i];
        if (cursor->offset == offset && cursor->segment_base_offset == segment->base_offset) {
            return (struct read_place){cursor->offset, cursor->pos};
        }
    }
    if (log->boundaries == NULL || segment != log_active(log)) {
        return best;
    }
    uint32_t count = log->boundaries->count < LOG_BOUNDARIES ? log->boundaries->count : LOG_BOUNDARIES;
    for (uint32_t i = 0; i < count; i++) {
        const struct log_boundary *boundary = &log->boundaries->items[i];
        if (boundary->offset <= offset && boundary->offset > best.offset) {
            best = (struct read_place){boundary->offset, boundary->pos};
        }
    }
    return best;
}

/* The index entries that are not in the file yet. */
static struct read_place tail_place(const struct partition_log *log, const struct log_segment *segment, int64_t offset)
{
    struct read_place none = {LOG_NO_OFFSET, 0};
    if (log->tail == NULL || segment != log_active(log)) {
        return none;
    }
    int64_t relative = offset - segment->base_offset;
    size_t count = offset_entries_floor(log->tail->offsets, log->tail->offset_count,
                                        relative > INT32_MAX ? INT32_MAX : (int32_t)relative);
    if (count == 0) {
        return none;
    }
    /* The entry names the last offset of the batch there; that batch may hold the wanted offset as its last. */
    const struct offset_entry *entry = &log->tail->offsets[count - 1];
    return (struct read_place){segment->base_offset + entry->relative_offset, entry->position};
}

static enum err reference(struct partition_log *log, struct log_segment *segment, enum segment_file which,
                          struct file **ret_file)
{
    struct file *file = NULL;
    enum err err = log_segment_file(segment, log->files, log->path, which, &file);
    if (err == ERR_OK) {
        *ret_file = file_ref(file);
    }
    return err;
}

static enum err make_source(struct partition_log *log, size_t index, const struct log_read_request *request,
                            bool wants_times, struct read_source *ret_source)
{
    struct log_segment *segment = log->segments[index];
    struct read_source *source = ret_source;
    *source = (struct read_source){
        .base_offset = segment->base_offset,
        .end_offset = log_state_segment_end(log, index),
        .bytes = segment->bytes,
        .offset_entry_count = segment->offset_entry_count,
        .time_entry_count = segment->time_entry_count,
        .txn_index_bytes = segment->txn_index_bytes,
        .start = known_place(log, segment, request->offset),
        .end = known_place(log, segment, request->end_offset),
    };
    if (source->start.offset == LOG_NO_OFFSET) {
        source->start = tail_place(log, segment, request->offset);
    }
    enum err err = reference(log, segment, SEGMENT_LOG, &source->log);
    if (err == ERR_OK && segment->offset_entry_count > 0) {
        err = reference(log, segment, SEGMENT_OFFSET_INDEX, &source->offset_index);
    }
    if (err == ERR_OK && wants_times && segment->time_entry_count > 0) {
        err = reference(log, segment, SEGMENT_TIME_INDEX, &source->time_index);
    }
    if (err == ERR_OK && request->wants_aborted && segment->txn_index_bytes > 0) {
        err = reference(log, segment, SEGMENT_TXN_INDEX, &source->txn_index);
    }
    return err;
}

/* Later segments, only for their aborted transactions: a marker may come long after what it aborts. */
static enum err add_txn_sources(struct partition_log *log, size_t first, struct log_read *read)
{
    enum err err = ERR_OK;
    for (size_t i = first; i < log->segment_count && err == ERR_OK; i++) {
        struct log_segment *segment = log->segments[i];
        if (segment->txn_index_bytes == 0) {
            continue;
        }
        read->sources = mem_grow(read->sources, read->source_count + 1, sizeof(*read->sources));
        struct read_source *source = &read->sources[read->source_count++];
        *source = (struct read_source){.txn_index_bytes = segment->txn_index_bytes};
        err = reference(log, segment, SEGMENT_TXN_INDEX, &source->txn_index);
    }
    return err;
}

enum err log_read_plan(struct partition_log *log, const struct log_read_request *request, struct log_read *ret_read)
{
    struct log_read read = {.request = *request};
    if (request->offset < log->log_start_offset || request->offset > log->log_end_offset) {
        return ERR_OUT_OF_RANGE;
    }
    if (log->phase == LOG_CLOSING) {
        return ERR_CLOSED;
    }
    read.slice.first_offset = request->offset;
    read.slice.next_offset = request->offset;
    if (request->offset >= request->end_offset || request->offset == log->log_end_offset) {
        *ret_read = read; /* nothing to give; no file is touched */
        return ERR_OK;
    }
    size_t index = log_state_find_segment(log, request->offset);
    read.sources = mem_array(1, sizeof(*read.sources));
    read.source_count = 1;
    enum err err = make_source(log, index, request, false, &read.sources[0]);
    if (err == ERR_OK && request->wants_aborted) {
        err = add_txn_sources(log, index + 1, &read);
    }
    if (err != ERR_OK) {
        log_read_done(&read);
        return err;
    }
    *ret_read = read;
    return ERR_OK;
}

static enum err find_slice(struct log_read *read, bool may_block)
{
    const struct log_read_request *request = &read->request;
    const struct read_source *source = &read->sources[0];
    struct batch_header first;
    struct read_place end;
    uint64_t pos = 0;
    enum err err = log_locate_batch(source, request->offset, may_block, &pos, &first);
    if (err == ERR_END) {
        read->slice.next_offset = source->end_offset; /* compacted away up to the segment's end */
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    uint64_t limit_pos = pos + request->max_bytes;
    if (limit_pos < pos + first.batch_bytes && request->wants_one) {
        limit_pos = pos + first.batch_bytes;
    }
    err = log_locate_end(source, pos, &first, limit_pos, request->end_offset, may_block, &end);
    if (err == ERR_OK && end.pos > pos) {
        read->slice = (struct log_slice){.file = source->log,
                                         .pos = pos,
                                         .bytes = (size_t)(end.pos - pos),
                                         .first_offset = first.base_offset,
                                         .next_offset = end.offset};
    }
    return err;
}

static enum err find_aborted(struct log_read *read, bool may_block)
{
    struct aborted_list list = {NULL, 0};
    bool is_complete = read->slice.bytes == 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < read->source_count && err == ERR_OK && !is_complete; i++) {
        const struct read_source *source = &read->sources[i];
        if (source->txn_index != NULL) {
            err = txn_index_collect(source->txn_index, source->txn_index_bytes, read->request.offset,
                                    read->slice.next_offset, may_block, &list, &is_complete);
        }
    }
    if (err != ERR_OK) {
        mem_free(list.items);
        return err;
    }
    mem_free(read->aborted);
    read->aborted = list.items;
    read->aborted_count = list.count;
    return ERR_OK;
}

static enum err run(struct log_read *read, bool may_block)
{
    if (read->source_count == 0) {
        return ERR_OK;
    }
    enum err err = find_slice(read, may_block);
    if (err == ERR_OK && read->request.wants_aborted) {
        err = find_aborted(read, may_block);
    }
    return err;
}

enum err log_read_try(struct log_read *read)
{
    enum err err = run(read, false);
    if (err == ERR_OK && read->slice.bytes > 0 && !read->request.is_hot &&
        !file_is_cached(read->slice.file, read->slice.pos, read->slice.bytes)) {
        return ERR_WOULD_BLOCK;
    }
    return err;
}

enum err log_read_run(struct log_read *read)
{
    enum err err = run(read, true);
    if (err == ERR_OK && read->slice.bytes > 0) {
        file_prefetch(read->slice.file, read->slice.pos, read->slice.bytes);
    }
    return err;
}

void log_read_done(struct log_read *read)
{
    for (size_t i = 0; i < read->source_count; i++) {
        read_source_done(&read->sources[i]);
    }
    mem_free(read->sources);
    mem_free(read->aborted);
    *read = (struct log_read){.source_count = 0};
}

void log_read_remember(struct partition_log *log, const struct log_read *read)
{
    if (read->slice.bytes == 0 || read->source_count == 0) {
        return;
    }
    log->cursors[log->cursor_next++ % LOG_CURSORS] =
        (struct log_cursor){.segment_base_offset = read->sources[0].base_offset,
                            .offset = read->slice.next_offset,
                            .pos = read->slice.pos + read->slice.bytes};
}
