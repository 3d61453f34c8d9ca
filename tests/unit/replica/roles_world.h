/* roles_world: broker 1 of three, with one partition on a real log, its roles given by images as the controller makes them: what the
 * tests of a partition's roles share.
 *
 * Shape:     world_lead, world_follow commit a leader, a later epoch and an ISR; what the streams and the proposer would be told is noted.
 * Ownership: world_set_up makes everything, world_tear_down ends it.
 * Threads:   one; world_await runs the loop until a condition holds, or ends the test.
 */
#ifndef TESTS_UNIT_REPLICA_ROLES_WORLD_H
#define TESTS_UNIT_REPLICA_ROLES_WORLD_H

#include "broker/broker_options.h"
#include "broker/replica/log_dirs.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/posix/posix_env.h"
#include "tests/unit/controller/image_support.h"

#define WORLD_SELF 1
#define WORLD_DEADLINE_US 60000000u

struct world_cursor {
    struct replica_cursor cursor;
    unsigned news_count;
    unsigned ended_count;
    enum error_code error;
};

struct roles_world;
typedef bool (*world_condition_fn)(struct roles_world *world);

struct roles_world {
    struct posix_env *posix;
    struct worker worker;
    struct log_dirs dirs;
    struct broker_options options;
    struct place_claims *places;
    struct partition_set *set;
    struct state meta;
    struct uuid topic_id;
    bool is_topic_old; /* it was there before this process */
    struct loop_timer deadline;
    struct loop_task wake;
    world_condition_fn condition; /* looked at behind every step */
    bool is_true;
    char dir_path[64];
    bool is_stopped;
    struct world_cursor cursors[2];
    /* what the streams were told */
    unsigned follow_count, unfollow_count, counted_count;
    int32_t follow_epoch; /* of the last on_follow */
    /* the last batch of proposals that is not answered */
    struct isr_batch *batch;
    unsigned batch_count;
};

struct world_append {
    struct partition_append append;
    struct bytebuf bytes;
    bool is_done;
};

struct world_done {
    bool is_done;
    enum err err;
};

int world_set_up(void **state);
/* A checkpoint of an earlier process has the row of the topic's partition, whose directory is gone. */
int world_set_up_with(void **state, const struct log_checkpoint_row *row);
int world_tear_down(void **state);

/* The topic with its partition, brokers 1 to 3: leader_id leads epoch 0, all are in the ISR. */
void world_create(struct roles_world *world, int32_t leader_id);
/* Commits the leader (the epoch moves when it is another one, or is_later) and the ISR, ids ended by 0, and delivers it. */
void world_change(struct roles_world *world, int32_t leader_id, bool is_later, const int32_t *isr);
/* Delivers what was committed. */
void world_deliver(struct roles_world *world, const struct image *before);
/* Broker `id` registers again: a new broker epoch, alive. */
void world_register(struct roles_world *world, int32_t id);
int64_t world_broker_epoch(struct roles_world *world, int32_t id);

struct partition *world_partition(struct roles_world *world);
void world_await(struct roles_world *world, world_condition_fn condition);
void world_await_flag(struct roles_world *world, const bool *flag);
bool world_is_leader(struct roles_world *world);
bool world_is_follower(struct roles_world *world);
bool world_has_batch(struct roles_world *world);
/* Everything that the follower has appended is counted and told. */
bool world_is_counted(struct roles_world *world);

/* As a leader's stream brings it: record_count records at `offset`. */
enum err world_receive(struct roles_world *world, int32_t epoch, int64_t offset, int32_t record_count,
                       int64_t high_watermark) MUST_USE;
void world_append(struct roles_world *world, struct world_append *one, enum append_acks acks);
void world_append_done(struct world_append *one);
enum error_code world_subscribe(struct roles_world *world, int32_t broker_id, int64_t end_offset, int32_t last_epoch,
                                struct world_cursor *cursor, struct replica_position *ret_position);
void world_cut_done(void *ctx, enum err err);
void world_answer(struct roles_world *world, int16_t code);

#endif
