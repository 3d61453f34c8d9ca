/* Membership, handing over, and what a leader knows of its members. */
#include "tests/unit/controller/quorum_peer.h"

/* 2 and 3 have everything. */
static void all_have(struct harness *harness)
{
    uint64_t term = harness_term(harness);
    harness_end_jobs(harness);
    harness_append_result(harness, 2, term, 0, harness_last_index(harness));
    if (raft_state(&harness->quorum->raft) == RAFT_LEADER) {
        harness_append_result(harness, 3, term, 0, harness_last_index(harness));
    }
    harness_end_jobs(harness);
}

/* A leader of three that has committed an entry of its term. */
static void lead(struct harness *harness)
{
    harness_init(harness);
    harness_elect(harness);
    harness_propose(harness, "activation");
    all_have(harness);
    harness_forget_sent(harness);
    harness_forget_told(harness);
}

/* ---- changes ---- */

static void test_add_goes_by_stand_by_and_catching_up(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    harness_add(&harness, 4);
    harness_assert_role(&harness, 4, QUORUM_STANDBY);
    all_have(&harness);
    harness_assert_role(&harness, 4, QUORUM_STANDBY);
    harness_assert_text(&harness.told, "members 4 at 3;");
    quorum_remove_voter(harness.quorum, 3, harness_answer,
                        &harness); /* one change at a time, also while one catches up */
    assert_int_equal(harness_take_answer(&harness), ERR_BUSY);
    /* It has nothing and is sent everything. */
    harness_append_result(&harness, 4, 2, harness_last_index(&harness), 0);
    harness_append_result(&harness, 4, 2, 0, harness_last_index(&harness));
    harness_assert_role(&harness, 4, QUORUM_VOTER);
    harness_run_deferred(&harness);
    assert_int_equal(harness.answer_count, 0); /* not committed yet */
    all_have(&harness);
    harness_append_result(&harness, 4, 2, 0, harness_last_index(&harness));
    assert_int_equal(harness_take_answer(&harness), ERR_OK);
    harness_assert_text(&harness.told, "members 4 at 3;members 4 at 4;");
    /* And once more. */
    harness_add(&harness, 4);
    assert_int_equal(harness_take_answer(&harness), ERR_EXISTS);
    harness_done(&harness);
}

static void test_add_gives_up_a_member_that_is_silent(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    harness_add(&harness, 4);
    all_have(&harness);
    for (unsigned i = 0; i < 200 && harness.answer_count == 0; i++) {
        all_have(&harness);
        harness_advance(&harness, 50);
        harness_run_deferred(&harness);
        harness_forget_sent(&harness);
    }
    assert_int_equal(harness_take_answer(&harness), ERR_TIMEOUT);
    bool is_member = true;
    (void)harness_role(&harness, 4, &is_member);
    assert_false(is_member);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_done(&harness);
}

static void test_remove(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    quorum_remove_voter(harness.quorum, 9, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_NOT_FOUND);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    quorum_remove_voter(harness.quorum, 2, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_BUSY);
    all_have(&harness);
    assert_int_equal(harness_take_answer(&harness), ERR_OK);
    harness_assert_text(&harness.told, "members 2 at 3;");
    harness_done(&harness);
}

static void test_no_change_before_an_entry_of_the_term(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_NOT_LEADER);
    harness_elect(&harness);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_BUSY);
    harness_propose(&harness, "activation");
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_BUSY);
    assert_int_equal(harness_last_index(&harness), 2);
    harness_done(&harness);
}

static void test_lost_leadership_ends_a_change(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    harness_append(&harness, 3, 9, 2, 2, 1, 9, 2);
    harness_end_jobs(&harness);
    assert_int_equal(harness_take_answer(&harness), ERR_NOT_LEADER);
    harness_assert_role(&harness, 3, QUORUM_VOTER); /* the entry was truncated */
    harness_done(&harness);
}

static void test_stop_answers_what_is_open(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    harness_add(&harness, 4);
    harness_close(&harness);
    assert_int_equal(harness.answer_count, 1);
    assert_int_equal(harness.answer, ERR_CLOSED);
    harness_done(&harness);
}

/* A restart between the stand-by and the voter: the next request goes on. */
static void test_restart_in_the_middle(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    harness_add(&harness, 4);
    all_have(&harness);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    harness_assert_role(&harness, 4, QUORUM_STANDBY);
    harness_elect(&harness);
    harness_propose(&harness, "activation");
    all_have(&harness);
    harness_add(&harness, 4);
    assert_int_equal(harness.quorum->raft.configuration_uncommitted_index, 0);
    harness_append_result(&harness, 4, harness_term(&harness), 0, harness_last_index(&harness));
    harness_assert_role(&harness, 4, QUORUM_VOTER);
    all_have(&harness);
    harness_append_result(&harness, 4, harness_term(&harness), 0, harness_last_index(&harness));
    assert_int_equal(harness_take_answer(&harness), ERR_OK);
    harness_done(&harness);
}

/* ---- handing over ---- */

static void test_transfer(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    harness_propose(&harness, "x");
    harness_end_jobs(&harness);
    harness_append_result(&harness, 3, 2, 0, 3); /* 3 has more than 2 */
    harness_forget_sent(&harness);
    harness_forget_told(&harness);
    quorum_transfer(harness.quorum, harness_answer, &harness);
    assert_int_equal(harness_only(&harness, QUORUM_TIMEOUT_NOW)->to_raft_id, 3);
    uint64_t index = 0;
    assert_int_equal(quorum_propose(harness.quorum, span_text("y"), &index), ERR_NOT_LEADER);
    struct quorum_message vote = {
        .type = QUORUM_VOTE,
        .version = 2,
        .term = 3,
        .vote = {.candidate_raft_id = 3, .last_index = 3, .last_term = 2, .disrupts_leader = true}};
    assert_int_equal(harness_receive(&harness, &vote, 3), ERR_OK);
    harness_end_jobs(&harness);
    assert_true(harness_only(&harness, QUORUM_VOTE_RESULT)->vote_result.is_granted);
    harness_run_deferred(&harness);
    assert_int_equal(harness.answer_count, 0);
    harness_append(&harness, 3, 3, 3, 2, 0, 0, 3);
    harness_end_jobs(&harness);
    assert_int_equal(harness_take_answer(&harness), ERR_OK);
    harness_assert_text(&harness.told, "known 0 2;follower;known 3 3;");
    harness_done(&harness);
}

static void test_transfer_waits_for_what_is_in_flight(void **state)
{
    (void)state;
    struct harness harness;
    uint64_t index = 0;
    lead(&harness);
    harness_propose(&harness, "x");
    harness_propose(&harness, "y");
    quorum_transfer(harness.quorum, harness_answer, &harness);
    assert_int_equal(quorum_propose(harness.quorum, span_text("z"), &index), ERR_NOT_LEADER);
    harness_end_jobs(&harness);
    harness_append_result(&harness, 2, 2, 0, 3);
    assert_int_equal(harness_count(&harness, QUORUM_TIMEOUT_NOW), 0); /* it would refuse */
    harness_append_result(&harness, 2, 2, 0, 4);
    assert_int_equal(harness_only(&harness, QUORUM_TIMEOUT_NOW)->timeout_now.last_index, 4);
    harness_done(&harness);
}

static void test_transfer_that_nobody_takes(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    quorum_transfer(harness.quorum, harness_answer, &harness);
    for (unsigned i = 0; i < 20; i++) {
        all_have(&harness);
        harness_advance(&harness, 50);
    }
    assert_int_equal(harness_take_answer(&harness), ERR_TIMEOUT);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_propose(&harness, "still here");
    quorum_transfer(harness.quorum, harness_answer, &harness); /* and now nobody answers at all */
    harness_advance(&harness, 2 * HARNESS_ELECTION_MS);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_FOLLOWER);
    assert_int_equal(harness_take_answer(&harness), ERR_TIMEOUT);
    harness_done(&harness);
}

static void test_leader_hands_over_instead_of_removing_itself(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    quorum_remove_voter(harness.quorum, 1, harness_answer, &harness);
    assert_int_equal(harness_count(&harness, QUORUM_TIMEOUT_NOW), 1);
    assert_int_equal(harness_last_index(&harness), 2);
    harness_append(&harness, 2, 3, 2, 2, 0, 0, 2);
    harness_end_jobs(&harness);
    assert_int_equal(harness_take_answer(&harness), ERR_NOT_LEADER);
    harness_done(&harness);
}

static void test_progress_for_people(void **state)
{
    (void)state;
    struct harness harness;
    struct quorum_progress progress[QUORUM_MEMBERS_MAX];
    uint32_t count = 0;
    harness_init(&harness);
    assert_int_equal(quorum_get_progress(harness.quorum, progress, &count), ERR_NOT_LEADER);
    harness_elect(&harness);
    harness_propose(&harness, "x");
    harness_end_jobs(&harness);
    uint64_t at_us = harness.now_us;
    harness_append_result(&harness, 2, 2, 0, 2);
    harness_advance(&harness, 10);
    harness_propose(&harness, "y");
    harness_append_result(&harness, 2, 2, 0, 2);
    assert_int_equal(quorum_get_progress(harness.quorum, progress, &count), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(progress[1].raft_id, 2);
    assert_int_equal(progress[1].match_index, 2);
    assert_int_equal(progress[1].caught_up_us, at_us);
    assert_int_equal(progress[1].last_contact_us, harness.now_us);
    assert_int_equal(progress[2].last_contact_us, 0);
    assert_int_equal(progress[2].match_index, 0);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_goes_by_stand_by_and_catching_up),
        cmocka_unit_test(test_add_gives_up_a_member_that_is_silent),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_no_change_before_an_entry_of_the_term),
        cmocka_unit_test(test_lost_leadership_ends_a_change),
        cmocka_unit_test(test_stop_answers_what_is_open),
        cmocka_unit_test(test_restart_in_the_middle),
        cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_transfer_waits_for_what_is_in_flight),
        cmocka_unit_test(test_transfer_that_nobody_takes),
        cmocka_unit_test(test_leader_hands_over_instead_of_removing_itself),
        cmocka_unit_test(test_progress_for_people),
    };
    return cmocka_run_group_tests_name("quorum_member", tests, NULL, NULL);
}
