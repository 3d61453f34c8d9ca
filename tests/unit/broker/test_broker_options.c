/* The node's options: the rows are sound, defaults make a complete node, contradictions are told in one sentence. */
#include "broker/broker_listeners.h"
#include "broker/broker_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void set(struct broker_options *options, const char *name, const char *value)
{
    struct option_problem problem;
    assert_int_equal(
        option_assign(broker_options_table(), options, span_text(name), span_text(value), "test", &problem), ERR_OK);
}

/* Names are unique and sorted by nobody; every row has a sentence and a member of its own. */
static void rows_are_sound(void **state)
{
    (void)state;
    const struct option_table *table = broker_options_table();
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        assert_ptr_equal(option_find(table, span_text(row->name)), row);
        assert_non_null(row->doc);
        assert_int_equal(row->doc[strlen(row->doc) - 1], '.');
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(table->rows[j].offset, row->offset);
        }
    }
}

static void defaults_are_a_complete_node(void **state)
{
    (void)state;
    struct broker_options options;
    struct option_problem problem;
    broker_options_init(&options);
    assert_int_equal(broker_options_check(&options, &problem), ERR_OK);
    assert_int_equal(options.node_id, 1);
    assert_string_equal(options.log_dirs, "./moldau-data");
    assert_string_equal(options.log_durability, "synced");
    assert_int_equal(options.message_max_bytes, 1048588);
    struct broker_listeners listeners;
    assert_int_equal(broker_listeners_parse(&options, &listeners, &problem), ERR_OK);
    assert_int_equal(listeners.count, 1);
    assert_string_equal(listeners.items[0].name, "PLAINTEXT");
    assert_string_equal(listeners.items[0].host, "127.0.0.1");
    assert_int_equal(listeners.items[0].port, 9092);
    assert_int_equal(listeners.items[0].advertised_port, 9092);
    broker_options_done(&options);
}

static void listeners_are_parsed(void **state)
{
    (void)state;
    struct broker_options options;
    struct option_problem problem;
    broker_options_init(&options);
    set(&options, "listeners", "PLAINTEXT://:19092, DOCKER://[::1]:0,INTERNAL://127.0.0.1:9093");
    set(&options, "listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,DOCKER:PLAINTEXT,INTERNAL:PLAINTEXT");
    set(&options, "advertised.listeners", "PLAINTEXT://broker1.example:29092");
    struct broker_listeners listeners;
    assert_int_equal(broker_listeners_parse(&options, &listeners, &problem), ERR_OK);
    assert_int_equal(listeners.count, 3);
    assert_string_equal(listeners.items[0].host, "0.0.0.0");
    assert_string_equal(listeners.items[0].advertised_host, "broker1.example");
    assert_int_equal(listeners.items[0].advertised_port, 29092);
    assert_string_equal(listeners.items[1].host, "::1");
    assert_int_equal(listeners.items[1].port, 0);
    assert_true(listeners.items[2].is_internal);
    assert_int_equal(broker_options_check(&options, &problem), ERR_OK);
    broker_options_done(&options);
}

struct bad_case {
    const char *name;
    const char *value;
    const char *says;
};

/* Each contradiction is refused with a sentence that names the option and what to do. */
static void contradictions_are_refused(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        {"listeners", "127.0.0.1:9092", "is not NAME://host:port"},
        {"listeners", "PLAINTEXT://127.0.0.1:x", "is not NAME://host:port"},
        {"listeners", "PLAINTEXT://127.0.0.1:65536", "is not NAME://host:port"},
        {"listeners", "PLAINTEXT://::1:9092", "is not NAME://host:port"},
        {"listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2", "used twice"},
        {"listeners", "SECRET://a:1", "add SECRET:PLAINTEXT to listener.security.protocol.map"},
        {"listeners", "INTERNAL://127.0.0.1:1", "no address for clients"},
        {"listeners", "PLAINTEXT://:9092", "set advertised.listeners=PLAINTEXT://HOST:9092"},
        {"advertised.listeners", "OTHER://a:1", "there is no listener OTHER"},
        {"advertised.listeners", "PLAINTEXT://:1", "is not NAME://host:port"},
        {"listener.security.protocol.map", "PLAINTEXT:SSL", "SSL of listener PLAINTEXT does not exist yet"},
        {"http.listener", "8080", "must be host:port"},
        {"process.roles", "", "set broker, controller or both"},
        {"process.roles", "broker", "name the controllers of its cluster"},
        {"process.roles", "controller", "has no INTERNAL address"},
        {"controller.quorum.voters", "1@a:1,2@b:2", "has no INTERNAL address"},
        {"log.dirs", "", "log.dirs is empty"},
        {"memory.limit", "1048576", "smaller than socket.request.max.bytes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct broker_options options;
        struct option_problem problem;
        broker_options_init(&options);
        set(&options, cases[i].name, cases[i].value);
        assert_int_equal(broker_options_check(&options, &problem), ERR_INVALID);
        if (strstr(problem.text, cases[i].says) == NULL) {
            fail_msg("%s=%s says: %s", cases[i].name, cases[i].value, problem.text);
        }
        broker_options_done(&options);
    }
}

/* What a node of a cluster is given: brokers alone, controllers alone, both. */
static void roles_fit_voters(void **state)
{
    (void)state;
    static const struct {
        const char *roles, *voters, *listeners, *says;
    } cases[] = {
        {"broker,controller", "1@a:1,2@b:2,3@c:3", "PLAINTEXT://127.0.0.1:1,INTERNAL://127.0.0.1:2", NULL},
        {"broker", "4@a:1", "PLAINTEXT://127.0.0.1:1,INTERNAL://127.0.0.1:2", NULL},
        {"controller", "1@a:1,2@b:2,3@c:3", "INTERNAL://127.0.0.1:2", NULL},
        {"controller", "2@b:2", "INTERNAL://127.0.0.1:2", "name it as 1@host:port too"},
        {"broker", "1@a:1", "PLAINTEXT://127.0.0.1:1,INTERNAL://127.0.0.1:2", "has no controller"},
        {"broker", "4@a:1", "PLAINTEXT://127.0.0.1:1", "has no INTERNAL address"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct broker_options options;
        struct option_problem problem = {.text = ""};
        broker_options_init(&options);
        set(&options, "process.roles", cases[i].roles);
        set(&options, "controller.quorum.voters", cases[i].voters);
        set(&options, "listeners", cases[i].listeners);
        enum err err = broker_options_check(&options, &problem);
        assert_int_equal(err, cases[i].says == NULL ? ERR_OK : ERR_INVALID);
        assert_true(cases[i].says == NULL || strstr(problem.text, cases[i].says) != NULL);
        broker_options_done(&options);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_sound),       cmocka_unit_test(defaults_are_a_complete_node),
        cmocka_unit_test(listeners_are_parsed), cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(roles_fit_voters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
