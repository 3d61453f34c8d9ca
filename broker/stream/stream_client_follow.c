/* One partition that follows: its state, its place on a lane, its truncations. */
#include "broker/broker_metrics.h"
#include "broker/stream/stream_client_private.h"
#include "common/mem.h"

#include <inttypes.h>
#include <utlist.h>

/* ---- state ---- */

static bool stream_follow_has_handle(enum stream_follow_state state)
{
    return state == STREAM_FOLLOW_ASKED || state == STREAM_FOLLOW_STREAMING;
}

static void stream_follow_leave_state(struct stream_follow *follow, enum stream_follow_state next_state)
{
    struct stream_lane *lane = follow->lane;
    if (follow->state == STREAM_FOLLOW_DUE) {
        DL_DELETE2(lane->due, follow, due_prev, due_next);
    } else if (follow->state == STREAM_FOLLOW_BACKOFF) {
        loop_timer_cancel(follow->client->worker->loop, &follow->retry);
    } else if (stream_follow_has_handle(follow->state) && !stream_follow_has_handle(next_state)) {
        HASH_DEL(lane->by_handle, follow);
        if (follow->is_ack_due) {
            DL_DELETE2(lane->acks, follow, ack_prev, ack_next);
            follow->is_ack_due = false;
        }
        stream_follow_drop_batch(follow);
    }
}

void stream_follow_set_state(struct stream_follow *follow, enum stream_follow_state state)
{
    stream_follow_leave_state(follow, state);
    if (state == STREAM_FOLLOW_DUE) {
        DL_APPEND2(follow->lane->due, follow, due_prev, due_next);
        stream_lane_mark_dirty(follow->lane);
    } else if (state == STREAM_FOLLOW_ASKED) {
        follow->handle = ++follow->lane->next_handle;
        follow->acked_end = -1;
        HASH_ADD(hh, follow->lane->by_handle, handle, sizeof(follow->handle), follow);
    }
    follow->state = state;
}

void stream_follow_drop_batch(struct stream_follow *follow)
{
    if (follow->batch != NULL) {
        memory_give(&follow->client->worker->memory, follow->batch_bytes);
        mem_free(follow->batch);
        follow->batch = NULL;
    }
}

/* Without a word to the leader when its link is gone. */
static void stream_follow_unsubscribe(struct stream_follow *follow)
{
    struct stream_lane *lane = follow->lane;
    if (!stream_follow_has_handle(follow->state) || lane->link == NULL) {
        return;
    }
    if (lane->gone_count == lane->gone_capacity) {
        lane->gone_capacity = lane->gone_capacity * 2 + 8;
        lane->gone_handles = mem_grow(lane->gone_handles, lane->gone_capacity, sizeof(*lane->gone_handles));
    }
    lane->gone_handles[lane->gone_count++] = follow->handle;
    stream_lane_mark_dirty(lane);
}

static void stream_follow_ask(struct stream_follow *follow)
{
    stream_follow_set_state(follow, follow->lane->link == NULL ? STREAM_FOLLOW_WAITING : STREAM_FOLLOW_DUE);
}

static void stream_follow_retry(struct loop_timer *timer)
{
    stream_follow_ask(CONTAINER_OF(timer, struct stream_follow, retry));
}

void stream_follow_fail(struct stream_follow *follow)
{
    struct loop *loop = follow->client->worker->loop;
    uint64_t delay_us = STREAM_BACKOFF_MAX_US;
    if (follow->failures < 16) {
        delay_us = (uint64_t)STREAM_BACKOFF_MIN_US << follow->failures;
        delay_us = delay_us < STREAM_BACKOFF_MAX_US ? delay_us : STREAM_BACKOFF_MAX_US;
        follow->failures++;
    }
    metric_add(follow->client->worker->metrics, METRIC_REPLICA_RESUBSCRIPTIONS, 1);
    stream_follow_unsubscribe(follow);
    stream_follow_set_state(follow, STREAM_FOLLOW_BACKOFF);
    follow->retry.fire = stream_follow_retry;
    loop_timer_set(loop, &follow->retry, loop_now_us(loop) + delay_us);
}

/* ---- lanes ---- */

static void stream_follow_leave(struct stream_follow *follow)
{
    struct stream_lane *lane = follow->lane;
    if (lane == NULL) {
        return;
    }
    stream_follow_unsubscribe(follow);
    if (follow->state != STREAM_FOLLOW_CUTTING) {
        stream_follow_set_state(follow, STREAM_FOLLOW_WAITING);
    }
    DL_DELETE(lane->follows, follow);
    stream_lane_mark_dirty(lane); /* it may have been the last */
    follow->lane = NULL;
}

void stream_follow_join(struct stream_follow *follow, struct stream_lane *lane)
{
    stream_follow_leave(follow);
    follow->lane = lane;
    DL_APPEND(lane->follows, follow);
    if (follow->state != STREAM_FOLLOW_CUTTING) {
        stream_follow_ask(follow);
    }
}

void stream_follow_place(struct stream_follow *follow, bool is_catch_up)
{
    const struct partition *partition = follow->partition;
    struct stream_peer *peer = stream_client_peer(follow->client, partition->leader_id);
    uint32_t worker_index =
        stream_lane_hash(partition->key.topic_id, partition->key.partition_index, peer->worker_count);
    stream_follow_join(follow, stream_lane_get(peer, stream_lane_make(worker_index, is_catch_up)));
}

/* ---- truncation ---- */

static void stream_follow_cut_done(struct stream_follow *follow, const struct stream_cutting *cutting, enum err err)
{
    struct stream_client *client = follow->client;
    const struct partition *partition = follow->partition;
    stream_follow_set_state(follow, STREAM_FOLLOW_WAITING);
    if (err != ERR_OK) {
        logger_limited(client->logger, &client->line_limit, LOG_WARN, "stream", "truncation_failed",
                       "partition=%s-%" PRId32 " err=%s", partition->topic_name, partition->key.partition_index,
                       err_name(err));
        stream_follow_fail(follow);
        return;
    }
    if (!cutting->is_full && partition_log_end_offset(partition->log) == cutting->end_offset &&
        partition_log_last_epoch(partition->log) == cutting->last_epoch) {
        logger_limited(client->logger, &client->line_limit, LOG_ERROR, "stream", "divergence_stays",
                       "partition=%s-%" PRId32 " end_offset=%" PRId64 " last_epoch=%" PRId32, partition->topic_name,
                       partition->key.partition_index, cutting->end_offset, cutting->last_epoch);
        stream_follow_fail(follow);
        return;
    }
    stream_follow_ask(follow);
}

static void stream_follow_on_cut(void *ctx, enum err err)
{
    struct stream_cutting *cutting = ctx;
    struct stream_client *client = cutting->client;
    client->cutting_count--;
    if (cutting->follow != NULL) {
        cutting->follow->cutting = NULL;
        stream_follow_cut_done(cutting->follow, cutting, err);
    }
    mem_free(cutting);
    stream_client_check_stopped(client);
}

void stream_follow_cut(struct stream_follow *follow, int64_t offset, bool is_full)
{
    struct stream_client *client = follow->client;
    struct partition *partition = follow->partition;
    CHECK(follow->cutting == NULL);
    logger_limited(client->logger, &client->cut_limit, offset < partition->high_watermark ? LOG_WARN : LOG_INFO,
                   "stream", "truncating",
                   "partition=%s-%" PRId32 " leader=%" PRId32 " leader_epoch=%" PRId32 " end_offset=%" PRId64
                   " last_epoch=%" PRId32 " high_watermark=%" PRId64 " to=%" PRId64 " full=%d",
                   partition->topic_name, partition->key.partition_index, partition->leader_id, follow->leader_epoch,
                   partition_log_end_offset(partition->log), partition_log_last_epoch(partition->log),
                   partition->high_watermark, offset, is_full ? 1 : 0);
    struct stream_cutting *cutting = MEM_NEW(struct stream_cutting);
    cutting->client = client;
    cutting->follow = follow;
    cutting->end_offset = partition_log_end_offset(partition->log);
    cutting->last_epoch = partition_log_last_epoch(partition->log);
    cutting->is_full = is_full;
    follow->cutting = cutting;
    client->cutting_count++;
    metric_add(client->worker->metrics, METRIC_REPLICA_TRUNCATIONS, 1);
    stream_follow_set_state(follow, STREAM_FOLLOW_CUTTING);
    partition_truncate(partition, follow->leader_epoch, offset, is_full, stream_follow_on_cut, cutting);
}

/* ---- what the partitions say ---- */

void stream_follow_free(struct stream_follow *follow)
{
    if (follow->cutting != NULL) {
        follow->cutting->follow = NULL;
    }
    stream_follow_leave(follow);
    follow->partition->follow_slot = NULL;
    mem_free(follow);
}

void stream_follow_on_follow(void *ctx, struct partition *partition)
{
    struct stream_client *client = ctx;
    struct stream_follow *follow = partition->follow_slot;
    if (client->is_stopping) {
        return;
    }
    if (partition->leader_id < 0) { /* nobody leads: there will be a later epoch */
        stream_follow_on_unfollow(ctx, partition);
        return;
    }
    if (follow == NULL) {
        follow = MEM_NEW(struct stream_follow);
        follow->client = client;
        follow->partition = partition;
        partition->follow_slot = follow;
    }
    follow->leader_epoch = partition->leader_epoch;
    follow->failures = 0;
    follow->has_refused = false;
    stream_follow_place(follow, false);
    if (follow->lane->dial != NULL && follow->lane->link == NULL) {
        rpc_dial_hurry(follow->lane->dial); /* the new leader has come up, as it seems */
    }
}

void stream_follow_on_unfollow(void *ctx, struct partition *partition)
{
    (void)ctx;
    if (partition->follow_slot != NULL) {
        stream_follow_free(partition->follow_slot);
    }
}

void stream_follow_on_counted(void *ctx, struct partition *partition)
{
    struct stream_follow *follow = partition->follow_slot;
    (void)ctx;
    if (follow == NULL || follow->state != STREAM_FOLLOW_STREAMING || follow->is_ack_due) {
        return;
    }
    follow->is_ack_due = true;
    DL_APPEND2(follow->lane->acks, follow, ack_prev, ack_next);
    stream_lane_mark_dirty(follow->lane);
}
