/* The checker of what clients of a simulated cluster were promised must find what it is there for: each kind of violation, planted. */
#include "tests/sim/cluster_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct cluster_verdict verdict;
    struct cluster_history history;
};

/* Two idempotent sessions and one without a promise. 0:0 0:1 1:0 at offsets 0, 1, 2 of partition 1, acknowledged. */
static int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    cluster_history_init(&fixture->history, 2, &fixture->verdict);
    (void)cluster_history_session(&fixture->history, true);
    (void)cluster_history_session(&fixture->history, true);
    (void)cluster_history_session(&fixture->history, false);
    cluster_history_acknowledged(&fixture->history, 1, 0, 0, 2, 0);
    cluster_history_acknowledged(&fixture->history, 1, 1, 0, 1, 2);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    cluster_history_done(&fixture->history);
    test_free(fixture);
    return 0;
}

static void see(struct fixture *fixture, int64_t offset, unsigned session, uint64_t number)
{
    cluster_history_read(&fixture->history, 1, offset, offset, 100, session, number);
}

static void see_what_was_acknowledged(struct fixture *fixture)
{
    see(fixture, 0, 0, 0);
    see(fixture, 1, 0, 1);
    see(fixture, 2, 1, 0);
}

static void assert_found(const struct fixture *fixture, const char *promise)
{
    assert_true(fixture->verdict.violation_count > 0);
    assert_memory_equal(fixture->verdict.sentence, promise, strlen(promise));
}

static void what_was_promised_and_is_there_is_fine(void **state)
{
    struct fixture *fixture = *state;
    see_what_was_acknowledged(fixture);
    see(fixture, 3, 1, 1); /* never acknowledged, and there: fine */
    see(fixture, 4, 2, 7); /* without a promise: any number, */
    see(fixture, 5, 2, 7); /* twice, too */
    see(fixture, 2, 1, 0); /* read again */
    cluster_history_finish(&fixture->history);
    assert_true(cluster_verdict_is_ok(&fixture->verdict));
}

static void another_record_at_an_acknowledged_offset(void **state)
{
    see(*state, 0, 1, 0);
    assert_found(*state, "R1: partition 1 offset 0 held record 0:0 (acknowledged)");
}

static void another_record_at_an_offset_that_was_read(void **state)
{
    see_what_was_acknowledged(*state);
    see(*state, 3, 2, 0);
    see(*state, 3, 2, 1);
    assert_found(*state, "R1: partition 1 offset 3 held record 2:0 (read)");
}

static void a_record_that_is_missing(void **state)
{
    struct fixture *fixture = *state;
    see(fixture, 0, 0, 0);
    see(fixture, 1, 0, 1);
    cluster_history_finish(&fixture->history);
    assert_found(fixture, "R1: partition 1 was read up to 2");
}

static void a_record_that_was_acknowledged_without_an_offset_is_missing(void **state)
{
    struct fixture *fixture = *state;
    see_what_was_acknowledged(fixture);
    cluster_history_acknowledged(&fixture->history, 1, 1, 1, 1, -1);
    cluster_history_finish(&fixture->history);
    assert_found(fixture, "R1: partition 1: session 1 was acknowledged up to record 2");
}

static void a_hole(void **state)
{
    struct fixture *fixture = *state;
    cluster_history_read(&fixture->history, 1, 0, 1, 100, 0, 1);
    assert_found(fixture, "R1: partition 1: offset 1 was read where 0 comes next");
}

static void a_duplicate(void **state)
{
    see_what_was_acknowledged(*state);
    see(*state, 3, 0, 1);
    assert_found(*state, "R4: partition 1 offset 3: record 1 of session 0 where 2 comes next");
}

static void a_gap(void **state)
{
    see_what_was_acknowledged(*state);
    see(*state, 3, 1, 2);
    assert_found(*state, "R4: partition 1 offset 3: record 2 of session 1 where 1 comes next");
}

static void a_record_above_the_high_watermark(void **state)
{
    struct fixture *fixture = *state;
    cluster_history_read(&fixture->history, 1, 0, 0, 0, 0, 0);
    assert_found(fixture, "R3: partition 1: offset 0 was read above the high watermark 0");
}

static void a_record_of_nobody(void **state)
{
    see(*state, 0, 9, 0);
    assert_found(*state, "R10: partition 1 offset 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_promised_and_is_there_is_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(another_record_at_an_acknowledged_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(another_record_at_an_offset_that_was_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_was_acknowledged_without_an_offset_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_duplicate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_above_the_high_watermark, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_of_nobody, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
