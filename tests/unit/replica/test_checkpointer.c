/* checkpointer: what its files say of a partition is what recovery holds the log to. It is not forgotten because the partition is not open.
 */
#include "broker/broker.h"
#include "broker/replica/checkpointer.h"
#include "tests/unit/replica/roles_world.h"

#include <stdio.h>

#include <cmocka.h>

#define FILE_BYTES 4096

struct node {
    struct roles_world *world;
    struct worker *workers[1];
    struct broker broker;
    struct checkpointer *checkpointer;
};

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static void checkpoint(struct roles_world *world)
{
    struct node node = {.workers = {&world->worker}};
    bool is_done = false;
    world->worker.partitions = world->set;
    node.broker = (struct broker){.workers = node.workers, .worker_count = 1, .log_dirs = &world->dirs};
    node.checkpointer = checkpointer_new(&node.broker);
    checkpointer_flush(node.checkpointer, set_flag, &is_done);
    world_await_flag(world, &is_done);
    checkpointer_free(node.checkpointer);
}

/* Whether the three files have these rows. */
static bool says(struct roles_world *world, const char *recovery, const char *high_watermark)
{
    static const char *const names[] = {"recovery-point-offset-checkpoint", "replication-offset-checkpoint"};
    const char *const rows[] = {recovery, high_watermark};
    bool is_said = true;
    for (unsigned i = 0; i < 2; i++) {
        char text[FILE_BYTES] = "";
        char *path = mem_format("%s/%s", world->dir_path, names[i]);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        size_t bytes = fread(text, 1, sizeof(text) - 1, file);
        assert_true(bytes > 0);
        assert_int_equal(fclose(file), 0);
        mem_free(path);
        is_said = is_said && strstr(text, rows[i]) != NULL;
    }
    return is_said;
}

static int set_up_with_row(void **state)
{
    const struct log_checkpoint_row row = {.recovery_point_offset = 30, .high_watermark = 40, .log_start_offset = 5};
    return world_set_up_with(state, &row);
}

/* A node that stops before it has heard of its partitions. */
static void nothing_is_written_before_the_metadata(void **state)
{
    struct roles_world *world = *state;
    assert_true(says(world, "\nt 0 30\n", "\nt 0 40\n"));
    checkpoint(world);
    assert_true(says(world, "\nt 0 30\n", "\nt 0 40\n"));
}

static bool is_offline(struct roles_world *world)
{
    const struct partition *partition = world_partition(world);
    return partition != NULL && partition->state == PARTITION_OFFLINE;
}

/* Its directory is missing although it held records: so it is after any number of checkpoints. */
static void what_can_not_be_opened_keeps_its_row(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    checkpoint(world); /* while it opens */
    assert_true(says(world, "\nt 0 30\n", "\nt 0 40\n"));
    world_await(world, is_offline);
    assert_true(world_partition(world)->is_damaged);
    checkpoint(world);
    checkpoint(world);
    assert_true(says(world, "\nt 0 30\n", "\nt 0 40\n"));
    world_change(world, 2, false, (const int32_t[]){2, 3, 0}); /* nothing rests on it any more: it begins anew */
    world_await(world, world_is_follower);
    checkpoint(world);
    assert_true(says(world, "\nt 0 0\n", "\nt 0 0\n"));
}

/* The row of an open log is its own; a removed partition has none. */
static void open_logs_speak_for_themselves(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    world_await(world, world_is_follower);
    assert_int_equal(world_receive(world, 0, 0, 3, 3), ERR_OK);
    world_await(world, world_is_counted);
    checkpoint(world);
    assert_true(says(world, "\nt 0 ", "\nt 0 3\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
#define TEST_WITH_ROW(name) cmocka_unit_test_setup_teardown(name, set_up_with_row, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_WITH_ROW(nothing_is_written_before_the_metadata),
        TEST_WITH_ROW(what_can_not_be_opened_keeps_its_row),
        TEST(open_logs_speak_for_themselves),
    };
    return cmocka_run_group_tests_name("checkpointer", tests, NULL, NULL);
}
