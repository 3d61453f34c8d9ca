/* What libraft wants sent. Its AppendEntries name a range of entries: they are taken from the tail, which holds all that libraft knows of,
 * and split so that each message fits a frame; its InstallSnapshot is quorum_install.c's. */
#include "common/mem.h"
#include "controller/quorum_private.h"

void quorum_send(struct quorum *quorum, struct quorum_message *message, const char *to_address)
{
    if (quorum->events.send == NULL || quorum->is_failed) {
        return;
    }
    if (message->type == QUORUM_APPEND_RESULT) {
        quorum->answered_us = loop_now_us(quorum->loop);
    }
    message->from_raft_id = quorum->raft.id;
    message->from_address = span_make(quorum->raft.address, strlen(quorum->raft.address) + 1);
    bytebuf_clear(&quorum->out_header);
    bytebuf_clear(&quorum->out_body);
    quorum_message_encode(message, &quorum->out_header, &quorum->out_body);
    quorum->events.send(quorum->events.ctx, message->to_raft_id, to_address, bytebuf_span(&quorum->out_header),
                        bytebuf_span(&quorum->out_body));
}

/* Sends the entries behind `message`'s prev, at most `count`, as far as they fit into one frame; returns how many. */
static uint32_t send_part(struct quorum *quorum, struct quorum_message *message, const char *to_address, uint32_t count)
{
    size_t bytes = quorum_message_append_bytes(strlen(quorum->raft.address) + 1);
    uint32_t fitting = 0;
    count = count < QUORUM_MESSAGE_ENTRIES_MAX ? count : QUORUM_MESSAGE_ENTRIES_MAX;
    message->append.entries = (struct quorum_message_entry *)mem_array(count + 1u, sizeof(message->append.entries[0]));
    for (; fitting < count; fitting++) {
        const struct quorum_entry *entry = quorum_tail_get(&quorum->tail, message->append.prev_index + 1 + fitting);
        bytes += QUORUM_MESSAGE_ENTRY_BYTES + entry->bytes;
        if (bytes > QUORUM_FRAME_BYTES_MAX) {
            break;
        }
        message->append.entries[fitting] = (struct quorum_message_entry){
            .term = entry->term, .type = entry->type, .data = span_make(entry->data, entry->bytes)};
    }
    CHECK(fitting > 0 || count == 0);
    message->append.entry_count = fitting;
    quorum_send(quorum, message, to_address);
    if (fitting > 0) {
        message->append.prev_index += fitting;
        message->append.prev_term = message->append.entries[fitting - 1].term;
    }
    quorum_message_done(message);
    return fitting;
}

static void send_append(struct quorum *quorum, const struct raft_message *from)
{
    const struct raft_append_entries *args = &from->append_entries;
    struct quorum_message message = {.type = QUORUM_APPEND,
                                     .version = args->version,
                                     .to_raft_id = from->server_id,
                                     .term = args->term,
                                     .append = {.prev_index = args->prev_log_index,
                                                .prev_term = args->prev_log_term,
                                                .commit_index = args->leader_commit}};
    uint32_t left = args->n_entries;
    do {
        left -= send_part(quorum, &message, from->server_address, left);
    } while (left > 0 && !quorum->is_failed);
}

/* Every field goes along: what is left out would look like an older version's silence. */
static void send_one(struct quorum *quorum, const struct raft_message *from)
{
    struct quorum_message message = {.to_raft_id = from->server_id};
    switch (from->type) {
    case RAFT_APPEND_ENTRIES:
        send_append(quorum, from);
        return;
    case RAFT_INSTALL_SNAPSHOT:
        quorum_install_send(quorum, from);
        return;
    case RAFT_APPEND_ENTRIES_RESULT:
        message.type = QUORUM_APPEND_RESULT;
        message.version = from->append_entries_result.version;
        message.term = from->append_entries_result.term;
        message.append_result.rejected_index = from->append_entries_result.rejected;
        message.append_result.last_index = from->append_entries_result.last_log_index;
        message.append_result.features = from->append_entries_result.features;
        message.append_result.capacity = from->append_entries_result.capacity;
        break;
    case RAFT_REQUEST_VOTE:
        message.type = QUORUM_VOTE;
        message.version = from->request_vote.version;
        message.term = from->request_vote.term;
        message.vote.candidate_raft_id = from->request_vote.candidate_id;
        message.vote.last_index = from->request_vote.last_log_index;
        message.vote.last_term = from->request_vote.last_log_term;
        message.vote.disrupts_leader = from->request_vote.disrupt_leader;
        message.vote.is_pre_vote = from->request_vote.pre_vote;
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        message.type = QUORUM_VOTE_RESULT;
        message.version = from->request_vote_result.version;
        message.term = from->request_vote_result.term;
        message.vote_result.is_granted = from->request_vote_result.vote_granted;
        message.vote_result.is_pre_vote = from->request_vote_result.pre_vote;
        message.vote_result.features = from->request_vote_result.features;
        message.vote_result.capacity = from->request_vote_result.capacity;
        break;
    case RAFT_TIMEOUT_NOW:
        message.type = QUORUM_TIMEOUT_NOW;
        message.version = from->timeout_now.version;
        message.term = from->timeout_now.term;
        message.timeout_now.last_index = from->timeout_now.last_log_index;
        message.timeout_now.last_term = from->timeout_now.last_log_term;
        break;
    default:
        UNREACHABLE();
    }
    quorum_send(quorum, &message, from->server_address);
}

void quorum_send_messages(struct quorum *quorum)
{
    for (unsigned i = 0; i < quorum->update.messages.n && !quorum->is_failed; i++) {
        const struct raft_message *message = &quorum->update.messages.batch[i];
        if (message->server_id != quorum->raft.id) { /* entering a term alone answers oneself */
            send_one(quorum, message);
        }
    }
    quorum->update.messages.n = 0;
}

/* Behind what both are known to have: nothing that the member has otherwise can pass for committed. */
static void tell_commit_index(struct quorum *quorum, const struct raft_server *member, uint64_t index)
{
    struct quorum_message message = {
        .type = QUORUM_APPEND,
        .version = APPEND_VERSION,
        .to_raft_id = member->id,
        .term = raft_current_term(&quorum->raft),
        .append = {.prev_index = index, .prev_term = quorum_term_of(quorum, index), .commit_index = index}};
    if (message.append.prev_term != 0) {
        quorum_send(quorum, &message, member->address);
    }
}

/* libraft tells the commit index with the next entries or heartbeat, a heartbeat's time after it knows it: so long brokers that take the metadata
 * from another controller than the active one would wait for a new leader. */
void quorum_tell_commit(struct quorum *quorum)
{
    struct raft *raft = &quorum->raft;
    if (raft_state(raft) != RAFT_LEADER) {
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(quorum->contacts) && !quorum->is_failed; i++) {
        struct quorum_contact *contact = &quorum->contacts[i];
        const struct raft_server *member = quorum_configuration_find(&raft->configuration, contact->raft_id);
        raft_index index = 0;
        if (member == NULL || contact->term != raft_current_term(raft) ||
            raft_match_index(raft, contact->raft_id, &index) != 0) {
            continue;
        }
        index = index < raft_commit_index(raft) ? index : raft_commit_index(raft);
        if (index > contact->told_commit_index) {
            contact->told_commit_index = index;
            tell_commit_index(quorum, member, index);
        }
    }
}
