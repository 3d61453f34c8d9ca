/* The simulated file system must fail as Linux does: injected errors, limits, locks, damage. */
#include "common/crc32c.h"
#include "tests/unit/sim/fs_sim_harness.h"

#include <inttypes.h>
#include <stdio.h>

static void faults_hit_the_nth_call_once_or_for_ever(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct file *file = must_open(sim, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
    fs_sim_fail_at(sim, FS_SIM_WRITE, 2, ERR_IO, false);
    assert_int_equal(try_write(file, "1", 0), ERR_OK);
    assert_int_equal(try_write(file, "2", 1), ERR_IO);
    assert_int_equal(try_write(file, "3", 1), ERR_OK);
    fs_sim_fail_at(sim, FS_SIM_WRITE, 1, ERR_IO, true);
    assert_int_equal(try_write(file, "4", 2), ERR_IO);
    assert_int_equal(try_write(file, "5", 2), ERR_IO);
    fs_sim_fail_at(sim, FS_SIM_WRITE, 0, ERR_IO, false);
    assert_int_equal(try_write(file, "6", 2), ERR_OK);
    fs_sim_fail_at(sim, FS_SIM_CHANGE, 1, ERR_NO_SPACE, false);
    assert_int_equal(fs_mkdir(fs_sim_fs(sim), "d"), ERR_NO_SPACE);
    file_unref(file);
    fs_sim_free(sim);
}

static void failed_sync_leaves_clean_pages_that_are_not_durable(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    put(sim, "a", "first", true);
    sync_dir_of(sim, ".");
    struct file *file = must_open(sim, "a", FS_OPEN_WRITE);
    assert_int_equal(try_write(file, "other", 0), ERR_OK);
    fs_sim_fail_at(sim, FS_SIM_SYNC, 1, ERR_IO, false);
    assert_int_equal(file_sync(file), ERR_IO);
    assert_int_equal(file_sync(file), ERR_OK); /* the lie that the sync rule is about */
    assert_text(sim, "a", "other");
    file_unref(file);
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 0);
    assert_text(sim, "a", "first");
    fs_sim_free(sim);
}

static void full_disk_takes_what_fits_and_frees_with_the_last_reference(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(&(struct fs_sim_options){.total_bytes = 10, .seed = 1});
    struct file *file = must_open(sim, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
    assert_int_equal(try_write(file, "0123456", 0), ERR_OK);
    assert_int_equal(try_write(file, "789ABC", 7), ERR_NO_SPACE);
    assert_text(sim, "a", "0123456789");
    assert_int_equal(try_write(file, "overwrite", 0), ERR_OK);
    struct fs_space space;
    assert_int_equal(fs_space(fs_sim_fs(sim), ".", &space), ERR_OK);
    assert_int_equal(space.available_bytes, 0);
    assert_int_equal(fs_mkdir(fs_sim_fs(sim), "d"), ERR_NO_SPACE);
    assert_int_equal(fs_unlink(fs_sim_fs(sim), "a"), ERR_OK);
    assert_int_equal(fs_sim_used_bytes(sim), 10); /* a reader holds it */
    file_unref(file);
    assert_int_equal(fs_sim_used_bytes(sim), 0);
    fs_sim_free(sim);
}

static void reader_of_an_unlinked_file_goes_on_reading(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    put(sim, "a", "held", false);
    struct file *file = must_open(sim, "a", FS_OPEN_READ);
    struct file *reader = file_ref(file);
    file_unref(file);
    assert_int_equal(fs_unlink(fs_sim_fs(sim), "a"), ERR_OK);
    put(sim, "a", "else", false);
    char text[8] = {0};
    size_t bytes = 0;
    assert_int_equal(file_pread(reader, text, sizeof(text), 0, &bytes), ERR_OK);
    assert_string_equal(text, "held");
    assert_int_equal(try_write(reader, "x", 0), ERR_PERMISSION);
    file_unref(reader);
    fs_sim_free(sim);
}

static void locks_exclude_and_end_with_their_holder(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct file *lock = NULL;
    struct file *second = NULL;
    assert_int_equal(fs_lock(fs_sim_fs(sim), ".lock", &lock), ERR_OK);
    assert_int_equal(fs_lock(fs_sim_fs(sim), ".lock", &second), ERR_BUSY);
    file_unref(lock);
    assert_int_equal(fs_lock(fs_sim_fs(sim), ".lock", &lock), ERR_OK);
    fs_sim_crash(sim, FS_SIM_CRASH_KILL, 0);
    assert_int_equal(fs_lock(fs_sim_fs(sim), ".lock", &second), ERR_OK);
    file_unref(lock); /* the dead process's: it must not take the new holder's lock away */
    assert_int_equal(fs_lock(fs_sim_fs(sim), ".lock", &lock), ERR_BUSY);
    file_unref(second);
    assert_int_equal(fs_sim_open_files(sim), 0);
    fs_sim_free(sim);
}

static void descriptors_run_out(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(&(struct fs_sim_options){.open_files_max = 1, .seed = 1});
    struct file *file = must_open(sim, "a", FS_OPEN_WRITE | FS_OPEN_CREATE);
    struct file *second = NULL;
    assert_int_equal(fs_open(fs_sim_fs(sim), "b", FS_OPEN_CREATE, &second), ERR_TOO_MANY_FILES);
    file_unref(file);
    assert_int_equal(fs_open(fs_sim_fs(sim), "b", FS_OPEN_READ, &second), ERR_NOT_FOUND);
    fs_sim_free(sim);
}

static void flipped_bit_is_in_both_images(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    put(sim, "a", "aaaa", true);
    sync_dir_of(sim, ".");
    assert_int_equal(fs_sim_flip_bit(sim, "a", 2, 1), ERR_OK);
    assert_text(sim, "a", "aaca");
    fs_sim_crash(sim, FS_SIM_CRASH_LOSE, 0);
    assert_text(sim, "a", "aaca");
    assert_int_equal(fs_sim_flip_bit(sim, "a", 4, 1), ERR_OUT_OF_RANGE);
    assert_int_equal(fs_sim_flip_bit(sim, "b", 0, 1), ERR_NOT_FOUND);
    fs_sim_free(sim);
}

static void slow_calls_hand_over_their_latency(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    fs_sim_set_latency(sim, FS_SIM_SYNC, (struct fs_sim_latency){.least_us = 500, .most_us = 9000});
    put(sim, "a", "x", true);
    uint64_t latency_us = fs_sim_take_latency_us(sim);
    assert_in_range(latency_us, 500, 9000);
    assert_int_equal(fs_sim_take_latency_us(sim), 0);
    fs_sim_free(sim);
}

struct lines {
    char text[1024];
};

static void collect_line(void *ctx, const char *line)
{
    struct lines *lines = (struct lines *)ctx;
    strncat(lines->text, line, sizeof(lines->text) - strlen(lines->text) - 1);
    strncat(lines->text, "\n", sizeof(lines->text) - strlen(lines->text) - 1);
}

static void every_call_is_logged(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct lines lines = {""};
    fs_sim_set_log(sim, collect_line, &lines);
    put(sim, "a", "x", false);
    assert_text(sim, "a", "x");
    char expected[1024];
    (void)snprintf(expected, sizeof(expected),
                   "1 open /sim/a flags=3 ERR_OK\n"
                   "2 pwritev /sim/a pos=0 bytes=1 crc=%08" PRIx32 " ERR_OK\n"
                   "0 open /sim/a flags=0 ERR_OK\n"
                   "0 pread /sim/a pos=0 bytes=255 read=1 ERR_OK\n",
                   crc32c(0, span_text("x")));
    assert_string_equal(lines.text, expected);
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_hit_the_nth_call_once_or_for_ever),
        cmocka_unit_test(failed_sync_leaves_clean_pages_that_are_not_durable),
        cmocka_unit_test(full_disk_takes_what_fits_and_frees_with_the_last_reference),
        cmocka_unit_test(reader_of_an_unlinked_file_goes_on_reading),
        cmocka_unit_test(locks_exclude_and_end_with_their_holder),
        cmocka_unit_test(descriptors_run_out),
        cmocka_unit_test(flipped_bit_is_in_both_images),
        cmocka_unit_test(slow_calls_hand_over_their_latency),
        cmocka_unit_test(every_call_is_logged),
    };
    return cmocka_run_group_tests_name("fs_sim_faults", tests, NULL, NULL);
}
