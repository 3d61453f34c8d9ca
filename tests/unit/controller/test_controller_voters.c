/* controller.quorum.voters and the address texts of the configuration. */
#include "controller/controller_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void must_parse(const char *text, uint32_t count)
{
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    struct option_problem problem;
    uint32_t found = 0;
    assert_int_equal(controller_voters_parse(span_text(text), voters, &found, &problem), ERR_OK);
    assert_int_equal(found, count);
}

static void must_refuse(const char *text, const char *words)
{
    struct controller_voter voters[CONTROLLER_VOTERS_MAX];
    struct option_problem problem = {.text = ""};
    uint32_t found = 77;
    assert_int_equal(controller_voters_parse(span_text(text), voters, &found, &problem), ERR_INVALID);
    assert_int_equal(found, 77);
    if (strstr(problem.text, words) == NULL) {
        print_message("%s: %s\n", text, problem.text);
    }
    assert_non_null(strstr(problem.text, words));
}

static void test_lists(void **state)
{
    (void)state;
    must_parse("1@a:1", 1);
    must_parse("1@127.0.0.1:9093,2@127.0.0.1:9193, 3@[::1]:9293 ", 3);
    must_parse("0@a.b-c_d:65535", 1);
    must_refuse("", "is empty");
    must_refuse("1", "each voter must be id@host:port");
    must_refuse("1@", "each voter must be id@host:port");
    must_refuse("1@host", "each voter must be id@host:port");
    must_refuse("1@host:", "each voter must be id@host:port");
    must_refuse("1@host:0", "each voter must be id@host:port");
    must_refuse("1@host:65536", "each voter must be id@host:port");
    must_refuse("1@:9093", "each voter must be id@host:port");
    must_refuse("-1@host:1", "each voter must be id@host:port");
    must_refuse("2147483648@host:1", "each voter must be id@host:port");
    must_refuse("1@host:1,", "each voter must be id@host:port");
    must_refuse("1@host:1,,2@host:2", "each voter must be id@host:port");
    must_refuse("1@host:1/x", "each voter must be id@host:port");
    must_refuse("1@a/b:1", "each voter must be id@host:port");
    must_refuse("1@a:1,1@b:1", "names node 1 twice");
    must_refuse("1@a:1,2@a:1", "names the address a:1 twice");
    must_refuse("0@a:1,1@a:2,2@a:3,3@a:4,4@a:5,5@a:6,6@a:7,7@a:8,8@a:9,9@a:10,10@a:11,11@a:12,12@a:13,13@a:14,14@a:15,"
                "15@a:16,16@a:17",
                "more than 16");
}

static void test_brackets_are_taken_off(void **state)
{
    (void)state;
    char host[CONTROLLER_HOST_BYTES];
    uint16_t port = 0;
    assert_int_equal(controller_address_parse(span_text("[::1]:9293"), host, &port), ERR_OK);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 9293);
    assert_int_equal(controller_address_parse(span_text("9293"), host, &port), ERR_INVALID);
    assert_int_equal(controller_address_parse(span_text(""), host, &port), ERR_INVALID);
}

static void test_places(void **state)
{
    (void)state;
    struct controller_place place;
    struct uuid id = {{1, 2, 3, 4, 5, 6, 7, 8, 9}};
    char text[UUID_TEXT_BYTES];
    char address[128];
    uuid_format(id, text);
    (void)snprintf(address, sizeof(address), "12@10.0.0.1:9093/%s", text);
    controller_place_parse(address, 99, &place);
    assert_int_equal(place.address.node_id, 12);
    assert_int_equal(place.address.raft_id, 99);
    assert_string_equal(place.address.host, "10.0.0.1");
    assert_int_equal(place.address.port, 9093);
    assert_true(uuid_equal(place.directory_id, id));

    (void)snprintf(address, sizeof(address), "12@none/%s", text);
    controller_place_parse(address, 99, &place);
    assert_int_equal(place.address.node_id, 12);
    assert_int_equal(place.address.port, 0);
    assert_true(uuid_equal(place.directory_id, id));

    static const char *const senseless[] = {"",  "x", "@", "@/", "1@a:1", "1@a:1/short", "x@a:1/AAAAAAAAAAAAAAAAAAAAAA",
                                            "/@"};
    for (size_t i = 0; i < ARRAY_COUNT(senseless); i++) {
        controller_place_parse(senseless[i], 5, &place);
        assert_int_equal(place.address.node_id, -1);
        assert_int_equal(place.address.raft_id, 5);
        assert_int_equal(place.address.port, 0);
        assert_true(uuid_is_zero(place.directory_id));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_brackets_are_taken_off),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests_name("controller_voters", tests, NULL, NULL);
}
