#include "controller/isr_control.h"

#include "controller/partition_sweep.h"

#include <inttypes.h>
#include <stdlib.h>

static int order_changes(const void *left, const void *right)
{
    const struct controller_isr_change *a = *(const struct controller_isr_change *const *)left;
    const struct controller_isr_change *b = *(const struct controller_isr_change *const *)right;
    int order = memcmp(a->topic_id.bytes, b->topic_id.bytes, UUID_BYTES);
    if (order == 0) {
        order = (a->partition_index > b->partition_index) - (a->partition_index < b->partition_index);
    }
    return order != 0 ? order : (a > b) - (a < b); /* of one array: the first named counts */
}

static bool is_same_partition(const struct controller_isr_change *a, const struct controller_isr_change *b)
{
    return a->partition_index == b->partition_index && uuid_equal(a->topic_id, b->topic_id);
}

/* Whether the proposed members are replicas, each once, the leader among them; copies their ids. */
static bool read_members(const struct controller_isr_change *change, const struct image_partition *partition,
                         int32_t ret_ids[IMAGE_REPLICAS_MAX])
{
    bool has_leader = false;
    if (change->isr_count == 0 || change->isr_count > partition->replica_count) {
        return false;
    }
    for (uint32_t i = 0; i < change->isr_count; i++) {
        int32_t id = change->isr[i].broker_id;
        for (uint32_t j = 0; j < i; j++) {
            if (ret_ids[j] == id) {
                return false;
            }
        }
        if (!image_partition_has_replica(partition, id)) {
            return false;
        }
        ret_ids[i] = id;
        has_leader = has_leader || id == partition->leader_id;
    }
    return has_leader;
}

/* A leader that is on its way out may still change the ISR of what only it can lead, and stays a member itself. */
static bool is_eligible(const struct image *image, const struct image_partition *partition,
                        const struct controller_isr_member *member)
{
    const struct image_broker *broker = image_find_broker(image, member->broker_id);
    return broker != NULL && !broker->is_fenced && broker->epoch == member->broker_epoch &&
           sweep_has_directory(broker, partition) &&
           (!broker->is_shutting_down || member->broker_id == partition->leader_id);
}

/* The epochs, before anything else is believed. */
static int16_t check_epochs(const struct controller_isr_change *change, const struct image_partition *partition,
                            int32_t sender_id)
{
    if (change->leader_epoch > partition->leader_epoch || change->partition_epoch > partition->partition_epoch) {
        return ERROR_NOT_CONTROLLER;
    }
    if (change->leader_epoch < partition->leader_epoch) {
        return ERROR_FENCED_LEADER_EPOCH;
    }
    if (partition->leader_id != sender_id) {
        return ERROR_INVALID_REQUEST;
    }
    return change->partition_epoch < partition->partition_epoch ? (int16_t)ERROR_INVALID_UPDATE_VERSION
                                                                : (int16_t)ERROR_NONE;
}

static int16_t check_members(const struct image *image, const struct controller_isr_change *change,
                             const struct image_partition *partition, int32_t ret_ids[IMAGE_REPLICAS_MAX])
{
    if (!read_members(change, partition, ret_ids) ||
        (partition->is_recovering && !change->is_recovered && change->isr_count > 1)) {
        return ERROR_INVALID_REQUEST;
    }
    for (uint32_t i = 0; i < change->isr_count; i++) {
        if (!is_eligible(image, partition, &change->isr[i])) {
            return ERROR_INELIGIBLE_REPLICA;
        }
    }
    return ERROR_NONE;
}

static int16_t decide_one(struct partition_sweep *sweep, const struct controller_isr_change *change, int32_t sender_id)
{
    const struct decision *decision = sweep->decision;
    const struct image_topic *topic = image_find_topic_id(decision->image, change->topic_id);
    const struct image_partition *partition = image_find_partition(topic, change->partition_index);
    struct partition_draft draft;
    int32_t ids[IMAGE_REPLICAS_MAX];
    if (partition == NULL) {
        return topic == NULL ? ERROR_UNKNOWN_TOPIC_ID : ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    int16_t code = check_epochs(change, partition, sender_id);
    if (code == ERROR_NONE) {
        code = check_members(decision->image, change, partition, ids);
    }
    if (code == ERROR_NONE && sweep->is_partial) {
        code = ERROR_REQUEST_TIMED_OUT;
    }
    if (code != ERROR_NONE) {
        return code;
    }
    partition_sweep_draft(&draft, decision, topic, partition);
    if (change->is_recovered) {
        draft.state.is_recovering = false;
    }
    partition_control_replace_isr(&draft, ids, change->isr_count);
    (void)partition_sweep_put(sweep, &draft, topic);
    return ERROR_NONE;
}

bool isr_control_alter(struct decision *decision, struct controller_alter_isr *request,
                       struct decision_result *ret_result)
{
    const struct image_broker *sender = image_find_broker(decision->image, request->broker_id);
    if (sender == NULL || sender->epoch != request->broker_epoch) {
        return decision_refuse(decision, ret_result, ERROR_STALE_BROKER_EPOCH,
                               "Broker %" PRId32 " is not registered with epoch %" PRId64 ".", request->broker_id,
                               request->broker_epoch);
    }
    struct controller_isr_change **sorted =
        (struct controller_isr_change **)arena_array(decision->arena, request->change_count + 1u, sizeof(sorted[0]));
    if (sorted == NULL || request->change_count > CONTROLLER_ISR_CHANGES_MAX) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REQUEST,
                               "%" PRIu32 " changes of ISRs in one request; at most %d are possible.",
                               request->change_count, CONTROLLER_ISR_CHANGES_MAX);
    }
    for (uint32_t i = 0; i < request->change_count; i++) {
        sorted[i] = &request->changes[i];
    }
    /* By topic: changes of one topic share a record; and a partition that is named twice stands next to itself. */
    qsort((void *)sorted, request->change_count, sizeof(sorted[0]), order_changes);
    struct partition_sweep sweep = {.decision = decision};
    const struct controller_isr_change *done = NULL;
    for (uint32_t i = 0; i < request->change_count; i++) {
        /* The first change of a partition took its epoch. */
        bool is_taken = done != NULL && is_same_partition(done, sorted[i]);
        sorted[i]->code =
            is_taken ? (int16_t)ERROR_INVALID_UPDATE_VERSION : decide_one(&sweep, sorted[i], request->broker_id);
        if (sorted[i]->code == ERROR_NONE) {
            done = sorted[i];
        }
    }
    return true;
}
