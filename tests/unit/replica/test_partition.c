/* One partition on a real log: when an append is answered, and with what; who is woken. The metadata is the test's.
 */
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/storage/remove_tree.h"
#include "broker/worker.h"
#include "common/mem.h"
#include "common/posix/posix_env.h"
#include "common/seam/clock.h"
#include "tests/unit/storage/log_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DEADLINE_US 60000000u
#define EPOCH 3
#define TIMEOUT_US 50000u

struct world {
    struct posix_env *posix;
    struct worker worker;
    struct log_dirs dirs;
    struct partition_set *set;
    struct partition partition;
    struct loop_timer deadline;
    struct loop_task wake;
    char dir_path[64];
    bool is_done;
};

struct one_append {
    struct partition_append append;
    struct world *world;
    struct bytebuf bytes;
    bool is_done;
};

struct one_waiter {
    struct partition_waiter waiter;
    unsigned woken_count;
};

/* The set asks this only for changes of the metadata, of which there are none here. */
struct worker *worker_of_partition(struct broker *broker, struct uuid topic_id, int32_t partition_index)
{
    (void)broker;
    (void)topic_id;
    (void)partition_index;
    return NULL;
}

static void too_late(struct loop_timer *timer)
{
    (void)timer;
    CHECK(false && "the test did not come to its end in time");
}

static void step(void *ctx)
{
    struct world *world = ctx;
    partition_set_step(world->set);
}

static void on_set_event(void *ctx, struct worker *worker)
{
    (void)ctx;
    (void)worker;
}

static void no_task(struct loop_task *task)
{
    (void)task;
}

static void await(struct world *world, bool *is_done)
{
    world->wake.run = no_task;
    loop_defer(world->worker.loop, &world->wake); /* what was queued from outside needs an iteration for its step */
    while (!*is_done) {
        posix_loop_run_until(world->worker.loop, is_done);
    }
}

static void on_log_done(void *ctx, enum err err)
{
    struct world *world = ctx;
    assert_int_equal(err, ERR_OK);
    world->is_done = true;
}

static void begin_epoch(struct world *world, int32_t epoch)
{
    world->is_done = false;
    partition_log_begin_epoch(world->partition.log, epoch, on_log_done, world);
    await(world, &world->is_done);
    world->partition.wanted_leader_epoch = epoch;
    partition_set_leader_epoch(&world->partition, epoch);
}

/* The ISR as the metadata has it: this broker (1), and the first of its followers (2, 3). */
static void set_isr(struct world *world, int32_t replica_count, int32_t isr_count)
{
    struct replica_member members[2];
    struct partition *partition = &world->partition;
    for (int32_t i = 0; i < replica_count - 1; i++) {
        members[i] = (struct replica_member){
            .broker_id = 2 + i, .broker_epoch = 10, .is_alive = true, .is_in_isr = i < isr_count - 1};
    }
    partition->replica_count = replica_count;
    partition->isr_count = isr_count;
    partition->partition_epoch++;
    replica_progress_set_members(&partition->progress, members, (uint32_t)replica_count - 1, partition->partition_epoch,
                                 false, loop_now_us(world->worker.loop));
    partition_set_mark_dirty(world->set, partition);
}

static void acknowledge(struct world *world, int32_t broker_id, int64_t counted_end)
{
    replica_progress_log_end(&world->partition.progress, partition_log_end_offset(world->partition.log),
                             loop_now_us(world->worker.loop));
    assert_true(replica_progress_acknowledge(&world->partition.progress, broker_id, 10, counted_end,
                                             loop_now_us(world->worker.loop)));
    partition_set_mark_dirty(world->set, &world->partition);
}

static int set_up(void **state)
{
    struct world *world = MEM_NEW(struct world);
    struct option_problem problem;
    const char *base = getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR");
    (void)snprintf(world->dir_path, sizeof(world->dir_path), "%s/moldau-partition-XXXXXX", base);
    assert_non_null(mkdtemp(world->dir_path));
    world->posix = posix_env_new(LOG_ERROR);
    struct env *env = &world->posix->env;
    assert_int_equal(runtime_loop_new(env->runtime, "test", &world->worker.loop), ERR_OK);
    world->deadline.fire = too_late;
    loop_timer_set(world->worker.loop, &world->deadline, loop_now_us(world->worker.loop) + DEADLINE_US);
    assert_int_equal(log_dir_open(env, world->dir_path, &world->dirs.dirs[0], &problem), ERR_OK);
    world->dirs.dir_count = 1;
    assert_int_equal(log_dir_form(world->dirs.dirs[0], "c", 1, NULL, &problem), ERR_OK);
    struct partition_set_options options = {.broker_id = 1, .files_max = 16, .on_checkpoint_due = on_set_event};
    world->set = partition_set_new(&world->worker, env, &world->dirs, &options);
    loop_set_step(world->worker.loop, step, world);

    struct partition *partition = &world->partition;
    struct partition_log_id id = {.topic = "t", .topic_id = {{7}}};
    partition->set = world->set;
    partition->topic_name = mem_strdup("t");
    partition->leader_epoch = -1;
    partition->replica_count = 1;
    partition->isr_count = 1;
    partition->settings = (struct topic_settings){.log = LOG_SETTINGS_DEFAULT,
                                                  .policy = {.batch_bytes_max = 1u << 20,
                                                             .timestamp_before_ms_max = INT64_MAX,
                                                             .timestamp_after_ms_max = INT64_MAX},
                                                  .min_insync_replicas = 1};
    assert_int_equal(
        partition_log_create(world->dirs.dirs[0], &id, &partition->settings.log, &partition->log, &problem), ERR_OK);
    partition_log_attach(partition->log, world->worker.loop, &world->set->files, world->set->sync_groups[0], partition);
    partition->is_leader_wanted = true;
    begin_epoch(world, EPOCH);
    partition_set_state(partition, PARTITION_LEADER);
    partition_lead_begin(partition);
    set_isr(world, 1, 1);
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

static int tear_down(void **state)
{
    struct world *world = *state;
    if (world->partition.state != PARTITION_CLOSING) {
        partition_set_state(&world->partition, PARTITION_CLOSING);
    }
    world->is_done = false;
    partition_log_close(world->partition.log, on_log_done, world);
    await(world, &world->is_done);
    loop_timer_cancel(world->worker.loop, &world->deadline);
    mem_free(world->partition.topic_name);
    partition_set_stop_watching(world->set);
    partition_set_free(world->set);
    log_dir_close(world->dirs.dirs[0]);
    runtime_loop_free(world->posix->env.runtime, world->worker.loop);
    remove_dirs(world->posix->env.fs, world->dir_path);
    posix_env_free(world->posix);
    mem_free(world);
    return 0;
}

static void on_append_done(struct partition_append *append)
{
    struct one_append *one = CONTAINER_OF(append, struct one_append, append);
    assert_false(one->is_done); /* exactly once */
    one->is_done = true;
}

/* producer_id 0: a producer without idempotence. */
static void append(struct world *world, struct one_append *one, enum append_acks acks, int64_t producer_id,
                   int32_t sequence)
{
    struct batch_wish wish = {.record_count = 3,
                              .value_bytes = 100,
                              .timestamp_ms = clock_wall_ms(world->posix->env.clock),
                              .producer_id = producer_id,
                              .base_sequence = sequence};
    *one = (struct one_append){.world = world};
    bytebuf_init(&one->bytes, 1u << 20);
    harness_build(&wish, &one->bytes);
    one->append = (struct partition_append){.batch = one->bytes.data,
                                            .batch_bytes = one->bytes.bytes,
                                            .acks = acks,
                                            .timeout_us = TIMEOUT_US * 100,
                                            .done = on_append_done};
}

static void put(struct world *world, struct one_append *one)
{
    partition_append(&world->partition, &one->append);
}

static void drop(struct one_append *one)
{
    bytebuf_done(&one->bytes);
}

static void wake(struct partition_waiter *waiter)
{
    CONTAINER_OF(waiter, struct one_waiter, waiter)->woken_count++;
}

/* acks=all on durability=synced: not before the disk has it, and readers are woken with it. */
static void acks_all_waits_for_the_disk(void **state)
{
    struct world *world = *state;
    struct one_append one;
    struct one_waiter reader = {.waiter.wake = wake};
    partition_wait(&world->partition, &reader.waiter);
    append(world, &one, APPEND_ACKS_ALL, 0, 0);
    put(world, &one);
    assert_false(one.is_done);
    assert_int_equal(partition_read_end(&world->partition, false), 0);
    await(world, &one.is_done);
    assert_int_equal(one.append.error, ERROR_NONE);
    assert_int_equal(one.append.base_offset, 0);
    assert_int_equal(partition_log_synced_end(world->partition.log), 3);
    assert_int_equal(partition_read_end(&world->partition, false), 3);
    assert_int_equal(reader.woken_count, 1);
    drop(&one);
}

static void acks_none_ends_at_once_and_acks_leader_with_the_disk(void **state)
{
    struct world *world = *state;
    struct one_append none;
    struct one_append leader;
    append(world, &none, APPEND_ACKS_NONE, 0, 0);
    put(world, &none);
    assert_true(none.is_done);
    assert_int_equal(none.append.error, ERROR_NONE);
    append(world, &leader, APPEND_ACKS_LEADER, 0, 0);
    put(world, &leader);
    assert_false(leader.is_done);
    await(world, &leader.is_done);
    assert_int_equal(leader.append.error, ERROR_NONE);
    assert_int_equal(leader.append.base_offset, 3);
    drop(&none);
    drop(&leader);
}

/* Too few in sync before: refused without a trace. After: unanswered until the time is over, and the offset is told. */
static void too_few_in_sync(void **state)
{
    struct world *world = *state;
    struct one_append refused;
    struct one_append late;
    world->partition.settings.min_insync_replicas = 2;
    set_isr(world, 2, 1);
    append(world, &refused, APPEND_ACKS_ALL, 0, 0);
    put(world, &refused);
    assert_true(refused.is_done);
    assert_int_equal(refused.append.error, ERROR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(partition_log_end_offset(world->partition.log), 0);
    set_isr(world, 2, 2);
    append(world, &late, APPEND_ACKS_ALL, 0, 0);
    late.append.timeout_us = TIMEOUT_US;
    put(world, &late);
    set_isr(world, 2, 1);
    acknowledge(world, 2, 3);
    await(world, &late.is_done);
    assert_int_equal(late.append.error, ERROR_REQUEST_TIMED_OUT);
    assert_int_equal(late.append.base_offset, 0);
    assert_int_equal(partition_read_end(&world->partition, false), 0); /* not while the ISR is too small */
    drop(&refused);
    drop(&late);
}

/* Puts a batch of producer 5 that no other replica is waited for, or that is refused. */
static enum error_code put_at_once(struct world *world, enum append_acks acks, int32_t sequence)
{
    struct one_append one;
    append(world, &one, acks, 5, sequence);
    put(world, &one);
    assert_true(one.is_done);
    drop(&one);
    return one.append.error;
}

/* Batches are sent without waiting; the first is refused, and the reason is gone when the next comes. */
static void what_comes_behind_a_refused_batch_waits_for_it(void **state)
{
    struct world *world = *state;
    world->partition.settings.min_insync_replicas = 2;
    set_isr(world, 2, 1);
    assert_int_equal(put_at_once(world, APPEND_ACKS_ALL, 0), ERROR_NOT_ENOUGH_REPLICAS);
    set_isr(world, 2, 2);
    /* The log does not know the producer: it would take any sequence. */
    assert_int_equal(put_at_once(world, APPEND_ACKS_ALL, 3), ERROR_NOT_ENOUGH_REPLICAS);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 0), ERROR_NONE);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 3), ERROR_NONE);
    /* A new leader refuses one batch before it leads, and gets the next one when it does: never "out of order". */
    world->partition.is_leader_wanted = false;
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 6), ERROR_NOT_LEADER_OR_FOLLOWER);
    world->partition.is_leader_wanted = true;
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 9), ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 6), ERROR_NONE);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 9), ERROR_NONE);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 15), ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(partition_log_end_offset(world->partition.log), 12);
    refused_batches_done(&world->partition.refused);
}

/* The batch before it is on its way back from the former leader, which refused it: that is no gap yet. */
static void a_gap_behind_a_change_of_leaders_waits(void **state)
{
    struct world *world = *state;
    world->partition.took_over_us = loop_now_us(world->worker.loop);
    /* The log does not know the producer: it would take any sequence. */
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 3), ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 0), ERROR_NONE);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 6), ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 3), ERROR_NONE);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 6), ERROR_NONE);
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 1), ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER); /* no gap */
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 12), ERROR_NOT_LEADER_OR_FOLLOWER);
    world->partition.took_over_us -= PARTITION_NEW_LEADER_US;
    assert_int_equal(put_at_once(world, APPEND_ACKS_NONE, 12), ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(partition_log_end_offset(world->partition.log), 9);
    refused_batches_done(&world->partition.refused);
}

/* acks=all waits for every member of the ISR; readers see nothing before. */
static void acks_all_waits_for_the_isr(void **state)
{
    struct world *world = *state;
    struct one_append all;
    struct one_append leader;
    set_isr(world, 3, 3);
    append(world, &all, APPEND_ACKS_ALL, 0, 0);
    append(world, &leader, APPEND_ACKS_LEADER, 0, 0);
    put(world, &all);
    put(world, &leader);
    await(world, &leader.is_done); /* the own disk has both */
    acknowledge(world, 2, 6);
    acknowledge(world, 3, 2);
    partition_set_step(world->set);
    assert_false(all.is_done);
    assert_int_equal(partition_read_end(&world->partition, false), 2);
    acknowledge(world, 3, 3);
    partition_set_step(world->set);
    assert_true(all.is_done);
    assert_int_equal(all.append.error, ERROR_NONE);
    assert_int_equal(partition_read_end(&world->partition, false), 3);
    drop(&all);
    drop(&leader);
}

/* The ISR shrank while it waited, and the minimum was raised: committed, but by fewer than asked for (trap 6). */
static void too_few_in_sync_at_the_end(void **state)
{
    struct world *world = *state;
    struct one_append one;
    set_isr(world, 3, 2);
    append(world, &one, APPEND_ACKS_ALL, 0, 0);
    put(world, &one);
    world->partition.high_watermark = 3; /* moved in the very step in which the metadata comes */
    world->partition.settings.min_insync_replicas = 3;
    await(world, &one.is_done);
    assert_int_equal(one.append.error, ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    assert_int_equal(one.append.base_offset, 0);
    drop(&one);
}

/* An acknowledgement belongs to the epoch of its append, whatever the next epoch finds on the disk (trap 6). */
static void later_epoch_ends_what_waits(void **state)
{
    struct world *world = *state;
    struct one_append one;
    struct one_waiter reader = {.waiter.wake = wake};
    append(world, &one, APPEND_ACKS_ALL, 0, 0);
    put(world, &one);
    partition_wait(&world->partition, &reader.waiter);
    world->partition.wanted_leader_epoch = EPOCH + 1;
    partition_set_leader_epoch(&world->partition, EPOCH + 1);
    assert_true(one.is_done);
    assert_int_equal(one.append.error, ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(reader.woken_count, 1);
    assert_int_equal(partition_check_leader(&world->partition, EPOCH), ERROR_FENCED_LEADER_EPOCH);
    assert_int_equal(partition_check_leader(&world->partition, EPOCH + 2), ERROR_UNKNOWN_LEADER_EPOCH);
    assert_int_equal(partition_check_leader(&world->partition, -1), ERROR_NONE);
    drop(&one);
}

/* Sent twice, in flight at the same time: one place in the log, one offset, and both wait for the disk (trap 11). */
static void duplicate_waits_like_its_original(void **state)
{
    struct world *world = *state;
    struct one_append first;
    struct one_append again;
    struct one_append gap;
    append(world, &first, APPEND_ACKS_ALL, 42, 0);
    append(world, &again, APPEND_ACKS_ALL, 42, 0);
    append(world, &gap, APPEND_ACKS_ALL, 42, 7);
    put(world, &first);
    put(world, &again);
    put(world, &gap);
    assert_false(first.is_done || again.is_done);
    assert_true(gap.is_done);
    assert_int_equal(gap.append.error, ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    await(world, &again.is_done);
    assert_true(first.is_done);
    assert_int_equal(again.append.error, ERROR_NONE);
    assert_int_equal(again.append.base_offset, first.append.base_offset);
    assert_int_equal(partition_log_end_offset(world->partition.log), 3);
    drop(&first);
    drop(&again);
    drop(&gap);
}

static void closing_answers_and_wakes(void **state)
{
    struct world *world = *state;
    struct one_append one;
    struct one_waiter reader = {.waiter.wake = wake};
    struct one_waiter gone = {.waiter.wake = wake};
    partition_wait(&world->partition, &reader.waiter);
    partition_wait(&world->partition, &gone.waiter);
    partition_wait_cancel(&world->partition, &gone.waiter);
    append(world, &one, APPEND_ACKS_ALL, 0, 0);
    put(world, &one);
    partition_set_state(&world->partition, PARTITION_CLOSING);
    assert_true(one.is_done);
    assert_int_equal(one.append.error, ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(reader.woken_count, 1);
    assert_int_equal(gone.woken_count, 0);
    assert_null(world->partition.read_waiters);
    drop(&one);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(acks_all_waits_for_the_disk),
        TEST(acks_none_ends_at_once_and_acks_leader_with_the_disk),
        TEST(too_few_in_sync),
        TEST(what_comes_behind_a_refused_batch_waits_for_it),
        TEST(a_gap_behind_a_change_of_leaders_waits),
        TEST(acks_all_waits_for_the_isr),
        TEST(too_few_in_sync_at_the_end),
        TEST(later_epoch_ends_what_waits),
        TEST(duplicate_waits_like_its_original),
        TEST(closing_answers_and_wakes),
    };
    return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
