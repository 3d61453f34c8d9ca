/* Messages on their way into libraft. Debian's libraft has no assertions and trusts every field, and some of what it asserts depends on
 * the state it is in, so each message is looked at against the state before it enters; what does not fit is dropped, as if the wire had
 * lost it, or refused when no honest peer can have sent it.
 *
 * Found in 0.22.1 (src/, with assertions compiled out) and kept away from it here:
 *   - a RAFT_CHANGE that is not the first entry of an append is noted under the first entry's index (replicationAppend): such a message is
 *     split before each one;
 *   - a second RAFT_CHANGE makes a follower forget the first if that is not applied yet: a truncation of the second would then bring back
 *     what was before both. That the second is there proves that the first is committed, so libraft is told before;
 *   - an append from before our last snapshot is refused, though all of that is committed, or, from the log's very beginning, appended at the
 *     end (checkConflictingEntries takes what was trimmed for missing): what the snapshot covers is cut off its front;
 *   - a late rejection moves next_index below match_index, and the follower is sent empty appends for ever (progressMaybeDecrement in
 *     PROBE): it is dropped;
 *   - a pre-vote of a lower term is refused with the term that was asked for, so that a candidate whose log everybody needs never learns the
 *     term that it would have to ask for (recvRequestVote): answered here, with our term;
 *   - a late vote result is looked at through in_pre_vote of a state that is not a candidate's (a union): dropped;
 *   - an append or snapshot of an older term is answered with fields that were never set, which the sender may take for a success once it
 *     leads our term (recvAppendEntries, recvInstallSnapshot: "goto reply"): answered here;
 *   - an append of our own term while we lead writes into the leader's part of that union: refused;
 *   - InstallSnapshot while one is being installed leaks its data: dropped (quorum_install.c);
 *   - TimeoutNow to the only voter makes it the leader of the term that its sender leads: dropped (see has_to_enter_term). */
#include "common/mem.h"
#include "controller/quorum_private.h"

#define FEATURE_CAPACITY 1u
#define RAFT_MESSAGE(kind) ((struct raft_message){.type = (kind)})

/* ---- the inbox: what comes while a term is being written ---- */

static struct quorum_inbox_item *make_item(uint64_t from_raft_id, struct span header, struct span body)
{
    struct quorum_inbox_item *item = (struct quorum_inbox_item *)mem_alloc(sizeof(*item) + header.bytes + body.bytes);
    *item = (struct quorum_inbox_item){
        .from_raft_id = from_raft_id, .header_bytes = header.bytes, .body_bytes = body.bytes};
    memcpy(item->data, header.data, header.bytes);
    if (body.bytes > 0) {
        memcpy(item->data + header.bytes, body.data, body.bytes);
    }
    return item;
}

static size_t item_bytes(const struct quorum_inbox_item *item)
{
    return item->header_bytes + item->body_bytes;
}

static void keep_for_later(struct quorum *quorum, uint64_t from_raft_id, struct span header, struct span body)
{
    if (quorum->inbox_count >= QUORUM_INBOX_MESSAGES_MAX ||
        quorum->inbox_bytes + header.bytes + body.bytes > QUORUM_INBOX_BYTES_MAX) {
        return; /* lost; raft sends again */
    }
    struct quorum_inbox_item *item = make_item(from_raft_id, header, body);
    if (quorum->inbox == NULL) {
        quorum->inbox_end = &quorum->inbox;
    }
    *quorum->inbox_end = item;
    quorum->inbox_end = &item->next;
    quorum->inbox_bytes += item_bytes(item);
    quorum->inbox_count++;
}

static struct quorum_inbox_item *take_item(struct quorum *quorum)
{
    struct quorum_inbox_item *item = quorum->inbox;
    if (item != NULL) {
        quorum->inbox = item->next;
        quorum->inbox_bytes -= item_bytes(item);
        quorum->inbox_count--;
    }
    return item;
}

void quorum_inbox_done(struct quorum *quorum)
{
    for (struct quorum_inbox_item *item = take_item(quorum); item != NULL; item = take_item(quorum)) {
        mem_free(item);
    }
}

/* ---- contacts ---- */

const struct quorum_contact *quorum_contact_find(const struct quorum *quorum, uint64_t member_id)
{
    for (size_t i = 0; i < ARRAY_COUNT(quorum->contacts); i++) {
        const struct quorum_contact *contact = &quorum->contacts[i];
        if (contact->raft_id == member_id && contact->term == raft_current_term(&quorum->raft)) {
            return contact;
        }
    }
    return NULL;
}

/* A member has answered. Slots of former terms are free. */
static void note_contact(struct quorum *quorum, uint64_t member_id, uint64_t last_index)
{
    uint64_t term = raft_current_term(&quorum->raft);
    struct quorum_contact *contact = (struct quorum_contact *)(uintptr_t)quorum_contact_find(quorum, member_id);
    for (size_t i = 0; i < ARRAY_COUNT(quorum->contacts) && contact == NULL; i++) {
        bool is_member = quorum_configuration_find(&quorum->raft.configuration, quorum->contacts[i].raft_id) != NULL;
        if (quorum->contacts[i].term != term || !is_member) {
            contact = &quorum->contacts[i];
            *contact = (struct quorum_contact){.raft_id = member_id, .term = term};
        }
    }
    if (contact != NULL) {
        contact->last_us = loop_now_us(quorum->loop);
        bool is_caught_up = last_index >= raft_last_index(&quorum->raft);
        contact->caught_up_us = is_caught_up ? contact->last_us : contact->caught_up_us;
    }
}

/* ---- stepping ---- */

static void step_message(struct quorum *quorum, const struct quorum_message *from, struct raft_message *message)
{
    memcpy(quorum->from_address, from->from_address.data, from->from_address.bytes);
    message->server_id = from->from_raft_id;
    message->server_address = quorum->from_address;
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = message;
    (void)quorum_step(quorum, &event);
}

static bool is_other_leader(const struct quorum *quorum, const struct quorum_message *message)
{
    struct raft *raft = (struct raft *)(uintptr_t)&quorum->raft;
    return raft_state(raft) == RAFT_LEADER && message->term == raft_current_term(raft);
}

/* ---- appends ---- */

/* Whether our log has the entry before `first_index` as the leader has it. */
static bool does_match(const struct quorum *quorum, uint64_t prev_index, uint64_t prev_term)
{
    return prev_index != 0 && quorum_term_of(quorum, prev_index) == prev_term;
}

/* Before a RAFT_CHANGE behind an older one that is not applied yet: the leader that proposed it had seen the older one committed. */
static void settle_older_change(struct quorum *quorum, uint64_t change_index, uint64_t prev_term)
{
    uint64_t older_index = quorum->raft.configuration_uncommitted_index;
    if (older_index == 0 || older_index >= change_index || !does_match(quorum, change_index - 1, prev_term)) {
        return;
    }
    const struct quorum_entry *entry = quorum_tail_get(&quorum->tail, older_index);
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    event.configuration.index = older_index;
    if (quorum_configuration_to_raft(span_make(entry->data, entry->bytes), &event.configuration.conf) != ERR_OK) {
        quorum_fail(quorum, "a configuration in the log can't be decoded");
        return;
    }
    (void)quorum_step(quorum, &event);
}

/* Hands entries [start, start + count) of the message to libraft. They are ours; what it owns as their batch is one byte. */
static void step_part(struct quorum *quorum, const struct quorum_message *message, uint32_t start, uint32_t count)
{
    uint64_t prev_index = message->append.prev_index + start;
    struct quorum_part part = {.first_index = prev_index + 1, .count = count};
    part.entries = (struct quorum_entry **)mem_array(count + 1u, sizeof(part.entries[0]));
    struct raft_entry *entries = (struct raft_entry *)mem_array(count + 1u, sizeof(entries[0]));
    void *batch = count > 0 ? raft_malloc(1) : NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct quorum_message_entry *from = &message->append.entries[start + i];
        part.entries[i] = quorum_entry_new(prev_index + 1 + i, from->term, from->type, from->data);
        entries[i] = (struct raft_entry){.term = from->term,
                                         .type = (enum raft_entry_type)from->type,
                                         .buf = {part.entries[i]->data, part.entries[i]->bytes},
                                         .batch = batch};
    }
    struct raft_message out = RAFT_MESSAGE(RAFT_APPEND_ENTRIES);
    out.append_entries.version = message->version;
    out.append_entries.term = message->term;
    out.append_entries.prev_log_index = prev_index;
    out.append_entries.prev_log_term = start == 0 ? message->append.prev_term : message->append.entries[start - 1].term;
    out.append_entries.leader_commit = message->append.commit_index;
    out.append_entries.entries = entries;
    out.append_entries.n_entries = count;
    quorum->part = &part;
    step_message(quorum, message, &out);
    quorum->part = NULL;
    for (uint32_t i = 0; i < count; i++) {
        quorum_entry_unref(part.entries[i]);
    }
    mem_free(part.entries);
    mem_free(entries);
}

/* How many entries from `start` on go together: up to the next RAFT_CHANGE. */
static uint32_t count_part(const struct quorum_message *message, uint32_t start)
{
    uint32_t end = start;
    do {
        end++;
    } while (end < message->append.entry_count && message->append.entries[end].type != QUORUM_CHANGE);
    return end - start;
}

/* The sender learns our term. The index is one that no entry has, so that it means nothing to a leader of this very term. */
static void answer_stale(struct quorum *quorum, const struct quorum_message *message)
{
    memcpy(quorum->from_address, message->from_address.data, message->from_address.bytes);
    struct quorum_message result = {
        .type = QUORUM_APPEND_RESULT,
        .to_raft_id = message->from_raft_id,
        .term = raft_current_term(&quorum->raft),
        .append_result = {.rejected_index = QUORUM_INDEX_MAX, .last_index = QUORUM_INDEX_MAX - 1}};
    quorum_send(quorum, &result, quorum->from_address);
}

/* Entries that our last snapshot covers are committed, so the leader has them as we do: the append begins behind it. */
static void skip_known(struct quorum *quorum, struct quorum_message *message)
{
    const struct raft *raft = &quorum->raft;
    uint64_t known_index = raft->trail.snapshot.index;
    if (raft->snapshot.installing || message->append.prev_index >= known_index) {
        return;
    }
    uint64_t ahead = known_index - message->append.prev_index;
    uint32_t count = message->append.entry_count;
    uint32_t skipped = ahead < count ? (uint32_t)ahead : count;
    if (skipped == ahead && message->append.entries[skipped - 1].term != raft->trail.snapshot.term) {
        quorum_fail(quorum, "a leader has another entry %llu than the one that is committed here",
                    (unsigned long long)known_index);
        return;
    }
    if (skipped > 0) {
        memmove(message->append.entries, message->append.entries + skipped,
                (count - skipped) * sizeof(message->append.entries[0]));
    }
    message->append.entry_count = count - skipped;
    message->append.prev_index = known_index;
    message->append.prev_term = raft->trail.snapshot.term;
}

/* A leader that has not heard of a majority for an election timeout steps down, but libraft answers entries only when they are durable: two
 * disks that are busy for that long would unseat a leader whom everybody hears. So it is told now and then what is durable already. */
static void answer_alive(struct quorum *quorum, const struct quorum_message *message)
{
    const struct raft *raft = &quorum->raft;
    uint64_t gap_us = (uint64_t)quorum->options.heartbeat_timeout_ms * US_PER_MS;
    if (!quorum_can_step(quorum) || raft_state((struct raft *)(uintptr_t)raft) != RAFT_FOLLOWER ||
        raft->current_term != message->term || raft->follower_state.current_leader.id != message->from_raft_id ||
        loop_now_us(quorum->loop) - quorum->answered_us < gap_us) {
        return;
    }
    uint64_t match_index = raft->follower_state.match;
    memcpy(quorum->from_address, message->from_address.data, message->from_address.bytes);
    struct quorum_message result = {
        .type = QUORUM_APPEND_RESULT,
        .version = APPEND_RESULT_VERSION,
        .to_raft_id = message->from_raft_id,
        .term = message->term,
        .append_result = {.last_index = raft->last_stored < match_index ? raft->last_stored : match_index,
                          .features = FEATURE_CAPACITY}};
    quorum_send(quorum, &result, quorum->from_address);
}

/* Returns true when the rest has to wait for a term to be written: the whole message then comes again, and the entries that are here
 * already do no harm. */
static bool step_append(struct quorum *quorum, struct quorum_message *message)
{
    if (message->term < raft_current_term(&quorum->raft)) {
        answer_stale(quorum, message);
        return false;
    }
    quorum->leader_term = message->term;
    skip_known(quorum, message);
    uint32_t count = message->append.entry_count;
    if (quorum->is_failed) {
        return false;
    }
    if (count == 0) {
        step_part(quorum, message, 0, 0);
        return false;
    }
    for (uint32_t start = 0; start < count;) {
        uint32_t part_count = count_part(message, start);
        uint64_t prev_index = message->append.prev_index + start;
        uint64_t prev_term = start == 0 ? message->append.prev_term : message->append.entries[start - 1].term;
        if (!quorum_can_step(quorum)) {
            return quorum->is_term_unwritten;
        }
        if (message->append.entries[start].type == QUORUM_CHANGE) {
            settle_older_change(quorum, prev_index + 1, prev_term);
        }
        step_part(quorum, message, start, part_count);
        start += part_count;
        uint64_t last_term = message->append.entries[start - 1].term;
        if (start == count || !does_match(quorum, prev_index + part_count, last_term)) {
            return false; /* done, or refused: then the rest would be refused as well */
        }
    }
    return false;
}

/* ---- results and votes ---- */

static void step_append_result(struct quorum *quorum, const struct quorum_message *message)
{
    struct raft_message out = RAFT_MESSAGE(RAFT_APPEND_ENTRIES_RESULT);
    struct raft_append_entries_result *result = &out.append_entries_result;
    result->version = message->version;
    result->term = message->term;
    result->rejected = message->append_result.rejected_index;
    result->last_log_index = message->append_result.last_index;
    result->features = message->append_result.features;
    result->capacity = message->append_result.capacity;
    raft_index match_index = 0;
    bool is_current = message->term == raft_current_term(&quorum->raft);
    if (is_current && raft_match_index(&quorum->raft, message->from_raft_id, &match_index) == 0) {
        bool is_stale = result->rejected == QUORUM_INDEX_MAX || result->rejected <= match_index;
        if (result->rejected != 0 && is_stale) {
            return; /* from before this term, or from before it had what it has now */
        }
        note_contact(quorum, message->from_raft_id, result->rejected == 0 ? result->last_log_index : 0);
    }
    step_message(quorum, message, &out);
}

static void refuse_pre_vote(struct quorum *quorum, const struct quorum_message *message)
{
    memcpy(quorum->from_address, message->from_address.data, message->from_address.bytes);
    struct quorum_message result = {.type = QUORUM_VOTE_RESULT,
                                    .version = VOTE_RESULT_VERSION,
                                    .to_raft_id = message->from_raft_id,
                                    .term = raft_current_term(&quorum->raft),
                                    .vote_result = {.is_pre_vote = true}};
    quorum_send(quorum, &result, quorum->from_address);
}

static void step_vote(struct quorum *quorum, const struct quorum_message *message)
{
    if (message->vote.is_pre_vote && message->term < raft_current_term(&quorum->raft)) {
        refuse_pre_vote(quorum, message);
        return;
    }
    struct raft_message out = RAFT_MESSAGE(RAFT_REQUEST_VOTE);
    out.request_vote.version = message->version;
    out.request_vote.term = message->term;
    out.request_vote.candidate_id = message->vote.candidate_raft_id;
    out.request_vote.last_log_index = message->vote.last_index;
    out.request_vote.last_log_term = message->vote.last_term;
    out.request_vote.disrupt_leader = message->vote.disrupts_leader;
    out.request_vote.pre_vote = message->vote.is_pre_vote;
    step_message(quorum, message, &out);
}

static void step_vote_result(struct quorum *quorum, const struct quorum_message *message)
{
    if (raft_state(&quorum->raft) != RAFT_CANDIDATE) {
        return;
    }
    struct raft_message out = RAFT_MESSAGE(RAFT_REQUEST_VOTE_RESULT);
    out.request_vote_result.version = message->version;
    out.request_vote_result.term = message->term;
    out.request_vote_result.vote_granted = message->vote_result.is_granted;
    out.request_vote_result.pre_vote = message->vote_result.is_pre_vote;
    out.request_vote_result.features = message->vote_result.features;
    out.request_vote_result.capacity = message->vote_result.capacity;
    step_message(quorum, message, &out);
}

static void step_timeout_now(struct quorum *quorum, const struct quorum_message *message)
{
    if (quorum_configuration_voters(&quorum->raft.configuration) <= 1) {
        return;
    }
    struct raft_message out = RAFT_MESSAGE(RAFT_TIMEOUT_NOW);
    out.timeout_now.version = message->version;
    out.timeout_now.term = message->term;
    out.timeout_now.last_log_index = message->timeout_now.last_index;
    out.timeout_now.last_log_term = message->timeout_now.last_term;
    step_message(quorum, message, &out);
}

/* ---- receiving ---- */

/* *ret_is_early: it has to come again when the term is written. */
static enum err handle(struct quorum *quorum, struct quorum_message *message, bool *ret_is_early)
{
    *ret_is_early = false;
    switch (message->type) {
    case QUORUM_APPEND:
        if (is_other_leader(quorum, message)) {
            return ERR_MALFORMED;
        }
        *ret_is_early = step_append(quorum, message);
        answer_alive(quorum, message);
        return ERR_OK;
    case QUORUM_APPEND_RESULT:
        step_append_result(quorum, message);
        return ERR_OK;
    case QUORUM_VOTE:
        step_vote(quorum, message);
        return ERR_OK;
    case QUORUM_VOTE_RESULT:
        step_vote_result(quorum, message);
        return ERR_OK;
    case QUORUM_CHUNK:
        return is_other_leader(quorum, message) ? ERR_MALFORMED : quorum_install_receive(quorum, message);
    case QUORUM_TIMEOUT_NOW:
        step_timeout_now(quorum, message);
        return ERR_OK;
    case QUORUM_CHUNK_RESULT:
        quorum_install_result(quorum, message);
        return ERR_OK;
    }
    UNREACHABLE();
}

/* A message that is early goes to the front, where it was. */
void quorum_resume(struct quorum *quorum)
{
    while (quorum_can_step(quorum) && quorum->inbox != NULL) {
        struct quorum_inbox_item *item = take_item(quorum);
        struct quorum_message message;
        enum err err = quorum_message_decode(span_make(item->data, item->header_bytes),
                                             span_make(item->data + item->header_bytes, item->body_bytes), &message);
        CHECK(err == ERR_OK); /* it was decoded when it came */
        bool is_early = false;
        /* Its link is not at hand any more, so an impossible message is just dropped. */
        err = handle(quorum, &message, &is_early);
        (void)err;
        quorum_message_done(&message);
        if (!is_early) {
            mem_free(item);
            continue;
        }
        item->next = quorum->inbox;
        quorum->inbox_end = quorum->inbox == NULL ? &item->next : quorum->inbox_end;
        quorum->inbox = item;
        quorum->inbox_bytes += item_bytes(item);
        quorum->inbox_count++;
    }
}

enum err quorum_receive(struct quorum *quorum, uint64_t from_raft_id, struct span header, struct span body)
{
    struct quorum_message message;
    CHECK(quorum->is_started && !quorum->is_applying);
    enum err err = quorum_message_decode(header, body, &message);
    if (err != ERR_OK) {
        return err;
    }
    bool is_early = false;
    if (message.from_raft_id != from_raft_id || message.to_raft_id != quorum->raft.id ||
        from_raft_id == quorum->raft.id) {
        err = ERR_MALFORMED;
    } else if (quorum->is_failed || quorum->is_stopping) {
        err = ERR_OK;
    } else if (!quorum_can_step(quorum) || quorum->inbox != NULL) {
        keep_for_later(quorum, from_raft_id, header, body);
    } else {
        err = handle(quorum, &message, &is_early);
    }
    if (is_early) {
        keep_for_later(quorum, from_raft_id, header, body);
    }
    quorum_message_done(&message);
    return err;
}
