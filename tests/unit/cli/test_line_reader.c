/* Lines of a file and of a pipe, as they come. */
#include "cli/line_reader.h"
#include "common/check.h"
#include "common/mem.h"
#include "tests/support/prop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const struct command command = {.name = "test", .words = "", .summary = ""};
static const char *const no_environment[] = {NULL};

struct bench {
    struct verb_call call;
    struct arguments arguments;
    struct session session;
    struct line_reader reader;
    char path[64];
};

static int setup(void **state)
{
    static struct bench bench;
    bench = (struct bench){.call = {.environment = no_environment}};
    assert_int_equal(arguments_parse(&bench.arguments, &command, &bench.call, 0), ERR_OK);
    assert_int_equal(session_open(&bench.session, &bench.arguments), VERB_OK);
    (void)snprintf(bench.path, sizeof(bench.path), "/tmp/moldau-lines-XXXXXX");
    int fd = mkstemp(bench.path);
    assert_true(fd >= 0);
    (void)close(fd);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    line_reader_close(&bench->reader);
    session_close(&bench->session);
    (void)unlink(bench->path);
    return 0;
}

static void open_file(struct bench *bench, const void *bytes, size_t count)
{
    FILE *file = fopen(bench->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    (void)fclose(file);
    assert_int_equal(line_reader_open(&bench->reader, &bench->session, bench->path), ERR_OK);
}

static void expect_line(struct bench *bench, const char *expected)
{
    struct span line;
    assert_int_equal(line_reader_next(&bench->reader, &line), ERR_OK);
    assert_non_null(line.data); /* empty, not Kafka's null */
    assert_true(span_equal_text(line, expected));
}

static void expect_err(struct bench *bench, enum err expected)
{
    struct span line;
    assert_int_equal(line_reader_next(&bench->reader, &line), expected);
}

static void lines_end_with_a_newline_or_the_file(void **state)
{
    struct bench *bench = *state;
    open_file(bench, "a\n\n b \r\nlast", 12);
    expect_line(bench, "a");
    expect_line(bench, "");
    expect_line(bench, " b \r");
    expect_line(bench, "last");
    expect_err(bench, ERR_END);
    expect_err(bench, ERR_END);
}

static void an_empty_file_has_no_line(void **state)
{
    struct bench *bench = *state;
    open_file(bench, "", 0);
    expect_err(bench, ERR_END);
}

static void a_newline_at_the_end_begins_no_line(void **state)
{
    struct bench *bench = *state;
    open_file(bench, "a\n", 2);
    expect_line(bench, "a");
    expect_err(bench, ERR_END);
}

static void a_missing_file_is_told(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(line_reader_open(&bench->reader, &bench->session, "/nonexistent/file"), ERR_NOT_FOUND);
}

/* Lines of any length come out as they went in, wherever the reads cut them. */
static void lines_of_any_length_stay_whole(void **state)
{
    struct bench *bench = *state;
    struct prop prop;
    prop_init(&prop, "lines_of_any_length_stay_whole", PROP_SEED_DEFAULT);
    struct prop again = prop;
    struct bytebuf text;
    bytebuf_init(&text, 64 << 20);
    for (size_t i = 0; i < 300; i++) {
        size_t bytes = prop_skewed(&prop, 200000);
        for (size_t b = 0; b < bytes; b++) {
            uint8_t byte = (uint8_t)('a' + (i + b) % 26);
            assert_int_equal(bytebuf_append(&text, span_make(&byte, 1)), ERR_OK);
        }
        assert_int_equal(bytebuf_append(&text, span_text("\n")), ERR_OK);
    }
    open_file(bench, text.data, text.bytes);
    for (size_t i = 0; i < 300; i++) {
        struct span line;
        assert_int_equal(line_reader_next(&bench->reader, &line), ERR_OK);
        assert_int_equal(line.bytes, prop_skewed(&again, 200000));
        for (size_t b = 0; b < line.bytes; b++) {
            if (line.data[b] != 'a' + (i + b) % 26) {
                fail_msg("line %zu differs at %zu", i, b);
            }
        }
    }
    expect_err(bench, ERR_END);
    bytebuf_done(&text);
}

/* What is typed, or comes through a pipe, is told apart from the end. */
static void a_pipe_says_that_there_is_nothing_yet(void **state)
{
    struct bench *bench = *state;
    int pipe_fds[2];
    int kept = dup(STDIN_FILENO);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_true(dup2(pipe_fds[0], STDIN_FILENO) >= 0);
    assert_int_equal(line_reader_open(&bench->reader, &bench->session, NULL), ERR_OK);
    expect_err(bench, ERR_WOULD_BLOCK);
    assert_int_equal(write(pipe_fds[1], "one\ntw", 6), 6);
    line_reader_wait(&bench->reader);
    expect_line(bench, "one");
    expect_err(bench, ERR_WOULD_BLOCK);
    assert_int_equal(write(pipe_fds[1], "o\n", 2), 2);
    line_reader_wait(&bench->reader);
    expect_line(bench, "two");
    (void)close(pipe_fds[1]);
    line_reader_wait(&bench->reader);
    expect_err(bench, ERR_END);
    line_reader_close(&bench->reader);
    assert_true(dup2(kept, STDIN_FILENO) >= 0);
    (void)close(kept);
    (void)close(pipe_fds[0]);
}

/* Ctrl-C while waiting for a line: the wait ends, and the verb can still finish what it has. */
static void an_interrupt_ends_the_wait(void **state)
{
    struct bench *bench = *state;
    int pipe_fds[2];
    int kept = dup(STDIN_FILENO);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_true(dup2(pipe_fds[0], STDIN_FILENO) >= 0);
    assert_int_equal(line_reader_open(&bench->reader, &bench->session, NULL), ERR_OK);
    (void)kill(getpid(), SIGINT);
    line_reader_wait(&bench->reader);
    assert_true(bench->session.is_interrupted);
    assert_false(bench->session.is_stopped);
    line_reader_close(&bench->reader);
    assert_true(dup2(kept, STDIN_FILENO) >= 0);
    (void)close(kept);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(lines_end_with_a_newline_or_the_file), BENCH_TEST(an_empty_file_has_no_line),
        BENCH_TEST(a_newline_at_the_end_begins_no_line),  BENCH_TEST(a_missing_file_is_told),
        BENCH_TEST(lines_of_any_length_stay_whole),       BENCH_TEST(a_pipe_says_that_there_is_nothing_yet),
        BENCH_TEST(an_interrupt_ends_the_wait),
    };
    return cmocka_run_group_tests_name("line_reader", tests, NULL, NULL);
}
