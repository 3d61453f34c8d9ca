/* What the leader says: answers, data, ends. */
#include "broker/broker_metrics.h"
#include "broker/stream/stream_client_private.h"
#include "broker/stream/stream_diverge.h"
#include "common/mem.h"

#include <inttypes.h>

/* In a failover the leader may hear of its epoch a moment later than its followers: only what lasts is worth a line. */
#define STREAM_FAILURES_QUIET 6u

static struct stream_follow *stream_lane_find(struct stream_lane *lane, uint32_t handle)
{
    struct stream_follow *follow = NULL;
    HASH_FIND(hh, lane->by_handle, &handle, sizeof(handle), follow);
    return follow;
}

/* ---- answers ---- */

static void stream_follow_refused(struct stream_follow *follow, int32_t error_code)
{
    struct stream_client *client = follow->client;
    const struct partition *partition = follow->partition;
    if (follow->failures >= STREAM_FAILURES_QUIET) {
        logger_limited(client->logger, &client->line_limit, LOG_WARN, "stream", "subscription_refused",
                       "partition=%s-%" PRId32 " leader=%" PRId32 " leader_epoch=%" PRId32 " error=%s",
                       partition->topic_name, partition->key.partition_index, partition->leader_id,
                       follow->leader_epoch, error_code_name((int16_t)error_code));
    }
    stream_follow_fail(follow);
}

static void stream_follow_diverges(struct stream_follow *follow, const Node__ReplicaAnswer *answer)
{
    const struct partition *partition = follow->partition;
    struct stream_history history = {
        .log_start_offset = partition_log_start_offset(partition->log),
        .end_offset = partition_log_end_offset(partition->log),
        .leader_epoch_end_offset = answer->diverging_end_offset,
        .epoch_end_offset = LOG_NO_OFFSET,
    };
    if (answer->diverging_epoch >= 0) {
        int32_t epoch = LOG_NO_EPOCH;
        partition_epoch_end(partition, answer->diverging_epoch, &epoch, &history.epoch_end_offset);
    }
    struct stream_cut cut = stream_diverge_decide(&history);
    stream_follow_cut(follow, cut.offset, cut.is_full);
}

static void stream_follow_answered(struct stream_follow *follow, const Node__ReplicaAnswer *answer)
{
    if (answer->error_code != ERROR_NONE) {
        stream_follow_refused(follow, answer->error_code);
        return;
    }
    if (answer->is_diverging) {
        stream_follow_diverges(follow, answer);
        return;
    }
    if (partition_log_end_offset(follow->partition->log) < answer->log_start_offset) {
        stream_follow_cut(follow, answer->log_start_offset, true);
        return;
    }
    bool is_catch_up = stream_lane_is_catch_up(follow->lane->number);
    if (!follow->has_refused) {
        follow->failures = 0;
    }
    if (is_catch_up ? answer->lag_bytes < STREAM_NEAR_BYTES : answer->lag_bytes > STREAM_FAR_BYTES) {
        stream_follow_place(follow, !is_catch_up);
        return;
    }
    stream_follow_set_state(follow, STREAM_FOLLOW_STREAMING);
    stream_follow_on_counted(follow->client, follow->partition); /* where it stands */
}

static const char *stream_lane_take_answers(struct stream_lane *lane, const Node__ReplicaAnswers *message)
{
    if (message == NULL || message->n_answers > STREAM_SUBSCRIPTIONS_MAX) {
        return "malformed answers";
    }
    for (size_t i = 0; i < message->n_answers; i++) {
        struct stream_follow *follow = stream_lane_find(lane, message->answers[i]->handle);
        if (follow == NULL) {
            continue; /* given up meanwhile */
        }
        bool is_refused = message->answers[i]->error_code != ERROR_NONE; /* a refusal tells no offsets */
        if (follow->state != STREAM_FOLLOW_ASKED || (!is_refused && message->answers[i]->log_start_offset < 0)) {
            return "answer to nothing";
        }
        stream_follow_answered(follow, message->answers[i]);
    }
    return NULL;
}

/* ---- data ---- */

static bool stream_is_refusal(enum err err)
{
    return err == ERR_BUSY || err == ERR_OUT_OF_RANGE || err == ERR_MALFORMED || err == ERR_CORRUPT ||
           err == ERR_TOO_MANY_FILES;
}

static void stream_follow_append_failed(struct stream_follow *follow, const Node__ReplicaPart *part, enum err err)
{
    struct stream_client *client = follow->client;
    const struct partition *partition = follow->partition;
    if (err == ERR_STALE) {
        return; /* another epoch by now: on_follow has come or is coming */
    }
    if (err == ERR_CORRUPT) {
        metric_add(client->worker->metrics, METRIC_REPLICA_CORRUPT, 1);
    }
    logger_limited(client->logger, &client->line_limit, stream_is_refusal(err) ? LOG_WARN : LOG_ERROR, "stream",
                   "append_failed",
                   "partition=%s-%" PRId32 " leader=%" PRId32 " leader_epoch=%" PRId32 " first_offset=%" PRId64
                   " bytes=%" PRIu64 " end_offset=%" PRId64 " err=%s",
                   partition->topic_name, partition->key.partition_index, partition->leader_id, follow->leader_epoch,
                   part->first_offset, part->bytes, partition_log_end_offset(partition->log), err_name(err));
    follow->has_refused = true;
    stream_follow_fail(follow);
}

static void stream_follow_append(struct stream_lane *lane, struct stream_follow *follow, const Node__ReplicaPart *part,
                                 struct span batches)
{
    enum err err = partition_append_replicated(follow->partition, part->leader_epoch, batches, part->high_watermark,
                                               part->log_start_offset);
    if (err != ERR_OK) {
        follow = stream_lane_find(lane, part->handle); /* a failed disk ends it */
        if (follow != NULL) {
            stream_follow_append_failed(follow, part, err);
        }
        return;
    }
    if (batches.bytes == 0) {
        return;
    }
    follow->failures = 0;
    follow->has_refused = false;
    if (stream_lane_is_catch_up(lane->number) && part->lag_bytes < STREAM_NEAR_BYTES) {
        stream_follow_place(follow, false);
    }
}

/* A batch that is larger than a frame: collected, then appended. */
static const char *stream_follow_collect(struct stream_lane *lane, struct stream_follow *follow,
                                         const Node__ReplicaPart *part, struct span bytes)
{
    struct memory_queue *memory = &follow->client->worker->memory;
    if (follow->batch == NULL) {
        if (part->rest_bytes > STREAM_BATCH_BYTES_MAX || bytes.bytes == 0) {
            return "batch too large";
        }
        follow->batch_bytes = bytes.bytes + (size_t)part->rest_bytes;
        follow->batch_filled_bytes = 0;
        follow->batch = mem_alloc(follow->batch_bytes);
        memory_take(memory, follow->batch_bytes);
    }
    size_t room_bytes = follow->batch_bytes - follow->batch_filled_bytes;
    if (bytes.bytes > room_bytes || part->rest_bytes != room_bytes - bytes.bytes) {
        return "pieces that do not fit";
    }
    if (bytes.bytes > 0) {
        memcpy(follow->batch + follow->batch_filled_bytes, bytes.data, bytes.bytes);
    }
    follow->batch_filled_bytes += bytes.bytes;
    if (part->rest_bytes == 0) {
        uint8_t *batch = follow->batch; /* whatever becomes of the follow */
        size_t batch_bytes = follow->batch_bytes;
        follow->batch = NULL;
        stream_follow_append(lane, follow, part, span_make(batch, batch_bytes));
        memory_give(memory, batch_bytes);
        mem_free(batch);
    }
    return NULL;
}

static const char *stream_lane_take_part(struct stream_lane *lane, const Node__ReplicaPart *part, struct span bytes)
{
    struct stream_follow *follow = stream_lane_find(lane, part->handle);
    if (follow == NULL) {
        return NULL; /* given up meanwhile */
    }
    if (follow->state != STREAM_FOLLOW_STREAMING || part->leader_epoch != follow->leader_epoch) {
        return "data that was not asked for";
    }
    if (bytes.bytes > 0 && (follow->batch != NULL || part->rest_bytes > 0)) {
        return stream_follow_collect(lane, follow, part, bytes);
    }
    stream_follow_append(lane, follow, part, bytes);
    return NULL;
}

static const char *stream_lane_take_data(struct stream_lane *lane, const Node__ReplicaData *message, struct span body)
{
    size_t at = 0;
    if (message == NULL || message->n_parts > STREAM_PARTS_MAX) {
        return "malformed data";
    }
    metric_add(lane->peer->client->worker->metrics, METRIC_REPLICATION_BYTES_IN, (int64_t)body.bytes);
    lane->credit_due_bytes += body.bytes;
    if (lane->credit_due_bytes >= STREAM_WINDOW_BYTES / 2) {
        stream_lane_mark_dirty(lane);
    }
    for (size_t i = 0; i < message->n_parts; i++) {
        const Node__ReplicaPart *part = message->parts[i];
        if (part->bytes > body.bytes - at) {
            return "data that ends early";
        }
        const char *problem = stream_lane_take_part(lane, part, span_sub(body, at, (size_t)part->bytes));
        if (problem != NULL) {
            return problem;
        }
        at += (size_t)part->bytes;
    }
    return at == body.bytes ? NULL : "data that belongs to nobody";
}

/* ---- the rest ---- */

static const char *stream_lane_take_ends(struct stream_lane *lane, const Node__ReplicaEnds *message)
{
    if (message == NULL || message->n_ends > STREAM_SUBSCRIPTIONS_MAX) {
        return "malformed ends";
    }
    for (size_t i = 0; i < message->n_ends; i++) {
        struct stream_follow *follow = stream_lane_find(lane, message->ends[i]->handle);
        if (follow != NULL) {
            stream_follow_refused(follow, message->ends[i]->error_code);
        }
    }
    return NULL;
}

const char *stream_lane_take_frame(struct stream_lane *lane, const struct rpc_frame *frame)
{
    struct arena *arena = &lane->peer->client->arena;
    switch (frame->type) {
    case STREAM_ANSWERS:
        return stream_lane_take_answers(lane, stream_wire_answers(arena, frame->header));
    case STREAM_DATA:
        return stream_lane_take_data(lane, stream_wire_data(arena, frame->header), frame->body);
    case STREAM_ENDS:
        return stream_lane_take_ends(lane, stream_wire_ends(arena, frame->header));
    case STREAM_PONG:
        return stream_wire_ping(arena, frame->header) == NULL ? "malformed pong" : NULL;
    default:
        return "frame of an unknown type";
    }
}
