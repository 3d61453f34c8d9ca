/* What counts as time for the watch over the disks: what it has seen itself. A process that stands still, or a machine that is paused,
 * has no disk that hangs. */
#include "common/check.h"
#include "common/posix/posix_disk_watch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_US 1000000u
#define STOPPED_US 1500000u
#define HELD_US 100000u /* three of its looks, and far from the limit */

enum { HAS_NOT_STALLED = 0, HAS_STALLED = 1, NO_WATCH = 2, NO_WORD = 3 };

static uint64_t now_us(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void pass_us(uint64_t us)
{
    struct timespec rest = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    while (nanosleep(&rest, &rest) != 0) {
    }
}

static void note_stall(void *ctx, const struct posix_stall *stall)
{
    (void)stall;
    atomic_store((atomic_bool *)ctx, true);
}

static bool no_number(uint64_t device, uint64_t *ret_done)
{
    (void)device;
    (void)ret_done;
    return false;
}

/* Begins a call, tells so, and is stopped within it; when it goes on the call lasts a moment more. */
static int hold_a_call(int told, int word)
{
    static atomic_bool is_stalled; /* of the child alone */
    struct posix_disk_watch_config config = {.calls = posix_file_calls_new(1),
                                             .limit_us = LIMIT_US,
                                             .on_stall = note_stall,
                                             .ctx = &is_stalled,
                                             .device_done = no_number};
    struct posix_disk_watch *watch = posix_disk_watch_new(&config);
    if (watch == NULL) {
        return NO_WATCH;
    }
    union posix_file_call *call = posix_file_call_on(config.calls, "fdatasync", -1, 7);
    uint64_t seen_us = now_us() + HELD_US;
    while (now_us() < seen_us) {
    }
    char byte = 'b';
    if (write(told, &byte, 1) != 1 || read(word, &byte, 1) != 1) {
        return NO_WORD;
    }
    uint64_t end_us = now_us() + HELD_US;
    while (now_us() < end_us) {
    }
    posix_file_call_end(call);
    posix_disk_watch_free(watch);
    posix_file_calls_free(config.calls);
    return atomic_load(&is_stalled) ? HAS_STALLED : HAS_NOT_STALLED;
}

static void a_process_that_was_stopped_has_no_old_calls(void **state)
{
    (void)state;
    int told[2];
    int word[2];
    int status = 0;
    char byte = 0;
    assert_int_equal(pipe(told), 0);
    assert_int_equal(pipe(word), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(hold_a_call(told[1], word[0]));
    }
    assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    pass_us(STOPPED_US); /* this time is what the test is about */
    assert_int_equal(write(word[1], &byte, 1), 1);
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), HAS_NOT_STALLED);
    for (size_t i = 0; i < 2; i++) {
        close(told[i]);
        close(word[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_was_stopped_has_no_old_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
