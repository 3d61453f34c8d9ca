/* Seeds and counts that a user gives: a number is taken, anything else ends the program with status 2, with the reason. */
#include "tests/support/prop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

/* The exit status of a process that reads it. */
static int status_of(const char *text, uint64_t least)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)fclose(stderr);
        (void)prop_number("--seeds", text, least);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_numbers_are_taken(void **state)
{
    (void)state;
    assert_int_equal(prop_number("--seed", "0", 0), 0);
    assert_int_equal(prop_number("--seed", "0x10", 0), 16);
    assert_int_equal(prop_number("--seed", "18446744073709551615", 1), UINT64_MAX);
}

static void test_anything_else_ends_the_program(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "abc", "-3", "+3", " 3", "3x", "0x", "18446744073709551616"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(status_of(wrong[i], 0), 2);
    }
    assert_int_equal(status_of("0", 1), 2);
    assert_int_equal(status_of("1", 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_taken),
        cmocka_unit_test(test_anything_else_ends_the_program),
    };
    return cmocka_run_group_tests_name("prop_number", tests, NULL, NULL);
}
