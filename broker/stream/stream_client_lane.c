/* One link to one worker of one leader. */
#include "broker/broker.h"
#include "broker/broker_metrics.h"
#include "broker/storage/log_dir.h"
#include "broker/stream/stream_client_private.h"
#include "common/mem.h"

#include <utlist.h>

/* After a leader that does not speak properly. */
#define STREAM_REJECT_US 1000000u
/* A tick so late means that this process stood still itself. */
#define STREAM_TICK_LATE_US 1000000u

static struct loop *stream_lane_loop(const struct stream_lane *lane)
{
    return lane->peer->client->worker->loop;
}

static void stream_lane_arm(struct stream_lane *lane, uint64_t delay_us)
{
    struct loop *loop = stream_lane_loop(lane);
    loop_timer_set(loop, &lane->tick, loop_now_us(loop) + delay_us);
}

/* ---- up and down ---- */

void stream_lane_lose(struct stream_lane *lane)
{
    struct stream_follow *follow = NULL;
    if (lane->link == NULL) {
        return;
    }
    lane->link = NULL;
    lane->gone_count = 0;
    lane->credit_due_bytes = 0;
    loop_timer_cancel(stream_lane_loop(lane), &lane->tick);
    metric_add(lane->peer->client->worker->metrics, METRIC_REPLICA_LINKS_OUT, -1);
    DL_FOREACH (lane->follows, follow) {
        if (follow->state != STREAM_FOLLOW_CUTTING && follow->state != STREAM_FOLLOW_BACKOFF) {
            stream_follow_set_state(follow, STREAM_FOLLOW_WAITING);
        }
    }
}

void stream_lane_reject(struct stream_lane *lane, const char *reason)
{
    struct stream_client *client = lane->peer->client;
    logger_limited(client->logger, &client->line_limit, LOG_WARN, "stream", "leader_rejected",
                   "leader=%d lane=%u address=%s:%u reason=\"%s\"", lane->peer->broker_id, lane->number,
                   lane->peer->host, (unsigned)lane->peer->port, reason);
    stream_lane_lose(lane);
    rpc_dial_free(lane->dial);
    lane->dial = NULL;
    stream_lane_arm(lane, STREAM_REJECT_US);
}

/* The leader has told how many workers it has: everybody goes where it belongs. */
static void stream_peer_sort(struct stream_peer *peer)
{
    struct stream_lane *lane = NULL;
    struct stream_follow *follow = NULL;
    size_t count = 0;
    DL_FOREACH (peer->lanes, lane) {
        DL_FOREACH (lane->follows, follow) {
            count++;
        }
    }
    struct stream_follow **all = mem_array(count + 1, sizeof(struct stream_follow *));
    count = 0;
    DL_FOREACH (peer->lanes, lane) {
        DL_FOREACH (lane->follows, follow) {
            all[count++] = follow;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct partition_key *key = &all[i]->partition->key;
        uint32_t worker_index = stream_lane_hash(key->topic_id, key->partition_index, peer->worker_count);
        uint32_t number = stream_lane_make(worker_index, stream_lane_is_catch_up(all[i]->lane->number));
        if (number != all[i]->lane->number) {
            stream_follow_join(all[i], stream_lane_get(peer, number));
        }
    }
    mem_free((void *)all);
}

static void stream_lane_on_up(void *ctx, struct rpc_link *link)
{
    struct stream_lane *lane = ctx;
    struct stream_peer *peer = lane->peer;
    const struct rpc_hello *hello = rpc_link_peer(link);
    struct stream_follow *follow = NULL;
    if (hello->node_id != peer->broker_id || hello->worker_count == 0) {
        stream_lane_reject(lane, "another node answers at the address");
        return;
    }
    lane->link = link;
    lost_brokers_forget(&peer->client->worker->broker->lost_brokers, peer->broker_id, peer->broker_epoch);
    lane->heard_us = loop_now_us(stream_lane_loop(lane));
    lane->said_us = lane->heard_us;
    metric_add(peer->client->worker->metrics, METRIC_REPLICA_LINKS_OUT, 1);
    stream_lane_arm(lane, STREAM_PING_US);
    if (hello->worker_count != peer->worker_count) {
        peer->worker_count = hello->worker_count;
        stream_peer_sort(peer);
    }
    DL_FOREACH (lane->follows, follow) {
        if (follow->state == STREAM_FOLLOW_WAITING) {
            stream_follow_set_state(follow, STREAM_FOLLOW_DUE);
        }
    }
}

static void stream_lane_on_down(void *ctx, enum err err, bool was_up, const char *text)
{
    struct stream_lane *lane = ctx;
    struct stream_client *client = lane->peer->client;
    stream_lane_lose(lane);
    if (was_up) {
        struct worker *worker = client->worker;
        lost_brokers_note(&worker->broker->lost_brokers, lane->peer->broker_id, lane->peer->broker_epoch,
                          loop_now_us(worker->loop));
    }
    if (was_up || err == ERR_INVALID) {
        logger_limited(client->logger, &client->line_limit, was_up ? LOG_INFO : LOG_WARN, "stream",
                       was_up ? "leader_lost" : "leader_refuses", "leader=%d lane=%u address=%s:%u err=%s text=\"%s\"",
                       lane->peer->broker_id, lane->number, lane->peer->host, (unsigned)lane->peer->port, err_name(err),
                       text == NULL ? "" : text);
    }
}

static void stream_lane_on_hello(void *ctx, struct rpc_hello *ret_hello)
{
    const struct stream_lane *lane = ctx;
    enum rpc_kind kind = ret_hello->kind;
    *ret_hello = lane->peer->client->hello;
    ret_hello->kind = kind;
    ret_hello->lane = lane->number;
}

static void stream_lane_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct stream_lane *lane = ctx;
    struct stream_client *client = lane->peer->client;
    lane->heard_us = loop_now_us(client->worker->loop);
    const char *problem = stream_lane_take_frame(lane, frame);
    arena_reset(&client->arena);
    if (problem != NULL) {
        stream_lane_reject(lane, problem);
    }
}

void stream_lane_open(struct stream_lane *lane)
{
    struct stream_peer *peer = lane->peer;
    struct worker *worker = peer->client->worker;
    if (lane->dial != NULL || !peer->client->has_identity || peer->port == 0) {
        return;
    }
    struct rpc_dial_config config = {.env = worker->broker->env, .loop = worker->loop, .kind = RPC_KIND_REPLICA};
    struct rpc_dial_events events = {
        .ctx = lane,
        .on_hello = stream_lane_on_hello,
        .on_up = stream_lane_on_up,
        .on_frame = stream_lane_on_frame,
        .on_down = stream_lane_on_down,
    };
    loop_timer_cancel(worker->loop, &lane->tick);
    lane->dial = rpc_dial_new(&config, peer->host, peer->port, &events);
}

/* ---- pings ---- */

static void stream_lane_tick(struct loop_timer *timer)
{
    struct stream_lane *lane = CONTAINER_OF(timer, struct stream_lane, tick);
    if (lane->dial == NULL) {
        stream_lane_open(lane);
        return;
    }
    uint64_t now_us = loop_now_us(stream_lane_loop(lane));
    if (now_us > timer->deadline_us + STREAM_TICK_LATE_US) {
        lane->heard_us = now_us; /* what has come is not read yet */
    }
    if (now_us - lane->heard_us > STREAM_DEAD_US) {
        struct stream_client *client = lane->peer->client;
        logger_limited(client->logger, &client->line_limit, LOG_WARN, "stream", "leader_silent",
                       "leader=%d lane=%u address=%s:%u", lane->peer->broker_id, lane->number, lane->peer->host,
                       (unsigned)lane->peer->port);
        stream_lane_lose(lane);
        rpc_dial_redo(lane->dial);
        return;
    }
    if (now_us - lane->heard_us >= STREAM_PING_US || now_us - lane->said_us >= STREAM_PING_US) {
        stream_wire_send_ping(lane->link, STREAM_PING, ++lane->ping_id);
        lane->said_us = now_us;
        stream_lane_mark_dirty(lane);
    }
    stream_lane_arm(lane, STREAM_PING_US);
}

/* ---- the step ---- */

void stream_lane_mark_dirty(struct stream_lane *lane)
{
    if (!lane->is_dirty) {
        lane->is_dirty = true;
        LL_PREPEND2(lane->peer->client->dirty, lane, next_dirty);
    }
}

static void stream_lane_send(struct stream_lane *lane, enum stream_frame_type type, const ProtobufCMessage *message)
{
    stream_wire_send(lane->link, type, message, NULL, 0);
    lane->said_us = loop_now_us(stream_lane_loop(lane));
    arena_reset(&lane->peer->client->arena);
}

static void stream_lane_send_gone(struct stream_lane *lane)
{
    for (size_t first = 0; first < lane->gone_count; first += STREAM_SUBSCRIPTIONS_MAX) {
        size_t count = lane->gone_count - first;
        Node__ReplicaUnsubscribe message = NODE__REPLICA_UNSUBSCRIBE__INIT;
        message.n_handles = count < STREAM_SUBSCRIPTIONS_MAX ? count : STREAM_SUBSCRIPTIONS_MAX;
        message.handles = lane->gone_handles + first;
        stream_lane_send(lane, STREAM_UNSUBSCRIBE, &message.base);
    }
    lane->gone_count = 0;
}

static void stream_follow_fill(struct stream_follow *follow, Node__ReplicaSubscription *ret_wish)
{
    struct partition *partition = follow->partition;
    struct log_dir *dir = partition_log_dir(partition->log);
    Node__ReplicaSubscription *wish = ret_wish;
    node__replica_subscription__init(wish);
    wish->handle = follow->handle;
    wish->topic_id = (ProtobufCBinaryData){UUID_BYTES, partition->key.topic_id.bytes};
    wish->partition = (uint32_t)partition->key.partition_index;
    wish->leader_epoch = follow->leader_epoch;
    wish->end_offset = partition_log_end_offset(partition->log);
    wish->last_epoch = partition_log_last_epoch(partition->log);
    wish->directory_id = (ProtobufCBinaryData){UUID_BYTES, (uint8_t *)log_dir_meta(dir)->directory_id.bytes};
}

static void stream_lane_send_due(struct stream_lane *lane)
{
    struct arena *arena = &lane->peer->client->arena;
    while (lane->due != NULL) {
        Node__ReplicaSubscribe message = NODE__REPLICA_SUBSCRIBE__INIT;
        Node__ReplicaSubscription *wishes = arena_array(arena, STREAM_SUBSCRIPTIONS_MAX, sizeof(*wishes));
        message.subscriptions = arena_array(arena, STREAM_SUBSCRIPTIONS_MAX, sizeof(*message.subscriptions));
        CHECK(wishes != NULL && message.subscriptions != NULL);
        while (lane->due != NULL && message.n_subscriptions < STREAM_SUBSCRIPTIONS_MAX) {
            struct stream_follow *follow = lane->due;
            stream_follow_set_state(follow, STREAM_FOLLOW_ASKED);
            stream_follow_fill(follow, &wishes[message.n_subscriptions]);
            message.subscriptions[message.n_subscriptions] = &wishes[message.n_subscriptions];
            message.n_subscriptions++;
        }
        stream_lane_send(lane, STREAM_SUBSCRIBE, &message.base);
    }
}

/* Takes acknowledgements from the list until there is none or the frame is full. */
static size_t stream_lane_take_acks(struct stream_lane *lane, Node__ReplicaAck *acks, Node__ReplicaAck **pointers,
                                    size_t count_max)
{
    size_t count = 0;
    while (lane->acks != NULL && count < count_max) {
        struct stream_follow *follow = lane->acks;
        DL_DELETE2(lane->acks, follow, ack_prev, ack_next);
        follow->is_ack_due = false;
        int64_t counted_end = partition_log_counted_end(follow->partition->log);
        if (counted_end <= follow->acked_end) {
            continue;
        }
        follow->acked_end = counted_end;
        node__replica_ack__init(&acks[count]);
        acks[count].handle = follow->handle;
        acks[count].leader_epoch = follow->leader_epoch;
        acks[count].counted_end = counted_end;
        pointers[count] = &acks[count];
        count++;
    }
    return count;
}

static void stream_lane_send_acks(struct stream_lane *lane)
{
    struct arena *arena = &lane->peer->client->arena;
    while (lane->acks != NULL || lane->credit_due_bytes >= STREAM_WINDOW_BYTES / 2) {
        Node__ReplicaAck *follower = NULL;
        struct stream_follow *follow = NULL;
        size_t count = 0;
        DL_COUNT2(lane->acks, follow, count, ack_next);
        count = count < STREAM_ACKS_MAX ? count : STREAM_ACKS_MAX;
        Node__ReplicaAcks message = NODE__REPLICA_ACKS__INIT;
        follower = arena_array(arena, count + 1, sizeof(*follower));
        message.acks = arena_array(arena, count + 1, sizeof(*message.acks));
        CHECK(follower != NULL && message.acks != NULL);
        message.n_acks = stream_lane_take_acks(lane, follower, message.acks, count);
        message.credit_bytes = lane->credit_due_bytes;
        if (message.n_acks == 0 && lane->credit_due_bytes < STREAM_WINDOW_BYTES / 2) {
            arena_reset(arena);
            continue;
        }
        lane->credit_due_bytes = 0;
        stream_lane_send(lane, STREAM_ACKS, &message.base);
    }
}

void stream_lane_step(struct stream_lane *lane)
{
    if (lane->follows == NULL) {
        stream_lane_free(lane);
        return;
    }
    if (lane->link == NULL) {
        return;
    }
    stream_lane_send_gone(lane);
    stream_lane_send_due(lane);
    stream_lane_send_acks(lane);
    rpc_link_flush(lane->link); /* the last: it may end the link */
}

/* ---- life ---- */

struct stream_lane *stream_lane_get(struct stream_peer *peer, uint32_t number)
{
    struct stream_lane *lane = NULL;
    DL_FOREACH (peer->lanes, lane) {
        if (lane->number == number) {
            return lane;
        }
    }
    lane = MEM_NEW(struct stream_lane);
    lane->peer = peer;
    lane->number = number;
    lane->tick.fire = stream_lane_tick;
    DL_APPEND(peer->lanes, lane);
    stream_lane_open(lane);
    return lane;
}

void stream_lane_free(struct stream_lane *lane)
{
    struct stream_peer *peer = lane->peer;
    struct stream_client *client = peer->client;
    CHECK(lane->follows == NULL);
    stream_lane_lose(lane);
    loop_timer_cancel(client->worker->loop, &lane->tick);
    rpc_dial_free(lane->dial);
    if (lane->is_dirty) {
        LL_DELETE2(client->dirty, lane, next_dirty);
    }
    DL_DELETE(peer->lanes, lane);
    mem_free(lane->gone_handles);
    mem_free(lane);
    if (peer->lanes == NULL) {
        DL_DELETE(client->peers, peer);
        mem_free(peer);
    }
}
