#include "tests/unit/storage/log_script.h"

#include "broker/storage/log_state.h"
#include "common/mem.h"
#include "common/seam/fs.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define EXPECT(script, condition)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fail_msg("seed %" PRIu64 ": %s (end %" PRId64 " synced %" PRId64 " start %" PRId64 " hw %" PRId64 "): %s", \
                     (script)->prop.seed, #condition, (script)->end_offset, (script)->synced_offset,                   \
                     (script)->start_offset, (script)->high_watermark, (script)->harness->problem.text);               \
        }                                                                                                              \
    } while (0)

static void settle(struct log_script *script)
{
    script->append_offset = INT64_MAX;
    script->least_end_offset = INT64_MAX;
    script->most_start_offset = script->start_offset;
    script->discard_offset = -1;
}

void log_script_init(struct log_script *script, struct harness *harness, uint64_t seed)
{
    *script = (struct log_script){.harness = harness, .epoch = 1, .next_content = 1};
    prop_init_seed(&script->prop, seed);
    harness->settings.segment_bytes = 1200;
    harness->settings.index_interval_bytes = 200;
    harness->settings.durability = prop_chance(&script->prop, 2, 3) ? DURABILITY_SYNCED : DURABILITY_CACHED;
    settle(script);
}

void log_script_done(struct log_script *script)
{
    mem_free(script->batches);
}

enum err log_script_begin(struct log_script *script)
{
    enum err err = harness_start(script->harness);
    if (err == ERR_OK) {
        err = harness_create(script->harness);
    }
    return err == ERR_OK && !script->is_follower ? harness_begin_epoch(script->harness, script->epoch) : err;
}

static void push_batch(struct log_script *script, int64_t next_offset, uint64_t content)
{
    if (script->count == script->capacity) {
        script->capacity = script->capacity * 2 + 8;
        script->batches = mem_grow(script->batches, script->capacity, sizeof(*script->batches));
    }
    script->batches[script->count++] = (struct script_batch){script->end_offset, next_offset, content, script->epoch};
    script->end_offset = next_offset;
}

/* Producers are not modelled by number but by what the log itself says: a truncation takes sequences back. */
static void reload_producers(struct log_script *script)
{
    for (size_t i = 0; i < SCRIPT_PRODUCERS; i++) {
        const struct producer_entry *entry = producer_state_find(&script->harness->log->producers, (int64_t)i + 1);
        struct script_producer *producer = &script->producers[i];
        *producer = (struct script_producer){.is_known = entry != NULL};
        if (entry != NULL) {
            producer->epoch = entry->producer_epoch;
            producer->is_open = entry->txn_first_offset != LOG_NO_OFFSET;
            producer->next_sequence =
                entry->batch_count == 0 ? 0 : entry->batches[entry->batch_count - 1].last_sequence + 1;
        }
    }
}

static void note_synced(struct log_script *script)
{
    int64_t synced_offset = partition_log_synced_end(script->harness->log);
    EXPECT(script, synced_offset >= script->synced_offset && synced_offset <= script->end_offset);
    script->synced_offset = synced_offset;
}

static struct batch_wish draw_batch(struct log_script *script)
{
    size_t who = (size_t)prop_below(&script->prop, SCRIPT_PRODUCERS + 2);
    struct batch_wish wish = {.record_count = (int32_t)prop_range(&script->prop, 1, 4),
                              .value_bytes = (size_t)prop_skewed(&script->prop, 300),
                              .timestamp_ms = script->harness->clock.wall_ms,
                              .base_offset = script->end_offset,
                              .leader_epoch = script->epoch,
                              .content = script->next_content++};
    if (who < SCRIPT_PRODUCERS) {
        struct script_producer *producer = &script->producers[who];
        wish.producer_id = (int64_t)who + 1;
        wish.producer_epoch = producer->epoch;
        wish.base_sequence = producer->next_sequence;
        wish.is_transactional = producer->is_open || (who == 0 && prop_chance(&script->prop, 1, 2));
        if (producer->is_open && prop_chance(&script->prop, 1, 2)) {
            wish.is_abort = prop_chance(&script->prop, 1, 2);
            wish.is_commit = !wish.is_abort;
            wish.record_count = 1;
            wish.content = 0;
        }
    }
    return wish;
}

/* What a leader sent: up to three batches in one write, now and then of its next epoch. */
static enum err append_followed(struct log_script *script)
{
    struct bytebuf bytes;
    uint64_t batch_count = prop_range(&script->prop, 1, 3);
    bytebuf_init(&bytes, 16u << 20);
    for (uint64_t i = 0; i < batch_count; i++) {
        script->epoch += prop_chance(&script->prop, 1, 8) ? 1 : 0;
        struct batch_wish wish = draw_batch(script);
        if (i > 0 && wish.producer_id > 0) {
            wish.producer_id = 0; /* its sequence may depend on the batch before, which is not in the log yet */
            wish.is_transactional = wish.is_commit = wish.is_abort = false;
            wish.content = script->next_content++;
        }
        harness_build(&wish, &bytes);
        push_batch(script, script->end_offset + wish.record_count, wish.content);
    }
    enum err err = partition_log_append_as_follower(script->harness->log, bytebuf_span(&bytes));
    bytebuf_done(&bytes);
    return err;
}

static enum err append_led(struct log_script *script)
{
    struct append_result result;
    struct batch_wish wish = draw_batch(script);
    enum err err = harness_append(script->harness, &wish, &result);
    if (err == ERR_OK) {
        EXPECT(script, result.refusal == APPEND_ACCEPTED && !result.is_duplicate);
        EXPECT(script, result.base_offset == script->end_offset);
        EXPECT(script, result.last_offset == script->end_offset + wish.record_count - 1);
    }
    push_batch(script, script->end_offset + wish.record_count, wish.content);
    return err;
}

static enum err step_append(struct log_script *script)
{
    script->append_offset = script->end_offset;
    enum err err = script->is_follower ? append_followed(script) : append_led(script);
    if (err == ERR_OK) {
        EXPECT(script, partition_log_end_offset(script->harness->log) == script->end_offset);
        script->append_offset = INT64_MAX;
        reload_producers(script);
    }
    return err;
}

static enum err step_epoch(struct log_script *script)
{
    script->epoch += (int32_t)prop_range(&script->prop, 1, 3);
    if (script->is_follower) {
        return ERR_OK; /* it comes with the next batch */
    }
    enum err err = harness_begin_epoch(script->harness, script->epoch);
    if (err == ERR_OK) {
        note_synced(script);
    }
    return err;
}

static enum err step_pump(struct log_script *script)
{
    if (prop_chance(&script->prop, 1, 2)) {
        harness_pump(script->harness);
    } else {
        (void)harness_pump_once(script->harness);
    }
    note_synced(script);
    return log_dir_is_failed(script->harness->dir) ? ERR_IO : ERR_OK;
}

static enum err step_high_watermark(struct log_script *script)
{
    int64_t counted_end = partition_log_counted_end(script->harness->log);
    EXPECT(script, counted_end <= script->end_offset);
    if (counted_end > script->high_watermark) {
        script->high_watermark = prop_range_signed(&script->prop, script->high_watermark, counted_end);
        partition_log_set_high_watermark(script->harness->log, script->high_watermark);
    }
    int64_t stable_offset = partition_log_last_stable_offset(script->harness->log);
    EXPECT(script, stable_offset <= script->high_watermark);
    return ERR_OK;
}

static void drop_above(struct log_script *script, int64_t offset)
{
    while (script->count > 0 && script->batches[script->count - 1].next_offset > offset) {
        script->count--;
        script->end_offset = script->batches[script->count].base_offset;
    }
    if (script->synced_offset > script->end_offset) {
        script->synced_offset = script->end_offset;
    }
    if (script->high_watermark > script->end_offset) {
        script->high_watermark = script->end_offset;
    }
    if (script->checkpoint_offset > script->end_offset) {
        script->checkpoint_offset = script->end_offset;
    }
    script->stated_offset = script->checkpoint_offset;
}

static enum err step_truncate(struct log_script *script)
{
    int64_t offset = prop_range_signed(&script->prop, script->start_offset, script->end_offset);
    script->least_end_offset = offset;
    enum err err = harness_truncate_to(script->harness, offset);
    if (err != ERR_OK) {
        return err;
    }
    drop_above(script, offset);
    if (script->start_offset > script->end_offset) {
        script->start_offset = script->end_offset; /* it lay inside the batch that went */
    }
    EXPECT(script, partition_log_end_offset(script->harness->log) == script->end_offset);
    EXPECT(script, partition_log_start_offset(script->harness->log) == script->start_offset);
    settle(script);
    reload_producers(script);
    note_synced(script);
    return step_epoch(script);
}

static enum err step_discard(struct log_script *script)
{
    int64_t offset = script->end_offset + (int64_t)prop_below(&script->prop, 20);
    script->discard_offset = offset;
    enum err err = harness_truncate_fully(script->harness, offset);
    if (err != ERR_OK) {
        return err;
    }
    script->count = 0;
    script->end_offset = offset;
    script->start_offset = offset;
    script->synced_offset = offset;
    script->high_watermark = offset;
    script->stated_offset = offset;
    settle(script);
    reload_producers(script);
    EXPECT(script, partition_log_end_offset(script->harness->log) == offset);
    return step_epoch(script);
}

static void drop_below(struct log_script *script, int64_t offset)
{
    script->start_offset = offset;
    settle(script);
}

static enum err step_delete(struct log_script *script)
{
    if (script->high_watermark <= script->start_offset) {
        return ERR_OK;
    }
    int64_t offset = prop_range_signed(&script->prop, script->start_offset, script->high_watermark);
    script->most_start_offset = offset;
    enum err err = harness_delete_records(script->harness, offset);
    if (err == ERR_OK) {
        drop_below(script, offset);
        EXPECT(script, partition_log_start_offset(script->harness->log) == offset);
        note_synced(script);
    }
    return err;
}

static enum err step_maintain(struct log_script *script)
{
    struct harness *harness = script->harness;
    harness->settings.retention_ms = prop_chance(&script->prop, 1, 4) ? 50000 : -1;
    harness->settings.retention_bytes = prop_chance(&script->prop, 1, 4) ? 3000 : -1;
    partition_log_set_settings(harness->log, &harness->settings);
    harness->clock.wall_ms += (int64_t)prop_below(&script->prop, 40000);
    script->most_start_offset = script->high_watermark;
    partition_log_maintain(harness->log);
    harness_pump(harness);
    if (log_dir_is_failed(harness->dir)) {
        return ERR_IO;
    }
    int64_t start_offset = partition_log_start_offset(harness->log);
    EXPECT(script, start_offset >= script->start_offset && start_offset <= script->most_start_offset);
    drop_below(script, start_offset);
    note_synced(script);
    return ERR_OK;
}

/* As the broker does every few seconds; the rows may be older than what happens before the next set. */
enum err log_script_checkpoint(struct log_script *script)
{
    struct harness *harness = script->harness;
    struct log_checkpoint_row row;
    struct log_checkpoint *checkpoint = log_checkpoint_new(harness->dir);
    partition_log_checkpoint(harness->log, &row);
    log_checkpoint_add(checkpoint, HARNESS_TOPIC, 0, &row);
    enum err err = log_checkpoint_write(checkpoint);
    log_checkpoint_free(checkpoint);
    if (err == ERR_OK && harness->settings.durability == DURABILITY_SYNCED) {
        script->checkpoint_offset = row.high_watermark;
        script->stated_offset = row.high_watermark > script->stated_offset ? row.high_watermark : script->stated_offset;
    }
    return err;
}

static enum err step_reopen(struct log_script *script)
{
    struct harness *harness = script->harness;
    bool is_orderly = prop_chance(&script->prop, 1, 2);
    int64_t end_offset = partition_log_end_offset(harness->log);
    enum err err = harness_stop(harness, is_orderly);
    if (err == ERR_OK) {
        err = harness_start(harness);
    }
    if (err == ERR_OK) {
        err = harness_open(harness);
        EXPECT(script, err != ERR_CORRUPT);
    }
    if (err != ERR_OK) {
        return err;
    }
    EXPECT(script, partition_log_end_offset(harness->log) == end_offset);
    EXPECT(script, partition_log_start_offset(harness->log) == script->start_offset);
    script->high_watermark = partition_log_high_watermark(harness->log);
    if (is_orderly) {
        bool is_synced = harness->settings.durability == DURABILITY_SYNCED;
        script->stated_offset = end_offset;
        script->checkpoint_offset = is_synced ? script->high_watermark : script->checkpoint_offset;
    }
    note_synced(script);
    reload_producers(script);
    return step_epoch(script);
}

enum err log_script_step(struct log_script *script)
{
    uint64_t draw = prop_below(&script->prop, 100);
    script->harness->clock.wall_ms += (int64_t)prop_below(&script->prop, 500);
    return draw < 55   ? step_append(script)
           : draw < 72 ? step_pump(script)
           : draw < 82 ? step_high_watermark(script)
           : draw < 85 ? step_epoch(script)
           : draw < 89 ? step_truncate(script)
           : draw < 90 ? step_discard(script)
           : draw < 93 ? step_delete(script)
           : draw < 95 ? step_maintain(script)
           : draw < 97 ? log_script_checkpoint(script)
                       : step_reopen(script);
}

static const struct script_batch *find_batch(const struct log_script *script, int64_t offset)
{
    for (size_t i = script->count; i > 0; i--) {
        if (script->batches[i - 1].base_offset <= offset) {
            return offset < script->batches[i - 1].next_offset ? &script->batches[i - 1] : NULL;
        }
    }
    return NULL;
}

static void check_batch(struct log_script *script, const struct batch *batch, struct producer_state *replay)
{
    const struct script_batch *expected = find_batch(script, batch->header.base_offset);
    struct control_marker marker;
    struct aborted_txn aborted;
    bool is_marker = batch_is_control(&batch->header) && control_batch_parse(batch, &marker) == ERR_OK;
    EXPECT(script, expected != NULL);
    EXPECT(script, expected->base_offset == batch->header.base_offset);
    EXPECT(script, expected->next_offset == batch_next_offset(&batch->header));
    EXPECT(script, expected->epoch == batch->header.partition_leader_epoch);
    /* Of a batch that the log start cuts, only the rest is part of the log. */
    int64_t offset =
        batch->header.base_offset > script->start_offset ? batch->header.base_offset : script->start_offset;
    EXPECT(script, partition_log_epoch_at(script->harness->log, offset) == expected->epoch);
    EXPECT(script, batch_check_crc(batch) == ERR_OK);
    if (!batch_is_control(&batch->header)) {
        struct record_iter iter;
        struct record record;
        record_iter_init(&iter, &batch->header, batch_records(batch));
        EXPECT(script, record_iter_next(&iter, &record) == ERR_OK);
        EXPECT(script, memcmp(record.value.data, &expected->content, sizeof(expected->content)) == 0);
    }
    (void)producer_state_update(replay, &batch->header, is_marker ? &marker : NULL, 0, &aborted);
}

/* What replay finds in the log, the log's own state must have too; it may know more, of batches that retention removed. */
static void check_producers(struct log_script *script, const struct producer_state *replay)
{
    for (const struct producer_entry *entry = replay->entries; entry != NULL; entry = entry->hh.next) {
        const struct producer_entry *known = producer_state_find(&script->harness->log->producers, entry->producer_id);
        EXPECT(script, known != NULL);
        EXPECT(script, known->producer_epoch == entry->producer_epoch);
        EXPECT(script, known->batch_count >= entry->batch_count);
        for (uint32_t i = 1; i <= entry->batch_count; i++) {
            const struct producer_batch *left = &entry->batches[entry->batch_count - i];
            const struct producer_batch *right = &known->batches[known->batch_count - i];
            EXPECT(script, left->last_offset == right->last_offset && left->last_sequence == right->last_sequence &&
                               left->offset_delta == right->offset_delta);
        }
        if (entry->txn_first_offset != LOG_NO_OFFSET) {
            EXPECT(script,
                   known->txn_first_offset != LOG_NO_OFFSET && known->txn_first_offset <= entry->txn_first_offset);
        } else {
            EXPECT(script, known->txn_first_offset < script->start_offset || known->txn_first_offset == LOG_NO_OFFSET);
        }
    }
}

static int64_t check_slice(struct log_script *script, int64_t offset, struct producer_state *replay)
{
    struct log_read_request request = {.offset = offset,
                                       .end_offset = script->end_offset,
                                       .max_bytes = (size_t)prop_range(&script->prop, 1, 3000),
                                       .wants_one = true};
    struct log_read read;
    EXPECT(script, log_read_plan(script->harness->log, &request, &read) == ERR_OK);
    enum err err = log_read_try(&read);
    if (err == ERR_WOULD_BLOCK) {
        err = log_read_run(&read);
    }
    EXPECT(script, err == ERR_OK && read.slice.bytes > 0);
    uint8_t *bytes = mem_alloc(read.slice.bytes);
    size_t read_bytes = 0;
    EXPECT(script, file_pread(read.slice.file, bytes, read.slice.bytes, read.slice.pos, &read_bytes) == ERR_OK);
    struct span rest = span_make(bytes, read_bytes);
    struct batch batch;
    while (batch_next(&rest, &batch) == ERR_OK) {
        check_batch(script, &batch, replay);
        offset = batch_next_offset(&batch.header);
    }
    EXPECT(script, rest.bytes == 0 && offset == read.slice.next_offset);
    log_read_remember(script->harness->log, &read);
    log_read_done(&read);
    mem_free(bytes);
    return offset;
}

void log_script_check_all(struct log_script *script)
{
    struct producer_state replay;
    int64_t offset = script->start_offset;
    producer_state_init(&replay);
    EXPECT(script, partition_log_end_offset(script->harness->log) == script->end_offset);
    while (offset < script->end_offset) {
        offset = check_slice(script, offset, &replay);
    }
    EXPECT(script, offset == script->end_offset);
    check_producers(script, &replay);
    producer_state_done(&replay);
}

void log_script_check_recovered(struct log_script *script, bool lost_power)
{
    struct partition_log *log = script->harness->log;
    int64_t end_offset = partition_log_end_offset(log);
    int64_t start_offset = partition_log_start_offset(log);
    /* Nobody may read what had not been committed (R3). */
    EXPECT(script, partition_log_high_watermark(log) <= script->high_watermark ||
                       partition_log_high_watermark(log) <= start_offset);
    if (script->discard_offset >= 0 && start_offset == script->discard_offset) {
        EXPECT(script, end_offset == script->discard_offset);
        script->count = 0;
        script->end_offset = end_offset;
        script->start_offset = start_offset;
    } else {
        int64_t least = lost_power ? script->synced_offset : script->end_offset;
        /* The crash may have torn an append that was under way; its caller was told nothing. */
        least = script->append_offset < least ? script->append_offset : least;
        least = script->least_end_offset < least ? script->least_end_offset : least;
        const struct script_batch *cut = find_batch(script, least);
        least = script->least_end_offset == least && cut != NULL ? cut->base_offset : least;
        EXPECT(script, end_offset >= least);
        EXPECT(script, end_offset <= script->end_offset);
        EXPECT(script, start_offset <= script->most_start_offset);
        EXPECT(script, start_offset >= (least < script->start_offset ? least : script->start_offset));
        EXPECT(script, end_offset == script->end_offset || find_batch(script, end_offset) == NULL ||
                           find_batch(script, end_offset)->base_offset == end_offset);
        drop_above(script, end_offset);
        script->start_offset = start_offset;
    }
    script->synced_offset = partition_log_synced_end(log);
    script->high_watermark = partition_log_high_watermark(log);
    EXPECT(script, script->synced_offset == end_offset);
    settle(script);
    log_script_check_all(script);
    reload_producers(script);
}
