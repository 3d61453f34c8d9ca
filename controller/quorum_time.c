/* Time: when libraft is told of it, and what it gets wrong about elections.
 *
 * A candidate writes its term and vote before it asks anybody, and who is asked writes before it answers. libraft's clock runs on meanwhile:
 * on a disk whose writes last about an election timeout a candidate gives up before anybody could have answered, or two of them, once
 * they have split the votes, split them again and again, because whatever the other one sends arrives later than the own timer. So
 *   - the time that a write of the term takes does not count, and a candidate waits as long again for those who write after it
 *     (quorum_note_term_written);
 *   - who was not elected asks for pre-votes again before it enters a third term (ask_before_voting; libraft does so only the first time):
 *     then two candidates collide only if both timers fire within one round trip, not within one write;
 *   - a follower whose entries are being written stands as soon as they are, instead of after another timeout (is_writing).
 * tests/sim/election_sim shows each. */
#include "controller/quorum_private.h"

#define LEADER_TURNS_PER_HEARTBEAT 4u /* a leader's RAFT_TIMEOUT is stepped at most so often */
#define VOTE_WAIT_ELECTIONS_MAX 4u    /* what a candidate waits at most for the others' writes, in election timeouts */

static uint64_t now_ms(const struct quorum *quorum)
{
    return loop_now_us(quorum->loop) / US_PER_MS;
}

/* libraft names a time in the past as long as a member that it does not replicate to was sent something once (a promotion that was given
 * up): a leader's timeouts are spaced. */
void quorum_arm_timer(struct quorum *quorum)
{
    if (quorum->is_stopping) {
        return;
    }
    uint64_t at_ms = raft_timeout(&quorum->raft);
    if (raft_state(&quorum->raft) == RAFT_LEADER) {
        uint64_t step_ms = quorum->options.heartbeat_timeout_ms / LEADER_TURNS_PER_HEARTBEAT;
        uint64_t least_ms = quorum->last_timeout_ms + (step_ms == 0 ? 1 : step_ms);
        at_ms = at_ms < least_ms ? least_ms : at_ms;
    }
    loop_timer_set(quorum->loop, &quorum->timer, at_ms * US_PER_MS);
}

/* A follower that is the only voter would lead in the term it is in, which may have had another leader (the one that removed itself): two
 * leaders of one term, and entries of one index and term that differ. So it enters a new term first, by a vote for itself; the next
 * timeout then makes it the leader. */
static bool has_to_enter_term(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    const struct raft_server *self = quorum_configuration_find(&raft->configuration, raft->id);
    return raft_state(raft) == RAFT_FOLLOWER && self != NULL && self->role == RAFT_VOTER &&
           quorum_configuration_voters(&raft->configuration) == 1 && !raft->snapshot.installing &&
           raft->last_stored == raft_last_index(raft) && quorum->alone_term != raft_current_term(raft) &&
           now_ms(quorum) >= raft_timeout(raft);
}

static void enter_term(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    struct raft_message message = {.type = RAFT_REQUEST_VOTE, .server_id = raft->id, .server_address = raft->address};
    message.request_vote.version = 2;
    message.request_vote.term = raft_current_term(raft) + 1;
    message.request_vote.candidate_id = raft->id;
    message.request_vote.last_log_index = raft_last_index(raft);
    message.request_vote.last_log_term = quorum_term_of(quorum, raft_last_index(raft));
    message.request_vote.disrupt_leader = true;
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = &message;
    quorum->alone_term = message.request_vote.term;
    (void)quorum_step(quorum, &event);
}

/* Who does not vote never becomes a candidate, and so libraft never lets it forget a leader; but as long as it names one it refuses its vote,
 * which a candidate may count on (see step_as_voter). */
static void forget_leader(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    const struct raft_server *self = quorum_configuration_find(&raft->configuration, raft->id);
    bool is_voter = self != NULL && self->role == RAFT_VOTER;
    bool is_due = now_ms(quorum) >= raft_timeout(raft);
    if (raft_state(raft) == RAFT_FOLLOWER && !is_voter && is_due) {
        raft_free(raft->follower_state.current_leader.address);
        raft->follower_state.current_leader.address = NULL;
        raft->follower_state.current_leader.id = 0;
    }
}

/* Nothing was heard and nothing was asked while the term was being written. */
void quorum_note_term_written(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    uint64_t write_ms = (loop_now_us(quorum->loop) - quorum->term_asked_us) / US_PER_MS;
    uint64_t wait_ms_most = VOTE_WAIT_ELECTIONS_MAX * (uint64_t)quorum->options.election_timeout_ms;
    if (raft_state(raft) == RAFT_LEADER) {
        return;
    }
    raft->election_timer_start += write_ms;
    if (raft_state(raft) == RAFT_CANDIDATE) {
        raft->election_timer_start += write_ms < wait_ms_most ? write_ms : wait_ms_most;
    }
}

static void ask_before_voting(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    if (raft_state(raft) == RAFT_CANDIDATE && now_ms(quorum) >= raft_timeout(raft)) {
        raft->candidate_state.in_pre_vote = true;
        raft->candidate_state.disrupt_leader = false; /* that was for one try */
    }
}

/* libraft does not let a follower stand that has entries which are not durable, and has it wait for another timeout. */
static bool is_writing(const struct quorum *quorum)
{
    struct raft *raft = (struct raft *)(uintptr_t)&quorum->raft;
    const struct raft_server *self = quorum_configuration_find(&raft->configuration, raft->id);
    return raft_state(raft) == RAFT_FOLLOWER && self != NULL && self->role == RAFT_VOTER &&
           !raft->snapshot.installing && raft->last_stored < raft_last_index(raft);
}

void quorum_on_timer(struct loop_timer *timer)
{
    struct quorum *quorum = CONTAINER_OF(timer, struct quorum, timer);
    if (!quorum_can_step(quorum)) {
        return; /* armed again when the term is written */
    }
    if (is_writing(quorum)) {
        return; /* armed again when the entries are written */
    }
    if (has_to_enter_term(quorum)) {
        enter_term(quorum);
        return;
    }
    forget_leader(quorum);
    ask_before_voting(quorum);
    struct raft_event event = {.type = RAFT_TIMEOUT};
    quorum->last_timeout_ms = now_ms(quorum);
    (void)quorum_step(quorum, &event);
}
