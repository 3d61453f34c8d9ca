/* The leader's side under a follower made of bare frames: turns, credit, marks, large batches, errors, and what it refuses. */
#include "broker/broker_metrics.h"
#include "broker/stream/stream_limits.h"
#include "broker/stream/stream_wire.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "tests/unit/stream/stream_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SECONDS(n) ((n) * (uint64_t)SIM_SECOND_US)
#define HANDLES 256u
#define RAW_ID 2

/* Node 2 is no broker in these tests: it speaks by hand. */
struct raw {
    struct sim *sim;
    struct rpc_dial *dial;
    struct rpc_link *link;
    struct arena arena;
    bool is_catch_up;
    bool gives_credit;
    bool pings;
    struct loop_timer ping;
    unsigned up_count;
    unsigned down_count;
    unsigned data_frame_count;
    unsigned marks_frame_count; /* without a byte */
    unsigned pong_count;
    uint64_t body_bytes;
    uint64_t frame_body_max;
    uint64_t bytes[HANDLES];    /* by handle */
    uint64_t first_at[HANDLES]; /* body bytes that had come when the first of the handle came */
    int64_t high_watermark[HANDLES];
    uint64_t rest_bytes[HANDLES];
    unsigned piece_count;
    unsigned answer_count;
    unsigned end_count;
    int32_t last_error;
    int32_t end_error;
    Node__ReplicaAnswer last_answer;
};

static void raw_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    struct raw *raw = ctx;
    ret_hello->node_id = RAW_ID;
    ret_hello->broker_epoch = 3;
    ret_hello->worker_count = 1;
    ret_hello->lane = raw->is_catch_up ? 1 : 0;
}

static void raw_on_up(void *ctx, struct rpc_link *link)
{
    struct raw *raw = ctx;
    raw->link = link;
    raw->up_count++;
}

static void raw_take_part(struct raw *raw, const Node__ReplicaPart *part)
{
    assert_true(part->handle < HANDLES);
    if (part->bytes > 0 && raw->bytes[part->handle] == 0) {
        raw->first_at[part->handle] = raw->body_bytes;
    }
    raw->bytes[part->handle] += part->bytes;
    raw->high_watermark[part->handle] = part->high_watermark;
    raw->rest_bytes[part->handle] = part->rest_bytes;
    raw->piece_count += part->rest_bytes > 0 ? 1 : 0;
}

static void raw_give(struct raw *raw, uint64_t credit_bytes)
{
    Node__ReplicaAcks acks = NODE__REPLICA_ACKS__INIT;
    acks.credit_bytes = credit_bytes;
    stream_wire_send(raw->link, STREAM_ACKS, &acks.base, NULL, 0);
}

static void raw_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct raw *raw = ctx;
    if (frame->type == STREAM_DATA) {
        Node__ReplicaData *data = stream_wire_data(&raw->arena, frame->header);
        assert_non_null(data);
        for (size_t i = 0; i < data->n_parts; i++) {
            raw_take_part(raw, data->parts[i]);
        }
        raw->data_frame_count += frame->body.bytes > 0 ? 1 : 0;
        raw->marks_frame_count += frame->body.bytes == 0 ? 1 : 0;
        raw->body_bytes += frame->body.bytes;
        raw->frame_body_max = frame->body.bytes > raw->frame_body_max ? frame->body.bytes : raw->frame_body_max;
        if (raw->gives_credit && frame->body.bytes > 0) {
            raw_give(raw, frame->body.bytes);
        }
    } else if (frame->type == STREAM_ANSWERS) {
        Node__ReplicaAnswers *answers = stream_wire_answers(&raw->arena, frame->header);
        for (size_t i = 0; i < answers->n_answers; i++) {
            raw->answer_count++;
            raw->last_answer = *answers->answers[i];
            raw->last_error = answers->answers[i]->error_code;
        }
    } else if (frame->type == STREAM_ENDS) {
        Node__ReplicaEnds *ends = stream_wire_ends(&raw->arena, frame->header);
        raw->end_count += (unsigned)ends->n_ends;
        raw->end_error = ends->ends[0]->error_code;
    } else {
        assert_int_equal(frame->type, STREAM_PONG);
        raw->pong_count++;
    }
    arena_reset(&raw->arena);
}

static void raw_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct raw *raw = ctx;
    (void)err;
    (void)text;
    raw->link = NULL;
    raw->down_count += was_up ? 1 : 0;
}

static void raw_ping(struct loop_timer *timer)
{
    struct raw *raw = CONTAINER_OF(timer, struct raw, ping);
    struct loop *loop = sim_broker(raw->sim, RAW_ID)->loop;
    if (raw->link != NULL && raw->pings) {
        stream_wire_send_ping(raw->link, STREAM_PING, 1);
    }
    loop_timer_set(loop, timer, loop_now_us(loop) + STREAM_PING_US);
}

static void raw_dial(struct sim_node *node, void *ctx)
{
    struct raw *raw = ctx;
    struct rpc_dial_config config = {
        .env = &node->env, .loop = sim_broker(raw->sim, RAW_ID)->loop, .kind = RPC_KIND_REPLICA};
    struct rpc_dial_events events = {
        .ctx = raw, .on_hello = raw_on_hello, .on_up = raw_on_up, .on_frame = raw_on_frame, .on_down = raw_on_down};
    raw->dial = rpc_dial_new(&config, "10.0.0.1", NODE_PORT, &events);
    raw->ping.fire = raw_ping;
    raw_ping(&raw->ping);
}

static bool raw_is_up(void *ctx)
{
    const struct raw *raw = ctx;
    return raw->link != NULL;
}

static bool raw_is_down(void *ctx)
{
    const struct raw *raw = ctx;
    return raw->down_count > 0;
}

static struct raw *raw_new(unsigned partition_count, size_t memory_bytes, bool is_catch_up)
{
    struct sim_config config = {.seed = 5,
                                .node_count = 2,
                                .partition_count = partition_count,
                                .durability = DURABILITY_CACHED,
                                .memory_bytes = memory_bytes};
    struct raw *raw = calloc(1, sizeof(*raw));
    assert_non_null(raw);
    raw->sim = sim_new(&config);
    raw->is_catch_up = is_catch_up;
    raw->pings = true;
    arena_init(&raw->arena, 0);
    for (unsigned p = 0; p < partition_count; p++) {
        sim_elect_silently(raw->sim, p, 1);
        sim_tell(raw->sim, 1, p); /* node 2 never hears of it: its own streams stay quiet */
    }
    sim_run_on(raw->sim, RAW_ID, raw_dial, raw);
    assert_true(sim_world_run_until(&raw->sim->world, SECONDS(5), raw_is_up, raw));
    sim_run(raw->sim, 100000);
    assert_true(sim_partition(raw->sim, 1, partition_count - 1)->leads);
    return raw;
}

static void raw_end(struct sim_node *node, void *ctx)
{
    struct raw *raw = ctx;
    (void)node;
    rpc_dial_free(raw->dial);
    loop_timer_cancel(sim_broker(raw->sim, RAW_ID)->loop, &raw->ping);
}

static void raw_free(struct raw *raw)
{
    sim_run_on(raw->sim, RAW_ID, raw_end, raw);
    sim_stop(raw->sim, 1); /* nothing has leaked, and the memory budget is whole */
    sim_free(raw->sim);
    arena_done(&raw->arena);
    free(raw);
}

struct wish {
    struct raw *raw;
    unsigned index;
    uint32_t handle;
    int32_t epoch;
    int64_t end_offset;
    int32_t last_epoch;
};

static void subscribe_now(struct sim_node *node, void *ctx)
{
    const struct wish *wish = ctx;
    uint8_t zeros[UUID_BYTES] = {0};
    Node__ReplicaSubscription subscription = NODE__REPLICA_SUBSCRIPTION__INIT;
    Node__ReplicaSubscription *pointer = &subscription;
    Node__ReplicaSubscribe message = NODE__REPLICA_SUBSCRIBE__INIT;
    struct uuid topic_id = sim_partition(wish->raw->sim, 1, wish->index)->base.key.topic_id;
    (void)node;
    subscription.handle = wish->handle;
    subscription.topic_id = (ProtobufCBinaryData){UUID_BYTES, topic_id.bytes};
    subscription.directory_id = (ProtobufCBinaryData){UUID_BYTES, zeros};
    subscription.partition = wish->index;
    subscription.leader_epoch = wish->epoch;
    subscription.end_offset = wish->end_offset;
    subscription.last_epoch = wish->last_epoch;
    message.n_subscriptions = 1;
    message.subscriptions = &pointer;
    stream_wire_send(wish->raw->link, STREAM_SUBSCRIBE, &message.base, NULL, 0);
}

static void subscribe(struct raw *raw, unsigned index, uint32_t handle, int32_t epoch, int64_t end_offset)
{
    struct wish wish = {.raw = raw,
                        .index = index,
                        .handle = handle,
                        .epoch = epoch,
                        .end_offset = end_offset,
                        .last_epoch = end_offset == 0 ? -1 : epoch};
    sim_run_on(raw->sim, RAW_ID, subscribe_now, &wish);
}

struct ack {
    struct raw *raw;
    uint32_t handle;
    int32_t epoch;
    int64_t counted_end;
    uint64_t credit_bytes;
};

static void ack_now(struct sim_node *node, void *ctx)
{
    const struct ack *ack = ctx;
    Node__ReplicaAck one = NODE__REPLICA_ACK__INIT;
    Node__ReplicaAck *pointer = &one;
    Node__ReplicaAcks message = NODE__REPLICA_ACKS__INIT;
    (void)node;
    one.handle = ack->handle;
    one.leader_epoch = ack->epoch;
    one.counted_end = ack->counted_end;
    message.n_acks = ack->handle == 0 ? 0 : 1;
    message.acks = &pointer;
    message.credit_bytes = ack->credit_bytes;
    stream_wire_send(ack->raw->link, STREAM_ACKS, &message.base, NULL, 0);
}

static void acknowledge(struct raw *raw, uint32_t handle, int32_t epoch, int64_t counted_end)
{
    struct ack ack = {.raw = raw, .handle = handle, .epoch = epoch, .counted_end = counted_end};
    sim_run_on(raw->sim, RAW_ID, ack_now, &ack);
}

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
