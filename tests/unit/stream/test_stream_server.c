/* The leader's side under a follower made of bare frames: turns, credit, marks, large batches, errors, and what it refuses. */
#include "tests/unit/stream/stream_raw.h"

/* Without credit the leader stops at the window; each credit lets it go on by that much. */
static void window_bounds_what_is_under_way(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    for (unsigned i = 0; i < 300; i++) {
        assert_true(sim_append(raw->sim, 1, 0, 1, 100000, i));
    }
    subscribe(raw, 0, 1, 0, 0);
    sim_run(raw->sim, SECONDS(10));
    assert_true(raw->body_bytes >= STREAM_WINDOW_BYTES - STREAM_FRAME_BYTES);
    assert_true(raw->body_bytes <= STREAM_WINDOW_BYTES + 200000);
    assert_true(raw->frame_body_max <= STREAM_FRAME_BYTES);
    uint64_t before_bytes = raw->body_bytes;
    struct ack ack = {.raw = raw, .credit_bytes = 3u << 20};
    sim_run_on(raw->sim, RAW_ID, ack_now, &ack);
    sim_run(raw->sim, SECONDS(10));
    assert_true(raw->body_bytes >= before_bytes + (2u << 20));
    assert_true(raw->body_bytes <= before_bytes + (3u << 20) + 200000);
    assert_int_equal(raw->down_count, 0);
    raw_free(raw);
}

/* One partition with a mountain behind it, 99 with a little: nobody waits for the mountain. */
static void partitions_take_turns(void **state)
{
    (void)state;
    struct raw *raw = raw_new(100, 0, false);
    raw->gives_credit = true;
    for (unsigned i = 0; i < 300; i++) {
        assert_true(sim_append(raw->sim, 1, 0, 1, 100000, i));
    }
    for (unsigned p = 0; p < 100; p++) {
        subscribe(raw, p, p + 1, 0, 0);
    }
    for (unsigned p = 1; p < 100; p++) {
        assert_true(sim_append(raw->sim, 1, p, 1, 1000, p));
    }
    sim_run(raw->sim, SECONDS(20));
    assert_true(raw->bytes[1] > 30000000);
    for (uint32_t handle = 2; handle <= 100; handle++) {
        assert_true(raw->bytes[handle] > 1000);
        assert_true(raw->first_at[handle] < (3u << 20));
    }
    raw_free(raw);
}

/* Marks wait for data; alone they go once, together. */
static void marks_travel_together(void **state)
{
    (void)state;
    struct raw *raw = raw_new(50, 0, false);
    raw->gives_credit = true;
    for (unsigned p = 0; p < 50; p++) {
        subscribe(raw, p, p + 1, 0, 0);
        assert_true(sim_append(raw->sim, 1, p, 1, 100, p));
    }
    sim_run(raw->sim, SECONDS(2));
    unsigned before = raw->marks_frame_count;
    for (unsigned p = 0; p < 50; p++) {
        acknowledge(raw, p + 1, 0, 1);
    }
    sim_run(raw->sim, SECONDS(2));
    for (unsigned p = 0; p < 50; p++) {
        assert_int_equal(raw->high_watermark[p + 1], 1);
    }
    assert_true(raw->marks_frame_count - before <= 3); /* of 50 high watermarks that moved */
    assert_int_equal(raw->data_frame_count <= 50, true);
    /* and nothing at all when nothing moves */
    unsigned frames = raw->marks_frame_count + raw->data_frame_count;
    sim_run(raw->sim, SECONDS(10));
    assert_int_equal(raw->marks_frame_count + raw->data_frame_count, frames);
    assert_true(raw->pong_count > 20);
    raw_free(raw);
}

/* Steady traffic takes the marks along: no frame of their own. */
static void marks_ride_with_data(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    raw->gives_credit = true;
    subscribe(raw, 0, 1, 0, 0);
    for (unsigned i = 0; i < 200; i++) {
        assert_true(sim_append(raw->sim, 1, 0, 1, 100, i));
        sim_run(raw->sim, 4000);
        acknowledge(raw, 1, 0, (int64_t)i);
    }
    assert_true(raw->data_frame_count > 150);
    assert_true(raw->marks_frame_count < 20);
    raw_free(raw);
}

/* A batch larger than any frame comes in pieces, and what follows it comes too. */
static void large_batch_comes_in_pieces(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    raw->gives_credit = true;
    assert_true(sim_append(raw->sim, 1, 0, 1, 15u << 20, 1));
    assert_true(sim_append(raw->sim, 1, 0, 1, 10, 2));
    subscribe(raw, 0, 1, 0, 0);
    sim_run(raw->sim, SECONDS(10));
    assert_int_equal(raw->piece_count, 3);
    assert_int_equal(raw->rest_bytes[1], 0);
    assert_true(raw->frame_body_max <= STREAM_PIECE_BYTES);
    assert_int_equal(raw->bytes[1], partition_log_bytes(node_log(sim_broker(raw->sim, 1), 0)));
    raw_free(raw);
}

/* With no memory left for copies the page cache serves: nothing is held up, nothing is taken. */
static void no_memory_is_needed(void **state)
{
    (void)state;
    struct raw *raw = raw_new(20, 4096, false);
    raw->gives_credit = true;
    for (unsigned p = 0; p < 20; p++) {
        subscribe(raw, p, p + 1, 0, 0);
        for (unsigned i = 0; i < 5; i++) {
            assert_true(sim_append(raw->sim, 1, p, 1, 20000, i));
        }
    }
    sim_run(raw->sim, SECONDS(5));
    for (unsigned p = 0; p < 20; p++) {
        assert_true(raw->bytes[p + 1] > 100000);
    }
    raw_free(raw);
}

/* Everything is cold, but one file warms up between two looks at it, when all reads of the link are in the pool already. */
struct cold_rule {
    char paths[20][64]; /* in the order of the first look */
    unsigned path_count;
    unsigned late_looks; /* at the first one that found no place in the pool */
    unsigned look_count;
};

static bool is_cold(void *ctx, const char *path)
{
    struct cold_rule *rule = ctx;
    unsigned i = 0;
    CHECK(++rule->look_count < 10000); /* else it looks for ever */
    while (i < rule->path_count && strcmp(rule->paths[i], path) != 0) {
        i++;
    }
    if (i == rule->path_count) {
        CHECK(i < 20 && strlen(path) < sizeof(rule->paths[0]));
        memcpy(rule->paths[rule->path_count++], path, strlen(path) + 1);
    }
    return i != STREAM_READS_MAX || rule->late_looks++ == 0;
}

static void reads_wait_for_the_pool_in_turn(void **state)
{
    (void)state;
    struct cold_rule rule = {.path_count = 0};
    struct raw *raw = raw_new(15, 0, true);
    raw->gives_credit = true;
    for (unsigned p = 0; p < 15; p++) {
        assert_true(sim_append(raw->sim, 1, p, 1, 20000, p));
    }
    sim_run(raw->sim, SECONDS(1));
    fs_sim_set_cold_rule(raw->sim->machines[0].node->disk, is_cold, &rule);
    for (unsigned p = 0; p < 15; p++) {
        subscribe(raw, p, p + 1, 0, 0);
    }
    sim_run(raw->sim, SECONDS(5));
    for (unsigned p = 0; p < 15; p++) {
        assert_true(raw->bytes[p + 1] > 20000);
    }
    assert_int_equal(rule.path_count, 15);
    assert_true(rule.late_looks >= 2); /* it was sent without the pool */
    fs_sim_set_cold_rule(raw->sim->machines[0].node->disk, NULL, NULL);
    raw_free(raw);
}

/* What can't be answered with data is answered with Kafka's code; the link stays. */
static void refusals_have_codes(void **state)
{
    (void)state;
    struct raw *raw = raw_new(2, 0, false);
    subscribe(raw, 0, 1, 7, 0);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(raw->last_error, ERROR_UNKNOWN_LEADER_EPOCH);
    sim_elect_silently(raw->sim, 0, 1);
    sim_elect_silently(raw->sim, 0, 1);
    sim_tell(raw->sim, 1, 0);
    sim_run(raw->sim, SECONDS(1));
    subscribe(raw, 0, 2, 0, 0);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(raw->last_error, ERROR_FENCED_LEADER_EPOCH);
    struct wish wish = {.raw = raw, .index = 1, .handle = 3, .epoch = 0, .last_epoch = -1};
    sim_partition(raw->sim, 1, 1)->base.key.topic_id.bytes[0] = 99; /* so asks for another topic */
    sim_run_on(raw->sim, RAW_ID, subscribe_now, &wish);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(raw->last_error, ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(raw->answer_count, 3);
    subscribe(raw, 0, 4, 2, 0);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(raw->last_error, 0);
    /* the epoch ends: so does the subscription */
    sim_elect_silently(raw->sim, 0, 1);
    sim_tell(raw->sim, 1, 0);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(raw->end_count, 1);
    assert_int_equal(raw->end_error, ERROR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(raw->down_count, 0);
    raw_free(raw);
}

/* An acknowledgement of another epoch, or of a subscription that has ended, moves nothing (trap 5). */
static void stale_acknowledgement_is_ignored(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    raw->gives_credit = true;
    subscribe(raw, 0, 1, 0, 0);
    assert_true(sim_append(raw->sim, 1, 0, 3, 10, 0));
    sim_run(raw->sim, SECONDS(1));
    sim_elect_silently(raw->sim, 0, 1);
    sim_tell(raw->sim, 1, 0);
    sim_run(raw->sim, SECONDS(1));
    acknowledge(raw, 1, 0, 3);
    acknowledge(raw, 1, 1, 3);
    subscribe(raw, 0, 2, 1, 0);
    sim_run(raw->sim, SECONDS(1));
    acknowledge(raw, 2, 0, 3); /* this handle, the old epoch */
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(sim_partition(raw->sim, 1, 0)->base.high_watermark, 0);
    acknowledge(raw, 2, 1, 3);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(sim_partition(raw->sim, 1, 0)->base.high_watermark, 3);
    assert_int_equal(raw->down_count, 0);
    raw_free(raw);
}

/* A log that fails ends its subscription; others go on. */
static void unreadable_log_ends_its_subscription(void **state)
{
    (void)state;
    struct raw *raw = raw_new(2, 0, false);
    raw->gives_credit = true;
    assert_true(sim_append(raw->sim, 1, 0, 1, 1000, 0));
    assert_true(sim_append(raw->sim, 1, 1, 1, 1000, 0));
    fs_sim_fail_at(raw->sim->machines[0].node->disk, FS_SIM_READ, 1, ERR_IO, true);
    subscribe(raw, 0, 1, 0, 0);
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(raw->end_count, 1);
    assert_int_equal(raw->end_error, ERROR_KAFKA_STORAGE_ERROR);
    assert_int_equal(raw->bytes[1], 0);
    fs_sim_fail_at(raw->sim->machines[0].node->disk, FS_SIM_READ, 0, ERR_IO, false);
    subscribe(raw, 1, 2, 0, 0);
    sim_run(raw->sim, SECONDS(1));
    assert_true(raw->bytes[2] > 1000);
    raw_free(raw);
}

/* ---- what closes the link ---- */

struct evil {
    struct raw *raw;
    uint16_t type;
    struct span header;
};

static void evil_now(struct sim_node *node, void *ctx)
{
    const struct evil *evil = ctx;
    (void)node;
    rpc_link_send(evil->raw->link, evil->type, evil->header, NULL, 0);
}

static void expect_closed(struct raw *raw)
{
    assert_true(sim_world_run_until(&raw->sim->world, SECONDS(5), raw_is_down, raw));
    raw_free(raw);
}

static void malformed_frames_close_the_link(void **state)
{
    (void)state;
    static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint16_t types[] = {STREAM_SUBSCRIBE, STREAM_UNSUBSCRIBE, STREAM_ACKS, STREAM_PING, STREAM_DATA, 77};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        struct raw *raw = raw_new(1, 0, false);
        struct evil evil = {.raw = raw, .type = types[i], .header = span_make(garbage, sizeof(garbage))};
        sim_run_on(raw->sim, RAW_ID, evil_now, &evil);
        expect_closed(raw);
    }
}

static void impossible_acknowledgement_closes_the_link(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    subscribe(raw, 0, 1, 0, 0);
    assert_true(sim_append(raw->sim, 1, 0, 3, 10, 0));
    sim_run(raw->sim, SECONDS(1));
    acknowledge(raw, 1, 0, 4); /* 3 were sent */
    sim_run(raw->sim, SECONDS(1));
    assert_int_equal(sim_partition(raw->sim, 1, 0)->base.high_watermark, 0);
    expect_closed(raw);
}

static void impossible_credit_closes_the_link(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    struct ack ack = {.raw = raw, .credit_bytes = 1};
    sim_run_on(raw->sim, RAW_ID, ack_now, &ack);
    expect_closed(raw);
}

static void handle_used_twice_closes_the_link(void **state)
{
    (void)state;
    struct raw *raw = raw_new(2, 0, false);
    subscribe(raw, 0, 1, 0, 0);
    subscribe(raw, 1, 1, 0, 0);
    expect_closed(raw);
}

static void silent_follower_is_closed(void **state)
{
    (void)state;
    struct raw *raw = raw_new(1, 0, false);
    subscribe(raw, 0, 1, 0, 0);
    sim_run(raw->sim, SECONDS(20));
    assert_int_equal(raw->down_count, 0);
    raw->pings = false;
    sim_run(raw->sim, SECONDS(3));
    assert_int_equal(raw->down_count, 0);
    sim_run(raw->sim, SECONDS(3));
    assert_int_equal(raw->down_count, 1);
    raw_free(raw);
}

/* The link goes in the middle of a frame, again and again: nothing is left behind. */
static void link_is_lost_in_the_middle(void **state)
{
    (void)state;
    struct raw *raw = raw_new(10, 0, false);
    raw->gives_credit = true;
    for (unsigned round = 0; round < 40; round++) {
        assert_true(sim_world_run_until(&raw->sim->world, SECONDS(10), raw_is_up, raw));
        for (unsigned p = 0; p < 10; p++) {
            assert_true(sim_append(raw->sim, 1, p, 1, 30000, round));
            subscribe(raw, p, p + 1, 0, 0);
        }
        sim_run(raw->sim, 300 + round * 200);
        (void)sim_fabric_reset_one(raw->sim->fabric, raw->sim->machines[1].node->host);
        sim_run(raw->sim, SECONDS(1));
        for (unsigned i = 0; i < HANDLES; i++) {
            raw->bytes[i] = 0;
        }
    }
    assert_true(raw->down_count > 20);
    assert_int_equal(node_metric(sim_broker(raw->sim, 1), METRIC_REPLICA_LINKS_IN), raw->link != NULL ? 1 : 0);
    raw_free(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_bounds_what_is_under_way),
        cmocka_unit_test(partitions_take_turns),
        cmocka_unit_test(marks_travel_together),
        cmocka_unit_test(marks_ride_with_data),
        cmocka_unit_test(large_batch_comes_in_pieces),
        cmocka_unit_test(no_memory_is_needed),
        cmocka_unit_test(reads_wait_for_the_pool_in_turn),
        cmocka_unit_test(refusals_have_codes),
        cmocka_unit_test(stale_acknowledgement_is_ignored),
        cmocka_unit_test(unreadable_log_ends_its_subscription),
        cmocka_unit_test(malformed_frames_close_the_link),
        cmocka_unit_test(impossible_acknowledgement_closes_the_link),
        cmocka_unit_test(impossible_credit_closes_the_link),
        cmocka_unit_test(handle_used_twice_closes_the_link),
        cmocka_unit_test(silent_follower_is_closed),
        cmocka_unit_test(link_is_lost_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
