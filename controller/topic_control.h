/* topic_control: creating and removing topics, adding partitions.
 *
 * Limits:    TOPIC_PARTITIONS_PER_REQUEST_MAX new partitions in one entry.
 * Errors:    Kafka's codes with a sentence; a refusal leaves no records.
 * Threads:   pure.
 * Source:    protocol messages CreateTopics, DeleteTopics, CreatePartitions; KIP-516 (ids), KIP-599 is not served.
 */
#ifndef CONTROLLER_TOPIC_CONTROL_H
#define CONTROLLER_TOPIC_CONTROL_H

#include "controller/config_control.h"
#include "controller/decision.h"

#define TOPIC_PARTITIONS_PER_REQUEST_MAX 10000

struct topic_assignment {
    int32_t partition_index; /* ignored when partitions are added: their order counts */
    const int32_t *broker_ids;
    size_t broker_count;
};

struct topic_wish {
    struct span name;
    struct uuid id;                             /* drawn before */
    int32_t partition_count;                    /* -1: the default */
    int32_t replication_factor;                 /* -1: the default */
    const struct topic_assignment *assignments; /* none: placement chooses */
    size_t assignment_count;
    const struct config_change *configs; /* CONFIG_SET each */
    size_t config_count;
    bool is_internal;
};

struct topic_created {
    int32_t partition_count;
    int32_t replication_factor;
};

/* *budget: new partitions that this request may still make. */
bool topic_control_create(struct decision *decision, const struct topic_wish *wish, uint32_t *budget,
                          struct topic_created *ret_created, struct decision_result *ret_result);
/* Kafka's rules for topic names: null when `name` is fine, else what is wrong with it (static). */
const char *topic_control_name_problem(struct span name);
/* By id, or by name when `by_id` is false. *ret_topic: what is removed. */
bool topic_control_delete(struct decision *decision, struct span name, struct uuid id, bool by_id,
                          const struct image_topic **ret_topic, struct decision_result *ret_result);
/* assignments == NULL: placement chooses. */
bool topic_control_add_partitions(struct decision *decision, struct span name, int32_t partition_count,
                                  const struct topic_assignment *assignments, size_t assignment_count, uint32_t *budget,
                                  struct decision_result *ret_result);

#endif
