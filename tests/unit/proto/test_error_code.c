/* Kafka's error numbers, and the mapping from results of our own. */
#include "proto/wire/error_code.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void numbers_run_without_a_gap(void **state)
{
    (void)state;
    int expected = -1;
#define X(number, name, retriable, text)                                                                               \
    assert_int_equal((number), expected);                                                                              \
    assert_string_equal(error_code_name(number), #name);                                                               \
    assert_true(strlen(error_code_text(number)) > 0);                                                                  \
    assert_int_equal(error_code_is_retriable(number), retriable);                                                      \
    expected++;
    ERROR_CODE_TABLE(X)
#undef X
    assert_int_equal(expected, 134);
}

static void unknown_numbers_have_words_too(void **state)
{
    (void)state;
    static const int16_t numbers[] = {INT16_MIN, -2, 134, INT16_MAX};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(error_code_name(numbers[i]), "UNKNOWN_CODE");
        assert_non_null(error_code_text(numbers[i]));
        assert_false(error_code_is_retriable(numbers[i]));
    }
}

static void every_result_has_a_code(void **state)
{
    (void)state;
    for (int err = ERR_OK; err < ERR_COUNT; err++) {
        enum error_code code = error_code_from_err((enum err)err);
        assert_int_equal(code == ERROR_NONE, err == ERR_OK);
    }
    assert_int_equal(error_code_from_err(ERR_IO), ERROR_KAFKA_STORAGE_ERROR);
    assert_int_equal(error_code_from_err(ERR_NOT_LEADER), ERROR_NOT_LEADER_OR_FOLLOWER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_run_without_a_gap),
        cmocka_unit_test(unknown_numbers_have_words_too),
        cmocka_unit_test(every_result_has_a_code),
    };
    return cmocka_run_group_tests_name("error_code", tests, NULL, NULL);
}
