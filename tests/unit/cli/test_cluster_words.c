/* Words that name voters and partitions: all forms, and what is none. */
#include "cli/cluster_words.h"
#include "common/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DIRECTORY "mJ1Xq0oPRZ2b7cVvYk3N5w"

static void voters_are_named_in_three_forms(void **state)
{
    (void)state;
    struct voter_word voter;
    assert_int_equal(cluster_words_voter("3", &voter), ERR_OK);
    assert_int_equal(voter.id, 3);
    assert_true(span_is_null(voter.host) && uuid_is_zero(voter.directory));
    assert_int_equal(cluster_words_voter("2147483647/" DIRECTORY, &voter), ERR_OK);
    assert_int_equal(voter.id, INT32_MAX);
    assert_true(span_is_null(voter.host) && !uuid_is_zero(voter.directory));
    assert_int_equal(cluster_words_voter("0@[::1]:9293/" DIRECTORY, &voter), ERR_OK);
    assert_true(span_equal_text(voter.host, "[::1]"));
    assert_int_equal(voter.port, 9293);
    char text[UUID_TEXT_BYTES];
    uuid_format(voter.directory, text);
    assert_string_equal(text, DIRECTORY);
}

static void other_words_are_no_voters(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x",
                                      "-1",
                                      "2147483648",
                                      "3@",
                                      "3@host",
                                      "3@host:",
                                      "3@host:0",
                                      "3@host:65536",
                                      "3@:9293",
                                      "3/",
                                      "3/short",
                                      "3/AAAAAAAAAAAAAAAAAAAAAA",
                                      "@host:1/" DIRECTORY,
                                      "3@host:1/" DIRECTORY "x",
                                      "/" DIRECTORY};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct voter_word voter = {.id = 77};
        assert_int_equal(cluster_words_voter(bad[i], &voter), ERR_INVALID);
        assert_int_equal(voter.id, 77);
    }
}

static void partitions_are_one_or_all_of_a_topic(void **state)
{
    (void)state;
    struct partition_word word;
    assert_int_equal(cluster_words_partition("orders", &word), ERR_OK);
    assert_true(span_equal_text(word.topic, "orders"));
    assert_int_equal(word.partition, CLUSTER_WORDS_ALL_PARTITIONS);
    assert_int_equal(cluster_words_partition("a.b_c-d:12", &word), ERR_OK);
    assert_true(span_equal_text(word.topic, "a.b_c-d"));
    assert_int_equal(word.partition, 12);
    static const char *const bad[] = {"", ":1", "orders:", "orders:x", "orders:-1", "orders:2147483648"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(cluster_words_partition(bad[i], &word), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(voters_are_named_in_three_forms),
        cmocka_unit_test(other_words_are_no_voters),
        cmocka_unit_test(partitions_are_one_or_all_of_a_topic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
