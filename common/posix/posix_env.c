#include "common/posix/posix_env.h"

#include "common/mem.h"
#include "common/posix/posix_fs.h"
#include "common/posix/posix_net.h"
#include "common/posix/posix_pool.h"
#include "common/posix/posix_runtime.h"
#include "common/seam/clock.h"
#include "common/seam/rng.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define POOL_THREADS_MIN 4
#define RESOLVE_THREADS 2
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
    struct posix_fs *fs;
    struct posix_net *net;
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
    parts->fs = posix_fs_new(parts->pool);
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

void posix_env_free(struct posix_env *posix)
{
    if (posix == NULL) {
        return;
    }
    struct posix_parts *parts = posix->parts;
    posix_runtime_free(parts->runtime);
    posix_net_free(parts->net);
    posix_pool_free(parts->resolve_pool);
    posix_pool_free(parts->pool);
    posix_fs_free(parts->fs);
    mem_free(parts);
    mem_free(posix);
}
