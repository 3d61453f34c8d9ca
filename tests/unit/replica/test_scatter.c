/* Parts that run at home, at once or later: the gathering comes exactly once, behind the last part and never before scatter_end. */
#include "broker/api/scatter.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PARTS 3

struct world {
    struct worker home;
    struct scatter scatter;
    struct scatter_part parts[PARTS];
    unsigned run_count;
    unsigned gathered_count;
    bool are_parts_late;
};

/* One worker, which has none of the partitions: all of them are its own, and gone. */
struct worker *worker_of_partition(struct broker *broker, struct uuid topic_id, int32_t partition_index)
{
    (void)topic_id;
    (void)partition_index;
    return &CONTAINER_OF((struct broker **)(void *)broker, struct world, home.broker)->home;
}

struct partition *partition_set_find(struct partition_set *set, struct uuid topic_id, int32_t partition_index)
{
    (void)set;
    (void)topic_id;
    (void)partition_index;
    return NULL;
}

static struct world *world_of(struct scatter *scatter)
{
    return CONTAINER_OF(scatter, struct world, scatter);
}

static void run(struct scatter_part *part, struct partition *partition)
{
    struct world *world = world_of(part->scatter);
    assert_null(partition);
    world->run_count++;
    if (!world->are_parts_late) {
        scatter_part_done(part);
    }
}

static void on_gathered(struct scatter *scatter)
{
    world_of(scatter)->gathered_count++;
}

static void send_all(struct world *world)
{
    world->home.broker = (struct broker *)(void *)&world->home.broker; /* leads worker_of_partition back here */
    scatter_begin(&world->scatter, &world->home, on_gathered);
    for (int32_t i = 0; i < PARTS; i++) {
        scatter_send(&world->scatter, &world->parts[i], (struct uuid){{1}}, i, run);
    }
    assert_int_equal(world->run_count, PARTS);
    assert_int_equal(world->gathered_count, 0);
}

static void parts_that_end_at_once_are_gathered_at_the_end(void **state)
{
    (void)state;
    struct world world = {.are_parts_late = false};
    send_all(&world);
    scatter_end(&world.scatter);
    assert_int_equal(world.gathered_count, 1);
}

static void late_parts_are_gathered_behind_the_last(void **state)
{
    (void)state;
    struct world world = {.are_parts_late = true};
    send_all(&world);
    scatter_end(&world.scatter);
    for (unsigned i = 0; i < PARTS; i++) {
        assert_int_equal(world.gathered_count, 0);
        scatter_part_done(&world.parts[i]);
    }
    assert_int_equal(world.gathered_count, 1);
}

static void nothing_to_send_is_gathered_and_a_round_may_begin_again(void **state)
{
    (void)state;
    struct world world = {.are_parts_late = false};
    scatter_begin(&world.scatter, &world.home, on_gathered);
    scatter_end(&world.scatter);
    assert_int_equal(world.gathered_count, 1);
    world.gathered_count = 0;
    send_all(&world);
    scatter_end(&world.scatter);
    assert_int_equal(world.gathered_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_that_end_at_once_are_gathered_at_the_end),
        cmocka_unit_test(late_parts_are_gathered_behind_the_last),
        cmocka_unit_test(nothing_to_send_is_gathered_and_a_round_may_begin_again),
    };
    return cmocka_run_group_tests_name("scatter", tests, NULL, NULL);
}
