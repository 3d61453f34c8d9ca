/* What does it cost to bring N files with a little new data each to the disk? The numbers behind ADR-0004: run it on the file system
 * that will hold the logs: sync_bench DIR [ROUNDS].
 *
 * For each number of dirty files and each way: append 1 KiB to every file, then sync; p50, p99 and worst of ROUNDS in
 * microseconds, and the processor time of a round. Ways: fdatasync one after the other; spread over 4 and 8 threads; one
 * syncfs; a journal (all bytes in one more file, one fdatasync). Last, what making and renaming a file costs on a thread
 * that others' syncs run beside: the price of a roll on the loop.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 2000
#define THREADS_MAX 8
#define APPEND_BYTES 1024
#define ROUNDS_DEFAULT 100

enum way { WAY_NONE, WAY_SERIAL, WAY_THREADS_4, WAY_THREADS_8, WAY_SYNCFS, WAY_JOURNAL };
static const char *const way_names[] = {"cached (no sync)",    "fdatasync serial", "fdatasync 4 threads",
                                        "fdatasync 8 threads", "syncfs",           "journal"};

struct bench {
    int files[FILES_MAX];
    uint64_t bytes[FILES_MAX];
    int journal;
    uint64_t journal_bytes;
    int dir;
    const char *path;
};

struct share {
    pthread_t thread;
    struct bench *bench;
    size_t first;
    size_t end;
};

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void *sync_share(void *ctx)
{
    struct share *share = ctx;
    for (size_t i = share->first; i < share->end; i++) {
        must(fdatasync(share->bench->files[i]) == 0, "fdatasync");
    }
    return NULL;
}

static void sync_threads(struct bench *bench, size_t count, size_t threads)
{
    struct share shares[THREADS_MAX];
    threads = threads > count ? count : threads;
    for (size_t i = 0; i < threads; i++) {
        shares[i] = (struct share){.bench = bench, .first = count * i / threads, .end = count * (i + 1) / threads};
        must(pthread_create(&shares[i].thread, NULL, sync_share, &shares[i]) == 0, "pthread_create");
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(shares[i].thread, NULL);
    }
}

static void append_all(struct bench *bench, size_t count, bool to_journal)
{
    static const char data[APPEND_BYTES] = {1};
    for (size_t i = 0; i < count; i++) {
        must(pwrite(bench->files[i], data, sizeof(data), (off_t)bench->bytes[i]) == APPEND_BYTES, "write");
        bench->bytes[i] += sizeof(data);
        if (to_journal) {
            must(pwrite(bench->journal, data, sizeof(data), (off_t)bench->journal_bytes) == APPEND_BYTES, "write");
            bench->journal_bytes += sizeof(data);
        }
    }
}

static void sync_all(struct bench *bench, size_t count, enum way way)
{
    struct share all = {.bench = bench, .first = 0, .end = count};
    switch (way) {
    case WAY_NONE:
        break;
    case WAY_SERIAL:
        sync_share(&all);
        break;
    case WAY_THREADS_4:
        sync_threads(bench, count, 4);
        break;
    case WAY_THREADS_8:
        sync_threads(bench, count, 8);
        break;
    case WAY_SYNCFS:
        must(syncfs(bench->dir) == 0, "syncfs");
        break;
    case WAY_JOURNAL:
        must(fdatasync(bench->journal) == 0, "fdatasync");
        break;
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void print_row(const char *name, size_t count, uint64_t *samples, size_t rounds, uint64_t used_cpu_us)
{
    qsort(samples, rounds, sizeof(*samples), compare);
    printf("| %5zu | %-20s | %8lu | %8lu | %8lu | %8lu |\n", count, name, (unsigned long)samples[rounds / 2],
           (unsigned long)samples[rounds * 99 / 100], (unsigned long)samples[rounds - 1],
           (unsigned long)(used_cpu_us / rounds));
    fflush(stdout);
}

static void measure(struct bench *bench, size_t count, enum way way, size_t rounds)
{
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    must(samples != NULL, "memory");
    must(syncfs(bench->dir) == 0, "syncfs");
    uint64_t cpu_before = cpu_us();
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_us();
        append_all(bench, count, way == WAY_JOURNAL);
        sync_all(bench, count, way);
        samples[i] = now_us() - start;
    }
    print_row(way_names[way], count, samples, rounds, cpu_us() - cpu_before);
    free(samples);
}

static bool is_beside_ended;
static pthread_mutex_t beside_mutex = PTHREAD_MUTEX_INITIALIZER;

static void *sync_beside(void *ctx)
{
    struct bench *bench = ctx;
    for (;;) {
        append_all(bench, 100, false);
        must(syncfs(bench->dir) == 0, "syncfs");
        pthread_mutex_lock(&beside_mutex);
        bool is_ended = is_beside_ended;
        pthread_mutex_unlock(&beside_mutex);
        if (is_ended) {
            return NULL;
        }
    }
}

static void measure_files(struct bench *bench, bool is_rename, bool is_busy, size_t rounds)
{
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    pthread_t beside;
    char from[600];
    char to[600];
    must(samples != NULL, "memory");
    is_beside_ended = false;
    must(!is_busy || pthread_create(&beside, NULL, sync_beside, bench) == 0, "pthread_create");
    uint64_t cpu_before = cpu_us();
    for (size_t i = 0; i < rounds; i++) {
        snprintf(from, sizeof(from), "%s/made-%zu", bench->path, i);
        snprintf(to, sizeof(to), "%s/moved-%zu", bench->path, i);
        if (is_rename) {
            close(open(from, O_CREAT | O_RDWR, 0600));
        }
        uint64_t start = now_us();
        if (is_rename) {
            must(rename(from, to) == 0, "rename");
        } else {
            int file = open(from, O_CREAT | O_EXCL | O_RDWR, 0600);
            must(file >= 0, "open");
            samples[i] = now_us() - start;
            close(file);
        }
        samples[i] = is_rename ? now_us() - start : samples[i];
        usleep(500);
        unlink(is_rename ? to : from);
    }
    print_row(is_rename ? (is_busy ? "rename, syncs beside" : "rename") : (is_busy ? "create, syncs beside" : "create"),
              1, samples, rounds, cpu_us() - cpu_before);
    if (is_busy) {
        pthread_mutex_lock(&beside_mutex);
        is_beside_ended = true;
        pthread_mutex_unlock(&beside_mutex);
        pthread_join(beside, NULL);
    }
    free(samples);
}

static void make_files(struct bench *bench)
{
    char name[600];
    must(mkdir(bench->path, 0700) == 0 || errno == EEXIST, "mkdir");
    bench->dir = open(bench->path, O_RDONLY | O_DIRECTORY);
    must(bench->dir >= 0, "open");
    for (size_t i = 0; i < FILES_MAX; i++) {
        snprintf(name, sizeof(name), "%s/file-%zu", bench->path, i);
        bench->files[i] = open(name, O_CREAT | O_TRUNC | O_RDWR, 0600);
        must(bench->files[i] >= 0, "open");
    }
    snprintf(name, sizeof(name), "%s/journal", bench->path);
    bench->journal = open(name, O_CREAT | O_TRUNC | O_RDWR, 0600);
    must(bench->journal >= 0, "open");
}

static void remove_files(struct bench *bench)
{
    DIR *dir = opendir(bench->path);
    must(dir != NULL, "opendir");
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        unlinkat(bench->dir, entry->d_name, 0);
    }
    closedir(dir);
    rmdir(bench->path);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static const size_t counts[] = {1, 2, 4, 8, 16, 32, 64, 100, 300, 1000, 2000};
    if (argc < 2) {
        fprintf(stderr, "usage: sync_bench DIR [ROUNDS]\n");
        return 2;
    }
    size_t rounds = argc > 2 ? (size_t)atoi(argv[2]) : ROUNDS_DEFAULT;
    bench.path = argv[1];
    make_files(&bench);
    printf("| files | way                  |  p50 us  |  p99 us  |  max us  | cpu us   |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (unsigned way = WAY_NONE; way <= WAY_JOURNAL; way++) {
            bool is_slow = counts[i] >= 300 && (way == WAY_SERIAL || way == WAY_THREADS_4 || way == WAY_THREADS_8);
            measure(&bench, counts[i], (enum way)way, is_slow ? rounds / 10 + 1 : rounds);
        }
    }
    measure_files(&bench, false, false, rounds);
    measure_files(&bench, true, false, rounds);
    measure_files(&bench, false, true, rounds);
    measure_files(&bench, true, true, rounds);
    remove_files(&bench);
    return 0;
}
