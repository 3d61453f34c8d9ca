/* A controller that stands still while a broker is silent: how much longer the broker's session is. In simulated time: to the millisecond. */
#include "common/mem.h"
#include "controller/broker_sessions.h"
#include "controller/image_apply.h"
#include "tests/sim/sim_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SESSION_US (3 * SIM_SECOND_US)
#define SLACK_US 5000u /* an iteration of the loop takes some of the simulated time */

struct late_test {
    struct sim_world world;
    struct sim_fabric *fabric;
    struct sim_node *node;
    struct loop *loop;
    struct broker_sessions *sessions;
    struct image *image;
    int64_t epoch; /* of the broker */
    uint64_t since_us;
    uint64_t fenced_us; /* 0: not yet */
};

static void fence(void *ctx, int32_t broker_id, int64_t broker_epoch, const char *why)
{
    struct late_test *test = (struct late_test *)ctx;
    assert_int_equal(broker_id, 7);
    assert_int_equal(broker_epoch, test->epoch);
    assert_string_equal(why, "silence");
    test->fenced_us = test->fenced_us == 0 ? loop_now_us(test->loop) : test->fenced_us;
}

/* Broker 7 is registered, unfenced, and has no INTERNAL listener: nobody probes it. */
static void make_image(struct late_test *test)
{
    struct arena arena;
    struct meta_records records;
    struct uuid directory = {{9}};
    struct image_broker broker = {.id = 7,
                                  .incarnation_id = {{1}},
                                  .boot_id = span_text(""),
                                  .rack = SPAN_NULL,
                                  .directories = &directory,
                                  .directory_count = 1};
    struct image *empty = image_new_empty();
    arena_init(&arena, 0);
    meta_records_init(&records, &arena);
    meta_add_broker(&records, &broker, 0);
    test->image = image_draft(empty, image_offset(empty) + 1, &records, 0, 1);
    assert_non_null(test->image);
    test->epoch = image_find_broker(test->image, 7)->epoch;
    image_unref(empty);
    arena_done(&arena);
}

static void boot(struct sim_node *node, void *ctx)
{
    struct late_test *test = (struct late_test *)ctx;
    assert_int_equal(runtime_loop_new(node->env.runtime, "controller", &test->loop), ERR_OK);
    runtime_loop_start(node->env.runtime, test->loop);
    struct broker_sessions_config config = {.env = &node->env,
                                            .loop = test->loop,
                                            .timeout_us = SESSION_US,
                                            .local_broker_id = -1,
                                            .hello = {.node_id = 1, .broker_epoch = -1},
                                            .ctx = test,
                                            .fence = fence};
    test->sessions = broker_sessions_new(&config);
    make_image(test);
    broker_sessions_activate(test->sessions, test->image);
    test->since_us = loop_now_us(test->loop);
}

static void init(struct late_test *test)
{
    *test = (struct late_test){0};
    sim_world_init(&test->world, 1, 1 << 16);
    test->fabric = sim_fabric_new(&test->world);
    test->node =
        sim_node_new(&test->world, test->fabric, &(struct sim_node_options){.name = "n1", .address = "10.0.0.1"});
    sim_node_start(test->node, boot, test);
}

static void done(struct late_test *test)
{
    assert_int_equal(test->node->abort_count, 0);
    sim_node_free(test->node); /* and with it all that its process had */
    sim_fabric_free(test->fabric);
    sim_world_done(&test->world);
}

static void touch(struct sim_node *node, void *ctx)
{
    struct late_test *test = (struct late_test *)ctx;
    (void)node;
    broker_sessions_touch(test->sessions, 7, test->epoch);
}

/* Stands still from `before_us` before the session's end for `pause_us`. When it is fenced then, after the session's begin. */
static uint64_t fenced_after(struct late_test *test, uint64_t before_us, uint64_t pause_us)
{
    sim_world_run_for(&test->world, SESSION_US - before_us);
    sim_node_pause(test->node, pause_us);
    sim_world_run_for(&test->world, pause_us + 3 * SESSION_US);
    assert_true(test->fenced_us > 0);
    return test->fenced_us - test->since_us;
}

static void test_as_much_more_as_the_controller_was_late(void **state)
{
    (void)state;
    static const struct {
        uint64_t before_us, pause_us, late_us, more_us;
    } cases[] = {
        {1000000, 900000, 0, 0},              /* over before the session ends */
        {50000, 130000, 80000, 0},            /* late by less than SESSIONS_LATE_US */
        {100000, 300000, 200000, 200000},     /* what it lacked */
        {2000000, 10000000, 8000000, 1500000} /* long enough for links to end: half a session to dial anew */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct late_test test;
        init(&test);
        uint64_t after_us = fenced_after(&test, cases[i].before_us, cases[i].pause_us);
        uint64_t expected_us = SESSION_US + cases[i].late_us + cases[i].more_us;
        assert_in_range(after_us, expected_us, expected_us + SLACK_US);
        done(&test);
    }
}

static void test_who_is_heard_in_that_time_has_a_whole_session(void **state)
{
    (void)state;
    struct late_test test;
    init(&test);
    sim_world_run_for(&test.world, SESSION_US - 100000);
    sim_node_pause(test.node, 1100000);
    sim_world_run_for(&test.world, 1100000 + 900000); /* late by 1 s, prolonged by 1 s */
    sim_node_run(test.node, touch, &test);
    uint64_t heard_us = SESSION_US + 1900000;
    sim_world_run_for(&test.world, 3 * SESSION_US);
    assert_in_range(test.fenced_us - test.since_us, heard_us + SESSION_US, heard_us + SESSION_US + SLACK_US);
    done(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_much_more_as_the_controller_was_late),
        cmocka_unit_test(test_who_is_heard_in_that_time_has_a_whole_session),
    };
    return cmocka_run_group_tests_name("sessions_late", tests, NULL, NULL);
}
