/* What `moldau server` reads, and what it leaves to others. */
#include "cli/server_options.h"
#include "common/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum err read_with(const char *const *environment, char **arguments, int argument_count,
                          struct server_options *ret_options, struct option_problem *ret_problem)
{
    struct verb_call call = {.argument_count = argument_count, .arguments = arguments, .environment = environment};
    *ret_problem = (struct option_problem){.text = ""};
    return server_options_read(&call, NULL, ret_options, ret_problem);
}

static void variables_set_options(void **state)
{
    (void)state;
    const char *const environment[] = {"HOME=/", "MOLDAU_NODE_ID=7", NULL};
    struct server_options options;
    struct option_problem problem;
    assert_int_equal(read_with(environment, NULL, 0, &options, &problem), ERR_OK);
    assert_int_equal(options.broker.node_id, 7);
    assert_true(options.is_configured);
    server_options_done(&options);
}

static void arguments_win_over_variables(void **state)
{
    (void)state;
    const char *const environment[] = {"MOLDAU_NODE_ID=7", NULL};
    char set[] = "--set";
    char first[] = "node.id=8";
    char second[] = "--set=node.id=9";
    char *arguments[] = {set, first, second};
    struct server_options options;
    struct option_problem problem;
    assert_int_equal(read_with(environment, arguments, 3, &options, &problem), ERR_OK);
    assert_int_equal(options.broker.node_id, 9);
    server_options_done(&options);
}

static void a_mistyped_variable_is_refused(void **state)
{
    (void)state;
    const char *const environment[] = {"MOLDAU_NODE_IDD=7", NULL};
    struct server_options options;
    struct option_problem problem;
    assert_int_equal(read_with(environment, NULL, 0, &options, &problem), ERR_NOT_FOUND);
    assert_non_null(strstr(problem.text, "MOLDAU_NODE_ID?"));
}

/* The variable of the command line's other verbs is no option of the node, and does not count as configuration. */
static void the_clients_variable_is_left_alone(void **state)
{
    (void)state;
    const char *const environment[] = {"MOLDAU_BOOTSTRAP_SERVER=127.0.0.1:9092", NULL};
    struct server_options options;
    struct option_problem problem;
    assert_int_equal(read_with(environment, NULL, 0, &options, &problem), ERR_OK);
    assert_false(options.is_configured);
    assert_string_equal(options.broker.http_listener, "127.0.0.1:8080");
    server_options_done(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_set_options),
        cmocka_unit_test(arguments_win_over_variables),
        cmocka_unit_test(a_mistyped_variable_is_refused),
        cmocka_unit_test(the_clients_variable_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
