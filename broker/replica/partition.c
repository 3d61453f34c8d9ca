#include "broker/replica/partition.h"

#include "broker/replica/partition_set.h"
#include "broker/worker.h"
#include "common/seam/clock.h"
#include "common/seam/env.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

static bool partition_is_move_legal(enum partition_state from, enum partition_state to)
{
    switch (from) {
    case PARTITION_OPENING:
        return true;
    case PARTITION_LEADER:
    case PARTITION_FOLLOWER:
        return to != PARTITION_OPENING && to != from;
    case PARTITION_OFFLINE:
        return to == PARTITION_CLOSING;
    case PARTITION_CLOSING:
        return false;
    }
    UNREACHABLE();
}

static void partition_append_end(struct partition_append *append, enum error_code error)
{
    append->error = error;
    append->done(append);
}

static void partition_waiters_fail(struct partition *partition, struct partition_append **list, enum error_code error)
{
    while (*list != NULL) {
        struct partition_append *append = *list;
        DL_DELETE(*list, append);
        append->is_waiting = false;
        loop_timer_cancel(partition->set->worker->loop, &append->timer);
        partition_append_end(append, error);
    }
}

/* Takes waiters off one by one: a callback may cancel others, and may wait again (at the end of the list). */
static void partition_wake_first(struct partition *partition)
{
    struct partition_waiter *waiter = partition->read_waiters;
    DL_DELETE(partition->read_waiters, waiter);
    waiter->is_waiting = false;
    waiter->wake(waiter);
}

static void partition_wake_all(struct partition *partition)
{
    struct partition_waiter *waiter = NULL;
    size_t count = 0;
    DL_COUNT(partition->read_waiters, waiter, count);
    for (; count > 0 && partition->read_waiters != NULL; count--) {
        partition_wake_first(partition);
    }
}

enum error_code partition_check_leader(const struct partition *partition, int32_t current_leader_epoch)
{
    switch (partition->state) {
    case PARTITION_OPENING:
    case PARTITION_CLOSING:
        return ERROR_NOT_LEADER_OR_FOLLOWER;
    case PARTITION_OFFLINE:
        return ERROR_KAFKA_STORAGE_ERROR;
    case PARTITION_LEADER:
    case PARTITION_FOLLOWER:
        break;
    }
    /* Who asks with an epoch learns first whose idea is older, as in Kafka. */
    if (current_leader_epoch != -1 && current_leader_epoch != partition->wanted_leader_epoch) {
        return current_leader_epoch < partition->wanted_leader_epoch ? ERROR_FENCED_LEADER_EPOCH
                                                                     : ERROR_UNKNOWN_LEADER_EPOCH;
    }
    return partition_is_leading(partition) ? ERROR_NONE : ERROR_NOT_LEADER_OR_FOLLOWER;
}

/* The outcome of what waits is unknown to its client from here on (KAFKA-13574, trap 6). */
void partition_end_waiting(struct partition *partition, enum error_code error)
{
    partition_lead_end(partition, error);
    partition_waiters_fail(partition, &partition->counted_waiters, error);
    partition_waiters_fail(partition, &partition->committed_waiters, error);
    partition_wake_all(partition);
}

void partition_set_state(struct partition *partition, enum partition_state state)
{
    CHECK(partition_is_move_legal(partition->state, state));
    if (partition->state == PARTITION_FOLLOWER) {
        partition_follow_end(partition);
    }
    partition->state = state;
    if (state != PARTITION_LEADER) {
        partition_end_waiting(partition, partition_check_leader(partition, -1));
    }
    partition_count(partition);
}

void partition_set_leader_epoch(struct partition *partition, int32_t leader_epoch)
{
    CHECK(leader_epoch >= partition->leader_epoch);
    if (leader_epoch == partition->leader_epoch) {
        return;
    }
    partition->leader_epoch = leader_epoch;
    partition_end_waiting(partition, ERROR_NOT_LEADER_OR_FOLLOWER);
}

int32_t partition_effective_min_isr(const struct partition *partition)
{
    return partition->settings.min_insync_replicas < partition->replica_count ? partition->settings.min_insync_replicas
                                                                              : partition->replica_count;
}

static enum error_code partition_refusal_code(const struct partition *partition, enum append_refusal refusal,
                                              char *ret_message)
{
    const char *topic = partition->topic_name;
    int32_t index = partition->key.partition_index;
    switch (refusal) {
    case APPEND_ACCEPTED:
        return ERROR_NONE;
    case APPEND_OUT_OF_ORDER_SEQUENCE:
        (void)snprintf(ret_message, PARTITION_MESSAGE_BYTES,
                       "the batch's first sequence does not follow the last one of its producer in %s-%" PRId32
                       "; nothing was appended",
                       topic, index);
        return ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case APPEND_INVALID_PRODUCER_EPOCH:
        (void)snprintf(ret_message, PARTITION_MESSAGE_BYTES,
                       "a newer instance of this producer has written to %s-%" PRId32 "; this one must stop", topic,
                       index);
        return ERROR_INVALID_PRODUCER_EPOCH;
    case APPEND_INVALID_TXN_STATE:
        (void)snprintf(ret_message, PARTITION_MESSAGE_BYTES,
                       "the producer has an open transaction in %s-%" PRId32 ": write inside of it, or end it first",
                       topic, index);
        return ERROR_INVALID_TXN_STATE;
    case APPEND_COORDINATOR_FENCED:
        return ERROR_TRANSACTION_COORDINATOR_FENCED;
    case APPEND_OFFSETS_EXHAUSTED:
        (void)snprintf(ret_message, PARTITION_MESSAGE_BYTES, "%s-%" PRId32 " has no offsets left", topic, index);
        return ERROR_INVALID_RECORD;
    }
    UNREACHABLE();
}

/* librdkafka may send to a new leader what comes behind a batch that the former leader still has to refuse (its issue 4953): a gap that closes by
 * itself if it is not called one (docs/adr/0013). */
static bool partition_is_new_leader(const struct partition *partition)
{
    return loop_now_us(partition->set->worker->loop) - partition->took_over_us < PARTITION_NEW_LEADER_US;
}

/* A batch that was sent behind one that was refused comes too early (R4; trap 13); also for a log that does not know the producer, and would begin
 * with any sequence (trap 12). */
static enum error_code partition_append_behind(struct partition *partition, struct partition_append *append,
                                               const struct batch_header *header)
{
    int32_t next_sequence = 0;
    bool is_new_leader = partition_is_new_leader(partition);
    if ((partition->refused.rows == NULL && !is_new_leader) || append->is_internal || !batch_has_producer_id(header)) {
        return ERROR_NONE;
    }
    bool is_known =
        partition_log_next_sequence(partition->log, header->producer_id, header->producer_epoch, &next_sequence);
    enum error_code error = refused_batches_behind(&partition->refused, header, is_known, next_sequence,
                                                   loop_now_us(partition->set->worker->loop));
    if (error == ERROR_NONE && is_new_leader && batch_sequence_is_later(header->base_sequence, next_sequence)) {
        error = ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    if (error != ERROR_NONE) {
        (void)snprintf(append->message, sizeof(append->message),
                       "the batch of this producer before it was refused and has not come again; nothing was appended");
    }
    return error;
}

/* Nothing was appended. Clients send again what is refused because of a moment; what they sent behind it has to wait for it. */
static void partition_append_refuse(struct partition *partition, struct partition_append *append, enum error_code error)
{
    if (error == ERROR_NOT_LEADER_OR_FOLLOWER || error == ERROR_NOT_ENOUGH_REPLICAS) {
        refused_batches_note(&partition->refused, span_make(append->batch, append->batch_bytes), error,
                             loop_now_us(partition->set->worker->loop));
    }
    partition_append_end(append, error);
}

/* Checks that do not change the log. On success the batch may be stamped. */
static enum error_code partition_append_check(struct partition *partition, struct partition_append *append)
{
    enum error_code error = partition_check_leader(partition, -1);
    if (error != ERROR_NONE) {
        return error;
    }
    if (append->acks == APPEND_ACKS_ALL && partition->isr_count < partition_effective_min_isr(partition)) {
        (void)snprintf(append->message, sizeof(append->message),
                       "%" PRId32 " of %" PRId32 " replicas are in sync, min.insync.replicas asks for %" PRId32
                       "; nothing was appended",
                       partition->isr_count, partition->replica_count, partition_effective_min_isr(partition));
        return ERROR_NOT_ENOUGH_REPLICAS;
    }
    struct batch_policy policy = partition->settings.policy;
    policy.now_ms = clock_wall_ms(partition->set->env->clock);
    policy.is_zstd_allowed = append->is_zstd_allowed;
    struct batch batch;
    struct batch_report report;
    batch_validate(span_make(append->batch, append->batch_bytes), &policy, partition->set->decompressor, &batch,
                   &report);
    if (report.problem == BATCH_TOO_LARGE) {
        (void)snprintf(append->message, sizeof(append->message),
                       "the record batch has %zu bytes, max.message.bytes of topic %s allows %zu", append->batch_bytes,
                       partition->topic_name, policy.batch_bytes_max);
    } else if (report.problem != BATCH_GOOD) {
        (void)snprintf(append->message, sizeof(append->message), "%s", batch_problem_text(report.problem));
        append->bad_record_index = report.record_index;
    }
    if (report.problem != BATCH_GOOD) {
        return (enum error_code)batch_problem_kafka_code(report.problem);
    }
    if (batch_is_transactional(&batch.header) && !append->is_internal) {
        (void)snprintf(append->message, sizeof(append->message),
                       "this broker does not serve transactions yet; write without transactional.id");
        return ERROR_INVALID_TXN_STATE;
    }
    error = partition_append_behind(partition, append, &batch.header);
    if (error != ERROR_NONE) {
        return error;
    }
    if (report.is_walked && !policy.is_append_time && report.max_timestamp_ms != batch.header.max_timestamp_ms) {
        batch_stamp_max_timestamp(append->batch, append->batch_bytes, report.max_timestamp_ms);
    }
    return ERROR_NONE;
}

static void partition_append_timed_out(struct loop_timer *timer)
{
    struct partition_append *append = CONTAINER_OF(timer, struct partition_append, timer);
    struct partition *partition = append->partition;
    if (append->acks == APPEND_ACKS_LEADER) {
        DL_DELETE(partition->counted_waiters, append);
    } else {
        DL_DELETE(partition->committed_waiters, append);
    }
    append->is_waiting = false;
    (void)snprintf(append->message, sizeof(append->message),
                   "the batch was appended at offset %" PRId64
                   " but not acknowledged in time by the replicas that must hold it",
                   append->base_offset);
    partition_append_end(append, ERROR_REQUEST_TIMED_OUT);
}

/* Keeps the list sorted by required_offset: appends come in order, only a duplicate's original lies further ahead. */
static void partition_append_wait(struct partition_append **list, struct partition_append *append)
{
    struct partition_append *before = *list == NULL ? NULL : (*list)->prev; /* the tail */
    while (before != NULL && before->required_offset > append->required_offset) {
        before = before == *list ? NULL : before->prev;
    }
    if (before == NULL) {
        DL_PREPEND(*list, append);
    } else {
        DL_APPEND_ELEM(*list, before, append);
    }
    append->is_waiting = true;
}

static enum error_code partition_append_to_log(struct partition *partition, struct partition_append *append,
                                               struct append_result *ret_result)
{
    struct append_request request = {
        .bytes = append->batch,
        .byte_count = append->batch_bytes,
        .leader_epoch = partition->leader_epoch,
        .timestamp_type = partition->settings.policy.is_append_time ? TIMESTAMP_APPEND : TIMESTAMP_CREATE,
        .is_client = !append->is_internal,
    };
    enum err err = partition_log_append_as_leader(partition->log, &request, ret_result);
    if (err != ERR_OK) {
        (void)snprintf(append->message, sizeof(append->message), "the log of %s-%" PRId32 " can't be written: %s",
                       partition->topic_name, partition->key.partition_index, err_text(err));
        if (err == ERR_STALE || err == ERR_BUSY) {
            return ERROR_NOT_LEADER_OR_FOLLOWER;
        }
        partition_set_write_failed(partition->set, partition_log_dir(partition->log));
        return ERROR_KAFKA_STORAGE_ERROR;
    }
    return partition_refusal_code(partition, ret_result->refusal, append->message);
}

/* The client's timeout is for other replicas; the own disk gets its time also from one that gives none, as in Kafka. */
static uint64_t partition_append_patience(const struct partition *partition, const struct partition_append *append)
{
    bool is_own_disk = append->acks == APPEND_ACKS_LEADER || partition->replica_count == 1;
    return is_own_disk && append->timeout_us < PARTITION_DISK_WAIT_US ? PARTITION_DISK_WAIT_US : append->timeout_us;
}

void partition_append(struct partition *partition, struct partition_append *append)
{
    append->partition = partition;
    append->base_offset = -1;
    append->append_time_ms = -1;
    append->bad_record_index = -1;
    append->log_start_offset = -1;
    enum error_code error = partition_append_check(partition, append);
    if (error != ERROR_NONE) {
        partition_append_refuse(partition, append, error);
        return;
    }
    struct append_result result = {0};
    error = partition_append_to_log(partition, append, &result);
    append->log_start_offset = partition_log_start_offset(partition->log);
    if (error != ERROR_NONE) {
        partition_append_refuse(partition, append, error);
        return;
    }
    append->base_offset = result.base_offset;
    append->append_time_ms = result.append_time_ms;
    partition_set_mark_dirty(partition->set, partition);
    if (append->acks == APPEND_ACKS_NONE) {
        partition_append_end(append, ERROR_NONE);
        return;
    }
    append->required_offset = result.last_offset + 1;
    append->timer.fire = partition_append_timed_out;
    partition_append_wait(
        append->acks == APPEND_ACKS_LEADER ? &partition->counted_waiters : &partition->committed_waiters, append);
    struct loop *loop = partition->set->worker->loop;
    loop_timer_set(loop, &append->timer, loop_now_us(loop) + partition_append_patience(partition, append));
}

int64_t partition_read_end(const struct partition *partition, bool is_read_committed)
{
    return is_read_committed ? partition_log_last_stable_offset(partition->log) : partition->high_watermark;
}

void partition_wait(struct partition *partition, struct partition_waiter *waiter)
{
    CHECK(!waiter->is_waiting);
    DL_APPEND(partition->read_waiters, waiter);
    waiter->is_waiting = true;
}

void partition_wait_cancel(struct partition *partition, struct partition_waiter *waiter)
{
    if (waiter->is_waiting) {
        DL_DELETE(partition->read_waiters, waiter);
        waiter->is_waiting = false;
    }
}

static void partition_waiters_complete(struct partition *partition, struct partition_append **list, int64_t end_offset,
                                       enum error_code error)
{
    while (*list != NULL && (*list)->required_offset <= end_offset) {
        struct partition_append *append = *list;
        DL_DELETE(*list, append);
        append->is_waiting = false;
        loop_timer_cancel(partition->set->worker->loop, &append->timer);
        if (error != ERROR_NONE) {
            (void)snprintf(append->message, sizeof(append->message),
                           "the batch was appended at offset %" PRId64 ", but %" PRId32 " of %" PRId32
                           " replicas are in sync by now, min.insync.replicas asks for %" PRId32,
                           append->base_offset, partition->isr_count, partition->replica_count,
                           partition_effective_min_isr(partition));
        }
        partition_append_end(append, error);
    }
}

void partition_set_high_watermark(struct partition *partition, int64_t high_watermark)
{
    partition->high_watermark = high_watermark;
    partition_log_set_high_watermark(partition->log, high_watermark);
}

void partition_advance(struct partition *partition)
{
    if (partition->state == PARTITION_FOLLOWER) {
        partition_follow_tell(partition);
    }
    /* A leader that the metadata has given a later epoch, or another one, answers nobody any more (trap 4). */
    if (!partition_is_leading(partition)) {
        return;
    }
    int64_t counted_end = partition_log_counted_end(partition->log);
    partition_waiters_complete(partition, &partition->counted_waiters, counted_end, ERROR_NONE);
    int64_t high_watermark = partition_lead_high_watermark(partition, counted_end);
    if (high_watermark > partition->high_watermark) {
        partition_set_high_watermark(partition, high_watermark);
        partition_wake_all(partition);
    }
    /* The ISR may have shrunk while it waited (trap 6). */
    bool is_enough = partition->isr_count >= partition_effective_min_isr(partition);
    partition_waiters_complete(partition, &partition->committed_waiters, partition->high_watermark,
                               is_enough ? ERROR_NONE : ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    if (partition_is_leading(partition)) {
        partition_lead_tell(partition);
    }
}
