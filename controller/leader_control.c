#include "controller/leader_control.h"

#include <inttypes.h>

/* ---- ElectLeaders ---- */

static bool can_lead(const struct sweep_fitness *fitness, const struct image_partition *partition, int32_t broker_id)
{
    return image_partition_in_isr(partition, broker_id) && sweep_fitness_of(fitness, partition, broker_id) == ELECT_FIT;
}

static bool elect_preferred(struct partition_sweep *sweep, const struct image_topic *topic,
                            const struct image_partition *partition, struct decision_result *result)
{
    struct sweep_fitness fitness = {sweep->decision->image, sweep->decision->defaults, -1, ELECT_UNFIT};
    int32_t preferred_id = partition->replicas[0];
    if (!can_lead(&fitness, partition, preferred_id)) {
        return decision_refuse(sweep->decision, result, ERROR_PREFERRED_LEADER_NOT_AVAILABLE,
                               "The preferred leader of partition %.*s-%" PRId32 " is broker %" PRId32
                               ", which is not in the ISR or not alive; leader is broker %" PRId32 ".",
                               DECISION_TEXT(topic->name), partition->partition_index, preferred_id,
                               partition->leader_id);
    }
    struct partition_draft draft;
    partition_sweep_draft(&draft, sweep->decision, topic, partition);
    partition_control_elect(&draft, sweep_fitness_of, &fitness, false, false);
    CHECK(draft.state.leader_id == preferred_id); /* the first of the replicas, fit and in the ISR */
    return partition_sweep_put(sweep, &draft, topic);
}

static bool elect_unclean(struct partition_sweep *sweep, const struct image_topic *topic,
                          const struct image_partition *partition, struct decision_result *result)
{
    struct sweep_fitness fitness = {sweep->decision->image, sweep->decision->defaults, -1, ELECT_UNFIT};
    struct partition_draft draft;
    partition_sweep_draft(&draft, sweep->decision, topic, partition);
    partition_control_elect(&draft, sweep_fitness_of, &fitness, true, true);
    if (draft.state.leader_id == IMAGE_NO_LEADER) {
        return decision_refuse(sweep->decision, result, ERROR_ELIGIBLE_LEADERS_NOT_AVAILABLE,
                               "None of the %" PRIu32 " replicas of partition %.*s-%" PRId32
                               " is alive: start one of them.",
                               partition->replica_count, DECISION_TEXT(topic->name), partition->partition_index);
    }
    return partition_sweep_put(sweep, &draft, topic);
}

bool leader_control_elect(struct partition_sweep *sweep, const struct image_topic *topic, int32_t partition_index,
                          enum leader_election election, struct decision_result *ret_result)
{
    const struct image_partition *partition = image_find_partition(topic, partition_index);
    bool is_preferred = election == LEADER_ELECTION_PREFERRED;
    if (partition == NULL) {
        return decision_refuse(sweep->decision, ret_result, ERROR_UNKNOWN_TOPIC_OR_PARTITION,
                               topic == NULL ? "There is no such topic." : "The topic has no partition %" PRId32 ".",
                               partition_index);
    }
    if (partition->leader_id != IMAGE_NO_LEADER && (!is_preferred || partition->leader_id == partition->replicas[0])) {
        return decision_refuse(sweep->decision, ret_result, ERROR_ELECTION_NOT_NEEDED,
                               "Partition %.*s-%" PRId32 " is led by broker %" PRId32 "%s.", DECISION_TEXT(topic->name),
                               partition_index, partition->leader_id, is_preferred ? ", its preferred leader" : "");
    }
    if (sweep->is_partial) {
        return decision_refuse(sweep->decision, ret_result, ERROR_REQUEST_TIMED_OUT,
                               "Too many partitions for one request: ask again for the rest.");
    }
    return is_preferred ? elect_preferred(sweep, topic, partition, ret_result)
                        : elect_unclean(sweep, topic, partition, ret_result);
}

/* ---- preferred leaders ---- */

struct balance {
    struct sweep_fitness fitness;
    struct decision *decision;
    uint32_t *preferred_counts; /* by the broker's place in the image */
    uint32_t *absent_counts;    /* of those: led by another broker, or by none */
    bool *is_unbalanced;
    uint32_t moves_left;
};

/* The broker's place in the order of ids; broker_count when it is not registered. */
static uint32_t place_of(const struct image *image, int32_t broker_id)
{
    uint32_t low = 0;
    uint32_t high = image_broker_count(image);
    uint32_t count = high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (image_broker_at(image, middle)->id < broker_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && image_broker_at(image, low)->id == broker_id ? low : count;
}

static void count_preferred(struct balance *balance)
{
    const struct image *image = balance->decision->image;
    for (uint32_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        for (uint32_t j = 0; j < topic->partition_count; j++) {
            const struct image_partition *partition = topic->partitions[j];
            uint32_t place = place_of(image, partition->replicas[0]);
            balance->preferred_counts[place]++;
            balance->absent_counts[place] += partition->leader_id != partition->replicas[0];
        }
    }
}

static void move_to_preferred(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    struct balance *balance = (struct balance *)ctx;
    const struct image_partition *partition = draft->before;
    (void)topic;
    if (balance->moves_left > 0 && partition->leader_id != partition->replicas[0] &&
        balance->is_unbalanced[place_of(balance->decision->image, partition->replicas[0])] &&
        can_lead(&balance->fitness, partition, partition->replicas[0])) {
        partition_control_elect(draft, sweep_fitness_of, &balance->fitness, false, false);
        balance->moves_left--;
    }
}

uint32_t leader_control_balance(struct decision *decision, uint32_t percent_max, uint32_t moves_max)
{
    uint32_t count = image_broker_count(decision->image);
    struct balance balance = {
        .fitness = {decision->image, decision->defaults, -1, ELECT_UNFIT},
        .decision = decision,
        .preferred_counts = (uint32_t *)arena_array(decision->arena, count + 1u, sizeof(uint32_t)),
        .absent_counts = (uint32_t *)arena_array(decision->arena, count + 1u, sizeof(uint32_t)),
        .is_unbalanced = (bool *)arena_array(decision->arena, count + 1u, sizeof(bool)),
        .moves_left = moves_max,
    };
    CHECK(balance.preferred_counts != NULL && balance.absent_counts != NULL && balance.is_unbalanced != NULL);
    count_preferred(&balance);
    bool is_any = false;
    for (uint32_t i = 0; i < count; i++) {
        balance.is_unbalanced[i] =
            (uint64_t)balance.absent_counts[i] * 100 > (uint64_t)balance.preferred_counts[i] * percent_max;
        is_any = is_any || balance.is_unbalanced[i];
    }
    struct partition_sweep sweep = {.decision = decision, .visit = move_to_preferred, .ctx = &balance};
    if (is_any) {
        partition_sweep_all(&sweep);
    }
    return moves_max - balance.moves_left;
}

/* ---- settings ---- */

static void follow_settings(void *ctx, const struct image_topic *topic, struct partition_draft *draft)
{
    const struct sweep_fitness *fitness = (const struct sweep_fitness *)ctx;
    partition_control_elect(draft, sweep_fitness_of, fitness, true, sweep_allows_unclean(fitness, topic));
}

void leader_control_settings_changed(struct partition_sweep *sweep, const struct image_topic *topic)
{
    struct sweep_fitness fitness = {sweep->decision->image, sweep->decision->defaults, -1, ELECT_UNFIT};
    sweep->visit = follow_settings;
    sweep->ctx = &fitness;
    if (topic != NULL) {
        partition_sweep_topic(sweep, topic);
    } else {
        partition_sweep_all(sweep);
    }
    sweep->ctx = NULL;
}
