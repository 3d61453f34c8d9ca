/* The set's part in ISR changes: proposals of a step leave as one batch; partitions for which time matters are looked at by a timer that
 * runs only while there are any. */
#include "broker/broker_options.h"
#include "broker/replica/partition_set.h"
#include "broker/worker.h"

#include <utlist.h>

/* How often lag is looked at: half of replica.lag.time.max.ms, within these bounds. */
#define SET_WATCH_US_MAX 500000u
#define SET_WATCH_US_MIN 5000u

uint64_t partition_set_lag_us(const struct partition_set *set)
{
    return set->options.defaults == NULL ? PARTITION_SET_LAG_US_DEFAULT
                                         : (uint64_t)set->options.defaults->replica_lag_time_max_ms * 1000;
}

/* ---- watching ---- */

static uint64_t set_watch_interval_us(const struct partition_set *set)
{
    uint64_t half_us = partition_set_lag_us(set) / 2;
    half_us = half_us > SET_WATCH_US_MAX ? SET_WATCH_US_MAX : half_us;
    return half_us < SET_WATCH_US_MIN ? SET_WATCH_US_MIN : half_us;
}

static void set_watch_fired(struct loop_timer *timer)
{
    struct partition_set *set = CONTAINER_OF(timer, struct partition_set, watch_timer);
    struct partition *partition = NULL;
    /* The step looks at each of them, and takes those off the list for which time does not matter any more. */
    DL_FOREACH2(set->watched, partition, watch_next)
    {
        partition_set_mark_dirty(set, partition);
    }
    set->is_watching = set->watched != NULL;
    if (set->is_watching) {
        loop_timer_set(set->worker->loop, timer, loop_now_us(set->worker->loop) + set_watch_interval_us(set));
    }
}

void partition_set_watch(struct partition_set *set, struct partition *partition)
{
    if (partition->is_watched) {
        return;
    }
    partition->is_watched = true;
    DL_APPEND2(set->watched, partition, watch_prev, watch_next);
    if (!set->is_watching) {
        set->is_watching = true;
        set->watch_timer.fire = set_watch_fired;
        loop_timer_set(set->worker->loop, &set->watch_timer,
                       loop_now_us(set->worker->loop) + set_watch_interval_us(set));
    }
}

void partition_set_unwatch(struct partition_set *set, struct partition *partition)
{
    if (partition->is_watched) {
        partition->is_watched = false;
        DL_DELETE2(set->watched, partition, watch_prev, watch_next);
    }
}

void partition_set_stop_watching(struct partition_set *set)
{
    set->is_watching = false;
    loop_timer_cancel(set->worker->loop, &set->watch_timer);
}

/* ---- proposing ---- */

bool partition_set_can_propose(const struct partition_set *set)
{
    return set->options.propose != NULL && !set->is_stopping;
}

static void set_on_answered(struct isr_batch *batch)
{
    struct partition_set *set = batch->ctx;
    for (uint32_t i = 0; i < batch->change_count; i++) {
        const struct controller_isr_change *change = &batch->changes[i];
        struct partition *partition = partition_set_find(set, change->topic_id, change->partition_index);
        if (partition != NULL) {
            partition_lead_answered(partition, change->leader_epoch, change->partition_epoch, change->code);
        }
    }
    isr_batch_free(batch);
}

void partition_set_propose(struct partition_set *set, const struct partition *partition,
                           const struct replica_member *members, uint32_t member_count)
{
    struct controller_isr_member isr[IMAGE_REPLICAS_MAX];
    const struct image_broker *self = image_find_broker(set->worker->image, set->options.broker_id);
    uint32_t count = 0;
    uint32_t at = 0;
    /* Ascending by id, this broker among them. */
    for (; at < member_count && members[at].broker_id < set->options.broker_id; at++) {
        isr[count++] = (struct controller_isr_member){members[at].broker_id, members[at].broker_epoch};
    }
    isr[count++] = (struct controller_isr_member){set->options.broker_id, self == NULL ? -1 : self->epoch};
    for (; at < member_count; at++) {
        isr[count++] = (struct controller_isr_member){members[at].broker_id, members[at].broker_epoch};
    }
    if (set->proposals == NULL) {
        set->proposals = isr_batch_new(set->worker->loop, set_on_answered, set);
    }
    struct controller_isr_change change = {
        .topic_id = partition->key.topic_id,
        .partition_index = partition->key.partition_index,
        .leader_epoch = partition->leader_epoch,
        .partition_epoch = partition->partition_epoch,
        .is_recovered = partition->is_recovering,
        .isr_count = count,
        .isr = isr,
    };
    isr_batch_add(set->proposals, &change);
    if (set->proposals->change_count == CONTROLLER_ISR_CHANGES_MAX) {
        partition_set_send_proposals(set); /* nobody would come again for a partition that finds no room in this step */
    }
}

void partition_set_send_proposals(struct partition_set *set)
{
    struct isr_batch *batch = set->proposals;
    set->proposals = NULL;
    if (batch != NULL) {
        set->options.propose(set->options.ctx, set->worker, batch);
    }
}
