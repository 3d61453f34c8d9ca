/* A log's memory, its simple questions, and how it goes: attach, close, delete. */
#include "broker/storage/partition_log.h"

#include "broker/storage/log_state.h"
#include "common/mem.h"
#include "common/seam/env.h"
#include "common/seam/rng.h"

#include <stdio.h>
#include <stdlib.h>

struct partition_log *log_state_new(struct log_dir *dir, const struct partition_log_id *id,
                                    const struct log_settings *settings)
{
    struct partition_log *log = MEM_NEW(struct partition_log);
    log->dir = dir;
    log->env = log_dir_env(dir);
    log->topic = mem_strdup(id->topic);
    log->partition_index = id->partition_index;
    log->topic_id = id->topic_id;
    log->path = mem_format("%s/%s-%d", log_dir_path(dir), id->topic, (int)id->partition_index);
    epoch_cache_init(&log->epochs);
    producer_state_init(&log->producers);
    log->appendable_epoch = LOG_NO_EPOCH;
    log->unsaved_epoch_offset = LOG_NO_OFFSET;
    log->in_flight_epoch_offset = LOG_NO_OFFSET;
    log->older_snapshot_offset = LOG_NO_OFFSET;
    log_state_forget_places(log);
    partition_log_set_settings(log, settings);
    return log;
}

void log_state_free(struct partition_log *log)
{
    if (log == NULL) {
        return;
    }
    for (size_t i = 0; i < log->segment_count; i++) {
        log_segment_free(log->segments[i], log->files);
    }
    mem_free(log->segments);
    mem_free(log->tail);
    mem_free(log->boundaries);
    epoch_cache_done(&log->epochs);
    producer_state_done(&log->producers);
    mem_free(log->topic);
    mem_free(log->path);
    mem_free(log);
}

void log_state_add_segment(struct partition_log *log, struct log_segment *segment)
{
    if (log->segment_count == log->segment_capacity) {
        log->segment_capacity = log->segment_capacity == 0 ? 1 : log->segment_capacity * 2;
        log->segments = mem_grow(log->segments, log->segment_capacity, sizeof(*log->segments));
    }
    log->segments[log->segment_count++] = segment;
}

void log_state_drop_first(struct partition_log *log, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        log_segment_free(log->segments[i], log->files);
    }
    log->segment_count -= count;
    memmove(log->segments, log->segments + count, log->segment_count * sizeof(*log->segments));
}

size_t log_state_find_segment(const struct partition_log *log, int64_t offset)
{
    size_t low = 0;
    size_t high = log->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle]->base_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}

int64_t log_state_segment_end(const struct partition_log *log, size_t index)
{
    return index + 1 < log->segment_count ? log->segments[index + 1]->base_offset : log->log_end_offset;
}

void log_state_forget_places(struct partition_log *log)
{
    mem_free(log->boundaries);
    log->boundaries = NULL;
    for (size_t i = 0; i < LOG_CURSORS; i++) {
        log->cursors[i].offset = LOG_NO_OFFSET;
    }
}

struct index_tail *log_state_tail(struct partition_log *log)
{
    if (log->tail == NULL) {
        log->tail = MEM_NEW(struct index_tail);
        log->tail->bytes_since_entry = log->bytes_since_entry;
    }
    return log->tail;
}

void log_state_free_tail(struct partition_log *log)
{
    if (log->tail != NULL) {
        CHECK(log->tail->offset_count == 0 && log->tail->time_count == 0);
        log->bytes_since_entry = log->tail->bytes_since_entry;
        mem_free(log->tail);
        log->tail = NULL;
    }
}

/* The log may be gone when this returns. */
void log_state_job_done(struct partition_log *log)
{
    CHECK(log->job_count > 0);
    log->job_count--;
    if (log->job_count == 0 && log->when_quiet != NULL && !log->is_queued_for_sync) {
        void (*run)(struct partition_log *) = log->when_quiet;
        log->when_quiet = NULL;
        run(log);
    }
}

/* Through the sync group: its job is the way back to the loop, and it keeps the order with syncs under way. */
void log_state_when_quiet(struct partition_log *log, void (*run)(struct partition_log *log))
{
    CHECK(log->when_quiet == NULL);
    log->when_quiet = run;
    log_sync_want(log);
}

struct refusal {
    struct loop_task task;
    enum err err;
    log_done_fn done;
    void *ctx;
};

static void refuse(struct loop_task *task)
{
    struct refusal *refusal = CONTAINER_OF(task, struct refusal, task);
    struct refusal copy = *refusal;
    mem_free(refusal);
    copy.done(copy.ctx, copy.err);
}

void log_state_refuse(struct partition_log *log, enum err err, log_done_fn done, void *ctx)
{
    struct refusal *refusal = MEM_NEW(struct refusal);
    refusal->task.run = refuse;
    refusal->err = err;
    refusal->done = done;
    refusal->ctx = ctx;
    loop_defer(log->loop, &refusal->task);
}

enum err log_state_fail(struct partition_log *log, const char *what, enum err err)
{
    char text[OPTION_PROBLEM_BYTES + LOG_TOPIC_NAME_BYTES_MAX];
    (void)snprintf(text, sizeof(text), "%s of %s-%d", what, log->topic, (int)log->partition_index);
    log_dir_fail(log->dir, text, err);
    return err;
}

void partition_log_attach(struct partition_log *log, struct loop *loop, struct file_cache *files,
                          struct sync_group *sync_group, void *owner)
{
    CHECK(log->loop == NULL);
    log->loop = loop;
    log->files = files;
    log->sync_group = sync_group;
    log->owner = owner;
    if (log->are_marks_wanted) {
        log_sync_want(log);
    }
}

void partition_log_set_settings(struct partition_log *log, const struct log_settings *settings)
{
    bool becomes_synced =
        log->loop != NULL && settings->durability == DURABILITY_SYNCED && log->settings.durability != DURABILITY_SYNCED;
    log->settings = *settings;
    log->jitter_ms = settings->segment_jitter_ms <= 0
                         ? 0
                         : (int64_t)(rng_u64(log->env->rng) % (uint64_t)settings->segment_jitter_ms);
    if (becomes_synced) {
        /* The high watermark counts as synced from the marks on that say so. */
        log->are_marks_wanted = true;
        log_sync_want(log);
    }
}

void partition_log_set_high_watermark(struct partition_log *log, int64_t high_watermark)
{
    CHECK(high_watermark <= log->log_end_offset);
    log->high_watermark = high_watermark;
    producer_state_on_high_watermark(&log->producers, high_watermark);
}

int64_t partition_log_start_offset(const struct partition_log *log)
{
    return log->log_start_offset;
}

int64_t partition_log_end_offset(const struct partition_log *log)
{
    return log->log_end_offset;
}

int64_t partition_log_synced_end(const struct partition_log *log)
{
    return log->synced_end_offset;
}

static int64_t least(int64_t a, int64_t b)
{
    return b != LOG_NO_OFFSET && b < a ? b : a;
}

int64_t partition_log_counted_end(const struct partition_log *log)
{
    int64_t end = log->settings.durability == DURABILITY_SYNCED ? log->synced_end_offset : log->log_end_offset;
    return least(least(end, log->unsaved_epoch_offset), log->in_flight_epoch_offset);
}

int64_t partition_log_high_watermark(const struct partition_log *log)
{
    return log->high_watermark;
}

int64_t partition_log_last_stable_offset(const struct partition_log *log)
{
    return least(log->high_watermark, producer_state_first_unstable(&log->producers));
}

uint64_t partition_log_bytes(const struct partition_log *log)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < log->segment_count; i++) {
        bytes += log->segments[i]->bytes;
    }
    return bytes;
}

size_t partition_log_segment_count(const struct partition_log *log)
{
    return log->segment_count;
}

void partition_log_checkpoint(const struct partition_log *log, struct log_checkpoint_row *ret_row)
{
    /* A row never says more is on disk than is: with durability=synced the high watermark does not pass the synced end but
     * for the moment after that setting was changed. */
    bool is_synced = log->settings.durability == DURABILITY_SYNCED;
    int64_t high_watermark = is_synced ? least(log->high_watermark, log->synced_end_offset) : log->high_watermark;
    int64_t floor = log_truncation_floor(log);
    *ret_row = (struct log_checkpoint_row){
        .recovery_point_offset = least(log->marks.recovery_offset, floor),
        .high_watermark = least(high_watermark, floor),
        .log_start_offset = log->log_start_offset,
    };
}

const char *partition_log_topic(const struct partition_log *log)
{
    return log->topic;
}

int32_t partition_log_index(const struct partition_log *log)
{
    return log->partition_index;
}

struct uuid partition_log_topic_id(const struct partition_log *log)
{
    return log->topic_id;
}

struct log_dir *partition_log_dir(const struct partition_log *log)
{
    return log->dir;
}

int32_t partition_log_last_epoch(const struct partition_log *log)
{
    const struct epoch_entry *last = epoch_cache_last(&log->epochs);
    return last == NULL ? LOG_NO_EPOCH : last->epoch;
}

void partition_log_end_offset_for_epoch(const struct partition_log *log, int32_t leader_epoch, int32_t *ret_epoch,
                                        int64_t *ret_end_offset)
{
    epoch_cache_end_offset(&log->epochs, leader_epoch, log->log_end_offset, ret_epoch, ret_end_offset);
}

int64_t partition_log_epoch_start_offset(const struct partition_log *log, int32_t leader_epoch)
{
    const struct epoch_entry *entry = epoch_cache_find(&log->epochs, leader_epoch);
    return entry == NULL ? LOG_NO_OFFSET : entry->start_offset;
}

int32_t partition_log_epoch_at(const struct partition_log *log, int64_t offset)
{
    const struct epoch_entry *entry = epoch_cache_at_offset(&log->epochs, offset);
    return entry == NULL ? LOG_NO_EPOCH : entry->epoch;
}

bool partition_log_next_sequence(const struct partition_log *log, int64_t producer_id, int16_t producer_epoch,
                                 int32_t *ret_sequence)
{
    const struct producer_entry *entry = producer_state_find(&log->producers, producer_id);
    *ret_sequence = entry == NULL ? 0 : producer_entry_next_sequence(entry, producer_epoch);
    return entry != NULL;
}

static int compare_producers(const void *a, const void *b)
{
    const struct producer_entry *const *left = a;
    const struct producer_entry *const *right = b;
    return ((*left)->producer_id > (*right)->producer_id) - ((*left)->producer_id < (*right)->producer_id);
}

void partition_log_each_producer(const struct partition_log *log, partition_log_producer_fn each, void *ctx)
{
    size_t count = producer_state_count(&log->producers);
    size_t next = 0;
    if (count == 0) {
        return;
    }
    const struct producer_entry **entries = mem_array(count, sizeof(struct producer_entry *));
    for (const struct producer_entry *entry = log->producers.entries; entry != NULL; entry = entry->hh.next) {
        entries[next++] = entry;
    }
    qsort(entries, count, sizeof(struct producer_entry *), compare_producers);
    for (size_t i = 0; i < count; i++) {
        each(ctx, entries[i]);
    }
    mem_free(entries);
}
