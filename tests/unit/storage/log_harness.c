#include "tests/unit/storage/log_harness.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define HARNESS_FILES_MAX 16u

static uint64_t clock_mono(struct clock *clock)
{
    return CONTAINER_OF(clock, struct harness_clock, base)->mono_us;
}

static int64_t clock_wall(struct clock *clock)
{
    return CONTAINER_OF(clock, struct harness_clock, base)->wall_ms;
}

static const struct clock_ops harness_clock_ops = {.mono_us = clock_mono, .wall_ms = clock_wall};

static void rng_fill_prop(struct rng *rng, void *ret_bytes, size_t bytes)
{
    prop_fill(&CONTAINER_OF(rng, struct harness_rng, base)->prop, ret_bytes, bytes);
}

static const struct rng_ops harness_rng_ops = {.fill = rng_fill_prop};

static void drop_line(void *ctx, enum log_level level, const char *line, size_t bytes)
{
    (void)ctx;
    (void)level;
    if (getenv("MOLDAU_TEST_LOG") != NULL) {
        printf("# %.*s", (int)bytes, line);
    }
}

static void print_call(void *ctx, const char *line)
{
    (void)ctx;
    printf("# %s\n", line);
}

static uint64_t loop_now(struct loop *loop)
{
    return CONTAINER_OF(loop, struct harness, loop)->clock.mono_us;
}

static void no_timer(struct loop *loop, struct loop_timer *timer, uint64_t deadline_us)
{
    (void)loop;
    (void)timer;
    (void)deadline_us;
    CHECK(false && "storage sets no timers");
}

static void no_cancel(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    (void)timer;
}

static void queue_task(struct loop *loop, struct loop_task *task)
{
    struct harness *harness = CONTAINER_OF(loop, struct harness, loop);
    task->next = NULL;
    *harness->tasks_end = task;
    harness->tasks_end = &task->next;
}

static void queue_job(struct loop *loop, struct loop_job *job)
{
    struct harness *harness = CONTAINER_OF(loop, struct harness, loop);
    if (harness->job_count == harness->job_capacity) {
        harness->job_capacity = harness->job_capacity * 2 + 4;
        harness->jobs = mem_grow(harness->jobs, harness->job_capacity, sizeof(struct loop_job *));
    }
    harness->jobs[harness->job_count++] = job;
}

static void no_step(struct loop *loop, loop_step_fn step, void *ctx)
{
    (void)loop;
    (void)step;
    (void)ctx;
}

static void no_stop(struct loop *loop)
{
    (void)loop;
}

static const struct loop_ops harness_loop_ops = {
    .now_us = loop_now,
    .timer_set = no_timer,
    .timer_cancel = no_cancel,
    .defer = queue_task,
    .post = queue_task,
    .submit = queue_job,
    .set_step = no_step,
    .stop = no_stop,
};

void harness_init(struct harness *harness, struct fs_sim *sim, struct fs *fs, const char *dir_path)
{
    *harness = (struct harness){.sim = sim, .fs = sim != NULL ? fs_sim_fs(sim) : fs};
    harness->dir_path = dir_path;
    harness->clock = (struct harness_clock){{&harness_clock_ops}, HARNESS_START_MS, 1000000};
    harness->rng.base.ops = &harness_rng_ops;
    prop_init_seed(&harness->rng.prop, 7);
    logger_init(&harness->logger, &harness->clock.base, LOG_ERROR, drop_line, NULL);
    harness->env = (struct env){
        .clock = &harness->clock.base, .rng = &harness->rng.base, .fs = harness->fs, .logger = &harness->logger};
    harness->loop.ops = &harness_loop_ops;
    harness->tasks_end = &harness->tasks;
    harness->settings = LOG_SETTINGS_DEFAULT;
    if (sim != NULL && getenv("MOLDAU_TEST_LOG") != NULL) {
        fs_sim_set_log(sim, print_call, NULL);
    }
    harness->id = (struct partition_log_id){HARNESS_TOPIC, 0, {{1, 2, 3, 4}}};
}

void harness_done(struct harness *harness)
{
    (void)harness_stop(harness, false);
    mem_free(harness->jobs);
}

static void on_synced(void *ctx, struct partition_log *log, void *owner)
{
    struct harness *harness = ctx;
    (void)log;
    CHECK(owner == harness);
    harness->synced_calls++;
}

static void on_failed(void *ctx, struct log_dir *dir, enum err err)
{
    struct harness *harness = ctx;
    (void)dir;
    (void)err;
    harness->failed_calls++;
}

enum err harness_start(struct harness *harness)
{
    struct sync_group_events events = {on_synced, on_failed, harness};
    int64_t broker_epoch = 0;
    enum err err = log_dir_open(&harness->env, harness->dir_path, &harness->dir, &harness->problem);
    if (err != ERR_OK) {
        harness->dir = NULL;
        return err;
    }
    file_cache_init(&harness->files, harness->fs, HARNESS_FILES_MAX);
    harness->group = sync_group_new(&harness->loop, harness->dir, &events);
    if (!log_dir_meta(harness->dir)->exists) {
        err = log_dir_form(harness->dir, "cluster", 1, NULL, &harness->problem);
    }
    if (err == ERR_OK) {
        err = log_dir_take_clean_mark(harness->dir, &broker_epoch);
    }
    return err;
}

static enum err attach(struct harness *harness, enum err err)
{
    if (err == ERR_OK) {
        partition_log_attach(harness->log, &harness->loop, &harness->files, harness->group, harness);
    } else {
        harness->log = NULL;
    }
    return err;
}

enum err harness_create(struct harness *harness)
{
    return attach(harness, partition_log_create(harness->dir, &harness->id, &harness->settings, &harness->log,
                                                &harness->problem));
}

enum err harness_open(struct harness *harness)
{
    return attach(harness,
                  partition_log_open(harness->dir, &harness->id, &harness->settings, &harness->log, &harness->problem));
}

bool harness_pump_once(struct harness *harness)
{
    struct loop_task *task = harness->tasks;
    size_t job_count = harness->job_count;
    struct loop_job **jobs = harness->jobs;
    bool was_busy = task != NULL || job_count > 0;
    harness->tasks = NULL;
    harness->tasks_end = &harness->tasks;
    harness->jobs = NULL;
    harness->job_count = 0;
    harness->job_capacity = 0;
    while (task != NULL) {
        struct loop_task *next = task->next;
        task->run(task);
        task = next;
    }
    for (size_t i = 0; i < job_count; i++) {
        jobs[i]->work(jobs[i]);
        jobs[i]->done(jobs[i]);
    }
    mem_free(jobs);
    if (harness->group != NULL) {
        sync_group_step(harness->group);
    }
    return was_busy || harness->job_count > 0 || harness->tasks != NULL;
}

void harness_pump(struct harness *harness)
{
    while (harness_pump_once(harness)) {
    }
}

struct answer {
    bool is_done;
    enum err err;
};

static void on_done(void *ctx, enum err err)
{
    struct answer *answer = ctx;
    CHECK(!answer->is_done);
    answer->is_done = true;
    answer->err = err;
}

static enum err await(struct harness *harness, const struct answer *answer)
{
    CHECK(!answer->is_done);
    harness_pump(harness);
    CHECK(answer->is_done);
    return answer->err;
}

enum err harness_close_log(struct harness *harness)
{
    struct answer answer = {false, ERR_OK};
    if (harness->log == NULL) {
        return ERR_OK;
    }
    partition_log_close(harness->log, on_done, &answer);
    harness->log = NULL;
    return await(harness, &answer);
}

enum err harness_delete_log(struct harness *harness)
{
    struct answer answer = {false, ERR_OK};
    partition_log_delete(harness->log, on_done, &answer);
    harness->log = NULL;
    return await(harness, &answer);
}

enum err harness_stop(struct harness *harness, bool is_orderly)
{
    if (harness->dir == NULL) {
        return ERR_OK;
    }
    struct log_checkpoint_row row = {0, 0, 0};
    bool had_log = harness->log != NULL;
    enum err err = ERR_OK;
    if (had_log) {
        harness_pump(harness);
        partition_log_checkpoint(harness->log, &row);
        err = harness_close_log(harness);
    }
    if (is_orderly && err == ERR_OK && had_log) {
        struct log_checkpoint *checkpoint = log_checkpoint_new(harness->dir);
        log_checkpoint_add(checkpoint, HARNESS_TOPIC, 0, &row);
        err = log_checkpoint_write(checkpoint);
        log_checkpoint_free(checkpoint);
    }
    if (is_orderly && err == ERR_OK) {
        err = log_dir_put_clean_mark(harness->dir, 5);
    }
    sync_group_free(harness->group);
    harness->group = NULL;
    file_cache_done(&harness->files);
    log_dir_close(harness->dir);
    harness->dir = NULL;
    return err;
}

void harness_crash(struct harness *harness, enum fs_sim_crash_mode mode, uint64_t seed)
{
    fs_sim_crash_at(harness->sim, fs_sim_call_count(harness->sim) + 1, FS_SIM_TEAR_NONE);
    (void)harness_stop(harness, false);
    fs_sim_crash(harness->sim, mode, seed);
}

enum err harness_begin_epoch(struct harness *harness, int32_t epoch)
{
    struct answer answer = {false, ERR_OK};
    partition_log_begin_epoch(harness->log, epoch, on_done, &answer);
    return await(harness, &answer);
}

enum err harness_truncate_to(struct harness *harness, int64_t offset)
{
    struct answer answer = {false, ERR_OK};
    partition_log_truncate_to(harness->log, offset, on_done, &answer);
    return await(harness, &answer);
}

enum err harness_truncate_fully(struct harness *harness, int64_t offset)
{
    struct answer answer = {false, ERR_OK};
    partition_log_truncate_fully(harness->log, offset, on_done, &answer);
    return await(harness, &answer);
}

enum err harness_delete_records(struct harness *harness, int64_t offset)
{
    struct answer answer = {false, ERR_OK};
    partition_log_delete_records(harness->log, offset, on_done, &answer);
    return await(harness, &answer);
}

static void build_records(const struct batch_wish *wish, struct bytebuf *bytes)
{
    struct batch_builder builder;
    struct batch_options options = BATCH_OPTIONS_DEFAULT;
    uint8_t *value = mem_zalloc(wish->value_bytes + sizeof(wish->content));
    options.base_offset = wish->base_offset;
    options.partition_leader_epoch = wish->leader_epoch;
    options.codec = wish->codec;
    options.is_transactional = wish->is_transactional;
    if (wish->producer_id > 0) {
        options.producer_id = wish->producer_id;
        options.producer_epoch = wish->producer_epoch;
        options.base_sequence = wish->base_sequence;
    }
    batch_builder_init(&builder, 16u << 20);
    batch_builder_begin(&builder, &options);
    for (int32_t i = 0; i < wish->record_count; i++) {
        memcpy(value, &wish->content, sizeof(wish->content));
        CHECK(batch_builder_add(&builder, wish->timestamp_ms + i, SPAN_NULL,
                                span_make(value, wish->value_bytes + sizeof(wish->content)), NULL, 0) == ERR_OK);
    }
    CHECK(batch_builder_finish(&builder, bytes) == ERR_OK);
    batch_builder_done(&builder);
    mem_free(value);
}

void harness_build(const struct batch_wish *wish, struct bytebuf *bytes)
{
    if (wish->is_commit || wish->is_abort) {
        struct control_marker marker = {wish->is_abort ? CONTROL_ABORT : CONTROL_COMMIT, 0};
        size_t start = bytes->bytes;
        CHECK(control_batch_build(marker, wish->producer_id, wish->producer_epoch, wish->timestamp_ms, bytes) ==
              ERR_OK);
        batch_stamp(bytes->data + start, wish->base_offset, wish->leader_epoch);
        return;
    }
    build_records(wish, bytes);
}

enum err harness_append(struct harness *harness, const struct batch_wish *wish, struct append_result *ret_result)
{
    struct batch_wish at_zero = *wish;
    struct bytebuf bytes;
    at_zero.base_offset = 0;
    bytebuf_init(&bytes, 16u << 20);
    harness_build(&at_zero, &bytes);
    struct append_request request = {.bytes = bytes.data,
                                     .byte_count = bytes.bytes,
                                     .leader_epoch = wish->leader_epoch,
                                     .timestamp_type = TIMESTAMP_CREATE,
                                     .is_client = !wish->is_commit && !wish->is_abort};
    enum err err = partition_log_append_as_leader(harness->log, &request, ret_result);
    bytebuf_done(&bytes);
    return err;
}

enum err harness_append_plain(struct harness *harness, int32_t epoch, int32_t record_count, uint64_t content)
{
    struct append_result result;
    struct batch_wish wish = {.record_count = record_count,
                              .value_bytes = 20,
                              .timestamp_ms = harness->clock.wall_ms,
                              .leader_epoch = epoch,
                              .content = content};
    enum err err = harness_append(harness, &wish, &result);
    CHECK(err != ERR_OK || result.refusal == APPEND_ACCEPTED);
    return err;
}
