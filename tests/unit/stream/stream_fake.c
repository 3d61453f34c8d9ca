/* What broker/replica/partition.c would do, as far as the streams see it (replica_link.h). */
#include "broker/replica/partition_set.h"
#include "common/mem.h"
#include "proto/record/batch.h"
#include "tests/unit/stream/stream_harness.h"

static struct fake_partition *fake_of(const struct partition *partition)
{
    return CONTAINER_OF((struct partition *)partition, struct fake_partition, base);
}

struct uuid fake_topic_id(unsigned index)
{
    struct uuid id = {{7, 7, 7}};
    id.bytes[15] = (uint8_t)(index / 16); /* several topics, so that the hash has something to do */
    return id;
}

/* ---- replica_link.h: the leader ---- */

void fake_follower_clear(struct fake_follower *follower)
{
    follower->cursor = NULL;
    follower->sent_end = -1;
    follower->told_high_watermark = -1;
    follower->told_log_start = -1;
}

static void let_go(struct fake_follower *follower, enum error_code error)
{
    struct replica_cursor *cursor = follower->cursor;
    fake_follower_clear(follower);
    if (cursor != NULL) {
        cursor->partition = NULL;
        cursor->on_ended(cursor, error);
    }
}

static enum error_code check_epoch(const struct fake_partition *fake, int32_t leader_epoch)
{
    if (!fake->leads) {
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    if (leader_epoch == fake->base.leader_epoch) {
        return ERROR_NONE;
    }
    return leader_epoch < fake->base.leader_epoch ? ERROR_FENCED_LEADER_EPOCH : ERROR_UNKNOWN_LEADER_EPOCH;
}

static void find_divergence(const struct partition_log *log, const struct replica_subscription *subscription,
                            struct replica_position *position)
{
    int32_t epoch = LOG_NO_EPOCH;
    int64_t end_offset = LOG_NO_OFFSET;
    if (subscription->end_offset < partition_log_start_offset(log)) {
        return;
    }
    if (subscription->last_epoch >= 0) {
        partition_log_end_offset_for_epoch(log, subscription->last_epoch, &epoch, &end_offset);
    } else {
        epoch = partition_log_last_epoch(log);
        end_offset = partition_log_end_offset(log);
    }
    if (epoch < subscription->last_epoch || end_offset < subscription->end_offset) {
        position->is_diverging = true;
        position->diverging_epoch = epoch;
        position->diverging_end_offset = end_offset;
    }
}

void partition_subscribe(struct partition *partition, const struct replica_subscription *subscription,
                         struct replica_cursor *cursor, struct replica_position *ret_position)
{
    struct fake_partition *fake = fake_of(partition);
    struct replica_position *position = ret_position;
    *position = (struct replica_position){.error = check_epoch(fake, subscription->leader_epoch),
                                          .leader_epoch = partition->leader_epoch,
                                          .diverging_epoch = -1,
                                          .diverging_end_offset = -1,
                                          .high_watermark = -1,
                                          .log_start_offset = -1};
    CHECK(cursor->broker_id >= 1 && cursor->broker_id <= (int32_t)NODES_MAX);
    CHECK(cursor->broker_id != fake->node->id);
    if (position->error != ERROR_NONE) {
        return;
    }
    position->high_watermark = partition->high_watermark;
    position->log_start_offset = partition_log_start_offset(partition->log);
    find_divergence(partition->log, subscription, position);
    if (position->is_diverging) {
        return;
    }
    struct fake_follower *follower = &fake->followers[cursor->broker_id - 1];
    let_go(follower, ERROR_FENCED_LEADER_EPOCH); /* the older one of two links */
    follower->cursor = cursor;
    follower->sent_end = subscription->end_offset;
    cursor->partition = partition;
    cursor->leader_epoch = subscription->leader_epoch;
    cursor->is_told = false;
}

void partition_unsubscribe(struct replica_cursor *cursor)
{
    if (cursor->partition != NULL) {
        struct fake_follower *follower = &fake_of(cursor->partition)->followers[cursor->broker_id - 1];
        CHECK(follower->cursor == cursor);
        fake_follower_clear(follower);
        cursor->partition = NULL;
    }
}

void partition_cursor_sent(struct replica_cursor *cursor, int64_t end_offset)
{
    struct fake_follower *follower = &fake_of(cursor->partition)->followers[cursor->broker_id - 1];
    CHECK(follower->cursor == cursor);
    CHECK(end_offset >= follower->sent_end);
    CHECK(end_offset <= partition_log_end_offset(cursor->partition->log));
    follower->sent_end = end_offset;
    cursor->is_told = false;
}

bool partition_acknowledge(struct replica_cursor *cursor, int32_t leader_epoch, int64_t counted_end)
{
    struct fake_partition *fake = fake_of(cursor->partition);
    struct fake_follower *follower = &fake->followers[cursor->broker_id - 1];
    if (leader_epoch != fake->base.leader_epoch || !fake->leads) {
        fake->stale_ack_count++;
        return false;
    }
    CHECK(counted_end <= follower->sent_end);
    follower->counted_end = counted_end;
    fake->ack_count++;
    return true;
}

/* ---- replica_link.h: the follower ---- */

static enum err check_batches(const struct partition_log *log, struct span batches)
{
    struct batch batch;
    int64_t next_offset = partition_log_end_offset(log);
    while (batches.bytes > 0) {
        enum err err = batch_next(&batches, &batch);
        err = err == ERR_OK ? batch_check_crc(&batch) : err;
        if (err != ERR_OK) {
            return err;
        }
        if (batch.header.base_offset < next_offset) {
            return ERR_OUT_OF_RANGE;
        }
        next_offset = batch_next_offset(&batch.header);
    }
    return ERR_OK;
}

static void ignore_result(void *ctx, enum err err)
{
    (void)ctx;
    (void)err;
}

enum err partition_append_replicated(struct partition *partition, int32_t leader_epoch, struct span batches,
                                     int64_t high_watermark, int64_t log_start_offset)
{
    struct fake_partition *fake = fake_of(partition);
    CHECK(fake->is_open);
    if (leader_epoch != partition->leader_epoch || fake->leads) {
        return ERR_STALE;
    }
    if (fake->is_busy) {
        return ERR_BUSY;
    }
    if (batches.bytes > 0 && fake->append_err_count > 0) {
        fake->append_err_count--;
        return fake->append_err;
    }
    enum err err = check_batches(partition->log, batches);
    if (err == ERR_OK && batches.bytes > 0) {
        err = partition_log_append_as_follower(partition->log, batches);
        fake->append_count++;
    }
    if (err != ERR_OK) {
        return err;
    }
    int64_t end_offset = partition_log_end_offset(partition->log);
    high_watermark = high_watermark < end_offset ? high_watermark : end_offset;
    if (high_watermark > partition->high_watermark) {
        partition->high_watermark = high_watermark;
        partition_log_set_high_watermark(partition->log, high_watermark);
    }
    if (log_start_offset > partition_log_start_offset(partition->log) &&
        log_start_offset <= partition->high_watermark) {
        partition_log_delete_records(partition->log, log_start_offset, ignore_result, NULL);
    }
    return ERR_OK;
}

static void act(struct fake_partition *fake);

static void on_cut(void *ctx, enum err err)
{
    struct fake_partition *fake = ctx;
    log_done_fn done = fake->cut_done;
    void *done_ctx = fake->cut_ctx;
    fake->is_busy = false;
    fake->cut_done = NULL;
    fake->base.high_watermark = partition_log_high_watermark(fake->base.log);
    done(done_ctx, err);
    act(fake);
}

struct refusal {
    struct loop_task task;
    enum err err;
    log_done_fn done;
    void *ctx;
};

static void refuse_cut(struct loop_task *task)
{
    struct refusal *refusal = CONTAINER_OF(task, struct refusal, task);
    refusal->done(refusal->ctx, refusal->err);
    mem_free(refusal);
}

void partition_truncate(struct partition *partition, int32_t leader_epoch, int64_t offset, bool is_full,
                        log_done_fn done, void *ctx)
{
    struct fake_partition *fake = fake_of(partition);
    if (fake->is_busy || leader_epoch != partition->leader_epoch || fake->leads) {
        struct refusal *refusal = MEM_NEW(struct refusal);
        *refusal = (struct refusal){
            .task.run = refuse_cut, .err = fake->is_busy ? ERR_BUSY : ERR_STALE, .done = done, .ctx = ctx};
        loop_defer(fake->node->loop, &refusal->task);
        return;
    }
    fake->is_busy = true;
    fake->cut_done = done;
    fake->cut_ctx = ctx;
    fake->cut_count++;
    fake->cut_offset = offset;
    if (is_full) {
        partition_log_truncate_fully(partition->log, offset, on_cut, fake);
    } else {
        partition_log_truncate_to(partition->log, offset, on_cut, fake);
    }
}

void partition_epoch_end(const struct partition *partition, int32_t leader_epoch, int32_t *ret_epoch,
                         int64_t *ret_end_offset)
{
    partition_log_end_offset_for_epoch(partition->log, leader_epoch, ret_epoch, ret_end_offset);
}

struct partition *partition_set_find(struct partition_set *set, struct uuid topic_id, int32_t partition_index)
{
    struct stream_node *node = (struct stream_node *)set;
    unsigned index = (unsigned)partition_index;
    bool is_there = index < node->partition_count && uuid_equal(fake_topic_id(index), topic_id);
    return is_there ? &node->partitions[index].base : NULL;
}

/* ---- elections ---- */

static void on_epoch_begun(void *ctx, enum err err)
{
    struct fake_partition *fake = ctx;
    fake->is_busy = false;
    if (err == ERR_OK && fake->wanted_leader_id == fake->node->id && fake->wanted_epoch == fake->base.leader_epoch) {
        fake->leads = true;
        fake->base.state = PARTITION_LEADER;
    }
    act(fake);
}

static void stop_following(struct fake_partition *fake)
{
    if (fake->is_following) {
        fake->is_following = false;
        fake->node->follow.on_unfollow(fake->node->follow.ctx, &fake->base);
        CHECK(fake->base.follow_slot == NULL);
    }
}

/* Does what the metadata wants, when the log has time. */
static void act(struct fake_partition *fake)
{
    struct partition *partition = &fake->base;
    if (fake->is_busy || fake->wanted_epoch <= partition->leader_epoch || !fake->is_open) {
        return;
    }
    fake->leads = false;
    partition->leader_epoch = fake->wanted_epoch;
    partition->leader_id = fake->wanted_leader_id;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        let_go(&fake->followers[i], ERROR_NOT_LEADER_OR_FOLLOWER);
        fake->followers[i].counted_end = -1;
    }
    if (partition->leader_id == fake->node->id) {
        stop_following(fake);
        fake->is_busy = true;
        partition_log_begin_epoch(partition->log, partition->leader_epoch, on_epoch_begun, fake);
        return;
    }
    fake->is_following = true;
    fake->node->follow.on_follow(fake->node->follow.ctx, partition);
}

void node_elect(struct stream_node *node, unsigned index, int32_t leader_id, int32_t epoch)
{
    struct fake_partition *fake = &node->partitions[index];
    if (epoch > fake->wanted_epoch) {
        fake->wanted_leader_id = leader_id;
        fake->wanted_epoch = epoch;
        if (fake->leads) { /* at once, whatever the log is doing: nothing is appended in the old epoch any more */
            fake->leads = false;
            for (unsigned i = 0; i < NODES_MAX; i++) {
                let_go(&fake->followers[i], ERROR_NOT_LEADER_OR_FOLLOWER);
            }
        }
        act(fake);
    }
}

/* ---- the leader's part of the step ---- */

void fake_lead(struct fake_partition *fake, int64_t counted_end)
{
    struct partition *partition = &fake->base;
    int64_t least = counted_end;
    for (unsigned i = 0; i < fake->node->node_count; i++) {
        bool is_self = (int32_t)i + 1 == fake->node->id;
        if (!is_self && fake->followers[i].counted_end < least) {
            least = fake->followers[i].counted_end;
        }
    }
    if (least > partition->high_watermark) {
        partition->high_watermark = least;
        partition_log_set_high_watermark(partition->log, least);
    }
    int64_t end_offset = partition_log_end_offset(partition->log);
    int64_t log_start = partition_log_start_offset(partition->log);
    for (unsigned i = 0; i < fake->node->node_count; i++) {
        struct fake_follower *follower = &fake->followers[i];
        if (follower->cursor == NULL || follower->cursor->is_told ||
            (follower->sent_end >= end_offset && follower->told_high_watermark == partition->high_watermark &&
             follower->told_log_start == log_start)) {
            continue;
        }
        follower->told_high_watermark = partition->high_watermark;
        follower->told_log_start = log_start;
        follower->cursor->is_told = true;
        follower->cursor->on_news(follower->cursor);
    }
}
