/* What followers say. Nothing is sent from here but pongs: answers and data leave in the step. */
#include "broker/stream/stream_server_private.h"
#include "common/mem.h"

static void stream_sub_on_news(struct replica_cursor *cursor)
{
    struct stream_sub *sub = CONTAINER_OF(cursor, struct stream_sub, cursor);
    if (sub->place == STREAM_QUIET || sub->place == STREAM_MARKED) {
        sub->news_step = sub->has_sent_all ? sub->server->step_number : 0;
        stream_sub_set_place(sub, STREAM_READY);
        stream_server_activate(sub->link);
    }
}

static void stream_sub_on_ended(struct replica_cursor *cursor, enum error_code error)
{
    struct stream_sub *sub = CONTAINER_OF(cursor, struct stream_sub, cursor);
    if (sub->link != NULL) {
        stream_sub_end(sub, error);
    }
}

static void stream_server_refuse(struct stream_server_link *link, uint32_t handle, enum error_code error)
{
    stream_server_add_answer(link, handle)->error_code = error;
}

/* The partition has said what it thinks of the follower's history. */
static void stream_server_take_position(struct stream_sub *sub, const struct replica_subscription *subscription,
                                        const struct replica_position *position)
{
    struct stream_server_link *link = sub->link;
    if (position->error == ERROR_NONE && !position->is_diverging &&
        subscription->end_offset < position->log_start_offset) {
        sub->is_anew = true; /* answered when the log was read */
        sub->next_offset = subscription->end_offset;
        stream_sub_set_place(sub, STREAM_READY);
        stream_server_activate(link);
        return;
    }
    Node__ReplicaAnswer *answer = stream_server_add_answer(link, sub->handle);
    answer->error_code = position->error;
    answer->leader_epoch = position->leader_epoch;
    answer->is_diverging = position->is_diverging;
    answer->diverging_epoch = position->diverging_epoch;
    answer->diverging_end_offset = position->diverging_end_offset;
    answer->high_watermark = position->high_watermark;
    answer->log_start_offset = position->log_start_offset;
    if (position->error != ERROR_NONE || position->is_diverging) {
        stream_sub_drop(sub);
        return;
    }
    answer->lag_bytes = stream_sub_lag_bytes(sub);
}

static void stream_server_subscribe_one(struct stream_server_link *link, const Node__ReplicaSubscription *wish)
{
    struct stream_server *server = link->server;
    struct replica_subscription subscription = {
        .leader_epoch = wish->leader_epoch, .end_offset = wish->end_offset, .last_epoch = wish->last_epoch};
    struct uuid topic_id;
    memcpy(topic_id.bytes, wish->topic_id.data, UUID_BYTES);
    memcpy(subscription.directory_id.bytes, wish->directory_id.data, UUID_BYTES);
    struct partition *partition = partition_set_find(server->worker->partitions, topic_id, (int32_t)wish->partition);
    if (partition == NULL) {
        stream_server_refuse(link, wish->handle, ERROR_UNKNOWN_TOPIC_OR_PARTITION); /* not known yet, or any more */
        return;
    }
    struct stream_sub *sub = MEM_NEW(struct stream_sub);
    sub->server = server;
    sub->link = link;
    sub->handle = wish->handle;
    sub->leader_epoch = wish->leader_epoch;
    sub->next_offset = wish->end_offset;
    sub->is_empty = wish->last_epoch == LOG_NO_EPOCH;
    sub->sent_high_watermark = -1;
    sub->sent_log_start_offset = -1;
    sub->cursor.broker_id = link->broker_id;
    sub->cursor.broker_epoch = rpc_link_peer(link->rpc)->broker_epoch;
    sub->cursor.on_news = stream_sub_on_news;
    sub->cursor.on_ended = stream_sub_on_ended;
    HASH_ADD(hh, link->subs, handle, sizeof(sub->handle), sub);
    struct replica_position position = {.error = ERROR_NONE};
    partition_subscribe(partition, &subscription, &sub->cursor, &position);
    stream_server_take_position(sub, &subscription, &position);
}

static struct stream_sub *stream_server_find(struct stream_server_link *link, uint32_t handle)
{
    struct stream_sub *sub = NULL;
    HASH_FIND(hh, link->subs, &handle, sizeof(handle), sub);
    return sub;
}

/* NULL, or what is wrong. */
static const char *stream_server_subscribe(struct stream_server_link *link, const Node__ReplicaSubscribe *message)
{
    if (message == NULL || message->n_subscriptions > STREAM_SUBSCRIPTIONS_MAX) {
        return "malformed subscription";
    }
    for (size_t i = 0; i < message->n_subscriptions; i++) {
        const Node__ReplicaSubscription *wish = message->subscriptions[i];
        if (wish->topic_id.len != UUID_BYTES || wish->directory_id.len != UUID_BYTES || wish->partition > INT32_MAX ||
            wish->end_offset < 0 || wish->leader_epoch < 0 || wish->last_epoch < -1) {
            return "malformed subscription";
        }
        if (stream_server_find(link, wish->handle) != NULL) {
            return "handle used twice";
        }
        if (HASH_COUNT(link->subs) >= STREAM_HANDLES_MAX) {
            return "too many subscriptions";
        }
        stream_server_subscribe_one(link, wish);
    }
    return NULL;
}

static const char *stream_server_unsubscribe(struct stream_server_link *link, const Node__ReplicaUnsubscribe *message)
{
    if (message == NULL || message->n_handles > STREAM_SUBSCRIPTIONS_MAX) {
        return "malformed unsubscription";
    }
    for (size_t i = 0; i < message->n_handles; i++) {
        struct stream_sub *sub = stream_server_find(link, message->handles[i]);
        if (sub != NULL) { /* else its end is on the way to the follower */
            stream_sub_drop(sub);
        }
    }
    return NULL;
}

/* The acknowledgement is what data safety rests on (trap 5): nothing is believed that can't be. */
static const char *stream_server_acks(struct stream_server_link *link, const Node__ReplicaAcks *message)
{
    if (message == NULL || message->n_acks > STREAM_ACKS_MAX) {
        return "malformed acknowledgement";
    }
    for (size_t i = 0; i < message->n_acks; i++) {
        const Node__ReplicaAck *ack = message->acks[i];
        struct stream_sub *sub = stream_server_find(link, ack->handle);
        if (sub == NULL || ack->leader_epoch != sub->leader_epoch) {
            continue; /* ended meanwhile */
        }
        if (ack->counted_end < 0 || ack->counted_end > sub->next_offset || sub->is_anew) {
            return "acknowledgement of what was never sent";
        }
        (void)partition_acknowledge(&sub->cursor, ack->leader_epoch, ack->counted_end);
    }
    if (message->credit_bytes > (uint64_t)((int64_t)STREAM_WINDOW_BYTES - link->credit_bytes)) {
        return "credit for what was never sent";
    }
    bool was_empty = link->credit_bytes <= 0;
    link->credit_bytes += (int64_t)message->credit_bytes;
    if (was_empty && link->ready != NULL) {
        stream_server_activate(link);
    }
    return NULL;
}

static const char *stream_server_ping(struct stream_server_link *link, const Node__ReplicaPing *message)
{
    if (message == NULL) {
        return "malformed ping";
    }
    stream_wire_send_ping(link->rpc, STREAM_PONG, message->id);
    stream_server_activate(link);
    return NULL;
}

void stream_server_on_frame(void *ctx, const struct rpc_frame *frame)
{
    struct stream_server_link *link = ctx;
    struct arena *arena = &link->server->arena;
    const char *problem = "frame of an unknown type";
    link->heard_us = loop_now_us(link->server->worker->loop);
    switch (frame->type) {
    case STREAM_SUBSCRIBE:
        problem = stream_server_subscribe(link, stream_wire_subscribe(arena, frame->header));
        break;
    case STREAM_UNSUBSCRIBE:
        problem = stream_server_unsubscribe(link, stream_wire_unsubscribe(arena, frame->header));
        break;
    case STREAM_ACKS:
        problem = stream_server_acks(link, stream_wire_acks(arena, frame->header));
        break;
    case STREAM_PING:
        problem = stream_server_ping(link, stream_wire_ping(arena, frame->header));
        break;
    default:
        break;
    }
    arena_reset(arena);
    if (problem != NULL) {
        stream_server_close(link, problem);
        return;
    }
    stream_server_settle(link);
    if (!link->is_paused && rpc_link_queued_bytes(link->rpc) > STREAM_UNREAD_BYTES_MAX) {
        link->is_paused = true;
        rpc_link_pause(link->rpc);
    }
}
