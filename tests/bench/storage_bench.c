/* What a broker's storage costs on this machine: storage_bench DIR [LOGS] [MIB].
 *
 * Start: makes LOGS logs with a few records, stops in order, opens all again on one thread, then again after a stop without closing
 * (as after a kill), with what was appended since to be scanned. Append: MIB MiB in batches of 16 KiB and of 1 KiB to the page
 * cache, in processor time, with and without sync. Read: the same bytes found slice by slice.
 */
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/seam/fs.h"
#include "tests/unit/storage/log_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void must(enum err err, const struct harness *harness, const char *what)
{
    if (err != ERR_OK) {
        fprintf(stderr, "%s: %s %s\n", what, err_name(err), harness->problem.text);
        exit(1);
    }
}

static void on_closed(void *ctx, enum err err)
{
    CHECK(err == ERR_OK);
    (*(int *)ctx)++;
}

static void open_all(struct harness *harness, struct partition_log **logs, int count, const char *what)
{
    double start = wall_s();
    double start_cpu = cpu_s();
    for (int i = 0; i < count; i++) {
        harness->id.partition_index = i;
        must(harness_open(harness), harness, "open");
        logs[i] = harness->log;
        harness->log = NULL;
    }
    printf("%s: %d logs opened on one thread in %.3f s, %.3f s of processor time\n", what, count, wall_s() - start,
           cpu_s() - start_cpu);
}

static void close_all(struct harness *harness, struct partition_log **logs, int count)
{
    int closed = 0;
    for (int i = 0; i < count; i++) {
        partition_log_close(logs[i], on_closed, &closed);
    }
    harness_pump(harness);
    CHECK(closed == count);
}

static void append_some(struct harness *harness, struct partition_log **logs, int count)
{
    for (int i = 0; i < count; i++) {
        harness->log = logs[i];
        must(harness_begin_epoch(harness, partition_log_last_epoch(logs[i]) + 1), harness, "epoch");
        must(harness_append_plain(harness, partition_log_last_epoch(logs[i]), 10, 1), harness, "append");
    }
    harness->log = NULL;
    harness_pump(harness);
}

static void bench_start(struct harness *harness, int count)
{
    struct partition_log **logs = mem_array((size_t)count, sizeof(struct partition_log *));
    double start = wall_s();
    must(harness_start(harness), harness, "start");
    for (int i = 0; i < count; i++) {
        harness->id.partition_index = i;
        must(harness_create(harness), harness, "create");
        logs[i] = harness->log;
        harness->log = NULL;
    }
    printf("%d logs made in %.3f s\n", count, wall_s() - start);
    append_some(harness, logs, count);
    close_all(harness, logs, count);
    must(harness_stop(harness, true), harness, "stop");
    must(harness_start(harness), harness, "start");
    open_all(harness, logs, count, "after an orderly stop");
    append_some(harness, logs, count);
    /* As after a kill: what is in memory is forgotten. The old directory object only frees its lock. */
    log_dir_close(harness->dir);
    harness->dir = NULL;
    must(harness_start(harness), harness, "start");
    open_all(harness, logs, count, "after a kill, new records in all");
    close_all(harness, logs, count);
    mem_free(logs);
    must(harness_stop(harness, true), harness, "stop");
}

static void bench_read(struct harness *harness, size_t total_bytes)
{
    int64_t offset = 0;
    int64_t end_offset = partition_log_end_offset(harness->log);
    unsigned slices = 0;
    unsigned inline_slices = 0;
    double start_cpu = cpu_s();
    while (offset < end_offset) {
        struct log_read_request request = {
            .offset = offset, .end_offset = end_offset, .max_bytes = 1u << 20, .wants_one = true};
        struct log_read read;
        must(log_read_plan(harness->log, &request, &read), harness, "plan");
        enum err err = log_read_try(&read);
        inline_slices += err == ERR_OK ? 1 : 0;
        must(err == ERR_WOULD_BLOCK ? log_read_run(&read) : err, harness, "read");
        log_read_remember(harness->log, &read);
        offset = read.slice.next_offset;
        slices++;
        log_read_done(&read);
    }
    printf("  found in %u slices, %u of them inline: %.4f s of processor time a GiB\n", slices, inline_slices,
           (cpu_s() - start_cpu) * (double)(1u << 30) / (double)total_bytes);
}

static void bench_append(struct harness *harness, int partition, size_t batch_bytes, size_t total_bytes, bool is_synced)
{
    struct bytebuf bytes;
    struct append_result result;
    struct batch_wish wish = {.record_count = (int32_t)(batch_bytes / 1024), .value_bytes = 1000, .timestamp_ms = 1};
    harness->id.partition_index = partition;
    harness->settings.durability = is_synced ? DURABILITY_SYNCED : DURABILITY_CACHED;
    must(harness_create(harness), harness, "create");
    must(harness_begin_epoch(harness, 1), harness, "epoch");
    bytebuf_init(&bytes, 1u << 20);
    harness_build(&wish, &bytes);
    struct append_request request = {
        .bytes = bytes.data, .byte_count = bytes.bytes, .leader_epoch = 1, .is_client = true};
    double start = wall_s();
    double start_cpu = cpu_s();
    size_t done_bytes = 0;
    for (unsigned i = 0; done_bytes < total_bytes; i++) {
        must(partition_log_append_as_leader(harness->log, &request, &result), harness, "append");
        done_bytes += bytes.bytes;
        if (i % 64 == 63) {
            harness_pump(harness);
        }
    }
    printf("append, batches of %zu bytes, %s: %.3f s of processor time a GiB, %.0f MiB/s\n", bytes.bytes,
           is_synced ? "synced every 64" : "cached", (cpu_s() - start_cpu) * (double)(1u << 30) / (double)done_bytes,
           (double)done_bytes / (1u << 20) / (wall_s() - start));
    bench_read(harness, done_bytes);
    bytebuf_done(&bytes);
    must(harness_close_log(harness), harness, "close");
}

int main(int argc, char **argv)
{
    struct posix_env *posix = posix_env_new(LOG_ERROR);
    struct harness harness;
    int logs = argc > 2 ? atoi(argv[2]) : 2000;
    size_t total_bytes = (size_t)(argc > 3 ? atoi(argv[3]) : 256) << 20;
    if (argc < 2) {
        fprintf(stderr, "usage: storage_bench DIR [LOGS] [MIB]\n");
        return 2;
    }
    harness_init(&harness, NULL, posix->env.fs, argv[1]);
    bench_start(&harness, logs);
    must(harness_start(&harness), &harness, "start");
    bench_append(&harness, logs, 16384, total_bytes, false);
    bench_append(&harness, logs + 1, 1024, total_bytes, false);
    bench_append(&harness, logs + 2, 16384, total_bytes, true);
    must(harness_stop(&harness, true), &harness, "stop");
    harness_done(&harness);
    posix_env_free(posix);
    return 0;
}
