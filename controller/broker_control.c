#include "controller/broker_control.h"

#include "controller/config_control.h"
#include "controller/partition_control.h"

#include <inttypes.h>

/* ---- what happens to a broker's partitions ---- */

/* Applied to every partition that has a replica on the broker. */
typedef void (*partition_visit_fn)(void *ctx, const struct image_topic *topic, struct partition_draft *draft);

static void visit_partitions(struct decision *decision, int32_t broker_id, partition_visit_fn visit, void *ctx)
{
    struct partition_draft draft;
    for (uint32_t i = 0; i < image_topic_count(decision->image); i++) {
        const struct image_topic *topic = image_topic_at(decision->image, i);
        int64_t min_isr = -1; /* looked up once, and only for topics that the broker has */
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            if (!image_partition_has_replica(topic->partitions[j], broker_id)) {
                continue;
            }
            if (min_isr < 0) {
                min_isr = config_control_topic_number(decision->image, topic->name, "min.insync.replicas",
                                                      decision->defaults->min_insync_replicas);
            }
            partition_draft_init(&draft, topic->partitions[j], (int32_t)min_isr);
            visit(ctx, topic, &draft);
            (void)partition_draft_commit(&draft, decision->records, topic->id);
        }
    }
}

static bool allows_unclean(const struct image *image, const struct image_topic *topic)
{
    return config_control_topic_is(image, topic->name, "unclean.leader.election.enable", "true", false);
}

/* Eligible: alive and not the one broker that goes, or also the one broker that comes. */
struct eligibility {
    const struct image *image;
    int32_t broker_id;
    bool is_coming;
};

static bool is_eligible(const void *ctx, int32_t broker_id)
{
    const struct eligibility *eligibility = (const struct eligibility *)ctx;
    if (broker_id == eligibility->broker_id) {
        return eligibility->is_coming;
    }
    const struct image_broker *broker = image_find_broker(eligibility->image, broker_id);
    return broker != NULL && !broker->is_fenced && !broker->is_shutting_down;
}

/* ---- registration ---- */

struct takeover {
    struct eligibility eligibility;
    const struct controller_registration *registration;
    bool is_memory_lost; /* the last stop was not orderly and the machine was restarted: its page cache is gone */
};

static bool has_directory(const struct controller_registration *registration, struct uuid directory)
{
    for (uint32_t i = 0; i < registration->directory_count; i++) {
        if (uuid_equal(registration->directories[i], directory)) {
            return true;
        }
    }
    return false;
}

/* A cached topic's replica counts as complete only if what it acknowledged out of memory is still there (trap 2). When nobody
 * else holds a complete one, it keeps its place: the partition would have no leader ever after, and nothing better exists. */
static bool loses_place(const struct takeover *takeover, const struct image_topic *topic,
                        const struct partition_draft *draft)
{
    const struct image_partition *partition = draft->before;
    int32_t id = takeover->registration->broker_id;
    if (!has_directory(takeover->registration, image_partition_directory(partition, id))) {
        return true;
    }
    bool has_others = partition->isr_count + partition->elr_count > 1 ||
                      (partition->isr_count + partition->elr_count == 1 && !image_partition_in_isr(partition, id) &&
                       partition->elr[0] != id);
    return takeover->is_memory_lost && has_others &&
           config_control_topic_is(takeover->eligibility.image, topic->name, "durability", "cached", false);
}

static void take_over_partition(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct takeover *takeover = (const struct takeover *)ctx;
    if (loses_place(takeover, topic, draft)) {
        partition_control_lose(draft, takeover->registration->broker_id);
    } else {
        partition_control_leave(draft, takeover->registration->broker_id);
    }
    partition_control_elect(draft, is_eligible, &takeover->eligibility, true,
                            allows_unclean(takeover->eligibility.image, topic));
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
    if (!check_endpoints(decision, registration, ret_result) ||
        !check_directories(decision, registration, ret_result)) {
        return false;
    }
    struct image_broker fields = {
        .id = registration->broker_id,
        .incarnation_id = registration->incarnation_id,
        .rack = registration->rack,
        .boot_id = registration->boot_id,
        .is_fenced = true,
        .endpoint_count = registration->endpoint_count,
        .directory_count = registration->directory_count,
        .endpoints = registration->endpoints,
        .directories = registration->directories,
    };
    meta_add_broker(decision->records, &fields, before == NULL ? 0 : before->epoch);
    if (before != NULL) {
        struct takeover takeover = {
            .eligibility = {decision->image, registration->broker_id, false},
            .registration = registration,
            .is_memory_lost =
                registration->previous_epoch != before->epoch && !span_equal(registration->boot_id, before->boot_id),
        };
        visit_partitions(decision, registration->broker_id, take_over_partition, &takeover);
    }
    *ret_epoch = 0;
    return true;
}

/* ---- heartbeat ---- */

static void elect_where_needed(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct eligibility *eligibility = (const struct eligibility *)ctx;
    partition_control_elect(draft, is_eligible, eligibility, true, allows_unclean(eligibility->image, topic));
}

static void fence_partition(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct eligibility *eligibility = (const struct eligibility *)ctx;
    partition_control_leave(draft, eligibility->broker_id);
    partition_control_elect(draft, is_eligible, eligibility, true, allows_unclean(eligibility->image, topic));
}

/* Orderly leaving: only partitions that somebody else can lead are moved; the others are served to the end. */
struct leaving {
    struct eligibility eligibility;
    uint32_t moved_count;
};

static void move_partition(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    struct leaving *leaving = (struct leaving *)ctx;
    (void)topic;
    struct elect_choice choice = elect_leader(&draft->state, is_eligible, &leaving->eligibility, true, false);
    if (choice.leader_id == IMAGE_NO_LEADER) {
        return;
    }
    leaving->moved_count += draft->state.leader_id == leaving->eligibility.broker_id;
    partition_control_leave(draft, leaving->eligibility.broker_id);
    partition_control_elect(draft, is_eligible, &leaving->eligibility, true, false);
}

static bool leave(struct decision *decision, const struct image_broker *broker)
{
    struct leaving leaving = {.eligibility = {decision->image, broker->id, false}};
    if (!broker->is_shutting_down && image_broker_count(decision->image) > 1) {
        meta_add_broker_state(decision->records, broker->id, broker->epoch, broker->is_fenced, true);
    }
    visit_partitions(decision, broker->id, move_partition, &leaving);
    return leaving.moved_count == 0; /* else once more, when the moves are committed and applied */
}

bool broker_control_heartbeat(struct decision *decision, const struct controller_heartbeat *heartbeat,
                              bool *ret_is_fenced, bool *ret_may_shut_down, struct decision_result *ret_result)
{
    const struct image_broker *broker = image_find_broker(decision->image, heartbeat->broker_id);
    if (broker == NULL || broker->epoch != heartbeat->broker_epoch) {
        return decision_refuse(decision, ret_result, ERROR_STALE_BROKER_EPOCH,
                               "Broker %" PRId32 " is not registered with epoch %" PRId64
                               ": another process has registered under this node.id.",
                               heartbeat->broker_id, heartbeat->broker_epoch);
    }
    *ret_is_fenced = broker->is_fenced;
    *ret_may_shut_down = false;
    if (heartbeat->wants_shut_down) {
        *ret_may_shut_down = leave(decision, broker);
        return true;
    }
    if (heartbeat->wants_fence && !broker->is_fenced) {
        struct eligibility eligibility = {decision->image, broker->id, false};
        meta_add_broker_state(decision->records, broker->id, broker->epoch, true, broker->is_shutting_down);
        visit_partitions(decision, broker->id, fence_partition, &eligibility);
        *ret_is_fenced = true;
    } else if (!heartbeat->wants_fence && broker->is_fenced && heartbeat->applied_offset >= broker->epoch) {
        struct eligibility eligibility = {decision->image, broker->id, true};
        meta_add_broker_state(decision->records, broker->id, broker->epoch, false, false);
        visit_partitions(decision, broker->id, elect_where_needed, &eligibility);
        *ret_is_fenced = false;
    }
    return true;
}
