/* quorum_peer: what other voters say to the quorum of quorum_harness.h, and what it is asked for.
 *
 * Threads:   one.
 */
#ifndef TESTS_UNIT_CONTROLLER_QUORUM_PEER_H
#define TESTS_UNIT_CONTROLLER_QUORUM_PEER_H

#include "tests/unit/controller/quorum_harness.h"

static inline enum err harness_receive(struct harness *harness, struct quorum_message *message, uint64_t from_raft_id)
{
    char address[32];
    struct bytebuf header;
    struct bytebuf body;
    bytebuf_init(&header, QUORUM_FRAME_BYTES_MAX);
    bytebuf_init(&body, QUORUM_FRAME_BYTES_MAX);
    harness_address(from_raft_id, address);
    message->from_raft_id = from_raft_id;
    message->to_raft_id = 1;
    message->from_address = span_make(address, strlen(address) + 1);
    quorum_message_encode(message, &header, &body);
    enum err err = quorum_receive(harness->quorum, from_raft_id, bytebuf_span(&header), bytebuf_span(&body));
    bytebuf_done(&header);
    bytebuf_done(&body);
    return err;
}

/* An append of `count` commands "a", "b", ... of `entry_term` behind prev. */
static inline void harness_append(struct harness *harness, uint64_t from, uint64_t term, uint64_t prev_index,
                                  uint64_t prev_term, uint32_t count, uint64_t entry_term, uint64_t commit_index)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    struct quorum_message_entry entries[26];
    assert_true(count <= 26);
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct quorum_message_entry){entry_term, QUORUM_COMMAND, span_make(letters + i, 1)};
    }
    struct quorum_message message = {.type = QUORUM_APPEND,
                                     .term = term,
                                     .append = {.prev_index = prev_index,
                                                .prev_term = prev_term,
                                                .commit_index = commit_index,
                                                .entries = entries,
                                                .entry_count = count}};
    assert_int_equal(harness_receive(harness, &message, from), ERR_OK);
}

static inline void harness_append_result(struct harness *harness, uint64_t from, uint64_t term, uint64_t rejected_index,
                                         uint64_t last_index)
{
    struct quorum_message message = {.type = QUORUM_APPEND_RESULT,
                                     .version = 2,
                                     .term = term,
                                     .append_result = {.rejected_index = rejected_index, .last_index = last_index}};
    assert_int_equal(harness_receive(harness, &message, from), ERR_OK);
}

static inline void harness_vote_result(struct harness *harness, uint64_t from, uint64_t term, bool is_pre_vote,
                                       bool is_granted)
{
    struct quorum_message message = {.type = QUORUM_VOTE_RESULT,
                                     .version = 2,
                                     .term = term,
                                     .vote_result = {.is_pre_vote = is_pre_vote, .is_granted = is_granted}};
    assert_int_equal(harness_receive(harness, &message, from), ERR_OK);
}

/* Elects it, with the vote of 2. */
static inline void harness_elect(struct harness *harness)
{
    uint64_t term = raft_current_term(&harness->quorum->raft) + 1;
    while (harness_count(harness, QUORUM_VOTE) == 0) {
        harness_advance(harness, 50);
    }
    harness_vote_result(harness, 2, term, true, true);
    harness_end_jobs(harness);
    harness_vote_result(harness, 2, term, false, true);
    harness_end_jobs(harness);
    assert_int_equal(raft_state(&harness->quorum->raft), RAFT_LEADER);
    harness_forget_sent(harness);
}

static inline void harness_propose(struct harness *harness, const char *text)
{
    uint64_t index = 0;
    assert_int_equal(quorum_propose(harness->quorum, span_text(text), &index), ERR_OK);
}

static inline void harness_answer(void *ctx, enum err err)
{
    struct harness *harness = (struct harness *)ctx;
    harness->answer_count++;
    harness->answer = err;
}

static inline uint64_t harness_term(const struct harness *harness)
{
    return raft_current_term(&harness->quorum->raft);
}

static inline enum err harness_take_answer(struct harness *harness)
{
    harness_run_deferred(harness);
    assert_int_equal(harness->answer_count, 1);
    harness->answer_count = 0;
    return harness->answer;
}

static inline uint64_t harness_last_index(const struct harness *harness)
{
    return quorum_tail_end(&harness->quorum->tail) - 1;
}

static inline enum quorum_role harness_role(const struct harness *harness, uint64_t raft_id, bool *ret_is_member)
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

static inline void harness_add(struct harness *harness, uint64_t raft_id)
{
    char address[32];
    harness_address(raft_id, address);
    quorum_add_voter(harness->quorum, raft_id, address, harness_answer, harness);
}

static inline void harness_assert_role(const struct harness *harness, uint64_t raft_id, enum quorum_role role)
{
    bool is_member = false;
    assert_int_equal(harness_role(harness, raft_id, &is_member), role);
    assert_true(is_member);
}

#endif
