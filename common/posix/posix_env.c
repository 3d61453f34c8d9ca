#include "common/posix/posix_env.h"

#include "common/mem.h"
#include "common/posix/posix_disk_watch.h"
#include "common/posix/posix_file_calls.h"
#include "common/posix/posix_fs.h"
#include "common/posix/posix_net.h"
#include "common/posix/posix_pool.h"
#include "common/posix/posix_runtime.h"
#include "common/seam/clock.h"
#include "common/seam/rng.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define POOL_THREADS_MIN 4
#define RESOLVE_THREADS 2
#define FILE_CALL_THREADS 4 /* for each processor: beside the pool's */
#define LAST_WORDS_S 3
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 64
#define FILE_DESCRIPTORS_KEPT_MAX 4096 /* at most a quarter of the limit, and this, is kept for files */
#define DESCRIPTORS_MAX (1 << 20)      /* enough for every limit of ours, whatever the system would allow */

struct posix_parts {
    struct clock clock;
    struct rng rng;
    struct logger logger;
    struct posix_pool *pool;
    struct posix_pool *resolve_pool;
    struct posix_runtime *runtime;
    struct posix_file_calls *file_calls;
    struct posix_fs *fs;
    struct posix_net *net;
    struct posix_disk_watch *disk_watch; /* NULL: nobody watches */
    uint64_t disk_limit_us;
    char boot_id[BOOT_ID_BYTES];
};

static uint64_t posix_mono_us(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int64_t posix_wall_ms(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const struct clock_ops posix_clock_ops = {.mono_us = posix_mono_us, .wall_ms = posix_wall_ms};

static void posix_rng_fill(struct rng *rng, void *ret_bytes, size_t bytes)
{
    (void)rng;
    char *next = ret_bytes;
    while (bytes > 0) {
        ssize_t count = getrandom(next, bytes, 0);
        CHECK(count > 0 || errno == EINTR);
        if (count > 0) {
            next += count;
            bytes -= (size_t)count;
        }
    }
}

static const struct rng_ops posix_rng_ops = {.fill = posix_rng_fill};

static void log_to_stderr(void *ctx, enum log_level level, const char *line, size_t bytes)
{
    (void)ctx;
    (void)level;
    /* One write, so lines of several threads don't mix. A log that can't be written has nobody to be told. */
    ssize_t written = write(STDERR_FILENO, line, bytes);
    (void)written;
}

static unsigned cpus_allowed(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0 && CPU_COUNT(&allowed) > 0) {
        return (unsigned)CPU_COUNT(&allowed);
    }
    return 1; /* more than 1,024 processors: the operator says how many threads */
}

/* Raises the soft limit and returns the first descriptor that sockets may not have. */
static int descriptors_prepare(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t wanted = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    rlim_t usable = limit.rlim_cur < DESCRIPTORS_MAX ? limit.rlim_cur : DESCRIPTORS_MAX;
    rlim_t kept = usable / 4 < FILE_DESCRIPTORS_KEPT_MAX ? usable / 4 : FILE_DESCRIPTORS_KEPT_MAX;
    return (int)(usable - kept);
}

/* Request frames come and go by the thousand, most of them between 100 KiB and 1 MiB. The C library would map each anew and
 * give it back at once: 100,000 page faults per GiB produced. With these bounds a thread's frames use the same pages again. */
#define MALLOC_MAP_BYTES (8 << 20)
#define MALLOC_KEEP_BYTES (32 << 20)
#define MALLOC_GROW_BYTES (1 << 20)

static void memory_prepare(void)
{
    /* Wishes: the sanitizers' allocators refuse them. */
    (void)mallopt(M_MMAP_THRESHOLD, MALLOC_MAP_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
    (void)mallopt(M_TOP_PAD, MALLOC_GROW_BYTES);
}

/* The kernel's name for the time since it was started; empty when it does not tell. */
static void read_boot_id(struct fs *fs, char *ret_text, size_t ret_bytes)
{
    struct file *file = NULL;
    size_t read_bytes = 0;
    if (fs_open(fs, BOOT_ID_PATH, FS_OPEN_READ, &file) == ERR_OK) {
        if (file_pread(file, ret_text, ret_bytes - 1, 0, &read_bytes) != ERR_OK) {
            read_bytes = 0;
        }
        file_unref(file);
    }
    while (read_bytes > 0 && ret_text[read_bytes - 1] == '\n') {
        read_bytes--;
    }
    ret_text[read_bytes] = '\0';
}

struct posix_env *posix_env_new(enum log_level level)
{
    memory_prepare();
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* sendfile has no flag against it */
    struct posix_parts *parts = MEM_NEW(struct posix_parts);
    unsigned cpu_count = cpus_allowed();
    unsigned pool_threads = 2 * cpu_count < POOL_THREADS_MIN ? POOL_THREADS_MIN : 2 * cpu_count;
    parts->clock.ops = &posix_clock_ops;
    parts->rng.ops = &posix_rng_ops;
    logger_init(&parts->logger, &parts->clock, level, log_to_stderr, NULL);
    parts->pool = posix_pool_new("pool", pool_threads);
    parts->resolve_pool = posix_pool_new("resolve", RESOLVE_THREADS);
    parts->runtime = posix_runtime_new(&parts->clock, parts->pool, cpu_count);
    /* The pool, loops with two threads of the pool for themselves, threads of the maker: never so many at once. */
    parts->file_calls = posix_file_calls_new(pool_threads + FILE_CALL_THREADS * (cpu_count + 1));
    parts->fs = posix_fs_new(parts->pool, parts->file_calls);
    parts->net = posix_net_new(parts->resolve_pool, &parts->logger, descriptors_prepare());
    struct posix_env *posix = MEM_NEW(struct posix_env);
    posix->parts = parts;
    read_boot_id(posix_fs_get(parts->fs), parts->boot_id, sizeof(parts->boot_id));
    posix->env = (struct env){
        .clock = &parts->clock,
        .rng = &parts->rng,
        .fs = posix_fs_get(parts->fs),
        .net = posix_net_get(parts->net),
        .runtime = posix_runtime_get(parts->runtime),
        .logger = &parts->logger,
        .boot_id = parts->boot_id,
    };
    return posix;
}

/* A system call to a disk that hangs may keep the process from going even when it was killed, and its sockets would stay open as
 * long. Nobody shall wait for this node: they end first. */
static void shut_down_sockets(void)
{
    struct rlimit limit;
    int end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur
                                                                                        : DESCRIPTORS_MAX;
    for (int fd = STDERR_FILENO + 1; fd < end; fd++) {
        (void)shutdown(fd, SHUT_RDWR); /* what is no socket says so */
    }
}

/* Standard error may be a file on the disk that hangs: the alarm ends the process when the line can't be written. */
static void end_for_stall(void *ctx, const struct posix_stall *stall)
{
    struct posix_parts *parts = ctx;
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    (void)signal(SIGALRM, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    (void)alarm(LAST_WORDS_S);
    shut_down_sockets();
    char path[POSIX_CALL_PATH_BYTES + 2];
    log_error(&parts->logger, "disk", "stalled",
              "call=\"%s\" path=%s seconds=%llu limit_ms=%llu why=\"the disk does not answer; this node ends so that "
              "others take "
              "over (log.dir.stall.timeout.ms)\"",
              stall->what, logger_quote(span_text(stall->path), path, sizeof(path)),
              (unsigned long long)(stall->waited_us / 1000000), (unsigned long long)(parts->disk_limit_us / 1000));
    _Exit(1);
}

enum err posix_env_watch_disks(struct posix_env *posix, uint64_t limit_us)
{
    struct posix_parts *parts = posix->parts;
    CHECK(parts->disk_watch == NULL);
    parts->disk_limit_us = limit_us;
    struct posix_disk_watch_config config = {.calls = parts->file_calls,
                                             .limit_us = limit_us,
                                             .on_stall = end_for_stall,
                                             .ctx = parts,
                                             .device_done = posix_device_done};
    parts->disk_watch = posix_disk_watch_new(&config);
    return parts->disk_watch == NULL ? ERR_LIMIT : ERR_OK;
}

void posix_env_free(struct posix_env *posix)
{
    if (posix == NULL) {
        return;
    }
    struct posix_parts *parts = posix->parts;
    posix_disk_watch_free(parts->disk_watch);
    posix_runtime_free(parts->runtime);
    posix_net_free(parts->net);
    posix_pool_free(parts->resolve_pool);
    posix_pool_free(parts->pool);
    posix_fs_free(parts->fs);
    posix_file_calls_free(parts->file_calls);
    mem_free(parts);
    mem_free(posix);
}
