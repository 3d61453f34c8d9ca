#include "controller/topic_control.h"

#include "controller/placement.h"

#include <inttypes.h>

#define METADATA_TOPIC "__cluster_metadata"

const char *topic_control_name_problem(struct span name)
{
    if (span_is_null(name) || name.bytes == 0) {
        return "it is empty";
    }
    if (span_equal_text(name, ".") || span_equal_text(name, "..")) {
        return "it can't be \".\" or \"..\"";
    }
    if (name.bytes > IMAGE_TOPIC_NAME_BYTES_MAX) {
        return "it is longer than 249 characters";
    }
    for (size_t i = 0; i < name.bytes; i++) {
        uint8_t c = name.data[i];
        bool is_legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                        c == '_' || c == '-';
        if (!is_legal) {
            return "it has a character other than ASCII letters, digits, '.', '_' and '-'";
        }
    }
    return NULL;
}

/* '.' and '_' become the same in the names of metrics. */
static bool collide(struct span a, struct span b)
{
    if (a.bytes != b.bytes) {
        return false;
    }
    for (size_t i = 0; i < a.bytes; i++) {
        uint8_t x = a.data[i] == '.' ? '_' : a.data[i];
        uint8_t y = b.data[i] == '.' ? '_' : b.data[i];
        if (x != y) {
            return false;
        }
    }
    return true;
}

static bool has_collision_character(struct span name)
{
    return name.bytes > 0 && (memchr(name.data, '.', name.bytes) != NULL || memchr(name.data, '_', name.bytes) != NULL);
}

static bool check_name(struct decision *decision, struct span name, struct decision_result *result)
{
    const char *problem = topic_control_name_problem(name);
    if (problem != NULL) {
        return decision_refuse(decision, result, ERROR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: %s.", problem);
    }
    if (span_equal_text(name, METADATA_TOPIC)) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "Topic name " METADATA_TOPIC " is reserved for the cluster itself.");
    }
    if (image_find_topic(decision->image, name) != NULL) {
        return decision_refuse(decision, result, ERROR_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.",
                               DECISION_TEXT(name));
    }
    for (uint32_t i = 0; has_collision_character(name) && i < image_topic_count(decision->image); i++) {
        struct span other = image_topic_at(decision->image, i)->name;
        if (collide(name, other)) {
            return decision_refuse(decision, result, ERROR_INVALID_TOPIC_EXCEPTION,
                                   "Topic '%.*s' collides with existing topic '%.*s': '.' and '_' are the same in the "
                                   "names of metrics.",
                                   DECISION_TEXT(name), DECISION_TEXT(other));
        }
    }
    return true;
}

/* Takes `count` new partitions out of what the request and the cluster may still have. */
static bool take_budget(struct decision *decision, uint32_t count, uint32_t *budget, struct decision_result *result)
{
    if (count > *budget) {
        return decision_refuse(decision, result, ERROR_POLICY_VIOLATION,
                               "More than %d new partitions in one request: split it.",
                               TOPIC_PARTITIONS_PER_REQUEST_MAX);
    }
    int32_t partitions_max = decision->defaults->partitions_max;
    uint64_t total = image_partition_total(decision->image) + count;
    if (partitions_max > 0 && total > (uint64_t)partitions_max) {
        return decision_refuse(decision, result, ERROR_POLICY_VIOLATION,
                               "The cluster would have %" PRIu64 " partitions; at most %" PRId32
                               " are allowed (partitions.max).",
                               total, partitions_max);
    }
    *budget -= count;
    return true;
}

/* Alive, and not about to leave. */
static bool is_active(const struct decision *decision, int32_t broker_id)
{
    const struct image_broker *broker = image_find_broker(decision->image, broker_id);
    return broker != NULL && !broker->is_fenced && !broker->is_shutting_down;
}

static void add_partition(struct decision *decision, struct uuid topic_id, int32_t index, const int32_t *replicas,
                          const struct uuid *directories, uint32_t replica_count)
{
    int32_t isr[IMAGE_REPLICAS_MAX];
    uint32_t isr_count = 0;
    for (uint32_t i = 0; i < replica_count; i++) {
        if (is_active(decision, replicas[i])) {
            isr[isr_count++] = replicas[i];
        }
    }
    struct image_partition partition = {
        .partition_index = index,
        .leader_id = isr_count == 0 ? IMAGE_NO_LEADER : isr[0],
        .replica_count = replica_count,
        .isr_count = isr_count,
        .replicas = replicas,
        .directories = directories,
        .isr = isr,
    };
    meta_add_partition(decision->records, topic_id, &partition);
}

static bool place_partitions(struct decision *decision, struct placement *placement, struct uuid topic_id,
                             uint32_t first_index, uint32_t count, uint32_t replica_count,
                             struct decision_result *result)
{
    uint32_t usable_count = placement_usable_count(placement);
    if (replica_count > usable_count) {
        return decision_refuse(decision, result, ERROR_INVALID_REPLICATION_FACTOR,
                               "Replication factor: %" PRIu32 " larger than available brokers: %" PRIu32
                               ". Start more brokers or ask for at most %" PRIu32 ".",
                               replica_count, usable_count, usable_count);
    }
    int32_t replicas[IMAGE_REPLICAS_MAX];
    struct uuid directories[IMAGE_REPLICAS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        placement_choose(placement, replica_count, replicas, directories);
        add_partition(decision, topic_id, (int32_t)(first_index + i), replicas, directories, replica_count);
    }
    return true;
}

/* One assignment by hand: known brokers, each once. */
static bool check_assignment(struct decision *decision, const struct topic_assignment *assignment, int32_t index,
                             size_t replica_count, struct decision_result *result)
{
    if (assignment->broker_count == 0 || assignment->broker_count > IMAGE_REPLICAS_MAX) {
        return decision_refuse(decision, result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                               "Partition %" PRId32 " is assigned to %zu brokers; between 1 and %d are possible.",
                               index, assignment->broker_count, IMAGE_REPLICAS_MAX);
    }
    if (assignment->broker_count != replica_count) {
        return decision_refuse(decision, result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                               "Partition %" PRId32
                               " is assigned to %zu brokers, others to %zu: all must have the same "
                               "number.",
                               index, assignment->broker_count, replica_count);
    }
    uint32_t active_count = 0;
    for (size_t i = 0; i < assignment->broker_count; i++) {
        int32_t id = assignment->broker_ids[i];
        if (image_find_broker(decision->image, id) == NULL) {
            return decision_refuse(decision, result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                                   "Partition %" PRId32 " is assigned to broker %" PRId32 ", which is not registered.",
                                   index, id);
        }
        active_count += is_active(decision, id);
        for (size_t j = 0; j < i; j++) {
            if (assignment->broker_ids[j] == id) {
                return decision_refuse(decision, result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                                       "Partition %" PRId32 " is assigned to broker %" PRId32 " twice.", index, id);
            }
        }
    }
    if (active_count == 0) {
        return decision_refuse(decision, result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                               "All brokers that partition %" PRId32 " is assigned to are fenced or shutting down.",
                               index);
    }
    return true;
}

static bool assign_partitions(struct decision *decision, struct placement *placement, struct uuid topic_id,
                              uint32_t first_index, const struct topic_assignment *const *by_index, uint32_t count,
                              size_t replica_count, struct decision_result *result)
{
    struct uuid directories[IMAGE_REPLICAS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        if (!check_assignment(decision, by_index[i], (int32_t)(first_index + i), replica_count, result)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        for (size_t j = 0; j < by_index[i]->broker_count; j++) {
            directories[j] = placement_directory(placement, by_index[i]->broker_ids[j]);
        }
        add_partition(decision, topic_id, (int32_t)(first_index + i), by_index[i]->broker_ids, directories,
                      (uint32_t)by_index[i]->broker_count);
    }
    return true;
}

/* Assignments by hand must name the partitions 0..n-1, each once: puts them in that order. */
static bool order_assignments(struct decision *decision, const struct topic_wish *wish,
                              const struct topic_assignment **ret_by_index, struct decision_result *result)
{
    if (wish->partition_count != -1 || wish->replication_factor != -1) {
        return decision_refuse(decision, result, ERROR_INVALID_REQUEST,
                               "With a manual partition assignment the number of partitions and the replication factor "
                               "must both be -1.");
    }
    for (size_t i = 0; i < wish->assignment_count; i++) {
        int32_t index = wish->assignments[i].partition_index;
        if (index < 0 || (size_t)index >= wish->assignment_count || ret_by_index[index] != NULL) {
            return decision_refuse(decision, result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                                   "The assignment must name partitions 0 to %zu, each once; partition %" PRId32
                                   " does not fit.",
                                   wish->assignment_count - 1, index);
        }
        ret_by_index[index] = &wish->assignments[i];
    }
    return true;
}

static bool create_assigned(struct decision *decision, const struct topic_wish *wish, uint32_t *budget,
                            struct topic_created *ret_created, struct decision_result *result)
{
    const struct topic_assignment **by_index =
        (const struct topic_assignment **)arena_array(decision->arena, wish->assignment_count, sizeof(by_index[0]));
    CHECK(by_index != NULL);
    if (!order_assignments(decision, wish, by_index, result) ||
        !take_budget(decision, (uint32_t)wish->assignment_count, budget, result)) {
        return false;
    }
    struct placement placement;
    placement_init(&placement, decision->image, NULL, decision->seed, decision->arena);
    meta_add_topic(decision->records, wish->id, wish->name, wish->is_internal);
    ret_created->partition_count = (int32_t)wish->assignment_count;
    ret_created->replication_factor = (int32_t)by_index[0]->broker_count;
    return assign_partitions(decision, &placement, wish->id, 0, by_index, (uint32_t)wish->assignment_count,
                             by_index[0]->broker_count, result);
}

static bool create_placed(struct decision *decision, const struct topic_wish *wish, uint32_t *budget,
                          struct topic_created *ret_created, struct decision_result *result)
{
    int32_t partition_count = wish->partition_count == -1 ? decision->defaults->num_partitions : wish->partition_count;
    int32_t replica_count =
        wish->replication_factor == -1 ? decision->defaults->default_replication_factor : wish->replication_factor;
    if (partition_count <= 0 || partition_count > IMAGE_PARTITIONS_PER_TOPIC_MAX) {
        return decision_refuse(decision, result, ERROR_INVALID_PARTITIONS,
                               "Number of partitions is %" PRId32
                               "; it must be between 1 and %d, or -1 for the default.",
                               partition_count, IMAGE_PARTITIONS_PER_TOPIC_MAX);
    }
    if (replica_count <= 0 || replica_count > IMAGE_REPLICAS_MAX) {
        return decision_refuse(decision, result, ERROR_INVALID_REPLICATION_FACTOR,
                               "Replication factor is %" PRId32 "; it must be between 1 and %d, or -1 for the default.",
                               replica_count, IMAGE_REPLICAS_MAX);
    }
    if (!take_budget(decision, (uint32_t)partition_count, budget, result)) {
        return false;
    }
    struct placement placement;
    placement_init(&placement, decision->image, NULL, decision->seed, decision->arena);
    meta_add_topic(decision->records, wish->id, wish->name, wish->is_internal);
    ret_created->partition_count = partition_count;
    ret_created->replication_factor = replica_count;
    return place_partitions(decision, &placement, wish->id, 0, (uint32_t)partition_count, (uint32_t)replica_count,
                            result);
}

bool topic_control_create(struct decision *decision, const struct topic_wish *wish, uint32_t *budget,
                          struct topic_created *ret_created, struct decision_result *ret_result)
{
    size_t record_count = decision->records->count;
    uint32_t budget_before = *budget;
    bool is_fine = check_name(decision, wish->name, ret_result);
    if (is_fine) {
        is_fine = wish->assignment_count > 0 ? create_assigned(decision, wish, budget, ret_created, ret_result)
                                             : create_placed(decision, wish, budget, ret_created, ret_result);
    }
    if (is_fine) {
        is_fine = config_control_create(decision, wish->name, wish->configs, wish->config_count, ret_result);
    }
    if (!is_fine) {
        meta_records_cut(decision->records, record_count);
        *budget = budget_before;
        return false;
    }
    return true;
}

bool topic_control_delete(struct decision *decision, struct span name, struct uuid id, bool by_id,
                          const struct image_topic **ret_topic, struct decision_result *ret_result)
{
    const struct image_topic *topic =
        by_id ? image_find_topic_id(decision->image, id) : image_find_topic(decision->image, name);
    if (topic == NULL && by_id) {
        char text[UUID_TEXT_BYTES];
        uuid_format(id, text);
        return decision_refuse(decision, ret_result, ERROR_UNKNOWN_TOPIC_ID, "No topic has the id %s.", text);
    }
    if (topic == NULL) {
        return decision_refuse(decision, ret_result, ERROR_UNKNOWN_TOPIC_OR_PARTITION, "Topic '%.*s' does not exist.",
                               DECISION_TEXT(name));
    }
    meta_add_topic_removed(decision->records, topic->id);
    *ret_topic = topic;
    return true;
}

bool topic_control_add_partitions(struct decision *decision, struct span name, int32_t partition_count,
                                  const struct topic_assignment *assignments, size_t assignment_count, uint32_t *budget,
                                  struct decision_result *ret_result)
{
    const struct image_topic *topic = image_find_topic(decision->image, name);
    if (topic == NULL) {
        return decision_refuse(decision, ret_result, ERROR_UNKNOWN_TOPIC_OR_PARTITION, "Topic '%.*s' does not exist.",
                               DECISION_TEXT(name));
    }
    int64_t added = (int64_t)partition_count - topic->partition_count;
    if (added <= 0 || partition_count > IMAGE_PARTITIONS_PER_TOPIC_MAX) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_PARTITIONS,
                               "The topic '%.*s' currently has %" PRIu32 " partition(s); %" PRId32
                               " would not be an increase%s.",
                               DECISION_TEXT(name), topic->partition_count, partition_count,
                               added <= 0 ? "" : " that is possible (at most 100000)");
    }
    if (assignments != NULL && assignment_count != (size_t)added) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REPLICA_ASSIGNMENT,
                               "%" PRId64 " partition(s) are to be added, but %zu assignment(s) given.", added,
                               assignment_count);
    }
    if (!take_budget(decision, (uint32_t)added, budget, ret_result)) {
        return false;
    }
    struct placement placement;
    placement_init(&placement, decision->image, topic, decision->seed, decision->arena);
    meta_records_seal(decision->records);
    uint32_t replica_count = topic->partitions[0]->replica_count;
    if (assignments == NULL) {
        return place_partitions(decision, &placement, topic->id, topic->partition_count, (uint32_t)added, replica_count,
                                ret_result);
    }
    const struct topic_assignment **by_index =
        (const struct topic_assignment **)arena_array(decision->arena, assignment_count, sizeof(by_index[0]));
    CHECK(by_index != NULL);
    for (size_t i = 0; i < assignment_count; i++) {
        by_index[i] = &assignments[i];
    }
    return assign_partitions(decision, &placement, topic->id, topic->partition_count, by_index,
                             (uint32_t)assignment_count, replica_count, ret_result);
}
