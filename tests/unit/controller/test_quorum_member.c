/* Membership, handing over, and what a quorum with one voter must not do. */
#include "tests/unit/controller/quorum_peer.h"

static uint64_t term_of(const struct harness *harness)
{
    return raft_current_term(&harness->quorum->raft);
}

static enum err take_answer(struct harness *harness)
{
    harness_run_deferred(harness);
    assert_int_equal(harness->answer_count, 1);
    harness->answer_count = 0;
    return harness->answer;
}

static uint64_t last_index(const struct harness *harness)
{
    return quorum_tail_end(&harness->quorum->tail) - 1;
}

/* 2 and 3 have everything. */
static void all_have(struct harness *harness)
{
    uint64_t term = term_of(harness);
    harness_end_jobs(harness);
    harness_append_result(harness, 2, term, 0, last_index(harness));
    if (raft_state(&harness->quorum->raft) == RAFT_LEADER) {
        harness_append_result(harness, 3, term, 0, last_index(harness));
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

static enum quorum_role role_of(const struct harness *harness, uint64_t raft_id, bool *ret_is_member)
{
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = quorum_configuration_members(&harness->quorum->raft.configuration, members);
    *ret_is_member = false;
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].raft_id == raft_id) {
            *ret_is_member = true;
            return members[i].role;
        }
    }
    return QUORUM_SPARE;
}

static void add(struct harness *harness, uint64_t raft_id)
{
    char address[32];
    harness_address(raft_id, address);
    quorum_add_voter(harness->quorum, raft_id, address, harness_answer, harness);
}

static void assert_role(const struct harness *harness, uint64_t raft_id, enum quorum_role role)
{
    bool is_member = false;
    assert_int_equal(role_of(harness, raft_id, &is_member), role);
    assert_true(is_member);
}

/* ---- changes ---- */

static void test_add_goes_by_stand_by_and_catching_up(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    add(&harness, 4);
    assert_role(&harness, 4, QUORUM_STANDBY);
    all_have(&harness);
    assert_role(&harness, 4, QUORUM_STANDBY);
    harness_assert_text(&harness.told, "members 4 at 3;");
    quorum_remove_voter(harness.quorum, 3, harness_answer,
                        &harness); /* one change at a time, also while one catches up */
    assert_int_equal(take_answer(&harness), ERR_BUSY);
    /* It has nothing and is sent everything. */
    harness_append_result(&harness, 4, 2, last_index(&harness), 0);
    harness_append_result(&harness, 4, 2, 0, last_index(&harness));
    assert_role(&harness, 4, QUORUM_VOTER);
    harness_run_deferred(&harness);
    assert_int_equal(harness.answer_count, 0); /* not committed yet */
    all_have(&harness);
    harness_append_result(&harness, 4, 2, 0, last_index(&harness));
    assert_int_equal(take_answer(&harness), ERR_OK);
    harness_assert_text(&harness.told, "members 4 at 3;members 4 at 4;");
    /* And once more. */
    add(&harness, 4);
    assert_int_equal(take_answer(&harness), ERR_EXISTS);
    harness_done(&harness);
}

static void test_add_gives_up_a_member_that_is_silent(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    add(&harness, 4);
    all_have(&harness);
    for (unsigned i = 0; i < 200 && harness.answer_count == 0; i++) {
        all_have(&harness);
        harness_advance(&harness, 50);
        harness_run_deferred(&harness);
        harness_forget_sent(&harness);
    }
    assert_int_equal(take_answer(&harness), ERR_TIMEOUT);
    bool is_member = true;
    (void)role_of(&harness, 4, &is_member);
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
    assert_int_equal(take_answer(&harness), ERR_NOT_FOUND);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    quorum_remove_voter(harness.quorum, 2, harness_answer, &harness);
    assert_int_equal(take_answer(&harness), ERR_BUSY);
    all_have(&harness);
    assert_int_equal(take_answer(&harness), ERR_OK);
    harness_assert_text(&harness.told, "members 2 at 3;");
    harness_done(&harness);
}

static void test_no_change_before_an_entry_of_the_term(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    assert_int_equal(take_answer(&harness), ERR_NOT_LEADER);
    harness_elect(&harness);
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    assert_int_equal(take_answer(&harness), ERR_BUSY);
    harness_propose(&harness, "activation");
    quorum_remove_voter(harness.quorum, 3, harness_answer, &harness);
    assert_int_equal(take_answer(&harness), ERR_BUSY);
    assert_int_equal(last_index(&harness), 2);
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
    assert_int_equal(take_answer(&harness), ERR_NOT_LEADER);
    assert_role(&harness, 3, QUORUM_VOTER); /* the entry was truncated */
    harness_done(&harness);
}

static void test_stop_answers_what_is_open(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    add(&harness, 4);
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
    add(&harness, 4);
    all_have(&harness);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_role(&harness, 4, QUORUM_STANDBY);
    harness_elect(&harness);
    harness_propose(&harness, "activation");
    all_have(&harness);
    add(&harness, 4);
    assert_int_equal(harness.quorum->raft.configuration_uncommitted_index, 0);
    harness_append_result(&harness, 4, term_of(&harness), 0, last_index(&harness));
    assert_role(&harness, 4, QUORUM_VOTER);
    all_have(&harness);
    harness_append_result(&harness, 4, term_of(&harness), 0, last_index(&harness));
    assert_int_equal(take_answer(&harness), ERR_OK);
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
    assert_int_equal(take_answer(&harness), ERR_OK);
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
    assert_int_equal(take_answer(&harness), ERR_TIMEOUT);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_propose(&harness, "still here");
    harness_done(&harness);
}

static void test_leader_hands_over_instead_of_removing_itself(void **state)
{
    (void)state;
    struct harness harness;
    lead(&harness);
    quorum_remove_voter(harness.quorum, 1, harness_answer, &harness);
    assert_int_equal(harness_count(&harness, QUORUM_TIMEOUT_NOW), 1);
    assert_int_equal(last_index(&harness), 2);
    harness_append(&harness, 2, 3, 2, 2, 0, 0, 2);
    harness_end_jobs(&harness);
    assert_int_equal(take_answer(&harness), ERR_NOT_LEADER);
    harness_done(&harness);
}

/* ---- one voter ---- */

static void init_alone(struct harness *harness)
{
    static const uint64_t alone[] = {1};
    harness_init_with(harness, alone, 1);
    harness_propose(harness, "activation");
    harness_end_jobs(harness);
}

static void test_alone_keeps_its_term_until_somebody_joins(void **state)
{
    (void)state;
    struct harness harness;
    init_alone(&harness);
    assert_int_equal(term_of(&harness), 1);
    assert_int_equal(harness.sent_count, 0);
    quorum_transfer(harness.quorum, harness_answer, &harness);
    assert_int_equal(take_answer(&harness), ERR_NOT_FOUND);
    quorum_remove_voter(harness.quorum, 1, harness_answer, &harness);
    assert_int_equal(take_answer(&harness), ERR_INVALID);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(term_of(&harness), 1);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_propose(&harness, "activation");
    harness_end_jobs(&harness);
    /* What the stand-by is sent and this one loses in a power loss must not have the index and term of something else later. */
    add(&harness, 2);
    harness_end_jobs(&harness);
    harness_append_result(&harness, 2, 1, last_index(&harness), 0);
    harness_forget_sent(&harness);
    harness_propose(&harness, "sent, not synced");
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    assert_int_equal(term_of(&harness), 2);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(term_of(&harness), 3);
    harness_done(&harness);
}

/* The leader of two has removed itself, as another version may do: the other one must not lead in the same term. */
static void test_last_voter_enters_a_new_term(void **state)
{
    (void)state;
    struct harness harness;
    static const uint64_t two[] = {1, 2};
    static const uint64_t one[] = {1};
    struct bytebuf change;
    harness_init_with(&harness, two, 2);
    harness_encode_members(one, 1, 0, &change);
    struct quorum_message_entry entry = {2, QUORUM_CHANGE, bytebuf_span(&change)};
    struct quorum_message message = {
        .type = QUORUM_APPEND,
        .term = 2,
        .append = {.prev_index = 1, .prev_term = 1, .commit_index = 1, .entries = &entry, .entry_count = 1}};
    assert_int_equal(harness_receive(&harness, &message, 2), ERR_OK);
    harness_end_jobs(&harness);
    /* Nor when that leader asks it to. */
    struct quorum_message now = {
        .type = QUORUM_TIMEOUT_NOW, .term = 2, .timeout_now = {.last_index = 2, .last_term = 2}};
    assert_int_equal(harness_receive(&harness, &now, 2), ERR_OK);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_FOLLOWER);
    for (unsigned i = 0; i < 100 && raft_state(&harness.quorum->raft) != RAFT_LEADER; i++) {
        harness_advance(&harness, 50);
        assert_true(raft_state(&harness.quorum->raft) != RAFT_LEADER || harness.job_count == 0);
        harness_end_jobs(&harness);
    }
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    assert_int_equal(term_of(&harness), 3);
    bytebuf_done(&change);
    harness_done(&harness);
}

/* ---- who joins ---- */

static void test_joining_node_waits_and_is_filled(void **state)
{
    (void)state;
    struct harness harness;
    static const uint64_t two[] = {2};
    struct bytebuf first;
    struct bytebuf second;
    harness_init_with(&harness, NULL, 0);
    harness_advance(&harness, 10 * HARNESS_ELECTION_MS);
    assert_int_equal(harness.sent_count, 0);
    harness_assert_text(&harness.told, "");
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    /* An empty log has no say. */
    struct quorum_message vote = {.type = QUORUM_VOTE,
                                  .version = 2,
                                  .term = 3,
                                  .vote = {.candidate_raft_id = 2, .last_index = 2, .last_term = 2}};
    assert_int_equal(harness_receive(&harness, &vote, 2), ERR_OK);
    harness_end_jobs(&harness);
    assert_false(harness_only(&harness, QUORUM_VOTE_RESULT)->vote_result.is_granted);
    harness_forget_sent(&harness);
    harness_encode_members(two, 1, 0, &first);
    harness_encode_members(two, 1, 1, &second);
    struct quorum_message_entry entries[] = {{1, QUORUM_CHANGE, bytebuf_span(&first)},
                                             {3, QUORUM_COMMAND, span_text("a")},
                                             {3, QUORUM_CHANGE, bytebuf_span(&second)}};
    struct quorum_message message = {
        .type = QUORUM_APPEND, .term = 3, .append = {.commit_index = 3, .entries = entries, .entry_count = 3}};
    assert_int_equal(harness_receive(&harness, &message, 2), ERR_OK);
    harness_end_jobs(&harness);
    harness_assert_text(&harness.applied, "2:a;");
    assert_role(&harness, 1, QUORUM_STANDBY);
    /* The same once more, from the very beginning. */
    assert_int_equal(harness_receive(&harness, &message, 2), ERR_OK);
    assert_int_equal(last_index(&harness), 3);
    bytebuf_done(&first);
    bytebuf_done(&second);
    /* The leader that promotes it crashes before it hears of it: it gives its vote nevertheless, once it misses the leader. */
    vote.term = 4;
    vote.vote.last_index = 4;
    vote.vote.last_term = 3;
    vote.vote.is_pre_vote = true;
    harness_forget_sent(&harness);
    assert_int_equal(harness_receive(&harness, &vote, 2), ERR_OK);
    assert_false(harness_only(&harness, QUORUM_VOTE_RESULT)->vote_result.is_granted);
    harness_advance(&harness, 3 * HARNESS_ELECTION_MS);
    harness_forget_sent(&harness);
    assert_int_equal(harness_receive(&harness, &vote, 2), ERR_OK);
    assert_true(harness_only(&harness, QUORUM_VOTE_RESULT)->vote_result.is_granted);
    harness_done(&harness);
}

/* An append that begins before what is trimmed here: its known front is cut off; it is neither refused nor appended at the end. */
static void test_append_from_before_the_snapshot(void **state)
{
    (void)state;
    struct harness harness;
    static const uint64_t three[] = {1, 2, 3};
    struct bytebuf first;
    harness_init(&harness);
    harness.quorum->options.trailing_entries = 0;
    harness.quorum->options.snapshot_entries = 4;
    harness_append(&harness, 2, 2, 1, 1, 5, 2, 6);
    harness_end_jobs(&harness);
    assert_int_equal(harness.quorum->raft.trail.offset, 6);
    harness_forget_sent(&harness);
    harness_append(&harness, 2, 2, 3, 2, 5, 2, 6); /* 4 to 8 */
    harness_end_jobs(&harness);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND_RESULT)->append_result.last_index, 8);
    harness_encode_members(three, 3, 0, &first);
    struct quorum_message_entry entries[] = {{1, QUORUM_CHANGE, bytebuf_span(&first)},
                                             {2, QUORUM_COMMAND, span_text("a")}};
    struct quorum_message late = {
        .type = QUORUM_APPEND, .term = 2, .append = {.commit_index = 1, .entries = entries, .entry_count = 2}};
    harness_forget_sent(&harness);
    assert_int_equal(harness_receive(&harness, &late, 2), ERR_OK);
    assert_int_equal(last_index(&harness), 8);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND_RESULT)->append_result.rejected_index, 0);
    harness_forget_sent(&harness);
    harness_append(&harness, 2, 2, 3, 2, 0, 0, 6);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND_RESULT)->append_result.rejected_index, 0);
    bytebuf_done(&first);
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
        cmocka_unit_test(test_alone_keeps_its_term_until_somebody_joins),
        cmocka_unit_test(test_last_voter_enters_a_new_term),
        cmocka_unit_test(test_joining_node_waits_and_is_filled),
        cmocka_unit_test(test_append_from_before_the_snapshot),
        cmocka_unit_test(test_progress_for_people),
    };
    return cmocka_run_group_tests_name("quorum_member", tests, NULL, NULL);
}
