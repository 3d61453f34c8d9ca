#include "tests/unit/replica/roles_world.h"

#include "broker/replica/place_claims.h"
#include "broker/storage/remove_tree.h"
#include "common/mem.h"
#include "common/seam/clock.h"
#include "tests/unit/storage/log_harness.h"

#include <stdlib.h>

#define TOPIC "t"

/* One worker has everything. */
struct worker *worker_of_partition(struct broker *broker, struct uuid topic_id, int32_t partition_index)
{
    (void)topic_id;
    (void)partition_index;
    return (struct worker *)broker; /* the world's only one: see world_set_up */
}

/* ---- what the set tells ---- */

static void on_set_event(void *ctx, struct worker *worker)
{
    (void)ctx;
    (void)worker;
}

static void on_applied(void *ctx, struct worker *worker, int64_t offset)
{
    (void)ctx;
    (void)worker;
    (void)offset;
}

static void on_stopped(void *ctx, struct worker *worker)
{
    struct roles_world *world = ctx;
    (void)worker;
    world->is_stopped = true;
}

static void on_dir_failed(void *ctx, struct worker *worker, struct log_dir *dir)
{
    (void)ctx;
    (void)worker;
    (void)dir;
    CHECK(false && "no disk fails here");
}

static void on_propose(void *ctx, struct worker *worker, struct isr_batch *batch)
{
    struct roles_world *world = ctx;
    (void)worker;
    assert_null(world->batch); /* one partition: one proposal at a time */
    world->batch = batch;
    world->batch_count++;
}

static void on_follow(void *ctx, struct partition *partition)
{
    struct roles_world *world = ctx;
    assert_true(partition->leader_id > 0);
    world->follow_count++;
    world->follow_epoch = partition->leader_epoch;
}

static void on_unfollow(void *ctx, struct partition *partition)
{
    struct roles_world *world = ctx;
    (void)partition;
    world->unfollow_count++;
}

static void on_counted(void *ctx, struct partition *partition)
{
    struct roles_world *world = ctx;
    (void)partition;
    world->counted_count++;
}

/* ---- life ---- */

static void too_late(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "the test did not come to its end in time");
}

static void step(void *ctx)
{
    struct roles_world *world = ctx;
    partition_set_step(world->set);
    world->is_true = world->condition != NULL && world->condition(world);
}

/* The directory as an earlier process left it: a set of checkpoint files with one row, and nothing else. */
static void leave_row(struct roles_world *world, const struct log_checkpoint_row *row)
{
    struct option_problem problem;
    struct log_checkpoint *checkpoint = log_checkpoint_new(world->dirs.dirs[0]);
    log_checkpoint_add(checkpoint, TOPIC, 0, row);
    assert_int_equal(log_checkpoint_write(checkpoint), ERR_OK);
    log_checkpoint_free(checkpoint);
    log_dir_close(world->dirs.dirs[0]);
    assert_int_equal(log_dir_open(&world->posix->env, world->dir_path, &world->dirs.dirs[0], &problem), ERR_OK);
    world->is_topic_old = true;
}

int world_set_up(void **state)
{
    return world_set_up_with(state, NULL);
}

int world_set_up_with(void **state, const struct log_checkpoint_row *row)
{
    struct roles_world *world = MEM_NEW(struct roles_world);
    struct option_problem problem;
    struct uuid directory_id = id_of(WORLD_SELF * 16 + 1); /* as state_add_broker registers it */
    const char *base = getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR");
    (void)snprintf(world->dir_path, sizeof(world->dir_path), "%s/moldau-roles-XXXXXX", base);
    assert_non_null(mkdtemp(world->dir_path));
    world->posix = posix_env_new(LOG_ERROR);
    struct env *env = &world->posix->env;
    assert_int_equal(runtime_loop_new(env->runtime, "test", &world->worker.loop), ERR_OK);
    world->deadline.fire = too_late;
    loop_timer_set(world->worker.loop, &world->deadline, loop_now_us(world->worker.loop) + WORLD_DEADLINE_US);
    assert_int_equal(log_dir_open(env, world->dir_path, &world->dirs.dirs[0], &problem), ERR_OK);
    world->dirs.dir_count = 1;
    assert_int_equal(log_dir_form(world->dirs.dirs[0], "c", WORLD_SELF, &directory_id, &problem), ERR_OK);
    if (row != NULL) {
        leave_row(world, row);
    }
    world->places = place_claims_new(world->worker.loop);
    broker_options_init(&world->options);
    world->options.min_insync_replicas = 2;
    world->options.replica_lag_time_max_ms = 200;
    struct partition_set_options options = {
        .broker_id = WORLD_SELF,
        .defaults = &world->options,
        .files_max = 16,
        .places = world->places,
        .on_applied = on_applied,
        .on_stopped = on_stopped,
        .on_dir_failed = on_dir_failed,
        .on_checkpoint_due = on_set_event,
        .propose = on_propose,
        .ctx = world,
        .follow = {.ctx = world, .on_follow = on_follow, .on_unfollow = on_unfollow, .on_counted = on_counted},
    };
    world->worker.broker = (struct broker *)&world->worker;
    world->set = partition_set_new(&world->worker, env, &world->dirs, &options);
    loop_set_step(world->worker.loop, step, world);
    state_init(&world->meta);
    for (int32_t id = 1; id <= 3; id++) {
        state_add_broker(&world->meta, id, NULL, 1);
    }
    *state = world;
    return 0;
}

/* Two levels: the log directory and its partitions. */
static void remove_dirs(struct fs *fs, const char *path)
{
    struct name_list names;
    assert_int_equal(name_list_read(fs, path, &names), ERR_OK);
    for (size_t i = 0; i < names.count; i++) {
        char *inner = mem_format("%s/%s", path, names.names[i]);
        (void)!remove_tree(fs, inner); /* a file goes with the rest */
        mem_free(inner);
    }
    name_list_done(&names);
    assert_int_equal(remove_tree(fs, path), ERR_OK);
}

int world_tear_down(void **state)
{
    struct roles_world *world = *state;
    partition_set_stop(world->set);
    world_await_flag(world, &world->is_stopped);
    isr_batch_free(world->batch);
    loop_timer_cancel(world->worker.loop, &world->deadline);
    partition_set_free(world->set);
    place_claims_free(world->places);
    broker_options_done(&world->options);
    state_done(&world->meta);
    log_dir_close(world->dirs.dirs[0]);
    runtime_loop_free(world->posix->env.runtime, world->worker.loop);
    remove_dirs(world->posix->env.fs, world->dir_path);
    posix_env_free(world->posix);
    mem_free(world);
    return 0;
}

/* ---- waiting ---- */

static void no_task(struct loop_task *task)
{
    (void)task;
}

void world_await(struct roles_world *world, world_condition_fn condition)
{
    world->condition = condition;
    world->is_true = false;
    world_await_flag(world, &world->is_true);
    world->condition = NULL;
}

void world_await_flag(struct roles_world *world, const bool *flag)
{
    world->wake.run = no_task;
    loop_defer(world->worker.loop, &world->wake);
    while (!*flag) {
        posix_loop_run_until(world->worker.loop, flag);
    }
}

struct partition *world_partition(struct roles_world *world)
{
    return partition_set_find(world->set, world->topic_id, 0);
}

bool world_is_leader(struct roles_world *world)
{
    const struct partition *partition = world_partition(world);
    return partition != NULL && partition_is_leading(partition);
}

bool world_is_follower(struct roles_world *world)
{
    const struct partition *partition = world_partition(world);
    return partition != NULL && partition->state == PARTITION_FOLLOWER && !partition->is_busy;
}

bool world_has_batch(struct roles_world *world)
{
    return world->batch != NULL;
}

bool world_is_counted(struct roles_world *world)
{
    const struct partition *partition = world_partition(world);
    return partition->told_counted_end == partition_log_end_offset(partition->log);
}

/* ---- metadata ---- */

void world_deliver(struct roles_world *world, const struct image *before)
{
    struct image_delta *delta = image_delta_new(before, world->meta.image);
    world->worker.image = world->meta.image;
    partition_set_apply(world->set, world->meta.image, delta);
    image_delta_free(delta);
}

void world_create(struct roles_world *world, int32_t leader_id)
{
    int32_t replicas[] = {1, 2, 3};
    struct uuid directories[] = {id_of(17), id_of(33), id_of(49)};
    struct image_partition partition = {.leader_id = leader_id,
                                        .replica_count = 3,
                                        .isr_count = 3,
                                        .replicas = replicas,
                                        .directories = directories,
                                        .isr = replicas};
    const struct image *before = image_ref(world->meta.image);
    world->topic_id = id_of(7);
    meta_add_topic(&world->meta.records, world->topic_id, span_text(TOPIC), false);
    meta_add_partition(&world->meta.records, world->topic_id, &partition);
    state_commit(&world->meta);
    assert_true(world->meta.is_applied);
    world_deliver(world, world->is_topic_old ? NULL : before);
    image_unref(before);
}

void world_change(struct roles_world *world, int32_t leader_id, bool is_later, const int32_t *isr)
{
    const struct image *before = image_ref(world->meta.image);
    const struct image_partition *metadata = image_find_partition(image_find_topic_id(before, world->topic_id), 0);
    struct image_partition after = *metadata;
    after.leader_id = leader_id;
    after.leader_epoch += leader_id != metadata->leader_id || is_later;
    after.isr = isr;
    for (after.isr_count = 0; isr[after.isr_count] != 0; after.isr_count++) {
    }
    meta_add_partition_change(&world->meta.records, world->topic_id, metadata, &after);
    state_commit(&world->meta);
    assert_true(world->meta.is_applied);
    world_deliver(world, before);
    image_unref(before);
}

int64_t world_broker_epoch(struct roles_world *world, int32_t id)
{
    return image_find_broker(world->meta.image, id)->epoch;
}

void world_register(struct roles_world *world, int32_t id)
{
    const struct image *before = image_ref(world->meta.image);
    const struct image_broker *known = image_find_broker(before, id);
    struct image_broker fields = *known;
    fields.epoch = 0; /* given by the place in the log */
    fields.incarnation_id = id_of((uint32_t)(known->epoch + 5000));
    meta_add_broker(&world->meta.records, &fields, known->epoch);
    state_commit(&world->meta);
    assert_true(world->meta.is_applied);
    image_unref(before);
}

/* ---- records ---- */

static void build(struct roles_world *world, int64_t offset, int32_t epoch, int32_t record_count,
                  struct bytebuf *ret_bytes)
{
    struct batch_wish wish = {.record_count = record_count,
                              .value_bytes = 100,
                              .timestamp_ms = clock_wall_ms(world->posix->env.clock),
                              .base_offset = offset,
                              .leader_epoch = epoch};
    bytebuf_init(ret_bytes, 1u << 20);
    harness_build(&wish, ret_bytes);
}

enum err world_receive(struct roles_world *world, int32_t epoch, int64_t offset, int32_t record_count,
                       int64_t high_watermark)
{
    struct bytebuf bytes;
    build(world, offset, epoch, record_count, &bytes);
    enum err err = partition_append_replicated(world_partition(world), epoch, bytebuf_span(&bytes), high_watermark, 0);
    bytebuf_done(&bytes);
    return err;
}

static void on_append_done(struct partition_append *append)
{
    struct world_append *one = CONTAINER_OF(append, struct world_append, append);
    assert_false(one->is_done);
    one->is_done = true;
}

void world_append(struct roles_world *world, struct world_append *one, enum append_acks acks)
{
    *one = (struct world_append){0};
    build(world, 0, -1, 3, &one->bytes);
    one->append = (struct partition_append){.batch = one->bytes.data,
                                            .batch_bytes = one->bytes.bytes,
                                            .acks = acks,
                                            .timeout_us = WORLD_DEADLINE_US,
                                            .done = on_append_done};
    partition_append(world_partition(world), &one->append);
}

void world_append_done(struct world_append *one)
{
    bytebuf_done(&one->bytes);
}

/* ---- streams ---- */

static void on_news(struct replica_cursor *cursor)
{
    CONTAINER_OF(cursor, struct world_cursor, cursor)->news_count++;
}

static void on_ended(struct replica_cursor *cursor, enum error_code error)
{
    struct world_cursor *own = CONTAINER_OF(cursor, struct world_cursor, cursor);
    own->ended_count++;
    own->error = error;
}

enum error_code world_subscribe(struct roles_world *world, int32_t broker_id, int64_t end_offset, int32_t last_epoch,
                                struct world_cursor *cursor, struct replica_position *ret_position)
{
    *cursor = (struct world_cursor){.cursor = {.broker_id = broker_id,
                                               .broker_epoch = world_broker_epoch(world, broker_id),
                                               .on_news = on_news,
                                               .on_ended = on_ended}};
    struct replica_subscription subscription = {.leader_epoch = world_partition(world)->wanted_leader_epoch,
                                                .end_offset = end_offset,
                                                .last_epoch = last_epoch,
                                                .directory_id = id_of((uint32_t)broker_id * 16 + 1)};
    partition_subscribe(world_partition(world), &subscription, &cursor->cursor, ret_position);
    return ret_position->error;
}

void world_cut_done(void *ctx, enum err err)
{
    struct world_done *done = ctx;
    assert_false(done->is_done);
    done->is_done = true;
    done->err = err;
}

void world_answer(struct roles_world *world, int16_t code)
{
    struct isr_batch *batch = world->batch;
    world->batch = NULL;
    assert_non_null(batch);
    for (uint32_t i = 0; i < batch->change_count; i++) {
        batch->changes[i].code = code;
    }
    batch->answered(batch);
}
