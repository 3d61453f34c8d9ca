/* The leader's side of a partition: who its replicas are and what they hold, the streams' cursors, proposals for the ISR. What is
 * decided is decided by replica_progress. */
#include "broker/broker_options.h"
#include "broker/replica/partition_set.h"
#include "broker/replica/replica_link.h"
#include "broker/worker.h"

#include <utlist.h>

static uint64_t lead_now_us(const struct partition *partition)
{
    return loop_now_us(partition->set->worker->loop);
}

/* ---- members ---- */

static struct replica_member lead_member(const struct image *image, const struct image_partition *metadata,
                                         int32_t broker_id)
{
    const struct image_broker *broker = image_find_broker(image, broker_id);
    return (struct replica_member){
        .broker_id = broker_id,
        .broker_epoch = broker == NULL ? -1 : broker->epoch,
        .is_alive = broker != NULL && !broker->is_fenced && !broker->is_shutting_down,
        .is_in_isr = image_partition_in_isr(metadata, broker_id),
    };
}

/* What was acknowledged before the metadata told of the process that did. */
static void lead_count_cursors(struct partition *partition, uint64_t now_us)
{
    struct replica_cursor *cursor = NULL;
    DL_FOREACH (partition->cursors, cursor) {
        if (cursor->counted_end >= 0) {
            (void)replica_progress_acknowledge(&partition->progress, cursor->broker_id, cursor->broker_epoch,
                                               cursor->counted_end, now_us);
        }
    }
}

static bool lead_has_member(const struct replica_progress *progress, int32_t broker_id)
{
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        if (progress->followers[i].member.broker_id == broker_id) {
            return true;
        }
    }
    return false;
}

static int64_t lead_member_epoch(const struct replica_progress *progress, int32_t broker_id)
{
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        if (progress->followers[i].member.broker_id == broker_id) {
            return progress->followers[i].member.broker_epoch;
        }
    }
    return -1;
}

static void lead_let_go(struct replica_cursor *cursor, enum error_code error)
{
    struct partition *partition = cursor->partition;
    DL_DELETE(partition->cursors, cursor);
    cursor->partition = NULL;
    cursor->on_ended(cursor, error);
}

/* Replicas that the metadata does not name any more, and processes that it has replaced. */
static void lead_drop_strangers(struct partition *partition)
{
    struct replica_cursor *cursor = NULL;
    struct replica_cursor *next = NULL;
    DL_FOREACH_SAFE (partition->cursors, cursor, next) {
        if (!lead_has_member(&partition->progress, cursor->broker_id)) {
            lead_let_go(cursor, ERROR_NOT_LEADER_OR_FOLLOWER);
        } else if (cursor->broker_epoch < lead_member_epoch(&partition->progress, cursor->broker_id)) {
            lead_let_go(cursor, ERROR_STALE_BROKER_EPOCH);
        }
    }
}

void partition_lead_refresh(struct partition *partition)
{
    const struct image *image = partition->set->worker->image;
    if (!partition_is_leading(partition) || image == NULL) {
        return;
    }
    const struct image_topic *topic = image_find_topic_id(image, partition->key.topic_id);
    const struct image_partition *metadata = image_find_partition(topic, partition->key.partition_index);
    if (metadata == NULL || metadata->partition_epoch != partition->partition_epoch) {
        return; /* the partition has yet to hear of what is newer */
    }
    struct replica_member members[IMAGE_REPLICAS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < metadata->replica_count; i++) {
        if (metadata->replicas[i] != partition->set->options.broker_id) {
            members[count++] = lead_member(image, metadata, metadata->replicas[i]);
        }
    }
    uint64_t now_us = lead_now_us(partition);
    replica_progress_set_members(&partition->progress, members, count, partition->partition_epoch,
                                 partition->is_recovering, now_us);
    lead_drop_strangers(partition);
    lead_count_cursors(partition, now_us);
    partition_set_mark_dirty(partition->set, partition);
}

void partition_lead_begin(struct partition *partition)
{
    int64_t start_offset = partition_log_epoch_start_offset(partition->log, partition->leader_epoch);
    int64_t end_offset = partition_log_end_offset(partition->log);
    replica_progress_begin(&partition->progress, start_offset == LOG_NO_OFFSET ? end_offset : start_offset, end_offset);
    partition->news_end = -1;
    partition_lead_refresh(partition);
}

void partition_lead_end(struct partition *partition, enum error_code error)
{
    while (partition->cursors != NULL) {
        lead_let_go(partition->cursors, error);
    }
    replica_progress_done(&partition->progress);
    partition_set_unwatch(partition->set, partition);
}

/* ---- the step ---- */

static uint64_t lead_lag_us(const struct partition *partition)
{
    return partition_set_lag_us(partition->set);
}

int64_t partition_lead_high_watermark(struct partition *partition, int64_t counted_end)
{
    uint64_t now_us = lead_now_us(partition);
    replica_progress_log_end(&partition->progress, partition_log_end_offset(partition->log), now_us);
    return replica_progress_high_watermark(&partition->progress, counted_end, partition_effective_min_isr(partition),
                                           now_us, lead_lag_us(partition));
}

static void lead_tell_cursors(struct partition *partition)
{
    int64_t end_offset = partition_log_end_offset(partition->log);
    int64_t start_offset = partition_log_start_offset(partition->log);
    bool has_moved = end_offset != partition->news_end || partition->high_watermark != partition->news_high_watermark ||
                     start_offset != partition->news_start;
    partition->news_end = end_offset;
    partition->news_high_watermark = partition->high_watermark;
    partition->news_start = start_offset;
    struct replica_cursor *cursor = NULL;
    struct replica_cursor *next = NULL;
    DL_FOREACH_SAFE (partition->cursors, cursor, next) {
        if ((has_moved || cursor->is_new) && !cursor->is_told) {
            cursor->is_new = false;
            cursor->is_told = true;
            cursor->on_news(cursor);
        }
    }
}

void partition_lead_tell(struct partition *partition)
{
    struct partition_set *set = partition->set;
    struct replica_progress *progress = &partition->progress;
    if (partition->cursors != NULL) {
        lead_tell_cursors(partition);
    }
    if (partition_set_can_propose(set) &&
        replica_progress_decide(progress, partition->high_watermark, lead_now_us(partition), lead_lag_us(partition))) {
        struct replica_member members[IMAGE_REPLICAS_MAX];
        uint32_t count = replica_progress_take(progress, members);
        partition_set_propose(set, partition, members, count);
    }
    if (replica_progress_is_watched(progress)) {
        partition_set_watch(set, partition);
    } else {
        partition_set_unwatch(set, partition);
    }
}

void partition_lead_answered(struct partition *partition, int32_t leader_epoch, int32_t partition_epoch, int code)
{
    if (partition_is_leading(partition) && partition->leader_epoch == leader_epoch) {
        replica_progress_answered(&partition->progress, partition_epoch, code, lead_now_us(partition));
        partition_set_mark_dirty(partition->set, partition);
    }
}

/* ---- cursors ---- */

static enum error_code lead_check_subscriber(const struct partition *partition,
                                             const struct replica_subscription *subscription,
                                             const struct replica_cursor *cursor)
{
    enum error_code error = partition_check_leader(partition, subscription->leader_epoch);
    if (error != ERROR_NONE) {
        return error;
    }
    /* Trap 5: only assigned replicas count. An assignment that one side has not heard of yet is asked for again. */
    if (!lead_has_member(&partition->progress, cursor->broker_id)) {
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    if (cursor->broker_epoch < lead_member_epoch(&partition->progress, cursor->broker_id)) {
        return ERROR_STALE_BROKER_EPOCH;
    }
    const struct image *image = partition->set->worker->image;
    const struct image_topic *topic = image_find_topic_id(image, partition->key.topic_id);
    const struct image_partition *metadata = image_find_partition(topic, partition->key.partition_index);
    struct uuid directory_id =
        metadata == NULL ? subscription->directory_id : image_partition_directory(metadata, cursor->broker_id);
    /* Trap 16: a disk that the metadata does not know yet may not stand for the one that it does. */
    return uuid_equal(directory_id, subscription->directory_id) ? ERROR_NONE : ERROR_NOT_LEADER_OR_FOLLOWER;
}

/* Where the follower's history leaves this one (trap 1). */
static void lead_find_divergence(const struct partition *partition, const struct replica_subscription *subscription,
                                 struct replica_position *ret_position)
{
    int64_t end_offset = partition_log_end_offset(partition->log);
    int32_t epoch = LOG_NO_EPOCH;
    if (subscription->end_offset < partition_log_start_offset(partition->log)) {
        return;
    }
    if (subscription->last_epoch != LOG_NO_EPOCH) {
        partition_log_end_offset_for_epoch(partition->log, subscription->last_epoch, &epoch, &end_offset);
        if (epoch == LOG_NO_EPOCH || end_offset == LOG_NO_OFFSET) {
            /* Written in an epoch that this leader's metadata has not reached. */
            ret_position->error = ERROR_UNKNOWN_LEADER_EPOCH;
            return;
        }
    }
    if (epoch < subscription->last_epoch || end_offset < subscription->end_offset) {
        ret_position->is_diverging = true;
        ret_position->diverging_epoch = epoch;
        ret_position->diverging_end_offset = end_offset;
    }
}

void partition_subscribe(struct partition *partition, const struct replica_subscription *subscription,
                         struct replica_cursor *cursor, struct replica_position *ret_position)
{
    CHECK(cursor->partition == NULL);
    *ret_position = (struct replica_position){.leader_epoch = partition->wanted_leader_epoch,
                                              .diverging_epoch = LOG_NO_EPOCH,
                                              .diverging_end_offset = LOG_NO_OFFSET,
                                              .high_watermark = -1,
                                              .log_start_offset = -1};
    ret_position->error = lead_check_subscriber(partition, subscription, cursor);
    if (ret_position->error != ERROR_NONE) {
        return;
    }
    ret_position->high_watermark = partition->high_watermark;
    ret_position->log_start_offset = partition_log_start_offset(partition->log);
    lead_find_divergence(partition, subscription, ret_position);
    if (ret_position->error != ERROR_NONE || ret_position->is_diverging) {
        return;
    }
    struct replica_cursor *older = NULL;
    struct replica_cursor *next = NULL;
    DL_FOREACH_SAFE (partition->cursors, older, next) {
        if (older->broker_id == cursor->broker_id) {
            lead_let_go(older, ERROR_NOT_LEADER_OR_FOLLOWER);
        }
    }
    cursor->partition = partition;
    cursor->leader_epoch = partition->leader_epoch;
    cursor->counted_end = -1;
    cursor->is_told = false;
    cursor->is_new = true;
    DL_APPEND(partition->cursors, cursor);
    partition_set_mark_dirty(partition->set, partition);
}

void partition_unsubscribe(struct replica_cursor *cursor)
{
    if (cursor->partition != NULL) {
        DL_DELETE(cursor->partition->cursors, cursor);
        cursor->partition = NULL;
    }
}

void partition_cursor_sent(struct replica_cursor *cursor, int64_t end_offset)
{
    (void)end_offset;
    cursor->is_told = false;
}

bool partition_acknowledge(struct replica_cursor *cursor, int32_t leader_epoch, int64_t counted_end)
{
    struct partition *partition = cursor->partition;
    /* An acknowledgement speaks of the lineage of its epoch and of no other (trap 5). */
    if (partition == NULL || !partition_is_leading(partition) || leader_epoch != partition->leader_epoch ||
        cursor->leader_epoch != partition->leader_epoch) {
        return false;
    }
    if (counted_end < 0 || counted_end > partition_log_end_offset(partition->log)) {
        return false; /* nobody holds what is not there */
    }
    if (counted_end > cursor->counted_end) {
        cursor->counted_end = counted_end;
    }
    uint64_t now_us = lead_now_us(partition);
    replica_progress_log_end(&partition->progress, partition_log_end_offset(partition->log), now_us);
    (void)replica_progress_acknowledge(&partition->progress, cursor->broker_id, cursor->broker_epoch, counted_end,
                                       now_us);
    partition_set_mark_dirty(partition->set, partition);
    return true;
}
