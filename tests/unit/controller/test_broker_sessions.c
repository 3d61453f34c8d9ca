/* Sessions of brokers: silence, dead processes, other incarnations; and who is left alone. Real loopback sockets for the probes. */
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/rpc/rpc_server.h"
#include "common/seam/clock.h"
#include "controller/broker_sessions.h"
#include "controller/image_apply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_US 20000000u
#define LONG_US 15000000u
#define SHORT_US 300000u

static const struct uuid first_incarnation = {{1}};
static const struct uuid second_incarnation = {{2}};

struct sessions_test {
    struct posix_env *posix;
    struct env *env;
    struct loop *loop;
    struct loop_timer deadline;
    struct loop_timer pause;
    bool is_over; /* the pause */
    struct rpc_server *server;
    uint16_t port;
    struct broker_sessions *sessions;
    const struct image *image;
    int64_t epoch; /* of the broker */
    bool is_fenced;
    unsigned fence_count;
    int64_t fenced_epoch;
    char why[32];
};

static void on_deadline(struct loop_timer *timer)
{
    (void)timer;
    CHECK(!"the test did not come to its end in time");
}

static void on_pause(struct loop_timer *timer)
{
    CONTAINER_OF(timer, struct sessions_test, pause)->is_over = true;
}

static void fence(void *ctx, int32_t broker_id, int64_t broker_epoch, const char *why)
{
    struct sessions_test *test = (struct sessions_test *)ctx;
    assert_int_equal(broker_id, 7);
    test->is_fenced = true;
    test->fence_count++;
    test->fenced_epoch = broker_epoch;
    snprintf(test->why, sizeof(test->why), "%s", why);
}

static void init(struct sessions_test *test, uint64_t timeout_us)
{
    *test = (struct sessions_test){0};
    test->posix = posix_env_new(LOG_ERROR);
    test->env = &test->posix->env;
    assert_int_equal(runtime_loop_new(test->env->runtime, "test", &test->loop), ERR_OK);
    test->deadline.fire = on_deadline;
    test->pause.fire = on_pause;
    loop_timer_set(test->loop, &test->deadline, loop_now_us(test->loop) + DEADLINE_US);
    assert_int_equal(rpc_server_new(test->env, test->loop, "127.0.0.1", 0, &test->server), ERR_OK);
    struct net_address address;
    rpc_server_address(test->server, &address);
    test->port = address.port;
    struct broker_sessions_config config = {.env = test->env,
                                            .loop = test->loop,
                                            .timeout_us = timeout_us,
                                            .local_broker_id = -1,
                                            .hello = {.node_id = 1, .broker_epoch = -1},
                                            .ctx = test,
                                            .fence = fence};
    test->sessions = broker_sessions_new(&config);
    test->image = image_new_empty();
}

static void done(struct sessions_test *test)
{
    broker_sessions_free(test->sessions);
    if (test->server != NULL) {
        rpc_server_close(test->server);
        rpc_server_free(test->server);
    }
    image_unref(test->image);
    runtime_loop_free(test->env->runtime, test->loop);
    posix_env_free(test->posix);
}

/* The server answers as this process from now on. */
static void answer_as(struct sessions_test *test, struct uuid incarnation_id)
{
    struct rpc_hello hello = {
        .kind = RPC_KIND_PROBE, .node_id = 7, .incarnation_id = incarnation_id, .broker_epoch = 5};
    rpc_server_set_hello(test->server, &hello);
}

static void close_server(struct sessions_test *test)
{
    rpc_server_close(test->server);
    rpc_server_free(test->server);
    test->server = NULL;
}

static void wait_for(struct sessions_test *test, uint64_t us)
{
    test->is_over = false;
    loop_timer_set(test->loop, &test->pause, loop_now_us(test->loop) + us);
    posix_loop_run_until(test->loop, &test->is_over);
}

/* Broker 7 is registered by `incarnation_id`, and unfenced. */
static void make_image(struct sessions_test *test, struct uuid incarnation_id, bool is_fenced)
{
    struct arena arena;
    struct meta_records records;
    struct image_endpoint endpoint = {
        .listener_name = span_text("INTERNAL"), .host = span_text("127.0.0.1"), .port = test->port};
    struct uuid directory = {{9}};
    const struct image_broker *before = image_find_broker(test->image, 7);
    struct image_broker broker = {.id = 7,
                                  .incarnation_id = incarnation_id,
                                  .boot_id = span_text(""),
                                  .rack = SPAN_NULL,
                                  .is_fenced = is_fenced,
                                  .endpoints = &endpoint,
                                  .endpoint_count = 1,
                                  .directories = &directory,
                                  .directory_count = 1};
    arena_init(&arena, 0);
    meta_records_init(&records, &arena);
    meta_add_broker(&records, &broker, before == NULL ? 0 : before->epoch);
    struct image *after = image_draft(test->image, image_offset(test->image) + 1, &records, 0, 1);
    assert_non_null(after);
    image_unref(test->image);
    test->image = after;
    test->epoch = image_find_broker(after, 7)->epoch;
    arena_done(&arena);
}

static void test_silence(void **state)
{
    (void)state;
    struct sessions_test test;
    init(&test, SHORT_US);
    answer_as(&test, first_incarnation);
    make_image(&test, first_incarnation, false);
    broker_sessions_link_up(test.sessions, 7, first_incarnation);
    uint64_t since_us = loop_now_us(test.loop);
    broker_sessions_activate(test.sessions, test.image);
    for (int i = 0; i < 6; i++) { /* heartbeats keep it, those of another epoch don't */
        wait_for(&test, SHORT_US / 2);
        assert_int_equal(test.fence_count, 0);
        broker_sessions_touch(test.sessions, 7, test.epoch);
    }
    since_us = loop_now_us(test.loop);
    broker_sessions_touch(test.sessions, 7, test.epoch + 1);
    posix_loop_run_until(test.loop, &test.is_fenced);
    assert_string_equal(test.why, "silence");
    assert_int_equal(test.fenced_epoch, test.epoch);
    assert_true(loop_now_us(test.loop) - since_us >= SHORT_US);
    broker_sessions_link_down(test.sessions, 7, first_incarnation);
    done(&test);
}

static void test_dead_process_is_fenced_at_once(void **state)
{
    (void)state;
    struct sessions_test test;
    init(&test, LONG_US);
    make_image(&test, first_incarnation, false);
    broker_sessions_link_up(test.sessions, 7, first_incarnation);
    broker_sessions_activate(test.sessions, test.image);
    wait_for(&test, 2 * SESSIONS_GRACE_US);
    assert_int_equal(test.fence_count, 0); /* it has its link */
    close_server(&test);
    uint64_t since_us = loop_now_us(test.loop);
    broker_sessions_link_down(test.sessions, 7, first_incarnation);
    posix_loop_run_until(test.loop, &test.is_fenced);
    assert_string_equal(test.why, "refused");
    assert_true(loop_now_us(test.loop) - since_us < LONG_US / 2);
    done(&test);
}

struct standstill {
    struct loop_timer timer;
    struct loop_timer heartbeat;
    struct sessions_test *test;
};

static void touch(struct loop_timer *timer)
{
    struct sessions_test *test = CONTAINER_OF(timer, struct standstill, heartbeat)->test;
    broker_sessions_touch(test->sessions, 7, test->epoch);
}

/* Like a process that was stopped: nothing runs for longer than the session. The broker had given its link up, and dials anew. */
static void stand_still(struct loop_timer *timer)
{
    struct standstill *standstill = CONTAINER_OF(timer, struct standstill, timer);
    struct sessions_test *test = standstill->test;
    uint64_t until_us = clock_mono_us(test->env->clock) + 2 * SHORT_US;
    while (clock_mono_us(test->env->clock) < until_us) {
    }
    loop_timer_set(test->loop, &standstill->heartbeat, until_us + SHORT_US / 6);
}

/* A controller that stood still fences nobody for that: the brokers come back to it first. */
static void test_standstill_of_the_controller(void **state)
{
    (void)state;
    struct sessions_test test;
    struct standstill standstill = {.timer.fire = stand_still, .heartbeat.fire = touch, .test = &test};
    init(&test, SHORT_US);
    answer_as(&test, first_incarnation);
    make_image(&test, first_incarnation, false);
    broker_sessions_link_up(test.sessions, 7, first_incarnation);
    broker_sessions_activate(test.sessions, test.image);
    uint64_t since_us = loop_now_us(test.loop);
    loop_timer_set(test.loop, &standstill.timer, since_us + SHORT_US / 10);
    posix_loop_run_until(test.loop, &test.is_fenced); /* silence is found as ever */
    assert_string_equal(test.why, "silence");
    /* The standstill, the way back, and a session. */
    assert_true(loop_now_us(test.loop) - since_us >= 2 * SHORT_US + SHORT_US / 6 + SHORT_US);
    broker_sessions_link_down(test.sessions, 7, first_incarnation);
    done(&test);
}

/* Nobody had a link to this controller when it became active. */
static void test_no_link_after_activation(void **state)
{
    (void)state;
    struct sessions_test test;
    init(&test, LONG_US);
    make_image(&test, first_incarnation, false);
    close_server(&test);
    broker_sessions_link_up(test.sessions, 7, second_incarnation); /* not of the registration */
    uint64_t since_us = loop_now_us(test.loop);
    broker_sessions_activate(test.sessions, test.image);
    posix_loop_run_until(test.loop, &test.is_fenced);
    assert_string_equal(test.why, "refused");
    assert_true(loop_now_us(test.loop) - since_us >= SESSIONS_GRACE_US);
    broker_sessions_link_down(test.sessions, 7, second_incarnation);
    done(&test);
}

static void test_another_incarnation_answers(void **state)
{
    (void)state;
    struct sessions_test test;
    init(&test, LONG_US);
    make_image(&test, first_incarnation, false);
    answer_as(&test, first_incarnation);
    broker_sessions_activate(test.sessions, test.image);
    wait_for(&test, SESSIONS_GRACE_US + 10 * SESSIONS_PROBE_GAP_US);
    assert_int_equal(test.fence_count, 0); /* it is alive, it only has no link */
    answer_as(&test, second_incarnation);
    posix_loop_run_until(test.loop, &test.is_fenced);
    assert_string_equal(test.why, "another_incarnation");
    done(&test);
}

/* Something takes the connection and closes it, like a proxy of a dead machine: the session decides. */
static void test_probes_are_bounded(void **state)
{
    (void)state;
    struct sessions_test test;
    init(&test, 3 * SHORT_US);
    make_image(&test, first_incarnation, false);
    answer_as(&test, first_incarnation);
    uint64_t since_us = loop_now_us(test.loop);
    broker_sessions_activate(test.sessions, test.image);
    posix_loop_run_until(test.loop, &test.is_fenced);
    assert_string_equal(test.why, "silence");
    assert_true(loop_now_us(test.loop) - since_us >= 3 * SHORT_US);
    done(&test);
}

static void test_who_is_left_alone(void **state)
{
    (void)state;
    struct sessions_test test;
    init(&test, SHORT_US);
    make_image(&test, first_incarnation, true);
    close_server(&test);
    broker_sessions_activate(test.sessions, test.image);
    wait_for(&test, 2 * SHORT_US);
    assert_int_equal(test.fence_count, 0); /* it is fenced */
    broker_sessions_deactivate(test.sessions);
    make_image(&test, second_incarnation, false);
    broker_sessions_update(test.sessions, test.image);
    wait_for(&test, 2 * SHORT_US);
    assert_int_equal(test.fence_count, 0); /* this controller is not active */
    uint64_t since_us = loop_now_us(test.loop);
    broker_sessions_link_up(test.sessions, 7, second_incarnation);
    broker_sessions_activate(test.sessions, test.image);
    posix_loop_run_until(test.loop, &test.is_fenced); /* and has a fresh session */
    assert_true(loop_now_us(test.loop) - since_us >= SHORT_US);
    assert_int_equal(test.fenced_epoch, test.epoch);
    broker_sessions_deactivate(test.sessions);
    broker_sessions_link_down(test.sessions, 7, second_incarnation);
    done(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_standstill_of_the_controller),
        cmocka_unit_test(test_dead_process_is_fenced_at_once),
        cmocka_unit_test(test_no_link_after_activation),
        cmocka_unit_test(test_another_incarnation_answers),
        cmocka_unit_test(test_probes_are_bounded),
        cmocka_unit_test(test_who_is_left_alone),
    };
    return cmocka_run_group_tests_name("broker_sessions", tests, NULL, NULL);
}
