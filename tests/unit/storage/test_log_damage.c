/* Side files that are missing or damaged (testing.md 10, rows 26 and 28): after an orderly stop every index, snapshot, epoch file and
 * marks file is removed, and has bits flipped, one at a time. The log must open with the same records, epochs and producers: they are
 * all in the batches.
 */
#include "broker/storage/log_state.h"
#include "broker/storage/offset_index.h"
#include "broker/storage/remove_tree.h"
#include "broker/storage/side_file.h"
#include "broker/storage/store_path.h"
#include "common/mem.h"
#include "common/seam/fs.h"
#include "tests/unit/storage/log_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEEDS 8
#define STEPS 80
#define FLIPS 12
#define LARGE_SEGMENT_BYTES 1000000
#define INDEXED_SEGMENT_BYTES 9000 /* enough for one that must have indexes */
#define PARTITION_PATH HARNESS_DIR "/" HARNESS_TOPIC "-0"

struct stopped {
    struct fs_sim *sim;
    struct harness harness;
    struct log_script script;
};

static void run_and_stop(struct stopped *stopped, uint64_t seed)
{
    struct fs_sim_options options = {.seed = seed};
    stopped->sim = fs_sim_new(&options);
    harness_init(&stopped->harness, stopped->sim, NULL, HARNESS_DIR);
    log_script_init(&stopped->script, &stopped->harness, seed);
    assert_int_equal(log_script_begin(&stopped->script), ERR_OK);
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(log_script_step(&stopped->script), ERR_OK);
    }
    harness_pump(&stopped->harness);
    assert_int_equal(harness_stop(&stopped->harness, true), ERR_OK);
}

static void open_and_check(const struct stopped *stopped, struct fs_sim *sim, const char *what)
{
    struct harness harness;
    struct log_script script = stopped->script;
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    harness.settings = stopped->harness.settings;
    script.harness = &harness;
    assert_int_equal(harness_start(&harness), ERR_OK);
    enum err err = harness_open(&harness);
    if (err != ERR_OK) {
        fail_msg("seed %lu, %s: %s %s", (unsigned long)script.prop.seed, what, err_name(err), harness.problem.text);
    }
    /* Without its marks a log begins where its first segment begins; what was deleted inside it shows again. */
    assert_true(partition_log_start_offset(harness.log) <= script.start_offset);
    log_script_check_all(&script);
    harness_done(&harness);
    fs_sim_free(sim);
}

static void damage_file(struct stopped *stopped, const char *name)
{
    char path[300];
    char what[400];
    struct fs_stat stat;
    (void)snprintf(path, sizeof(path), PARTITION_PATH "/%s", name);
    struct fs_sim *sim = fs_sim_clone(stopped->sim);
    assert_int_equal(fs_stat(fs_sim_fs(sim), path, &stat), ERR_OK);
    assert_int_equal(fs_unlink(fs_sim_fs(sim), path), ERR_OK);
    (void)snprintf(what, sizeof(what), "without %s", name);
    open_and_check(stopped, sim, what);
    for (unsigned i = 0; i < FLIPS && stat.bytes > 0; i++) {
        uint64_t pos = prop_below(&stopped->script.prop, stat.bytes);
        unsigned bit = (unsigned)prop_below(&stopped->script.prop, 8);
        sim = fs_sim_clone(stopped->sim);
        assert_int_equal(fs_sim_flip_bit(sim, path, pos, bit), ERR_OK);
        (void)snprintf(what, sizeof(what), "bit %u of byte %lu of %s flipped", bit, (unsigned long)pos, name);
        open_and_check(stopped, sim, what);
    }
}

static bool is_side_file(const char *name)
{
    const char *dot = strrchr(name, '.');
    return strcmp(name, "partition.metadata") != 0 && (dot == NULL || strcmp(dot, ".log") != 0);
}

static void damaged_side_files_change_nothing(void **state)
{
    struct prop prop;
    (void)state;
    prop_init(&prop, "log_damage", 1);
    for (uint64_t i = 0; i < prop_runs(SEEDS); i++) {
        struct stopped stopped;
        struct name_list names;
        run_and_stop(&stopped, prop.seed + i);
        assert_int_equal(name_list_read(stopped.harness.fs, PARTITION_PATH, &names), ERR_OK);
        for (size_t n = 0; n < names.count; n++) {
            if (is_side_file(names.names[n])) {
                damage_file(&stopped, names.names[n]);
            }
        }
        name_list_done(&names);
        harness_done(&stopped.harness);
        log_script_done(&stopped.script);
        fs_sim_free(stopped.sim);
    }
}

/* ---- one log, by hand ---- */

static void start_by_hand(struct fs_sim *sim, struct harness *harness, int32_t segment_bytes)
{
    harness_init(harness, sim, NULL, HARNESS_DIR);
    harness->settings.index_interval_bytes = 100;
    harness->settings.segment_bytes = segment_bytes;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
}

static void append_by_hand(struct harness *harness, unsigned batch_count)
{
    for (unsigned i = 0; i < batch_count; i++) {
        harness->clock.wall_ms += 1000;
        assert_int_equal(harness_append_plain(harness, 1, 1, i), ERR_OK);
    }
    harness_pump(harness);
}

/* Damage below the place where recovery begins to read is no torn tail: what follows that place is whole, synced and acknowledged. */
static void damage_below_the_recovery_point_cuts_nothing_behind_it(void **state)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    struct fs_stat before;
    struct fs_stat after;
    const char *path = PARTITION_PATH "/00000000000000000000.log";
    (void)state;
    start_by_hand(sim, &harness, LARGE_SEGMENT_BYTES);
    append_by_hand(&harness, 3);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(&harness, 1), ERR_OK);
    append_by_hand(&harness, 2);
    harness_crash(&harness, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(fs_sim_flip_bit(sim, path, 9, 0), ERR_OK); /* of the first batch's length */
    assert_int_equal(fs_stat(harness.fs, path, &before), ERR_OK);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_CORRUPT);
    assert_non_null(strstr(harness.problem.text, "Nothing was cut"));
    assert_int_equal(fs_stat(harness.fs, path, &after), ERR_OK);
    assert_int_equal(before.bytes, after.bytes);
    harness_done(&harness);
    fs_sim_free(sim);
}

/* Whatever bit of a time index is wrong, a search by time leads to the first record of that time. */
static void damaged_time_index_misleads_nobody(void **state)
{
    struct fs_sim *whole = fs_sim_new(NULL);
    struct harness harness;
    struct fs_stat stat;
    const char *path = PARTITION_PATH "/00000000000000000000.timeindex";
    (void)state;
    start_by_hand(whole, &harness, LARGE_SEGMENT_BYTES);
    append_by_hand(&harness, 12);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);
    assert_int_equal(fs_stat(harness.fs, path, &stat), ERR_OK);
    assert_true(stat.bytes >= 36);
    for (uint64_t bit = 0; bit < stat.bytes * 8; bit++) {
        struct fs_sim *sim = fs_sim_clone(whole);
        assert_int_equal(fs_sim_flip_bit(sim, path, bit / 8, (unsigned)(bit % 8)), ERR_OK);
        struct harness damaged;
        harness_init(&damaged, sim, NULL, HARNESS_DIR);
        assert_int_equal(harness_start(&damaged), ERR_OK);
        assert_int_equal(harness_open(&damaged), ERR_OK);
        for (int64_t offset = 0; offset < 12; offset++) {
            struct log_time_query query;
            int64_t timestamp_ms = HARNESS_START_MS + (offset + 1) * 1000;
            assert_int_equal(log_time_plan(damaged.log, LOG_TIME_AT_OR_AFTER, timestamp_ms, 12, &query), ERR_OK);
            assert_int_equal(log_time_run(&query), ERR_OK);
            assert_int_equal(query.offset, offset);
            log_time_done(&query);
        }
        harness_done(&damaged);
        fs_sim_free(sim);
    }
    harness_done(&harness);
    fs_sim_free(whole);
}

/* What is left of an index of the first segment, entry by entry: ascending, each at a batch that ends there. */
static void check_offset_index(const struct harness *harness, unsigned least_count)
{
    const struct log_segment *segment = harness->log->segments[0];
    struct bytebuf bytes;
    struct bytebuf text;
    int32_t last_offset = -1;
    bytebuf_init(&bytes, 1 << 20);
    bytebuf_init(&text, 1 << 20);
    assert_int_equal(side_file_read(harness->fs, PARTITION_PATH "/00000000000000000000.index", &bytes), ERR_OK);
    assert_int_equal(side_file_read(harness->fs, PARTITION_PATH "/00000000000000000000.log", &text), ERR_OK);
    assert_int_equal(bytes.bytes, segment->offset_entry_count * OFFSET_INDEX_ENTRY_BYTES);
    assert_true(segment->offset_entry_count >= least_count);
    for (size_t pos = 0; pos < bytes.bytes; pos += OFFSET_INDEX_ENTRY_BYTES) {
        struct offset_entry entry = offset_entry_decode(bytes.data + pos);
        struct span rest = bytebuf_span(&text);
        struct batch batch;
        assert_true(entry.relative_offset > last_offset && entry.position < rest.bytes);
        rest = span_sub(rest, entry.position, rest.bytes - entry.position);
        assert_int_equal(batch_next(&rest, &batch), ERR_OK);
        assert_int_equal(batch_last_offset(&batch.header), entry.relative_offset);
        last_offset = entry.relative_offset;
    }
    bytebuf_done(&bytes);
    bytebuf_done(&text);
}

/* After a kill indexes may name batches that the log has lost: whatever is appended in their place must not be looked for there. */
static void entries_of_indexes_behind_the_cut_go(void **state)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    struct file *file = NULL;
    struct fs_stat stat;
    (void)state;
    start_by_hand(sim, &harness, LARGE_SEGMENT_BYTES);
    harness.settings.durability = DURABILITY_CACHED;
    append_by_hand(&harness, 3);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(&harness, 1), ERR_OK);
    append_by_hand(&harness, 200); /* more entries than wait in memory */
    check_offset_index(&harness, 40);
    harness_crash(&harness, FS_SIM_CRASH_KILL, 1);
    const char *path = PARTITION_PATH "/00000000000000000000.log";
    assert_int_equal(fs_stat(harness.fs, path, &stat), ERR_OK);
    assert_int_equal(fs_open(harness.fs, path, FS_OPEN_WRITE, &file), ERR_OK);
    assert_int_equal(file_truncate(file, stat.bytes - stat.bytes / 3 - 5), ERR_OK);
    file_unref(file);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    int64_t end_offset = partition_log_end_offset(harness.log);
    assert_true(end_offset > 3 && end_offset < 203);
    assert_int_equal(harness_begin_epoch(&harness, 2), ERR_OK);
    struct batch_wish wide = {
        .record_count = 9, .value_bytes = 40, .timestamp_ms = harness.clock.wall_ms, .leader_epoch = 2, .content = 99};
    struct append_result result;
    assert_int_equal(harness_append(&harness, &wide, &result), ERR_OK);
    assert_int_equal(harness_append(&harness, &wide, &result), ERR_OK);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    check_offset_index(&harness, 2);
    harness_done(&harness);
    fs_sim_free(sim);
}

/* Of a segment that is read no more, at a start: without them each look-up would walk through all of it. */
static void missing_indexes_are_made_anew(void **state)
{
    static const char *const names[2] = {"/00000000000000000000.index", "/00000000000000000000.timeindex"};
    (void)state;
    for (unsigned missing = 0; missing < 3; missing++) {
        struct fs_sim *sim = fs_sim_new(NULL);
        struct harness harness;
        struct bytebuf before[2];
        struct bytebuf after;
        start_by_hand(sim, &harness, INDEXED_SEGMENT_BYTES);
        append_by_hand(&harness, 200);
        assert_true(harness.log->segment_count >= 2);
        assert_int_equal(harness_stop(&harness, true), ERR_OK);
        for (unsigned i = 0; i < 2; i++) {
            struct store_path path = store_path_join(PARTITION_PATH, names[i] + 1);
            bytebuf_init(&before[i], 1 << 20);
            assert_int_equal(side_file_read(harness.fs, path.text, &before[i]), ERR_OK);
            assert_true(before[i].bytes > 0);
            if (missing == i || missing == 2) {
                assert_int_equal(fs_unlink(harness.fs, path.text), ERR_OK);
            }
        }
        assert_int_equal(harness_start(&harness), ERR_OK);
        assert_int_equal(harness_open(&harness), ERR_OK);
        for (unsigned i = 0; i < 2; i++) {
            struct store_path path = store_path_join(PARTITION_PATH, names[i] + 1);
            bytebuf_init(&after, 1 << 20);
            assert_int_equal(side_file_read(harness.fs, path.text, &after), ERR_OK);
            assert_int_equal(after.bytes, before[i].bytes);
            assert_memory_equal(after.data, before[i].data, after.bytes);
            bytebuf_done(&after);
            bytebuf_done(&before[i]);
        }
        harness_done(&harness);
        fs_sim_free(sim);
    }
}

/* After a failed sync the cache says what the disk does not have, and no sync of the whole file system changes that: what recovery
 * reads there and reports as synced is written once more (testing.md 10, row 22). */
static void what_a_failed_sync_left_is_written_again(void **state)
{
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    (void)state;
    start_by_hand(sim, &harness, LARGE_SEGMENT_BYTES);
    harness.settings.durability = DURABILITY_SYNCED;
    append_by_hand(&harness, 3);
    assert_int_equal(partition_log_synced_end(harness.log), 3);
    fs_sim_fail_at(sim, FS_SIM_SYNC, 1, ERR_IO, false);
    append_by_hand(&harness, 2);
    assert_true(log_dir_is_failed(harness.dir));
    assert_int_equal(partition_log_synced_end(harness.log), 3);
    harness_crash(&harness, FS_SIM_CRASH_KILL, 1);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    int64_t end_offset = partition_log_end_offset(harness.log);
    assert_true(end_offset > 3); /* else there was nothing to write again */
    assert_int_equal(partition_log_synced_end(harness.log), end_offset);
    harness_crash(&harness, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(harness_start(&harness), ERR_OK);
    assert_int_equal(harness_open(&harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness.log), end_offset);
    harness_done(&harness);
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_side_files_change_nothing),
        cmocka_unit_test(damage_below_the_recovery_point_cuts_nothing_behind_it),
        cmocka_unit_test(damaged_time_index_misleads_nobody),
        cmocka_unit_test(entries_of_indexes_behind_the_cut_go),
        cmocka_unit_test(missing_indexes_are_made_anew),
        cmocka_unit_test(what_a_failed_sync_left_is_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
