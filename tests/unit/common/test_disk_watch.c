/* Calls to files that don't come back: the table of calls, the watch over it, and the end of a process whose disk hangs. */
#include "common/mem.h"
#include "common/posix/posix_disk_watch.h"
#include "common/posix/posix_fs.h"
#include "common/posix/posix_pool.h"
#include "tests/unit/common/posix_support.h"

#include <fcntl.h>
#include <pthread.h>
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
#define SHORT_LIMIT_US                                                                                                 \
    750u /* no look comes within two of its ticks: each counts as two of them, the most that one may */
#define LOOK_THAT_IS_DUE 8u /* the eighth from half of the limit on */
#define LOOKS 300000
#define SENT_BYTES (8u << 20) /* more than a socket takes */

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

static uint64_t now_us(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t device_of_call_at(struct posix_file_calls *calls, const char *path)
{
    union posix_file_call *call = posix_file_call_at(calls, "open", path);
    struct posix_call_view view = posix_file_calls_look(calls, 0);
    posix_file_call_end(call);
    return view.device;
}

static void a_name_has_the_device_of_the_folder_above_it(void **state)
{
    (void)state;
    struct posix_file_calls *calls = posix_file_calls_new(1);
    assert_int_equal(device_of_call_at(calls, "/data/topic-0/marks"), 0);
    posix_file_calls_note_folder(calls, "/data/fast/.lock", 8);
    posix_file_calls_note_folder(calls, "/data/.lock", 7);
    assert_int_equal(device_of_call_at(calls, "/data/topic-0/marks"), 7);
    assert_int_equal(device_of_call_at(calls, "/data"), 7);
    assert_int_equal(device_of_call_at(calls, "/data/fast/topic-0"), 8);
    assert_int_equal(device_of_call_at(calls, "/database/topic-0"), 0);
    for (unsigned i = 0; i < POSIX_CALL_FOLDERS - 1; i++) {
        posix_file_calls_note_folder(calls, "/other/.lock", 9 + i);
    }
    assert_int_equal(device_of_call_at(calls, "/other/topic-0"), 9 + POSIX_CALL_FOLDERS - 2);
    assert_int_equal(device_of_call_at(calls, "/data/fast/topic-0"), 7); /* the oldest had to go */
    posix_file_calls_free(calls);
}

struct two_calls {
    struct posix_file_calls *calls;
    atomic_bool is_over;
};

static void *call_in_turn(void *ctx)
{
    struct two_calls *two = ctx;
    while (!atomic_load(&two->is_over)) {
        posix_file_call_end(posix_file_call_on(two->calls, "pread", -1, 1));
        posix_file_call_end(posix_file_call_on(two->calls, "pwritev", -1, 2));
    }
    return NULL;
}

static void what_is_seen_is_of_one_call(void **state)
{
    (void)state;
    struct two_calls two = {.calls = posix_file_calls_new(1)};
    pthread_t thread;
    unsigned seen[3] = {0};
    uint64_t deadline_us = now_us() + TEST_DEADLINE_US;
    assert_int_equal(pthread_create(&thread, NULL, call_in_turn, &two), 0);
    while (seen[1] + seen[2] < LOOKS || seen[1] == 0 || seen[2] == 0) {
        struct posix_call_view view = posix_file_calls_look(two.calls, 0);
        if (view.number == 0) {
            assert_true(now_us() < deadline_us);
            continue;
        }
        assert_in_range(view.device, 1, 2);
        assert_string_equal(view.what, view.device == 1 ? "pread" : "pwritev");
        seen[view.device]++;
    }
    atomic_store(&two.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    posix_file_calls_free(two.calls);
}

/* ---- files ---- */

struct waiting_call {
    struct posix_pool *pool;
    struct posix_file_calls *calls;
    struct posix_fs *posix;
    struct file *file;
    const char *path;
    int socket;
    pthread_t thread;
};

static void begin_waiting(struct waiting_call *ret_waiting)
{
    ret_waiting->pool = posix_pool_new("pool", 1);
    ret_waiting->calls = posix_file_calls_new(4);
    ret_waiting->posix = posix_fs_new(ret_waiting->pool, ret_waiting->calls);
}

static struct posix_call_view wait_for_call(const struct waiting_call *waiting, const char *what)
{
    uint64_t deadline_us = now_us() + TEST_DEADLINE_US;
    for (;;) {
        for (size_t i = 0; i < posix_file_calls_slots(waiting->calls); i++) {
            struct posix_call_view view = posix_file_calls_look(waiting->calls, i);
            if (view.number != 0 && strcmp(view.what, what) == 0) {
                return view;
            }
        }
        assert_true(now_us() < deadline_us);
        (void)sched_yield();
    }
}

static void end_waiting(struct waiting_call *waiting)
{
    assert_int_equal(pthread_join(waiting->thread, NULL), 0);
    file_unref(waiting->file);
    posix_pool_free(waiting->pool);
    posix_fs_free(waiting->posix);
    posix_file_calls_free(waiting->calls);
}

static void *open_pipe(void *ctx)
{
    struct waiting_call *waiting = ctx;
    assert_int_equal(fs_open(posix_fs_get(waiting->posix), waiting->path, FS_OPEN_READ, &waiting->file), ERR_OK);
    return NULL;
}

/* Or else a change of names that waits for the journal of a slow disk would be taken for a disk that hangs. */
static void names_in_a_locked_folder_are_on_its_disk(void **state)
{
    (void)state;
    char folder[] = "/tmp/moldau-stall-XXXXXX";
    char pipe_path[64];
    char lock_path[64];
    struct stat status;
    struct file *lock = NULL;
    struct waiting_call waiting = {.path = pipe_path};
    assert_non_null(mkdtemp(folder));
    assert_int_equal(stat(folder, &status), 0);
    (void)snprintf(pipe_path, sizeof(pipe_path), "%s/hangs", folder);
    (void)snprintf(lock_path, sizeof(lock_path), "%s/.lock", folder);
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    begin_waiting(&waiting);
    assert_int_equal(fs_lock(posix_fs_get(waiting.posix), lock_path, &lock), ERR_OK);
    assert_int_equal(pthread_create(&waiting.thread, NULL, open_pipe, &waiting), 0);
    assert_int_equal(wait_for_call(&waiting, "open").device, status.st_dev);
    int writer = open(pipe_path, O_WRONLY | O_CLOEXEC);
    assert_true(writer >= 0);
    file_unref(lock);
    end_waiting(&waiting);
    close(writer);
    assert_int_equal(unlink(pipe_path) + unlink(lock_path) + rmdir(folder), 0);
}

static void *send_all(void *ctx)
{
    struct waiting_call *waiting = ctx;
    for (uint64_t pos = 0; pos < SENT_BYTES;) {
        ssize_t sent = posix_fs_send(waiting->file, waiting->socket, pos, SENT_BYTES - pos);
        assert_true(sent > 0);
        pos += (uint64_t)sent;
    }
    return NULL;
}

/* Its pages may have left the cache since somebody looked. */
static void a_file_that_is_sent_is_seen(void **state)
{
    (void)state;
    char path[] = "/tmp/moldau-stall-XXXXXX";
    static char taken[1 << 16];
    struct stat status;
    int sockets[2];
    struct waiting_call waiting = {.path = path};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SENT_BYTES), 0);
    assert_int_equal(fstat(fd, &status), 0);
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    begin_waiting(&waiting);
    waiting.socket = sockets[0];
    assert_int_equal(fs_open(posix_fs_get(waiting.posix), path, FS_OPEN_READ, &waiting.file), ERR_OK);
    assert_int_equal(pthread_create(&waiting.thread, NULL, send_all, &waiting), 0);
    assert_int_equal(wait_for_call(&waiting, "sendfile").device, status.st_dev);
    for (size_t bytes = 0; bytes < SENT_BYTES;) {
        ssize_t count = read(sockets[1], taken, sizeof(taken));
        assert_true(count > 0);
        bytes += (size_t)count;
    }
    end_waiting(&waiting);
    assert_int_equal(unlink(path), 0);
    close(sockets[0]);
    close(sockets[1]);
}

/* ---- the watch ---- */

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

/* The call under way comes back while its device is asked, at the moment when it is due. */
static union posix_file_call *late_call;
static atomic_uint late_looks;

static bool comes_back(uint64_t device, uint64_t *ret_done)
{
    (void)ret_done;
    assert_int_equal(device, 7);
    if (atomic_fetch_add(&late_looks, 1) + 1 == LOOK_THAT_IS_DUE) {
        posix_file_call_end(late_call);
    }
    return false;
}

/* Watches watched->calls. */
static void watch_calls(struct watched *watched, uint32_t limit_us,
                        bool (*device_done)(uint64_t device, uint64_t *ret_done))
{
    struct posix_disk_watch_config config = {.calls = watched->calls,
                                             .limit_us = limit_us,
                                             .on_stall = note_stall,
                                             .ctx = watched,
                                             .device_done = device_done};
    watched->watch = posix_disk_watch_new(&config);
    assert_non_null(watched->watch);
}

static void watch(struct watched *ret_watched, bool (*device_done)(uint64_t device, uint64_t *ret_done))
{
    *ret_watched = (struct watched){.calls = posix_file_calls_new(8)};
    watch_calls(ret_watched, LIMIT_US, device_done);
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

static void a_call_that_comes_back_in_time_is_not_told(void **state)
{
    (void)state;
    struct watched watched = {.calls = posix_file_calls_new(8)};
    uint64_t deadline_us = now_us() + TEST_DEADLINE_US;
    late_call = posix_file_call_on(watched.calls, "fdatasync", -1, 7);
    watch_calls(&watched, SHORT_LIMIT_US, comes_back);
    while (atomic_load(&late_looks) < LOOK_THAT_IS_DUE) {
        assert_true(now_us() < deadline_us);
        assert_false(atomic_load(&watched.is_stalled));
        (void)sched_yield();
    }
    posix_disk_watch_free(watched.watch); /* that look is over then */
    assert_false(atomic_load(&watched.is_stalled));
    posix_file_calls_free(watched.calls);
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
        cmocka_unit_test(a_call_is_seen_while_it_lasts),
        cmocka_unit_test(a_name_has_the_device_of_the_folder_above_it),
        cmocka_unit_test(what_is_seen_is_of_one_call),
        cmocka_unit_test(names_in_a_locked_folder_are_on_its_disk),
        cmocka_unit_test(a_file_that_is_sent_is_seen),
        cmocka_unit_test(a_call_that_does_not_come_back_is_told),
        cmocka_unit_test(a_slow_disk_has_more_time),
        cmocka_unit_test(calls_that_come_back_are_no_stall),
        cmocka_unit_test(a_call_that_comes_back_in_time_is_not_told),
        cmocka_unit_test(a_process_whose_disk_hangs_ends),
        cmocka_unit_test(a_device_counts_what_it_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
