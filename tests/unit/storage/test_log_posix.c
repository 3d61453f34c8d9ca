/* Logs on real files, a real loop and its pool: what the simulated disk can't show is that nothing races (run under TSan) and
 * that the real calls do what the log expects.
 */
#include "broker/storage/file_cache.h"
#include "broker/storage/partition_log.h"
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/seam/clock.h"
#include "common/seam/fs.h"
#include "common/seam/loop.h"
#include "tests/unit/storage/log_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LOGS 20
#define ROUNDS 30
#define DEADLINE_US 60000000u

struct world {
    struct posix_env *posix;
    struct loop *loop;
    struct loop_timer deadline;
    struct loop_task wake;
    char dir_path[64];
    struct log_dir *dir;
    struct file_cache files;
    struct sync_group *group;
    struct log_settings settings;
    struct partition_log *logs[LOGS];
    unsigned pending;
    bool is_done;
};

static void too_late(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "the test did not come to its end in time");
}

static void step(void *ctx)
{
    struct world *world = ctx;
    sync_group_step(world->group);
}

static void on_synced(void *ctx, struct partition_log *log, void *owner)
{
    (void)ctx;
    (void)owner;
    partition_log_set_high_watermark(log, partition_log_counted_end(log));
}

static void on_failed(void *ctx, struct log_dir *dir, enum err err)
{
    (void)ctx;
    (void)dir;
    (void)err;
    CHECK(false);
}

static void start(struct world *world)
{
    struct option_problem problem;
    struct sync_group_events events = {on_synced, on_failed, world};
    int64_t broker_epoch = 0;
    assert_int_equal(log_dir_open(&world->posix->env, world->dir_path, &world->dir, &problem), ERR_OK);
    if (!log_dir_meta(world->dir)->exists) {
        assert_int_equal(log_dir_form(world->dir, "c", 1, NULL, &problem), ERR_OK);
    }
    assert_int_equal(log_dir_take_clean_mark(world->dir, &broker_epoch), ERR_OK);
    assert_int_equal(runtime_loop_new(world->posix->env.runtime, "test", &world->loop), ERR_OK);
    world->deadline.fire = too_late;
    loop_timer_set(world->loop, &world->deadline, loop_now_us(world->loop) + DEADLINE_US);
    file_cache_init(&world->files, world->posix->env.fs, 16);
    world->group = sync_group_new(world->loop, world->dir, &events);
    loop_set_step(world->loop, step, world);
}

static void stop(struct world *world)
{
    loop_timer_cancel(world->loop, &world->deadline);
    sync_group_free(world->group);
    file_cache_done(&world->files);
    assert_int_equal(log_dir_put_clean_mark(world->dir, 1), ERR_OK);
    log_dir_close(world->dir);
    runtime_loop_free(world->posix->env.runtime, world->loop);
}

static void on_done(void *ctx, enum err err)
{
    struct world *world = ctx;
    CHECK(err == ERR_OK);
    world->is_done = --world->pending == 0;
}

static void no_task(struct loop_task *task)
{
    (void)task;
}

static void await(struct world *world)
{
    /* What was queued from outside of the loop needs an iteration for its step. */
    world->wake.run = no_task;
    loop_defer(world->loop, &world->wake);
    while (!world->is_done) {
        posix_loop_run_until(world->loop, &world->is_done);
    }
    world->is_done = false;
}

static void attach(struct world *world, size_t index)
{
    partition_log_attach(world->logs[index], world->loop, &world->files, world->group, NULL);
}

static void begin_epochs(struct world *world, int32_t epoch)
{
    world->pending = LOGS;
    for (size_t i = 0; i < LOGS; i++) {
        partition_log_begin_epoch(world->logs[i], epoch, on_done, world);
    }
    await(world);
}

static void append(struct world *world, size_t index, int32_t epoch, uint64_t content)
{
    struct bytebuf bytes;
    struct append_result result;
    struct batch_wish wish = {.record_count = 3,
                              .value_bytes = 200,
                              .timestamp_ms = clock_wall_ms(world->posix->env.clock),
                              .leader_epoch = epoch,
                              .content = content};
    bytebuf_init(&bytes, 1u << 20);
    harness_build(&wish, &bytes);
    struct append_request request = {
        .bytes = bytes.data, .byte_count = bytes.bytes, .leader_epoch = epoch, .is_client = true};
    assert_int_equal(partition_log_append_as_leader(world->logs[index], &request, &result), ERR_OK);
    bytebuf_done(&bytes);
}

/* Appends everywhere, and waits until a later epoch of every log is on disk, which its records then are too. */
static void append_and_sync(struct world *world, int32_t epoch)
{
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < LOGS; i++) {
            append(world, i, epoch, round);
        }
        if (round % 5 == 0) {
            world->pending = 1;
            partition_log_delete_records(world->logs[round % LOGS], 0, on_done, world);
            await(world);
        }
    }
    begin_epochs(world, epoch + 1);
}

static void read_first_and_last(struct world *world, size_t index, int64_t end_offset)
{
    const int64_t offsets[] = {0, end_offset - 1};
    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        struct log_read_request request = {
            .offset = offsets[i], .end_offset = end_offset, .max_bytes = 100000, .wants_one = true};
        struct log_read read;
        assert_int_equal(log_read_plan(world->logs[index], &request, &read), ERR_OK);
        enum err err = log_read_try(&read);
        if (err == ERR_WOULD_BLOCK) {
            err = log_read_run(&read);
        }
        assert_int_equal(err, ERR_OK);
        assert_true(read.slice.bytes > 0);
        log_read_done(&read);
    }
}

static void logs_on_real_files_sync_truncate_close_and_open(void **state)
{
    (void)state;
    struct world world = {.posix = posix_env_new(LOG_ERROR), .settings = LOG_SETTINGS_DEFAULT};
    struct option_problem problem;
    const char *base = getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR");
    (void)snprintf(world.dir_path, sizeof(world.dir_path), "%s/moldau-log-XXXXXX", base);
    assert_non_null(mkdtemp(world.dir_path));
    world.settings.segment_bytes = 8000;
    start(&world);
    for (int32_t i = 0; i < LOGS; i++) {
        struct partition_log_id id = {"t", i, {{9, (uint8_t)i}}};
        assert_int_equal(partition_log_create(world.dir, &id, &world.settings, &world.logs[i], &problem), ERR_OK);
        attach(&world, (size_t)i);
    }
    begin_epochs(&world, 1);
    append_and_sync(&world, 1);
    int64_t end_offset = (int64_t)ROUNDS * 3;
    for (size_t i = 0; i < LOGS; i++) {
        assert_int_equal(partition_log_synced_end(world.logs[i]), end_offset);
        read_first_and_last(&world, i, end_offset);
    }
    world.pending = LOGS;
    for (size_t i = 0; i < LOGS; i++) {
        partition_log_truncate_to(world.logs[i], 30, on_done, &world);
    }
    await(&world);
    world.pending = LOGS;
    for (size_t i = 0; i < LOGS; i++) {
        assert_int_equal(partition_log_end_offset(world.logs[i]), 30);
        partition_log_close(world.logs[i], on_done, &world);
    }
    await(&world);
    stop(&world);
    start(&world);
    world.pending = LOGS;
    for (int32_t i = 0; i < LOGS; i++) {
        struct partition_log_id id = {"t", i, {{9, (uint8_t)i}}};
        assert_int_equal(partition_log_open(world.dir, &id, &world.settings, &world.logs[i], &problem), ERR_OK);
        attach(&world, (size_t)i);
        assert_int_equal(partition_log_end_offset(world.logs[i]), 30);
        read_first_and_last(&world, (size_t)i, 30);
        partition_log_delete(world.logs[i], on_done, &world);
    }
    await(&world);
    stop(&world);
    posix_env_free(world.posix);
    char *command = mem_format("rm -rf '%s'", world.dir_path);
    assert_int_equal(system(command), 0);
    mem_free(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(logs_on_real_files_sync_truncate_close_and_open)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
