/* A log directory refuses what is not its own, keeps what it was told, and loses nothing silently. */
#include "broker/storage/log_open.h"
#include "broker/storage/remove_tree.h"
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

static void identity_is_kept_and_checked(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    assert_int_equal(harness_start(harness), ERR_OK);
    struct uuid directory_id = log_dir_meta(harness->dir)->directory_id;
    assert_int_equal(harness_stop(harness, true), ERR_OK);
    fs_sim_crash(harness->sim, FS_SIM_CRASH_LOSE, 1);
    struct log_dir *dir = NULL;
    assert_int_equal(log_dir_open(&harness->env, HARNESS_DIR "/", &dir, &harness->problem), ERR_OK);
    assert_true(log_dir_meta(dir)->exists);
    assert_true(uuid_equal(log_dir_meta(dir)->directory_id, directory_id));
    assert_int_equal(log_dir_check_identity(dir, "cluster", 1, &harness->problem), ERR_OK);
    assert_int_equal(log_dir_check_identity(dir, "another", 1, &harness->problem), ERR_INVALID);
    assert_non_null(strstr(harness->problem.text, "belongs to cluster cluster"));
    assert_int_equal(log_dir_check_identity(dir, "cluster", 2, &harness->problem), ERR_INVALID);
    assert_non_null(strstr(harness->problem.text, "node 1"));
    struct log_dir *second = NULL;
    assert_int_equal(log_dir_open(&harness->env, HARNESS_DIR, &second, &harness->problem), ERR_BUSY);
    assert_non_null(strstr(harness->problem.text, "in use"));
    log_dir_close(dir);
}

static void foreign_directories_are_refused_and_left_alone(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    struct file *file = NULL;
    struct log_dir *dir = NULL;
    assert_int_equal(fs_mkdir(harness->fs, "/home"), ERR_OK);
    assert_int_equal(fs_open(harness->fs, "/home/photo", FS_OPEN_WRITE | FS_OPEN_CREATE, &file), ERR_OK);
    file_unref(file);
    uint64_t calls = fs_sim_call_count(harness->sim);
    assert_int_equal(log_dir_open(&harness->env, "/home", &dir, &harness->problem), ERR_INVALID);
    assert_non_null(strstr(harness->problem.text, "photo"));
    assert_int_equal(log_dir_open(&harness->env, "/home/photo", &dir, &harness->problem), ERR_NOT_DIRECTORY);
    assert_int_equal(fs_sim_call_count(harness->sim), calls);
    assert_int_equal(log_dir_open(&harness->env, "/no/such/parent", &dir, &harness->problem), ERR_NOT_FOUND);
    fs_sim_fail_at(harness->sim, FS_SIM_LOCK, 1, ERR_PERMISSION, false);
    assert_int_equal(log_dir_open(&harness->env, "/fresh", &dir, &harness->problem), ERR_PERMISSION);
    assert_non_null(strstr(harness->problem.text, "can't write"));
}

static void the_clean_mark_is_used_once(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    int64_t broker_epoch = 0;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_false(log_dir_was_clean(harness->dir));
    assert_int_equal(log_dir_put_clean_mark(harness->dir, 31), ERR_OK);
    assert_int_equal(harness_stop(harness, false), ERR_OK);
    struct log_dir *dir = NULL;
    assert_int_equal(log_dir_open(&harness->env, HARNESS_DIR, &dir, &harness->problem), ERR_OK);
    assert_int_equal(log_dir_take_clean_mark(dir, &broker_epoch), ERR_OK);
    assert_int_equal(broker_epoch, 31);
    log_dir_close(dir);
    fs_sim_crash(harness->sim, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(log_dir_open(&harness->env, HARNESS_DIR, &dir, &harness->problem), ERR_OK);
    assert_int_equal(log_dir_take_clean_mark(dir, &broker_epoch), ERR_OK);
    assert_int_equal(broker_epoch, LOG_DIR_NO_BROKER_EPOCH);
    log_dir_close(dir);
}

static unsigned count_strays(struct fs *fs)
{
    struct name_list names;
    unsigned count = 0;
    assert_int_equal(name_list_read(fs, HARNESS_DIR, &names), ERR_OK);
    for (size_t i = 0; i < names.count; i++) {
        count += strstr(names.names[i], LOG_DIR_SUFFIX_STRAY) != NULL;
    }
    name_list_done(&names);
    return count;
}

static void unknown_partitions_become_strays_and_go_only_later(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    struct log_dir_partition *partitions = NULL;
    size_t count = 0;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_close_log(harness), ERR_OK);
    harness->id.partition_index = 11;
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_close_log(harness), ERR_OK);
    assert_int_equal(fs_mkdir(harness->fs, HARNESS_DIR "/gone-0.abc-delete"), ERR_OK);
    assert_int_equal(fs_mkdir(harness->fs, HARNESS_DIR "/half-0.abc-new"), ERR_OK);
    assert_int_equal(fs_mkdir(harness->fs, HARNESS_DIR "/nothing"), ERR_OK);
    assert_int_equal(log_dir_list(harness->dir, &partitions, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_string_equal(partitions[1].topic, HARNESS_TOPIC);
    assert_int_equal(partitions[1].partition_index, 11);
    assert_true(uuid_equal(partitions[1].topic_id, harness->id.topic_id));
    log_dir_partitions_free(partitions, count);
    struct fs_stat stat;
    assert_int_equal(fs_stat(harness->fs, HARNESS_DIR "/gone-0.abc-delete", &stat), ERR_NOT_FOUND);
    assert_int_equal(fs_stat(harness->fs, HARNESS_DIR "/half-0.abc-new", &stat), ERR_NOT_FOUND);
    assert_int_equal(log_dir_mark_stray(harness->dir, HARNESS_TOPIC, 11), ERR_OK);
    assert_int_equal(log_dir_remove_strays(harness->dir, 0), ERR_OK);
    assert_int_equal(log_dir_list(harness->dir, &partitions, &count), ERR_OK);
    assert_int_equal(count, 1);
    log_dir_partitions_free(partitions, count);
    assert_int_equal(count_strays(harness->fs), 1);
    assert_int_equal(log_dir_remove_strays(harness->dir, INT64_MAX), ERR_OK);
    assert_int_equal(count_strays(harness->fs), 0);
}

static void a_topic_made_anew_is_not_measured_by_old_checkpoints(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    struct log_checkpoint_row row = {500, 500, 100};
    struct log_checkpoint *checkpoint = log_checkpoint_new(harness->dir);
    log_checkpoint_add(checkpoint, HARNESS_TOPIC, 0, &row);
    assert_int_equal(log_checkpoint_write(checkpoint), ERR_OK);
    log_checkpoint_free(checkpoint);
    assert_int_equal(harness_delete_log(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
    assert_int_equal(harness_append_plain(harness, 1, 1, 1), ERR_OK);
    harness_pump(harness);
    harness_crash(harness, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), 1);
    assert_int_equal(partition_log_start_offset(harness->log), 0);
}

/* A log that was cut, then a crash, then a start that writes checkpoints before the log is open: what is said again is what the log has. */
static void a_kept_row_is_capped_by_the_marks(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    struct log_checkpoint_row row = {10, 10, 0};
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
    assert_int_equal(harness_append_plain(harness, 1, 5, 1), ERR_OK);
    assert_int_equal(harness_append_plain(harness, 1, 5, 2), ERR_OK);
    harness_pump(harness);
    struct log_checkpoint *checkpoint = log_checkpoint_new(harness->dir);
    log_checkpoint_add(checkpoint, HARNESS_TOPIC, 0, &row);
    assert_int_equal(log_checkpoint_write(checkpoint), ERR_OK);
    log_checkpoint_free(checkpoint);
    assert_int_equal(harness_truncate_to(harness, 5), ERR_OK);
    for (unsigned round = 0; round < 2; round++) {
        harness_crash(harness, FS_SIM_CRASH_LOSE, round);
        assert_int_equal(harness_start(harness), ERR_OK);
        checkpoint = log_checkpoint_new(harness->dir);
        log_checkpoint_keep(checkpoint, HARNESS_TOPIC, 0);
        log_checkpoint_keep(checkpoint, HARNESS_TOPIC, 77); /* of which nothing was ever said */
        assert_int_equal(log_checkpoint_write(checkpoint), ERR_OK);
        log_checkpoint_free(checkpoint);
    }
    harness_crash(harness, FS_SIM_CRASH_LOSE, 9);
    assert_int_equal(harness_start(harness), ERR_OK);
    log_dir_checkpoint_row(harness->dir, HARNESS_TOPIC, 0, &row);
    assert_int_equal(row.high_watermark, 5);
    assert_int_equal(row.recovery_point_offset, 5);
    log_dir_checkpoint_row(harness->dir, HARNESS_TOPIC, 77, &row);
    assert_int_equal(row.high_watermark, LOG_NO_OFFSET);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), 5);
    assert_int_equal(partition_log_high_watermark(harness->log), 5);
}

static void on_truncated(void *ctx, enum err err)
{
    assert_int_equal(err, ERR_OK);
    *(bool *)ctx = true;
}

/* cluster_sim, seed 300477 of 34669f1: a set begun while a truncation was in the pool said that what it cut was on disk. */
static void a_set_begun_during_a_truncation_is_true_after_it(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    struct log_checkpoint_row row;
    bool is_truncated = false;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
    assert_int_equal(harness_append_plain(harness, 1, 5, 1), ERR_OK);
    assert_int_equal(harness_append_plain(harness, 1, 5, 2), ERR_OK);
    assert_int_equal(harness_close_log(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    partition_log_set_high_watermark(harness->log, 10);
    harness_pump(harness);
    partition_log_checkpoint(harness->log, &row);
    assert_int_equal(row.recovery_point_offset, 10);
    partition_log_truncate_to(harness->log, 5, on_truncated, &is_truncated);
    assert_true(harness_pump_once(harness)); /* what was to be synced before is handed in */
    assert_true(harness_pump_once(harness)); /* that is done; the truncation's own job waits for a thread */
    struct log_checkpoint *checkpoint = log_checkpoint_new(harness->dir);
    partition_log_checkpoint(harness->log, &row);
    log_checkpoint_add(checkpoint, HARNESS_TOPIC, 0, &row);
    assert_false(is_truncated);
    harness_pump(harness);
    assert_true(is_truncated);
    assert_int_equal(log_checkpoint_write(checkpoint), ERR_OK);
    log_checkpoint_free(checkpoint);
    harness_crash(harness, FS_SIM_CRASH_LOSE, 1);
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_open(harness), ERR_OK);
    assert_int_equal(partition_log_end_offset(harness->log), 5);
}

static void topic_ids_tell_namesakes_apart(void **state)
{
    struct harness *harness = &((struct fixture *)*state)->harness;
    assert_int_equal(harness_start(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_OK);
    assert_int_equal(harness_close_log(harness), ERR_OK);
    assert_int_equal(harness_create(harness), ERR_EXISTS);
    harness->id.topic_id.bytes[0] ^= 1;
    assert_int_equal(harness_open(harness), ERR_STALE);
    assert_non_null(strstr(harness->problem.text, "another topic"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(identity_is_kept_and_checked),
        TEST(foreign_directories_are_refused_and_left_alone),
        TEST(the_clean_mark_is_used_once),
        TEST(unknown_partitions_become_strays_and_go_only_later),
        TEST(a_topic_made_anew_is_not_measured_by_old_checkpoints),
        TEST(a_kept_row_is_capped_by_the_marks),
        TEST(a_set_begun_during_a_truncation_is_true_after_it),
        TEST(topic_ids_tell_namesakes_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
