/* What is committed goes to the controller, in order; what the controller proposes comes in; and what people may want to know. */
#include "common/mem.h"
#include "controller/quorum_private.h"

/* ---- applying ---- */

void quorum_tell_configuration(struct quorum *quorum, const struct raft_configuration *configuration, uint64_t index)
{
    if (quorum->events.on_configuration == NULL || index < quorum->told_configuration_index || configuration->n == 0) {
        return;
    }
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = quorum_configuration_members(configuration, members);
    quorum->told_configuration_index = index;
    quorum->events.on_configuration(quorum->events.ctx, members, count, index);
}

/* libraft learns that a configuration is applied; it takes over the decoded one. */
static void apply_change(struct quorum *quorum, const struct quorum_entry *entry)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    struct raft_configuration told;
    struct span bytes = span_make(entry->data, entry->bytes);
    enum err err = quorum_configuration_to_raft(bytes, &event.configuration.conf);
    if (err == ERR_OK) {
        err = quorum_configuration_to_raft(bytes, &told);
    }
    if (err != ERR_OK) {
        quorum_fail(quorum, "a committed configuration can't be decoded: %s", err_text(err));
        return;
    }
    quorum_member_applied(quorum, entry);
    event.configuration.index = entry->index;
    (void)quorum_step(quorum, &event);
    quorum_tell_configuration(quorum, &told, entry->index);
    raft_configuration_close(&told);
}

static void apply_entry(struct quorum *quorum, const struct quorum_entry *entry)
{
    quorum->applied_index = entry->index;
    quorum->applied_term = entry->term;
    quorum->unsnapped_bytes += entry->bytes;
    switch (entry->type) {
    case QUORUM_COMMAND: {
        enum err err = quorum->events.on_commit(quorum->events.ctx, entry->index, entry->term,
                                                span_make(entry->data, entry->bytes));
        if (err != ERR_OK) {
            quorum_fail(quorum, "committed entry %llu can't be applied: %s", (unsigned long long)entry->index,
                        err_text(err));
        }
        return;
    }
    case QUORUM_CHANGE:
        apply_change(quorum, entry);
        return;
    case QUORUM_BARRIER:
        return;
    }
    UNREACHABLE();
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Applies what is committed. A callback may propose and an applied configuration steps: both lead here again, and return at once.
 * While a snapshot is being installed libraft counts as committed what is not here yet. */
void quorum_apply_committed(struct quorum *quorum)
{
    if (quorum->is_applying || quorum->raft.snapshot.installing) {
        return;
    }
    quorum->is_applying = true;
    while (!quorum->is_failed && quorum->applied_index < raft_commit_index(&quorum->raft)) {
        struct quorum_entry *entry = quorum_entry_ref(quorum_tail_get(&quorum->tail, quorum->applied_index + 1));
        apply_entry(quorum, entry);
        quorum_entry_unref(entry);
    }
    quorum->is_applying = false;
    if (!quorum->is_failed && quorum->is_started) {
        /* What is behind the trail libraft never asks for again. */
        uint64_t both = least(quorum->applied_index, quorum->persisted_index);
        quorum_tail_release(&quorum->tail, least(both, quorum->raft.trail.offset));
        quorum_maybe_snapshot(quorum);
    }
}

/* ---- proposing ---- */

/* The entry is in the tail before the step, because messages of the update are filled from there; an error takes it out again. */
int quorum_submit(struct quorum *quorum, struct quorum_entry *entry)
{
    struct raft_entry submitted = {.term = entry->term,
                                   .type = (enum raft_entry_type)entry->type,
                                   .buf = {entry->data, entry->bytes},
                                   .batch = entry};
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &submitted;
    event.submit.n = 1;
    uint64_t index = entry->index;
    quorum_tail_append(&quorum->tail, entry);
    int result = quorum_step(quorum, &event);
    if (result != 0) {
        quorum_tail_truncate(&quorum->tail, index);
    }
    return result;
}

enum err quorum_propose(struct quorum *quorum, struct span data, uint64_t *ret_index)
{
    CHECK(data.bytes > 0 && data.bytes <= QUORUM_ENTRY_BYTES_MAX);
    if (quorum->is_failed || quorum->is_stopping) {
        return ERR_CLOSED;
    }
    bool is_leaving = quorum->handover.is_active && quorum->handover.is_waiting;
    if (quorum->is_term_unwritten || raft_state(&quorum->raft) != RAFT_LEADER || is_leaving) {
        return ERR_NOT_LEADER;
    }
    uint64_t index = quorum_tail_end(&quorum->tail);
    if (index - 1 - raft_commit_index(&quorum->raft) >= QUORUM_PENDING_ENTRIES_MAX) {
        return ERR_BUSY;
    }
    int result = quorum_submit(quorum, quorum_entry_new(index, raft_current_term(&quorum->raft), QUORUM_COMMAND, data));
    if (result != 0) {
        return result == RAFT_NOTLEADER ? ERR_NOT_LEADER : ERR_BUSY;
    }
    *ret_index = index;
    return ERR_OK;
}

/* ---- facts ---- */

void quorum_get_facts(const struct quorum *quorum, struct quorum_facts *ret_facts)
{
    struct raft *raft = (struct raft *)(uintptr_t)&quorum->raft; /* libraft's getters are not const */
    *ret_facts = (struct quorum_facts){
        .raft_id = raft->id,
        .term = raft_current_term(raft),
        .leader_raft_id = quorum->told_leader_id,
        .last_index = quorum_tail_end(&quorum->tail) - 1,
        .persisted_index = quorum->persisted_index,
        .commit_index = raft_commit_index(raft),
        .applied_index = quorum->applied_index,
        .snapshot_index = quorum->snapshot_index,
        .first_index = quorum->log_first_index,
        .log_bytes = quorum->log_bytes,
        .voter_count = quorum_configuration_voters(&raft->configuration),
        .is_leader = quorum->is_leader,
        .truncate_count = quorum->truncate_count,
        .install_count = quorum->install_count,
        .snapshot_sent_count = quorum->snapshot_sent_count,
    };
}

enum err quorum_get_progress(const struct quorum *quorum, struct quorum_progress *ret_progress, uint32_t *ret_count)
{
    struct raft *raft = (struct raft *)(uintptr_t)&quorum->raft;
    if (raft_state(raft) != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    struct quorum_member members[QUORUM_MEMBERS_MAX];
    uint32_t count = quorum_configuration_members(&raft->configuration, members);
    for (uint32_t i = 0; i < count; i++) {
        raft_index match_index = 0;
        const struct quorum_contact *contact = quorum_contact_find(quorum, members[i].raft_id);
        bool is_self = members[i].raft_id == raft->id;
        uint64_t now_us = loop_now_us(quorum->loop);
        (void)raft_match_index(raft, members[i].raft_id, &match_index);
        ret_progress[i] = (struct quorum_progress){
            .raft_id = members[i].raft_id,
            .role = members[i].role,
            .match_index = match_index,
            .last_contact_us = is_self           ? now_us
                               : contact == NULL ? 0
                                                 : contact->last_us,
            .caught_up_us = is_self           ? now_us
                            : contact == NULL ? 0
                                              : contact->caught_up_us,
        };
    }
    *ret_count = count;
    return ERR_OK;
}
