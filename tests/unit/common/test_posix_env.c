/* The world as a whole: clocks, randomness, signals as callbacks, log lines on standard error. */
#include "tests/unit/common/posix_support.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static void clock_and_rng_answer(void **state)
{
    (void)state;
    struct posix_env *posix = posix_env_new(LOG_ERROR);
    uint64_t before_us = clock_mono_us(posix->env.clock);
    assert_true(clock_mono_us(posix->env.clock) >= before_us);
    assert_true(clock_wall_ms(posix->env.clock) > INT64_C(1700000000000));
    assert_true(rng_u64(posix->env.rng) != rng_u64(posix->env.rng));
    uint8_t many[4096] = {0}; /* more than one getrandom is sure to give */
    rng_fill(posix->env.rng, many, sizeof(many));
    unsigned zero_count = 0;
    for (size_t i = 0; i < sizeof(many); i++) {
        zero_count += many[i] == 0 ? 1 : 0;
    }
    assert_true(zero_count < 100);
    assert_true(runtime_cpu_count(posix->env.runtime) > 0);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_cur == limit.rlim_max || limit.rlim_cur >= 1 << 20);
    posix_env_free(posix);
}

struct signal_test {
    struct world world;
    unsigned seen[3];
};

static void on_signal(void *ctx, int signal_number)
{
    struct signal_test *test = ctx;
    test->seen[signal_number == SIGUSR1 ? 0 : signal_number == SIGINT ? 1 : 2]++;
    if (signal_number == SIGUSR1) {
        assert_int_equal(kill(getpid(), SIGINT), 0);
    } else if (signal_number == SIGINT) {
        assert_int_equal(kill(getpid(), SIGTERM), 0);
    } else {
        loop_stop(test->world.loop);
    }
}

static void idle_work(struct loop_job *job)
{
    (void)job;
}

/* Signals sent to the process reach the loop, although the pool's threads exist. */
static void signals_are_callbacks(void **state)
{
    (void)state;
    struct signal_test test = {.seen = {0}};
    world_start(&test.world);
    struct loop_job job = {.work = idle_work, .done = idle_work};
    assert_int_equal(posix_on_signals(test.world.posix, test.world.loop, on_signal, &test), ERR_OK);
    loop_submit(test.world.loop, &job);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    world_run(&test.world);
    assert_int_equal(test.seen[0], 1);
    assert_int_equal(test.seen[1], 1);
    assert_int_equal(test.seen[2], 1);
    world_end(&test.world);
}

static void log_lines_go_to_standard_error(void **state)
{
    (void)state;
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    struct posix_env *posix = posix_env_new(LOG_INFO);
    int before_fd = dup(STDERR_FILENO);
    assert_int_equal(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
    log_info(posix->env.logger, "test", "hello", "x=%d", 1);
    assert_int_equal(dup2(before_fd, STDERR_FILENO), STDERR_FILENO);
    char line[256] = "";
    assert_true(read(pipe_fds[0], line, sizeof(line) - 1) > 0);
    assert_non_null(strstr(line, "level=info subsystem=test event=hello x=1\n"));
    close(before_fd);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    posix_env_free(posix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_and_rng_answer),
        cmocka_unit_test(signals_are_callbacks),
        cmocka_unit_test(log_lines_go_to_standard_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
