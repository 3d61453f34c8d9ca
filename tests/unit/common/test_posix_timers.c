/* The production loop's timers: not early, in order, fair, and nothing ticks when nothing is due. */
#include "tests/unit/common/posix_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define TRACE_BYTES 256

struct timer_test {
    struct world world;
    struct loop_timer timers[3];
    struct loop_timer cancelled;
    char trace[TRACE_BYTES];
    uint64_t start_us;
};

static void timer_fail(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("a cancelled timer fired");
}

static void timer_note(struct timer_test *test, const char *name, uint64_t after_us)
{
    assert_true(loop_now_us(test->world.loop) >= test->start_us + after_us);
    strcat(test->trace, name);
}

static void timer_on_a(struct loop_timer *timer)
{
    struct timer_test *test = CONTAINER_OF(timer, struct timer_test, timers[0]);
    timer_note(test, "a", 3000);
    loop_timer_cancel(test->world.loop, &test->cancelled);
}

static void timer_on_b(struct loop_timer *timer)
{
    timer_note(CONTAINER_OF(timer, struct timer_test, timers[1]), "b", 3000);
}

static void timer_on_c(struct loop_timer *timer)
{
    struct timer_test *test = CONTAINER_OF(timer, struct timer_test, timers[2]);
    timer_note(test, "c", 5000);
    loop_stop(test->world.loop);
}

/* Not early, by deadline, then by order of setting; a moved timer fires once; one cancelled by its neighbour not at
   all. */
static void timers_fire_in_order_and_never_early(void **state)
{
    (void)state;
    struct timer_test test = {
        .timers = {{.fire = timer_on_a}, {.fire = timer_on_b}, {.fire = timer_on_c}},
        .cancelled.fire = timer_fail,
    };
    world_start(&test.world);
    struct loop *loop = test.world.loop;
    test.start_us = loop_now_us(loop);
    loop_timer_set(loop, &test.timers[2], test.start_us + 1000);
    loop_timer_set(loop, &test.timers[0], test.start_us + 3000);
    loop_timer_set(loop, &test.timers[1], test.start_us + 3000);
    loop_timer_set(loop, &test.cancelled, test.start_us + 3000);
    loop_timer_set(loop, &test.timers[2], test.start_us + 5000);
    world_run(&test.world);
    assert_string_equal(test.trace, "abc");
    world_end(&test.world);
}

struct rearm_test {
    struct world world;
    struct loop_timer busy;
    struct loop_timer waiting;
    unsigned busy_count;
};

static void rearm_busy(struct loop_timer *timer)
{
    struct rearm_test *test = CONTAINER_OF(timer, struct rearm_test, busy);
    test->busy_count++;
    loop_timer_set(test->world.loop, timer, 0);
}

static void rearm_waiting(struct loop_timer *timer)
{
    loop_stop(CONTAINER_OF(timer, struct rearm_test, waiting)->world.loop);
}

/* A timer that is always due fires once in an iteration and can't keep another from firing. */
static void timer_that_rearms_itself_starves_nobody(void **state)
{
    (void)state;
    struct rearm_test test = {.busy.fire = rearm_busy, .waiting.fire = rearm_waiting};
    world_start(&test.world);
    loop_timer_set(test.world.loop, &test.busy, 0);
    loop_timer_set(test.world.loop, &test.waiting, loop_now_us(test.world.loop) + 2000);
    world_run(&test.world);
    assert_true(test.busy_count > 0);
    world_end(&test.world);
}

struct idle_test {
    struct world world;
    struct loop_timer timer;
    unsigned step_count;
};

static void idle_on_timer(struct loop_timer *timer)
{
    loop_stop(CONTAINER_OF(timer, struct idle_test, timer)->world.loop);
}

static void idle_on_step(void *ctx)
{
    ((struct idle_test *)ctx)->step_count++;
}

/* Nothing to do for 50 ms: one iteration for the timer, and no tick before it. */
static void idle_loop_does_not_wake(void **state)
{
    (void)state;
    struct idle_test test = {.timer.fire = idle_on_timer};
    world_start(&test.world);
    loop_set_step(test.world.loop, idle_on_step, &test);
    loop_timer_set(test.world.loop, &test.timer, loop_now_us(test.world.loop) + 50000);
    world_run(&test.world);
    assert_int_equal(test.step_count, 1);
    world_end(&test.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_and_never_early),
        cmocka_unit_test(timer_that_rearms_itself_starves_nobody),
        cmocka_unit_test(idle_loop_does_not_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
