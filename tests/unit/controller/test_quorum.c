/* The quorum among other voters, one event at a time: what is durable before what is said, what is cut, what is believed. Each rule of
 * correctness.md 6 that quorum.c and quorum_receive.c keep. */
#include "tests/unit/controller/quorum_peer.h"

static struct quorum_message vote_of(uint64_t term, bool is_pre_vote, uint64_t candidate, uint64_t last_index,
                                     uint64_t last_term)
{
    return (struct quorum_message){.type = QUORUM_VOTE,
                                   .version = 2,
                                   .term = term,
                                   .vote = {.candidate_raft_id = candidate,
                                            .last_index = last_index,
                                            .last_term = last_term,
                                            .is_pre_vote = is_pre_vote}};
}

static struct quorum_facts facts_of(struct harness *harness)
{
    struct quorum_facts facts;
    quorum_get_facts(harness->quorum, &facts);
    return facts;
}

/* ---- rule 1: term and vote ---- */

static void test_vote_is_durable_before_it_is_told(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    struct quorum_message first = vote_of(2, false, 2, 1, 1);
    struct quorum_message second = vote_of(2, false, 3, 1, 1);
    assert_int_equal(harness_receive(&harness, &first, 2), ERR_OK);
    assert_int_equal(harness_receive(&harness, &second, 3), ERR_OK);
    harness_work(&harness);
    assert_int_equal(harness.sent_count, 0);
    harness_end_job(&harness);
    assert_int_equal(harness.sent[0].to_raft_id, 2);
    assert_true(harness.sent[0].message.vote_result.is_granted);
    assert_int_equal(harness.sent[1].to_raft_id, 3);
    assert_false(harness.sent[1].message.vote_result.is_granted);
    /* What was told survives the loss of everything that was not synced. */
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(facts_of(&harness).term, 2);
    assert_int_equal(harness_receive(&harness, &second, 3), ERR_OK);
    harness_end_jobs(&harness);
    assert_false(harness_only(&harness, QUORUM_VOTE_RESULT)->vote_result.is_granted);
    harness_done(&harness);
}

static void test_candidate_writes_its_term_before_it_asks(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_advance(&harness, 2 * HARNESS_ELECTION_MS);
    assert_int_equal(harness_count(&harness, QUORUM_VOTE), 2);
    assert_true(harness.sent[0].message.vote.is_pre_vote);
    assert_int_equal(harness.job_count, 0); /* a pre-vote changes nothing */
    harness_forget_sent(&harness);
    harness_vote_result(&harness, 2, 2, true, true);
    assert_int_equal(harness.sent_count, 0);
    harness_end_job(&harness);
    assert_int_equal(harness_count(&harness, QUORUM_VOTE), 2);
    assert_false(harness.sent[0].message.vote.is_pre_vote);
    assert_int_equal(harness.sent[0].message.term, 2);
    harness_done(&harness);
}

/* ---- rule 2: truncation, and what was written meanwhile ---- */

/* Entries 2 and 3 are being written, 4 waits; a new leader has another 4. */
static void begin_conflict(struct harness *harness)
{
    harness_append(harness, 2, 2, 1, 1, 0, 0, 1);
    harness_end_jobs(harness);
    harness_append(harness, 2, 2, 1, 1, 2, 2, 1);
    harness_append(harness, 2, 2, 3, 2, 1, 2, 1);
    assert_int_equal(harness->job_count, 1);
    harness_append(harness, 3, 3, 3, 2, 0, 0, 1);
    harness_append(harness, 3, 3, 3, 2, 1, 3, 1); /* waits for the term */
    harness_end_job(harness);
    harness_forget_sent(harness);
}

static void test_truncated_entries_do_not_count_as_written(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    begin_conflict(&harness);
    /* This job writes the term and the old 4; when the term is written the new 4 takes its place; then the old one is reported. */
    harness_end_job(&harness);
    assert_int_equal(facts_of(&harness).truncate_count, 1);
    assert_int_equal(facts_of(&harness).last_index, 4);
    assert_int_equal(facts_of(&harness).persisted_index, 3);
    for (unsigned i = 0; i < harness.sent_count; i++) {
        assert_true(harness.sent[i].message.append_result.last_index <= 3);
    }
    harness_end_job(&harness);
    assert_int_equal(facts_of(&harness).persisted_index, 4);
    assert_int_equal(harness.sent[harness.sent_count - 1].message.append_result.last_index, 4);
    assert_int_equal(harness.sent[harness.sent_count - 1].to_raft_id, 3);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(facts_of(&harness).last_index, 4);
    assert_int_equal(quorum_term_of(harness.quorum, 4), 3);
    harness_done(&harness);
}

static void test_truncation_reaches_the_disk(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_append(&harness, 2, 2, 1, 1, 9, 2, 1);
    harness_end_jobs(&harness);
    assert_int_equal(facts_of(&harness).persisted_index, 10);
    harness_append(&harness, 3, 3, 4, 2, 1, 3, 1);
    harness_end_jobs(&harness);
    assert_int_equal(facts_of(&harness).last_index, 5);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_open(&harness);
    assert_int_equal(facts_of(&harness).last_index, 5);
    assert_int_equal(quorum_term_of(harness.quorum, 4), 2);
    assert_int_equal(quorum_term_of(harness.quorum, 5), 3);
    harness_done(&harness);
}

/* ---- rule 3: what a leader sends ---- */

static void test_appends_are_filled_and_fit_a_frame(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_elect(&harness);
    char *large = (char *)mem_zalloc(QUORUM_ENTRY_BYTES_MAX + 1);
    memset(large, 'x', QUORUM_ENTRY_BYTES_MAX);
    for (unsigned i = 0; i < 20; i++) {
        large[0] = (char)('a' + i);
        harness_propose(&harness, large);
    }
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    harness_append_result(&harness, 2, 2, 0, 1); /* has the first one: now all others go */
    uint64_t next_index = 2;
    unsigned frames = 0;
    for (unsigned i = 0; i < harness.sent_count; i++) {
        const struct quorum_message *message = &harness.sent[i].message;
        if (harness.sent[i].to_raft_id != 2 || message->append.entry_count == 0) {
            continue;
        }
        frames++;
        assert_int_equal(message->append.prev_index, next_index - 1);
        assert_int_equal(message->append.prev_term, next_index == 2 ? 1 : 2);
        for (uint32_t j = 0; j < message->append.entry_count; j++, next_index++) {
            assert_int_equal(message->append.entries[j].data.bytes, QUORUM_ENTRY_BYTES_MAX);
            assert_int_equal(message->append.entries[j].data.data[0], 'a' + (int)next_index - 2);
        }
    }
    assert_int_equal(next_index, 22);
    assert_int_equal(frames, 3);
    mem_free(large);
    harness_done(&harness);
}

/* ---- rule 4: configurations inside of appends ---- */

static struct quorum_message append_two(uint64_t term, uint64_t prev_index, uint64_t prev_term,
                                        struct quorum_message_entry *entries, uint32_t count)
{
    return (struct quorum_message){.type = QUORUM_APPEND,
                                   .term = term,
                                   .append = {.prev_index = prev_index,
                                              .prev_term = prev_term,
                                              .commit_index = 1,
                                              .entries = entries,
                                              .entry_count = count}};
}

/* libraft itself, without the split: the change at 3 is noted at 2. If this fails libraft has changed and the split may go. */
static void show_the_bug(struct span first, struct span change)
{
    struct raft raft;
    struct raft_update update;
    memset(&raft, 0, sizeof(raft));
    assert_int_equal(raft_init(&raft, NULL, NULL, 1, "1@host:9093/dir"), 0);
    raft.tracer = NULL;
    struct raft_entry loaded = {.term = 1, .type = RAFT_CHANGE, .buf = {(void *)(uintptr_t)first.data, first.bytes}};
    struct raft_event event = {.type = RAFT_START, .time = 1};
    event.start.term = 1;
    event.start.start_index = 1;
    event.start.entries = &loaded;
    event.start.n_entries = 1;
    assert_int_equal(raft_step(&raft, &event, &update), 0);
    void *batch = raft_malloc(1);
    struct raft_entry entries[2] = {
        {.term = 2, .type = RAFT_COMMAND, .buf = {batch, 1}, .batch = batch},
        {.term = 2, .type = RAFT_CHANGE, .buf = {(void *)(uintptr_t)change.data, change.bytes}, .batch = batch}};
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES, .server_id = 2, .server_address = "2@host:9093/dir"};
    message.append_entries = (struct raft_append_entries){
        .term = 2, .prev_log_index = 1, .prev_log_term = 1, .leader_commit = 1, .entries = entries, .n_entries = 2};
    struct raft_event receive = {.type = RAFT_RECEIVE, .time = 2};
    receive.receive.message = &message;
    assert_int_equal(raft_step(&raft, &receive, &update), 0);
    assert_int_equal(raft.configuration_uncommitted_index, 2);
    raft_free(batch);
    raft_close(&raft, NULL);
}

static void test_change_behind_a_command_is_split_off(void **state)
{
    (void)state;
    struct harness harness;
    static const uint64_t three[] = {1, 2, 3};
    static const uint64_t four[] = {1, 2, 3, 4};
    struct bytebuf first;
    struct bytebuf change;
    harness_init(&harness);
    harness_encode_members(three, 3, 0, &first);
    harness_encode_members(four, 4, 0, &change);
    show_the_bug(bytebuf_span(&first), bytebuf_span(&change));
    struct quorum_message_entry entries[] = {{2, QUORUM_COMMAND, span_text("a")},
                                             {2, QUORUM_CHANGE, bytebuf_span(&change)},
                                             {2, QUORUM_COMMAND, span_text("b")}};
    struct quorum_message message = append_two(2, 1, 1, entries, 3);
    assert_int_equal(harness_receive(&harness, &message, 2), ERR_OK);
    harness_end_jobs(&harness);
    assert_int_equal(facts_of(&harness).last_index, 4);
    assert_int_equal(harness.quorum->raft.configuration_uncommitted_index, 3);
    assert_int_equal(facts_of(&harness).voter_count, 4);
    /* Truncated from 3 on: the configuration is what it was. */
    harness_append(&harness, 3, 3, 2, 2, 1, 3, 1);
    harness_end_jobs(&harness);
    assert_int_equal(facts_of(&harness).voter_count, 3);
    assert_int_equal(harness.quorum->raft.configuration_uncommitted_index, 0);
    bytebuf_done(&first);
    bytebuf_done(&change);
    harness_done(&harness);
}

static void test_second_change_proves_the_first(void **state)
{
    (void)state;
    struct harness harness;
    static const uint64_t three[] = {1, 2, 3};
    static const uint64_t four[] = {1, 2, 3, 4};
    struct bytebuf first;
    struct bytebuf second;
    harness_init(&harness);
    harness_encode_members(three, 3, 4, &first); /* 4 is a stand-by */
    harness_encode_members(four, 4, 0, &second);
    struct quorum_message_entry entries[] = {{2, QUORUM_CHANGE, bytebuf_span(&first)},
                                             {2, QUORUM_CHANGE, bytebuf_span(&second)}};
    struct quorum_message message = append_two(2, 1, 1, entries, 2);
    assert_int_equal(harness_receive(&harness, &message, 2), ERR_OK);
    harness_end_jobs(&harness);
    assert_int_equal(harness.quorum->raft.configuration_uncommitted_index, 3);
    assert_int_equal(harness.quorum->raft.configuration_committed_index, 2);
    /* The second is truncated: the first stays, stand-by and all. */
    harness_append(&harness, 3, 3, 2, 2, 1, 3, 1);
    harness_end_jobs(&harness);
    assert_int_equal(harness.quorum->raft.configuration.n, 4);
    assert_int_equal(facts_of(&harness).voter_count, 3);
    bytebuf_done(&first);
    bytebuf_done(&second);
    harness_done(&harness);
}

/* ---- rule 7: randomness ---- */

static void test_elections_are_not_simultaneous(void **state)
{
    (void)state;
    uint64_t last_ms = 0;
    unsigned same = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct harness harness;
        harness_init(&harness);
        harness_close(&harness);
        prop_init_seed(&harness.prop, i + 1);
        harness_open(&harness);
        same += raft_timeout(&harness.quorum->raft) == last_ms;
        last_ms = raft_timeout(&harness.quorum->raft);
        harness_done(&harness);
    }
    assert_true(same < 2);
}

/* ---- rule 8: committed before it is written here ---- */

static void test_commit_may_pass_what_is_written(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness.quorum->options.snapshot_entries = 2;
    harness_append(&harness, 2, 2, 1, 1, 0, 0, 1);
    harness_end_jobs(&harness);
    harness_append(&harness, 2, 2, 1, 1, 3, 2, 4);
    harness_assert_text(&harness.applied, "2:a;3:b;4:c;");
    assert_int_equal(harness.job_count, 1); /* no snapshot of what is not on the disk */
    assert_false(harness.quorum->is_encoding);
    harness_end_job(&harness);
    assert_true(harness.quorum->is_encoding);
    harness_end_jobs(&harness);
    assert_int_equal(facts_of(&harness).snapshot_index, 4);
    harness_done(&harness);
}

/* ---- rules 10 and 11 ---- */

static void test_an_error_of_the_log_ends_the_quorum(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_append(&harness, 2, 2, 1, 1, 0, 0, 1);
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    harness_append(&harness, 2, 2, 1, 1, 1, 2, 1);
    fs_sim_fail_at(harness.disk, FS_SIM_SYNC, 1, ERR_IO, false);
    harness_end_job(&harness);
    assert_non_null(strstr(harness.fatal, "appending to the log failed"));
    harness_append(&harness, 2, 2, 2, 2, 1, 2, 1);
    harness_advance(&harness, 5000);
    assert_int_equal(harness.sent_count, 0);
    uint64_t index = 0;
    assert_int_equal(quorum_propose(harness.quorum, span_text("x"), &index), ERR_CLOSED);
    harness_crash(&harness, FS_SIM_CRASH_LOSE);
    harness_done(&harness);
}

static void test_lost_leadership_is_told_before_another_leaders_entries(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_elect(&harness);
    harness_propose(&harness, "mine");
    harness_end_jobs(&harness);
    harness_forget_told(&harness);
    harness_append(&harness, 3, 3, 1, 1, 2, 3, 3);
    harness_end_jobs(&harness);
    harness_assert_text(&harness.told, "follower;applied 2;applied 3;known 3 3;");
    harness_assert_text(&harness.applied, "2:a;3:b;");
    harness_done(&harness);
}

/* ---- what must not be believed ---- */

static void test_late_rejection_does_not_take_back_what_matches(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_elect(&harness);
    for (unsigned i = 0; i < 5; i++) {
        harness_propose(&harness, "x");
    }
    harness_end_jobs(&harness);
    harness_append_result(&harness, 2, 2, 0, 6);
    /* 2 falls silent, 3 answers: 2 is probed. */
    for (unsigned i = 0; i < 20; i++) {
        harness_append_result(&harness, 3, 2, 0, 6);
        harness_advance(&harness, HARNESS_HEARTBEAT_MS);
    }
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    harness_append_result(&harness, 2, 2, 6, 1);
    harness_append_result(&harness, 2, 2, 5, 2);
    harness_forget_sent(&harness);
    harness_propose(&harness, "y");
    harness_advance(&harness, HARNESS_HEARTBEAT_MS);
    bool is_found = false;
    for (unsigned i = 0; i < harness.sent_count; i++) {
        if (harness.sent[i].to_raft_id == 2) {
            assert_int_equal(harness.sent[i].message.append.prev_index, 6);
            assert_int_equal(harness.sent[i].message.append.entry_count, 1);
            is_found = true;
        }
    }
    assert_true(is_found);
    harness_done(&harness);
}

static void test_append_of_an_older_term_is_answered_without_a_success(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_append(&harness, 2, 5, 1, 1, 0, 0, 1);
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    struct quorum_message_entry entry = {4, QUORUM_COMMAND, span_text("late")};
    struct quorum_message message = append_two(4, 1, 1, &entry, 1);
    assert_int_equal(harness_receive(&harness, &message, 3), ERR_OK);
    const struct quorum_message *result = harness_only(&harness, QUORUM_APPEND_RESULT);
    assert_int_equal(result->term, 5);
    assert_int_equal(result->append_result.rejected_index, QUORUM_INDEX_MAX);
    assert_int_equal(facts_of(&harness).last_index, 1);
    harness_done(&harness);
}

static void test_impossible_messages_are_refused(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_elect(&harness);
    struct quorum_message append = append_two(2, 1, 1, NULL, 0);
    assert_int_equal(harness_receive(&harness, &append, 2), ERR_MALFORMED); /* we lead this term */
    assert_int_equal(raft_state(&harness.quorum->raft), RAFT_LEADER);
    /* In somebody else's name, or to somebody else. */
    struct bytebuf header;
    struct bytebuf body;
    char address[32];
    harness_address(2, address);
    struct quorum_message vote = vote_of(9, false, 2, 1, 1);
    vote.from_raft_id = 2;
    vote.to_raft_id = 1;
    vote.from_address = span_make(address, strlen(address) + 1);
    bytebuf_init(&header, 1000);
    bytebuf_init(&body, 1000);
    quorum_message_encode(&vote, &header, &body);
    assert_int_equal(quorum_receive(harness.quorum, 3, bytebuf_span(&header), bytebuf_span(&body)), ERR_MALFORMED);
    bytebuf_clear(&header);
    vote.to_raft_id = 7;
    quorum_message_encode(&vote, &header, &body);
    assert_int_equal(quorum_receive(harness.quorum, 2, bytebuf_span(&header), bytebuf_span(&body)), ERR_MALFORMED);
    assert_int_equal(facts_of(&harness).term, 2);
    bytebuf_done(&header);
    bytebuf_done(&body);
    harness_done(&harness);
}

static void test_late_vote_result_does_not_move_a_follower(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    harness_vote_result(&harness, 3, 9, true, false);
    assert_int_equal(harness.job_count, 0);
    assert_int_equal(facts_of(&harness).term, 1);
    harness_append(&harness, 2, 2, 1, 1, 0, 0, 1);
    harness_end_jobs(&harness);
    harness_vote_result(&harness, 3, 9, false, false);
    assert_int_equal(harness.job_count, 0);
    assert_int_equal(facts_of(&harness).term, 2);
    harness_done(&harness);
}

static void test_refused_pre_vote_tells_the_term(void **state)
{
    (void)state;
    struct harness harness;
    harness_init(&harness);
    struct quorum_message vote = vote_of(9, false, 3, 1, 1);
    assert_int_equal(harness_receive(&harness, &vote, 3), ERR_OK);
    harness_end_jobs(&harness);
    harness_forget_sent(&harness);
    struct quorum_message pre_vote = vote_of(3, true, 2, 50, 2);
    assert_int_equal(harness_receive(&harness, &pre_vote, 2), ERR_OK);
    const struct quorum_message *result = harness_only(&harness, QUORUM_VOTE_RESULT);
    assert_int_equal(result->term, 9);
    assert_true(result->vote_result.is_pre_vote);
    assert_false(result->vote_result.is_granted);
    /* And a candidate learns from such an answer. */
    harness_forget_sent(&harness);
    harness_advance(&harness, 3 * HARNESS_ELECTION_MS);
    assert_true(harness.sent[0].message.vote.is_pre_vote);
    harness_vote_result(&harness, 2, 20, true, false);
    harness_end_jobs(&harness);
    assert_int_equal(facts_of(&harness).term, 20);
    harness_done(&harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vote_is_durable_before_it_is_told),
        cmocka_unit_test(test_candidate_writes_its_term_before_it_asks),
        cmocka_unit_test(test_truncated_entries_do_not_count_as_written),
        cmocka_unit_test(test_truncation_reaches_the_disk),
        cmocka_unit_test(test_appends_are_filled_and_fit_a_frame),
        cmocka_unit_test(test_change_behind_a_command_is_split_off),
        cmocka_unit_test(test_second_change_proves_the_first),
        cmocka_unit_test(test_elections_are_not_simultaneous),
        cmocka_unit_test(test_commit_may_pass_what_is_written),
        cmocka_unit_test(test_an_error_of_the_log_ends_the_quorum),
        cmocka_unit_test(test_lost_leadership_is_told_before_another_leaders_entries),
        cmocka_unit_test(test_late_rejection_does_not_take_back_what_matches),
        cmocka_unit_test(test_append_of_an_older_term_is_answered_without_a_success),
        cmocka_unit_test(test_impossible_messages_are_refused),
        cmocka_unit_test(test_late_vote_result_does_not_move_a_follower),
        cmocka_unit_test(test_refused_pre_vote_tells_the_term),
    };
    return cmocka_run_group_tests_name("quorum", tests, NULL, NULL);
}
