/* How far a mistyped name is from a known one. */
#include "common/near_name.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static size_t distance(const char *a, const char *b)
{
    return near_name_distance(span_text(a), span_text(b));
}

static void edits_are_counted(void **state)
{
    (void)state;
    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("", "abc"), 3);
    assert_int_equal(distance("partitions", "partitions"), 0);
    assert_int_equal(distance("partition", "partitions"), 1);
    assert_int_equal(distance("cehck", "check"), 1); /* a swap of neighbours */
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("abc", "xyz"), 3);
}

static void long_names_are_near_to_nothing(void **state)
{
    (void)state;
    char name[NEAR_NAME_BYTES_MAX + 2];
    memset(name, 'a', sizeof(name));
    struct span longest = span_make(name, NEAR_NAME_BYTES_MAX);
    assert_int_equal(near_name_distance(longest, longest), 0);
    assert_true(near_name_distance(longest, span_make(name, NEAR_NAME_BYTES_MAX + 1)) == SIZE_MAX);
    assert_false(near_name_is_near(longest, SIZE_MAX));
}

static void a_slip_is_near(void **state)
{
    (void)state;
    assert_true(near_name_is_near(span_text("topic"), 2));
    assert_false(near_name_is_near(span_text("topic"), 3));
    assert_true(near_name_is_near(span_text("bootstrap-server"), 4));
    assert_false(near_name_is_near(span_text("bootstrap-server"), 5));
}

/* Distances are the same both ways, bounded by the lengths, and at most k after k edits. */
static void distances_behave(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "distances_behave", PROP_SEED_DEFAULT);
    uint64_t runs = prop_runs(20000);
    for (uint64_t i = 0; i < runs; i++) {
        char name[24];
        char edited[24];
        size_t bytes = prop_range(&prop, 4, sizeof(name));
        for (size_t b = 0; b < bytes; b++) {
            name[b] = edited[b] = (char)prop_range(&prop, 'a', 'c');
        }
        size_t edit_count = prop_below(&prop, 4);
        for (size_t e = 0; e < edit_count; e++) {
            edited[prop_below(&prop, bytes)] = (char)prop_range(&prop, 'a', 'c');
        }
        size_t there = near_name_distance(span_make(name, bytes), span_make(edited, bytes));
        assert_true(there <= edit_count);
        assert_int_equal(there, near_name_distance(span_make(edited, bytes), span_make(name, bytes)));
        assert_int_equal(there == 0, memcmp(name, edited, bytes) == 0);
        size_t cut_bytes = prop_below(&prop, bytes);
        assert_int_equal(near_name_distance(span_make(name, bytes), span_make(name, cut_bytes)), bytes - cut_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_counted),
        cmocka_unit_test(long_names_are_near_to_nothing),
        cmocka_unit_test(a_slip_is_near),
        cmocka_unit_test(distances_behave),
    };
    return cmocka_run_group_tests_name("near_name", tests, NULL, NULL);
}
