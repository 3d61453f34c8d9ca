/* cluster_support: brokers of a cluster in tests of decisions: they register, heartbeat, are fenced; decisions in parts are carried on
 * to their end as the controller's rounds do.
 */
#ifndef TESTS_UNIT_CONTROLLER_CLUSTER_SUPPORT_H
#define TESTS_UNIT_CONTROLLER_CLUSTER_SUPPORT_H

#include "controller/broker_control.h"
#include "controller/isr_control.h"
#include "controller/leader_control.h"
#include "tests/unit/controller/topic_support.h"

/* Commits what a decision left, if anything. */
static inline void cluster_commit(struct state *state)
{
    if (state->records.count > 0) {
        state_commit(state);
        assert_true(state->is_applied);
    }
}

static inline int64_t cluster_epoch(const struct state *state, int32_t broker_id)
{
    const struct image_broker *broker = image_find_broker(state->image, broker_id);
    return broker == NULL ? 0 : broker->epoch;
}

/* One more process of the broker: its incarnation is made of `life`. */
static inline int16_t cluster_register(struct state *state, int32_t broker_id, uint32_t life, struct uuid directory,
                                       const char *boot_id, int64_t previous_epoch)
{
    struct image_endpoint endpoint = {.listener_name = span_text("P"), .host = span_text("h"), .port = 1};
    struct controller_registration registration = {.broker_id = broker_id,
                                                   .incarnation_id = id_of(10000 + (uint32_t)broker_id * 1000 + life),
                                                   .previous_epoch = previous_epoch,
                                                   .boot_id = span_text(boot_id),
                                                   .endpoints = &endpoint,
                                                   .endpoint_count = 1,
                                                   .directories = &directory,
                                                   .directory_count = 1};
    struct decision_result result;
    do {
        struct decision decision = state_decision(state, 0);
        int64_t epoch = -1;
        result = (struct decision_result){0};
        if (!broker_control_register(&decision, &registration, &epoch, &result)) {
            assert_int_equal(state->records.count, 0);
            assert_true(result.message.bytes > 10);
            return result.code;
        }
        cluster_commit(state);
    } while (result.is_partial);
    return ERROR_NONE;
}

static inline bool cluster_heartbeat(struct state *state, int32_t broker_id, struct controller_heartbeat heartbeat)
{
    struct decision_result result;
    bool may_shut_down = false;
    do {
        struct decision decision = state_decision(state, 0);
        bool is_fenced = false;
        result = (struct decision_result){0};
        heartbeat.broker_id = broker_id;
        heartbeat.broker_epoch = cluster_epoch(state, broker_id);
        assert_true(broker_control_heartbeat(&decision, &heartbeat, &is_fenced, &may_shut_down, &result));
        cluster_commit(state);
    } while (result.is_partial);
    return may_shut_down;
}

static inline void cluster_unfence(struct state *state, int32_t broker_id)
{
    (void)cluster_heartbeat(state, broker_id, (struct controller_heartbeat){.applied_offset = INT64_MAX});
    assert_false(image_find_broker(state->image, broker_id)->is_fenced);
    assert_false(image_find_broker(state->image, broker_id)->is_shutting_down);
}

static inline unsigned cluster_fence(struct state *state, int32_t broker_id)
{
    struct decision_result result;
    unsigned parts = 0;
    do {
        struct decision decision = state_decision(state, 0);
        result = (struct decision_result){0};
        assert_true(broker_control_fence(&decision, broker_id, cluster_epoch(state, broker_id), &result));
        cluster_commit(state);
        parts++;
    } while (result.is_partial);
    assert_true(image_find_broker(state->image, broker_id)->is_fenced);
    return parts;
}

/* The leader of a partition proposes an ISR upon the state as it is. */
static inline int16_t cluster_alter(struct state *state, const struct image_topic *topic, int32_t index,
                                    const int32_t *ids, uint32_t count, bool is_recovered)
{
    struct controller_isr_member members[IMAGE_REPLICAS_MAX];
    const struct image_partition *partition = topic->partitions[index];
    for (uint32_t i = 0; i < count; i++) {
        members[i] = (struct controller_isr_member){ids[i], cluster_epoch(state, ids[i])};
    }
    struct controller_isr_change change = {.topic_id = topic->id,
                                           .partition_index = index,
                                           .leader_epoch = partition->leader_epoch,
                                           .partition_epoch = partition->partition_epoch,
                                           .is_recovered = is_recovered,
                                           .isr_count = count,
                                           .isr = members};
    struct controller_alter_isr request = {partition->leader_id, cluster_epoch(state, partition->leader_id), &change,
                                           1};
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    if (!isr_control_alter(&decision, &request, &result)) {
        return result.code;
    }
    cluster_commit(state);
    return change.code;
}

static inline const struct image_partition *cluster_partition(const struct state *state, const char *topic,
                                                              uint32_t index)
{
    return image_find_topic(state->image, span_text(topic))->partitions[index];
}

/* ids: replicas of every partition, the same for all. */
static inline void cluster_create(struct state *state, const char *name, const int32_t *ids, uint32_t replica_count,
                                  uint32_t partition_count, const struct config_change *configs, size_t config_count)
{
    struct topic_assignment *assignments =
        (struct topic_assignment *)mem_array(partition_count, sizeof(assignments[0]));
    for (uint32_t i = 0; i < partition_count; i++) {
        assignments[i] = (struct topic_assignment){(int32_t)i, ids, replica_count};
    }
    struct topic_wish wish = {NAME(name), .assignments = assignments, .assignment_count = partition_count,
                              .configs = configs, .config_count = config_count};
    expect_create(state, wish, ERROR_NONE, NULL);
    mem_free(assignments);
}

static inline void cluster_expect(const struct image_partition *partition, int32_t leader_id, uint32_t isr_count,
                                  uint32_t elr_count)
{
    assert_int_equal(partition->leader_id, leader_id);
    assert_int_equal(partition->isr_count, isr_count);
    assert_int_equal(partition->elr_count, elr_count);
}

static inline int16_t cluster_unregister(struct state *state, int32_t broker_id, const char *words)
{
    struct decision decision = state_decision(state, 0);
    struct decision_result result = {0};
    if (!broker_control_unregister(&decision, broker_id, &result)) {
        assert_int_equal(state->records.count, 0);
        assert_non_null(strstr((const char *)result.message.data, words));
    }
    cluster_commit(state);
    return result.code;
}

#define CONFIG(key, text)                                                                                              \
    {                                                                                                                  \
        span_text(key), span_text(text), CONFIG_SET                                                                    \
    }

#endif
