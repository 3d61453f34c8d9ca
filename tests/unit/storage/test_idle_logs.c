/* Many logs: what an idle one holds, and that opening them after an orderly stop reads no records. */
#include "common/mem.h"
#include "tests/unit/storage/log_harness.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LOGS 2000
#define IDLE_BYTES_MAX 4096

static void count_close(void *ctx, enum err err)
{
    unsigned *closed = ctx;
    CHECK(err == ERR_OK);
    (*closed)++;
}

static void append_to(struct harness *harness, struct partition_log *log)
{
    harness->log = log;
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(harness_append_plain(harness, 1, 2, i), ERR_OK);
    }
    harness->log = NULL;
}

static void make_logs(struct harness *harness, struct partition_log **logs)
{
    for (int32_t i = 0; i < LOGS; i++) {
        harness->id.partition_index = i;
        assert_int_equal(harness_create(harness), ERR_OK);
        assert_int_equal(harness_begin_epoch(harness, 1), ERR_OK);
        logs[i] = harness->log;
        harness->log = NULL;
    }
}

static void close_logs(struct harness *harness, struct partition_log **logs)
{
    unsigned closed = 0;
    for (size_t i = 0; i < LOGS; i++) {
        partition_log_close(logs[i], count_close, &closed);
    }
    harness_pump(harness);
    assert_int_equal(closed, LOGS);
}

static void open_logs(struct harness *harness, struct partition_log **logs)
{
    for (int32_t i = 0; i < LOGS; i++) {
        harness->id.partition_index = i;
        assert_int_equal(harness_open(harness), ERR_OK);
        assert_int_equal(partition_log_end_offset(harness->log), 6);
        logs[i] = harness->log;
        harness->log = NULL;
    }
}

static void make_idle(struct harness *harness, struct partition_log **logs)
{
    harness->clock.wall_ms += 3600000;
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < LOGS; i++) {
            partition_log_maintain(logs[i]);
        }
        harness_pump(harness);
    }
}

static void idle_logs_hold_no_descriptor_and_little_memory(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    struct partition_log **logs = mem_array(LOGS, sizeof(struct partition_log *));
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    harness.settings.retention_ms = -1;
    assert_int_equal(harness_start(&harness), ERR_OK);
    make_logs(&harness, logs);
    for (size_t i = 0; i < LOGS; i++) {
        append_to(&harness, logs[i]);
    }
    harness_pump(&harness);
    make_idle(&harness, logs);
    assert_int_equal(harness.files.file_count, 0);
    close_logs(&harness, logs);
    assert_int_equal(harness_stop(&harness, true), ERR_OK);

    assert_int_equal(harness_start(&harness), ERR_OK);
    uint64_t calls = fs_sim_call_count(sim);
    size_t before_bytes = mallinfo2().uordblks;
    open_logs(&harness, logs);
    size_t opened_bytes = mallinfo2().uordblks - before_bytes;
    assert_int_equal(fs_sim_call_count(sim), calls); /* nothing scanned, cut or rewritten */
    assert_int_equal(harness.files.file_count, 0);
    print_message("# opened: %zu bytes a log\n", opened_bytes / LOGS);
    assert_true(opened_bytes / LOGS < IDLE_BYTES_MAX); /* 0 under the sanitizers */
    close_logs(&harness, logs);
    mem_free(logs);
    harness_done(&harness);
    fs_sim_free(sim);
}

static void a_thousand_dirty_logs_are_one_sync(void **state)
{
    (void)state;
    struct fs_sim *sim = fs_sim_new(NULL);
    struct harness harness;
    struct partition_log **logs = mem_array(LOGS, sizeof(struct partition_log *));
    harness_init(&harness, sim, NULL, HARNESS_DIR);
    assert_int_equal(harness_start(&harness), ERR_OK);
    make_logs(&harness, logs);
    for (size_t i = 0; i < LOGS; i++) {
        append_to(&harness, logs[i]);
    }
    sync_group_step(harness.group);
    uint64_t calls = fs_sim_call_count(sim);
    harness_pump(&harness);
    assert_int_equal(fs_sim_call_count(sim) - calls, 1);
    for (size_t i = 0; i < LOGS; i++) {
        assert_int_equal(partition_log_synced_end(logs[i]), 6);
    }
    close_logs(&harness, logs);
    mem_free(logs);
    harness_done(&harness);
    assert_int_equal(fs_sim_open_files(sim), 0);
    fs_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_logs_hold_no_descriptor_and_little_memory),
        cmocka_unit_test(a_thousand_dirty_logs_are_one_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
