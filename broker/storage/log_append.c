/* Appending. Inline on the log's loop: one pwritev to the page cache, no allocation per batch. Everything that can refuse
 * is asked before the first byte is written, so a refused append leaves no trace. */
#include "broker/storage/log_state.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"
#include "common/seam/fs.h"

static enum err can_append(const struct partition_log *log)
{
    CHECK(log->loop != NULL);
    if (log->phase != LOG_OPEN) {
        return log->phase == LOG_CHANGING ? ERR_BUSY : ERR_CLOSED;
    }
    return log_dir_is_failed(log->dir) ? ERR_IO : ERR_OK;
}

/* Kafka's rule, and the limits of the formats: 31-bit relative offsets and positions, a full index (trap: an overflowing
 * relative offset would point anywhere). */
static bool is_roll_due(const struct partition_log *log, size_t byte_count, int64_t last_offset, int64_t timestamp_ms)
{
    const struct log_segment *active = log_active(log);
    uint32_t entries_max = (uint32_t)log->settings.segment_index_bytes / TIME_INDEX_ENTRY_BYTES;
    if (last_offset - active->base_offset > INT32_MAX) {
        return true;
    }
    if (active->bytes == 0) {
        return false;
    }
    /* By the records' own time, not the clock's: who imports old data gets segments of segment.ms, not one per batch. */
    int64_t age_ms = active->first_timestamp_ms < 0 ? 0 : timestamp_ms - active->first_timestamp_ms;
    int64_t jitter_ms = log->jitter_ms < log->settings.segment_ms ? log->jitter_ms : log->settings.segment_ms;
    return active->bytes + byte_count > (uint64_t)log->settings.segment_bytes ||
           active->bytes + byte_count > INT32_MAX || age_ms > log->settings.segment_ms - jitter_ms ||
           log_segment_offset_entries(active, log->tail) + 1 >= entries_max;
}

/* The new file is made here, on the loop: its name is the offset at which it begins, which nobody knows earlier, and making an
 * empty file costs what renaming a prepared one would (measured in ADR-0004). All else, syncs and marks, goes to the pool. */
enum err log_append_roll(struct partition_log *log)
{
    struct log_segment *active = log_active(log);
    enum err err = log_segment_flush(active, log_state_tail(log), log->files, log->path, true);
    if (err != ERR_OK) {
        return err;
    }
    struct store_path path = store_path_segment(log->path, log->log_end_offset, STORE_SUFFIX_LOG);
    struct log_segment *segment = log_segment_new(log->log_end_offset);
    struct file *file = NULL;
    err = file_cache_get(log->files, &segment->files[SEGMENT_LOG], path.text,
                         FS_OPEN_WRITE | FS_OPEN_CREATE | FS_OPEN_EXCLUSIVE, &file);
    if (err != ERR_OK) {
        log_segment_free(segment, log->files);
        return err;
    }
    segment->modified_ms = clock_wall_ms(log->env->clock);
    log_segment_close_files(active, log->files);
    log_state_add_segment(log, segment);
    log_state_forget_places(log);
    log_state_tail(log)->bytes_since_entry = 0;
    log->are_marks_wanted = true;
    log_sync_want(log);
    return ERR_OK;
}

static void note_boundary(struct partition_log *log, int64_t offset, uint64_t pos)
{
    if (log->boundaries == NULL) {
        log->boundaries = MEM_NEW(struct log_boundaries);
    }
    struct log_boundaries *ring = log->boundaries;
    ring->items[ring->count++ % LOG_BOUNDARIES] = (struct log_boundary){offset, pos};
}

static void note_epoch(struct partition_log *log, const struct batch_header *header)
{
    int32_t epoch = header->partition_leader_epoch;
    if (epoch < 0 || !epoch_cache_assign(&log->epochs, epoch, header->base_offset)) {
        return;
    }
    log->are_epochs_unsaved = true;
    if (log->unsaved_epoch_offset == LOG_NO_OFFSET) {
        log->unsaved_epoch_offset = header->base_offset;
    }
}

enum err log_append_note(struct partition_log *log, const struct batch_header *header,
                         const struct control_marker *marker, uint64_t pos, int64_t now_ms)
{
    struct log_segment *active = log_active(log);
    struct index_tail *tail = log_state_tail(log);
    struct aborted_txn aborted;
    if (log_segment_tail_is_full(tail)) {
        enum err err = log_segment_flush(active, tail, log->files, log->path, false);
        if (err != ERR_OK) {
            return err;
        }
    }
    log_segment_note_batch(active, tail, header, pos, log->settings.index_interval_bytes);
    note_epoch(log, header);
    if (producer_state_update(&log->producers, header, marker, now_ms, &aborted)) {
        return log_segment_add_aborted(active, log->files, log->path, &aborted);
    }
    return ERR_OK;
}

/* Control batches of other kinds than markers end no transaction. */
static const struct control_marker *marker_of(const struct batch *batch, struct control_marker *room)
{
    if (!batch_is_control(&batch->header) || control_batch_parse(batch, room) != ERR_OK) {
        return NULL;
    }
    return room;
}

/* The bytes are checked: whole batches, offsets stamped. Writes them at the end of the active segment. */
static enum err write_batches(struct partition_log *log, struct span bytes, int64_t now_ms)
{
    struct log_segment *active = log_active(log);
    struct file *file = NULL;
    enum err err = log_segment_file(active, log->files, log->path, SEGMENT_LOG, &file);
    if (err == ERR_TOO_MANY_FILES) {
        return err; /* nothing has been written: the directory is well, and the next append may succeed */
    }
    if (err == ERR_OK) {
        err = file_pwritev(file, &bytes, 1, active->bytes);
    }
    if (err == ERR_OK && active->unsynced_log == NULL && log->settings.durability == DURABILITY_SYNCED) {
        active->unsynced_log = file_ref(file);
    }
    struct batch batch;
    uint64_t pos = active->bytes;
    for (struct span rest = bytes; err == ERR_OK && batch_next(&rest, &batch) == ERR_OK;) {
        struct control_marker marker;
        err = log_append_note(log, &batch.header, marker_of(&batch, &marker), pos, now_ms);
        pos += batch.bytes.bytes;
        log->log_end_offset = batch_next_offset(&batch.header);
    }
    if (err != ERR_OK) {
        return log_state_fail(log, "append", err);
    }
    if (active->bytes == 0) {
        note_boundary(log, active->base_offset, 0);
    }
    active->bytes = pos;
    active->modified_ms = now_ms;
    note_boundary(log, log->log_end_offset, pos);
    log->appended_ms = now_ms;
    log->bytes_since_marks += bytes.bytes;
    /* Not with durability=cached: the marks would force bytes to the disk that the kernel writes when it likes. */
    if (log->bytes_since_marks >= LOG_MARKS_INTERVAL_BYTES && log->settings.durability == DURABILITY_SYNCED) {
        log->are_marks_wanted = true;
    }
    if (log->settings.durability == DURABILITY_SYNCED || log->are_marks_wanted || log->are_epochs_unsaved) {
        log_sync_want(log);
    }
    return ERR_OK;
}

/* timestamp_ms: the largest of the batches that come. */
static enum err roll_if_due(struct partition_log *log, size_t byte_count, int64_t last_offset, int64_t timestamp_ms)
{
    if (!is_roll_due(log, byte_count, last_offset, timestamp_ms)) {
        return ERR_OK;
    }
    enum err err = log_append_roll(log);
    return err == ERR_OK || err == ERR_TOO_MANY_FILES ? err : log_state_fail(log, "roll", err);
}

struct leader_check {
    enum append_refusal refusal;
    bool is_duplicate;
    struct producer_batch original;
    int64_t offset_count;
    int64_t max_timestamp_ms;
};

static enum err check_batches(const struct partition_log *log, const struct append_request *request,
                              struct leader_check *ret_check)
{
    struct span rest = span_make(request->bytes, request->byte_count);
    struct batch batch;
    size_t batch_count = 0;
    enum err err = ERR_OK;
    *ret_check = (struct leader_check){.refusal = APPEND_ACCEPTED, .max_timestamp_ms = LOG_NO_TIMESTAMP_MS};
    while ((err = batch_next(&rest, &batch)) == ERR_OK && ret_check->refusal == APPEND_ACCEPTED) {
        struct control_marker marker;
        ret_check->refusal = producer_state_check(&log->producers, &batch.header, marker_of(&batch, &marker),
                                                  request->is_client, &ret_check->original, &ret_check->is_duplicate);
        ret_check->offset_count += (int64_t)batch.header.last_offset_delta + 1;
        if (batch.header.max_timestamp_ms > ret_check->max_timestamp_ms) {
            ret_check->max_timestamp_ms = batch.header.max_timestamp_ms;
        }
        /* Sequences of several batches would depend on each other; clients send one (KIP-98). */
        if (++batch_count > 1 && request->is_client && batch_has_producer_id(&batch.header)) {
            return ERR_INVALID;
        }
    }
    if (ret_check->refusal != APPEND_ACCEPTED) {
        return ERR_OK;
    }
    if (err != ERR_END || batch_count == 0) {
        return ERR_MALFORMED;
    }
    if (log->log_end_offset > BATCH_BASE_OFFSET_MAX - ret_check->offset_count) {
        ret_check->refusal = APPEND_OFFSETS_EXHAUSTED;
    }
    return ERR_OK;
}

static void stamp_batches(const struct append_request *request, int64_t offset, int64_t now_ms)
{
    size_t pos = 0;
    while (pos < request->byte_count) {
        struct batch_header header;
        struct span rest = span_make(request->bytes + pos, request->byte_count - pos);
        enum err err = batch_header_parse(rest, &header);
        CHECK(err == ERR_OK);
        if (request->timestamp_type == TIMESTAMP_APPEND) {
            batch_stamp_append_time(request->bytes + pos, header.batch_bytes, now_ms);
        }
        batch_stamp(request->bytes + pos, offset, request->leader_epoch);
        offset += (int64_t)header.last_offset_delta + 1;
        pos += header.batch_bytes;
    }
}

enum err partition_log_append_as_leader(struct partition_log *log, const struct append_request *request,
                                        struct append_result *ret_result)
{
    struct leader_check check;
    enum err err = can_append(log);
    if (err != ERR_OK) {
        return err;
    }
    if (request->leader_epoch != log->appendable_epoch) {
        return ERR_STALE;
    }
    err = check_batches(log, request, &check);
    if (err != ERR_OK) {
        return err;
    }
    int64_t now_ms = clock_wall_ms(log->env->clock);
    struct append_result result = {.refusal = check.refusal,
                                   .is_duplicate = check.is_duplicate,
                                   .base_offset = LOG_NO_OFFSET,
                                   .last_offset = LOG_NO_OFFSET,
                                   .append_time_ms = LOG_NO_TIMESTAMP_MS,
                                   .log_start_offset = log->log_start_offset};
    if (check.is_duplicate) {
        result.last_offset = check.original.last_offset;
        result.base_offset = check.original.last_offset - check.original.offset_delta;
        result.append_time_ms =
            request->timestamp_type == TIMESTAMP_APPEND ? check.original.timestamp_ms : LOG_NO_TIMESTAMP_MS;
    } else if (check.refusal == APPEND_ACCEPTED) {
        int64_t last_offset = log->log_end_offset + check.offset_count - 1;
        err = roll_if_due(log, request->byte_count, last_offset,
                          request->timestamp_type == TIMESTAMP_APPEND ? now_ms : check.max_timestamp_ms);
        if (err != ERR_OK) {
            return err;
        }
        result.base_offset = log->log_end_offset;
        result.last_offset = last_offset;
        result.append_time_ms = request->timestamp_type == TIMESTAMP_APPEND ? now_ms : LOG_NO_TIMESTAMP_MS;
        stamp_batches(request, log->log_end_offset, now_ms);
        err = write_batches(log, span_make(request->bytes, request->byte_count), now_ms);
        if (err != ERR_OK) {
            return err;
        }
    }
    *ret_result = result;
    return ERR_OK;
}

/* Offsets must rise from the log end; after compaction at the leader they may skip. */
static enum err check_leaders_bytes(const struct partition_log *log, struct span bytes, int64_t *ret_last_offset,
                                    int64_t *ret_max_timestamp_ms)
{
    struct batch batch;
    int64_t expected = log->log_end_offset;
    int32_t epoch = partition_log_last_epoch(log);
    enum err err = ERR_OK;
    struct span rest = bytes;
    while ((err = batch_next(&rest, &batch)) == ERR_OK) {
        if (batch.header.base_offset < expected) {
            return expected == log->log_end_offset ? ERR_OUT_OF_RANGE : ERR_MALFORMED;
        }
        /* Epochs never go back in a log: such bytes come from a leader of the past. */
        if (batch.header.partition_leader_epoch < epoch) {
            return ERR_STALE;
        }
        epoch = batch.header.partition_leader_epoch;
        if (batch.header.max_timestamp_ms > *ret_max_timestamp_ms) {
            *ret_max_timestamp_ms = batch.header.max_timestamp_ms;
        }
        expected = batch_next_offset(&batch.header);
    }
    if (err != ERR_END || bytes.bytes == 0) {
        return ERR_MALFORMED;
    }
    *ret_last_offset = expected - 1;
    return ERR_OK;
}

enum err partition_log_append_as_follower(struct partition_log *log, struct span bytes)
{
    int64_t last_offset = 0;
    int64_t max_timestamp_ms = LOG_NO_TIMESTAMP_MS;
    enum err err = can_append(log);
    if (err == ERR_OK) {
        err = check_leaders_bytes(log, bytes, &last_offset, &max_timestamp_ms);
    }
    if (err != ERR_OK) {
        return err;
    }
    int64_t now_ms = clock_wall_ms(log->env->clock);
    err = roll_if_due(log, bytes.bytes, last_offset, max_timestamp_ms);
    return err == ERR_OK ? write_batches(log, bytes, now_ms) : err;
}
