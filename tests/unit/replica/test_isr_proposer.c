/* isr_proposer: batches of workers become few requests, one at a time, and every change comes back with its code, whatever happens.
 */
#include "broker/replica/isr_proposer.h"
#include "common/check.h"
#include "common/mem.h"
#include "proto/wire/error_code.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A loop that is nothing but its queue of posted tasks. */
struct inline_loop {
    struct loop base;
    struct loop_task *tasks;
    struct loop_task **tasks_end;
};

struct world {
    struct inline_loop home;
    struct inline_loop worker;
    struct isr_proposer *proposer;
    struct controller_request *request; /* in flight */
    unsigned request_count;
    int64_t broker_epoch;
    unsigned answered_count;
    uint32_t code_count;
    int16_t codes[64];
    int32_t partitions[64];
};

static void inline_post(struct loop *base, struct loop_task *task)
{
    struct inline_loop *loop = CONTAINER_OF(base, struct inline_loop, base);
    task->next = NULL;
    *loop->tasks_end = task;
    loop->tasks_end = &task->next;
}

static const struct loop_ops inline_ops = {.post = inline_post};

static void inline_run(struct inline_loop *loop)
{
    while (loop->tasks != NULL) {
        struct loop_task *task = loop->tasks;
        loop->tasks = task->next;
        if (loop->tasks == NULL) {
            loop->tasks_end = &loop->tasks;
        }
        task->run(task);
    }
}

static void inline_init(struct inline_loop *loop)
{
    loop->base.ops = &inline_ops;
    loop->tasks_end = &loop->tasks;
}

static void submit(void *ctx, struct controller_request *request)
{
    struct world *world = ctx;
    assert_null(world->request); /* one at a time */
    assert_int_equal(request->kind, CONTROLLER_ALTER_ISR);
    assert_int_equal(request->alter_isr.broker_epoch, world->broker_epoch);
    world->request = request;
    world->request_count++;
}

static int64_t broker_epoch(void *ctx)
{
    const struct world *world = ctx;
    return world->broker_epoch;
}

static int set_up(void **state)
{
    struct world *world = MEM_NEW(struct world);
    inline_init(&world->home);
    inline_init(&world->worker);
    world->broker_epoch = 7;
    struct isr_proposer_config config = {
        .home = &world->home.base, .broker_id = 1, .ctx = world, .submit = submit, .broker_epoch = broker_epoch};
    world->proposer = isr_proposer_new(&config);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    isr_proposer_stop(world->proposer);
    inline_run(&world->home);
    inline_run(&world->worker);
    isr_proposer_free(world->proposer);
    mem_free(world);
    return 0;
}

static void on_answered(struct isr_batch *batch)
{
    struct world *world = batch->ctx;
    world->answered_count++;
    for (uint32_t i = 0; i < batch->change_count && world->code_count < 64; i++) {
        world->codes[world->code_count] = batch->changes[i].code;
        world->partitions[world->code_count++] = batch->changes[i].partition_index;
    }
    isr_batch_free(batch);
}

static void offer(struct world *world, int32_t first, uint32_t count)
{
    struct isr_batch *batch = isr_batch_new(&world->worker.base, on_answered, world);
    for (uint32_t i = 0; i < count; i++) {
        struct controller_isr_member members[] = {{1, 7}, {2, first + (int32_t)i}};
        struct controller_isr_change change = {
            .partition_index = first + (int32_t)i, .isr_count = 2, .isr = members, .code = 99};
        isr_batch_add(batch, &change);
    }
    isr_proposer_offer(world->proposer, batch);
}

/* The controller's answer: the code of a change is its partition's index. */
static void answer(struct world *world, enum err err)
{
    struct controller_request *request = world->request;
    assert_non_null(request);
    world->request = NULL;
    for (uint32_t i = 0; i < request->alter_isr.change_count; i++) {
        struct controller_isr_change *change = &request->alter_isr.changes[i];
        assert_int_equal(change->isr[1].broker_epoch, change->partition_index);
        change->code = (int16_t)change->partition_index;
    }
    request->err = err;
    request->on_done(request);
    inline_run(&world->worker);
}

/* What comes while one request is under way is the next one, however many batches it is. */
static void batches_share_a_request(void **state)
{
    struct world *world = *state;
    offer(world, 10, 2);
    assert_null(world->request); /* not on the worker's thread */
    inline_run(&world->home);
    assert_int_equal(world->request->alter_isr.change_count, 2);
    offer(world, 20, 3);
    offer(world, 30, 1);
    inline_run(&world->home);
    answer(world, ERR_OK);
    assert_int_equal(world->answered_count, 1);
    assert_int_equal(world->request->alter_isr.change_count, 4);
    answer(world, ERR_OK);
    assert_int_equal(world->answered_count, 3);
    assert_int_equal(world->request_count, 2);
    const int32_t expected[] = {10, 11, 20, 21, 22, 30};
    assert_int_equal(world->code_count, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(world->partitions[i], expected[i]);
        assert_int_equal(world->codes[i], expected[i]);
    }
}

static void one_request_has_its_limit(void **state)
{
    struct world *world = *state;
    offer(world, 0, CONTROLLER_ISR_CHANGES_MAX - 1);
    offer(world, 0, 2);
    inline_run(&world->home);
    assert_int_equal(world->request->alter_isr.change_count, CONTROLLER_ISR_CHANGES_MAX - 1);
    answer(world, ERR_OK);
    assert_int_equal(world->request->alter_isr.change_count, 2);
    answer(world, ERR_OK);
    assert_int_equal(world->answered_count, 2);
}

static void no_answer_is_told_as_unknown(void **state)
{
    struct world *world = *state;
    offer(world, 10, 1);
    inline_run(&world->home);
    answer(world, ERR_TIMEOUT);
    assert_int_equal(world->codes[0], ISR_CHANGE_UNKNOWN);
    world->broker_epoch = -1; /* not registered */
    offer(world, 11, 1);
    inline_run(&world->home);
    inline_run(&world->worker);
    assert_null(world->request);
    assert_int_equal(world->codes[1], ISR_CHANGE_UNKNOWN);
}

/* The stop: what waits goes back at once, what is under way when the client gives it up, what still comes as well. */
static void everything_comes_back_at_the_stop(void **state)
{
    struct world *world = *state;
    offer(world, 10, 1);
    inline_run(&world->home);
    offer(world, 11, 1);
    inline_run(&world->home);
    isr_proposer_stop(world->proposer);
    inline_run(&world->worker);
    assert_int_equal(world->answered_count, 1);
    assert_int_equal(world->partitions[0], 11);
    offer(world, 12, 1);
    inline_run(&world->home);
    answer(world, ERR_CLOSED);
    assert_int_equal(world->answered_count, 3);
    assert_null(world->request);
    for (uint32_t i = 0; i < world->code_count; i++) {
        assert_int_equal(world->codes[i], ISR_CHANGE_UNKNOWN);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_share_a_request),
        TEST(one_request_has_its_limit),
        TEST(no_answer_is_told_as_unknown),
        TEST(everything_comes_back_at_the_stop),
    };
    return cmocka_run_group_tests_name("isr_proposer", tests, NULL, NULL);
}
