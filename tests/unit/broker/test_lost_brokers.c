/* Notes of lost brokers: whose they are and when they end; waits end with the news, else with their time. */
#include "broker/meta/lost_brokers.h"
#include "controller/image_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <utlist.h>

#include <cmocka.h>

#define NOW_US 5000000u
#define PLACES ((int32_t)LOST_BROKER_PLACES)

/* ---- notes ---- */

static void test_a_note_is_of_one_process_and_ends(void **state)
{
    (void)state;
    struct lost_brokers lost = {0};
    assert_false(lost_brokers_contain(&lost, 1, 7, NOW_US));
    assert_false(lost_brokers_contain(&lost, 0, 0, 0));
    lost_brokers_note(&lost, 1, 7, NOW_US);
    assert_true(lost_brokers_contain(&lost, 1, 7, NOW_US));
    assert_true(lost_brokers_contain(&lost, 1, 7, NOW_US + LOST_BROKER_US - 1000));
    assert_false(lost_brokers_contain(&lost, 1, 7, NOW_US + LOST_BROKER_US));
    assert_false(lost_brokers_contain(&lost, 1, 7, NOW_US + UINT64_C(100) * 24 * 3600 * 1000000));
    assert_false(lost_brokers_contain(&lost, 1, 8, NOW_US));
}

/* Brokers that registered with one entry of the metadata have one epoch: the leader that took over was taken for the one that died, and hidden
 * for a second. */
static void test_brokers_of_one_epoch_are_told_apart(void **state)
{
    (void)state;
    struct lost_brokers lost = {0};
    lost_brokers_note(&lost, 1, 7, NOW_US);
    assert_false(lost_brokers_contain(&lost, 2, 7, NOW_US));
    for (int32_t other = 1 + PLACES; other < 10000; other += PLACES) { /* the same place */
        assert_false(lost_brokers_contain(&lost, other, 7, NOW_US));
    }
}

static void test_a_note_is_taken_back_by_its_own(void **state)
{
    (void)state;
    struct lost_brokers lost = {0};
    lost_brokers_note(&lost, 1, 7, NOW_US);
    lost_brokers_forget(&lost, 1 + PLACES, 7);
    lost_brokers_forget(&lost, 2, 7);
    lost_brokers_forget(&lost, 1, 8);
    assert_true(lost_brokers_contain(&lost, 1, 7, NOW_US));
    lost_brokers_forget(&lost, 1, 7);
    assert_false(lost_brokers_contain(&lost, 1, 7, NOW_US));
    lost_brokers_note(&lost, 1, 7, NOW_US);
    lost_brokers_note(&lost, 1 + PLACES, 7, NOW_US);
    assert_false(lost_brokers_contain(&lost, 1, 7, NOW_US));
    assert_true(lost_brokers_contain(&lost, 1 + PLACES, 7, NOW_US));
}

/* ---- waits, on a loop of which only the clock and the timers exist ---- */

#define TIMERS_MAX 4

struct waits_test {
    struct loop loop;
    uint64_t now_us;
    struct loop_timer *timers[TIMERS_MAX]; /* armed */
    struct lost_broker_waits waits;
    struct lost_broker_wait first, second;
    unsigned done_count;
    struct lost_broker_wait *last_done;
};

static struct waits_test *current;

static uint64_t clock_now_us(struct loop *loop)
{
    return CONTAINER_OF(loop, struct waits_test, loop)->now_us;
}

static void timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    struct waits_test *test = CONTAINER_OF(loop, struct waits_test, loop);
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        test->timers[i] = test->timers[i] == timer ? NULL : test->timers[i];
    }
}

static void timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us)
{
    struct waits_test *test = CONTAINER_OF(loop, struct waits_test, loop);
    timer_cancel(loop, timer);
    timer->deadline_us = deadline_us;
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (test->timers[i] == NULL) {
            test->timers[i] = timer;
            return;
        }
    }
    fail_msg("more than %d timers", TIMERS_MAX);
}

static const struct loop_ops waits_loop_ops = {
    .now_us = clock_now_us, .timer_set = timer_set, .timer_cancel = timer_cancel};

static void pass(struct waits_test *test, uint64_t us)
{
    test->now_us += us;
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        struct loop_timer *timer = test->timers[i];
        if (timer != NULL && timer->deadline_us <= test->now_us) {
            test->timers[i] = NULL;
            timer->fire(timer);
        }
    }
}

static void on_done(struct lost_broker_wait *wait)
{
    current->done_count++;
    current->last_done = wait;
}

static void begin(struct waits_test *test, struct lost_broker_wait *wait, int32_t broker_id, int64_t broker_epoch)
{
    *wait = (struct lost_broker_wait){.done = on_done, .broker_id = broker_id, .broker_epoch = broker_epoch};
    lost_broker_wait_begin(&test->waits, wait);
}

/* Brokers 1 and 2; the first as given. */
static void tell(struct waits_test *test, int64_t epoch, bool is_fenced)
{
    struct image *empty = image_new_empty();
    struct image_builder builder;
    image_builder_init(&builder, empty);
    image_builder_put_broker(&builder,
                             image_broker_new(&(struct image_broker){.id = 1, .epoch = epoch, .is_fenced = is_fenced}));
    image_builder_put_broker(&builder, image_broker_new(&(struct image_broker){.id = 2, .epoch = 20}));
    struct image *image = image_builder_finish(&builder);
    image_builder_done(&builder);
    lost_broker_waits_metadata(&test->waits, image);
    image_unref(image);
    image_unref(empty);
}

static void start(struct waits_test *test)
{
    *test = (struct waits_test){.loop = {.ops = &waits_loop_ops}, .now_us = NOW_US};
    test->waits.loop = &test->loop;
    current = test;
    begin(test, &test->first, 1, 10);
    begin(test, &test->second, 2, 20);
}

static void test_news_of_its_broker_end_a_wait(void **state)
{
    (void)state;
    struct waits_test test;
    start(&test);
    tell(&test, 10, false);
    assert_int_equal(test.done_count, 0);
    tell(&test, 10, true); /* fenced: its partitions have moved */
    assert_int_equal(test.done_count, 1);
    assert_ptr_equal(test.last_done, &test.first);
    begin(&test, &test.first, 1, 10);
    tell(&test, 11, false); /* started anew */
    assert_int_equal(test.done_count, 2);
    assert_ptr_equal(test.last_done, &test.first);
    pass(&test, LOST_BROKER_WAIT_US);
    assert_int_equal(test.done_count, 3);
    assert_ptr_equal(test.last_done, &test.second);
    tell(&test, 12, true);
    pass(&test, LOST_BROKER_WAIT_US);
    assert_int_equal(test.done_count, 3);
}

static void test_time_ends_a_wait(void **state)
{
    (void)state;
    struct waits_test test;
    start(&test);
    pass(&test, LOST_BROKER_WAIT_US - 1);
    assert_int_equal(test.done_count, 0);
    pass(&test, 1);
    assert_int_equal(test.done_count, 2);
    assert_null(test.waits.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_note_is_of_one_process_and_ends),
        cmocka_unit_test(test_brokers_of_one_epoch_are_told_apart),
        cmocka_unit_test(test_a_note_is_taken_back_by_its_own),
        cmocka_unit_test(test_news_of_its_broker_end_a_wait),
        cmocka_unit_test(test_time_ends_a_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
