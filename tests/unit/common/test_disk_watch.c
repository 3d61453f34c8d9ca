/* Calls to files that don't come back: the table of calls, the watch over it, and the end of a process whose disk hangs. */
#include "common/mem.h"
#include "common/posix/posix_disk_watch.h"
#include "tests/unit/common/posix_support.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_US 30000u
#define LAST_WORDS_BYTES 4096

/* ---- the table ---- */

static void a_call_is_seen_while_it_lasts(void **state)
{
    (void)state;
    struct posix_file_calls *calls = posix_file_calls_new(1);
    char path[POSIX_CALL_PATH_BYTES];
    assert_int_equal(posix_file_calls_look(calls, 0).number, 0);

    union posix_file_call *call = posix_file_call_at(calls, "unlink", "/data/name");
    struct posix_call_view first = posix_file_calls_look(calls, 0);
    assert_string_equal(first.what, "unlink");
    posix_file_calls_path(calls, 0, path);
    assert_string_equal(path, "/data/name");
    assert_null(posix_file_call_at(calls, "open", "/data/other")); /* no slot is left */
    posix_file_call_end(call);
    posix_file_call_end(NULL);
    assert_int_equal(posix_file_calls_look(calls, 0).number, 0);
    posix_file_calls_path(calls, 0, path);
    assert_string_equal(path, "");

    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    call = posix_file_call_on(calls, "fdatasync", fd, 7);
    struct posix_call_view second = posix_file_calls_look(calls, 0);
    assert_string_equal(second.what, "fdatasync");
    assert_int_equal(second.device, 7);
    assert_int_not_equal(second.number, first.number);
    posix_file_calls_path(calls, 0, path);
    assert_string_equal(path, "/dev/null");
    posix_file_call_end(call);
    close(fd);
    posix_file_calls_free(calls);
}

/* ---- the watch ---- */

static uint64_t now_us(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct watched {
    struct posix_file_calls *calls;
    struct posix_disk_watch *watch;
    atomic_bool is_stalled;
    atomic_uint_least64_t waited_us;
};

static void note_stall(void *ctx, const struct posix_stall *stall)
{
    struct watched *watched = ctx;
    assert_string_equal(stall->what, "fdatasync");
    atomic_store(&watched->waited_us, stall->waited_us);
    atomic_store(&watched->is_stalled, true);
}

static bool no_number(uint64_t device, uint64_t *ret_done)
{
    (void)device;
    (void)ret_done;
    return false;
}

static bool stands_still(uint64_t device, uint64_t *ret_done)
{
    assert_int_equal(device, 7);
    *ret_done = 1000;
    return true;
}

static bool goes_on(uint64_t device, uint64_t *ret_done)
{
    static atomic_uint_least64_t done; /* a disk of this test's own */
    assert_int_equal(device, 7);
    *ret_done = atomic_fetch_add(&done, 1);
    return true;
}

static void watch(struct watched *ret_watched, bool (*device_done)(uint64_t device, uint64_t *ret_done))
{
    *ret_watched = (struct watched){.calls = posix_file_calls_new(8)};
    struct posix_disk_watch_config config = {.calls = ret_watched->calls,
                                             .limit_us = LIMIT_US,
                                             .on_stall = note_stall,
                                             .ctx = ret_watched,
                                             .device_done = device_done};
    ret_watched->watch = posix_disk_watch_new(&config);
    assert_non_null(ret_watched->watch);
}

static void unwatch(struct watched *watched)
{
    posix_disk_watch_free(watched->watch);
    posix_file_calls_free(watched->calls);
}

static void must_stall(struct watched *watched)
{
    uint64_t deadline_us = now_us() + TEST_DEADLINE_US;
    while (!atomic_load(&watched->is_stalled)) {
        assert_true(now_us() < deadline_us);
        (void)sched_yield();
    }
}

static void a_call_that_does_not_come_back_is_told(void **state)
{
    (void)state;
    static bool (*const disks[])(uint64_t device, uint64_t * ret_done) = {no_number, stands_still};
    for (size_t i = 0; i < 2; i++) {
        struct watched watched;
        watch(&watched, disks[i]);
        union posix_file_call *call = posix_file_call_on(watched.calls, "fdatasync", -1, 7);
        must_stall(&watched);
        assert_true(atomic_load(&watched.waited_us) >= LIMIT_US);
        posix_file_call_end(call);
        unwatch(&watched);
    }
}

static void a_slow_disk_has_more_time(void **state)
{
    (void)state;
    struct watched watched;
    watch(&watched, goes_on);
    union posix_file_call *call = posix_file_call_on(watched.calls, "fdatasync", -1, 7);
    must_stall(&watched);
    assert_true(atomic_load(&watched.waited_us) >= 10 * LIMIT_US);
    posix_file_call_end(call);
    unwatch(&watched);
}

static void calls_that_come_back_are_no_stall(void **state)
{
    (void)state;
    struct watched watched;
    watch(&watched, no_number);
    uint64_t end_us = now_us() + 5 * LIMIT_US;
    while (now_us() < end_us) {
        union posix_file_call *call = posix_file_call_on(watched.calls, "pwritev", -1, 7);
        posix_file_call_end(call);
    }
    assert_false(atomic_load(&watched.is_stalled));
    unwatch(&watched);
}

/* ---- the end of the process ---- */

/* A child whose open of a pipe without a writer waits for ever, as on a disk that hangs. */
static pid_t start_child(const char *pipe_path, int error_fd)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child != 0) {
        return child;
    }
    if (dup2(error_fd, STDERR_FILENO) < 0) {
        _exit(90);
    }
    struct posix_env *posix = posix_env_new(LOG_ERROR);
    struct file *file = NULL;
    if (posix_env_watch_disks(posix, LIMIT_US) != ERR_OK) {
        _exit(91);
    }
    (void)fs_open(posix->env.fs, pipe_path, FS_OPEN_READ, &file);
    _exit(92);
}

static void a_process_whose_disk_hangs_ends(void **state)
{
    (void)state;
    char folder[] = "/tmp/moldau-stall-XXXXXX";
    char pipe_path[64];
    int words[2];
    int sockets[2];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(pipe_path, sizeof(pipe_path), "%s/hangs", folder);
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(pipe(words), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);

    int status = 0;
    pid_t child = start_child(pipe_path, words[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    /* This process has both ends still: only a shutdown ends the stream. */
    char byte = 0;
    assert_int_equal(read(sockets[0], &byte, 1), 0);
    char text[LAST_WORDS_BYTES] = "";
    assert_true(read(words[0], text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, "event=stalled call=\"open\""));
    assert_non_null(strstr(text, pipe_path));

    /* And when not even its last words can be written. */
    assert_int_equal(fcntl(words[1], F_SETFL, O_NONBLOCK), 0);
    while (write(words[1], text, 1) > 0) {
    }
    assert_int_equal(fcntl(words[1], F_SETFL, 0), 0);
    child = start_child(pipe_path, words[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGALRM);

    assert_int_equal(unlink(pipe_path), 0);
    assert_int_equal(rmdir(folder), 0);
    for (size_t i = 0; i < 2; i++) {
        close(words[i]);
        close(sockets[i]);
    }
}

static void a_device_counts_what_it_completes(void **state)
{
    (void)state;
    uint64_t done = 0;
    assert_false(posix_device_done(0, &done));
    struct stat status;
    assert_int_equal(stat("/", &status), 0);
    /* The root may lie on an overlay, which has no device of its own. */
    if (posix_device_done(status.st_dev, &done)) {
        assert_true(done > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_seen_while_it_lasts),   cmocka_unit_test(a_call_that_does_not_come_back_is_told),
        cmocka_unit_test(a_slow_disk_has_more_time),       cmocka_unit_test(calls_that_come_back_are_no_stall),
        cmocka_unit_test(a_process_whose_disk_hangs_ends), cmocka_unit_test(a_device_counts_what_it_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
