#include "controller/elect.h"

static bool is_member(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* First of the replicas that is in `ids` and fit. */
static int32_t first_of(const struct image_partition *partition, const int32_t *ids, uint32_t count,
                        elect_fitness_fn fitness, const void *ctx)
{
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        if (is_member(ids, count, id) && fitness(ctx, partition, id) == ELECT_FIT) {
            return id;
        }
    }
    return IMAGE_NO_LEADER;
}

struct elect_choice elect_leader(const struct image_partition *partition, elect_fitness_fn fitness, const void *ctx,
                                 bool keep, bool allows_unclean)
{
    struct elect_choice choice = {.leader_id = IMAGE_NO_LEADER};
    bool is_in_office = partition->leader_id != IMAGE_NO_LEADER &&
                        is_member(partition->isr, partition->isr_count, partition->leader_id);
    enum elect_fitness present = is_in_office ? fitness(ctx, partition, partition->leader_id) : ELECT_UNFIT;
    if (keep && present == ELECT_FIT) {
        choice.leader_id = partition->leader_id;
        return choice;
    }
    choice.leader_id = first_of(partition, partition->isr, partition->isr_count, fitness, ctx);
    if (choice.leader_id == IMAGE_NO_LEADER && partition->isr_count == 0) {
        choice.leader_id = first_of(partition, partition->elr, partition->elr_count, fitness, ctx);
        choice.is_from_elr = choice.leader_id != IMAGE_NO_LEADER;
    }
    if (choice.leader_id == IMAGE_NO_LEADER && present == ELECT_LEAVING) {
        choice.leader_id = partition->leader_id;
    }
    if (choice.leader_id == IMAGE_NO_LEADER && allows_unclean) {
        choice.leader_id = first_of(partition, partition->last_known, partition->last_known_count, fitness, ctx);
        if (choice.leader_id == IMAGE_NO_LEADER) {
            choice.leader_id = first_of(partition, partition->replicas, partition->replica_count, fitness, ctx);
        }
        choice.is_unclean = choice.leader_id != IMAGE_NO_LEADER;
    }
    return choice;
}
