/* stream_raw: a follower made of bare frames, against the leader's side of stream_sim's node 1: what the tests of the leader share.
 *
 * Ownership: raw_free ends the simulation; it fails the test when node 1 has leaked memory or budget.
 * Threads:   one.
 */
#ifndef TESTS_UNIT_STREAM_STREAM_RAW_H
#define TESTS_UNIT_STREAM_STREAM_RAW_H

#include "broker/broker_metrics.h"
#include "broker/stream/stream_limits.h"
#include "broker/stream/stream_wire.h"
#include "common/mem.h"
#include "common/rpc/rpc_dial.h"
#include "tests/unit/stream/stream_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

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
    uint32_t last_handle;
};

static inline void raw_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    struct raw *raw = ctx;
    ret_hello->node_id = RAW_ID;
    ret_hello->broker_epoch = 3;
    ret_hello->worker_count = 1;
    ret_hello->lane = raw->is_catch_up ? 1 : 0;
}

static inline void raw_on_up(void *ctx, struct rpc_link *link)
{
    struct raw *raw = ctx;
    raw->link = link;
    raw->up_count++;
}

static inline void raw_take_part(struct raw *raw, const Node__ReplicaPart *part)
{
    if (part->handle >= HANDLES) {
        return;
    }
    if (part->bytes > 0 && raw->bytes[part->handle] == 0) {
        raw->first_at[part->handle] = raw->body_bytes;
    }
    raw->bytes[part->handle] += part->bytes;
    raw->high_watermark[part->handle] = part->high_watermark;
    raw->rest_bytes[part->handle] = part->rest_bytes;
    raw->piece_count += part->rest_bytes > 0 ? 1 : 0;
}

static inline void raw_give(struct raw *raw, uint64_t credit_bytes)
{
    Node__ReplicaAcks acks = NODE__REPLICA_ACKS__INIT;
    acks.credit_bytes = credit_bytes;
    stream_wire_send(raw->link, STREAM_ACKS, &acks.base, NULL, 0);
}

static inline void raw_on_frame(void *ctx, const struct rpc_frame *frame)
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

static inline void raw_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct raw *raw = ctx;
    (void)err;
    (void)text;
    raw->link = NULL;
    raw->down_count += was_up ? 1 : 0;
}

static inline void raw_ping(struct loop_timer *timer)
{
    struct raw *raw = CONTAINER_OF(timer, struct raw, ping);
    struct loop *loop = sim_broker(raw->sim, RAW_ID)->loop;
    if (raw->link != NULL && raw->pings) {
        stream_wire_send_ping(raw->link, STREAM_PING, 1);
    }
    loop_timer_set(loop, timer, loop_now_us(loop) + STREAM_PING_US);
}

static inline void raw_dial(struct sim_node *node, void *ctx)
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

static inline bool raw_is_up(void *ctx)
{
    const struct raw *raw = ctx;
    return raw->link != NULL;
}

static inline bool raw_is_down(void *ctx)
{
    const struct raw *raw = ctx;
    return raw->down_count > 0;
}

static inline struct raw *raw_new(unsigned partition_count, size_t memory_bytes, bool is_catch_up)
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

static inline void raw_end(struct sim_node *node, void *ctx)
{
    struct raw *raw = ctx;
    (void)node;
    rpc_dial_free(raw->dial);
    loop_timer_cancel(sim_broker(raw->sim, RAW_ID)->loop, &raw->ping);
}

static inline void raw_free(struct raw *raw)
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

static inline void subscribe_now(struct sim_node *node, void *ctx)
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

static inline void subscribe(struct raw *raw, unsigned index, uint32_t handle, int32_t epoch, int64_t end_offset)
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

static inline void ack_now(struct sim_node *node, void *ctx)
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

static inline void acknowledge(struct raw *raw, uint32_t handle, int32_t epoch, int64_t counted_end)
{
    struct ack ack = {.raw = raw, .handle = handle, .epoch = epoch, .counted_end = counted_end};
    sim_run_on(raw->sim, RAW_ID, ack_now, &ack);
}

#endif
