#include "controller/broker_control.h"

#include "controller/config_control.h"
#include "controller/level_control.h"
#include "controller/partition_sweep.h"

#include <inttypes.h>

/* ---- leaving: what fencing, registration and an orderly end have in common ---- */

static void leave_partition(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct sweep_fitness *fitness = (const struct sweep_fitness *)ctx;
    partition_control_leave(draft, fitness->broker_id);
    partition_control_elect(draft, sweep_fitness_of, fitness, true, sweep_allows_unclean(fitness, topic));
}

static void elect_where_needed(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct sweep_fitness *fitness = (const struct sweep_fitness *)ctx;
    partition_control_elect(draft, sweep_fitness_of, fitness, true, sweep_allows_unclean(fitness, topic));
}

/* The first part of what one entry can't hold. Nobody may see a fenced broker that leads: until the last part it counts as
 * leaving, so that it gets no leadership and comes into no ISR meanwhile. */
static void drain(struct decision *decision, const struct image_broker *broker, struct decision_result *result)
{
    if (!broker->is_shutting_down) {
        meta_add_broker_state(decision->records, broker->id, broker->epoch, broker->is_fenced, true);
    }
    result->is_partial = true;
}

/* Returns whether the broker is fenced with this entry (else with a later one). */
static bool fence(struct decision *decision, const struct image_broker *broker, struct decision_result *result)
{
    struct sweep_fitness fitness = {decision->image, decision->defaults, broker->id, ELECT_UNFIT};
    struct partition_sweep sweep = {.decision = decision, .visit = leave_partition, .ctx = &fitness};
    partition_sweep_broker(&sweep, broker->id);
    if (sweep.is_partial) {
        drain(decision, broker, result);
        return false;
    }
    meta_add_broker_state(decision->records, broker->id, broker->epoch, true, broker->is_shutting_down);
    return true;
}

static bool refuse_stale(struct decision *decision, int32_t broker_id, int64_t broker_epoch,
                         struct decision_result *result)
{
    return decision_refuse(decision, result, ERROR_STALE_BROKER_EPOCH,
                           "Broker %" PRId32 " is not registered with epoch %" PRId64
                           ": another process has registered under this node.id, or the broker was unregistered.",
                           broker_id, broker_epoch);
}

bool broker_control_fence(struct decision *decision, int32_t broker_id, int64_t broker_epoch,
                          struct decision_result *ret_result)
{
    const struct image_broker *broker = image_find_broker(decision->image, broker_id);
    if (broker == NULL || broker->epoch != broker_epoch) {
        return refuse_stale(decision, broker_id, broker_epoch, ret_result);
    }
    if (!broker->is_fenced) {
        (void)fence(decision, broker, ret_result);
    }
    return true;
}

/* ---- registration ---- */

struct takeover {
    struct sweep_fitness fitness;
    const struct controller_registration *registration;
    uint64_t *replica_counts; /* of each of its directories */
    bool is_memory_lost;      /* the last stop was not orderly and the machine was restarted: its page cache is gone */
};

/* The place of the directory among those that are online; directory_count when it is not. */
static uint32_t directory_place(const struct controller_registration *registration, struct uuid directory)
{
    uint32_t place = 0;
    while (place < registration->directory_count && !uuid_equal(registration->directories[place], directory)) {
        place++;
    }
    return place;
}

static bool has_directory(const struct controller_registration *registration, struct uuid directory)
{
    return directory_place(registration, directory) < registration->directory_count;
}

/* How many replicas each of the directories has that are online. */
static uint64_t *count_replicas(const struct decision *decision, const struct controller_registration *registration)
{
    uint64_t *counts = (uint64_t *)arena_array(decision->arena, registration->directory_count + 1u, sizeof(counts[0]));
    CHECK(counts != NULL);
    for (uint32_t i = 0; i < image_topic_count(decision->image); i++) {
        const struct image_topic *topic = image_topic_at(decision->image, i);
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            if (image_partition_has_replica(topic->partitions[j], registration->broker_id)) {
                counts[directory_place(registration,
                                       image_partition_directory(topic->partitions[j], registration->broker_id))]++;
            }
        }
    }
    return counts;
}

static struct uuid take_directory(const struct takeover *takeover)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < takeover->registration->directory_count; i++) {
        if (takeover->replica_counts[i] < takeover->replica_counts[best]) {
            best = i;
        }
    }
    takeover->replica_counts[best]++;
    return takeover->registration->directories[best];
}

static bool has_other(const int32_t *ids, uint32_t count, int32_t broker_id)
{
    return count > 1 || (count == 1 && ids[0] != broker_id);
}

/* A cached topic's replica counts as complete only if what it acknowledged out of memory is still there (trap 2); ISR and ELR may
 * become empty by that, and then only an unclean election, asked for by people or by the topic's setting, gives the partition
 * a leader again. The one replica of a partition keeps its place: there is none that could know more (ADR-0010). */
static bool is_forgotten(const struct takeover *takeover, const struct image_topic *topic,
                         const struct image_partition *partition)
{
    return takeover->is_memory_lost && partition->replica_count > 1 &&
           config_control_topic_is(takeover->fitness.image, topic->name, "durability", "cached",
                                   takeover->fitness.defaults->is_cached);
}

/* A replica whose directory is gone begins anew in another one, if somebody else is complete. Else it stays where it is, without
 * a leader: its disk may come back with the only copy. */
static void take_over_partition(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct takeover *takeover = (const struct takeover *)ctx;
    const struct image_partition *partition = draft->before;
    int32_t id = takeover->registration->broker_id;
    if (!has_directory(takeover->registration, image_partition_directory(partition, id)) &&
        (has_other(partition->isr, partition->isr_count, id) || has_other(partition->elr, partition->elr_count, id))) {
        partition_control_rehome(draft, id, take_directory(takeover));
    } else if (is_forgotten(takeover, topic, partition)) {
        partition_control_lose(draft, id);
    } else {
        partition_control_leave(draft, id);
    }
    partition_control_elect(draft, sweep_fitness_of, &takeover->fitness, true,
                            sweep_allows_unclean(&takeover->fitness, topic));
}

static bool check_endpoints(struct decision *decision, const struct controller_registration *registration,
                            struct decision_result *ret_result)
{
    if (registration->endpoint_count == 0 || registration->endpoint_count > IMAGE_ENDPOINTS_MAX) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REGISTRATION,
                               "Broker %" PRId32 " names %" PRIu32
                               " advertised listeners; between 1 and %d are possible: see advertised.listeners.",
                               registration->broker_id, registration->endpoint_count, IMAGE_ENDPOINTS_MAX);
    }
    for (uint32_t i = 0; i < registration->endpoint_count; i++) {
        if (registration->endpoints[i].host.bytes == 0 || registration->endpoints[i].port == 0) {
            return decision_refuse(decision, ret_result, ERROR_INVALID_REGISTRATION,
                                   "Listener %.*s of broker %" PRId32
                                   " has no address that clients could reach: set advertised.listeners.",
                                   DECISION_TEXT(registration->endpoints[i].listener_name), registration->broker_id);
        }
    }
    return true;
}

static bool check_directories(struct decision *decision, const struct controller_registration *registration,
                              struct decision_result *ret_result)
{
    if (registration->directory_count == 0 || registration->directory_count > IMAGE_DIRECTORIES_MAX) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REGISTRATION,
                               "Broker %" PRId32 " has %" PRIu32
                               " log directories online; between 1 and %d are possible: see log.dirs.",
                               registration->broker_id, registration->directory_count, IMAGE_DIRECTORIES_MAX);
    }
    char text[UUID_TEXT_BYTES];
    for (uint32_t i = 0; i < image_broker_count(decision->image); i++) {
        const struct image_broker *other = image_broker_at(decision->image, i);
        for (uint32_t j = 0; other->id != registration->broker_id && j < other->directory_count; j++) {
            if (has_directory(registration, other->directories[j])) {
                uuid_format(other->directories[j], text);
                return decision_refuse(decision, ret_result, ERROR_INVALID_REGISTRATION,
                                       "Directory %s of broker %" PRId32 " is registered by broker %" PRId32
                                       ": was it copied? Each node needs directories of its own.",
                                       text, registration->broker_id, other->id);
            }
        }
    }
    return true;
}

bool broker_control_register(struct decision *decision, const struct controller_registration *registration,
                             int64_t *ret_epoch, struct decision_result *ret_result)
{
    const struct image_broker *before = image_find_broker(decision->image, registration->broker_id);
    if (before != NULL && uuid_equal(before->incarnation_id, registration->incarnation_id)) {
        *ret_epoch = before->epoch; /* asked again, because the answer got lost */
        return true;
    }
    if (registration->broker_id < 0 || uuid_is_zero(registration->incarnation_id)) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REGISTRATION,
                               "Broker %" PRId32 " needs a node.id of 0 or more and an incarnation id.",
                               registration->broker_id);
    }
    if (!level_control_check(decision, registration, ret_result) ||
        !check_endpoints(decision, registration, ret_result) ||
        !check_directories(decision, registration, ret_result)) {
        return false;
    }
    *ret_epoch = 0;
    if (before != NULL) {
        struct takeover takeover = {
            .fitness = {decision->image, decision->defaults, registration->broker_id, ELECT_UNFIT},
            .registration = registration,
            .replica_counts = count_replicas(decision, registration),
            .is_memory_lost = registration->previous_epoch != before->epoch &&
                              (registration->boot_id.bytes == 0 || /* unknown: nothing proves that it is the same */
                               !span_equal(registration->boot_id, before->boot_id)),
        };
        struct partition_sweep sweep = {.decision = decision, .visit = take_over_partition, .ctx = &takeover};
        partition_sweep_broker(&sweep, registration->broker_id);
        if (sweep.is_partial) {
            drain(decision, before, ret_result);
            return true;
        }
    }
    struct image_broker fields = {
        .id = registration->broker_id,
        .incarnation_id = registration->incarnation_id,
        .rack = registration->rack,
        .boot_id = registration->boot_id,
        .is_fenced = true,
        .level_min = registration->level_min,
        .level_max = registration->level_max,
        .endpoint_count = registration->endpoint_count,
        .directory_count = registration->directory_count,
        .endpoints = registration->endpoints,
        .directories = registration->directories,
    };
    meta_add_broker(decision->records, &fields, before == NULL ? 0 : before->epoch);
    return true;
}

/* ---- heartbeat ---- */

/* Orderly leaving: partitions that somebody else can lead are moved, and the broker leaves their ISRs with the same record, so that
 * their high watermarks never wait for a process that ends. The others are served to the end. */
static void move_partition(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct sweep_fitness *fitness = (const struct sweep_fitness *)ctx;
    (void)topic;
    partition_control_leave(draft, fitness->broker_id);
    partition_control_elect(draft, sweep_fitness_of, fitness, true, false);
    if (draft->state.leader_id == IMAGE_NO_LEADER) {
        partition_draft_init(draft, draft->before, (int32_t)draft->min_isr);
    }
}

/* Returns whether nothing is left to be moved: nobody waits for the broker any more, or nobody can take its place. */
static bool leave(struct decision *decision, const struct image_broker *broker)
{
    struct sweep_fitness fitness = {decision->image, decision->defaults, broker->id, ELECT_UNFIT};
    struct partition_sweep sweep = {.decision = decision, .visit = move_partition, .ctx = &fitness};
    partition_sweep_broker(&sweep, broker->id);
    if (!broker->is_shutting_down && image_broker_count(decision->image) > 1) {
        meta_add_broker_state(decision->records, broker->id, broker->epoch, broker->is_fenced, true);
    }
    return sweep.changed_count == 0; /* else once more, when the moves are committed and applied */
}

/* Until the last part of what one entry can't hold, the broker counts as leaving: see drain. */
static bool unfence(struct decision *decision, const struct image_broker *broker, struct decision_result *result)
{
    struct sweep_fitness fitness = {decision->image, decision->defaults, broker->id, ELECT_FIT};
    struct partition_sweep sweep = {.decision = decision, .visit = elect_where_needed, .ctx = &fitness};
    partition_sweep_broker(&sweep, broker->id);
    meta_add_broker_state(decision->records, broker->id, broker->epoch, false, sweep.is_partial);
    result->is_partial = sweep.is_partial;
    return !sweep.is_partial;
}

bool broker_control_heartbeat(struct decision *decision, const struct controller_heartbeat *heartbeat,
                              bool *ret_is_fenced, bool *ret_may_shut_down, struct decision_result *ret_result)
{
    const struct image_broker *broker = image_find_broker(decision->image, heartbeat->broker_id);
    if (broker == NULL || broker->epoch != heartbeat->broker_epoch) {
        return refuse_stale(decision, heartbeat->broker_id, heartbeat->broker_epoch, ret_result);
    }
    *ret_is_fenced = broker->is_fenced;
    *ret_may_shut_down = false;
    if (heartbeat->wants_shut_down) {
        *ret_may_shut_down = leave(decision, broker);
        return true;
    }
    if (heartbeat->wants_fence) {
        *ret_is_fenced = broker->is_fenced || fence(decision, broker, ret_result);
        return true;
    }
    if ((broker->is_fenced || broker->is_shutting_down) && heartbeat->applied_offset >= broker->epoch) {
        *ret_is_fenced = !unfence(decision, broker, ret_result);
    }
    return true;
}

/* ---- removal ---- */

/* Partitions that have a replica on the broker; *ret_example is one of their topics. */
static uint64_t count_held(const struct image *image, int32_t broker_id, uint32_t *ret_topic_count,
                           const struct image_topic **ret_example)
{
    uint64_t held_count = 0;
    *ret_topic_count = 0;
    for (uint32_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        uint64_t held_before = held_count;
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            held_count += image_partition_has_replica(topic->partitions[j], broker_id);
        }
        if (held_count > held_before) {
            *ret_example = topic;
            (*ret_topic_count)++;
        }
    }
    return held_count;
}

bool broker_control_unregister(struct decision *decision, int32_t broker_id, struct decision_result *ret_result)
{
    const struct image_broker *broker = image_find_broker(decision->image, broker_id);
    const struct image_topic *example = NULL;
    uint32_t topic_count = 0;
    if (broker == NULL) {
        return decision_refuse(decision, ret_result, ERROR_BROKER_ID_NOT_REGISTERED,
                               "No broker is registered under the id %" PRId32 ".", broker_id);
    }
    uint64_t held_count = count_held(decision->image, broker_id, &topic_count, &example);
    if (held_count > 0) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REQUEST,
                               "Broker %" PRId32 " holds replicas of %" PRIu64 " partitions in %" PRIu32
                               " topics, '%.*s' among them%s: delete those topics first (replicas can't be moved to "
                               "other brokers in this version).",
                               broker_id, held_count, topic_count, DECISION_TEXT(example->name),
                               broker->is_fenced ? "" : ", and is alive");
    }
    if (!broker->is_fenced) {
        return decision_refuse(decision, ret_result, ERROR_INVALID_REQUEST,
                               "Broker %" PRId32 " is alive: stop it first, and try again when its session is over.",
                               broker_id);
    }
    meta_add_broker_removed(decision->records, broker_id, broker->epoch);
    return true;
}
