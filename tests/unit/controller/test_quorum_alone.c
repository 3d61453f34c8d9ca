/* What a quorum with one voter must not do, and how a node joins. */
#include "tests/unit/controller/quorum_peer.h"

static void init_alone(struct harness *harness)
{
    static const uint64_t alone[] = {1};
    harness_init_with(harness, alone, 1);
    harness_propose(harness, "activation");
    harness_end_jobs(harness);
}

static void test_alone_enters_a_new_term_with_every_start(void **state)
{
    (void)state;
    struct harness harness;
    init_alone(&harness);
    assert_int_equal(harness_term(&harness), 1); /* nothing but the first configuration was there */
    assert_int_equal(harness.sent_count, 0);
    quorum_transfer(harness.quorum, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_NOT_FOUND);
    quorum_remove_voter(harness.quorum, 1, harness_answer, &harness);
    assert_int_equal(harness_take_answer(&harness), ERR_INVALID);
    for (uint64_t term = 2; term < 4; term++) {
        harness_crash(&harness, FS_SIM_CRASH_LOSE);
        harness_open(&harness);
        assert_int_equal(harness_term(&harness), term);
        assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    }
    harness_done(&harness);
}

/* What a stand-by is sent and this one loses must not have the index and term of something else later. */
static void test_alone_sends_and_loses_what_a_standby_keeps(void **state)
{
    (void)state;
    struct harness harness;
    init_alone(&harness);
    harness_add(&harness, 2);
    harness_end_jobs(&harness);
    harness_append_result(&harness, 2, 1, harness_last_index(&harness), 0);
    harness_forget_sent(&harness);
    harness_propose(&harness, "sent, not synced");
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    assert_int_equal(harness_term(&harness), 2);
    harness_done(&harness);
}

/* So it is when the very entry that adds it is lost, and the quorum never had anybody else as far as its own log can tell. */
static void test_alone_sends_and_loses_the_addition_of_a_standby(void **state)
{
    (void)state;
    struct harness harness;
    init_alone(&harness);
    harness_add(&harness, 2);
    uint64_t change_index = harness_last_index(&harness);
    harness_append_result(&harness, 2, 1, change_index, 0);
    const struct quorum_message *sent = &harness.sent[harness.sent_count - 1].message;
    assert_int_equal(sent->type, QUORUM_APPEND);
    assert_int_equal(sent->append.prev_index + sent->append.entry_count, change_index);
    assert_int_equal(sent->append.entries[sent->append.entry_count - 1].type, QUORUM_CHANGE);
    assert_true(harness.quorum->persisted_index < change_index);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_propose(&harness, "a namesake");
    assert_int_equal(harness_last_index(&harness), change_index);
    assert_int_equal(harness_term(&harness), 2);
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
    assert_int_equal(harness_term(&harness), 3);
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
    harness_assert_role(&harness, 1, QUORUM_STANDBY);
    /* The same once more, from the very beginning. */
    assert_int_equal(harness_receive(&harness, &message, 2), ERR_OK);
    assert_int_equal(harness_last_index(&harness), 3);
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
    assert_int_equal(harness_last_index(&harness), 8);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND_RESULT)->append_result.rejected_index, 0);
    harness_forget_sent(&harness);
    harness_append(&harness, 2, 2, 3, 2, 0, 0, 6);
    assert_int_equal(harness_only(&harness, QUORUM_APPEND_RESULT)->append_result.rejected_index, 0);
    bytebuf_done(&first);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_enters_a_new_term_with_every_start),
        cmocka_unit_test(test_alone_sends_and_loses_what_a_standby_keeps),
        cmocka_unit_test(test_alone_sends_and_loses_the_addition_of_a_standby),
        cmocka_unit_test(test_last_voter_enters_a_new_term),
        cmocka_unit_test(test_joining_node_waits_and_is_filled),
        cmocka_unit_test(test_append_from_before_the_snapshot),
    };
    return cmocka_run_group_tests_name("quorum_alone", tests, NULL, NULL);
}
