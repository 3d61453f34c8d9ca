/* What a log promises to the replica layer, step by step, on a simulated disk. */
#include "broker/storage/producer_state.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/unit/storage/log_harness.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct fs_sim *sim;
    struct harness harness;
};

static int setup(void **state)
{
    struct fixture *fixture = MEM_NEW(struct fixture);
    fixture->sim = fs_sim_new(NULL);
    harness_init(&fixture->harness, fixture->sim, NULL, HARNESS_DIR);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    harness_done(&fixture->harness);
    unsigned open_files = fs_sim_open_files(fixture->sim);
    fs_sim_free(fixture->sim);
    mem_free(fixture);
    return open_files == 0 ? 0 : 1;
}

static struct harness *begin(void **state)
{
    struct fixture *fixture = *state;
    struct harness *harness = &fixture->harness;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
    return harness;
}

/* Reads [offset, log end) slice by slice and counts records. */
static int64_t read_all(struct harness *harness, int64_t offset, size_t max_bytes)
{
    int64_t end_offset = partition_log_end_offset(harness->log);
    int64_t records = 0;
    while (offset < end_offset) {
        struct log_read_request request = {
            .offset = offset, .end_offset = end_offset, .max_bytes = max_bytes, .wants_one = true};
        struct log_read read;
        assert_int_equal(log_read_plan(harness->log, &request, &read), ERR_OK);
        assert_int_equal(log_read_run(&read), ERR_OK);
        assert_true(read.slice.bytes > 0);
        assert_true(read.slice.first_offset <= offset && read.slice.next_offset > offset);
        uint8_t *bytes = mem_alloc(read.slice.bytes);
        size_t read_bytes = 0;
        assert_int_equal(file_pread(read.slice.file, bytes, read.slice.bytes, read.slice.pos, &read_bytes), ERR_OK);
        assert_int_equal(read_bytes, read.slice.bytes);
        struct span rest = span_make(bytes, read_bytes);
        struct batch batch;
        int64_t expected = read.slice.first_offset;
        while (batch_next(&rest, &batch) == ERR_OK) {
            assert_int_equal(batch.header.base_offset, expected);
            assert_int_equal(batch_check_crc(&batch), ERR_OK);
            expected = batch_next_offset(&batch.header);
            records += batch.header.record_count;
        }
        assert_int_equal(rest.bytes, 0);
        assert_int_equal(expected, read.slice.next_offset);
        offset = read.slice.next_offset;
        log_read_remember(harness->log, &read);
        mem_free(bytes);
        log_read_done(&read);
    }
    return records;
}

static void appended_records_are_read_back(void **state)
{
    struct harness *harness = begin(state);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 3, i), ERR_OK);
    }
    assert_int_equal(partition_log_end_offset(harness->log), 300);
    assert_int_equal(partition_log_synced_end(harness->log), 0);
    harness_pump(harness);
    assert_int_equal(partition_log_synced_end(harness->log), 300);
    assert_int_equal(harness->synced_calls, 1);
    assert_int_equal(read_all(harness, 0, 1000), 300);
    assert_int_equal(read_all(harness, 0, 1), 300);
    assert_int_equal(read_all(harness, 0, 1u << 20), 300);
    assert_int_equal(read_all(harness, 299, 1u << 20), 3);
}

static void a_log_survives_an_orderly_stop_without_a_scan(void **state)
{
    struct harness *harness = begin(state);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 2, i), ERR_OK);
    }
    harness_pump(harness);
    partition_log_set_high_watermark(harness->log, 100);
    assert_int_equal(harness_stop(harness, true), ERR_OK);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_true(log_dir_was_clean(harness->dir));
    uint64_t calls = fs_sim_call_count(harness->sim);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(fs_sim_call_count(harness->sim), calls); /* nothing was written */
    assert_int_equal(partition_log_end_offset(harness->log), 100);
    assert_int_equal(partition_log_high_watermark(harness->log), 100);
    assert_int_equal(partition_log_last_epoch(harness->log), 1);
    assert_int_equal(read_all(harness, 0, 500), 100);
}

static void segments_roll_and_are_read_across(void **state)
{
    struct harness *harness = begin(state);
    harness->settings.segment_bytes = 2000;
    harness->settings.index_interval_bytes = 100;
    partition_log_set_settings(harness->log, &harness->settings);
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 1, i), ERR_OK);
        if (i % 7 == 0) {
            harness_pump(harness);
        }
    }
    assert_true(partition_log_segment_count(harness->log) > 5);
    assert_int_equal(read_all(harness, 0, 333), 200);
    assert_int_equal(read_all(harness, 57, 10000), 143);
    assert_int_equal(harness_stop(harness, true), ERR_OK);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), 200);
    assert_int_equal(read_all(harness, 3, 333), 197);
}

static void a_kill_loses_nothing_and_a_power_loss_only_what_was_not_synced(void **state)
{
    struct harness *harness = begin(state);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 1, i), ERR_OK);
    }
    harness_pump(harness);
    assert_int_equal(harness_append_plain(harness, 1, 1, 99), ERR_OK);
    struct fs_sim *copy = fs_sim_clone(harness->sim);
    fs_sim_crash(copy, FS_SIM_CRASH_KILL, 1);
    struct harness other;
    harness_init(&other, copy, NULL, HARNESS_DIR);
    assert_int_equal(harness_start(&other), ERR_OK);
    assert_int_equal(harness_open(&other), ERR_OK);
    assert_int_equal(partition_log_end_offset(other.log), 11);
    assert_int_equal(partition_log_synced_end(other.log), 11);
    harness_done(&other);
    fs_sim_free(copy);
    copy = fs_sim_clone(harness->sim);
    fs_sim_crash(copy, FS_SIM_CRASH_LOSE, 1);
    harness_init(&other, copy, NULL, HARNESS_DIR);
    assert_int_equal(harness_start(&other), ERR_OK);
    assert_int_equal(harness_open(&other), ERR_OK);
    assert_int_equal(partition_log_end_offset(other.log), 10);
    harness_done(&other);
    fs_sim_free(copy);
}

static void truncation_drops_records_epochs_and_producers(void **state)
{
    struct harness *harness = begin(state);
    harness->settings.segment_bytes = 1500;
    partition_log_set_settings(harness->log, &harness->settings);
    struct append_result result;
    for (int32_t i = 0; i < 30; i++) {
        struct batch_wish wish = {.record_count = 1,
                                  .value_bytes = 50,
                                  .timestamp_ms = 1,
                                  .producer_id = 9,
                                  .base_sequence = i,
                                  .leader_epoch = 1};
        assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
        assert_int_equal(result.base_offset, i);
    }
    assert_int_equal(harness_begin_epoch(harness, 3), ERR_OK);
    for (int32_t i = 30; i < 40; i++) {
        struct batch_wish wish = {.record_count = 1,
                                  .value_bytes = 50,
                                  .timestamp_ms = 1,
                                  .producer_id = 9,
                                  .base_sequence = i,
                                  .leader_epoch = 3};
        assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    }
    harness_pump(harness);
    struct log_read_request request = {.offset = 20, .end_offset = 40, .max_bytes = 100000};
    struct log_read read;
    assert_int_equal(log_read_plan(harness->log, &request, &read), ERR_OK);
    assert_int_equal(log_read_run(&read), ERR_OK);
    struct file *held = file_ref(read.slice.file);
    uint8_t before[64];
    uint8_t after[64];
    size_t got = 0;
    uint64_t pos = read.slice.pos + read.slice.bytes - sizeof(before);
    assert_int_equal(file_pread(held, before, sizeof(before), pos, &got), ERR_OK);
    log_read_done(&read);
    assert_int_equal(harness_truncate_to(harness, 21), ERR_OK);
    /* A reader that holds the file still sees its bytes (trap 20). */
    assert_int_equal(file_pread(held, after, sizeof(after), pos, &got), ERR_OK);
    assert_int_equal(got, sizeof(after));
    assert_memory_equal(before, after, sizeof(before));
    file_unref(held);
    assert_int_equal(partition_log_end_offset(harness->log), 21);
    assert_int_equal(partition_log_last_epoch(harness->log), 1);
    assert_int_equal(read_all(harness, 0, 500), 21);
    struct batch_wish wish = {.record_count = 1,
                              .value_bytes = 50,
                              .timestamp_ms = 1,
                              .producer_id = 9,
                              .base_sequence = 21,
                              .leader_epoch = 4};
    assert_int_equal(harness_append(harness, &wish, &result), ERR_STALE);
    assert_int_equal(harness_begin_epoch(harness, 4), ERR_OK);
    assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    assert_int_equal(result.refusal, APPEND_ACCEPTED);
    assert_int_equal(result.base_offset, 21);
    wish.base_sequence = 30;
    assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    assert_int_equal(result.refusal, APPEND_OUT_OF_ORDER_SEQUENCE);
    wish.base_sequence = 20;
    assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    assert_true(result.is_duplicate);
    assert_int_equal(result.base_offset, 20);
    assert_int_equal(harness_truncate_fully(harness, 1000), ERR_OK);
    assert_int_equal(partition_log_start_offset(harness->log), 1000);
    assert_int_equal(partition_log_end_offset(harness->log), 1000);
    assert_int_equal(harness_stop(harness, false), ERR_OK);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), 1000);
}

static void deleted_records_stay_deleted(void **state)
{
    struct harness *harness = begin(state);
    harness->settings.segment_bytes = 1000;
    partition_log_set_settings(harness->log, &harness->settings);
    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 1, i), ERR_OK);
    }
    harness_pump(harness);
    partition_log_set_high_watermark(harness->log, 30);
    size_t segments = partition_log_segment_count(harness->log);
    assert_int_equal(harness_delete_records(harness, 31), ERR_OUT_OF_RANGE);
    assert_int_equal(harness_delete_records(harness, 25), ERR_OK);
    assert_int_equal(partition_log_start_offset(harness->log), 25);
    assert_true(partition_log_segment_count(harness->log) < segments);
    struct log_read_request request = {.offset = 24, .end_offset = 40, .max_bytes = 100};
    struct log_read read;
    assert_int_equal(log_read_plan(harness->log, &request, &read), ERR_OUT_OF_RANGE);
    assert_int_equal(read_all(harness, 25, 100), 15);
    harness_crash(harness, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_start_offset(harness->log), 25);
    assert_int_equal(partition_log_end_offset(harness->log), 40);
}

static void old_segments_go_by_age_and_by_size(void **state)
{
    struct harness *harness = begin(state);
    harness->settings.segment_bytes = 1000;
    harness->settings.retention_ms = 60000;
    partition_log_set_settings(harness->log, &harness->settings);
    for (uint64_t i = 0; i < 40; i++) {
        harness->clock.wall_ms += 1000;
        assert_int_equal(harness_append_plain(harness, 1, 1, i), ERR_OK);
    }
    harness_pump(harness);
    partition_log_maintain(harness->log);
    harness_pump(harness);
    assert_int_equal(partition_log_start_offset(harness->log), 0);
    partition_log_set_high_watermark(harness->log, 40);
    harness->clock.wall_ms += 40000;
    partition_log_maintain(harness->log);
    harness_pump(harness);
    int64_t start = partition_log_start_offset(harness->log);
    assert_true(start > 0 && start < 40);
    harness->clock.wall_ms += 100000;
    partition_log_maintain(harness->log);
    harness_pump(harness);
    assert_int_equal(partition_log_start_offset(harness->log), 40);
    assert_int_equal(partition_log_segment_count(harness->log), 1);
    assert_int_equal(partition_log_bytes(harness->log), 0);
}

static void readers_of_committed_data_stop_at_open_transactions(void **state)
{
    struct harness *harness = begin(state);
    struct append_result result;
    struct batch_wish wish = {
        .record_count = 2, .timestamp_ms = 5, .producer_id = 7, .is_transactional = true, .leader_epoch = 1};
    assert_int_equal(harness_append_plain(harness, 1, 1, 0), ERR_OK);
    assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    assert_int_equal(harness_append_plain(harness, 1, 1, 0), ERR_OK);
    partition_log_set_high_watermark(harness->log, 4);
    assert_int_equal(partition_log_last_stable_offset(harness->log), 1);
    struct batch_wish plain = {
        .record_count = 1, .timestamp_ms = 5, .producer_id = 7, .base_sequence = 2, .leader_epoch = 1};
    assert_int_equal(harness_append(harness, &plain, &result), ERR_OK);
    assert_int_equal(result.refusal, APPEND_INVALID_TXN_STATE);
    struct batch_wish marker = {.producer_id = 7, .is_abort = true, .leader_epoch = 1, .timestamp_ms = 6};
    assert_int_equal(harness_append(harness, &marker, &result), ERR_OK);
    assert_int_equal(result.base_offset, 4);
    assert_int_equal(partition_log_last_stable_offset(harness->log), 1); /* the marker is above the high watermark */
    partition_log_set_high_watermark(harness->log, 5);
    assert_int_equal(partition_log_last_stable_offset(harness->log), 5);
    struct log_read_request request = {.offset = 0, .end_offset = 5, .max_bytes = 100000, .wants_aborted = true};
    struct log_read read;
    assert_int_equal(log_read_plan(harness->log, &request, &read), ERR_OK);
    assert_int_equal(log_read_run(&read), ERR_OK);
    assert_int_equal(read.aborted_count, 1);
    assert_int_equal(read.aborted[0].producer_id, 7);
    assert_int_equal(read.aborted[0].first_offset, 1);
    assert_int_equal(read.aborted[0].last_offset, 4);
    log_read_done(&read);
    harness_pump(harness);
    assert_int_equal(harness_stop(harness, true), ERR_OK);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(log_read_plan(harness->log, &request, &read), ERR_OK);
    assert_int_equal(log_read_run(&read), ERR_OK);
    assert_int_equal(read.aborted_count, 1);
    log_read_done(&read);
}

static void offsets_are_found_by_time(void **state)
{
    struct harness *harness = begin(state);
    struct append_result result;
    harness->settings.segment_bytes = 3000;
    harness->settings.index_interval_bytes = 200;
    partition_log_set_settings(harness->log, &harness->settings);
    for (int64_t i = 0; i < 100; i++) {
        struct batch_wish wish = {.record_count = 3,
                                  .value_bytes = 10,
                                  .timestamp_ms = 1000 + i * 10,
                                  .leader_epoch = 1,
                                  .codec = i % 2 == 0 ? BATCH_CODEC_NONE : BATCH_CODEC_ZSTD};
        assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    }
    harness_pump(harness);
    const struct {
        int64_t timestamp_ms;
        int64_t offset;
    } cases[] = {{0, 0}, {1000, 0}, {1001, 1}, {1003, 3}, {1010, 3}, {1512, 155}, {1992, 299}, {1993, -1}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct log_time_query query;
        assert_int_equal(log_time_plan(harness->log, LOG_TIME_AT_OR_AFTER, cases[i].timestamp_ms, 300, &query), ERR_OK);
        assert_int_equal(log_time_run(&query), ERR_OK);
        assert_int_equal(query.offset, cases[i].offset);
        log_time_done(&query);
    }
    struct log_time_query query;
    assert_int_equal(log_time_plan(harness->log, LOG_TIME_MAX, 0, 300, &query), ERR_OK);
    assert_int_equal(log_time_run(&query), ERR_OK);
    assert_int_equal(query.offset, 299);
    assert_int_equal(query.found_timestamp_ms, 1992);
    assert_int_equal(query.leader_epoch, 1);
    log_time_done(&query);
}

static void a_follower_learns_epochs_and_counts_only_what_is_saved(void **state)
{
    struct fixture *fixture = *state;
    struct harness *harness = &fixture->harness;
    struct bytebuf bytes;
    harness->settings.durability = DURABILITY_CACHED;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    bytebuf_init(&bytes, 1u << 20);
    harness_build(&(struct batch_wish){.record_count = 5, .leader_epoch = 2, .timestamp_ms = 1}, &bytes);
    harness_build(&(struct batch_wish){.record_count = 5, .leader_epoch = 4, .timestamp_ms = 1, .base_offset = 5},
                  &bytes);
    assert_int_equal(partition_log_append_as_follower(harness->log, bytebuf_span(&bytes)), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), 10);
    assert_int_equal(partition_log_counted_end(harness->log), 0);
    harness_pump(harness);
    assert_int_equal(partition_log_counted_end(harness->log), 10);
    int32_t epoch = 0;
    int64_t end_offset = 0;
    partition_log_end_offset_for_epoch(harness->log, 3, &epoch, &end_offset);
    assert_int_equal(epoch, 2);
    assert_int_equal(end_offset, 5);
    assert_int_equal(partition_log_append_as_follower(harness->log, bytebuf_span(&bytes)), ERR_OUT_OF_RANGE);
    bytebuf_done(&bytes);
}

static void a_failed_sync_fails_the_directory_for_good(void **state)
{
    struct harness *harness = begin(state);
    assert_int_equal(harness_append_plain(harness, 1, 1, 0), ERR_OK);
    fs_sim_fail_at(harness->sim, FS_SIM_SYNC, 1, ERR_IO, false);
    harness_pump(harness);
    assert_true(log_dir_is_failed(harness->dir));
    assert_int_equal(harness->failed_calls, 1);
    assert_int_equal(partition_log_synced_end(harness->log), 0);
    assert_int_equal(harness_append_plain(harness, 1, 1, 0), ERR_IO);
    assert_int_equal(read_all(harness, 0, 100), 1);
    assert_int_equal(harness_stop(harness, true), ERR_IO);
}

static void damage_below_what_was_synced_is_reported_not_cut(void **state)
{
    struct harness *harness = begin(state);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 1, i), ERR_OK);
    }
    harness_pump(harness);
    partition_log_set_high_watermark(harness->log, 15);
    struct log_checkpoint_row row;
    partition_log_checkpoint(harness->log, &row);
    struct log_checkpoint *checkpoint = log_checkpoint_new(harness->dir);
    log_checkpoint_add(checkpoint, HARNESS_TOPIC, 0, &row);
    assert_int_equal(log_checkpoint_write(checkpoint), ERR_OK);
    log_checkpoint_free(checkpoint);
    const char *path = HARNESS_DIR "/" HARNESS_TOPIC "-0/00000000000000000000.log";
    struct fs_stat before;
    struct fs_stat after;
    assert_int_equal(fs_stat(harness->fs, path, &before), ERR_OK);
    uint64_t batch_bytes = before.bytes / 20;
    struct fs_sim *copy = fs_sim_clone(harness->sim);
    fs_sim_crash(copy, FS_SIM_CRASH_KILL, 1);
    assert_int_equal(fs_sim_flip_bit(copy, path, batch_bytes * 14 + 70, 3), ERR_OK);
    struct harness other;
    harness_init(&other, copy, NULL, HARNESS_DIR);
    assert_int_equal(harness_start(&other), ERR_OK);
    assert_int_equal(harness_open(&other), ERR_CORRUPT);
    assert_non_null(strstr(other.problem.text, "damage"));
    assert_int_equal(fs_stat(other.fs, path, &after), ERR_OK);
    assert_int_equal(before.bytes, after.bytes);
    harness_done(&other);
    fs_sim_free(copy);
    copy = fs_sim_clone(harness->sim);
    fs_sim_crash(copy, FS_SIM_CRASH_KILL, 1);
    assert_int_equal(fs_sim_flip_bit(copy, path, batch_bytes * 16 + 70, 3), ERR_OK);
    harness_init(&other, copy, NULL, HARNESS_DIR);
    assert_int_equal(harness_start(&other), ERR_OK);
    assert_int_equal(harness_open(&other), ERR_OK);
    assert_int_equal(partition_log_end_offset(other.log), 16);
    harness_done(&other);
    fs_sim_free(copy);
}

/* A leader that began an epoch, wrote nothing and lost the leadership follows the older epoch's records on: a truncation to its own end
 * must drop the empty epoch, also over a restart (trap 1). */
static void truncation_to_the_end_drops_an_epoch_without_records(void **state)
{
    struct harness *harness = begin(state);
    struct append_result result;
    assert_int_equal(harness_begin_epoch(harness, 4), ERR_OK);
    struct batch_wish wish = {
        .record_count = 10, .value_bytes = 10, .timestamp_ms = 1, .producer_id = -1, .leader_epoch = 4};
    assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 5), ERR_OK);
    assert_int_equal(partition_log_last_epoch(harness->log), 5);
    assert_int_equal(harness_truncate_to(harness, 11), ERR_OK); /* above the end: nothing happens */
    assert_int_equal(partition_log_last_epoch(harness->log), 5);
    assert_int_equal(harness_truncate_to(harness, 10), ERR_OK);
    assert_int_equal(partition_log_last_epoch(harness->log), 4);
    assert_int_equal(partition_log_end_offset(harness->log), 10);
    wish.leader_epoch = 5;
    assert_int_equal(harness_append(harness, &wish, &result), ERR_STALE); /* that epoch must be begun again */
    assert_int_equal(harness_stop(harness, false), ERR_OK);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_last_epoch(harness->log), 4);
    assert_int_equal(partition_log_end_offset(harness->log), 10);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(appended_records_are_read_back),
        TEST(a_log_survives_an_orderly_stop_without_a_scan),
        TEST(segments_roll_and_are_read_across),
        TEST(a_kill_loses_nothing_and_a_power_loss_only_what_was_not_synced),
        TEST(truncation_drops_records_epochs_and_producers),
        TEST(truncation_to_the_end_drops_an_epoch_without_records),
        TEST(deleted_records_stay_deleted),
        TEST(old_segments_go_by_age_and_by_size),
        TEST(readers_of_committed_data_stop_at_open_transactions),
        TEST(offsets_are_found_by_time),
        TEST(a_follower_learns_epochs_and_counts_only_what_is_saved),
        TEST(a_failed_sync_fails_the_directory_for_good),
        TEST(damage_below_what_was_synced_is_reported_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
