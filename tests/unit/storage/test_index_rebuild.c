/* Indexes of sealed segments that a start makes anew: whole or not at all, whenever the process or the machine dies; not again at
 * each start where there is nothing to index; and never from a segment that can't be read to its end.
 */
#include "broker/storage/log_state.h"
#include "broker/storage/side_file.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/unit/storage/log_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENT_BYTES 40000 /* has several times the entries that wait in memory */
#define BATCHES 600
#define CALLS_MAX 200
#define PARTITION_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0"
#define FIRST_SEGMENT PARTITION_PATH "/00000000000000000000"

static const char *const index_paths[2] = {FIRST_SEGMENT ".index", FIRST_SEGMENT ".timeindex"};

/* A log of two segments at least, stopped in order. */
static void make_log(struct fs_sim *sim, struct harness *harness, bool has_times)
{
    harness_init(harness, sim, NULL, HARNESS_DIR);
    harness->settings.index_interval_bytes = 100;
    harness->settings.segment_bytes = SEGMENT_BYTES;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
    for (unsigned i = 0; i < BATCHES; i++) {
        struct append_result result;
        struct batch_wish wish = {.record_count = 1,
                                  .value_bytes = 20,
                                  .timestamp_ms = has_times ? HARNESS_START_MS + i : LOG_NO_TIMESTAMP_MS,
                                  .leader_epoch = 1,
                                  .content = i};
        assert_int_equal(harness_append(harness, &wish, &result), ERR_OK);
        assert_int_equal(result.refusal, APPEND_ACCEPTED);
    }
    harness_pump(harness);
    assert_true(harness->log->segment_count >= 2);
    assert_int_equal(harness_stop(harness, true), ERR_OK);
}

static enum err start_and_open(struct harness *harness)
{
    enum err err = harness_start(harness);
    return err == ERR_OK ? harness_open(harness) : err;
}

static void read_index(const struct harness *harness, unsigned which, struct bytebuf *ret_bytes)
{
    bytebuf_init(ret_bytes, 1 << 20);
    assert_int_equal(side_file_read(harness->fs, index_paths[which], ret_bytes), ERR_OK);
}

static void remove_indexes(const struct harness *harness)
{
    for (unsigned which = 0; which < 2; which++) {
        assert_int_equal(fs_unlink(harness->fs, index_paths[which]), ERR_OK);
    }
    assert_int_equal(fs_sync_dir(harness->fs, PARTITION_PATH), ERR_OK);
}

/* True when the start came through before the call at which it was to die. */
static bool die_at(uint64_t call, enum fs_sim_crash_mode mode)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    struct bytebuf before[2];
    make_log(sim, &harness, true);
    for (unsigned which = 0; which < 2; which++) {
        read_index(&harness, which, &before[which]);
        assert_true(before[which].bytes > 0);
    }
    remove_indexes(&harness);
    fs_sim_crash_at(sim, fs_sim_call_count(sim) + call, FS_SIM_TEAR_NONE);
    bool is_through = start_and_open(&harness) == ERR_OK;
    harness_crash(&harness, mode, 1);
    assert_int_equal(start_and_open(&harness), ERR_OK);
    for (unsigned which = 0; which < 2; which++) {
        struct bytebuf after;
        read_index(&harness, which, &after);
        assert_int_equal(after.bytes, before[which].bytes);
        assert_memory_equal(after.data, before[which].data, after.bytes);
        bytebuf_done(&after);
        bytebuf_done(&before[which]);
    }
    harness_done(&harness);
    fs_sim_free(sim);
    return is_through;
}

/* Half a time index would be believed: its last entry is true, and would count as the largest time of the segment. */
static void an_index_is_made_whole_or_not_at_all(void **state)
{
    static const enum fs_sim_crash_mode modes[] = {FS_SIM_CRASH_KILL, FS_SIM_CRASH_LOSE};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t call = 1;
        while (!die_at(call, modes[i])) {
            call++;
            assert_true(call < CALLS_MAX);
        }
        assert_true(call > 5);
    }
}

static void count_reads(void *ctx, const char *line)
{
    unsigned *count = ctx;
    *count += strstr(line, "pread " FIRST_SEGMENT ".log") != NULL;
}

/* Records without a time leave nothing for a time index; to find that out once is enough. */
static void a_segment_without_times_is_not_read_at_each_start(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    unsigned reads = 0;
    make_log(sim, &harness, false);
    assert_int_equal(start_and_open(&harness), ERR_OK);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);
    fs_sim_set_log(sim, count_reads, &reads);
    assert_int_equal(start_and_open(&harness), ERR_OK);
    assert_int_equal(reads, 0);
    assert_int_equal(harness.log->segments[0]->time_entry_count, 0);
    fs_sim_set_log(sim, NULL, NULL);
    harness_done(&harness);
    fs_sim_free(sim);
}

/* The times in front of the damage are not those of the segment. */
static void a_damaged_segment_gets_no_half_index(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    struct fs_stat stat;
    struct span bytes;
    make_log(sim, &harness, true);
    remove_indexes(&harness);
    assert_int_equal(fs_sim_peek(sim, FIRST_SEGMENT ".log", &bytes), ERR_OK);
    struct batch batch;
    struct span rest = bytes;
    for (unsigned i = 0; i < BATCHES / 4; i++) {
        assert_int_equal(batch_next(&rest, &batch), ERR_OK);
    }
    assert_int_equal(fs_sim_flip_bit(sim, FIRST_SEGMENT ".log", bytes.bytes - rest.bytes + 16, 6), ERR_OK); /* magic */
    for (unsigned starts = 0; starts < 2; starts++) {
        assert_int_equal(start_and_open(&harness), ERR_OK);
        const struct log_segment *segment = harness.log->segments[0];
        assert_int_equal(segment->time_entry_count, 0);
        assert_int_equal(segment->offset_entry_count, 0);
        assert_true(segment->max_timestamp_ms == SEGMENT_TIMESTAMP_UNKNOWN);
        for (unsigned which = 0; which < 2; which++) {
            assert_int_equal(fs_stat(harness.fs, index_paths[which], &stat), ERR_NOT_FOUND);
        }
        assert_int_equal(harness_stop(&harness, true), ERR_OK);
    }
    harness_done(&harness);
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_is_made_whole_or_not_at_all),
        cmocka_unit_test(a_segment_without_times_is_not_read_at_each_start),
        cmocka_unit_test(a_damaged_segment_gets_no_half_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
