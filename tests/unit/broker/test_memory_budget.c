/* The budget of request bytes: limit, strict order of waiters over several queues, no lost wake. */
#include "broker/net/memory_budget.h"
#include "common/check.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <utlist.h>

#include <cmocka.h>

#define WAITERS_MAX 64

/* Two queues on one loop of which only the posting exists: posted wakes run when the test turns it. */
struct fixture {
    struct loop loop;
    struct loop_task *posted;
    struct memory_budget budget;
    struct memory_queue queues[2];
};

struct test_waiter {
    struct memory_waiter waiter;
    unsigned number;
    struct test_waiter **grants; /* appended to */
    unsigned *grant_count;
};

static void post(struct loop *loop, struct loop_task *task)
{
    struct fixture *fixture = CONTAINER_OF(loop, struct fixture, loop);
    task->next = NULL;
    LL_APPEND(fixture->posted, task);
}

static void turn(struct fixture *fixture)
{
    while (fixture->posted != NULL) {
        struct loop_task *task = fixture->posted;
        LL_DELETE(fixture->posted, task);
        task->run(task);
    }
}

static const struct loop_ops test_loop_ops = {.post = post};

static void start(struct fixture *fixture, size_t limit_bytes)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->loop.ops = &test_loop_ops;
    memory_budget_init(&fixture->budget, limit_bytes, 2);
    memory_queue_init(&fixture->queues[0], &fixture->budget, 0, &fixture->loop);
    memory_queue_init(&fixture->queues[1], &fixture->budget, 1, &fixture->loop);
}

static void stop(struct fixture *fixture)
{
    turn(fixture);
    memory_budget_done(&fixture->budget);
}

static void note_grant(struct memory_waiter *waiter)
{
    struct test_waiter *test_waiter = CONTAINER_OF(waiter, struct test_waiter, waiter);
    test_waiter->grants[(*test_waiter->grant_count)++] = test_waiter;
}

/* What fits is taken at once; what is larger than the limit is taken when nothing else is held. */
static void limit_holds(void **state)
{
    (void)state;
    struct fixture fixture;
    start(&fixture, 100);
    assert_true(memory_try_take(&fixture.queues[0], 60));
    assert_false(memory_try_take(&fixture.queues[1], 41));
    assert_true(memory_try_take(&fixture.queues[1], 40));
    memory_give(&fixture.queues[0], 60);
    assert_false(memory_try_take(&fixture.queues[0], 1000));
    memory_give(&fixture.queues[1], 40);
    assert_true(memory_try_take(&fixture.queues[0], 1000));
    memory_give(&fixture.queues[0], 1000);
    stop(&fixture);
}

/* Connections that announce much and send little held up everybody else: small frames have a reserve of their own. */
static void small_frames_pass_large_ones_that_wait(void **state)
{
    (void)state;
    struct fixture fixture;
    size_t limit_bytes = MEMORY_RESERVE_LIMIT_MIN;
    size_t large_bytes = limit_bytes - limit_bytes / 8;
    start(&fixture, limit_bytes);
    struct test_waiter *grants[WAITERS_MAX];
    unsigned grant_count = 0;
    assert_true(memory_try_take(&fixture.queues[0], large_bytes));
    assert_false(memory_try_take(&fixture.queues[1], MEMORY_SMALL_BYTES + 1)); /* the reserve is not for it */
    struct test_waiter large = {{.granted = note_grant}, 0, grants, &grant_count};
    memory_wait(&fixture.queues[0], &large.waiter, large_bytes);
    turn(&fixture);
    size_t small_count = 0;
    while (memory_try_take(&fixture.queues[1], MEMORY_SMALL_BYTES)) {
        small_count++;
    }
    assert_int_equal(small_count, limit_bytes / 8 / MEMORY_SMALL_BYTES); /* the limit holds */
    memory_give(&fixture.queues[1], small_count * MEMORY_SMALL_BYTES);
    memory_give(&fixture.queues[0], large_bytes);
    turn(&fixture);
    assert_int_equal(grant_count, 1);
    memory_give(&fixture.queues[0], large_bytes);
    stop(&fixture);
}

/* A large frame that came first is served before small ones that would fit, also those of another worker. */
static void waiters_are_served_in_the_order_of_arrival(void **state)
{
    (void)state;
    struct fixture fixture;
    start(&fixture, 100);
    struct test_waiter *grants[WAITERS_MAX];
    unsigned grant_count = 0;
    assert_true(memory_try_take(&fixture.queues[0], 90));
    struct test_waiter waiters[4];
    static const size_t wishes[] = {80, 5, 5, 30};
    for (unsigned i = 0; i < 4; i++) {
        waiters[i] = (struct test_waiter){{.granted = note_grant}, i, grants, &grant_count};
        memory_wait(&fixture.queues[i % 2], &waiters[i].waiter, wishes[i]);
    }
    turn(&fixture);
    assert_int_equal(grant_count, 0);
    assert_false(memory_try_take(&fixture.queues[1], 1)); /* nobody overtakes */
    memory_give(&fixture.queues[0], 90);
    turn(&fixture);
    assert_int_equal(grant_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(grants[i]->number, i);
    }
    memory_cancel(&fixture.queues[1], &waiters[3].waiter);
    memory_cancel(&fixture.queues[1], &waiters[3].waiter);
    assert_true(memory_try_take(&fixture.queues[1], 10));
    memory_give(&fixture.queues[0], 100);
    stop(&fixture);
}

/* A waiter that goes makes way for those behind it. */
static void cancelling_wakes_the_next(void **state)
{
    (void)state;
    struct fixture fixture;
    start(&fixture, 100);
    struct test_waiter *grants[WAITERS_MAX];
    unsigned grant_count = 0;
    assert_true(memory_try_take(&fixture.queues[0], 50));
    struct test_waiter large = {{.granted = note_grant}, 0, grants, &grant_count};
    struct test_waiter small = {{.granted = note_grant}, 1, grants, &grant_count};
    memory_wait(&fixture.queues[0], &large.waiter, 80);
    memory_wait(&fixture.queues[1], &small.waiter, 10);
    turn(&fixture);
    assert_int_equal(grant_count, 0);
    memory_cancel(&fixture.queues[0], &large.waiter);
    turn(&fixture);
    assert_int_equal(grant_count, 1);
    assert_int_equal(grants[0]->number, 1);
    memory_give(&fixture.queues[0], 60);
    stop(&fixture);
}

/* Any history: never above the limit with more than one holder, grants in the order of waiting, nobody forgotten. */
static void random_histories_keep_order_and_limit(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "random_histories_keep_order_and_limit", 3);
    for (uint64_t run = 0; run < prop_runs(20); run++) {
        struct fixture fixture;
        start(&fixture, 1000);
        struct test_waiter waiters[WAITERS_MAX];
        struct test_waiter *grants[WAITERS_MAX];
        unsigned grant_count = 0;
        size_t held_bytes = 0;
        unsigned given_back = 0;
        for (unsigned i = 0; i < WAITERS_MAX; i++) {
            size_t bytes = (size_t)prop_range(&prop, 1, 700);
            waiters[i] = (struct test_waiter){{.granted = note_grant}, i, grants, &grant_count};
            memory_wait(&fixture.queues[prop_below(&prop, 2)], &waiters[i].waiter, bytes);
            if (prop_chance(&prop, 1, 2)) {
                turn(&fixture);
            }
            while (given_back < grant_count && prop_chance(&prop, 1, 3)) {
                memory_give(&fixture.queues[prop_below(&prop, 2)], grants[given_back++]->waiter.bytes);
            }
        }
        while (given_back < WAITERS_MAX) {
            turn(&fixture);
            held_bytes = 0;
            for (unsigned i = given_back; i < grant_count; i++) {
                held_bytes += grants[i]->waiter.bytes;
            }
            assert_int_equal(held_bytes, memory_budget_used(&fixture.budget));
            assert_true(held_bytes <= 1000);
            assert_true(grant_count > given_back);
            memory_give(&fixture.queues[0], grants[given_back++]->waiter.bytes);
        }
        for (unsigned i = 0; i < WAITERS_MAX; i++) {
            assert_int_equal(grants[i]->number, i);
        }
        stop(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_holds),
        cmocka_unit_test(small_frames_pass_large_ones_that_wait),
        cmocka_unit_test(waiters_are_served_in_the_order_of_arrival),
        cmocka_unit_test(cancelling_wakes_the_next),
        cmocka_unit_test(random_histories_keep_order_and_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
