/* The checker of the broker simulation must find what it is there for: each kind of violation, planted. */
#include "tests/sim/broker_checker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct broker_checker checker;
    struct checker_reader reader;
};

static int setup(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    broker_checker_init(&fixture.checker, 2);
    /* Two producers: 0:0 0:1 1:0 at offsets 0, 1, 2, acknowledged. */
    broker_checker_acknowledged(&fixture.checker, 1, 0, 0, 2, 0);
    broker_checker_acknowledged(&fixture.checker, 1, 1, 0, 1, 2);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    broker_checker_done(&((struct fixture *)*state)->checker);
    return 0;
}

static void see(struct fixture *fixture, int64_t offset, unsigned producer, uint64_t number)
{
    broker_checker_read(&fixture->checker, &fixture->reader, 1, offset, 100, producer, number);
}

static void assert_found(struct fixture *fixture, const char *promise)
{
    assert_true(fixture->checker.violation_count > 0);
    assert_memory_equal(fixture->checker.sentence, promise, strlen(promise));
}

static void what_was_promised_and_is_there_is_fine(void **state)
{
    struct fixture *fixture = *state;
    see(fixture, 0, 0, 0);
    see(fixture, 1, 0, 1);
    see(fixture, 2, 1, 0);
    see(fixture, 3, 1, 1); /* never acknowledged, and there: fine */
    broker_checker_finish(&fixture->checker, &fixture->reader);
    assert_int_equal(fixture->checker.violation_count, 0);
}

static void another_record_at_an_acknowledged_offset(void **state)
{
    struct fixture *fixture = *state;
    see(fixture, 0, 1, 0);
    assert_found(fixture, "R1");
}

static void missing_tail(void **state)
{
    struct fixture *fixture = *state;
    see(fixture, 0, 0, 0);
    broker_checker_finish(&fixture->checker, &fixture->reader);
    assert_found(fixture, "R1");
}

static void acknowledged_without_an_offset_and_missing(void **state)
{
    struct fixture *fixture = *state;
    see(fixture, 0, 0, 0);
    see(fixture, 1, 0, 1);
    see(fixture, 2, 1, 0);
    broker_checker_acknowledged(&fixture->checker, 1, 1, 1, 1, -1);
    broker_checker_finish(&fixture->checker, &fixture->reader);
    assert_found(fixture, "R1");
}

static void two_acknowledgements_of_one_offset(void **state)
{
    struct fixture *fixture = *state;
    broker_checker_acknowledged(&fixture->checker, 1, 1, 1, 1, 1);
    assert_found(fixture, "R1");
}

static void hole(void **state)
{
    struct fixture *fixture = *state;
    see(fixture, 1, 0, 1);
    assert_found(fixture, "R1");
}

static void read_above_the_high_watermark(void **state)
{
    struct fixture *fixture = *state;
    broker_checker_read(&fixture->checker, &fixture->reader, 1, 0, 0, 0, 0);
    assert_found(fixture, "R3");
}

static void duplicate_and_wrong_order(void **state)
{
    struct fixture *fixture = *state;
    broker_checker_read(&fixture->checker, &fixture->reader, 0, 0, 100, 0, 0);
    broker_checker_read(&fixture->checker, &fixture->reader, 0, 1, 100, 0, 0);
    assert_found(fixture, "R4");
}

static void read_and_then_gone(void **state)
{
    struct fixture *fixture = *state;
    broker_checker_read(&fixture->checker, &fixture->reader, 0, 0, 100, 0, 0);
    struct checker_reader second = {0};
    broker_checker_read(&fixture->checker, &second, 0, 0, 100, 1, 0);
    assert_found(fixture, "R1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_promised_and_is_there_is_fine, setup, teardown),
        cmocka_unit_test_setup_teardown(another_record_at_an_acknowledged_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_tail, setup, teardown),
        cmocka_unit_test_setup_teardown(acknowledged_without_an_offset_and_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(two_acknowledgements_of_one_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(hole, setup, teardown),
        cmocka_unit_test_setup_teardown(read_above_the_high_watermark, setup, teardown),
        cmocka_unit_test_setup_teardown(duplicate_and_wrong_order, setup, teardown),
        cmocka_unit_test_setup_teardown(read_and_then_gone, setup, teardown),
    };
    return cmocka_run_group_tests_name("broker_checker", tests, NULL, NULL);
}
