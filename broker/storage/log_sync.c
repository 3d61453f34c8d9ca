/* What a log gives to its sync group, and what it learns when the job is done. */
#include "broker/storage/log_state.h"
#include "broker/storage/producer_snapshot.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "broker/storage/sync_item.h"
#include "common/mem.h"
#include "common/seam/fs.h"

#define MARKS_TEXT_BYTES_MAX 4096u

void log_sync_want(struct partition_log *log)
{
    CHECK(log->sync_group != NULL);
    if (!log->is_change_running) { /* else when it ends */
        sync_group_add(log->sync_group, log);
    }
}

void log_sync_wait(struct partition_log *log, int32_t leader_epoch, log_done_fn done, void *ctx)
{
    struct log_waiter *waiter = MEM_NEW(struct log_waiter);
    struct log_waiter **last = &log->waiters;
    waiter->leader_epoch = leader_epoch;
    waiter->done = done;
    waiter->ctx = ctx;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = waiter;
    log_sync_want(log);
}

void log_sync_marks_now(const struct partition_log *log, struct log_marks *ret_marks)
{
    *ret_marks = (struct log_marks){
        .recovery_offset = log->log_end_offset,
        .recovery_segment = log_active(log)->base_offset,
        .recovery_pos = (int64_t)log_active(log)->bytes,
        .log_start_offset = log->wanted_start_offset,
        .producers = producer_state_count(&log->producers) == 0 && log->producers.txns == NULL
                         ? MARKS_PRODUCERS_NONE
                         : MARKS_PRODUCERS_SNAPSHOT,
        .counts_high_watermark = log->settings.durability == DURABILITY_SYNCED,
        .cap_offset = log->marks.cap_offset,
        .cap_generation = log->marks.cap_generation,
    };
}

static void add_file(struct sync_item *item, struct file *file)
{
    if (item->file_count == item->file_capacity) {
        item->file_capacity = item->file_capacity == 0 ? 2 : item->file_capacity * 2;
        item->files = mem_grow(item->files, item->file_capacity, sizeof(*item->files));
    }
    item->files[item->file_count++] = file_ref(file);
}

static enum err add_segment_files(struct partition_log *log, struct log_segment *segment, bool wants_indexes,
                                  struct sync_item *item)
{
    struct file *file = NULL;
    enum err err = ERR_OK;
    if (segment->bytes > segment->synced_bytes) {
        err = log_segment_file(segment, log->files, log->path, SEGMENT_LOG, &file);
        if (err != ERR_OK) {
            return err;
        }
        add_file(item, file);
    }
    for (unsigned which = SEGMENT_OFFSET_INDEX; wants_indexes && which < SEGMENT_FILE_COUNT; which++) {
        bool exists = which == SEGMENT_OFFSET_INDEX ? segment->offset_entry_count > 0
                      : which == SEGMENT_TIME_INDEX ? segment->time_entry_count > 0
                                                    : segment->txn_index_bytes > 0;
        if (!segment->is_index_unsynced || !exists) {
            continue;
        }
        err = log_segment_file(segment, log->files, log->path, (enum segment_file)which, &file);
        if (err != ERR_OK) {
            return err;
        }
        add_file(item, file);
    }
    if (wants_indexes) {
        segment->is_index_unsynced = false; /* a failure fails the directory, so nothing will ask again */
    }
    item->wants_dir_sync = item->wants_dir_sync || !segment->is_name_synced || wants_indexes;
    item->segments[item->segment_count++] = (struct synced_segment){segment->base_offset, segment->bytes};
    return ERR_OK;
}

static bool is_dirty(const struct log_segment *segment)
{
    return segment->bytes != segment->synced_bytes || !segment->is_name_synced || segment->is_index_unsynced;
}

/* Records and names: dirty segments are the last ones, as a segment is synced before anything vouches for the next. Indexes may be
 * dirty in any segment since the last marks. */
static size_t first_dirty(const struct partition_log *log, bool has_marks)
{
    if (has_marks) {
        return log_state_find_segment(log, log->marks.recovery_segment);
    }
    size_t first = log->segment_count;
    while (first > 0 && is_dirty(log->segments[first - 1])) {
        first--;
    }
    return first;
}

static enum err capture_files(struct partition_log *log, struct sync_item *item)
{
    size_t first = first_dirty(log, item->has_marks);
    if (first == log->segment_count) {
        return ERR_OK;
    }
    item->segments = mem_array(log->segment_count - first, sizeof(*item->segments));
    for (size_t i = first; i < log->segment_count; i++) {
        enum err err =
            is_dirty(log->segments[i]) ? add_segment_files(log, log->segments[i], item->has_marks, item) : ERR_OK;
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static struct side_write *add_side(struct sync_item *item, struct store_path path)
{
    struct side_write *side = &item->sides[item->side_count++];
    CHECK(item->side_count <= SYNC_SIDE_FILES_MAX);
    side->path = mem_strdup(path.text);
    bytebuf_init(&side->bytes, SIDE_FILE_BYTES_MAX);
    item->wants_dir_sync = true;
    return side;
}

static enum err capture_epochs(struct partition_log *log, struct sync_item *item)
{
    struct side_write *side = add_side(item, store_path_join(log->path, EPOCH_CACHE_FILE));
    log->are_epochs_unsaved = false;
    log->in_flight_epoch_offset = log->unsaved_epoch_offset;
    log->unsaved_epoch_offset = LOG_NO_OFFSET;
    item->has_epochs = true;
    return epoch_cache_encode(&log->epochs, &side->bytes);
}

static bool has_snapshot_at(const struct partition_log *log, int64_t offset)
{
    return log->marks.producers == MARKS_PRODUCERS_SNAPSHOT && log->marks.recovery_offset == offset;
}

/* The snapshot of the marks before these is kept: one older than a truncation may go to. */
static enum err capture_snapshot(struct partition_log *log, struct sync_item *item)
{
    int64_t offset = item->marks.recovery_offset;
    struct store_path path = store_path_segment(log->path, offset, STORE_SUFFIX_SNAPSHOT);
    struct side_write *side = add_side(item, path);
    if (log->older_snapshot_offset != LOG_NO_OFFSET && log->older_snapshot_offset != offset) {
        path = store_path_segment(log->path, log->older_snapshot_offset, STORE_SUFFIX_SNAPSHOT);
        item->obsolete_path = mem_strdup(path.text);
    }
    return producer_snapshot_encode(&log->producers, &side->bytes);
}

static enum err capture_marks(struct partition_log *log, struct sync_item *item)
{
    enum err err = log_segment_flush(log_active(log), log_state_tail(log), log->files, log->path, true);
    log_sync_marks_now(log, &item->marks);
    if (err == ERR_OK && item->marks.producers == MARKS_PRODUCERS_SNAPSHOT &&
        !has_snapshot_at(log, item->marks.recovery_offset)) {
        err = capture_snapshot(log, item);
    }
    if (err == ERR_OK) {
        struct side_write *side = add_side(item, store_path_join(log->path, LOG_MARKS_FILE));
        err = log_marks_encode(&item->marks, &side->bytes);
    }
    log->are_marks_wanted = false;
    log->bytes_since_marks = 0;
    return err;
}

static void take_waiters(struct partition_log *log, struct sync_item *item)
{
    item->waiters = log->waiters;
    log->waiters = NULL;
}

enum err log_sync_capture(struct partition_log *log, struct sync_item *ret_item)
{
    struct sync_item *item = ret_item;
    enum err err = ERR_OK;
    *item = (struct sync_item){.log = log, .end_offset = log->log_end_offset};
    item->has_marks = log->are_marks_wanted && !log->is_deleting;
    item->dir_path = log->path;
    if (log_dir_is_failed(log->dir)) {
        err = ERR_IO;
    }
    if (err == ERR_OK && log->are_epochs_unsaved && !log->is_deleting) {
        err = capture_epochs(log, item);
    }
    if (err == ERR_OK && item->has_marks) {
        err = capture_marks(log, item);
    }
    if (err == ERR_OK && !log->is_deleting) {
        err = capture_files(log, item);
    }
    take_waiters(log, item);
    log->job_count++;
    return err;
}

static void apply_segments(struct partition_log *log, const struct sync_item *item)
{
    for (size_t i = 0; i < item->segment_count; i++) {
        size_t index = log_state_find_segment(log, item->segments[i].base_offset);
        struct log_segment *segment = log->segments[index];
        if (segment->base_offset != item->segments[i].base_offset) {
            continue; /* removed by retention meanwhile */
        }
        segment->is_name_synced = true;
        segment->synced_bytes = item->segments[i].bytes;
        if (segment->synced_bytes == segment->bytes && segment->unsynced_log != NULL) {
            file_unref(segment->unsynced_log);
            segment->unsynced_log = NULL;
        }
    }
}

static void apply_marks(struct partition_log *log, const struct sync_item *item)
{
    if (log->marks.producers == MARKS_PRODUCERS_SNAPSHOT && log->marks.recovery_offset != item->marks.recovery_offset) {
        log->older_snapshot_offset = log->marks.recovery_offset;
    }
    log->marks = item->marks;
}

bool log_sync_apply(struct sync_item *item, enum err err)
{
    struct partition_log *log = item->log;
    int64_t counted_end = partition_log_counted_end(log);
    if (err == ERR_OK) {
        apply_segments(log, item);
        if (item->end_offset > log->synced_end_offset) {
            log->synced_end_offset = item->end_offset;
        }
        if (item->has_marks) {
            apply_marks(log, item);
        }
        if (item->has_epochs) {
            log->in_flight_epoch_offset = LOG_NO_OFFSET;
        }
    }
    struct log_waiter *waiter = item->waiters;
    item->waiters = NULL;
    if (err == ERR_OK && item->has_marks && item->marks.log_start_offset > log->log_start_offset) {
        log_retain_start_moved(log, item->marks.log_start_offset);
    }
    if (err == ERR_OK && item->has_marks) {
        log_retain_drop_old(log);
    }
    while (waiter != NULL) {
        struct log_waiter *next = waiter->next;
        if (err == ERR_OK && waiter->leader_epoch > log->appendable_epoch) {
            log->appendable_epoch = waiter->leader_epoch;
        }
        if (waiter->done != NULL) {
            waiter->done(waiter->ctx, err);
        }
        mem_free(waiter);
        waiter = next;
    }
    return err == ERR_OK && partition_log_counted_end(log) != counted_end;
}

void partition_log_begin_epoch(struct partition_log *log, int32_t leader_epoch, log_done_fn done, void *ctx)
{
    CHECK(leader_epoch >= 0);
    if (log->phase != LOG_OPEN) {
        log_state_refuse(log, log->phase == LOG_CHANGING ? ERR_BUSY : ERR_CLOSED, done, ctx);
        return;
    }
    if (epoch_cache_assign(&log->epochs, leader_epoch, log->log_end_offset)) {
        log->are_epochs_unsaved = true;
    }
    /* Older epochs end here: their leader may not append any more. */
    if (log->appendable_epoch != leader_epoch) {
        log->appendable_epoch = LOG_NO_EPOCH;
    }
    log_sync_wait(log, leader_epoch, done, ctx);
}
