/* Settings: every way to set one, and the sentence for every way to set it wrongly. */
#include "common/mem.h"
#include "common/option.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct settings {
    bool is_on;
    int32_t count;
    int64_t bytes;
    int64_t pause_ms;
    double ratio;
    char *dirs;
    char *name;
    char *policy;
    char *kind;
    char *password;
};

#define ROW(member) .offset = offsetof(struct settings, member)

static const struct option_row rows[] = {
    {.name = "auto.create.topics.enable",
     .type = OPTION_BOOL,
     .unit = "",
     .default_text = "true",
     .is_acted_on = true,
     .change = OPTION_PER_BROKER,
     .doc = "Makes topics when they are first used.",
     ROW(is_on)},
    {.name = "num.partitions",
     .type = OPTION_INT,
     .unit = "",
     .min = 1,
     .max = 1000,
     .default_text = "1",
     .is_acted_on = true,
     .doc = "Partitions of new topics.",
     ROW(count)},
    {.name = "log.segment.bytes",
     .type = OPTION_LONG,
     .unit = "bytes",
     .min = 14,
     .max = INT64_MAX,
     .default_text = "1073741824",
     .is_acted_on = true,
     .doc = "Largest segment.",
     ROW(bytes)},
    {.name = "log.retention.ms",
     .type = OPTION_LONG,
     .unit = "ms",
     .default_text = NULL,
     .is_acted_on = true,
     .doc = "Age at which segments go.",
     ROW(pause_ms)},
    {.name = "clean.ratio",
     .type = OPTION_DOUBLE,
     .unit = "",
     .min = 0,
     .max = 1,
     .default_text = "0.5",
     .is_acted_on = false,
     .doc = "Share of dirty bytes.",
     ROW(ratio)},
    {.name = "log.dirs",
     .type = OPTION_LIST,
     .unit = "",
     .default_text = "./moldau-data",
     .is_acted_on = true,
     .doc = "Where data is.",
     ROW(dirs)},
    {.name = "cluster.name",
     .type = OPTION_TEXT,
     .unit = "",
     .default_text = NULL,
     .is_acted_on = true,
     .change = OPTION_CLUSTER_WIDE,
     .doc = "For people.",
     ROW(name)},
    {.name = "cleanup.policy",
     .type = OPTION_LIST,
     .unit = "",
     .accepted = "delete,compact",
     .default_text = "delete",
     .is_acted_on = true,
     .doc = "What happens to old data.",
     ROW(policy)},
    {.name = "compression.type",
     .type = OPTION_ENUM,
     .unit = "",
     .accepted = "none,gzip,producer",
     .default_text = "producer",
     .is_acted_on = true,
     .doc = "Codec.",
     ROW(kind)},
    {.name = "ssl.password",
     .type = OPTION_ENUM,
     .unit = "",
     .accepted = "a,b",
     .default_text = "a",
     .is_secret = true,
     .is_acted_on = true,
     .doc = "Secret.",
     ROW(password)},
};

static const struct option_table table = {.rows = rows, .row_count = sizeof(rows) / sizeof(rows[0])};

static struct settings defaults(void)
{
    struct settings settings;
    memset(&settings, 0xff, sizeof(settings)); /* whatever was in the memory */
    option_set_defaults(&table, &settings);
    return settings;
}

static void expect_text(struct settings *settings, const char *name, const char *expected)
{
    const struct option_row *row = option_find(&table, span_text(name));
    assert_non_null(row);
    struct bytebuf text;
    bool is_null = false;
    bytebuf_init(&text, 1000);
    assert_int_equal(option_format(row, settings, &text, &is_null), ERR_OK);
    assert_true(is_null == (expected == NULL));
    if (expected != NULL && !span_equal_text(bytebuf_span(&text), expected)) {
        fail_msg("%s is %.*s, not %s", name, (int)text.bytes, (const char *)text.data, expected);
    }
    bytebuf_done(&text);
}

static void defaults_are_the_rows(void **state)
{
    (void)state;
    struct settings settings = defaults();
    assert_true(settings.is_on);
    assert_int_equal(settings.count, 1);
    assert_int_equal(settings.bytes, 1073741824);
    assert_true(settings.pause_ms == OPTION_LONG_NULL);
    assert_true(fabs(settings.ratio - 0.5) < 1e-9);
    assert_string_equal(settings.dirs, "./moldau-data");
    assert_null(settings.name);
    expect_text(&settings, "auto.create.topics.enable", "true");
    expect_text(&settings, "num.partitions", "1");
    expect_text(&settings, "log.retention.ms", NULL);
    expect_text(&settings, "clean.ratio", "0.5");
    expect_text(&settings, "cluster.name", NULL);
    for (size_t i = 0; i < table.row_count; i++) {
        assert_true(option_is_default(&rows[i], &settings));
    }
    struct option_problem problem;
    assert_int_equal(
        option_assign(&table, &settings, span_text("num.partitions"), span_text(" 07 "), "--set", &problem), ERR_OK);
    assert_int_equal(settings.count, 7);
    assert_false(option_is_default(option_find(&table, span_text("num.partitions")), &settings));
    assert_int_equal(option_assign(&table, &settings, span_text("cluster.name"), span_text(""), "--set", &problem),
                     ERR_OK);
    assert_false(option_is_default(option_find(&table, span_text("cluster.name")), &settings));
    assert_int_equal(option_assign(&table, &settings, span_text("num.partitions"), span_text("+1"), "--set", &problem),
                     ERR_OK);
    assert_true(option_is_default(option_find(&table, span_text("num.partitions")), &settings));
    option_values_done(&table, &settings);
}

struct bad_case {
    const char *name;
    const char *value;
    enum err err;
    const char *text;
};

static const struct bad_case bad_cases[] = {
    {"auto.create.topics.enable", "yes", ERR_INVALID,
     "--set: auto.create.topics.enable is \"yes\", but it must be true or false"},
    {"num.partitions", "0", ERR_INVALID,
     "--set: num.partitions is \"0\", but it must be a whole number from 1 to 1000"},
    {"num.partitions", "1001", ERR_INVALID,
     "--set: num.partitions is \"1001\", but it must be a whole number from 1 to 1000"},
    {"num.partitions", "", ERR_INVALID, "--set: num.partitions is \"\", but it must be a whole number from 1 to 1000"},
    {"num.partitions", "1 2", ERR_INVALID,
     "--set: num.partitions is \"1 2\", but it must be a whole number from 1 to 1000"},
    {"num.partitions", "-", ERR_INVALID,
     "--set: num.partitions is \"-\", but it must be a whole number from 1 to 1000"},
    {"log.segment.bytes", "13", ERR_INVALID,
     "--set: log.segment.bytes is \"13\", but it must be a whole number of at least 14 (bytes)"},
    {"log.segment.bytes", "1g", ERR_INVALID,
     "--set: log.segment.bytes is \"1g\", but it must be a whole number of at least 14 (bytes)"},
    {"log.segment.bytes", "9223372036854775808", ERR_INVALID,
     "--set: log.segment.bytes is \"9223372036854775808\", but it must be a whole number of at least 14 (bytes)"},
    {"log.retention.ms", "x", ERR_INVALID, "--set: log.retention.ms is \"x\", but it must be a whole number (ms)"},
    {"log.retention.ms", "-9223372036854775808", ERR_INVALID,
     "--set: log.retention.ms is \"-9223372036854775808\", but it must be a whole number (ms)"},
    {"clean.ratio", "1.1", ERR_INVALID, "--set: clean.ratio is \"1.1\", but it must be a number from 0 to 1"},
    {"clean.ratio", "nan", ERR_INVALID, "--set: clean.ratio is \"nan\", but it must be a number from 0 to 1"},
    {"clean.ratio", "0.5.5", ERR_INVALID, "--set: clean.ratio is \"0.5.5\", but it must be a number from 0 to 1"},
    {"cleanup.policy", "compact,remove", ERR_INVALID,
     "--set: cleanup.policy is \"compact,remove\", but it must be a list of: delete,compact"},
    {"compression.type", "GZIP", ERR_INVALID,
     "--set: compression.type is \"GZIP\", but it must be one of: none,gzip,producer"},
    {"ssl.password", "hunter2", ERR_INVALID,
     "--set: the value of ssl.password (not shown) is not acceptable: it must be one of: a,b"},
    {"log.dir", "x", ERR_NOT_FOUND, "--set: there is no option \"log.dir\"; did you mean log.dirs?"},
    {"num.partitoins", "x", ERR_NOT_FOUND,
     "--set: there is no option \"num.partitoins\"; did you mean num.partitions?"},
    {"log.segments.byte", "x", ERR_NOT_FOUND,
     "--set: there is no option \"log.segments.byte\"; did you mean log.segment.bytes?"},
    {"zookeeper.connect", "x", ERR_NOT_FOUND,
     "--set: there is no option \"zookeeper.connect\"; `moldau server --help` lists them"},
};

static void bad_values_are_told_in_one_sentence(void **state)
{
    (void)state;
    struct settings settings = defaults();
    for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        const struct bad_case *bad = &bad_cases[i];
        struct option_problem problem;
        assert_int_equal(
            option_assign(&table, &settings, span_text(bad->name), span_text(bad->value), "--set", &problem), bad->err);
        assert_string_equal(problem.text, bad->text);
        if (bad->err == ERR_INVALID) {
            const struct option_row *row = option_find(&table, span_text(bad->name));
            assert_int_equal(option_check(row, span_text(bad->value), &problem), ERR_INVALID);
            assert_string_equal(problem.text, bad->text + strlen("--set: "));
            assert_true(option_is_default(row, &settings)); /* nothing was changed */
        }
    }
    option_values_done(&table, &settings);
}

static void unused_settings_are_noted(void **state)
{
    (void)state;
    struct settings settings = defaults();
    struct option_problem problem;
    assert_int_equal(option_assign(&table, &settings, span_text("clean.ratio"), span_text("1e-1"), "--set", &problem),
                     ERR_OK);
    assert_string_equal(problem.text, "");
    assert_string_equal(problem.notes, "--set: clean.ratio is accepted but not acted on yet\n");
    expect_text(&settings, "clean.ratio", "0.1");
    assert_int_equal(option_assign(&table, &settings, span_text("num.partitions"), span_text("2"), "--set", &problem),
                     ERR_OK);
    assert_string_equal(problem.notes, "");
    option_values_done(&table, &settings);
}

static void properties_are_read_as_java_does(void **state)
{
    (void)state;
    static const char text[] = "\xef\xbb\xbf# a comment \\\r\n"
                               "! another\r\n"
                               "\r\n"
                               "   num.partitions = 5  \r\n"
                               "log.segment.bytes: 1000\n"
                               "auto.create.topics.enable FALSE\n"
                               "log.dirs=/a,\\\n"
                               "    /b\\\\,\\\n"
                               "    /c\n"
                               "cluster.name=Br\\u00fccke \\u20ac \\= a=b:c \\t|\\\n"
                               "\n"
                               "clean\\.ratio=0.25\n"
                               "num.partitions=6";
    struct settings settings = defaults();
    struct option_problem problem;
    enum err err = option_parse_properties(&table, &settings, span_text(text), "server.properties", &problem);
    assert_string_equal(problem.text, "");
    assert_int_equal(err, ERR_OK);
    assert_int_equal(settings.count, 6);
    assert_int_equal(settings.bytes, 1000);
    assert_false(settings.is_on);
    assert_string_equal(settings.dirs, "/a,/b\\,/c");
    assert_string_equal(settings.name, "Br\xc3\xbc"
                                       "cke \xe2\x82\xac = a=b:c \t|");
    assert_string_equal(problem.notes, "server.properties:12: clean.ratio is accepted but not acted on yet\n");
    option_values_done(&table, &settings);
}

static void expect_properties_problem(const char *text, enum err err, const char *problem_text)
{
    struct settings settings = defaults();
    struct option_problem problem;
    assert_int_equal(option_parse_properties(&table, &settings, span_text(text), "f", &problem), err);
    assert_string_equal(problem.text, problem_text);
    option_values_done(&table, &settings);
}

static void properties_problems_name_the_line(void **state)
{
    (void)state;
    expect_properties_problem("# c\n\nnum.partitions", ERR_INVALID,
                              "f:3: expected name=value, found \"num.partitions\"");
    expect_properties_problem("num.partitions=\\\n\\\nx\n", ERR_INVALID,
                              "f:1: num.partitions is \"x\", but it must be a whole number from 1 to 1000");
    expect_properties_problem("log.dirs=/a\nnum.partition=1\n", ERR_NOT_FOUND,
                              "f:2: there is no option \"num.partition\"; did you mean num.partitions?");
    expect_properties_problem("cluster.name=\\u12g4\n", ERR_INVALID,
                              "f:1: \\u must be followed by four hexadecimal digits of a character");
    expect_properties_problem("cluster.name=\\u12", ERR_INVALID,
                              "f:1: \\u must be followed by four hexadecimal digits of a character");
    expect_properties_problem("cluster.name=\\ud800\n", ERR_INVALID,
                              "f:1: \\u must be followed by four hexadecimal digits of a character");
    char *text = mem_zalloc(70000);
    memset(text, 'x', 69999);
    expect_properties_problem(text, ERR_INVALID, "f:1: the line is longer than 65536 bytes");
    mem_free(text);
    struct settings settings = defaults();
    struct option_problem problem;
    assert_int_equal(option_parse_properties(&table, &settings, span_make("cluster.name=a\0b", 16), "f", &problem),
                     ERR_INVALID);
    option_values_done(&table, &settings);
}

static void environment_is_read(void **state)
{
    (void)state;
    static const char *const good[] = {"PATH=/bin", "MOLDAU_LOG_DIRS=/x=y", "MOLDAU_NUM_PARTITIONS=3", "NOT_A_PAIR",
                                       NULL};
    static const char *const unknown[] = {"MOLDAU_LOG_DIR=/x", NULL};
    static const char *const bad[] = {"MOLDAU_NUM_PARTITIONS=three", NULL};
    struct settings settings = defaults();
    struct option_problem problem;
    assert_int_equal(option_parse_environment(&table, &settings, good, "MOLDAU_", &problem), ERR_OK);
    assert_string_equal(settings.dirs, "/x=y");
    assert_int_equal(settings.count, 3);
    assert_int_equal(option_parse_environment(&table, &settings, unknown, "MOLDAU_", &problem), ERR_NOT_FOUND);
    assert_string_equal(problem.text,
                        "environment: there is no option \"MOLDAU_LOG_DIR\"; did you mean MOLDAU_LOG_DIRS?");
    assert_int_equal(option_parse_environment(&table, &settings, bad, "MOLDAU_", &problem), ERR_INVALID);
    assert_string_equal(problem.text, "environment variable MOLDAU_NUM_PARTITIONS: num.partitions is \"three\", but it "
                                      "must be a whole number from 1 to 1000");
    option_values_done(&table, &settings);
}

static void table_is_shown(void **state)
{
    (void)state;
    struct bytebuf text;
    bytebuf_init(&text, 100000);
    assert_int_equal(option_table_markdown(&table, &text), ERR_OK);
    assert_int_equal(bytebuf_append(&text, span_make("", 1)), ERR_OK);
    const char *shown = (const char *)text.data;
    assert_non_null(strstr(shown,
                           "| `num.partitions` | a whole number from 1 to 1000 | 1 | at start | Partitions of new "
                           "topics. |\n"));
    assert_non_null(strstr(shown, "| `cluster.name` | text | none | while running, cluster-wide | For people. |\n"));
    assert_non_null(strstr(shown, "Share of dirty bytes. *Accepted but not acted on yet.* |\n"));
    assert_non_null(strstr(shown, "Secret. Secret: never shown. |\n"));
    bytebuf_done(&text);
    bytebuf_init(&text, 100);
    assert_int_equal(option_table_markdown(&table, &text), ERR_LIMIT);
    bytebuf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_rows),
        cmocka_unit_test(bad_values_are_told_in_one_sentence),
        cmocka_unit_test(unused_settings_are_noted),
        cmocka_unit_test(properties_are_read_as_java_does),
        cmocka_unit_test(properties_problems_name_the_line),
        cmocka_unit_test(environment_is_read),
        cmocka_unit_test(table_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
