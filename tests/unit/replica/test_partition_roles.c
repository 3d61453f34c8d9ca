/* A partition's roles: it leads, follows, is cut, and changes from one to the other as the metadata says, whatever is under way.
 */
#include "broker/replica/partition_open.h"
#include "tests/unit/replica/roles_world.h"

#include <cmocka.h>

#define EVERYBODY ((const int32_t[]){1, 2, 3, 0})
#define FIRST_TWO ((const int32_t[]){1, 2, 0})
#define ALONE ((const int32_t[]){1, 0})

static bool is_unanswered_long(struct roles_world *world)
{
    return world->batch_count >= 1;
}

/* What the leader of its epoch sends, at the log's end, undamaged, is appended; counted when it is on the disk; readers' end follows. */
static void follower_appends_and_counts(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    world_await(world, world_is_follower);
    assert_int_equal(world->follow_count, 1);
    assert_int_equal(world->follow_epoch, 0);
    struct partition *partition = world_partition(world);
    assert_int_equal(world_receive(world, 0, 0, 3, 2), ERR_OK);
    assert_int_equal(partition->high_watermark, 0); /* not beyond what is on the disk */
    world_await(world, world_is_counted);
    assert_int_equal(world->counted_count, 1);
    assert_int_equal(partition->high_watermark, 2);
    assert_int_equal(world_receive(world, 1, 3, 1, 3), ERR_STALE);
    assert_int_equal(world_receive(world, 0, 2, 1, 3), ERR_OUT_OF_RANGE);
    assert_int_equal(world_receive(world, 0, 5, 1, 3), ERR_OUT_OF_RANGE); /* a hole */
    assert_int_equal(partition_append_replicated(partition, 0, span_make("garbage", 7), 3, 0), ERR_MALFORMED);
    assert_int_equal(partition_append_replicated(partition, 0, SPAN_NULL, 3, 1), ERR_OK); /* marks alone */
    assert_int_equal(partition->high_watermark, 3);
    assert_int_equal(partition_log_end_offset(partition->log), 3);
    assert_int_equal(partition_check_leader(partition, -1), ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(partition_check_leader(partition, 1), ERROR_UNKNOWN_LEADER_EPOCH);
    struct world_append one;
    world_append(world, &one, APPEND_ACKS_LEADER);
    assert_true(one.is_done);
    assert_int_equal(one.append.error, ERROR_NOT_LEADER_OR_FOLLOWER);
    world_append_done(&one);
}

/* Bytes that were damaged on their way never get into the log. */
static void follower_refuses_damage(void **state)
{
    struct roles_world *world = *state;
    struct world_append good;
    world_create(world, 2);
    world_await(world, world_is_follower);
    struct partition *partition = world_partition(world);
    world_append(world, &good, APPEND_ACKS_NONE); /* refused: it is for the bytes */
    good.bytes.data[good.bytes.bytes - 1] ^= 1;
    assert_int_equal(partition_append_replicated(partition, 0, bytebuf_span(&good.bytes), 0, 0), ERR_CORRUPT);
    assert_int_equal(partition_log_end_offset(partition->log), 0);
    world_append_done(&good);
}

/* While it is cut nothing is appended; behind it the end, the high watermark and what is counted are those of the shorter log. */
static void follower_is_cut(void **state)
{
    struct roles_world *world = *state;
    struct world_done done = {0};
    world_create(world, 2);
    world_await(world, world_is_follower);
    struct partition *partition = world_partition(world);
    assert_int_equal(world_receive(world, 0, 0, 2, 0), ERR_OK);
    assert_int_equal(world_receive(world, 0, 2, 2, 4), ERR_OK);
    world_await(world, world_is_counted);
    partition_truncate(partition, 0, 2, false, world_cut_done, &done);
    assert_false(done.is_done);
    assert_int_equal(world_receive(world, 0, 4, 1, 4), ERR_BUSY);
    world_await_flag(world, &done.is_done);
    assert_int_equal(done.err, ERR_OK);
    assert_int_equal(partition_log_end_offset(partition->log), 2);
    assert_int_equal(partition->high_watermark, 2);
    assert_int_equal(world_receive(world, 0, 2, 1, 2), ERR_OK);
    done.is_done = false;
    partition_truncate(partition, 0, 50, true, world_cut_done, &done); /* begins anew, further on */
    world_await_flag(world, &done.is_done);
    assert_int_equal(partition_log_start_offset(partition->log), 50);
    assert_int_equal(world_receive(world, 0, 50, 1, 51), ERR_OK);
    int32_t epoch = 0;
    int64_t end_offset = 0;
    partition_epoch_end(partition, 7, &epoch, &end_offset);
    assert_int_equal(epoch, 0);
    assert_int_equal(end_offset, 51);
}

/* The epoch ends while the log is being cut: the stream hears that its truncation is of the past, then of the new leader. */
static void later_epoch_waits_for_the_cut(void **state)
{
    struct roles_world *world = *state;
    struct world_done done = {0};
    struct world_done refused = {0};
    world_create(world, 2);
    world_await(world, world_is_follower);
    assert_int_equal(world_receive(world, 0, 0, 2, 0), ERR_OK);
    partition_truncate(world_partition(world), 0, 0, false, world_cut_done, &done);
    world_change(world, 3, false, EVERYBODY);
    assert_int_equal(world->follow_count, 1);
    world_await_flag(world, &done.is_done);
    assert_int_equal(done.err, ERR_STALE);
    assert_int_equal(world->follow_count, 2);
    assert_int_equal(world->follow_epoch, 1);
    assert_int_equal(world->unfollow_count, 0);
    partition_truncate(world_partition(world), 0, 0, false, world_cut_done, &refused);
    world_await_flag(world, &refused.is_done);
    assert_int_equal(refused.err, ERR_STALE);
}

/* Nobody leads: it follows nobody, and begins again when somebody does. */
static void follows_nobody_while_nobody_leads(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    world_await(world, world_is_follower);
    world_change(world, IMAGE_NO_LEADER, false, FIRST_TWO);
    assert_int_equal(world->unfollow_count, 1);
    assert_int_equal(world_receive(world, 0, 0, 1, 0), ERR_STALE);
    world_change(world, 2, false, FIRST_TWO);
    assert_int_equal(world->follow_count, 2);
    assert_int_equal(world->follow_epoch, 2);
}

/* From follower to leader: nothing more is taken from the old one; acks=all waits for the ISR's acknowledgements in this epoch. */
static void follower_becomes_leader(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    struct world_cursor *third = &world->cursors[1];
    struct world_append one;
    world_create(world, 2);
    world_await(world, world_is_follower);
    assert_int_equal(world_receive(world, 0, 0, 2, 1), ERR_OK);
    world_await(world, world_is_counted);
    world_change(world, 1, false, FIRST_TWO);
    assert_int_equal(world->unfollow_count, 1);
    assert_int_equal(world_receive(world, 0, 2, 1, 3), ERR_STALE);
    world_await(world, world_is_leader);
    struct partition *partition = world_partition(world);
    assert_int_equal(partition->high_watermark, 1);
    assert_int_equal(partition_log_epoch_start_offset(partition->log, 1), 2); /* begun in the log (trap 1) */
    world_append(world, &one, APPEND_ACKS_ALL);
    /* Broker 2 holds one record of epoch 0 more than this log has. */
    assert_int_equal(world_subscribe(world, 2, 3, 0, second, &position), ERROR_NONE);
    assert_true(position.is_diverging);
    assert_int_equal(position.diverging_epoch, 0);
    assert_int_equal(position.diverging_end_offset, 2);
    assert_int_equal(world_subscribe(world, 2, 2, 0, second, &position), ERROR_NONE);
    assert_false(position.is_diverging);
    assert_int_equal(world_subscribe(world, 3, 0, -1, third, &position), ERROR_NONE);
    world_await(world, world_is_leader);
    assert_int_equal(second->news_count, 1);
    assert_int_equal(third->news_count, 1);
    partition_cursor_sent(&second->cursor, 5);
    assert_false(partition_acknowledge(&second->cursor, 0, 5)); /* of the old epoch (trap 5) */
    assert_false(partition_acknowledge(&second->cursor, 1, 6)); /* more than there is */
    assert_false(one.is_done);
    assert_true(partition_acknowledge(&second->cursor, 1, 5));
    world_await_flag(world, &one.is_done);
    assert_int_equal(one.append.error, ERROR_NONE);
    assert_int_equal(one.append.base_offset, 2);
    assert_int_equal(partition->high_watermark, 5);
    assert_true(second->news_count >= 2); /* the high watermark, too, is news */
    world_append_done(&one);
}

/* The metadata names another leader: at once nobody is answered or fed any more. */
static void leader_steps_down_at_once(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    struct world_append one;
    world_create(world, 1);
    world_await(world, world_is_leader);
    assert_int_equal(world_subscribe(world, 2, 0, -1, second, &position), ERROR_NONE);
    world_append(world, &one, APPEND_ACKS_ALL);
    world_change(world, 2, false, EVERYBODY);
    assert_true(one.is_done);
    assert_int_equal(one.append.error, ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(second->ended_count, 1);
    assert_null(second->cursor.partition);
    assert_int_equal(world->follow_count, 1);
    assert_int_equal(world->follow_epoch, 1);
    assert_int_equal(world_subscribe(world, 3, 0, -1, second, &position), ERROR_NOT_LEADER_OR_FOLLOWER);
    world_append_done(&one);
}

/* A later epoch of the same leader: what waits ends, followers subscribe anew, and an old acknowledgement counts for nothing. */
static void later_epoch_of_the_same_leader(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    struct world_append one;
    world_create(world, 1);
    world_await(world, world_is_leader);
    assert_int_equal(world_subscribe(world, 2, 0, -1, second, &position), ERROR_NONE);
    world_append(world, &one, APPEND_ACKS_ALL);
    world_change(world, 1, true, FIRST_TWO);
    assert_true(one.is_done);
    assert_int_equal(second->ended_count, 1);
    assert_false(partition_acknowledge(&second->cursor, 0, 3));
    assert_int_equal(partition_check_leader(world_partition(world), -1), ERROR_NOT_LEADER_OR_FOLLOWER); /* begins */
    world_await(world, world_is_leader);
    assert_int_equal(world_partition(world)->took_over_us, 0);
    assert_int_equal(world_partition(world)->leader_epoch, 1);
    assert_int_equal(world_partition(world)->high_watermark, 0);
    world_append_done(&one);
}

/* A leader, another one, and back, before the first epoch has begun in the log: the last word counts. */
static void roles_change_while_an_epoch_begins(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    world_await(world, world_is_follower);
    world_change(world, 1, false, EVERYBODY); /* begins epoch 1 */
    world_change(world, 3, false, EVERYBODY);
    assert_int_equal(world->follow_count, 1);
    world_await(world, world_is_follower);
    assert_int_equal(world->follow_epoch, 2);
    uint64_t before_us = loop_now_us(world->worker.loop);
    world_change(world, 1, false, EVERYBODY); /* begins epoch 3 */
    world_change(world, 1, true, EVERYBODY);
    world_await(world, world_is_leader);
    assert_int_equal(world_partition(world)->leader_epoch, 4);
    assert_in_range(world_partition(world)->took_over_us, before_us, loop_now_us(world->worker.loop));
}

static void subscribers_are_checked(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *cursor = &world->cursors[0];
    struct world_cursor *again = &world->cursors[1];
    world_create(world, 1);
    world_await(world, world_is_leader);
    struct partition *partition = world_partition(world);
    struct replica_subscription subscription = {.leader_epoch = 1, .last_epoch = -1, .directory_id = id_of(33)};
    assert_int_equal(world_subscribe(world, 2, 0, -1, cursor, &position), ERROR_NONE);
    assert_int_equal(world_subscribe(world, 2, 0, -1, again, &position), ERROR_NONE); /* a new stream */
    assert_int_equal(cursor->ended_count, 1);
    partition_unsubscribe(&again->cursor);
    partition_subscribe(partition, &subscription, &again->cursor, &position);
    assert_int_equal(position.error, ERROR_UNKNOWN_LEADER_EPOCH);
    subscription.leader_epoch = 0;
    subscription.directory_id = id_of(34); /* another disk than the metadata's (trap 16) */
    partition_subscribe(partition, &subscription, &again->cursor, &position);
    assert_int_equal(position.error, ERROR_NOT_LEADER_OR_FOLLOWER);
    subscription.directory_id = id_of(33);
    again->cursor.broker_epoch--;
    partition_subscribe(partition, &subscription, &again->cursor, &position);
    assert_int_equal(position.error, ERROR_STALE_BROKER_EPOCH);
    again->cursor.broker_id = 4; /* no replica */
    partition_subscribe(partition, &subscription, &again->cursor, &position);
    assert_int_equal(position.error, ERROR_NOT_LEADER_OR_FOLLOWER);
}

/* A replica that holds everything is proposed, with the incarnations that the metadata knows, and counts when the metadata has it. */
static void replica_joins_when_it_holds_everything(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    struct world_append one;
    world_create(world, 1);
    world_change(world, 1, false, ALONE);
    world_await(world, world_is_leader);
    world_append(world, &one, APPEND_ACKS_LEADER);
    assert_int_equal(world_subscribe(world, 2, 0, -1, second, &position), ERROR_NONE);
    world_await_flag(world, &one.is_done);
    assert_true(partition_acknowledge(&second->cursor, 0, 3));
    world_await(world, world_has_batch);
    assert_int_equal(world->batch->change_count, 1);
    const struct controller_isr_change *change = &world->batch->changes[0];
    assert_int_equal(change->leader_epoch, 0);
    assert_int_equal(change->partition_epoch, 1);
    assert_int_equal(change->isr_count, 2);
    assert_int_equal(change->isr[0].broker_id, 1);
    assert_int_equal(change->isr[1].broker_id, 2);
    assert_int_equal(change->isr[1].broker_epoch, world_broker_epoch(world, 2));
    world_answer(world, ERROR_NONE);
    assert_int_equal(world_partition(world)->high_watermark, 0);
    world_change(world, 1, false, FIRST_TWO);
    partition_set_step(world->set);
    assert_int_equal(world_partition(world)->high_watermark, 3);
    world_append_done(&one);
}

/* Thousands of replicas that come back in one step fill a batch: who finds it full is proposed in the next one, not never. */
static void full_batch_is_followed_by_another(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    const struct replica_member member = {.broker_id = 2, .broker_epoch = 1, .is_alive = true};
    struct world_append one;
    world_create(world, 1);
    world_change(world, 1, false, ALONE);
    world_await(world, world_is_leader);
    world_append(world, &one, APPEND_ACKS_LEADER);
    assert_int_equal(world_subscribe(world, 2, 0, -1, second, &position), ERROR_NONE);
    world_await_flag(world, &one.is_done);
    assert_true(partition_acknowledge(&second->cursor, 0, 3));
    for (unsigned i = 0; i < CONTROLLER_ISR_CHANGES_MAX; i++) {
        partition_set_propose(world->set, world_partition(world), &member, 1);
    }
    isr_batch_free(world->batch); /* of the others */
    world->batch = NULL;
    partition_set_step(world->set);
    assert_non_null(world->batch);
    assert_int_equal(world->batch->change_count, 1);
    assert_int_equal(world->batch->changes[0].isr_count, 2);
    world_answer(world, ERROR_NONE);
    world_append_done(&one);
}

/* A member that stops acknowledging is proposed to be left out after replica.lag.time.max.ms, and holds everybody up until it is. */
static void replica_leaves_when_it_lags(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    struct world_append one;
    world_create(world, 1);
    world_await(world, world_is_leader);
    assert_int_equal(world_subscribe(world, 2, 0, -1, second, &position), ERROR_NONE);
    world_append(world, &one, APPEND_ACKS_ALL);
    assert_true(partition_acknowledge(&second->cursor, 0, 3));
    world_await(world, is_unanswered_long);
    assert_int_equal(world->batch->changes[0].isr_count, 2);
    assert_int_equal(world->batch->changes[0].isr[1].broker_id, 2);
    assert_false(one.is_done);
    world_answer(world, ERROR_NONE);
    world_change(world, 1, false, FIRST_TWO);
    world_await_flag(world, &one.is_done);
    assert_int_equal(one.append.error, ERROR_NONE);
    assert_null(world->batch);
    world_append_done(&one);
}

/* A new process of a follower is heard before the metadata tells of it: what it acknowledges counts only then (trap 4). */
static void acknowledgement_waits_for_the_metadata(void **state)
{
    struct roles_world *world = *state;
    struct replica_position position;
    struct world_cursor *second = &world->cursors[0];
    struct world_append one;
    world_create(world, 1);
    world_change(world, 1, false, FIRST_TWO);
    world_await(world, world_is_leader);
    const struct image *before = image_ref(world->meta.image);
    world_register(world, 2); /* committed; not heard of here yet */
    world->worker.image = before;
    assert_int_equal(world_subscribe(world, 2, 0, -1, second, &position), ERROR_NONE);
    world_append(world, &one, APPEND_ACKS_ALL);
    assert_true(partition_acknowledge(&second->cursor, 0, 3));
    world_await(world, is_unanswered_long); /* the old process does not answer: it is to leave */
    assert_int_equal(world->batch->changes[0].isr_count, 1);
    assert_false(one.is_done);
    world_answer(world, ERROR_INELIGIBLE_REPLICA);
    world_deliver(world, before);
    image_unref(before);
    world_await_flag(world, &one.is_done);
    assert_int_equal(one.append.error, ERROR_NONE);
    assert_int_equal(second->ended_count, 0);
    world_append_done(&one);
}

static bool is_open_again(struct roles_world *world)
{
    const struct partition *partition = world_partition(world);
    return partition != NULL && partition->state == PARTITION_LEADER;
}

/* Moved away and back before its log was closed and removed: it is opened once more, empty. */
static void moved_away_and_back(void **state)
{
    struct roles_world *world = *state;
    struct world_append one;
    world_create(world, 1);
    world_await(world, world_is_leader);
    world_append(world, &one, APPEND_ACKS_LEADER);
    world_await_flag(world, &one.is_done);
    partition_remove(world_partition(world));
    assert_int_equal(world_partition(world)->state, PARTITION_CLOSING);
    world_change(world, 1, true, EVERYBODY); /* while it closes */
    world_await(world, is_open_again);
    assert_int_equal(partition_log_end_offset(world_partition(world)->log), 0);
    assert_int_equal(world_partition(world)->leader_epoch, 1);
    world_append_done(&one);
}

static bool is_offline(struct roles_world *world)
{
    const struct partition *partition = world_partition(world);
    return partition != NULL && partition->state == PARTITION_OFFLINE;
}

/* A damaged log of a replica that counts for nothing (in neither ISR nor ELR) is set aside and learnt again from the leader; one that counts
 * stays as it is until the metadata has taken it out (R10). */
static void damaged_replica_begins_anew(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    world_await(world, world_is_follower);
    assert_int_equal(world_receive(world, 0, 0, 3, 3), ERR_OK);
    world_await(world, world_is_counted);
    char *path = mem_format("%s/t-0/partition.metadata", world->dir_path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("not what it was", file) >= 0);
    assert_int_equal(fclose(file), 0);
    mem_free(path);
    partition_close(world_partition(world)); /* opened again at once: the metadata wants it */
    world_await(world, is_offline);
    assert_true(world_partition(world)->is_damaged);
    assert_int_equal(world->unfollow_count, 1);
    world_change(world, 2, false, (const int32_t[]){2, 3, 0});
    world_await(world, world_is_follower);
    assert_int_equal(world->follow_count, 2);
    assert_int_equal(partition_log_end_offset(world_partition(world)->log), 0);
    assert_int_equal(world_receive(world, 0, 0, 3, 3), ERR_OK);
}

static void set_durability(struct roles_world *world, const char *durability)
{
    const struct image_config_entry entry = {.key = span_text("durability"), .value = span_text(durability)};
    const struct image *before = image_ref(world->meta.image);
    meta_add_config_change(&world->meta.records, IMAGE_CONFIG_TOPIC, span_text("t"), &entry, 1, NULL, 0);
    state_commit(&world->meta);
    assert_true(world->meta.is_applied);
    world_deliver(world, before);
    image_unref(before);
}

static bool is_on_disk(struct roles_world *world)
{
    const struct partition_log *log = world_partition(world)->log;
    return partition_log_synced_end(log) == partition_log_end_offset(log);
}

/* From cached to synced: at once it counts no more than what is on the disk, and brings the rest there without being written to. */
static void synced_topic_syncs_what_it_counted_as_cached(void **state)
{
    struct roles_world *world = *state;
    world_create(world, 2);
    set_durability(world, "cached");
    world_await(world, world_is_follower);
    struct partition *partition = world_partition(world);
    assert_int_equal(world_receive(world, 0, 0, 2, 2), ERR_OK); /* on the disk with its epoch */
    world_await(world, is_on_disk);
    assert_int_equal(world_receive(world, 0, 2, 3, 5), ERR_OK);
    partition_set_step(world->set);
    assert_int_equal(partition_log_counted_end(partition->log), 5);
    assert_int_equal(partition_log_synced_end(partition->log), 2);
    set_durability(world, "synced");
    assert_int_equal(partition_log_counted_end(partition->log), 2);
    world_await(world, is_on_disk);
    assert_int_equal(partition_log_counted_end(partition->log), 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(follower_appends_and_counts),
        TEST(follower_refuses_damage),
        TEST(follower_is_cut),
        TEST(later_epoch_waits_for_the_cut),
        TEST(follows_nobody_while_nobody_leads),
        TEST(follower_becomes_leader),
        TEST(leader_steps_down_at_once),
        TEST(later_epoch_of_the_same_leader),
        TEST(roles_change_while_an_epoch_begins),
        TEST(subscribers_are_checked),
        TEST(replica_joins_when_it_holds_everything),
        TEST(full_batch_is_followed_by_another),
        TEST(replica_leaves_when_it_lags),
        TEST(acknowledgement_waits_for_the_metadata),
        TEST(moved_away_and_back),
        TEST(damaged_replica_begins_anew),
        TEST(synced_topic_syncs_what_it_counted_as_cached),
    };
    return cmocka_run_group_tests_name("partition_roles", tests, NULL, NULL);
}
