/* Elections on disks that take their time: what is written does not count as silence (quorum_time.c), and a leader hears of those who write
 * (answer_alive); what is committed is told at once (quorum_tell_commit). tests/sim/election_sim shows what it is good for. */
#include "tests/unit/controller/quorum_peer.h"

/* Until it has asked for pre-votes; then 2 grants one, and the write of the new term has begun. */
static void become_candidate(struct harness *harness)
{
    uint64_t term = harness_term(harness) + 1;
    while (harness_count(harness, QUORUM_VOTE) == 0) {
        harness_advance(harness, 50);
    }
    assert_true(harness->sent[0].message.vote.is_pre_vote);
    harness_forget_sent(harness);
    harness_vote_result(harness, 2, term, true, true);
    assert_int_equal(harness->job_count, 1);
    assert_int_equal(harness_term(harness), term);
}

/* A disk that needs longer than two timeouts for a term does not make the candidate give up before it has asked, and the voters get the
 * time to write as well. */
static void test_candidate_waits_for_votes_as_long_as_it_wrote(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    become_candidate(&harness);
    harness_advance(&harness, 3 * HARNESS_ELECTION_MS);
    harness_end_job(&harness);
    assert_int_equal(harness_count(&harness, QUORUM_VOTE), 2);
    harness_forget_sent(&harness);
    harness_advance(&harness, 4 * HARNESS_ELECTION_MS - 1);
    assert_int_equal(harness.sent_count, 0);
    assert_int_equal(harness.job_count, 0);
    harness_vote_result(&harness, 2, 2, false, true);
    harness_end_jobs(&harness);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_done(&harness);
}

/* But not for ever: what one write lasted says nothing of a voter that is dead. */
static void test_candidate_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    become_candidate(&harness);
    harness_advance(&harness, 100 * HARNESS_ELECTION_MS);
    harness_end_job(&harness);
    harness_forget_sent(&harness);
    harness_advance(&harness, 6 * HARNESS_ELECTION_MS);
    assert_true(harness_count(&harness, QUORUM_VOTE) >= 2);
    harness_done(&harness);
}

/* Votes were split: the next try begins with the question whether it makes sense, and raises no term before that is answered. */
static void test_candidate_that_failed_asks_for_pre_votes_again(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    become_candidate(&harness);
    harness_end_job(&harness);
    assert_false(harness.sent[0].message.vote.is_pre_vote);
    harness_forget_sent(&harness);
    harness_advance(&harness, 2 * HARNESS_ELECTION_MS);
    assert_int_equal(harness_count(&harness, QUORUM_VOTE), 2);
    assert_true(harness.sent[0].message.vote.is_pre_vote);
    assert_int_equal(harness.sent[0].message.term, 3);
    assert_int_equal(harness_term(&harness), 2);
    /* A vote of the lost election is no pre-vote. */
    harness_vote_result(&harness, 2, 2, false, true);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_CANDIDATE);
    harness_vote_result(&harness, 2, 3, true, true);
    harness_end_jobs(&harness);
    harness_vote_result(&harness, 2, 3, false, true);
    harness_end_jobs(&harness);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    assert_int_equal(harness_term(&harness), 3);
    harness_done(&harness);
}

/* The leader dies while its last entries are being written here: not one timeout more than the write. */
static void test_follower_stands_as_soon_as_its_entries_are_written(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_append(&harness, 2, 1, 1, 1, 1, 1, 1);
    harness_advance(&harness, 3 * HARNESS_ELECTION_MS);
    assert_int_equal(harness_count(&harness, QUORUM_VOTE), 0);
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    harness_advance(&harness, 1);
    assert_int_equal(harness_count(&harness, QUORUM_VOTE), 2);
    assert_int_equal(harness.sent[0].message.vote.last_index, 2);
    harness_done(&harness);
}

/* Entries come without a pause, and the disk does not get on: the leader hears once per heartbeat that we are here, and only of what is
 * durable. */
static void test_leader_hears_of_a_follower_that_writes(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_append(&harness, 2, 1, 1, 1, 1, 1, 1);
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    for (uint64_t index = 2; index < 22; index++) {
        harness_advance(&harness, HARNESS_HEARTBEAT_MS / 4);
        harness_append(&harness, 2, 1, index, 1, 1, 1, 1);
    }
    assert_int_equal(harness_count(&harness, QUORUM_APPEND_RESULT), 5);
    for (unsigned i = 0; i < harness.sent_count; i++) {
        const struct quorum_message *result = &harness.sent[i].message;
        assert_int_equal(result->to_raft_id, 2);
        assert_int_equal(result->append_result.rejected_index, 0);
        assert_int_equal(result->append_result.last_index, 2);
    }
    harness_done(&harness);
}

static void assert_tells_commit(struct harness *harness, uint64_t member_id, uint64_t commit_index)
{
    const struct quorum_message *told = harness_only(harness, QUORUM_APPEND);
    assert_int_equal(told->to_raft_id, member_id);
    assert_int_equal(told->append.entry_count, 0);
    assert_int_equal(told->append.commit_index, commit_index);
    assert_int_equal(told->append.prev_index, commit_index);
    assert_int_equal(told->append.prev_term, quorum_term_of(harness->quorum, commit_index));
    harness_forget_sent(harness);
}

/* A commit index is not kept until the next heartbeat, is told to nobody who lacks the entry, and once. */
static void test_members_hear_at_once_of_what_is_committed(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_elect(&harness);
    uint64_t barrier_index = harness_last_index(&harness);
    harness_append_result(&harness, 2, harness_term(&harness), 0, barrier_index);
    harness_forget_sent(&harness);
    harness_propose(&harness, "a");
    uint64_t index = harness_last_index(&harness);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND)->append.entry_count, 1); /* 3 has not answered yet */
    harness_forget_sent(&harness);
    harness_append_result(&harness, 2, harness_term(&harness), 0, index);
    assert_int_equal(harness.sent_count, 0); /* the own disk lacks it */
    harness_end_jobs(&harness);
    assert_tells_commit(&harness, 2, index);
    harness_append_result(&harness, 2, harness_term(&harness), 0, index);
    assert_int_equal(harness.sent_count, 0);
    /* Committed without it: it hears of it with its own answer. libraft sends it what it lacks. */
    harness_append_result(&harness, 3, harness_term(&harness), 0, barrier_index);
    assert_int_equal(harness_count(&harness, QUORUM_APPEND), 2);
    assert_int_equal(harness.sent[0].message.append.entry_count, 1);
    assert_int_equal(harness.sent[1].message.append.entry_count, 0);
    assert_int_equal(harness.sent[1].message.append.commit_index, barrier_index);
    harness_forget_sent(&harness);
    harness_append_result(&harness, 3, harness_term(&harness), 0, index);
    assert_tells_commit(&harness, 3, index);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_candidate_waits_for_votes_as_long_as_it_wrote),
        cmocka_unit_test(test_candidate_does_not_wait_for_ever),
        cmocka_unit_test(test_candidate_that_failed_asks_for_pre_votes_again),
        cmocka_unit_test(test_follower_stands_as_soon_as_its_entries_are_written),
        cmocka_unit_test(test_leader_hears_of_a_follower_that_writes),
        cmocka_unit_test(test_members_hear_at_once_of_what_is_committed),
    };
    return cmocka_run_group_tests_name("quorum_time", tests, NULL, NULL);
}
