/* One function steps libraft, and one does what a step says is to be done. Order inside of it (docs/updates.rst): term and vote first, durably;
 * then entries; then messages; then what was committed.
 *
 *      propose, timer, appended, term written, configuration applied
 *                     |
 *                step_event --raft_step--> handle_update
 *                                            | term or vote changed: a job writes it; nothing steps until it is done
 *                                            | entries: queued; a job writes and syncs all that is queued
 *                                            | messages: sent, after a changed term or vote is durable
 *                                            | commit index: apply_committed
 *
 * Debian's libraft is built without assertions: what it would assert is CHECKed here before each step.
 * A single voter never changes its term after formation and never sends; both paths are nevertheless whole, and what only a
 * follower meets (installing a snapshot) ends the quorum instead of being guessed at. */
#include "controller/quorum.h"

#include "common/mem.h"
#include "controller/quorum_private.h"

#include <stdarg.h>
#include <stdio.h>

#define US_PER_MS 1000u
#define FAIL_REASON_BYTES 256

static void handle_update(struct quorum *quorum);
static void arm_timer(struct quorum *quorum);

void quorum_fail(struct quorum *quorum, const char *format, ...)
{
    if (quorum->is_failed) {
        return;
    }
    quorum->is_failed = true;
    char reason[FAIL_REASON_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    if (quorum->loop != NULL) {
        loop_timer_cancel(quorum->loop, &quorum->timer);
    }
    quorum->events.on_fatal(quorum->events.ctx, reason);
}

/* ---- stepping ---- */

/* What libraft asserts about an event (src/raft.c, src/client.c, src/trail.c), as far as it is ours to get right. */
static void check_event(struct quorum *quorum, const struct raft_event *event)
{
    CHECK(!quorum->is_stepping && !quorum->is_failed && !quorum->is_term_unwritten);
    CHECK(event->time >= quorum->raft.now && event->capacity == 0);
    switch (event->type) {
    case RAFT_START:
        CHECK(!quorum->is_started && quorum->raft.last_stored == 0);
        CHECK(event->start.term > 0 || event->start.n_entries == 0);
        break;
    case RAFT_SUBMIT:
        CHECK(event->submit.n == 1 && event->submit.entries[0].batch != NULL && event->submit.entries[0].buf.len > 0);
        CHECK(event->submit.entries[0].term == raft_current_term(&quorum->raft));
        break;
    case RAFT_PERSISTED_ENTRIES:
        CHECK(event->persisted_entries.index > quorum->raft.last_stored);
        CHECK(event->persisted_entries.index <= raft_last_index(&quorum->raft));
        CHECK(raft_state(&quorum->raft) != RAFT_CANDIDATE);
        break;
    case RAFT_CONFIGURATION:
        CHECK(event->configuration.index > 0 && event->configuration.index <= raft_commit_index(&quorum->raft));
        break;
    case RAFT_SNAPSHOT:
        CHECK(event->snapshot.metadata.index > quorum->raft.trail.snapshot.index);
        CHECK(event->snapshot.metadata.index <= quorum->applied_index);
        break;
    case RAFT_TIMEOUT:
        break;
    case RAFT_RECEIVE:
    case RAFT_PERSISTED_SNAPSHOT:
    case RAFT_CATCH_UP:
    case RAFT_TRANSFER:
    default:
        UNREACHABLE(); /* events that a single voter has no use for */
    }
}

/* Steps and does what follows. An error of SUBMIT is the proposer's; any other ends the quorum. */
int quorum_step(struct quorum *quorum, struct raft_event *event)
{
    event->time = loop_now_us(quorum->loop) / US_PER_MS;
    check_event(quorum, event);
    quorum->is_stepping = true;
    int result = raft_step(&quorum->raft, event, &quorum->update);
    quorum->is_stepping = false;
    if (result != 0) {
        if (event->type != RAFT_SUBMIT) {
            quorum_fail(quorum, "a step of the consensus failed: %s", raft_strerror(result));
        }
        return result;
    }
    handle_update(quorum);
    return 0;
}

/* Entries of an update: ours, which were put into the tail before the step (SUBMIT), or made by libraft (a barrier), whose batch
 * is ours to free (legacyHandleUpdateEntries). */
static void take_entries(struct quorum *quorum)
{
    uint64_t index = quorum->update.entries.index;
    if (index < quorum_tail_end(&quorum->tail) &&
        quorum->update.entries.batch[0].batch != quorum_tail_get(&quorum->tail, index)) {
        quorum_fail(quorum, "entries were to be truncated, which a single voter never does");
        return;
    }
    for (unsigned i = 0; i < quorum->update.entries.n; i++, index++) {
        const struct raft_entry *entry = &quorum->update.entries.batch[i];
        if (index == quorum_tail_end(&quorum->tail)) {
            quorum_tail_append(&quorum->tail, quorum_entry_new(index, entry->term, (enum quorum_entry_type)entry->type,
                                                               span_make(entry->buf.base, entry->buf.len)));
            if (i == 0) {
                raft_free(entry->batch);
            }
        }
        quorum_writer_append(&quorum->writer, quorum_tail_get(&quorum->tail, index));
    }
}

static void send_messages(struct quorum *quorum)
{
    for (unsigned i = 0; i < quorum->update.messages.n && !quorum->is_failed; i++) {
        if (quorum->events.send == NULL) {
            quorum_fail(quorum, "a message to another voter, but this one is alone");
            return;
        }
        quorum->events.send(quorum->events.ctx, &quorum->update.messages.batch[i]);
    }
    quorum->update.messages.n = 0;
}

static void note_state(struct quorum *quorum)
{
    bool is_leader = raft_state(&quorum->raft) == RAFT_LEADER;
    if (is_leader != quorum->is_leader) {
        quorum->is_leader = is_leader;
        quorum->events.on_leader(quorum->events.ctx, is_leader);
    }
}

/* The second half: what may happen only when term and vote are durable. */
static void finish_update(struct quorum *quorum)
{
    if (quorum->update.flags & (RAFT_UPDATE_MESSAGES)) {
        send_messages(quorum);
    }
    if (!quorum->is_failed) {
        quorum_apply_committed(quorum);
    }
    if (!quorum->is_failed) {
        note_state(quorum);
    }
    if (!quorum->is_failed) {
        arm_timer(quorum);
    }
}

static void handle_update(struct quorum *quorum)
{
    unsigned flags = quorum->update.flags;
    if (flags & (RAFT_UPDATE_SNAPSHOT)) {
        quorum_fail(quorum, "a snapshot was to be installed, which a single voter never needs");
        return;
    }
    if (flags & (RAFT_UPDATE_ENTRIES)) {
        take_entries(quorum);
    }
    if (quorum->is_failed) {
        return;
    }
    if ((flags & (RAFT_UPDATE_CURRENT_TERM)) || (flags & (RAFT_UPDATE_VOTED_FOR))) {
        quorum->is_term_unwritten = true;
        quorum_writer_set_term(&quorum->writer, raft_current_term(&quorum->raft), raft_voted_for(&quorum->raft));
    }
    quorum_writer_kick(&quorum->writer);
    if (!quorum->is_term_unwritten) {
        finish_update(quorum);
    }
}

static void arm_timer(struct quorum *quorum)
{
    if (quorum->is_stopping) {
        return;
    }
    loop_timer_set(quorum->loop, &quorum->timer, raft_timeout(&quorum->raft) * US_PER_MS);
}

void quorum_on_timer(struct loop_timer *timer)
{
    struct quorum *quorum = CONTAINER_OF(timer, struct quorum, timer);
    if (quorum->is_failed || quorum->is_stopping || quorum->is_term_unwritten) {
        return; /* armed again when the term is written */
    }
    struct raft_event event = {.type = RAFT_TIMEOUT};
    (void)quorum_step(quorum, &event);
}

/* ---- applying ---- */

/* libraft learns that a configuration is applied; it takes over the decoded one. */
static void apply_change(struct quorum *quorum, const struct quorum_entry *entry)
{
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    struct raft_buffer encoded = {(void *)(uintptr_t)entry->data, entry->bytes};
    int result = raft_configuration_decode(&encoded, &event.configuration.conf);
    if (result != 0) {
        quorum_fail(quorum, "a committed configuration can't be decoded: %s", raft_strerror(result));
        return;
    }
    event.configuration.index = entry->index;
    (void)quorum_step(quorum, &event);
}

static void apply_entry(struct quorum *quorum, const struct quorum_entry *entry)
{
    quorum->applied_index = entry->index;
    quorum->applied_term = entry->term;
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

/* Applies what is committed. An applied configuration steps again, and may commit more: the loop sees that. */
void quorum_apply_committed(struct quorum *quorum)
{
    while (!quorum->is_failed && quorum->applied_index < raft_commit_index(&quorum->raft)) {
        apply_entry(quorum, quorum_tail_get(&quorum->tail, quorum->applied_index + 1));
    }
    if (!quorum->is_failed && quorum->is_started) {
        uint64_t both =
            quorum->applied_index < quorum->persisted_index ? quorum->applied_index : quorum->persisted_index;
        quorum_tail_release(&quorum->tail, both); /* nobody here reads them again */
        quorum_maybe_snapshot(quorum);
    }
}

/* ---- what the writer reports ---- */

static void on_term_written(void *ctx)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->is_term_unwritten = false;
    if (!quorum->is_failed && !quorum->is_stopping) {
        finish_update(quorum);
    }
}

/* While a job runs the log belongs to it: what people may want to know is noted in between. */
void quorum_note_log(struct quorum *quorum)
{
    quorum->log_first_index = quorum_log_first_index(quorum->log);
    quorum->log_bytes = quorum_log_bytes(quorum->log);
}

static void on_appended(void *ctx, uint64_t last_index, uint64_t last_term)
{
    struct quorum *quorum = (struct quorum *)ctx;
    quorum->persisted_index = last_index;
    quorum_note_log(quorum);
    if (quorum->is_failed || quorum->is_stopping) {
        return;
    }
    CHECK(quorum_tail_get(&quorum->tail, last_index)->term == last_term);
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    event.persisted_entries.index = last_index;
    (void)quorum_step(quorum, &event);
}

static void on_write_failed(void *ctx, enum err err, const char *what)
{
    quorum_fail((struct quorum *)ctx, "%s failed: %s", what, err_text(err));
}

static void on_writer_idle(void *ctx)
{
    quorum_finish_stop((struct quorum *)ctx);
}

const struct quorum_writer_events quorum_writer_reports = {
    .on_term_written = on_term_written,
    .on_appended = on_appended,
    .on_snapshot_written = quorum_on_snapshot_written,
    .on_failed = on_write_failed,
    .on_idle = on_writer_idle,
};

/* ---- proposing ---- */

enum err quorum_propose(struct quorum *quorum, struct span data, uint64_t *ret_index)
{
    CHECK(data.bytes > 0 && data.bytes <= QUORUM_ENTRY_BYTES_MAX);
    if (quorum->is_failed || quorum->is_stopping) {
        return ERR_CLOSED;
    }
    if (quorum->is_term_unwritten || raft_state(&quorum->raft) != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (quorum_tail_end(&quorum->tail) - 1 - raft_commit_index(&quorum->raft) >= QUORUM_PENDING_ENTRIES_MAX) {
        return ERR_BUSY;
    }
    struct quorum_entry *entry =
        quorum_entry_new(quorum_tail_end(&quorum->tail), raft_current_term(&quorum->raft), QUORUM_COMMAND, data);
    struct raft_entry submitted = {
        .term = entry->term, .type = RAFT_COMMAND, .buf = {entry->data, entry->bytes}, .batch = entry};
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &submitted;
    event.submit.n = 1;
    /* In the tail before the step: the update points to it. On an error it is still ours, and taken out again. */
    quorum_tail_append(&quorum->tail, entry);
    int result = quorum_step(quorum, &event);
    if (result != 0) {
        mem_free(quorum_tail_take_last(&quorum->tail));
        return result == RAFT_NOTLEADER ? ERR_NOT_LEADER : ERR_BUSY;
    }
    *ret_index = entry->index;
    return ERR_OK;
}

void quorum_get_facts(const struct quorum *quorum, struct quorum_facts *ret_facts)
{
    struct raft *raft = (struct raft *)(uintptr_t)&quorum->raft; /* libraft's getters are not const */
    raft_id leader_id = 0;
    const char *leader_address = NULL;
    raft_leader(raft, &leader_id, &leader_address);
    *ret_facts = (struct quorum_facts){
        .raft_id = raft->id,
        .term = raft_current_term(raft),
        .leader_raft_id = leader_id,
        .last_index = quorum_tail_end(&quorum->tail) - 1,
        .persisted_index = quorum->persisted_index,
        .commit_index = raft_commit_index(raft),
        .applied_index = quorum->applied_index,
        .snapshot_index = quorum->snapshot_index,
        .first_index = quorum->log_first_index,
        .log_bytes = quorum->log_bytes,
        .is_leader = quorum->is_leader,
    };
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        ret_facts->voter_count += raft->configuration.servers[i].role == RAFT_VOTER;
    }
}
