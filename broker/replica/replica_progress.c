/* The rules that the model (tests/model) was made for. Whoever changes one here, changes it there first. */
#include "broker/replica/replica_progress.h"

#include "common/mem.h"

void replica_progress_done(struct replica_progress *progress)
{
    mem_free(progress->followers);
    *progress = (struct replica_progress){0};
}

void replica_progress_begin(struct replica_progress *progress, int64_t epoch_start_offset, int64_t log_end)
{
    replica_progress_done(progress);
    progress->isr_count = 1;
    progress->partition_epoch = -1;
    progress->epoch_start_offset = epoch_start_offset;
    progress->log_end = log_end;
}

static struct replica_follower *progress_find(const struct replica_progress *progress, int32_t broker_id)
{
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        if (progress->followers[i].member.broker_id == broker_id) {
            return &progress->followers[i];
        }
    }
    return NULL;
}

/* ---- the proposal ---- */

static void progress_settle(struct replica_progress *progress)
{
    progress->proposal = PROPOSAL_NONE;
    progress->was_ineligible = false;
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        progress->followers[i].is_proposed = false;
    }
}

/* A refusal for a member that may be eligible again in a moment proves nothing: the request may be on its way a second time. Only when
 * the metadata shows the member gone, too, nobody waits for it any more. */
static void progress_give_up(struct replica_progress *progress)
{
    for (uint32_t i = 0; i < progress->follower_count && progress->was_ineligible; i++) {
        if (progress->followers[i].is_proposed && !progress->followers[i].member.is_alive) {
            progress_settle(progress);
        }
    }
}

static bool progress_is_caught_up(const struct replica_progress *progress, const struct replica_follower *follower,
                                  uint64_t now_us, uint64_t lag_us)
{
    return follower->counted_end >= progress->log_end ||
           (follower->was_caught_up && now_us - follower->caught_up_us <= lag_us);
}

static void progress_caught_up(struct replica_follower *follower, uint64_t at_us)
{
    follower->was_caught_up = true;
    follower->caught_up_us = at_us;
}

/* KIP-903 and trap 4: only the incarnation that the metadata knows, which is the one whose ends are counted. */
static bool progress_may_join(const struct replica_progress *progress, const struct replica_follower *follower,
                              int64_t high_watermark)
{
    return !follower->member.is_in_isr && follower->member.is_alive && follower->counted_end >= high_watermark &&
           follower->counted_end >= progress->epoch_start_offset;
}

static bool progress_decide_new(struct replica_progress *progress, int64_t high_watermark, uint64_t now_us,
                                uint64_t lag_us)
{
    bool is_change = progress->is_recovering; /* with the ISR that there is: the leader alone, until it has recovered */
    for (uint32_t i = 0; i < progress->follower_count && !progress->is_recovering; i++) {
        struct replica_follower *follower = &progress->followers[i];
        bool is_caught_up = progress_is_caught_up(progress, follower, now_us, lag_us);
        follower->was_caught_up = follower->was_caught_up && is_caught_up;
        follower->is_proposed = follower->member.is_in_isr
                                    ? is_caught_up && follower->member.is_alive
                                    : is_caught_up && progress_may_join(progress, follower, high_watermark);
        is_change = is_change || follower->is_proposed != follower->member.is_in_isr;
    }
    if (!is_change) {
        progress_settle(progress);
    }
    return is_change;
}

bool replica_progress_decide(struct replica_progress *progress, int64_t high_watermark, uint64_t now_us,
                             uint64_t lag_us)
{
    switch (progress->proposal) {
    case PROPOSAL_WANTED:
        return true;
    case PROPOSAL_IN_FLIGHT:
        return false;
    case PROPOSAL_ANSWERED:
        /* The same once more: whether the first one was committed is not known, and both can't be (partition epochs). */
        if (now_us < progress->retry_us) {
            return false;
        }
        break;
    case PROPOSAL_NONE:
        if (!progress_decide_new(progress, high_watermark, now_us, lag_us)) {
            return false;
        }
        break;
    }
    progress->proposal = PROPOSAL_WANTED;
    return true;
}

uint32_t replica_progress_take(struct replica_progress *progress, struct replica_member *ret_members)
{
    uint32_t count = 0;
    CHECK(progress->proposal == PROPOSAL_WANTED);
    progress->proposal = PROPOSAL_IN_FLIGHT;
    progress->was_ineligible = false;
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        if (!progress->followers[i].is_proposed) {
            continue;
        }
        uint32_t at = count++;
        for (; at > 0 && ret_members[at - 1].broker_id > progress->followers[i].member.broker_id; at--) {
            ret_members[at] = ret_members[at - 1];
        }
        ret_members[at] = progress->followers[i].member;
    }
    return count;
}

void replica_progress_answered(struct replica_progress *progress, int32_t partition_epoch, int code, uint64_t now_us)
{
    if (progress->proposal != PROPOSAL_IN_FLIGHT || progress->partition_epoch != partition_epoch) {
        return;
    }
    progress->proposal = PROPOSAL_ANSWERED;
    progress->retry_us = now_us + REPLICA_PROGRESS_RETRY_US;
    progress->was_ineligible = code == REPLICA_PROGRESS_INELIGIBLE;
    progress_give_up(progress);
}

/* ---- the metadata ---- */

static void progress_fill(struct replica_follower *follower, const struct replica_follower *known,
                          const struct replica_member *member, uint64_t now_us)
{
    *follower = (struct replica_follower){.counted_end = -1, .mark_end = -1};
    if (known == NULL && member->is_in_isr) {
        progress_caught_up(follower, now_us); /* a new leader gives everybody the time to show what it holds */
    }
    if (known != NULL) {
        *follower = *known;
    }
    /* Another process of the broker may hold less than the one that acknowledged (trap 4, tests/model: count-unknown-incarnation). */
    if (known != NULL && known->member.broker_epoch != member->broker_epoch) {
        follower->counted_end = -1;
        follower->mark_end = -1;
        follower->was_caught_up = false;
    }
    follower->member = *member;
}

void replica_progress_set_members(struct replica_progress *progress, const struct replica_member *members,
                                  uint32_t member_count, int32_t partition_epoch, bool is_recovering, uint64_t now_us)
{
    struct replica_follower *followers =
        member_count == 0 ? NULL : mem_array(member_count, sizeof(struct replica_follower));
    int32_t isr_count = 1;
    for (uint32_t i = 0; i < member_count; i++) {
        progress_fill(&followers[i], progress_find(progress, members[i].broker_id), &members[i], now_us);
        isr_count += members[i].is_in_isr;
    }
    mem_free(progress->followers);
    progress->followers = followers;
    progress->follower_count = member_count;
    progress->isr_count = isr_count;
    progress->is_recovering = is_recovering;
    if (progress->partition_epoch != partition_epoch) {
        progress->partition_epoch = partition_epoch;
        progress_settle(progress);
    } else {
        progress_give_up(progress);
    }
}

/* ---- ends ---- */

/* Whoever held everything until now was caught up until now; the mark is what it must reach to be so again. */
void replica_progress_log_end(struct replica_progress *progress, int64_t log_end, uint64_t now_us)
{
    if (log_end == progress->log_end) {
        return;
    }
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        struct replica_follower *follower = &progress->followers[i];
        if (follower->counted_end >= progress->log_end) {
            progress_caught_up(follower, now_us);
            follower->mark_end = -1;
        }
        if (follower->mark_end < 0) {
            follower->mark_end = log_end;
            follower->mark_us = now_us;
        }
    }
    progress->log_end = log_end;
}

bool replica_progress_acknowledge(struct replica_progress *progress, int32_t broker_id, int64_t broker_epoch,
                                  int64_t counted_end, uint64_t now_us)
{
    struct replica_follower *follower = progress_find(progress, broker_id);
    if (follower == NULL || follower->member.broker_epoch != broker_epoch || counted_end > progress->log_end) {
        return false;
    }
    if (counted_end > follower->counted_end) {
        follower->counted_end = counted_end;
    }
    if (follower->counted_end >= progress->log_end) {
        progress_caught_up(follower, now_us);
        follower->mark_end = -1;
    } else if (follower->mark_end < 0 || follower->counted_end >= follower->mark_end) {
        if (follower->mark_end >= 0) {
            progress_caught_up(follower, follower->mark_us);
        }
        follower->mark_end = progress->log_end;
        follower->mark_us = now_us;
    }
    return true;
}

int64_t replica_progress_high_watermark(const struct replica_progress *progress, int64_t counted_end, int32_t min_isr,
                                        uint64_t now_us, uint64_t lag_us)
{
    if (progress->partition_epoch < 0 || progress->isr_count < min_isr) {
        return -1; /* else members of the ELR would not hold everything that is committed (trap 2) */
    }
    int64_t end = counted_end;
    for (uint32_t i = 0; i < progress->follower_count; i++) {
        const struct replica_follower *follower = &progress->followers[i];
        bool is_waited_for = follower->member.is_in_isr || follower->is_proposed;
        /* About to join: the high watermark would run away from it for ever under load (as in Kafka). */
        is_waited_for =
            is_waited_for || (follower->member.is_alive && follower->counted_end >= progress->epoch_start_offset &&
                              progress_is_caught_up(progress, follower, now_us, lag_us));
        if (is_waited_for && follower->counted_end < end) {
            end = follower->counted_end;
        }
    }
    return end;
}

bool replica_progress_is_watched(const struct replica_progress *progress)
{
    bool is_watched = progress->proposal != PROPOSAL_NONE;
    for (uint32_t i = 0; i < progress->follower_count && !is_watched; i++) {
        const struct replica_follower *follower = &progress->followers[i];
        is_watched = follower->counted_end < progress->log_end &&
                     (follower->member.is_in_isr || (follower->member.is_alive && follower->was_caught_up));
    }
    return is_watched;
}
