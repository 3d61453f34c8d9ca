#include "controller/partition_control.h"

static bool is_member(const int32_t *ids, uint32_t count, int32_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

void partition_draft_init(struct partition_draft *draft, const struct image_partition *before,
                          int32_t min_insync_replicas)
{
    draft->state = *before;
    draft->before = before;
    draft->lost_count = 0;
    draft->is_unclean = false;
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
    for (uint32_t i = 0; i < before->last_known_count; i++) {
        draft->last_known[i] = before->last_known[i];
    }
    for (uint32_t i = 0; i < before->replica_count; i++) {
        draft->directories[i] = before->directories[i];
    }
    draft->state.isr = draft->isr;
    draft->state.elr = draft->elr;
    draft->state.last_known = draft->last_known;
    draft->state.directories = draft->directories;
}

static void remove_member(int32_t *ids, uint32_t *count, int32_t broker_id)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (ids[i] == broker_id) {
            memmove(&ids[i], &ids[i + 1], (*count - i - 1) * sizeof(ids[0]));
            (*count)--;
            return;
        }
    }
}

/* Whoever leads must be in the ISR; without it the partition has no leader until one is elected. */
static void set_leader(struct partition_draft *draft, int32_t leader_id)
{
    if (draft->state.leader_id != leader_id) {
        draft->state.leader_id = leader_id;
        draft->state.leader_epoch = draft->before->leader_epoch + 1; /* one new epoch for all changes of a draft */
    }
}

/* The ELR that belongs to the ISR as it is now; in the order of the replicas. */
static void settle_elr(struct partition_draft *draft)
{
    const struct image_partition *before = draft->before;
    struct image_partition *state = &draft->state;
    state->elr_count = 0;
    if (state->isr_count >= draft->min_isr || draft->is_unclean) {
        return;
    }
    for (uint32_t i = 0; i < state->replica_count; i++) {
        int32_t id = state->replicas[i];
        bool was_complete =
            is_member(before->isr, before->isr_count, id) || is_member(before->elr, before->elr_count, id);
        if (was_complete && !is_member(state->isr, state->isr_count, id) &&
            !is_member(draft->lost, draft->lost_count, id)) {
            draft->elr[state->elr_count++] = id;
        }
    }
}

/* The last ones that were in ISR or ELR, when nobody is any more (they all lost data); nobody, while somebody is. */
static void settle_last_known(struct partition_draft *draft)
{
    const struct image_partition *before = draft->before;
    struct image_partition *state = &draft->state;
    if (state->isr_count + state->elr_count > 0) {
        state->last_known_count = 0;
        return;
    }
    if (before->isr_count + before->elr_count == 0) {
        return; /* it was so before */
    }
    state->last_known_count = 0;
    for (uint32_t i = 0; i < state->replica_count; i++) {
        int32_t id = state->replicas[i];
        if (is_member(before->isr, before->isr_count, id) || is_member(before->elr, before->elr_count, id)) {
            draft->last_known[state->last_known_count++] = id;
        }
    }
}

static void resign(struct partition_draft *draft, int32_t broker_id)
{
    if (draft->state.leader_id == broker_id) {
        set_leader(draft, IMAGE_NO_LEADER);
    }
}

void partition_control_leave(struct partition_draft *draft, int32_t broker_id)
{
    remove_member(draft->isr, &draft->state.isr_count, broker_id);
    settle_elr(draft);
    resign(draft, broker_id);
}

void partition_control_lose(struct partition_draft *draft, int32_t broker_id)
{
    if (!is_member(draft->lost, draft->lost_count, broker_id)) {
        CHECK(draft->lost_count < IMAGE_REPLICAS_MAX);
        draft->lost[draft->lost_count++] = broker_id;
    }
    partition_control_leave(draft, broker_id);
}

void partition_control_rehome(struct partition_draft *draft, int32_t broker_id, struct uuid directory)
{
    partition_control_lose(draft, broker_id);
    for (uint32_t i = 0; i < draft->state.replica_count; i++) {
        if (draft->state.replicas[i] == broker_id) {
            draft->directories[i] = directory;
        }
    }
}

void partition_control_replace_isr(struct partition_draft *draft, const int32_t *ids, uint32_t count)
{
    struct image_partition *state = &draft->state;
    state->isr_count = 0;
    for (uint32_t i = 0; i < state->replica_count; i++) {
        if (is_member(ids, count, state->replicas[i])) {
            draft->isr[state->isr_count++] = state->replicas[i];
        }
    }
    CHECK(state->isr_count == count && is_member(state->isr, count, state->leader_id));
    settle_elr(draft);
}

void partition_control_elect(struct partition_draft *draft, elect_fitness_fn fitness, const void *ctx, bool keep,
                             bool allows_unclean)
{
    settle_elr(draft);
    settle_last_known(draft);
    struct elect_choice choice = elect_leader(&draft->state, fitness, ctx, keep, allows_unclean);
    if (choice.is_unclean) {
        draft->is_unclean = true;
        draft->state.is_recovering = true; /* KIP-704: ISR = {leader} until it has recovered */
    }
    if (choice.is_from_elr || choice.is_unclean) {
        draft->isr[0] = choice.leader_id;
        draft->state.isr_count = 1;
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
    settle_elr(draft); /* also when min.insync.replicas has changed since */
    settle_last_known(draft);
    bool is_same =
        before->leader_id == after->leader_id && before->leader_epoch == after->leader_epoch &&
        before->is_recovering == after->is_recovering &&
        are_members_equal(before->isr, before->isr_count, after->isr, after->isr_count) &&
        are_members_equal(before->elr, before->elr_count, after->elr, after->elr_count) &&
        are_members_equal(before->last_known, before->last_known_count, after->last_known, after->last_known_count) &&
        memcmp(before->directories, after->directories, before->replica_count * sizeof(struct uuid)) == 0;
    if (is_same) {
        return false;
    }
    meta_add_partition_change(records, topic_id, before, after);
    return true;
}
