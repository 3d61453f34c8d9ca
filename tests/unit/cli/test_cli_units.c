/* What people write for times and sizes. */
#include "cli/units.h"
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct pair {
    const char *text;
    int64_t value;
};

static void durations_take_units(void **state)
{
    (void)state;
    const struct pair good[] = {{"250ms", 250},    {"10s", 10000},    {"30m", 1800000},
                                {"12h", 43200000}, {"7d", 604800000}, {"86400000", 86400000},
                                {"-1", -1},        {"0", 0},          {"106751991167d", INT64_C(9223372036828800000)}};
    const char *const bad[] = {"",   "d",    "1w",   "1 d",           "1d ",
                               "+1", "1.5h", "0x10", "106751991168d", "9223372036854775808"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        int64_t value = 0;
        assert_int_equal(units_parse_ms(span_text(good[i].text), &value), ERR_OK);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        int64_t value = 77;
        assert_int_equal(units_parse_ms(span_text(bad[i]), &value), ERR_INVALID);
    }
}

static void sizes_take_units(void **state)
{
    (void)state;
    const struct pair good[] = {{"64KiB", 65536}, {"512MiB", 536870912}, {"1GiB", 1 << 30},
                                {"10kB", 10000},  {"1GB", 1000000000},   {"5B", 5},
                                {"-1", -1},       {"1048588", 1048588}};
    const char *const bad[] = {"", "KiB", "1kib", "1 KiB", "1m", "9000000TiB", "1e6"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        int64_t value = 0;
        assert_int_equal(units_parse_bytes(span_text(good[i].text), &value), ERR_OK);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        int64_t value = 77;
        assert_int_equal(units_parse_bytes(span_text(bad[i]), &value), ERR_INVALID);
    }
}

static void the_name_of_a_setting_tells_its_unit(void **state)
{
    (void)state;
    char text[32];
    assert_int_equal(units_setting_value(span_text("retention.ms"), span_text("1d"), text, sizeof(text)), ERR_OK);
    assert_string_equal(text, "86400000");
    assert_int_equal(units_setting_value(span_text("segment.bytes"), span_text("64MiB"), text, sizeof(text)), ERR_OK);
    assert_string_equal(text, "67108864");
    assert_int_equal(units_setting_value(span_text("cleanup.policy"), span_text("1d"), text, sizeof(text)), ERR_OK);
    assert_string_equal(text, "1d");
    assert_int_equal(units_setting_value(span_text("retention.ms"), span_text("1MiB"), text, sizeof(text)),
                     ERR_INVALID);
    assert_int_equal(
        units_setting_value(span_text("x"), span_text("0123456789012345678901234567890123"), text, sizeof(text)),
        ERR_LIMIT);
}

static void bytes_are_shown_in_the_unit_that_fits(void **state)
{
    (void)state;
    char text[UNITS_TEXT_BYTES];
    assert_string_equal(units_format_bytes(0, text), "0 B");
    assert_string_equal(units_format_bytes(1023, text), "1023 B");
    assert_string_equal(units_format_bytes(1536, text), "1.5 KiB");
    assert_string_equal(units_format_bytes(UINT64_C(3) << 40, text), "3.0 TiB");
    assert_string_equal(units_format_bytes(UINT64_MAX, text), "16.0 EiB");
}

static void moments_are_utc(void **state)
{
    (void)state;
    const struct pair good[] = {{"1970-01-01", 0},
                                {"2026-11-23", INT64_C(1795392000000)},
                                {"2026-11-23T16:00:00", INT64_C(1795449600000)},
                                {"2026-11-23T16:00:00Z", INT64_C(1795449600000)},
                                {"2026-11-23T16:00:00.250Z", INT64_C(1795449600250)},
                                {"2024-02-29", INT64_C(1709164800000)},
                                {"1795449600000", INT64_C(1795449600000)}};
    const char *const bad[] = {"",
                               "2026-11",
                               "2026-13-01",
                               "2026-00-10",
                               "2026-02-29",
                               "2026-04-31",
                               "2026-11-23T24:00:00",
                               "2026-11-23T16:60:00",
                               "2026-11-23T16:00:61",
                               "2026-11-23T16:00",
                               "2026-11-23 16:00:00",
                               "2026-11-23T16:00:00.25",
                               "2026-11-23T16:00:00+01:00",
                               "2026-1-2",
                               "1969-12-31",
                               "yesterday"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        int64_t ms = 0;
        assert_int_equal(units_parse_time(span_text(good[i].text), &ms), ERR_OK);
        assert_int_equal(ms, good[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        int64_t ms = 0;
        if (units_parse_time(span_text(bad[i]), &ms) != ERR_INVALID) {
            fail_msg("'%s' was taken for a moment", bad[i]);
        }
    }
}

/* What is printed is read as the same moment, for every moment of the years 1970 to 9999. */
static void printed_moments_are_read_back(void **state)
{
    (void)state;
    struct prop prop;
    prop_init(&prop, "printed_moments_are_read_back", PROP_SEED_DEFAULT);
    uint64_t runs = prop_runs(20000);
    for (uint64_t i = 0; i < runs; i++) {
        int64_t ms = prop_range_signed(&prop, 0, INT64_C(253402300799999));
        int64_t again = -1;
        char text[UNITS_TEXT_BYTES];
        assert_int_equal(units_parse_time(span_text(units_format_time(ms, text)), &again), ERR_OK);
        assert_int_equal(again, ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_take_units),
        cmocka_unit_test(sizes_take_units),
        cmocka_unit_test(the_name_of_a_setting_tells_its_unit),
        cmocka_unit_test(bytes_are_shown_in_the_unit_that_fits),
        cmocka_unit_test(moments_are_utc),
        cmocka_unit_test(printed_moments_are_read_back),
    };
    return cmocka_run_group_tests_name("cli_units", tests, NULL, NULL);
}
