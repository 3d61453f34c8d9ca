/* log_harness: a log directory with one log on a simulated disk, an inline loop and a clock that stands still: what the tests
 * of storage share.
 *
 * Shape:     jobs and tasks wait in queues until harness_pump runs them, in order, with the sync group's step after each round.
 * Ownership: harness_done frees everything, also after a crash of the disk.
 * Threads:   one.
 */
#ifndef TESTS_UNIT_STORAGE_LOG_HARNESS_H
#define TESTS_UNIT_STORAGE_LOG_HARNESS_H

#include "broker/storage/file_cache.h"
#include "broker/storage/partition_log.h"
#include "common/logger.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"
#include "common/seam/loop.h"
#include "common/seam/rng.h"
#include "proto/record/build.h"
#include "proto/record/control.h"
#include "tests/support/fs_sim.h"
#include "tests/support/prop.h"

#define HARNESS_DIR "/data"
#define HARNESS_TOPIC "topic"
#define HARNESS_START_MS INT64_C(1700000000000)

struct harness_clock {
    struct clock base;
    int64_t wall_ms;
    uint64_t mono_us;
};

struct harness_rng {
    struct rng base;
    struct prop prop;
};

struct harness {
    struct fs *fs; /* fs_sim's, or one given by the test */
    struct fs_sim *sim;
    struct harness_clock clock;
    struct harness_rng rng;
    struct logger logger;
    struct env env;
    struct loop loop;
    struct loop_task *tasks;
    struct loop_task **tasks_end;
    struct loop_job **jobs;
    size_t job_count;
    size_t job_capacity;
    const char *dir_path;
    struct log_dir *dir;
    struct file_cache files;
    struct sync_group *group;
    struct partition_log *log;
    struct log_settings settings;
    struct partition_log_id id;
    struct option_problem problem;
    unsigned synced_calls;
    unsigned failed_calls;
};

/* `sim` is borrowed; NULL with `fs` given. */
void harness_init(struct harness *harness, struct fs_sim *sim, struct fs *fs, const char *dir_path);
void harness_done(struct harness *harness);

/* Opens (and forms) the directory, and starts a worker's things. */
enum err harness_start(struct harness *harness);
enum err harness_create(struct harness *harness);
enum err harness_open(struct harness *harness);
/* Runs everything that is queued, and what that queues. */
void harness_pump(struct harness *harness);
/* Runs one round of queued tasks and jobs; false when there was none. */
bool harness_pump_once(struct harness *harness);
enum err harness_delete_log(struct harness *harness);
/* Closes the log (returns what close said), the directory and the worker's things. */
enum err harness_close_log(struct harness *harness);
enum err harness_stop(struct harness *harness, bool is_orderly);

/* The machine or process dies: nothing of it reaches the disk any more, then the disk is what `mode` leaves. */
void harness_crash(struct harness *harness, enum fs_sim_crash_mode mode, uint64_t seed);

enum err harness_begin_epoch(struct harness *harness, int32_t epoch);
enum err harness_truncate_to(struct harness *harness, int64_t offset);
enum err harness_truncate_fully(struct harness *harness, int64_t offset);
enum err harness_delete_records(struct harness *harness, int64_t offset);

struct batch_wish {
    int32_t record_count;
    size_t value_bytes;
    int64_t timestamp_ms;
    int64_t producer_id; /* 0: none (the harness's producers begin at 1) */
    int16_t producer_epoch;
    int32_t base_sequence;
    bool is_transactional;
    bool is_commit; /* a marker */
    bool is_abort;
    enum batch_codec codec;
    int64_t base_offset; /* for followers */
    int32_t leader_epoch;
    uint64_t content; /* goes into the value */
};

/* Appends a batch to `bytes`. */
void harness_build(const struct batch_wish *wish, struct bytebuf *bytes);
/* Builds and appends as leader of `wish->leader_epoch`. */
enum err harness_append(struct harness *harness, const struct batch_wish *wish, struct append_result *ret_result);
enum err harness_append_plain(struct harness *harness, int32_t epoch, int32_t record_count, uint64_t content);

#endif
