/* The words behind a verb, and the sentence for every way to get them wrong. */
#include "cli/arguments.h"
#include "common/check.h"
#include "common/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct flag flags[] = {
    {"partitions", "N", "how many", false},
    {"config", "NAME=VALUE", "a setting", true},
    {"check", NULL, "only look", false},
};

static const struct command command = {
    .name = "topic create",
    .words = "NAME...",
    .summary = "Create topics.",
    .flags = flags,
    .flag_count = ARRAY_COUNT(flags),
    .word_count_min = 1,
    .word_count_max = 2,
};

static const char *const no_environment[] = {NULL};

struct parsed {
    struct arguments arguments;
    struct verb_call call;
    enum err err;
    char said[1024]; /* on standard error */
};

/* Runs `parse` with standard error in a file. */
static void parse(struct parsed *parsed, int count, const char *const *words)
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    parsed->call = (struct verb_call){
        .argument_count = count, .arguments = (char **)(uintptr_t)words, .environment = no_environment};
    parsed->err = arguments_parse(&parsed->arguments, &command, &parsed->call, 0);
    (void)fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    rewind(file);
    size_t bytes = fread(parsed->said, 1, sizeof(parsed->said) - 1, file);
    parsed->said[bytes] = '\0';
    (void)fclose(file);
}

#define PARSE(parsed, ...)                                                                                             \
    parse(parsed, (int)ARRAY_COUNT(((const char *const[]){__VA_ARGS__})), (const char *const[]){__VA_ARGS__})

static void flags_and_words_may_mix(void **state)
{
    (void)state;
    struct parsed parsed;
    PARSE(&parsed, "orders", "--partitions", "6", "--config=a=1", "--check", "--config", "b=2", "--", "--odd");
    assert_int_equal(parsed.err, ERR_OK);
    assert_string_equal(parsed.said, "");
    const struct arguments *arguments = &parsed.arguments;
    assert_int_equal(arguments->words.count, 2);
    assert_string_equal(arguments->words.values[0], "orders");
    assert_string_equal(arguments->words.values[1], "--odd");
    assert_string_equal(arguments_get(arguments, "partitions"), "6");
    assert_true(arguments_has(arguments, "check"));
    const struct flag_values *configs = arguments_all(arguments, "config");
    assert_int_equal(configs->count, 2);
    assert_string_equal(configs->values[0], "a=1");
    assert_string_equal(configs->values[1], "b=2");
    assert_false(arguments_has(arguments, "timeout-ms"));
}

static void of_a_flag_that_is_not_repeated_the_last_counts(void **state)
{
    (void)state;
    struct parsed parsed;
    PARSE(&parsed, "x", "--partitions", "1", "--partitions=2");
    assert_int_equal(parsed.err, ERR_OK);
    assert_string_equal(arguments_get(&parsed.arguments, "partitions"), "2");
}

static void wrong_words_get_a_sentence(void **state)
{
    (void)state;
    struct parsed parsed;
    PARSE(&parsed, "x", "--partition", "1");
    assert_int_equal(parsed.err, ERR_INVALID);
    assert_string_equal(parsed.said, "moldau topic create: there is no flag --partition; did you mean --partitions?\n");
    PARSE(&parsed, "x", "--cehck");
    assert_string_equal(parsed.said, "moldau topic create: there is no flag --cehck; did you mean --check?\n");
    PARSE(&parsed, "x", "--something-else");
    assert_string_equal(
        parsed.said, "moldau topic create: there is no flag --something-else; moldau topic create --help lists them\n");
    PARSE(&parsed, "x", "--partitions");
    assert_string_equal(parsed.said, "moldau topic create: --partitions needs a value: --partitions N\n");
    PARSE(&parsed, "x", "--check=yes");
    assert_string_equal(parsed.said, "moldau topic create: --check is a switch and takes no value\n");
    PARSE(&parsed, "--check");
    assert_string_equal(parsed.said,
                        "moldau topic create: something is missing; usage: moldau topic create NAME... (--help tells "
                        "more)\n");
    PARSE(&parsed, "a", "b", "c");
    assert_string_equal(parsed.said,
                        "moldau topic create: 'c' is one word too many; usage: moldau topic create NAME...\n");
    PARSE(&parsed, "a", "--output", "yaml");
    assert_string_equal(parsed.said, "moldau topic create: --output is table or json, not 'yaml'\n");
    assert_int_equal(parsed.err, ERR_INVALID);
}

static void numbers_have_bounds(void **state)
{
    (void)state;
    const char *const bad[] = {"", "0", "1001", "1x", "0x5", " 5", "99999999999999999999"};
    struct parsed parsed;
    int64_t value = 0;
    PARSE(&parsed, "x");
    assert_int_equal(arguments_number(&parsed.arguments, "partitions", 1, 1000, -1, &value), ERR_OK);
    assert_int_equal(value, -1);
    PARSE(&parsed, "x", "--partitions", "1000");
    assert_int_equal(arguments_number(&parsed.arguments, "partitions", 1, 1000, -1, &value), ERR_OK);
    assert_int_equal(value, 1000);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        PARSE(&parsed, "x", "--partitions", bad[i]);
        assert_int_equal(arguments_number(&parsed.arguments, "partitions", 1, 1000, -1, &value), ERR_INVALID);
    }
}

static void the_address_comes_from_flag_environment_or_default(void **state)
{
    (void)state;
    static const char *const environment[] = {"HOME=/x", "MOLDAU_BOOTSTRAP_SERVER=b:2", NULL};
    struct parsed parsed;
    PARSE(&parsed, "x");
    assert_string_equal(arguments_bootstrap(&parsed.arguments), "127.0.0.1:9092");
    parsed.call.environment = environment;
    assert_string_equal(arguments_bootstrap(&parsed.arguments), "b:2");
    PARSE(&parsed, "x", "--bootstrap-server", "a:1", "--output=json");
    parsed.call.environment = environment;
    assert_string_equal(arguments_bootstrap(&parsed.arguments), "a:1");
    assert_true(arguments_wants_json(&parsed.arguments));
}

/* One more than fits is refused, not written behind the array. */
static void repeated_flags_have_a_limit(void **state)
{
    (void)state;
    const char *words[2 + 2 * ARGUMENTS_VALUES_MAX] = {"x"};
    struct parsed parsed;
    size_t count = 1;
    for (size_t i = 0; i < ARGUMENTS_VALUES_MAX; i++) {
        words[count++] = "--config";
        words[count++] = "a=1";
    }
    parse(&parsed, (int)count, words);
    assert_int_equal(parsed.err, ERR_OK);
    words[count++] = "--config=b=2";
    parse(&parsed, (int)count, words);
    assert_int_equal(parsed.err, ERR_INVALID);
    assert_string_equal(parsed.said, "moldau topic create: --config can be given at most 64 times\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_words_may_mix),
        cmocka_unit_test(of_a_flag_that_is_not_repeated_the_last_counts),
        cmocka_unit_test(wrong_words_get_a_sentence),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(the_address_comes_from_flag_environment_or_default),
        cmocka_unit_test(repeated_flags_have_a_limit),
    };
    return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}
