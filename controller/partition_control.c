#include "controller/partition_control.h"

void partition_draft_init(struct partition_draft *draft, const struct image_partition *before,
                          int32_t min_insync_replicas)
{
    draft->state = *before;
    draft->before = before;
    draft->min_isr = min_insync_replicas < 1 ? 1 : (uint32_t)min_insync_replicas;
    if (draft->min_isr > before->replica_count) {
        draft->min_isr = before->replica_count;
    }
    for (uint32_t i = 0; i < before->isr_count; i++) {
        draft->isr[i] = before->isr[i];
    }
    for (uint32_t i = 0; i < before->elr_count; i++) {
        draft->elr[i] = before->elr[i];
    }
    draft->state.isr = draft->isr;
    draft->state.elr = draft->elr;
}

static bool remove_member(int32_t *ids, uint32_t *count, int32_t broker_id)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (ids[i] == broker_id) {
            memmove(&ids[i], &ids[i + 1], (*count - i - 1) * sizeof(ids[0]));
            (*count)--;
            return true;
        }
    }
    return false;
}

static uint32_t place_of(const struct image_partition *partition, int32_t broker_id)
{
    uint32_t place = 0;
    while (place < partition->replica_count && partition->replicas[place] != broker_id) {
        place++;
    }
    return place;
}

/* Keeps the order of the replicas. */
static void add_member(const struct image_partition *partition, int32_t *ids, uint32_t *count, int32_t broker_id)
{
    uint32_t place = place_of(partition, broker_id);
    CHECK(place < partition->replica_count);
    uint32_t at = 0;
    while (at < *count && place_of(partition, ids[at]) < place) {
        at++;
    }
    if (at < *count && ids[at] == broker_id) {
        return;
    }
    memmove(&ids[at + 1], &ids[at], (*count - at) * sizeof(ids[0]));
    ids[at] = broker_id;
    (*count)++;
}

/* Whoever leads must be in the ISR; without it the partition has no leader until one is elected. */
static void set_leader(struct partition_draft *draft, int32_t leader_id)
{
    if (draft->state.leader_id != leader_id) {
        draft->state.leader_id = leader_id;
        draft->state.leader_epoch = draft->before->leader_epoch + 1; /* one new epoch for all changes of a draft */
    }
}

static void settle_elr(struct partition_draft *draft)
{
    if (draft->state.isr_count >= draft->min_isr) {
        draft->state.elr_count = 0;
    }
}

void partition_control_leave(struct partition_draft *draft, int32_t broker_id)
{
    if (remove_member(draft->isr, &draft->state.isr_count, broker_id) && draft->state.isr_count < draft->min_isr) {
        add_member(&draft->state, draft->elr, &draft->state.elr_count, broker_id);
    }
    settle_elr(draft);
    if (draft->state.leader_id == broker_id) {
        set_leader(draft, IMAGE_NO_LEADER);
    }
}

void partition_control_lose(struct partition_draft *draft, int32_t broker_id)
{
    (void)remove_member(draft->isr, &draft->state.isr_count, broker_id);
    (void)remove_member(draft->elr, &draft->state.elr_count, broker_id);
    settle_elr(draft);
    if (draft->state.leader_id == broker_id) {
        set_leader(draft, IMAGE_NO_LEADER);
    }
}

void partition_control_elect(struct partition_draft *draft, elect_eligible_fn is_eligible, const void *ctx, bool keep,
                             bool allows_unclean)
{
    struct elect_choice choice = elect_leader(&draft->state, is_eligible, ctx, keep, allows_unclean);
    if (choice.is_unclean) {
        draft->state.isr_count = 0;
        draft->state.elr_count = 0;
        draft->state.is_recovering = true; /* KIP-704: ISR = {leader} until it has recovered */
    }
    if (choice.is_from_elr || choice.is_unclean) {
        (void)remove_member(draft->elr, &draft->state.elr_count, choice.leader_id);
        add_member(&draft->state, draft->isr, &draft->state.isr_count, choice.leader_id);
        settle_elr(draft);
    }
    set_leader(draft, choice.leader_id);
}

static bool are_members_equal(const int32_t *a, uint32_t a_count, const int32_t *b, uint32_t b_count)
{
    for (uint32_t i = 0; a_count == b_count && i < a_count; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return a_count == b_count;
}

bool partition_draft_commit(struct partition_draft *draft, struct meta_records *records, struct uuid topic_id)
{
    const struct image_partition *before = draft->before;
    const struct image_partition *after = &draft->state;
    bool is_same = before->leader_id == after->leader_id && before->leader_epoch == after->leader_epoch &&
                   before->is_recovering == after->is_recovering &&
                   are_members_equal(before->isr, before->isr_count, after->isr, after->isr_count) &&
                   are_members_equal(before->elr, before->elr_count, after->elr, after->elr_count);
    if (is_same) {
        return false;
    }
    meta_add_partition_change(records, topic_id, before, after);
    return true;
}
