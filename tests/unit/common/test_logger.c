/* Log lines: their form, what text from outside can't do to them, limits. */
#include "common/logger.h"
#include "common/seam/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct log_test {
    struct clock clock;
    int64_t wall_ms;
    uint64_t mono_us;
    struct logger logger;
    char lines[LOGGER_LINE_BYTES_MAX * 4];
    unsigned line_count;
};

static struct log_test *test_of(struct clock *clock)
{
    return CONTAINER_OF(clock, struct log_test, clock);
}

static uint64_t fake_mono_us(struct clock *clock)
{
    return test_of(clock)->mono_us;
}

static int64_t fake_wall_ms(struct clock *clock)
{
    return test_of(clock)->wall_ms;
}

static const struct clock_ops fake_clock_ops = {.mono_us = fake_mono_us, .wall_ms = fake_wall_ms};

static void collect(void *ctx, enum log_level level, const char *line, size_t bytes)
{
    struct log_test *test = ctx;
    (void)level;
    size_t used = strlen(test->lines);
    assert_true(used + bytes < sizeof(test->lines));
    assert_true(bytes <= LOGGER_LINE_BYTES_MAX);
    assert_int_equal(line[bytes - 1], '\n');
    memcpy(test->lines + used, line, bytes);
    test->line_count++;
}

static void log_test_init(struct log_test *test)
{
    memset(test, 0, sizeof(*test));
    test->clock.ops = &fake_clock_ops;
    test->wall_ms = INT64_C(1795447200123);
    test->mono_us = 5;
    logger_init(&test->logger, &test->clock, LOG_INFO, collect, test);
}

#define HEAD "time=2026-11-23T15:20:00.123Z level=warn subsystem=net event=closed"

static void line_has_its_form(void **state)
{
    (void)state;
    struct log_test test;
    log_test_init(&test);
    log_warn(&test.logger, "net", "closed", "peer=%s port=%d", "10.0.0.1", 9092);
    assert_string_equal(test.lines, HEAD " peer=10.0.0.1 port=9092\n");
    log_test_init(&test);
    log_warn(&test.logger, "net", "closed", "%s", "");
    logger_write(&test.logger, LOG_DEBUG, "net", "hidden", "x=1");
    assert_int_equal(test.line_count, 1);
    logger_set_level(&test.logger, LOG_DEBUG);
    assert_int_equal(logger_level(&test.logger), LOG_DEBUG);
    logger_write(&test.logger, LOG_DEBUG, "net", "shown", "x=1");
    assert_int_equal(test.line_count, 2);
    log_test_init(&test);
    test.wall_ms = -1;
    log_error(&test.logger, "a", "b", "c=%d", 1);
    assert_string_equal(test.lines, "time=1969-12-31T23:59:59.999Z level=error subsystem=a event=b c=1\n");
}

static void text_from_outside_cannot_forge_lines(void **state)
{
    (void)state;
    struct log_test test;
    log_test_init(&test);
    /* Newline, escape sequence, delete, a C1 control, a stray byte, an overlong NUL, a cut character; good UTF-8 stays. */
    log_warn(&test.logger, "net", "closed", "t=%s",
             "a\nlevel=info\x1b[31m\x7f\xc2\x9b\xff\xc0\x80 \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\t\xe2\x82");
    assert_string_equal(test.lines, HEAD " t=a\\nlevel=info\\x1b[31m\\x7f\\xc2\\x9b\\xff\\xc0\\x80 "
                                         "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\t\\xe2\\x82\n");
}

static void long_lines_are_cut_and_say_so(void **state)
{
    (void)state;
    static char text[2 * LOGGER_LINE_BYTES_MAX];
    struct log_test test;
    memset(text, 'x', sizeof(text) - 1);
    log_test_init(&test);
    log_warn(&test.logger, "net", "closed", "t=%s", text);
    assert_true(strlen(test.lines) <= LOGGER_LINE_BYTES_MAX);
    assert_string_equal(test.lines + strlen(test.lines) - 11, "x cut=true\n");
    memset(text, '\n', sizeof(text) - 1); /* each becomes two bytes */
    log_test_init(&test);
    log_warn(&test.logger, "net", "closed", "t=%s", text);
    assert_true(strlen(test.lines) <= LOGGER_LINE_BYTES_MAX);
    assert_string_equal(test.lines + strlen(test.lines) - 12, "\\n cut=true\n");
}

static void limit_lets_a_burst_through_and_counts_the_rest(void **state)
{
    (void)state;
    struct log_test test;
    struct log_limit limit = {0};
    log_test_init(&test);
    for (int i = 0; i < 25; i++) {
        logger_limited(&test.logger, &limit, LOG_WARN, "net", "closed", "i=%d", i);
    }
    assert_int_equal(test.line_count, LOG_LIMIT_BURST);
    test.mono_us += LOG_LIMIT_WINDOW_US;
    memset(test.lines, 0, sizeof(test.lines));
    logger_limited(&test.logger, &limit, LOG_WARN, "net", "closed", "i=%d", 25);
    assert_string_equal(test.lines, HEAD " left_out=15 i=25\n");
    for (int i = 0; i < 20; i++) {
        logger_limited(&test.logger, &limit, LOG_DEBUG, "net", "hidden", "i=%d", i); /* below the level: not counted */
        logger_limited(&test.logger, &limit, LOG_WARN, "net", "closed", "i=%d", i);
    }
    assert_int_equal(test.line_count, 2 * LOG_LIMIT_BURST);
}

static void quoting_keeps_values_apart(void **state)
{
    (void)state;
    char quoted[64];
    assert_string_equal(logger_quote(span_text("a \"b\" \\ c\n"), quoted, sizeof(quoted)), "\"a \\\"b\\\" \\\\ c\\n\"");
    assert_string_equal(logger_quote(span_text(""), quoted, sizeof(quoted)), "\"\"");
    assert_string_equal(logger_quote(span_text("0123456789012345"), quoted, 16), "\"0123456789...\"");
    assert_string_equal(logger_quote(span_text("0123456789"), quoted, 16), "\"0123456789\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_its_form),
        cmocka_unit_test(text_from_outside_cannot_forge_lines),
        cmocka_unit_test(long_lines_are_cut_and_say_so),
        cmocka_unit_test(limit_lets_a_burst_through_and_counts_the_rest),
        cmocka_unit_test(quoting_keeps_values_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
